//! The order in which the rows of a query are meant to be read: that of its `ORDER BY … LIMIT`.
//!
//! A kept answer is a set of rows, and its order is no part of the graph. Whoever shows it may still
//! want to show it in that order.

use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// A column that rows are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortedBy {
    /// Its place among the query's columns.
    pub column: usize,
    /// The greatest value is the first.
    pub descending: bool,
    /// NULLs come before everything else.
    pub nulls_first: bool,
}

/// What the rows of `plan` are ordered by, as far as its columns tell.
pub fn of(plan: &LogicalPlan) -> Vec<SortedBy> {
    match plan {
        LogicalPlan::Limit(limit) => of(&limit.input),
        LogicalPlan::SubqueryAlias(alias) => of(&alias.input),
        LogicalPlan::Sort(sort) => {
            let known = sort.expr.iter().map_while(|by| {
                Some(SortedBy {
                    column: place(&by.expr, plan.schema())?,
                    descending: !by.asc,
                    nulls_first: by.nulls_first,
                })
            });
            known.collect()
        }
        LogicalPlan::Projection(projection) => {
            let input = projection.input.schema();
            let shown: Vec<Option<usize>> = projection.expr.iter().map(|expr| place(expr, input)).collect();
            let known = of(&projection.input).into_iter().map_while(|by| {
                let column = shown.iter().position(|place| *place == Some(by.column))?;
                Some(SortedBy { column, ..by })
            });
            known.collect()
        }
        _ => Vec::new(),
    }
}

/// Where a column stands, also under another name.
fn place(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => place(&alias.expr, schema),
        Expr::Column(column) => schema.maybe_index_of_column(column),
        _ => None,
    }
}
