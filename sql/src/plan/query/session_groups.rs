//! Aggregates over SESSION: what is kept of a session is what they say of its rows.
//!
//! A session that grows has another end, and so gives each of its rows anew. A grouping right above it that
//! keeps sessions apart wants none of them: where rows only come, the session operator groups, and gives the groups.
//!
//! A filter between the two that is about rows is each call's own, and a group of none of the rows that pass isn't
//! there. One about the bounds of sessions may spare what can't be computed: then sessions keep their rows.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Aggregate, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal, case};
use weir_engine::graph::{
    AggregateCall, AggregateFunction, Exchange, FoldRows, Input, MapSpec, Node, NodeId, NodeKind, SessionGroups,
    SessionKey, SessionSpec,
};
use weir_engine::relation::WATERMARK_COLUMN;

use super::{Builder, Built, Facts, until};
use crate::plan::aggregate::keeps_rows;
use crate::plan::errors;
use crate::{Result, explain};

/// What columns are, seen from below the nodes that compute them.
type Computed = Vec<Arc<dyn PhysicalExpr>>;

/// A grouping, seen from below the sessions.
struct Within {
    session: SessionSpec,
    /// What the sessions read.
    input: Input,
    keys: Vec<SessionKey>,
    /// Over the input, and what is computed of it.
    calls: Vec<AggregateCall>,
    computed: Computed,
    /// The call that counts the rows of a group that pass a filter, if there is one.
    passing: Option<usize>,
}

impl Builder {
    /// The groups of sessions, if that is what an aggregate by `keys` asks for.
    pub(in crate::plan) fn session_groups(
        &mut self,
        input: &Built,
        keys: &[usize],
        calls: &[AggregateCall],
        aggregate: &Aggregate,
    ) -> Result<Option<Built>> {
        let Some(found) = self.within_sessions(input, keys, calls)? else {
            return Ok(None);
        };
        let places = &found.keys;
        let top = self.graph.node(input.node);
        let key_fields = keys
            .iter()
            .map(|key| top.schema.field(*key).clone().with_nullable(true));
        let mut fields: Vec<Field> = key_fields.collect();
        let (below, spec) = self.below_groups(&found)?;
        let node = self.graph.node(below.node);
        fields.extend(found.calls.iter().map(|call| {
            let name = explain::call_text(call, &node.schema);
            Field::new(name, call.output_type.clone(), true)
        }));
        let is_closed = keys.iter().any(|key| input.time[*key].is_some());
        let rows = match keeps_rows(&found.calls, true) {
            true => "; keeps the rows of each",
            false => "",
        };
        let facts = Facts {
            append_only: spec.close.is_some_and(|close| close.emit_on_close),
            key: Some((0..keys.len()).collect()),
            has_watermark: node.has_watermark,
            bound: Some(match (&spec.close, is_closed) {
                (Some(close), _) => until("window_end", close.lateness_us),
                (None, true) => format!("the groups of all sessions; every session stays correctable{rows}"),
                (None, false) => format!("the groups of all sessions{rows}"),
            }),
        };
        let place = |column: &usize| places.iter().position(|key| *key == SessionKey::Column(*column));
        let dealt = spec.partition.iter().map(place).collect();
        let mut time: Vec<_> = keys.iter().map(|key| input.time[*key]).collect();
        time.resize(keys.len() + calls.len(), None);
        let node = self.push(
            NodeKind::Session(spec),
            vec![below],
            Arc::new(Schema::new(fields)),
            facts,
        );
        Ok(Some(Built {
            node: self.of_groups(node, &found, keys.len() + calls.len()),
            schema: aggregate.schema.as_ref().clone(),
            hidden: false,
            time,
            dealt,
        }))
    }

    /// The groups that have rows that pass, in their first columns.
    fn of_groups(&mut self, groups: NodeId, found: &Within, columns: usize) -> NodeId {
        let Some(passing) = found.passing else { return groups };
        let below = self.graph.node(groups);
        let column = |column: usize| -> Arc<dyn PhysicalExpr> {
            Arc::new(Column::new(below.schema.field(column).name(), column))
        };
        let none: Arc<dyn PhysicalExpr> = Arc::new(Literal::new(ScalarValue::Int64(Some(0))));
        let count = column(found.keys.len() + passing);
        let some: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(count, Operator::Gt, none));
        let facts = Facts {
            append_only: below.append_only,
            key: below.key.clone(),
            has_watermark: below.has_watermark,
            bound: None,
        };
        let schema = Arc::new(Schema::new(below.schema.fields()[..columns].to_vec()));
        let spec = MapSpec {
            filter: Some(some),
            exprs: (0..columns).map(column).collect(),
        };
        let from = Input {
            node: groups,
            exchange: Exchange::Local,
        };
        self.push(NodeKind::Map(spec), vec![from], schema, facts)
    }

    fn within_sessions(&self, input: &Built, keys: &[usize], calls: &[AggregateCall]) -> Result<Option<Within>> {
        let arguments = calls.iter().flat_map(AggregateCall::columns);
        let Some((at, exprs, filters)) = self.through_maps(input, keys.iter().copied().chain(arguments))? else {
            return Ok(None);
        };
        let NodeKind::Session(session) = &at.kind else {
            return Ok(None);
        };
        let below = self.graph.node(at.inputs[0].node);
        let visible = session.watermark.unwrap_or(below.schema.fields().len());
        if session.groups.is_some() || !below.append_only {
            return Ok(None);
        }
        let (key_exprs, mut rest) = (&exprs[..keys.len()], exprs[keys.len()..].iter());
        let passes = all_of(filters)?;
        let mut found = Within {
            session: session.clone(),
            input: at.inputs[0].clone(),
            keys: Vec::new(),
            calls: Vec::new(),
            computed: Vec::new(),
            passing: None,
        };
        for expr in key_exprs {
            let key = match explain::expr_column(expr) {
                Some(column) if column == visible => SessionKey::Start,
                Some(column) if column == visible + 1 => SessionKey::End,
                Some(column) if session.partition.contains(&column) => SessionKey::Column(column),
                _ => match found.place(&if_passes(&passes, expr)?, visible) {
                    Some(column) => SessionKey::Column(column),
                    None => return Ok(None),
                },
            };
            found.keys.push(key);
        }
        for call in calls {
            let mut columns = Vec::new();
            let count = call.columns().count();
            for (nth, expr) in rest.by_ref().take(count).enumerate() {
                let is_filter = call.filter.is_some() && nth + 1 == count;
                let expr = match explain::expr_column(expr).filter(|_| !is_filter) {
                    Some(_) => expr.clone(),
                    None => if_passes(&passes, expr)?,
                };
                match found.place(&expr, visible) {
                    Some(place) => columns.push(place),
                    None => return Ok(None),
                }
            }
            found.calls.push(call.clone().with_columns(columns));
        }
        if let Some(passes) = passes
            && !found.count_passing(&passes, visible)
        {
            return Ok(None);
        }
        Ok(found.is_cheap().then_some(found))
    }

    /// The node below the ones that compute columns and filter, and what these columns and filters, the last one first,
    /// are there.
    fn through_maps(
        &self,
        input: &Built,
        columns: impl Iterator<Item = usize>,
    ) -> Result<Option<(&Node, Computed, Computed)>> {
        let mut at = self.graph.node(input.node);
        let name = |column: usize| at.schema.field(column).name();
        let mut exprs: Computed = columns
            .map(|column| Arc::new(Column::new(name(column), column)) as Arc<dyn PhysicalExpr>)
            .collect();
        let mut filters = Computed::new();
        while let NodeKind::Map(map) = &at.kind {
            for expr in exprs.iter_mut().chain(&mut filters) {
                *expr = replaced(expr, |column| map.exprs[column].clone())?;
            }
            filters.extend(map.filter.clone());
            at = self.graph.node(at.inputs[0].node);
        }
        Ok(Some((at, exprs, filters)))
    }

    /// What the session operator reads, with columns for what is computed, and its spec over these.
    fn below_groups(&mut self, found: &Within) -> Result<(Input, SessionSpec)> {
        let mut spec = SessionSpec {
            groups: Some(SessionGroups {
                keys: found.keys.clone(),
                calls: found.calls.clone(),
            }),
            ..found.session.clone()
        };
        if found.computed.is_empty() {
            return Ok((found.input.clone(), spec));
        }
        let below = self.graph.node(found.input.node);
        let visible = spec.watermark.unwrap_or(below.schema.fields().len());
        let column = |column: usize| -> Arc<dyn PhysicalExpr> {
            Arc::new(Column::new(below.schema.field(column).name(), column))
        };
        let mut fields: Vec<Field> = below.schema.fields()[..visible]
            .iter()
            .map(|f| f.as_ref().clone())
            .collect();
        let mut exprs: Vec<_> = (0..visible).map(column).collect();
        for expr in &found.computed {
            let mut name = explain::expr_text(expr, &below.schema);
            while fields.iter().any(|field| *field.name() == name) {
                name.push('\'');
            }
            let kind = expr.data_type(&below.schema).map_err(errors::translate)?;
            fields.push(Field::new(name, kind, true));
            exprs.push(expr.clone());
        }
        if let Some(watermark) = &mut spec.watermark {
            exprs.push(column(*watermark));
            let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
            *watermark = fields.len();
            fields.push(Field::new(WATERMARK_COLUMN, timestamp, true));
        }
        let facts = Facts {
            append_only: below.append_only,
            key: below.key.clone(),
            has_watermark: below.has_watermark,
            bound: None,
        };
        let node = self.push(
            NodeKind::Map(MapSpec { filter: None, exprs }),
            vec![Input {
                node: found.input.node,
                exchange: Exchange::Local,
            }],
            Arc::new(Schema::new(fields)),
            facts,
        );
        let exchange = found.input.exchange.clone();
        Ok((Input { node, exchange }, spec))
    }
}

impl Within {
    /// The column of an expression of the sessions' rows; none if it is of their bounds.
    fn place(&mut self, expr: &Arc<dyn PhysicalExpr>, visible: usize) -> Option<usize> {
        if let Some(column) = explain::expr_column(expr) {
            return Some(column).filter(|column| *column < visible);
        }
        let of_rows = datafusion::physical_expr::utils::collect_columns(expr);
        if of_rows.iter().any(|column| column.index() >= visible) {
            return None;
        }
        let known = self.computed.iter().position(|other| other == expr);
        Some(
            visible
                + known.unwrap_or_else(|| {
                    self.computed.push(expr.clone());
                    self.computed.len() - 1
                }),
        )
    }

    /// Has the calls look at rows that pass only, and counts these.
    fn count_passing(&mut self, passes: &Arc<dyn PhysicalExpr>, visible: usize) -> bool {
        let Some(filter) = self.place(passes, visible) else {
            return false;
        };
        for call in &mut self.calls {
            call.filter.get_or_insert(filter);
        }
        let counts = AggregateCall {
            function: AggregateFunction::Count,
            argument: None,
            distinct: false,
            filter: Some(filter),
            output_type: DataType::Int64,
        };
        let known = self.calls.iter().position(|call| *call == counts);
        self.passing = Some(known.unwrap_or_else(|| {
            self.calls.push(counts);
            self.calls.len() - 1
        }));
        true
    }

    /// Whether no group has rows of two sessions. Where groups come at the close, only if a session is one
    /// group of results of a bounded size: else each row would touch more of its session, which nobody sees before.
    fn is_cheap(&self) -> bool {
        let of_partition = |key: &SessionKey| match key {
            SessionKey::Column(column) => self.session.partition.contains(column),
            SessionKey::Start | SessionKey::End => true,
        };
        let partition = &self.session.partition;
        let emits_on_close = self.session.close.is_some_and(|close| close.emit_on_close);
        self.keys.iter().any(|key| !matches!(key, SessionKey::Column(_)))
            && partition
                .iter()
                .all(|column| self.keys.contains(&SessionKey::Column(*column)))
            && (!emits_on_close || self.keys.iter().all(of_partition) && self.calls.iter().all(is_bounded))
    }
}

/// What rows pass all filters, of which the last one stands first: a row that one leaves out is none for the next.
fn all_of(filters: Computed) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let mut passes = None;
    for filter in filters.iter().rev() {
        passes = Some(if_passes(&passes, filter)?);
    }
    Ok(passes)
}

/// What is computed of a row that passes; NULL of others.
fn if_passes(passes: &Option<Arc<dyn PhysicalExpr>>, expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    match passes {
        Some(passes) => case(None, vec![(passes.clone(), expr.clone())], None).map_err(errors::translate),
        None => Ok(expr.clone()),
    }
}

/// An expression with other ones in the place of its columns.
fn replaced(
    expr: &Arc<dyn PhysicalExpr>,
    by: impl Fn(usize) -> Arc<dyn PhysicalExpr>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let done = expr.clone().transform_up(|expr| {
        Ok(match explain::expr_column(&expr) {
            Some(column) => Transformed::yes(by(column)),
            None => Transformed::no(expr),
        })
    });
    done.map(|done| done.data).map_err(errors::translate)
}

/// Whether what is kept for a call is of a bounded size, however many rows it has looked at.
fn is_bounded(call: &AggregateCall) -> bool {
    match &call.function {
        AggregateFunction::Count | AggregateFunction::Sum | AggregateFunction::Avg => !call.distinct,
        AggregateFunction::Min | AggregateFunction::Max => true,
        AggregateFunction::Fold(fold) => {
            let of_booleans = || matches!(fold.function.fun().name(), "bool_and" | "bool_or");
            match fold.reads {
                FoldRows::First | FoldRows::Last => true,
                FoldRows::Once => of_booleans(),
                FoldRows::All => false,
            }
        }
    }
}
