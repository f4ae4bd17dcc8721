//! Rewriting the expressions of a plan.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// A node with all parts of its expressions, from below, as `change` says. Its columns keep their names.
pub fn expressions(
    node: LogicalPlan,
    mut change: impl FnMut(Expr) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&node);
    let mut named = |expr: Expr| {
        let name = names.save(&expr);
        let done = expr.transform_up(&mut change)?;
        Ok(done.update_data(|expr| name.restore(expr)))
    };
    node.map_expressions(|expr| match expr {
        // Its columns have names, and not the whole.
        Expr::GroupingSet(_) => expr.map_children(&mut named),
        expr => named(expr),
    })
}
