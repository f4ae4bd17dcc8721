//! Logical expressions into physical ones, with checked arithmetic.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::{checked, errors};
use crate::Result;

/// A physical expression over rows of `schema`. Integer and decimal arithmetic fails on overflow
/// instead of wrapping.
pub fn physical(expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    let context = PhysicalPlanningContext::default();
    let expr = checked::negations(expr.clone(), schema).map_err(errors::translate)?;
    let expr = create_physical_expr(&expr, schema, &ExecutionProps::new(), &context).map_err(errors::translate)?;
    with_checks(expr).map_err(errors::translate)
}

/// The same expression with checked operators.
fn with_checks(expr: Arc<dyn PhysicalExpr>) -> datafusion::common::Result<Arc<dyn PhysicalExpr>> {
    expr.transform_up(|expr| {
        let Some(binary) = expr.downcast_ref::<BinaryExpr>() else {
            return Ok(Transformed::no(expr));
        };
        if !matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply) {
            return Ok(Transformed::no(expr));
        }
        let checked = BinaryExpr::new(binary.left().clone(), *binary.op(), binary.right().clone());
        Ok(Transformed::yes(
            Arc::new(checked.with_fail_on_overflow(true)) as Arc<dyn PhysicalExpr>
        ))
    })
    .map(|done| done.data)
}
