//! From a logical plan to a streaming graph.
//!
//! Each logical node becomes one or two nodes of the graph. Beside columns, the translation
//! carries facts that later nodes need: which columns event time bounds, what is unique, how rows
//! are dealt to tasks, whether anything is ever deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions as physical_exprs;
use weir_engine::graph::{Exchange, Graph, Input, MOST_NODES, MapSpec, Node, NodeId, NodeKind};
use weir_engine::relation::{RelationId, Storage, WATERMARK_COLUMN};

use super::as_of::AsOfNode;
use super::drawn::DrawNode;
use super::expr::physical;
use super::multiset::RepeatNode;
use super::window::WindowNode;
use super::{errors, now, refuse};
use crate::{Error, Result, explain};

mod as_of;
mod bins;
mod closing;
mod draw;
mod interval;
mod join;
mod order;
mod over;
mod present;
mod recursion;
mod scan;
mod session_groups;
mod slices;
mod union;
mod unnest;
mod values;
mod windowed;

pub(super) use bins::bin_of;
pub use closing::Closing;
pub(super) use closing::until;
pub(super) use order::order_keys;
pub use recursion::ends_when_read;

/// How event time bounds a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeBound {
    /// It is the event time: no on-time row below the watermark will come.
    Event,
    /// It is the start of a window of this length, which is so complete when the watermark has come
    /// that far beyond it.
    WindowStart { size_us: i64 },
    /// It is the end of a window: complete when the watermark reaches it.
    WindowEnd,
}

/// A part of the graph that is built, and what is known of its output.
#[derive(Clone)]
pub(super) struct Built {
    pub node: NodeId,
    /// The visible columns, as the logical plan names them; they come first in the node's schema.
    pub schema: DFSchema,
    /// The hidden watermark column, which stands right after the visible ones.
    pub hidden: bool,
    pub time: Vec<Option<TimeBound>>,
    /// Rows that are equal in these columns are in one task; `None` if nothing is known. No column
    /// at all: everything is in one task.
    pub dealt: Option<Vec<usize>>,
}

/// Builds a graph.
pub(super) struct Builder {
    pub graph: Graph,
    pub closing: Closing,
    pub reads: BTreeSet<RelationId>,
    /// How long nothing may come, microseconds, before all that is open closes.
    timeout_us: Option<i64>,
    /// Rounds that a recursion may take in a step.
    max_iterations: u32,
    /// Where this is the builder of a recursive term.
    within: Option<Box<recursion::Within>>,
}

/// The graph of a planned query.
pub struct Translated {
    /// The graph.
    pub graph: Graph,
    /// Its result's columns.
    pub schema: SchemaRef,
    /// How event time bounds them, as the watermark of the result goes.
    pub times: Vec<Option<TimeBound>>,
    /// Relations that it reads.
    pub reads: Vec<RelationId>,
}

/// Translates a plan. `names` renames the result's columns, if given.
pub fn translate(
    plan: &LogicalPlan,
    closing: Closing,
    timeout_us: Option<i64>,
    max_iterations: u32,
    names: &[String],
) -> Result<Translated> {
    let mut builder = Builder::new(closing, max_iterations);
    builder.timeout_us = timeout_us;
    let plan = without_order(plan)?;
    // What isn't grouped is let out by its own time, and judged by it.
    let root = builder.build(plan, closing == Closing::Emit)?;
    if builder.reads.is_empty() {
        return Err(refuse::constants());
    }
    let root = builder.prune(root);
    let root = builder.finish_closing(root)?;
    let root = builder.visible(root)?;
    let mut root = builder.prune(root);
    if builder.graph.nodes.len() >= MOST_NODES {
        return Err(Error::new(format!(
            "the query has more than {MOST_NODES} operators; keep parts of it as views of their own"
        )));
    }
    let schema = builder.name_columns(&mut root, names)?;
    builder.settle_key(&root)?;
    let told = builder.graph.output().has_watermark;
    let times = root.time.iter().map(|bound| bound.filter(|_| told));
    Ok(Translated {
        times: times.collect(),
        graph: builder.graph,
        schema,
        reads: builder.reads.into_iter().collect(),
    })
}

/// The plan without an order of the whole result, which a kept answer can't have. With LIMIT the
/// order says which rows there are, and stays.
fn without_order(plan: &LogicalPlan) -> Result<&LogicalPlan> {
    match plan {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => match sort.input.as_ref() {
            LogicalPlan::Limit(_) => Ok(&sort.input),
            _ => Err(refuse::plan(plan)),
        },
        LogicalPlan::Projection(projection) => match projection.input.as_ref() {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => Err(refuse::plan(&projection.input)),
            _ => Ok(plan),
        },
        _ => Ok(plan),
    }
}

/// A result's columns under other names, if any are given; each name once.
pub fn named(fields: &Fields, names: &[String]) -> Result<SchemaRef> {
    if !names.is_empty() && names.len() != fields.len() {
        return Err(Error::new(format!(
            "{} column names for {} columns",
            names.len(),
            fields.len()
        )));
    }
    let renamed = |(index, field): (usize, &Arc<Field>)| {
        let name = names.get(index).unwrap_or(field.name());
        Field::new(name, field.data_type().clone(), true)
    };
    let renamed: Vec<Field> = fields.iter().enumerate().map(renamed).collect();
    let mut seen = BTreeSet::new();
    if let Some(twice) = renamed.iter().find(|field| !seen.insert(field.name().clone())) {
        return Err(Error::new(format!(
            "the result has two columns named '{}'; give one another name with AS",
            twice.name()
        )));
    }
    Ok(Arc::new(Schema::new(renamed)))
}

/// How the result of a graph is stored, of which reads go by some columns if that was said.
pub fn storage(graph: &Graph, reads_by: Option<Vec<usize>>) -> Storage {
    let output = graph.output();
    if let Some(by) = reads_by {
        let is_key = |key: &Vec<usize>| key.len() == by.len() && key.iter().all(|column| by.contains(column));
        return match output.key.as_ref().is_some_and(is_key) {
            true => Storage::Keyed(by),
            false => Storage::By(by),
        };
    }
    match &output.key {
        Some(key) => Storage::Keyed(key.clone()),
        None if output.append_only => Storage::Append,
        None => Storage::Bag,
    }
}

impl Builder {
    fn new(closing: Closing, max_iterations: u32) -> Builder {
        Builder {
            graph: Graph::default(),
            closing,
            reads: BTreeSet::new(),
            timeout_us: None,
            max_iterations,
            within: None,
        }
    }

    /// Builds a plan. With `want_hidden` the result carries the hidden watermark column if it can.
    pub fn build(&mut self, plan: &LogicalPlan, want_hidden: bool) -> Result<Built> {
        if let Some(port) = self.port_of(plan)? {
            return Ok(port);
        }
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan, want_hidden),
            LogicalPlan::SubqueryAlias(alias) => {
                let mut built = self.build(&alias.input, want_hidden)?;
                built.schema = alias.schema.as_ref().clone();
                Ok(built)
            }
            LogicalPlan::Projection(projection) => {
                let (filter, input) = match projection.input.as_ref() {
                    LogicalPlan::Filter(f) if order::first_rows(f).is_none() && !now::uses(&f.predicate) => {
                        (Some(&f.predicate), &f.input)
                    }
                    _ => (None, &projection.input),
                };
                let input = self.build(input, want_hidden)?;
                self.map(input, filter, &projection.expr, projection.schema.as_ref())
            }
            LogicalPlan::Filter(filter) => {
                if let Some(first) = order::first_rows(filter) {
                    return self.first_rows(first?);
                }
                let input = self.build(&filter.input, want_hidden)?;
                if condition(&filter.predicate).is_none() {
                    return Ok(input);
                }
                if now::uses(&filter.predicate) {
                    return self.present(input, &filter.predicate);
                }
                let columns: Vec<Expr> = input.schema.columns().into_iter().map(Expr::Column).collect();
                let schema = input.schema.clone();
                self.map(input, Some(&filter.predicate), &columns, &schema)
            }
            LogicalPlan::Union(union) => self.union(&union.inputs, union.schema.as_ref(), want_hidden),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Window(window) => self.over(window),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::RecursiveQuery(query) => self.recursion(query),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Sort(sort) => match sort.fetch {
                Some(fetch) => self.top_n(&sort.input, &sort.expr, 0, fetch as u64),
                // Inside a query an order without limit means nothing.
                None => self.build(&sort.input, want_hidden),
            },
            LogicalPlan::Extension(extension) => {
                let node = extension.node.as_any();
                if let Some(window) = node.downcast_ref::<WindowNode>() {
                    self.window(window, want_hidden)
                } else if let Some(repeat) = node.downcast_ref::<RepeatNode>() {
                    self.repeat(repeat)
                } else if let Some(draw) = node.downcast_ref::<DrawNode>() {
                    self.draw(draw, want_hidden)
                } else if let Some(as_of) = node.downcast_ref::<AsOfNode>() {
                    self.as_of(as_of)
                } else {
                    Err(refuse::plan(plan))
                }
            }
            LogicalPlan::Values(values) => self.values(&values.values, values.schema.as_ref()),
            LogicalPlan::EmptyRelation(empty) => {
                let rows = vec![Vec::new(); usize::from(empty.produce_one_row)];
                self.values(&rows, empty.schema.as_ref())
            }
            // LATERAL that names nothing outside.
            LogicalPlan::Subquery(subquery) if subquery.subquery.all_out_ref_exprs().is_empty() => {
                self.build(&subquery.subquery, want_hidden)
            }
            _ => Err(refuse::plan(plan)),
        }
    }

    /// Filter and projection. The hidden column passes.
    pub fn map(&mut self, input: Built, filter: Option<&Expr>, exprs: &[Expr], schema: &DFSchema) -> Result<Built> {
        refuse::subqueries(exprs.iter().chain(filter))?;
        let filter = filter.and_then(condition);
        let filter = filter.map(|filter| physical(&filter, &input.schema)).transpose()?;
        let mut outputs: Vec<Arc<dyn PhysicalExpr>> = exprs
            .iter()
            .map(|expr| physical(expr, &input.schema))
            .collect::<Result<_>>()?;
        let sources: Vec<Option<usize>> = exprs.iter().map(|expr| column_of(expr, &input.schema)).collect();
        let visible = input.schema.fields().len();
        if input.hidden {
            outputs.push(Arc::new(physical_exprs::Column::new(WATERMARK_COLUMN, visible)));
        }
        let place = |column: usize| sources.iter().position(|source| *source == Some(column));
        let below = self.graph.node(input.node);
        let facts = Facts {
            append_only: below.append_only,
            key: below.key.as_ref().and_then(|key| remap(key, place)),
            has_watermark: below.has_watermark,
            bound: None,
        };
        let spec = MapSpec { filter, exprs: outputs };
        let (spec, from) = self.without_selection(spec, input.node)?;
        let named = self.named_as_below(&input, exprs, schema);
        let node = self.push(
            NodeKind::Map(spec),
            vec![from],
            with_hidden(&named, input.hidden),
            facts,
        );
        let time = sources
            .iter()
            .map(|source| source.and_then(|column| input.time[column]))
            .collect();
        let dealt = input.dealt.as_ref().and_then(|columns| remap(columns, place));
        Ok(Built {
            node,
            schema: schema.clone(),
            hidden: input.hidden,
            time,
            dealt,
        })
    }

    /// The columns of `schema`; one that is merely passed on is called as it is below, where it may have been given a
    /// name for people. (Those that DataFusion's rules make stand in its expressions, too.)
    fn named_as_below(&self, input: &Built, exprs: &[Expr], schema: &DFSchema) -> Schema {
        let below = &self.graph.node(input.node).schema;
        let named = exprs.iter().zip(schema.fields()).map(|(expr, field)| {
            let passed_on = match expr {
                Expr::Column(_) if !field.name().starts_with("__") => column_of(expr, &input.schema),
                _ => None,
            };
            let name = passed_on.map_or(field.name(), |column| below.field(column).name());
            field.as_ref().clone().with_name(name)
        });
        Schema::new(named.collect::<Vec<_>>())
    }

    /// A map over the node, or over what is below it if that only selects columns.
    fn without_selection(&self, spec: MapSpec, node: NodeId) -> Result<(MapSpec, Input)> {
        let selected = match &self.graph.node(node).kind {
            NodeKind::Map(MapSpec { filter: None, exprs }) => {
                exprs.iter().map(explain::expr_column).collect::<Option<Vec<usize>>>()
            }
            _ => None,
        };
        let (Some(selected), Some(below)) = (selected, self.graph.node(node).inputs.first().cloned()) else {
            let exchange = Exchange::Local;
            return Ok((spec, Input { node, exchange }));
        };
        let columns = self.graph.node(below.node).schema.clone();
        let through = |expr: &Arc<dyn PhysicalExpr>| {
            let replace = |expr: Arc<dyn PhysicalExpr>| {
                Ok(match explain::expr_column(&expr) {
                    Some(column) => {
                        let column = selected[column];
                        let name = columns.field(column).name();
                        Transformed::yes(Arc::new(physical_exprs::Column::new(name, column)) as Arc<dyn PhysicalExpr>)
                    }
                    None => Transformed::no(expr),
                })
            };
            let done = expr.clone().transform_up(replace);
            done.map(|done| done.data).map_err(errors::translate)
        };
        let spec = MapSpec {
            filter: spec.filter.as_ref().map(through).transpose()?,
            exprs: spec.exprs.iter().map(through).collect::<Result<_>>()?,
        };
        Ok((spec, below))
    }

    /// Without the nodes that nobody reads. The root is the last one then.
    fn prune(&mut self, root: Built) -> Built {
        let mut read = vec![false; self.graph.nodes.len()];
        read[root.node.0 as usize] = true;
        for index in (0..read.len()).rev().filter(|index| *index <= root.node.0 as usize) {
            if read[index] {
                for input in &self.graph.nodes[index].inputs {
                    read[input.node.0 as usize] = true;
                }
            }
        }
        let mut places = vec![NodeId(0); read.len()];
        let mut graph = Graph::default();
        for (index, mut node) in std::mem::take(&mut self.graph.nodes).into_iter().enumerate() {
            if read[index] {
                for input in &mut node.inputs {
                    input.node = places[input.node.0 as usize];
                }
                places[index] = graph.push(node);
            }
        }
        self.graph = graph;
        let node = places[root.node.0 as usize];
        Built { node, ..root }
    }

    /// Adds columns for expressions that are no plain columns. Returns where each stands.
    pub fn with_columns(&mut self, input: Built, exprs: &[&Expr]) -> Result<(Built, Vec<usize>)> {
        let mut places = Vec::with_capacity(exprs.len());
        let mut added: Vec<Expr> = Vec::new();
        let visible = input.schema.fields().len();
        for expr in exprs {
            places.push(match column_of(expr, &input.schema) {
                Some(column) => column,
                None => match added.iter().position(|other| other == *expr) {
                    Some(at) => visible + at,
                    None => {
                        added.push((*expr).clone());
                        visible + added.len() - 1
                    }
                },
            });
        }
        if added.is_empty() {
            return Ok((input, places));
        }
        let mut fields: Vec<_> = input.schema.iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
        for expr in &added {
            let computed = physical(expr, &input.schema)?;
            let mut name = explain::expr_text(&computed, &self.graph.node(input.node).schema);
            while fields.iter().any(|(_, field)| *field.name() == name) {
                name.push('\'');
            }
            let kind = computed.data_type(input.schema.as_arrow()).map_err(errors::translate)?;
            fields.push((None, Arc::new(Field::new(name, kind, true))));
        }
        let schema = DFSchema::new_with_metadata(fields, Default::default()).map_err(errors::translate)?;
        let mut all: Vec<Expr> = input.schema.columns().into_iter().map(Expr::Column).collect();
        all.extend(added);
        Ok((self.map(input, None, &all, &schema)?, places))
    }

    /// Keeps these columns of a node's output, by position.
    fn select(&mut self, input: Built, columns: &[usize]) -> Result<Built> {
        let below = self.graph.node(input.node);
        let schema: Vec<Arc<Field>> = columns.iter().map(|c| below.schema.fields()[*c].clone()).collect();
        let exprs = columns.iter().zip(&schema).map(|(column, field)| {
            Arc::new(physical_exprs::Column::new(field.name(), *column)) as Arc<dyn PhysicalExpr>
        });
        let exprs = exprs.collect();
        let place = |column: usize| columns.iter().position(|c| *c == column);
        let facts = Facts {
            append_only: below.append_only,
            key: below.key.as_ref().and_then(|key| remap(key, place)),
            has_watermark: below.has_watermark,
            bound: None,
        };
        let dealt = input.dealt.as_ref().and_then(|dealt| remap(dealt, place));
        let node = self.push(
            NodeKind::Map(MapSpec { filter: None, exprs }),
            vec![Input {
                node: input.node,
                exchange: Exchange::Local,
            }],
            Arc::new(Schema::new(schema)),
            facts,
        );
        Ok(Built {
            node,
            dealt,
            hidden: false,
            ..input
        })
    }

    /// Without the hidden column.
    fn visible(&mut self, input: Built) -> Result<Built> {
        if !input.hidden {
            return Ok(input);
        }
        let columns: Vec<usize> = (0..input.schema.fields().len()).collect();
        self.select(input, &columns)
    }

    /// Gives the result its column names. A node that others read as well keeps its own, and so does one
    /// that passes on what it is given.
    fn name_columns(&mut self, root: &mut Built, names: &[String]) -> Result<SchemaRef> {
        let schema = named(root.schema.fields(), names)?;
        let node = self.graph.node(root.node);
        let named = |(field, given): (&Arc<Field>, &Arc<Field>)| field.name() == given.name();
        let is_named = node.schema.fields().iter().zip(schema.fields()).all(named);
        let passes_on = matches!(node.kind, NodeKind::Union) && !is_named;
        if passes_on || root.node.0 as usize + 1 < self.graph.nodes.len() {
            root.node = self.pass_on(root.node, Exchange::Local);
        }
        self.graph.nodes[root.node.0 as usize].schema = schema.clone();
        Ok(schema)
    }

    /// A keyed result must have all changes of a key in one task.
    fn settle_key(&mut self, root: &Built) -> Result<()> {
        let output = self.graph.node(root.node);
        let together = match (&output.key, &root.dealt) {
            (None, _) => true,
            // Each key comes once.
            _ if output.append_only => true,
            (Some(key), Some(dealt)) => dealt.iter().all(|column| key.contains(column)),
            (Some(_), None) => false,
        };
        if let (Some(key), false) = (&output.key, together) {
            let exchange = match key.is_empty() {
                true => Exchange::Single,
                false => Exchange::Hash(key.clone()),
            };
            self.pass_on(root.node, exchange);
        }
        Ok(())
    }

    /// A last node with the rows of `node`, dealt anew.
    fn pass_on(&mut self, node: NodeId, exchange: Exchange) -> NodeId {
        let below = self.graph.node(node);
        let column = |(index, field): (usize, &Arc<Field>)| -> Arc<dyn PhysicalExpr> {
            Arc::new(physical_exprs::Column::new(field.name(), index))
        };
        let exprs = below.schema.fields().iter().enumerate().map(column).collect();
        self.graph.push(Node {
            kind: NodeKind::Map(MapSpec { filter: None, exprs }),
            inputs: vec![Input { node, exchange }],
            schema: below.schema.clone(),
            append_only: below.append_only,
            key: below.key.clone(),
            has_watermark: below.has_watermark,
            state_bound: None,
        })
    }

    /// Adds a node, unless there is the same already: what a query names twice is computed once.
    pub fn push(&mut self, kind: NodeKind, inputs: Vec<Input>, schema: SchemaRef, facts: Facts) -> NodeId {
        let node = Node {
            kind,
            inputs,
            schema,
            append_only: facts.append_only,
            key: facts.key,
            has_watermark: facts.has_watermark,
            state_bound: facts.bound,
        };
        let same = self.graph.nodes.iter().position(|other| *other == node);
        match same {
            Some(at) => NodeId(at as u32),
            None => self.graph.push(node),
        }
    }
}

/// A condition, unless it always holds. One that is NULL holds as little as one that is false.
fn condition(predicate: &Expr) -> Option<Expr> {
    match predicate {
        Expr::Literal(ScalarValue::Boolean(Some(true)), _) => None,
        Expr::Literal(value, _) if value.is_null() => Some(lit(false)),
        other => Some(other.clone()),
    }
}

/// What is proved of a node's output.
pub(super) struct Facts {
    pub append_only: bool,
    pub key: Option<Vec<usize>>,
    pub has_watermark: bool,
    pub bound: Option<String>,
}

/// The column that an expression merely names.
pub(super) fn column_of(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Column(column) => schema.index_of_column(column).ok(),
        Expr::Alias(alias) => column_of(&alias.expr, schema),
        _ => None,
    }
}

pub(super) fn remap(columns: &[usize], place: impl Fn(usize) -> Option<usize>) -> Option<Vec<usize>> {
    columns.iter().map(|column| place(*column)).collect()
}

/// How rows get to the tasks that own these columns. They stay where they are only if they were
/// dealt by the very same columns: state belongs to the shard of its operator's own key.
pub(super) fn exchange_by(columns: &[usize], input: &Built) -> Exchange {
    if input.dealt.as_deref() == Some(columns) {
        Exchange::Local
    } else {
        Exchange::Hash(columns.to_vec())
    }
}

pub(super) fn single(input: &Built) -> Exchange {
    if input.dealt.as_ref().is_some_and(Vec::is_empty) {
        Exchange::Local
    } else {
        Exchange::Single
    }
}

fn with_hidden(schema: &Schema, hidden: bool) -> SchemaRef {
    let mut fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|f| f.as_ref().clone().with_nullable(true))
        .collect();
    if hidden {
        fields.push(Field::new(
            WATERMARK_COLUMN,
            DataType::Timestamp(TimeUnit::Microsecond, None),
            true,
        ));
    }
    Arc::new(Schema::new(fields))
}
