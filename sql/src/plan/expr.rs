//! Logical expressions into physical ones, with checked values.

use std::sync::Arc;

use arrow::array::Array;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::{checked, errors, guarded, now};
use crate::{Error, Result};

/// Bytes of a constant in a continuous query. It is there once for every row of a step.
const LONGEST_CONSTANT: usize = 16 << 10;

/// A physical expression over rows of `schema`, whose arithmetic and casts are checked
/// ([`checked`]), and what is decided by one operand never fails by another ([`guarded`]).
pub fn physical(expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    short_constants(expr)?;
    if now::uses(expr) {
        return Err(now::not_a_bound());
    }
    let context = PhysicalPlanningContext::default();
    let expr = create_physical_expr(expr, schema, &ExecutionProps::new(), &context).map_err(errors::translate)?;
    checked::checked(expr, schema.as_arrow())
        .and_then(guarded::guarded)
        .map_err(errors::translate)
}

fn short_constants(expr: &Expr) -> Result<()> {
    let mut longest = 0;
    expr.apply(|expr| {
        if let Expr::Literal(value, _) = expr
            && (value.data_type().is_string() || value.data_type().is_binary() || value.data_type().is_nested())
        {
            longest = longest.max(value.to_array()?.get_array_memory_size());
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(errors::translate)?;
    match longest > LONGEST_CONSTANT + 1024 {
        true => Err(Error::new(format!(
            "a constant of {longest} bytes in a continuous query, where {LONGEST_CONSTANT} fit; keep it in a table and \
             join that"
        ))),
        false => Ok(()),
    }
}
