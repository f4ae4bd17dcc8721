//! `now()` in the filters of a continuous query: the step's time. (Elsewhere it is a value of the
//! row's: [`super::drawn`].)
//!
//! A plan has it as a parameter, so that no rule takes it for a constant. A condition that compares
//! it says from when or until when a row passes: `ts > now() - INTERVAL '1 hour'` holds until the
//! hour after `ts`. [`bounds`] turns the conditions of a filter into such times.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result as PlanResult, ScalarValue};
use datafusion::functions::datetime::expr_fn::date_trunc;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, cast, lit};

use crate::{Error, Result};

mod joined;

pub use joined::filtered;

const NOW: &str = "$now";
/// The type of the step's time, and of the times that a row enters and leaves at.
pub const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// What a filter's conditions on `now()` come to.
#[derive(Default)]
pub struct Bounds {
    /// The other conditions.
    pub others: Vec<Expr>,
    /// A row passes when the clock has reached all of them.
    pub enters: Vec<Expr>,
    /// And until it reaches the first of these.
    pub leaves: Vec<Expr>,
}

/// The plan with a parameter in the place of `now()` in filters.
pub fn as_parameter(plan: LogicalPlan) -> PlanResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Filter(_) => node.map_expressions(|expr| expr.transform_up(parameter)),
        other => Ok(Transformed::no(other)),
    })
    .map(|done| done.data)
}

fn parameter(expr: Expr) -> PlanResult<Transformed<Expr>> {
    match &expr {
        Expr::ScalarFunction(call) if is_now(call.func.name()) => {
            let field = Arc::new(Field::new("now()", TIME, false));
            let placeholder = Placeholder::new_with_field(NOW.to_string(), Some(field));
            let now = Expr::Placeholder(placeholder);
            Ok(Transformed::yes(match call.func.name() {
                "current_date" => cast(now, DataType::Date32),
                _ => now,
            }))
        }
        _ => Ok(Transformed::no(expr)),
    }
}

/// Whether a function is the step's time.
pub fn is_now(function: &str) -> bool {
    matches!(function, "now" | "localtimestamp" | "current_date")
}

/// Whether an expression rests on `now()`.
pub fn uses(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(matches!(expr, Expr::Placeholder(placeholder) if placeholder.id == NOW)))
        .unwrap_or(false)
}

/// The times that a filter's conditions on `now()` come to.
pub fn bounds(predicate: &Expr) -> Result<Bounds> {
    let mut bounds = Bounds::default();
    for condition in split_conjunction(predicate) {
        if !uses(condition) {
            bounds.others.push(condition.clone());
            continue;
        }
        match condition {
            Expr::Between(between) if !between.negated => {
                let at_least = BinaryExpr::new(between.expr.clone(), Operator::GtEq, between.low.clone());
                let at_most = BinaryExpr::new(between.expr.clone(), Operator::LtEq, between.high.clone());
                for part in [at_least, at_most].map(Expr::BinaryExpr) {
                    match uses(&part) {
                        true => bounds.add(&part)?,
                        false => bounds.others.push(part),
                    }
                }
            }
            other => bounds.add(other)?,
        }
    }
    Ok(bounds)
}

impl Bounds {
    fn add(&mut self, condition: &Expr) -> Result<()> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else {
            return Err(not_a_bound());
        };
        let now = match (uses(left), uses(right)) {
            (true, false) => alone(left, *op, right.as_ref().clone())?,
            (false, true) => alone(right, op.swap().ok_or_else(not_a_bound)?, left.as_ref().clone())?,
            _ => return Err(not_a_bound()),
        };
        match now.by_day {
            false => self.compared(now.other, now.op),
            true => self.of_day(now.other, now.op),
        }
    }

    /// `current_date op other`: what it says of `now()`.
    fn of_day(&mut self, other: Expr, op: Operator) -> Result<()> {
        let length = |nanoseconds: i64| {
            lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(
                0,
                0,
                nanoseconds,
            ))))
        };
        const DAY_NS: i64 = 86_400_000_000_000;
        let other = cast(other, TIME);
        let day = |time: Expr| date_trunc(lit("day"), time);
        // The first midnight at or after it, and the first one behind it.
        let reached = day(binary(other.clone(), Operator::Plus, length(DAY_NS - 1000)));
        let over = binary(day(other), Operator::Plus, length(DAY_NS));
        match op {
            Operator::Lt => self.compared(reached, Operator::Lt),
            Operator::LtEq => self.compared(over, Operator::Lt),
            Operator::Gt => self.compared(over, Operator::GtEq),
            Operator::GtEq => self.compared(reached, Operator::GtEq),
            Operator::Eq => {
                self.compared(reached, Operator::GtEq)?;
                self.compared(over, Operator::Lt)
            }
            _ => Err(not_a_bound()),
        }
    }

    /// `now() op time`.
    fn compared(&mut self, time: Expr, op: Operator) -> Result<()> {
        let behind = |time: Expr| {
            let microsecond = ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, 1000)));
            binary(time, Operator::Plus, lit(microsecond))
        };
        // NULL compares to nothing.
        self.others.push(time.clone().is_not_null());
        match op {
            Operator::Lt => self.leaves.push(time),
            Operator::LtEq => self.leaves.push(behind(time)),
            Operator::Gt => self.enters.push(behind(time)),
            Operator::GtEq => self.enters.push(time),
            _ => return Err(not_a_bound()),
        }
        Ok(())
    }
}

/// `now() op other`, or by day `current_date op other`.
struct Alone {
    other: Expr,
    op: Operator,
    by_day: bool,
}

/// `side op other` with `now()` alone on the left.
fn alone(side: &Expr, op: Operator, other: Expr) -> Result<Alone> {
    match side {
        Expr::Placeholder(_) => Ok(Alone {
            other,
            op,
            by_day: false,
        }),
        Expr::Cast(day) if matches!(*day.expr, Expr::Placeholder(_)) && *day.field.data_type() == DataType::Date32 => {
            Ok(Alone {
                other,
                op,
                by_day: true,
            })
        }
        Expr::Cast(inner) if matches!(inner.field.data_type(), DataType::Timestamp(..)) => {
            alone(&inner.expr, op, other)
        }
        Expr::Alias(inner) => alone(&inner.expr, op, other),
        Expr::BinaryExpr(BinaryExpr { left, op: sign, right }) => match (sign, uses(left), uses(right)) {
            (Operator::Minus, true, false) => alone(left, op, binary(other, Operator::Plus, length(right)?)),
            (Operator::Plus, true, false) => alone(left, op, binary(other, Operator::Minus, length(right)?)),
            (Operator::Plus, false, true) => alone(right, op, binary(other, Operator::Minus, length(left)?)),
            _ => Err(not_a_bound()),
        },
        _ => Err(not_a_bound()),
    }
}

/// A length of time that can be taken to the other side: one without months, which have no length.
fn length(expr: &Expr) -> Result<Expr> {
    match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) if interval.months == 0 => Ok(expr.clone()),
        Expr::Literal(ScalarValue::IntervalDayTime(Some(_)), _) => Ok(expr.clone()),
        Expr::Literal(ScalarValue::IntervalYearMonth(_) | ScalarValue::IntervalMonthDayNano(_), _) => Err(Error::new(
            "a distance from now() in a continuous query is of days or less: months differ in length, so write INTERVAL \
             '30 days'",
        )),
        _ => Err(not_a_bound()),
    }
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

/// The error for what doesn't say from when or until when.
pub fn not_a_bound() -> Error {
    Error::new(
        "now() in a continuous query stands in a filter that says from when or until when a row counts: WHERE ts > now() - \
         INTERVAL '1 hour', ts <= now(), ts BETWEEN now() - INTERVAL '1 day' AND now(), day = current_date",
    )
}
