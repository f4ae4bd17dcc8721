//! Physical expressions as SQL would write them, for EXPLAIN.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NegativeExpr,
    NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use weir_engine::format::{column_words, meant, sql_type};

use crate::plan::checked::{self, Checked, Operation};
use crate::plan::guarded::Guarded;

/// The column that an expression merely is.
pub fn column(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}

/// An expression over rows of `schema`.
pub fn text(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> String {
    let inner = |expr: &Arc<dyn PhysicalExpr>| text(expr, schema);
    if let Some(index) = column(expr) {
        return column_words(schema.field(index).name());
    }
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        return value(literal.value());
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let (left, right) = (operand(binary.left(), schema), operand(binary.right(), schema));
        return format!("{left} {} {right}", binary.op());
    }
    if let Some(checked) = expr.downcast_ref::<Checked>() {
        return checked_text(checked, schema);
    }
    if let Some(guarded) = expr.downcast_ref::<Guarded>() {
        let operands: Vec<String> = guarded.operands().iter().map(|one| operand(one, schema)).collect();
        return operands.join(&format!(" {} ", guarded.connective().word()));
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return format!("CAST({} AS {})", inner(cast.expr()), sql_type(cast.cast_type()));
    }
    if let Some(test) = expr.downcast_ref::<IsNullExpr>() {
        return format!("{} IS NULL", operand(test.arg(), schema));
    }
    if let Some(test) = expr.downcast_ref::<IsNotNullExpr>() {
        return format!("{} IS NOT NULL", operand(test.arg(), schema));
    }
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return format!("NOT {}", operand(not.arg(), schema));
    }
    if let Some(negative) = expr.downcast_ref::<NegativeExpr>() {
        return format!("-{}", operand(negative.arg(), schema));
    }
    if let Some(like) = expr.downcast_ref::<LikeExpr>() {
        let not = if like.negated() { "NOT " } else { "" };
        let word = if like.case_insensitive() { "ILIKE" } else { "LIKE" };
        return format!("{} {not}{word} {}", inner(like.expr()), inner(like.pattern()));
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        let not = if list.negated() { "NOT " } else { "" };
        let items: Vec<String> = list.list().iter().map(inner).collect();
        return format!("{} {not}IN ({})", operand(list.expr(), schema), items.join(", "));
    }
    if let Some(case) = expr.downcast_ref::<CaseExpr>() {
        return case_text(case, schema);
    }
    if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
        let args: Vec<String> = call.args().iter().map(inner).collect();
        if checked::operation(call.fun()).is_some() {
            return format!("CAST({} AS {})", args.join(", "), sql_type(call.return_type()));
        }
        let name = call.fun().name();
        return meant(name, &args).unwrap_or_else(|| format!("{name}({})", args.join(", ")));
    }
    expr.to_string()
}

fn checked_text(checked: &Checked, schema: &Schema) -> String {
    match (checked.operation(), checked.args()) {
        (Operation::Arithmetic(op), [left, right]) => {
            format!("{} {op} {}", operand(left, schema), operand(right, schema))
        }
        (Operation::Negation, [only]) => format!("-{}", operand(only, schema)),
        (Operation::Cast(to), [only]) => format!("CAST({} AS {})", text(only, schema), sql_type(to)),
        (_, args) => args.iter().map(|arg| text(arg, schema)).collect(),
    }
}

fn case_text(case: &CaseExpr, schema: &Schema) -> String {
    let mut words = vec!["CASE".to_string()];
    words.extend(case.expr().map(|expr| text(expr, schema)));
    for (when, then) in case.when_then_expr() {
        words.push(format!("WHEN {} THEN {}", text(when, schema), text(then, schema)));
    }
    words.extend(case.else_expr().map(|expr| format!("ELSE {}", text(expr, schema))));
    words.push("END".to_string());
    words.join(" ")
}

/// An expression inside another, in parentheses where it needs them.
fn operand(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> String {
    let text = text(expr, schema);
    let arithmetic = expr
        .downcast_ref::<Checked>()
        .is_some_and(|checked| checked.args().len() == 2);
    if arithmetic
        || expr.is::<Guarded>()
        || expr.is::<BinaryExpr>()
        || expr.is::<InListExpr>()
        || expr.is::<LikeExpr>()
        || expr.is::<NotExpr>()
    {
        format!("({text})")
    } else {
        text
    }
}

/// A constant.
pub fn value(value: &ScalarValue) -> String {
    if value.is_null() {
        return "NULL".to_string();
    }
    match value.data_type() {
        kind if kind.is_numeric() => value.to_string(),
        DataType::Boolean => value.to_string().to_uppercase(),
        DataType::Interval(_) => format!("INTERVAL '{}'", interval(value)),
        _ => {
            let shown = value
                .to_array()
                .map(|array| arrow::util::display::array_value_to_string(&array, 0));
            match shown {
                Ok(Ok(text)) => format!("'{text}'"),
                _ => value.to_string(),
            }
        }
    }
}

fn interval(value: &ScalarValue) -> String {
    match value {
        ScalarValue::IntervalMonthDayNano(Some(v)) => {
            let mut parts = Vec::new();
            match v.months {
                0 => {}
                1 => parts.push("1 month".to_string()),
                months => parts.push(format!("{months} months")),
            }
            let rest = i64::from(v.days) * 86_400_000_000 + v.nanoseconds / 1000;
            if rest != 0 || parts.is_empty() {
                parts.push(super::duration(rest));
            }
            parts.join(" ")
        }
        other => other.to_string(),
    }
}
