//! WITH RECURSIVE.
//!
//! The recursive term becomes a graph inside one node. Only what stands between the reference to
//! the query itself and the term's result is in there; what is beside it (tables that are joined,
//! with all that is done to them first) is built outside, as in any query, and comes in by a port.

use std::sync::Arc;

use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{LogicalPlan, RecursiveQuery, TableScan};
use weir_engine::graph::{Exchange, Graph, Input, JoinKind, Node, NodeKind, RecurseSpec};

use super::{Builder, Built, Facts};
use crate::plan::errors;
use crate::{Error, Result};

/// Of the builder of a recursive term.
pub(super) struct Within {
    /// The query's name for itself.
    name: String,
    /// The builder of what is around.
    outside: Builder,
    /// What comes in by ports 1, 2, ….
    ports: Vec<Built>,
}

impl Builder {
    pub(super) fn recursion(&mut self, query: &RecursiveQuery) -> Result<Built> {
        if self.within.is_some() {
            return Err(Error::new(format!(
                "'{}' is recursive inside another recursion, which is not supported in a continuous query; make the \
                 inner one a materialized view of its own",
                query.name
            )));
        }
        if references(&query.recursive_term, &query.name) != 1 {
            return Err(Error::new(format!(
                "the recursive term of '{0}' must read '{0}' exactly once",
                query.name
            )));
        }
        let schema = query.static_term.schema().as_ref().clone();
        let start = self.build(&query.static_term, false)?;
        let start = self.same_columns(start, &schema, false)?;
        let (inner, beside) = self.term(query, &start)?;
        let spec = RecurseSpec {
            inner: Arc::new(inner),
            distinct: query.is_distinct,
            max_iterations: self.max_iterations,
        };
        let inputs = [&start].into_iter().chain(&beside);
        let inputs: Vec<Input> = inputs
            .map(|built| Input {
                node: built.node,
                exchange: Exchange::Single,
            })
            .collect();
        if inputs.len() > PORTS {
            return Err(Error::new(format!(
                "the recursive term of '{}' reads more than {} relations; join some of them in a materialized view \
                 first",
                query.name,
                PORTS - 1
            )));
        }
        let columns = schema.fields().len();
        let facts = Facts {
            append_only: false,
            key: query.is_distinct.then(|| (0..columns).collect()),
            has_watermark: false,
            bound: Some("grows with its inputs, and what follows from them is kept in memory".to_string()),
        };
        let node = self.push(
            NodeKind::Recurse(spec),
            inputs,
            Arc::new(schema.as_arrow().clone()),
            facts,
        );
        Ok(Built {
            node,
            schema,
            hidden: false,
            time: vec![None; columns],
            dealt: Some(Vec::new()),
        })
    }

    /// The graph of the recursive term, and what it reads from outside.
    fn term(&mut self, query: &RecursiveQuery, start: &Built) -> Result<(Graph, Vec<Built>)> {
        let outside = std::mem::replace(self, Builder::new(self.closing, self.max_iterations));
        self.within = Some(Box::new(Within {
            name: query.name.clone(),
            outside,
            ports: Vec::new(),
        }));
        let built = self.build(&query.recursive_term, false);
        let built = built.and_then(|built| self.same_columns(built, &start.schema, false));
        let built = built.map(|built| self.prune(built));
        let graph = std::mem::take(&mut self.graph);
        let within = self.within.take().expect("it was just put there");
        *self = within.outside;
        built?;
        graph
            .nodes
            .iter()
            .try_for_each(|node| allowed(node, &graph, &query.name))?;
        Ok((graph, within.ports))
    }

    /// Inside a recursion: the port by which a part comes in that doesn't read the recursion itself.
    pub(super) fn port_of(&mut self, plan: &LogicalPlan) -> Result<Option<Built>> {
        let Some(within) = &mut self.within else {
            return Ok(None);
        };
        if references(plan, &within.name) > 0 {
            return Ok(None);
        }
        let built = within.outside.build(plan, false)?;
        let built = within.outside.visible(built)?;
        let schema = built.schema.clone();
        within.ports.push(built);
        let port = within.ports.len();
        Ok(Some(self.port(port, schema)))
    }

    /// The recursion's own rows, where the scan is of them.
    pub(super) fn own_rows(&mut self, scan: &TableScan) -> Result<Option<Built>> {
        if work_table(scan).is_none() {
            return Ok(None);
        }
        let schema = scan.projected_schema.as_ref().clone();
        let whole = scan.source.schema();
        let all = DFSchema::try_from(whole.as_ref().clone()).map_err(errors::translate)?;
        let port = self.port(0, all);
        let columns: Vec<usize> = scan
            .projection
            .clone()
            .unwrap_or_else(|| (0..whole.fields().len()).collect());
        let time = vec![None; columns.len()];
        let selected = self.select(port, &columns)?;
        Ok(Some(Built {
            schema,
            time,
            ..selected
        }))
    }

    fn port(&mut self, port: usize, schema: DFSchema) -> Built {
        let facts = Facts {
            append_only: false,
            key: None,
            has_watermark: false,
            bound: None,
        };
        let columns = Arc::new(schema.as_arrow().clone());
        let node = self.push(NodeKind::Port(port), Vec::new(), columns, facts);
        Built {
            node,
            hidden: false,
            time: vec![None; schema.fields().len()],
            schema,
            dealt: Some(Vec::new()),
        }
    }
}

/// The start, and what a recursive term may read beside: a node has so many state tables.
const PORTS: usize = 8;

/// How often a plan reads the recursive query of this name.
fn references(plan: &LogicalPlan, name: &str) -> usize {
    let mut count = 0;
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            count += usize::from(work_table(scan).is_some_and(|of| of == name));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    count
}

/// The name of the recursive query of which a scan reads the rows.
fn work_table(scan: &TableScan) -> Option<String> {
    let provider = source_as_provider(&scan.source).ok()?;
    let table = provider.downcast_ref::<CteWorkTable>()?;
    Some(table.name().to_string())
}

/// Refuses what isn't linear in the recursion's own rows, as the standard does.
fn allowed(node: &Node, graph: &Graph, name: &str) -> Result<()> {
    let what = match &node.kind {
        NodeKind::Port(_) | NodeKind::Map(_) | NodeKind::Unnest(_) | NodeKind::Union => return Ok(()),
        NodeKind::Join(join) if join.at_once => "in such a join",
        NodeKind::Join(join) if join.kind == JoinKind::Inner => return Ok(()),
        NodeKind::Join(join) if join.kind == JoinKind::Left && !is_port(node, 1, graph) => {
            "on the right side of a LEFT JOIN"
        }
        NodeKind::Join(join) if join.kind == JoinKind::Left => return Ok(()),
        NodeKind::Join(_) | NodeKind::AsOf(_) => "in such a join",
        NodeKind::Aggregate(_) => "under GROUP BY, DISTINCT or an aggregate",
        NodeKind::TopN(_) => "under ORDER BY … LIMIT",
        NodeKind::Over(_) => "under OVER",
        NodeKind::Draw(_) => "beside now(), random() or uuid()",
        _ => "here",
    };
    Err(misread(name, what))
}

/// The error for a recursive query that reads itself where it may not.
fn misread(name: &str, what: &str) -> Error {
    Error::new(format!(
        "'{name}' may not be read {what} in its own recursive term: later rows would change what earlier ones led to; \
         do that outside of the recursion"
    ))
}

/// Refuses recursions that have no end when they are read once: an aggregate over the recursion's own rows gives a row
/// in every round.
pub fn ends_when_read(plan: &LogicalPlan) -> Result<()> {
    let mut endless = None;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::RecursiveQuery(query) = node
            && aggregates_itself(&query.recursive_term, &query.name)
        {
            endless.get_or_insert_with(|| misread(&query.name, "under an aggregate"));
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(errors::translate)?;
    endless.map_or(Ok(()), Err)
}

fn aggregates_itself(term: &LogicalPlan, name: &str) -> bool {
    let mut found = false;
    let _ = term.apply_with_subqueries(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            found |= !aggregate.aggr_expr.is_empty() && references(node, name) > 0;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// Whether an input comes from outside as it is.
fn is_port(node: &Node, input: usize, graph: &Graph) -> bool {
    matches!(graph.node(node.inputs[input].node).kind, NodeKind::Port(port) if port > 0)
}
