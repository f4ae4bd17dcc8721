//! DISTINCT ON: of all rows that are equal in some columns the first by ORDER BY, as a ROW_NUMBER() that
//! is 1.
//!
//! DataFusion takes each column's first value by itself, and where ORDER BY leaves a tie they may come
//! from different rows. Here a tie is broken by the columns that are asked for, so that the answer is
//! whole rows and determined, for queries that are kept as for those that are read once.

use std::collections::HashSet;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, ExprSchema, Result};
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionDefinition};
use datafusion::logical_expr::{
    Distinct, DistinctOn, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, SortExpr, lit,
};

/// The plan with every DISTINCT ON spelled out. Where it is `read` once, or a LIMIT counts its rows, they
/// come in the order of its ORDER BY.
pub fn spelled_out(plan: LogicalPlan, read: bool) -> Result<LogicalPlan> {
    let spell = |plan: LogicalPlan| match plan {
        LogicalPlan::Distinct(Distinct::On(on)) => Ok(Transformed::yes(first_rows(on, read)?)),
        LogicalPlan::Limit(mut limit) => match limit.input.as_ref() {
            LogicalPlan::Distinct(Distinct::On(on)) => {
                limit.input = first_rows(on.clone(), true)?.into();
                Ok(Transformed::yes(LogicalPlan::Limit(limit)))
            }
            _ => Ok(Transformed::no(LogicalPlan::Limit(limit))),
        },
        other => Ok(Transformed::no(other)),
    };
    plan.transform_down_with_subqueries(spell).map(|done| done.data)
}

fn first_rows(on: DistinctOn, sorted: bool) -> Result<LogicalPlan> {
    let order = on.sort_expr.clone().unwrap_or_default();
    let mut ranked = order.clone();
    for column in shown(&on)? {
        if !ranked.iter().any(|sort| sort.expr == column) && !on.on_expr.contains(&column) {
            ranked.push(SortExpr::new(column, true, false));
        }
    }
    let number = WindowFunction::new(WindowFunctionDefinition::WindowUDF(row_number_udwf()), vec![]);
    let number = Expr::WindowFunction(Box::new(number))
        .partition_by(on.on_expr.clone())
        .order_by(ranked)
        .build()?;
    let is_first = Expr::Column(Column::from_name(number.schema_name().to_string())).eq(lit(1u64));
    let mut plan = LogicalPlanBuilder::from(on.input.clone())
        .window(vec![number])?
        .filter(is_first)?;
    if sorted && !order.is_empty() {
        plan = plan.sort(order)?;
    }
    plan.project(on.select_expr)?.build()
}

/// The columns of the input that are asked for, in their order.
fn shown(on: &DistinctOn) -> Result<Vec<Expr>> {
    let mut used: HashSet<&Column> = HashSet::new();
    on.select_expr.iter().for_each(|expr| used.extend(expr.column_refs()));
    let columns = on.input.schema().columns().into_iter();
    let sortable = |column: &Column| {
        let field = on.input.schema().field_from_column(column);
        field.is_ok_and(|field| !field.data_type().is_nested())
    };
    Ok(columns
        .filter(|column| used.contains(column) && sortable(column))
        .map(Expr::Column)
        .collect())
}
