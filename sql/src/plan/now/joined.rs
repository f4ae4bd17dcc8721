//! `now()` in the ON of a join, as the filter that it comes to: over an inner join it filters the pairs, and of an
//! outer join's side that is filled with NULLs it filters the rows that there are to join with.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan};

use super::super::as_of;
use super::is_now;

/// The plan with the conditions of joins that rest on the time as filters, where that means the same.
pub fn filtered(plan: LogicalPlan) -> Result<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if join.filter.as_ref().is_some_and(tells) => apart(join).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(done.data)
}

fn tells(condition: &Expr) -> bool {
    let is_call = |expr: &Expr| Ok(matches!(expr, Expr::ScalarFunction(call) if is_now(call.name())));
    condition.exists(is_call).unwrap_or(false)
}

fn apart(mut join: Join) -> Result<LogicalPlan> {
    let (timed, others): (Vec<Expr>, Vec<Expr>) = match join.filter.take() {
        Some(condition) => split_conjunction_owned(condition).into_iter().partition(tells),
        None => return Ok(LogicalPlan::Join(join)),
    };
    // Which rows a join as of a time chooses from is not what it gives.
    let is_plain = !others.iter().any(as_of::is_marker);
    let about = |side: &LogicalPlan| {
        let schema = side.schema();
        let of_side = |expr: &Expr| expr.column_refs().into_iter().all(|column| schema.has_column(column));
        is_plain && timed.iter().all(of_side)
    };
    match join.join_type {
        JoinType::Inner if is_plain => {
            join.filter = conjunction(others);
            return over(LogicalPlan::Join(join), timed);
        }
        JoinType::Left if about(&join.right) => {
            join.right = Arc::new(over(Arc::unwrap_or_clone(join.right), timed)?);
            join.filter = conjunction(others);
        }
        JoinType::Right if about(&join.left) => {
            join.left = Arc::new(over(Arc::unwrap_or_clone(join.left), timed)?);
            join.filter = conjunction(others);
        }
        _ => join.filter = conjunction(others.into_iter().chain(timed)),
    }
    Ok(LogicalPlan::Join(join))
}

fn over(plan: LogicalPlan, conditions: Vec<Expr>) -> Result<LogicalPlan> {
    Ok(match conjunction(conditions) {
        Some(condition) => LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?),
        None => plan,
    })
}
