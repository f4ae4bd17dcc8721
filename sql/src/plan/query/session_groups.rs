//! Aggregates over SESSION: what is kept of a session is what they say of its rows.
//!
//! A session that grows has another end, and so gives each of its rows anew. A grouping right above it that
//! keeps sessions apart wants none of them: where its results can be put together, and rows only come,
//! the session operator groups, and gives the groups.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Aggregate;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use weir_engine::graph::{
    AggregateCall, AggregateFunction, Exchange, Input, MapSpec, Node, NodeKind, SessionGroups, SessionKey, SessionSpec,
};
use weir_engine::relation::WATERMARK_COLUMN;

use super::{Builder, Built, Facts, until};
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
        let Within {
            keys: places, calls, ..
        } = &found;
        let top = self.graph.node(input.node);
        let key_fields = keys
            .iter()
            .map(|key| top.schema.field(*key).clone().with_nullable(true));
        let mut fields: Vec<Field> = key_fields.collect();
        let (below, spec) = self.below_groups(&found)?;
        let node = self.graph.node(below.node);
        fields.extend(calls.iter().map(|call| {
            let name = explain::call_text(call, &node.schema);
            Field::new(name, call.output_type.clone(), true)
        }));
        let is_closed = keys.iter().any(|key| input.time[*key].is_some());
        let facts = Facts {
            append_only: spec.close.is_some_and(|close| close.emit_on_close),
            key: Some((0..keys.len()).collect()),
            has_watermark: node.has_watermark,
            bound: Some(match (&spec.close, is_closed) {
                (Some(close), _) => until("window_end", close.lateness_us),
                (None, true) => "the groups of all sessions; every session stays correctable".to_string(),
                (None, false) => "the groups of all sessions".to_string(),
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
            node,
            schema: aggregate.schema.as_ref().clone(),
            hidden: false,
            time,
            dealt,
        }))
    }

    fn within_sessions(&self, input: &Built, keys: &[usize], calls: &[AggregateCall]) -> Result<Option<Within>> {
        if !calls.iter().all(merges) {
            return Ok(None);
        }
        let arguments = calls.iter().flat_map(|call| call.argument.iter().chain(&call.filter));
        let Some((at, exprs)) = self.through_maps(input, keys.iter().chain(arguments))? else {
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
        let mut found = Within {
            session: session.clone(),
            input: at.inputs[0].clone(),
            keys: Vec::new(),
            calls: Vec::new(),
            computed: Vec::new(),
        };
        for expr in &exprs[..keys.len()] {
            let key = match explain::expr_column(expr) {
                Some(column) if column == visible => SessionKey::Start,
                Some(column) if column == visible + 1 => SessionKey::End,
                _ => match found.place(expr, visible) {
                    Some(column) => SessionKey::Column(column),
                    None => return Ok(None),
                },
            };
            found.keys.push(key);
        }
        let mut rest = exprs[keys.len()..].iter();
        for call in calls {
            let mut place = |column: Option<usize>| -> Option<Option<usize>> {
                match column.and_then(|_| rest.next()) {
                    Some(expr) => Some(Some(found.place(expr, visible)?)),
                    None => Some(None),
                }
            };
            let (Some(argument), Some(filter)) = (place(call.argument), place(call.filter)) else {
                return Ok(None);
            };
            found.calls.push(AggregateCall {
                argument,
                filter,
                ..call.clone()
            });
        }
        Ok(found.keeps_sessions_apart().then_some(found))
    }

    /// The node below the ones that only compute columns, and what these columns are there.
    fn through_maps<'a>(
        &self,
        input: &Built,
        columns: impl Iterator<Item = &'a usize>,
    ) -> Result<Option<(&Node, Computed)>> {
        let mut at = self.graph.node(input.node);
        let name = |column: usize| at.schema.field(column).name();
        let mut exprs: Computed = columns
            .map(|column| Arc::new(Column::new(name(*column), *column)) as Arc<dyn PhysicalExpr>)
            .collect();
        while let NodeKind::Map(map) = &at.kind {
            if map.filter.is_some() {
                return Ok(None);
            }
            for expr in &mut exprs {
                *expr = replaced(expr, |column| map.exprs[column].clone())?;
            }
            at = self.graph.node(at.inputs[0].node);
        }
        Ok(Some((at, exprs)))
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

    /// Whether no group has rows of two sessions. Where groups come at the close, only if a session is one
    /// group: else each row would touch all groups of its session, which nobody sees before.
    fn keeps_sessions_apart(&self) -> bool {
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
            && (!emits_on_close || self.keys.iter().all(of_partition))
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

/// Whether a call's results over parts of the rows can be put together without the rows.
fn merges(call: &AggregateCall) -> bool {
    match call.function {
        AggregateFunction::Count | AggregateFunction::Sum | AggregateFunction::Avg => !call.distinct,
        AggregateFunction::Min | AggregateFunction::Max => true,
        AggregateFunction::Fold(_) => false,
    }
}
