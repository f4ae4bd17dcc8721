//! Times as PostgreSQL computes with them, where DataFusion drops what doesn't fit its types.
//!
//! - A DATE moved by an interval is a TIMESTAMP, unless the interval stands there and is of whole days.
//! - The difference of two times has its days and hours apart.
//! - `extract(second FROM t)` and of milliseconds have their fraction.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Operator, lit};

const DAY_NS: i64 = 86_400_000_000_000;

/// The expression, with times as they are meant.
pub fn meant(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if matches!(op, Operator::Plus | Operator::Minus) => {
            let (is_left, is_right) = (moves(&left, &right, schema), moves(&right, &left, schema));
            let left = if is_left { Box::new(as_timestamp(*left)) } else { left };
            let right = if is_right {
                Box::new(as_timestamp(*right))
            } else {
                right
            };
            let whole = Expr::BinaryExpr(BinaryExpr { left, op, right });
            match is_left || is_right {
                true => Transformed::yes(whole),
                false => Transformed::no(whole),
            }
        }
        Expr::ScalarFunction(call) if call.func.name() == "date_part" => with_fraction(in_days(call, schema), schema),
        other => Transformed::no(other),
    }
}

/// Whether the one is a DATE that the other moves by parts of a day.
fn moves(date: &Expr, by: &Expr, schema: &DFSchema) -> bool {
    let whole_days = match by {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(by)), _) => by.nanoseconds % DAY_NS == 0,
        Expr::Literal(ScalarValue::IntervalYearMonth(_), _) => true,
        Expr::Literal(ScalarValue::IntervalDayTime(Some(by)), _) => by.milliseconds == 0,
        _ => false,
    };
    let is_date = date.get_type(schema).is_ok_and(|kind| kind == DataType::Date32);
    is_date
        && !whole_days
        && by
            .get_type(schema)
            .is_ok_and(|kind| matches!(kind, DataType::Interval(_)))
}

fn as_timestamp(date: Expr) -> Expr {
    Expr::Cast(Cast::new(
        Box::new(date),
        DataType::Timestamp(TimeUnit::Microsecond, None),
    ))
}

/// Parts of the difference of two times are those of an interval of days and time.
fn in_days(mut call: ScalarFunction, schema: &DFSchema) -> ScalarFunction {
    if let [_, of] = &mut call.args[..]
        && matches!(of.get_type(schema), Ok(DataType::Duration(_)))
    {
        let interval = DataType::Interval(IntervalUnit::MonthDayNano);
        *of = Expr::Cast(Cast::new(Box::new(of.clone()), interval));
    }
    call
}

fn with_fraction(mut call: ScalarFunction, schema: &DFSchema) -> Transformed<Expr> {
    let unit = match &call.args[..] {
        [Expr::Literal(part, _), time] => {
            let has_clock = time.get_type(schema).is_ok_and(|kind| {
                matches!(
                    kind,
                    DataType::Timestamp(..) | DataType::Time64(_) | DataType::Time32(_)
                )
            });
            let part = part.try_as_str().flatten().unwrap_or("").to_ascii_lowercase();
            match part.as_str() {
                "second" | "seconds" | "sec" | "secs" if has_clock => Some(1e6),
                "millisecond" | "milliseconds" | "msec" | "msecs" | "ms" if has_clock => Some(1e3),
                _ => None,
            }
        }
        _ => None,
    };
    let Some(unit) = unit else {
        return Transformed::no(Expr::ScalarFunction(call));
    };
    call.args[0] = lit("microsecond");
    let micros = Expr::Cast(Cast::new(Box::new(Expr::ScalarFunction(call)), DataType::Float64));
    Transformed::yes(micros / lit(unit))
}
