//! The optimizer rule that finds a join's keys in its condition.
//!
//! DataFusion's own rule also makes keys of `a IS NOT DISTINCT FROM b`, with one note for the whole
//! join that its NULLs are equal. Other rules then add keys with `=` to such a join, or take its
//! keys for ones with `=` where they put joins in another order, and NULLs meet that shouldn't, or
//! don't that should. So this one leaves those conditions where they are.

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Join, LogicalPlan, Operator};
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// Makes keys of a join's equalities with `=`.
#[derive(Debug, Default)]
pub struct Equalities {
    all: ExtractEquijoinPredicate,
}

impl OptimizerRule for Equalities {
    fn name(&self) -> &str {
        "extract_equijoin_predicate"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = plan else {
            return Ok(Transformed::no(plan));
        };
        let parts = join.filter.clone().into_iter().flat_map(split_conjunction_owned);
        let (null_safe, rest): (Vec<Expr>, Vec<Expr>) = parts.partition(is_null_safe);
        let rest = Join {
            filter: conjunction(rest),
            ..join
        };
        let mut found = self.all.rewrite(LogicalPlan::Join(rest), config)?;
        if let LogicalPlan::Join(join) = &mut found.data {
            join.filter = conjunction(join.filter.take().into_iter().chain(null_safe));
        }
        Ok(found)
    }
}

fn is_null_safe(expr: &Expr) -> bool {
    let op = |expr: &Expr| match expr {
        Expr::BinaryExpr(BinaryExpr { op, .. }) => Some(*op),
        _ => None,
    };
    op(expr) == Some(Operator::IsNotDistinctFrom)
}
