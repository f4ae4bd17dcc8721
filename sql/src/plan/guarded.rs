//! AND and OR whose operands may fail: what one operand decides, no other can make an error.
//!
//! `v <> 0 AND 10 / v > 2` is false where v is 0, whichever side is computed first, and whichever the
//! optimizer puts first. So wherever an operand may fail ([`can_fail`]) the operators are replaced, after
//! all rules have seen them, by ones that compute what failed again over the rows that are left open
//! ([`deciding`]): in plans that DataFusion runs by a function of lambdas ([`function`]), in the
//! expressions of graphs by [`expr::Guarded`].
//!
//! Likewise the argument of an aggregate is computed where its FILTER holds only ([`FilteredArguments`]).

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, when};
use datafusion::optimizer::AnalyzerRule;

use super::rewrite;

mod deciding;
mod expr;
mod fallible;
mod function;

pub use expr::{Guarded, guarded};
pub use fallible::can_fail;
pub use function::passing_errors;

/// Which of the two operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Connective {
    /// False decides.
    And,
    /// True decides.
    Or,
}

impl Connective {
    fn of(op: Operator) -> Option<Connective> {
        match op {
            Operator::And => Some(Connective::And),
            Operator::Or => Some(Connective::Or),
            _ => None,
        }
    }

    /// The operand's value that decides.
    fn deciding(self) -> bool {
        self == Connective::Or
    }

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Connective::And => "AND",
            Connective::Or => "OR",
        }
    }
}

/// The plan with guarding operators. For a plan that no rule looks at any more.
pub fn in_plan(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        rewrite::expressions(node, |expr| as_function(expr, &schema))
    })
    .map(|done| done.data)
}

fn as_function(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(BinaryExpr { op, .. }) = &expr else {
        return Ok(Transformed::no(expr));
    };
    let Some(connective) = Connective::of(*op).filter(|_| can_fail(&expr, schema)) else {
        return Ok(Transformed::no(expr));
    };
    let mut operands = Vec::new();
    function::flatten(expr, connective, &mut operands);
    Ok(Transformed::yes(function::call(connective, operands)))
}

/// Computes an aggregate's arguments and its order where its FILTER holds only, if they may fail.
#[derive(Debug)]
pub struct FilteredArguments;

impl AnalyzerRule for FilteredArguments {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            let schema = merge_schema(&node.inputs());
            rewrite::expressions(node, |expr| where_it_counts(expr, &schema))
        })
        .map(|done| done.data)
    }

    fn name(&self) -> &str {
        "filtered_arguments"
    }
}

fn where_it_counts(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (filter, computed): (_, Vec<&mut Expr>) = match &mut expr {
        Expr::AggregateFunction(call) => {
            let order = call.params.order_by.iter_mut().map(|sort| &mut sort.expr);
            (&call.params.filter, call.params.args.iter_mut().chain(order).collect())
        }
        // Its order is that of all rows.
        Expr::WindowFunction(call) => (&call.params.filter, call.params.args.iter_mut().collect()),
        _ => return Ok(Transformed::no(expr)),
    };
    let Some(filter) = filter.clone() else {
        return Ok(Transformed::no(expr));
    };
    let mut changed = false;
    for part in computed {
        if can_fail(part, schema) && !is_constant(part) {
            *part = when((*filter).clone(), part.clone()).end()?;
            changed = true;
        }
    }
    Ok(Transformed::new(expr, changed, TreeNodeRecursion::Continue))
}

fn is_constant(expr: &Expr) -> bool {
    expr.column_refs().is_empty()
}
