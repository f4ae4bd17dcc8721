//! Conditions that never hold, over a group that is always there.
//!
//! `SELECT … FROM (SELECT count(*) AS n FROM t) WHERE false` has no row. The rule that moves filters
//! down reads no column in such a condition, takes it below the aggregate, and the row of the
//! aggregate over nothing would be the answer. So there the condition is made `LIMIT 0` first.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// The rule.
#[derive(Debug, Default)]
pub struct NeverOverOneGroup;

impl OptimizerRule for NeverOverOneGroup {
    fn name(&self) -> &str {
        "never_over_one_group"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match &plan {
            LogicalPlan::Filter(filter) if is_never(&filter.predicate) && has_one_group(&filter.input) => {
                LogicalPlanBuilder::from(filter.input.as_ref().clone())
                    .limit(0, Some(0))?
                    .build()
                    .map(Transformed::yes)
            }
            _ => Ok(Transformed::no(plan)),
        }
    }
}

fn is_never(predicate: &Expr) -> bool {
    matches!(
        predicate,
        Expr::Literal(ScalarValue::Boolean(Some(false) | None) | ScalarValue::Null, _)
    )
}

/// Whether a filter here would be moved below an aggregate that has a row over no input: through
/// everything but a LIMIT.
fn has_one_group(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate)
            if aggregate
                .group_expr
                .iter()
                .all(|key| matches!(key, Expr::GroupingSet(_))) =>
        {
            true
        }
        LogicalPlan::Limit(_) => false,
        _ => plan.inputs().into_iter().any(has_one_group),
    }
}
