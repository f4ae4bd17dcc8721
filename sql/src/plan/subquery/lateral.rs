//! LATERAL: a query in FROM that looks at the rows beside it.
//!
//! DataFusion makes a join of the simple ones. One that reads nothing of its own only computes columns, and
//! any other joins by the values that it looks at.

use std::cell::Cell;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchemaRef, JoinType, Result, ScalarValue, Spans};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, Subquery, SubqueryAlias};

use super::Use;
use super::dependent::Dependent;
use super::reach::{self, Asked};

/// The join without LATERAL, if it has one that DataFusion's rule gets wrong or doesn't take.
pub fn joined(join: &Join, purpose: Use, numbers: &Cell<usize>) -> Result<Option<LogicalPlan>> {
    let Some(query) = lateral(&join.right) else {
        return Ok(None);
    };
    let looked_at = reach::looked_at(query, join.left.schema())?;
    if looked_at.is_empty() || !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
        return Ok(None);
    }
    let condition = condition(join);
    if condition.is_none()
        && let Some(exprs) = computed(query, &looked_at)?
    {
        let columns = join.left.schema().columns().into_iter().map(Expr::Column);
        let names = join.right.schema().iter();
        let computed = exprs.into_iter().zip(names);
        let computed = computed.map(|(expr, (relation, field))| expr.alias_qualified(relation.cloned(), field.name()));
        return LogicalPlanBuilder::from(join.left.as_ref().clone())
            .project(columns.chain(computed).collect::<Vec<_>>())?
            .build()
            .map(Some);
    }
    if reach::is_simple(query, &looked_at, Asked::Rows)? {
        return Ok(None);
    }
    let number = numbers.replace(numbers.get() + 1);
    let dependent = Dependent::new(&join.left, looked_at, number, purpose)?;
    let names = join.right.schema().iter();
    let shown = query.schema().columns().into_iter().zip(names);
    let shown =
        shown.map(|(column, (relation, field))| Expr::Column(column).alias_qualified(relation.cloned(), field.name()));
    let rows = LogicalPlanBuilder::from(dependent.rows(query)?)
        .project(shown.chain(dependent.columns()).collect::<Vec<_>>())?
        .build()?;
    let is_of = dependent.is_of(|column| Ok(Expr::Column(column.clone())))?;
    LogicalPlanBuilder::from(join.left.as_ref().clone())
        .join_on(rows, join.join_type, [is_of].into_iter().chain(condition))?
        .project(join.schema.columns().into_iter().map(Expr::Column).collect::<Vec<_>>())?
        .build()
        .map(Some)
}

/// Marks LATERAL where the planner leaves it out: it looks for columns outside in a query's own expressions,
/// and not in the queries within these. `around` are the rows further out.
pub fn marked(plan: LogicalPlan, around: &[DFSchemaRef]) -> Result<LogicalPlan> {
    let beside = |rows: &[DFSchemaRef]| [around, rows].concat();
    let inputs: Vec<DFSchemaRef> = plan.inputs().iter().map(|input| input.schema().clone()).collect();
    let within = beside(&inputs);
    let plan = plan
        .map_subqueries(|query| marked(query, &within).map(Transformed::yes))?
        .data;
    let LogicalPlan::Join(mut join) = plan else {
        let plan = plan.map_children(|input| marked(input, around).map(Transformed::yes))?;
        return Ok(plan.data);
    };
    if lateral(&join.right).is_none() && is_unmarked(&join, around)? {
        join.right = Arc::new(match join.right.as_ref() {
            LogicalPlan::SubqueryAlias(alias) => {
                let query = as_query(alias.input.as_ref().clone());
                LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(query.into(), alias.alias.clone())?)
            }
            plan => as_query(plan.clone()),
        });
    }
    let right = match lateral(&join.right) {
        Some(_) => marked(join.right.as_ref().clone(), &beside(&[join.left.schema().clone()]))?,
        None => marked(join.right.as_ref().clone(), around)?,
    };
    join.left = Arc::new(marked(join.left.as_ref().clone(), around)?);
    join.right = Arc::new(right);
    Ok(LogicalPlan::Join(join))
}

fn is_unmarked(join: &Join, around: &[DFSchemaRef]) -> Result<bool> {
    let columns = reach::looked_at(&join.right, join.left.schema())?;
    let twice = |column: &&Column| around.iter().any(|rows| rows.has_column(column));
    match columns.iter().find(twice) {
        Some(column) => datafusion::common::plan_err!(
            "a query in FROM names {column}, which may be a column beside it or one further out; give one of the two \
             relations another name with AS"
        ),
        None => Ok(!columns.is_empty()),
    }
}

fn as_query(plan: LogicalPlan) -> LogicalPlan {
    LogicalPlan::Subquery(Subquery {
        outer_ref_columns: plan.all_out_ref_exprs(),
        subquery: Arc::new(plan),
        spans: Spans::new(),
    })
}

fn lateral(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    match plan {
        LogicalPlan::Subquery(query) => Some(&query.subquery),
        LogicalPlan::SubqueryAlias(alias) => lateral(&alias.input),
        _ => None,
    }
}

fn condition(join: &Join) -> Option<Expr> {
    let is_true = |expr: &Expr| matches!(expr, Expr::Literal(ScalarValue::Boolean(Some(true)), _));
    let keys = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    conjunction(keys.chain(join.filter.clone().filter(|filter| !is_true(filter))))
}

/// What a query computes that has one row and reads nothing, as expressions over the rows beside it.
fn computed(query: &LogicalPlan, looked_at: &[Column]) -> Result<Option<Vec<Expr>>> {
    match query {
        LogicalPlan::SubqueryAlias(alias) => computed(&alias.input, looked_at),
        LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => Ok(Some(Vec::new())),
        LogicalPlan::Projection(projection) => {
            let Some(below) = computed(&projection.input, looked_at)? else {
                return Ok(None);
            };
            let schema = projection.input.schema();
            let replaced = |expr: &Expr| {
                let replaced = expr.clone().unalias().transform_up(|expr| match &expr {
                    Expr::OuterReferenceColumn(_, column) if looked_at.contains(column) => {
                        Ok(Transformed::yes(Expr::Column(column.clone())))
                    }
                    Expr::Column(column) => Ok(match schema.maybe_index_of_column(column) {
                        Some(at) => Transformed::yes(below[at].clone()),
                        None => Transformed::no(expr),
                    }),
                    _ => Ok(Transformed::no(expr)),
                });
                replaced.map(|done| done.data)
            };
            let plain = |expr: &Expr| !super::has_subquery(expr) && !expr.is_volatile();
            match projection.expr.iter().all(plain) {
                true => projection.expr.iter().map(replaced).collect::<Result<_>>().map(Some),
                false => Ok(None),
            }
        }
        _ => Ok(None),
    }
}
