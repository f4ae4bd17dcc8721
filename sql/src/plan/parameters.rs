//! Types of parameters, where the place at which one stands tells it and DataFusion doesn't ask: `$1` in
//! `CAST($1 AS DATE)` is a DATE, and in `x = ANY ($1)` an array of what `x` is. What a SELECT merely
//! shows is TEXT, as in PostgreSQL.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{Alias, ScalarFunction};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, TryCast};

use super::rewrite;

/// The plan with the types of parameters that stand in casts and beside ANY and ALL.
pub fn told(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !has_parameters(&plan)? {
        return Ok(plan);
    }
    plan.transform_up_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        let done = rewrite::expressions(node, |expr| told_in(expr, &schema))?;
        done.map_data(LogicalPlan::recompute_schema)
    })
    .map(|done| done.data)
}

/// An expression over `schema`, the parameter that is its own part typed.
pub fn told_in(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let changed = match &mut expr {
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => is(expr, field.data_type()),
        Expr::ScalarFunction(call) => beside_array(call, schema)?,
        _ => false,
    };
    Ok(match changed {
        true => Transformed::yes(expr),
        false => Transformed::no(expr),
    })
}

/// `value = ANY (array)`: each of them tells the other's type.
fn beside_array(call: &mut ScalarFunction, schema: &DFSchema) -> Result<bool> {
    if !matches!(call.func.name(), "weir_any" | "weir_all") {
        return Ok(false);
    }
    let [value, array, ..] = &mut call.args[..] else {
        return Ok(false);
    };
    let list = |element: DataType| DataType::List(Arc::new(Field::new_list_field(element, true)));
    let changed = match (is_untyped(value), is_untyped(array)) {
        (true, true) => is(value, &DataType::Utf8) | is(array, &list(DataType::Utf8)),
        (false, true) => is(array, &list(value.get_type(schema)?)),
        (true, false) => match array.get_type(schema)? {
            DataType::List(element) => is(value, element.data_type()),
            _ => false,
        },
        (false, false) => false,
    };
    Ok(changed)
}

/// A SELECT's plan with the parameters that it shows as they are as TEXT.
pub fn shown_as_text(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !has_parameters(&plan)? {
        return Ok(plan);
    }
    plan.transform_up_with_subqueries(|node| {
        let node = match node {
            LogicalPlan::Values(mut values) => {
                let cells = values.values.iter_mut().flatten();
                match cells.fold(false, |changed, cell| changed | is(cell, &DataType::Utf8)) {
                    true => LogicalPlanBuilder::values(values.values)?.build()?,
                    false => LogicalPlan::Values(values),
                }
            }
            LogicalPlan::Projection(mut projection) => {
                for expr in &mut projection.expr {
                    let shown = match expr {
                        Expr::Alias(Alias { expr, .. }) => expr.as_mut(),
                        expr => expr,
                    };
                    is(shown, &DataType::Utf8);
                }
                LogicalPlan::Projection(projection)
            }
            other => other,
        };
        Ok(Transformed::yes(node.recompute_schema()?))
    })
    .map(|done| done.data)
}

fn is_untyped(expr: &Expr) -> bool {
    matches!(expr, Expr::Placeholder(placeholder) if placeholder.field.is_none())
}

/// Gives a parameter a type, unless it has one.
fn is(expr: &mut Expr, kind: &DataType) -> bool {
    match expr {
        Expr::Placeholder(placeholder) if placeholder.field.is_none() => {
            let field = Field::new(placeholder.id.clone(), kind.clone(), true);
            placeholder.field = Some(Arc::new(field));
            true
        }
        _ => false,
    }
}

fn has_parameters(plan: &LogicalPlan) -> Result<bool> {
    Ok(!plan.get_parameter_names()?.is_empty())
}
