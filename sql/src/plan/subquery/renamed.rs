//! Columns outside under other names: in a query, and in the queries within it.
//!
//! A subquery that is computed for all values of columns outside has these as columns of its own rows. What a
//! query within it names of them it finds there then, one level further in.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Subquery};

use super::reach;

/// What stands in the place of a column outside: a column outside, too.
pub type Names = Vec<(Column, Expr)>;

/// A query with other names for columns outside.
pub fn renamed(plan: LogicalPlan, names: &Names) -> Result<LogicalPlan> {
    if names.is_empty() {
        return Ok(plan);
    }
    let inputs = plan.inputs();
    let within = beside(names, |column| {
        inputs.iter().any(|input| input.schema().has_column(column))
    });
    let preserver = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expr| {
        let name = preserver.save(&expr);
        let done = expr.transform_up(|expr| match &expr {
            Expr::OuterReferenceColumn(_, column) => {
                let other = names.iter().find(|(name, _)| name == column);
                Ok(other.map_or_else(
                    || Transformed::no(expr.clone()),
                    |(_, other)| Transformed::yes(other.clone()),
                ))
            }
            _ => with_query(expr, |query| renamed(query.clone(), &within)).map(Transformed::yes),
        })?;
        Ok(done.update_data(|expr| name.restore(expr)))
    })?;
    match plan.data {
        LogicalPlan::Join(join) if reach::is_lateral(&join.right) => lateral(join, names),
        LogicalPlan::Subquery(query) => of_query(query, |plan| renamed(plan.clone(), names)).map(LogicalPlan::Subquery),
        plan => plan
            .map_children(|input| renamed(input, names).map(Transformed::yes))
            .map(|done| done.data),
    }
}

fn lateral(join: Join, names: &Names) -> Result<LogicalPlan> {
    let right = not_of(names, join.left.schema());
    Ok(LogicalPlan::Join(Join {
        left: Arc::new(renamed(join.left.as_ref().clone(), names)?),
        right: Arc::new(renamed(join.right.as_ref().clone(), &right)?),
        ..join
    }))
}

/// The names of columns that these rows don't have.
pub fn not_of(names: &Names, rows: &DFSchema) -> Names {
    beside(names, |column| rows.has_column(column))
}

fn beside(names: &Names, hidden: impl Fn(&Column) -> bool) -> Names {
    names.iter().filter(|(column, _)| !hidden(column)).cloned().collect()
}

/// An expression with another query in the place of its own, if it is a subquery.
pub fn with_query(expr: Expr, other: impl FnOnce(&LogicalPlan) -> Result<LogicalPlan>) -> Result<Expr> {
    Ok(match expr {
        Expr::ScalarSubquery(query) => Expr::ScalarSubquery(of_query(query, other)?),
        Expr::InSubquery(found) => Expr::InSubquery(InSubquery {
            subquery: of_query(found.subquery, other)?,
            ..found
        }),
        Expr::Exists(found) => Expr::Exists(Exists {
            subquery: of_query(found.subquery, other)?,
            ..found
        }),
        Expr::SetComparison(found) => Expr::SetComparison(SetComparison {
            subquery: of_query(found.subquery, other)?,
            ..found
        }),
        expr => expr,
    })
}

fn of_query(query: Subquery, other: impl FnOnce(&LogicalPlan) -> Result<LogicalPlan>) -> Result<Subquery> {
    let plan = other(&query.subquery)?;
    Ok(Subquery {
        outer_ref_columns: plan.all_out_ref_exprs(),
        subquery: Arc::new(plan),
        spans: query.spans,
    })
}
