//! Interval joins: how near to each other a condition has event times be.

use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use weir_engine::graph::IntervalSpec;

use super::{Builder, Built, Closing, TimeBound, column_of};
use crate::plan::window::interval_us;

/// A column of one side, and a constant added to it.
struct Shifted {
    is_left: bool,
    column: usize,
    shift_us: i64,
}

/// Whether a condition may bound how far apart times are: it compares a sum with an interval.
pub(super) fn may_be_one(condition: Option<&Expr>) -> bool {
    let compared = condition.into_iter().flat_map(split_conjunction).flat_map(comparisons);
    let mut with_interval = compared.filter(|(left, _, right)| has_interval(left) || has_interval(right));
    with_interval.next().is_some()
}

impl Builder {
    /// The interval in which partners' event times lie, if the condition says so for both ends,
    /// both sides only add rows, and they tell their splits' watermarks.
    pub(super) fn interval(&self, left: &Built, right: &Built, condition: Option<&Expr>) -> Option<IntervalSpec> {
        let tells = |side: &Built| side.hidden && self.graph.node(side.node).append_only;
        if !tells(left) || !tells(right) {
            return None;
        }
        let is_event = |side: &Built, column: usize| side.time[column] == Some(TimeBound::Event);
        // For each pair of columns: the least and the most of right - left.
        let mut found: Vec<(usize, usize, Option<i64>, Option<i64>)> = Vec::new();
        let compared = condition.into_iter().flat_map(split_conjunction).flat_map(comparisons);
        for (one, op, other) in compared {
            let sides = (&left.schema, &right.schema);
            let (Some(one), Some(other)) = (shifted(&one, sides), shifted(&other, sides)) else {
                continue;
            };
            if one.is_left == other.is_left {
                continue;
            }
            let Some(apart_us) = one.shift_us.checked_sub(other.shift_us) else {
                continue;
            };
            // As `left + apart op right`.
            let (l, r, op, apart_us) = match one.is_left {
                true => (one.column, other.column, op, apart_us),
                false => match op.swap() {
                    Some(op) => (other.column, one.column, op, -apart_us),
                    None => continue,
                },
            };
            if !is_event(left, l) || !is_event(right, r) {
                continue;
            }
            let place = found.iter().position(|(a, b, ..)| (*a, *b) == (l, r));
            let place = place.unwrap_or_else(|| {
                found.push((l, r, None, None));
                found.len() - 1
            });
            let (_, _, from, to) = &mut found[place];
            match op {
                Operator::Lt | Operator::LtEq => *from = Some(from.map_or(apart_us, |from| from.max(apart_us))),
                Operator::Gt | Operator::GtEq => *to = Some(to.map_or(apart_us, |to| to.min(apart_us))),
                _ => {}
            }
        }
        let lateness_us = match self.closing {
            Closing::After(us) => us,
            Closing::Never | Closing::Emit => 0,
        };
        found.into_iter().find_map(|(left_time, right_time, from, to)| {
            let (from_us, to_us) = (from?, to?);
            (from_us <= to_us).then_some(IntervalSpec {
                left_time,
                right_time,
                from_us,
                to_us,
                lateness_us,
            })
        })
    }
}

/// The comparisons that a condition consists of, as `a op b`.
fn comparisons(expr: &Expr) -> Vec<(Expr, Operator, Expr)> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            vec![(left.as_ref().clone(), *op, right.as_ref().clone())]
        }
        Expr::Between(Between {
            expr,
            negated: false,
            low,
            high,
        }) => vec![
            (expr.as_ref().clone(), Operator::GtEq, low.as_ref().clone()),
            (expr.as_ref().clone(), Operator::LtEq, high.as_ref().clone()),
        ],
        _ => Vec::new(),
    }
}

fn has_interval(expr: &Expr) -> bool {
    let is_one = |expr: &Expr| Ok(constant_us(expr).is_some());
    expr.exists(is_one).unwrap_or(false)
}

/// A constant length of time, microseconds.
fn constant_us(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(..) => interval_us(expr).ok(),
        _ => None,
    }
}

/// `column`, or `column + INTERVAL …`.
fn shifted(expr: &Expr, sides: (&DFSchema, &DFSchema)) -> Option<Shifted> {
    if let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr {
        let (of, add_us) = match op {
            Operator::Plus => match constant_us(right) {
                Some(us) => (left, us),
                None => (right, constant_us(left)?),
            },
            Operator::Minus => (left, -constant_us(right)?),
            _ => return None,
        };
        let of = shifted(of, sides)?;
        return Some(Shifted {
            shift_us: of.shift_us.checked_add(add_us)?,
            ..of
        });
    }
    let place = |schema: &DFSchema| column_of(expr, schema);
    let (is_left, column) = match (place(sides.0), place(sides.1)) {
        (Some(column), None) => (true, column),
        (None, Some(column)) => (false, column),
        _ => return None,
    };
    Some(Shifted {
        is_left,
        column,
        shift_us: 0,
    })
}
