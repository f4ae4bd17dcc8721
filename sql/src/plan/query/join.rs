//! Joins.
//!
//! The equalities between the two sides are the join's keys: state is kept and rows are dealt by
//! them. DataFusion's rules find those with `=`; those with IS NOT DISTINCT FROM are found here, so
//! that a join may have both. What is left of the condition is computed for each pair.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::{DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, lit, when};
use datafusion::physical_expr::PhysicalExpr;
use weir_engine::graph::{Exchange, Input, IntervalSpec, JoinKind, JoinSpec, NodeKind};

use super::{Builder, Built, Facts, TimeBound, exchange_by, interval, single, until};
use crate::Result;
use crate::plan::expr::physical;
use crate::plan::{errors, refuse};

/// One equality between the sides.
pub(super) struct KeyPair {
    pub(super) left: Expr,
    pub(super) right: Expr,
    /// NULL equals NULL.
    pub(super) null_equals_null: bool,
}

/// A join as the engine does it.
pub(super) struct Joining {
    pub kind: JoinKind,
    pub left_keys: Vec<usize>,
    pub right_keys: Vec<usize>,
    pub null_equals_null: Vec<bool>,
    pub residual: Option<Arc<dyn PhysicalExpr>>,
    pub interval: Option<IntervalSpec>,
    pub at_once: bool,
}

impl Builder {
    pub(super) fn join(&mut self, join: &datafusion::logical_expr::Join) -> Result<Built> {
        if join.null_aware {
            return Err(refuse::null_aware());
        }
        let (kind, swapped) = kind(join.join_type);
        let (left_plan, right_plan) = match swapped {
            true => (&join.right, &join.left),
            false => (&join.left, &join.right),
        };
        let want_hidden = interval::may_be_one(join.filter.as_ref());
        let mut left = self.build(left_plan, want_hidden)?;
        let mut right = self.build(right_plan, want_hidden)?;
        let interval = self.interval(&left, &right, join.filter.as_ref());
        if interval.is_none() {
            (left, right) = (self.visible(left)?, self.visible(right)?);
        }
        refuse::subqueries(join.on.iter().flat_map(|(l, r)| [l, r]).chain(join.filter.iter()))?;
        let (pairs, residual) = condition(join, swapped, kind, (&left.schema, &right.schema));
        let ((left, right), both, joining) = self.joined((left, right), kind, &pairs, residual)?;
        let joining = Joining { interval, ..joining };
        let schema = match kind {
            JoinKind::Inner | JoinKind::Left | JoinKind::Full => both,
            JoinKind::Semi | JoinKind::Anti => left.schema.clone(),
            JoinKind::Mark => {
                let mark = join.schema.iter().last();
                let mark = mark.map(|(qualifier, field)| (qualifier.cloned(), field.clone()));
                let columns = left.schema.iter().map(|(q, field)| (q.cloned(), field.clone()));
                DFSchema::new_with_metadata(columns.chain(mark).collect(), Default::default())
                    .map_err(errors::translate)?
            }
        };
        let built = self.push_join(joining, &left, &right, schema)?;
        let columns: Vec<Expr> = join.schema.columns().into_iter().map(Expr::Column).collect();
        self.map(built, None, &columns, join.schema.as_ref())
    }

    /// Two sides with columns for what is equal and what else has to hold: these sides, the columns of
    /// both, and how they are joined.
    pub(super) fn joined(
        &mut self,
        (left, right): (Built, Built),
        kind: JoinKind,
        pairs: &[KeyPair],
        residual: Option<Expr>,
    ) -> Result<((Built, Built), DFSchema, Joining)> {
        let (left, left_keys) = self.with_columns(left, &pairs.iter().map(|pair| &pair.left).collect::<Vec<_>>())?;
        let (right, right_keys) =
            self.with_columns(right, &pairs.iter().map(|pair| &pair.right).collect::<Vec<_>>())?;
        let both = side_by_side(&left.schema, &right.schema)?;
        let joining = Joining {
            kind,
            left_keys,
            right_keys,
            null_equals_null: pairs.iter().map(|pair| pair.null_equals_null).collect(),
            residual: residual.map(|filter| physical(&filter, &both)).transpose()?,
            interval: None,
            at_once: false,
        };
        Ok(((left, right), both, joining))
    }

    pub(super) fn push_join(
        &mut self,
        joining: Joining,
        left: &Built,
        right: &Built,
        schema: DFSchema,
    ) -> Result<Built> {
        let Joining {
            kind,
            left_keys,
            right_keys,
            ..
        } = &joining;
        let (kind, shift) = (*kind, left.schema.fields().len());
        let (below_left, below_right) = (self.graph.node(left.node), self.graph.node(right.node));
        let mut time = bounded_times(&joining, left, right);
        time.resize(schema.fields().len(), None);
        let closes = |(l, r): (&usize, &usize)| {
            left.time[*l] == Some(TimeBound::WindowEnd) && right.time[*r] == Some(TimeBound::WindowEnd)
        };
        let close = left_keys.iter().zip(right_keys).position(closes);
        let close = close.filter(|_| joining.interval.is_none() && !joining.at_once);
        let close = close.and_then(|position| self.closing.spec(position));
        let only_adds = match joining.at_once {
            true => below_left.append_only,
            false => kind.only_adds() && below_left.append_only && below_right.append_only,
        };
        let facts = Facts {
            append_only: only_adds,
            key: joined_key(
                kind,
                (below_left.key.as_deref(), left_keys),
                (below_right.key.as_deref(), right_keys),
                shift,
            ),
            has_watermark: below_left.has_watermark || below_right.has_watermark,
            bound: Some(match (&close, &joining.interval) {
                _ if joining.at_once && below_left.append_only => "right side".to_string(),
                _ if joining.at_once => "right side, and the left rows with what they have met".to_string(),
                (_, Some(interval)) => near(interval, &below_left.schema, &below_right.schema),
                (Some(close), None) => {
                    let column = below_left.schema.field(left_keys[close.column]).name();
                    format!("both sides {}", until(column, close.lateness_us))
                }
                (None, None) => "both sides, for ever".to_string(),
            }),
        };
        let inputs = vec![
            Input {
                node: left.node,
                exchange: exchange(left_keys, left),
            },
            Input {
                node: right.node,
                exchange: exchange(right_keys, right),
            },
        ];
        // A right row without partner stands where its own key is, with NULLs for the left one.
        let dealt = (kind != JoinKind::Full || left_keys.is_empty()).then(|| left_keys.clone());
        let fields = schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true));
        let fields: Vec<Field> = fields.collect();
        let spec = JoinSpec {
            kind,
            left_keys: joining.left_keys,
            right_keys: joining.right_keys,
            null_equals_null: joining.null_equals_null,
            residual: joining.residual,
            close,
            interval: joining.interval,
            at_once: joining.at_once,
        };
        let node = self.push(NodeKind::Join(spec), inputs, Arc::new(Schema::new(fields)), facts);
        Ok(Built {
            node,
            schema,
            hidden: false,
            time,
            dealt,
        })
    }
}

/// What a logical join is here, and whether its sides change places.
fn kind(kind: JoinType) -> (JoinKind, bool) {
    match kind {
        JoinType::Inner => (JoinKind::Inner, false),
        JoinType::Left => (JoinKind::Left, false),
        JoinType::Right => (JoinKind::Left, true),
        JoinType::Full => (JoinKind::Full, false),
        JoinType::LeftSemi => (JoinKind::Semi, false),
        JoinType::RightSemi => (JoinKind::Semi, true),
        JoinType::LeftAnti => (JoinKind::Anti, false),
        JoinType::RightAnti => (JoinKind::Anti, true),
        JoinType::LeftMark => (JoinKind::Mark, false),
        JoinType::RightMark => (JoinKind::Mark, true),
    }
}

/// A join's keys, and what is left of its condition.
fn condition(
    join: &datafusion::logical_expr::Join,
    swapped: bool,
    kind: JoinKind,
    sides: (&DFSchema, &DFSchema),
) -> (Vec<KeyPair>, Option<Expr>) {
    let null_equals_null = join.null_equality == NullEquality::NullEqualsNull;
    let mut pairs: Vec<KeyPair> = Vec::new();
    for (l, r) in &join.on {
        let (left, right) = if swapped { (r, l) } else { (l, r) };
        pairs.push(KeyPair {
            left: left.clone(),
            right: right.clone(),
            null_equals_null,
        });
    }
    keys_and_rest(pairs, join.filter.clone().into_iter(), kind, sides)
}

/// These keys and those among the conditions, and what is left of the conditions.
pub(super) fn keys_and_rest(
    mut pairs: Vec<KeyPair>,
    conditions: impl Iterator<Item = Expr>,
    kind: JoinKind,
    (left, right): (&DFSchema, &DFSchema),
) -> (Vec<KeyPair>, Option<Expr>) {
    let mut rest = Vec::new();
    for part in conditions.flat_map(split_conjunction_owned) {
        match equality(&part, left, right) {
            _ if part == lit(true) => {}
            Some(pair) => pairs.push(pair),
            None => rest.push(part),
        }
    }
    // Without a key, a condition on left rows alone can be one: those that fail it meet nothing.
    let of_left = |part: &Expr| !part.column_refs().is_empty() && has_all(left, part);
    if pairs.is_empty() && kind != JoinKind::Inner && kind != JoinKind::Full && rest.iter().any(of_left) {
        let (left, other): (Vec<Expr>, Vec<Expr>) = rest.into_iter().partition(of_left);
        rest = other;
        let passes = conjunction(left).and_then(|passes| when(passes, lit(true)).end().ok());
        pairs.extend(passes.map(|left| KeyPair {
            left,
            right: lit(true),
            null_equals_null: false,
        }));
    }
    (pairs, conjunction(rest))
}

/// `a = b` or `a IS NOT DISTINCT FROM b`, of one side each.
fn equality(expr: &Expr, left: &DFSchema, right: &DFSchema) -> Option<KeyPair> {
    let Expr::BinaryExpr(BinaryExpr { left: a, op, right: b }) = expr else {
        return None;
    };
    let null_equals_null = match op {
        Operator::Eq => false,
        Operator::IsNotDistinctFrom => true,
        _ => return None,
    };
    if a.column_refs().is_empty() || b.column_refs().is_empty() {
        return None;
    }
    let (left, right) = match (
        has_all(left, a) && has_all(right, b),
        has_all(left, b) && has_all(right, a),
    ) {
        (true, _) => (a, b),
        (_, true) => (b, a),
        _ => return None,
    };
    Some(KeyPair {
        left: left.as_ref().clone(),
        right: right.as_ref().clone(),
        null_equals_null,
    })
}

fn has_all(schema: &DFSchema, expr: &Expr) -> bool {
    expr.column_refs().iter().all(|column| schema.has_column(column))
}

/// The columns of both sides. Computed ones may be called alike; nobody names them.
pub(super) fn side_by_side(left: &DFSchema, right: &DFSchema) -> Result<DFSchema> {
    let mut fields: Vec<_> = left.iter().map(|(q, field)| (q.cloned(), field.clone())).collect();
    for (qualifier, field) in right.iter() {
        let mut field = field.clone();
        while qualifier.is_none() && fields.iter().any(|(_, other)| other.name() == field.name()) {
            let name = format!("{}'", field.name());
            field = Arc::new(field.as_ref().clone().with_name(name));
        }
        fields.push((qualifier.cloned(), field));
    }
    DFSchema::new_with_metadata(fields, Default::default()).map_err(errors::translate)
}

/// A column stays bounded by event time only if the join makes it equal to a bounded column of the
/// other side: else a new row may meet an old one.
fn bounded_times(joining: &Joining, left: &Built, right: &Built) -> Vec<Option<TimeBound>> {
    let shift = left.schema.fields().len();
    let mut time = vec![None; shift + right.schema.fields().len()];
    if joining.kind == JoinKind::Full {
        return time;
    }
    if joining.at_once {
        // What comes is as old as its left row.
        time[..shift].copy_from_slice(&left.time);
        return time;
    }
    for (l, r) in joining.left_keys.iter().zip(&joining.right_keys) {
        if left.time[*l].is_some() && left.time[*l] == right.time[*r] {
            time[*l] = left.time[*l];
            if joining.kind == JoinKind::Inner {
                time[shift + *r] = right.time[*r];
            }
        }
    }
    // One row of a new pair is new, and the later time of the two is not before its own.
    if let (JoinKind::Inner, Some(interval)) = (joining.kind, &joining.interval)
        && interval.lateness_us == 0
    {
        if interval.from_us >= 0 {
            time[shift + interval.right_time] = Some(TimeBound::Event);
        }
        if interval.to_us <= 0 {
            time[interval.left_time] = Some(TimeBound::Event);
        }
    }
    time
}

/// How long an interval join keeps the rows of its sides, in words.
fn near(interval: &IntervalSpec, left: &Schema, right: &Schema) -> String {
    let until = |schema: &Schema, column: usize, after_us: i64| {
        until(
            schema.field(column).name(),
            after_us.saturating_add(interval.lateness_us),
        )
    };
    format!(
        "left {}, right {}",
        until(left, interval.left_time, interval.to_us),
        until(right, interval.right_time, interval.from_us.saturating_neg())
    )
}

pub(super) fn exchange(keys: &[usize], built: &Built) -> Exchange {
    match keys.is_empty() {
        true => single(built),
        false => exchange_by(keys, built),
    }
}

/// The key of a join's result. A row whose partners are equal in all of their key has one at most,
/// and its own key stays one.
fn joined_key(
    kind: JoinKind,
    (left_key, left_on): (Option<&[usize]>, &[usize]),
    (right_key, right_on): (Option<&[usize]>, &[usize]),
    shift: usize,
) -> Option<Vec<usize>> {
    let has_all = |key: Option<&[usize]>, on: &[usize]| key.is_some_and(|key| key.iter().all(|c| on.contains(c)));
    let shifted = |key: &[usize]| key.iter().map(|c| c + shift).collect::<Vec<_>>();
    match kind {
        // Left rows as they are.
        JoinKind::Semi | JoinKind::Anti | JoinKind::Mark => return left_key.map(<[usize]>::to_vec),
        // Keys may be NULL, and then rows without partner of both sides look alike.
        JoinKind::Full => return None,
        JoinKind::Inner | JoinKind::Left => {}
    }
    if has_all(right_key, right_on) {
        return left_key.map(<[usize]>::to_vec);
    }
    // Of a LEFT join many rows may have no partner, and then NULLs there.
    if kind == JoinKind::Inner && has_all(left_key, left_on) {
        return right_key.map(shifted);
    }
    Some([left_key?, &shifted(right_key?)].concat())
}
