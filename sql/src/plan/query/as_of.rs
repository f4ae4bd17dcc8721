//! Joins as of a moment.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator, UserDefinedLogicalNodeCore};
use weir_engine::format::Envelope;
use weir_engine::graph::{AsOfClose, AsOfSpec, Input, InputSpec, JoinKind, Nearest, NodeKind};
use weir_engine::relation::WATERMARK_COLUMN;

use super::join::{Joining, exchange, keys_and_rest, side_by_side};
use super::{Builder, Built, Closing, Exchange, Facts, TimeBound, column_of, until};
use crate::catalog::{Definition, Relation};
use crate::plan::as_of::{AsOfNode, Moment, sides_of};
use crate::plan::refuse;
use crate::plan::session::RelationSource;
use crate::{Error, Result};

/// The places of an as-of join's columns in its inputs.
struct Columns {
    left_keys: Vec<usize>,
    right_keys: Vec<usize>,
    left_order: usize,
    right_order: usize,
    nearest: Nearest,
}

impl Builder {
    pub(super) fn as_of(&mut self, node: &AsOfNode) -> Result<Built> {
        refuse::subqueries(node.on.iter().chain(&node.nearest))?;
        let built = match (&node.nearest, node.moment) {
            (Some(nearest), Moment::Nearest | Moment::Version) => self.nearest(node, nearest)?,
            _ => self.at_once(node)?,
        };
        let columns: Vec<Expr> = node.schema().columns().into_iter().map(Expr::Column).collect();
        self.map(built, None, &columns, node.schema())
    }

    /// The right rows that are there when a left row comes.
    fn at_once(&mut self, node: &AsOfNode) -> Result<Built> {
        let left = self.build(&node.left, false)?;
        let right = self.build(&node.right, false)?;
        let kind = if node.outer { JoinKind::Left } else { JoinKind::Inner };
        let sides = (&left.schema, &right.schema);
        let (pairs, residual) = keys_and_rest(Vec::new(), node.on.iter().cloned().map(Expr::unalias), kind, sides);
        let ((left, right), both, joining) = self.joined((left, right), kind, &pairs, residual)?;
        let right = self.without_event_time(right);
        let joining = Joining {
            at_once: true,
            ..joining
        };
        self.push_join(joining, &left, &right, both)
    }

    /// Rows whose event time nobody waits for.
    fn without_event_time(&mut self, input: Built) -> Built {
        if !self.graph.node(input.node).has_watermark {
            return input;
        }
        let node = self.pass_on(input.node, Exchange::Local);
        self.graph.nodes[node.0 as usize].has_watermark = false;
        let time = vec![None; input.time.len()];
        Built { node, time, ..input }
    }

    /// The nearest right row, or the version that is valid.
    fn nearest(&mut self, node: &AsOfNode, nearest: &Expr) -> Result<Built> {
        let left = self.build(&node.left, true)?;
        let records = match node.moment {
            Moment::Version => upsert_rows(&node.right),
            _ => None,
        };
        let right = match &records {
            Some((relation, columns)) => self.scan_records(relation, columns, node.right.schema())?,
            None => self.build(&node.right, true)?,
        };
        let (mut left, mut right, columns) = self.places(node, nearest, left, right, records.is_some())?;
        if let Some((relation, read)) = &records {
            check_key(relation, columns.right_keys.iter().map(|key| read[*key]))?;
        }
        let is_time = |built: &Built, column: usize| {
            built.hidden && built.time[column] == Some(TimeBound::Event) && self.graph.node(built.node).append_only
        };
        let close = (is_time(&left, columns.left_order) && is_time(&right, columns.right_order)).then(|| AsOfClose {
            emit_final: node.moment == Moment::Version || self.closing == Closing::Emit,
            lateness_us: match self.closing {
                Closing::After(us) => us,
                Closing::Never | Closing::Emit => 0,
            },
        });
        if close.is_none() {
            left = self.visible(left)?;
            if records.is_none() {
                right = self.visible(right)?;
            }
        }
        self.push_as_of(columns, close, (node.outer, records.is_some()), &left, &right)
    }

    /// Finds, or makes, the columns that the join compares.
    fn places(
        &mut self,
        node: &AsOfNode,
        nearest: &Expr,
        left: Built,
        right: Built,
        records: bool,
    ) -> Result<(Built, Built, Columns)> {
        let lost = |part: &Expr| {
            Error::new(format!(
                "an as-of join has lost a side of its condition {part}: write it as left value, comparison, right value"
            ))
        };
        let (mut of_left, mut of_right) = (Vec::new(), Vec::new());
        let mut comparison = Operator::Eq;
        for part in node.on.iter().chain([nearest]) {
            let (one, op, other) = sides_of(part, (&left.schema, &right.schema)).ok_or_else(|| lost(part))?;
            of_left.push(one);
            of_right.push(other);
            comparison = op;
        }
        let kind = match comparison {
            Operator::GtEq => Nearest::AtOrBefore,
            Operator::Gt => Nearest::Before,
            Operator::LtEq => Nearest::AtOrAfter,
            Operator::Lt => Nearest::After,
            _ => return Err(lost(nearest)),
        };
        if records && of_right.iter().any(|expr| column_of(expr, &right.schema).is_none()) {
            return Err(Error::new(
                "versions are compared by the key and the time of the source as they are: cast the left side of the ON to the \
                 type of the key",
            ));
        }
        let (left, mut left_keys) = self.with_columns(left, &of_left)?;
        let (right, mut right_keys) = self.with_columns(right, &of_right)?;
        let (Some(left_order), Some(right_order)) = (left_keys.pop(), right_keys.pop()) else {
            return Err(lost(nearest));
        };
        let columns = Columns {
            left_keys,
            right_keys,
            left_order,
            right_order,
            nearest: kind,
        };
        Ok((left, right, columns))
    }

    fn push_as_of(
        &mut self,
        columns: Columns,
        close: Option<AsOfClose>,
        (outer, records): (bool, bool),
        left: &Built,
        right: &Built,
    ) -> Result<Built> {
        let schema = side_by_side(&left.schema, &right.schema)?;
        let (below_left, below_right) = (self.graph.node(left.node), self.graph.node(right.node));
        let facts = Facts {
            append_only: close.is_some_and(|close| close.emit_final),
            // Each left row is there once.
            key: below_left.key.clone(),
            has_watermark: below_left.has_watermark || below_right.has_watermark,
            bound: Some(bound(&columns, close, &below_left.schema, &below_right.schema)),
        };
        let inputs = vec![
            Input {
                node: left.node,
                exchange: exchange(&columns.left_keys, left),
            },
            Input {
                node: right.node,
                exchange: exchange(&columns.right_keys, right),
            },
        ];
        // What a left row shows may change, or comes, until the watermark has passed it. One that waits for a
        // right row behind it comes later.
        let keeps_time = close.is_some_and(|close| close.lateness_us == 0)
            && matches!(columns.nearest, Nearest::AtOrBefore | Nearest::Before);
        let mut time = match keeps_time {
            true => left.time.clone(),
            false => Vec::new(),
        };
        time.resize(schema.fields().len(), None);
        let dealt = Some(columns.left_keys.clone());
        let fields = schema.fields().iter();
        let fields: Vec<Field> = fields.map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let spec = AsOfSpec {
            left_keys: columns.left_keys,
            right_keys: columns.right_keys,
            left_order: columns.left_order,
            right_order: columns.right_order,
            nearest: columns.nearest,
            outer,
            records,
            close,
        };
        let node = self.push(NodeKind::AsOf(spec), inputs, Arc::new(Schema::new(fields)), facts);
        Ok(Built {
            node,
            schema,
            hidden: false,
            time,
            dealt,
        })
    }

    /// The records of an UPSERT source, as versions: its columns, then the watermark and whether a record is
    /// a tombstone.
    fn scan_records(&mut self, relation: &Arc<Relation>, columns: &[usize], schema: &DFSchema) -> Result<Built> {
        self.reads.insert(relation.id);
        let watermark = match &relation.definition {
            Definition::Source(spec) => spec.watermark.as_ref().map(|watermark| watermark.column),
            _ => None,
        };
        let mut fields: Vec<Field> = columns
            .iter()
            .map(|c| relation.schema.field(*c).clone().with_nullable(true))
            .collect();
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        fields.push(Field::new(WATERMARK_COLUMN, timestamp, true));
        fields.push(Field::new("weir_tombstone", DataType::Boolean, true));
        let time = columns
            .iter()
            .map(|c| (Some(*c) == watermark).then_some(TimeBound::Event))
            .collect();
        let input = InputSpec {
            relation: relation.id,
            name: relation.name.clone(),
            columns: columns.to_vec(),
            with_watermark: true,
            timeout_us: self.timeout_us,
        };
        let facts = Facts {
            append_only: true,
            key: None,
            has_watermark: true,
            bound: None,
        };
        let node = self.push(NodeKind::Input(input), vec![], Arc::new(Schema::new(fields)), facts);
        Ok(Built {
            node,
            schema: schema.clone(),
            hidden: true,
            time,
            dealt: None,
        })
    }
}

/// The UPSERT source whose rows a plan is, and which of its columns.
fn upsert_rows(plan: &LogicalPlan) -> Option<(Arc<Relation>, Vec<usize>)> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => upsert_rows(&alias.input),
        // The rules may leave columns out.
        LogicalPlan::Projection(projection) => {
            let (relation, columns) = upsert_rows(&projection.input)?;
            let place = |expr| Some(columns[column_of(expr, projection.input.schema())?]);
            Some((relation, projection.expr.iter().map(place).collect::<Option<_>>()?))
        }
        LogicalPlan::TableScan(scan) => {
            let relation = &scan.source.downcast_ref::<RelationSource>()?.relation;
            let is_upsert =
                matches!(&relation.definition, Definition::Source(spec) if spec.envelope == Envelope::Upsert);
            let all = || (0..relation.schema.fields().len()).collect();
            is_upsert.then(|| (relation.clone(), scan.projection.clone().unwrap_or_else(all)))
        }
        _ => None,
    }
}

/// The versions of an UPSERT source are those of its key.
fn check_key(relation: &Relation, compared: impl Iterator<Item = usize>) -> Result<()> {
    let key: BTreeSet<usize> = relation.key.iter().flatten().copied().collect();
    if compared.collect::<BTreeSet<usize>>() == key {
        return Ok(());
    }
    let names: Vec<&str> = key.iter().map(|c| relation.schema.field(*c).name().as_str()).collect();
    Err(Error::new(format!(
        "the versions of '{}' are those of its key: the ON of the join compares all of it ({})",
        relation.name,
        names.join(", ")
    )))
}

/// How long rows are kept, in words.
fn bound(columns: &Columns, close: Option<AsOfClose>, left: &Schema, right: &Schema) -> String {
    let Some(close) = close else {
        return "both sides, for ever".to_string();
    };
    let (time, place) = (
        left.field(columns.left_order).name(),
        right.field(columns.right_order).name(),
    );
    let keys: Vec<&str> = columns
        .right_keys
        .iter()
        .map(|key| right.field(*key).name().as_str())
        .collect();
    let each = match keys.is_empty() {
        true => String::new(),
        false => format!(" of each {}", keys.join(", ")),
    };
    match columns.nearest {
        Nearest::AtOrBefore | Nearest::Before => format!(
            "left {}, right the last {place}{each} that it has passed",
            until(time, close.lateness_us)
        ),
        Nearest::AtOrAfter | Nearest::After => {
            let until = until(place, close.lateness_us);
            format!("right {until}, left {until} of a row{each} behind it")
        }
    }
}
