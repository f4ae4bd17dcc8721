//! Subqueries in expressions, brought into the forms that DataFusion's rules turn into joins rightly.
//!
//! Those rules make a join of `EXISTS` and `IN` in a WHERE (semi, anti, or a mark where they stand
//! under OR), and of a scalar subquery in a WHERE or a SELECT list. What they would get wrong, or
//! don't take at all, is written here in terms of what they do, for kept and for ad-hoc queries:
//!
//! - `x NOT IN (S)`: no row of S may equal x, and none may leave it open whether it does. That is
//!   three anti-joins, the second and third of which mostly have nothing to do:
//!   `NOT EXISTS (S with y = x) AND NOT EXISTS (S with y IS NULL) AND NOT EXISTS (S if x IS NULL)`.
//! - IN where it matters whether it is false or unknown: `CASE WHEN EXISTS (S with y = x) THEN true
//!   WHEN … unknown … THEN NULL ELSE false END`.
//! - ANY and ALL likewise, and IN of rows ([`row_in`]).
//! - EXISTS and IN in a SELECT list: EXISTS as a scalar subquery that counts.
//! - EXISTS and IN over an aggregate without GROUP BY, which has a row over no rows: as a scalar
//!   subquery, for which the rules see to that.
//! - A scalar subquery that may have several rows: a value of it, and their number, which is looked
//!   at when the value is needed: more than one is an error then, as in PostgreSQL.
//! - Subqueries in GROUP BY, ORDER BY, aggregates and the ON of inner joins: as columns and filters ([`hoist`]).
//! - One that looks at the rows outside from where no rule reaches ([`reach`]), also in FROM ([`lateral`]):
//!   computed for all values that it looks at, beside the rows outside ([`dependent`]). Whatever queries within
//!   it look at is among them, so that each looks at the rows right around it in the end ([`renamed`]).

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchemaRef, ExprSchema, JoinType, Result, ScalarValue};
use datafusion::functions_aggregate::count::count_all;
use datafusion::functions_aggregate::min_max::min;
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Subquery, exists,
    lit, not, not_exists, scalar_subquery, when,
};

mod dependent;
mod hoist;
mod lateral;
mod only_row;
mod reach;
mod renamed;
mod row_in;

use dependent::Dependent;
pub use only_row::only_row;
use reach::Asked;

/// What a subquery's column is called.
const VALUE: &str = "weir_value";
/// And the number of its rows.
const ROWS: &str = "weir_rows";

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is executed once, by DataFusion, which has a NOT IN and scalar subqueries of its own for
    /// subqueries that name nothing outside.
    Read,
    /// It is kept up to date: every subquery becomes a join.
    Kept,
}

/// The plan with its subqueries in forms that can become joins.
pub fn explicit(plan: LogicalPlan, purpose: Use) -> Result<LogicalPlan> {
    let plan = hoist::hoisted(lateral::marked(plan, &[])?)?;
    inward(plan, purpose, &Cell::new(0))
}

/// From the outermost query to the innermost ones: what one looks at several levels out has come to be columns
/// of the rows around it when it is its turn.
fn inward(plan: LogicalPlan, purpose: Use, numbers: &Cell<usize>) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Filter(filter) if has_subquery(&filter.predicate) => {
            let outer = Outer::new(&filter.input, purpose, true, numbers);
            let parts = split_conjunction_owned(filter.predicate);
            let parts = parts.into_iter().map(|part| outer.condition(part));
            let predicate = conjunction(parts.collect::<Result<Vec<_>>>()?).unwrap_or_else(|| lit(true));
            let joined = outer.beside().map(Arc::new);
            let wider = joined.is_some();
            let input = joined.unwrap_or_else(|| filter.input.clone());
            let done = LogicalPlan::Filter(Filter::try_new(predicate, input)?);
            let done = within(done, purpose, numbers)?;
            match wider {
                false => Ok(done),
                true => LogicalPlanBuilder::from(done)
                    .project(filter.input.schema().columns().into_iter().map(Expr::Column))?
                    .build(),
            }
        }
        LogicalPlan::Projection(projection) if projection.expr.iter().any(has_subquery) => {
            let outer = Outer::new(&projection.input, purpose, false, numbers);
            let names = NamePreserver::new_for_projection();
            let exprs = projection.expr.into_iter().map(|expr| {
                let name = names.save(&expr);
                Ok(name.restore(outer.value(expr)?))
            });
            let exprs = exprs.collect::<Result<Vec<_>>>()?;
            let input = outer.beside().map_or(projection.input.clone(), Arc::new);
            let done = LogicalPlan::Projection(Projection::try_new(exprs, input)?);
            within(done, purpose, numbers)
        }
        LogicalPlan::Join(join) => match lateral::joined(&join, purpose, numbers)? {
            Some(plan) => inward(plan, purpose, numbers),
            None => within(LogicalPlan::Join(join), purpose, numbers),
        },
        other => within(other, purpose, numbers),
    }
}

/// The same for all that is within a node: the queries of its expressions, and its inputs.
fn within(node: LogicalPlan, purpose: Use, numbers: &Cell<usize>) -> Result<LogicalPlan> {
    let further = |plan| inward(plan, purpose, numbers).map(Transformed::yes);
    let node = node.map_subqueries(further)?.data;
    node.map_children(further).map(|done| done.data)
}

/// Whether there is a subquery in an expression.
pub fn has_subquery(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(is_subquery(expr))).unwrap_or(false)
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::InSubquery(_) | Expr::Exists(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_)
    )
}

/// The node whose expressions have subqueries.
struct Outer<'a> {
    input: &'a LogicalPlan,
    purpose: Use,
    /// It is a filter, in which EXISTS becomes a join.
    filters: bool,
    /// Numbers for names.
    numbers: &'a Cell<usize>,
    /// Its rows with what stands beside them, once something does.
    joined: RefCell<Option<LogicalPlan>>,
}

impl<'a> Outer<'a> {
    fn new(input: &'a LogicalPlan, purpose: Use, filters: bool, numbers: &'a Cell<usize>) -> Outer<'a> {
        Outer {
            input,
            purpose,
            filters,
            numbers,
            joined: RefCell::new(None),
        }
    }

    /// The rows here, with what stands beside them by now.
    fn rows(&self) -> LogicalPlan {
        self.joined.borrow().as_ref().unwrap_or(self.input).clone()
    }

    /// Their columns.
    fn schema(&self) -> DFSchemaRef {
        match self.joined.borrow().as_ref() {
            Some(joined) => joined.schema().clone(),
            None => self.input.schema().clone(),
        }
    }

    fn beside(self) -> Option<LogicalPlan> {
        self.joined.into_inner()
    }

    /// What a subquery looks at in the rows here, if the rules don't get it right.
    fn dependent(&self, rows: &LogicalPlan, asked: Asked) -> Result<Option<(Dependent, usize)>> {
        let looked_at = reach::looked_at(rows, &self.schema())?;
        if looked_at.is_empty() || reach::is_simple(rows, &looked_at, asked)? {
            return Ok(None);
        }
        let number = self.numbers.replace(self.numbers.get() + 1);
        let own = looked_at.iter().all(|column| self.input.schema().has_column(column));
        let outer = if own { self.input.clone() } else { self.rows() };
        Ok(Some((Dependent::new(&outer, looked_at, number, self.purpose)?, number)))
    }

    /// A subquery of which it is asked whether it has a row, as one that the rules get right.
    fn reachable(&self, rows: &Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
        let Some((dependent, _)) = self.dependent(rows, Asked::Whether)? else {
            return Ok(rows.clone());
        };
        let is_of = dependent.is_of(|column| self.outer(&Expr::Column(column.clone())))?;
        let plan = LogicalPlanBuilder::from(dependent.rows(rows)?)
            .filter(is_of)?
            .project(rows.schema().columns().into_iter().map(Expr::Column))?
            .build()?;
        Ok(Arc::new(plan))
    }

    /// `(S)` where the rules don't get it right: a column beside the rows here.
    fn column(&self, rows: &LogicalPlan) -> Result<Option<Expr>> {
        let Some((dependent, number)) = self.dependent(rows, Asked::Value)? else {
            return Ok(None);
        };
        let relation = format!("weir_subquery_{number}");
        let named = |expr: Expr, name: &str| expr.alias_qualified(Some(relation.as_str()), name);
        let column = |name: &str| Expr::Column(Column::new(Some(relation.as_str()), name));
        let y = first_column(rows);
        let plan = LogicalPlanBuilder::from(dependent.rows(rows)?);
        let (plan, value) = match plan_may_have_rows(rows) {
            false => (
                plan.project([named(y, VALUE)].into_iter().chain(dependent.columns()))?,
                column(VALUE),
            ),
            true => {
                check_order(&y.get_type(rows.schema())?)?;
                let calls = vec![count_all().alias(ROWS), min(y).alias(VALUE)];
                let unqualified = |name: &str| Expr::Column(Column::from_name(name));
                let exprs = [ROWS, VALUE].map(|name| named(unqualified(name), name));
                let plan = plan.aggregate(dependent.columns(), calls)?;
                let plan = plan.project(exprs.into_iter().chain(dependent.columns()))?;
                let rows = when(column(ROWS).is_null(), lit(0i64)).otherwise(column(ROWS))?;
                (plan, only_row().call(vec![rows, column(VALUE)]))
            }
        };
        let is_of = dependent.is_of(|column| Ok(Expr::Column(column.clone())))?;
        let joined = LogicalPlanBuilder::from(self.rows())
            .join_on(plan.build()?, JoinType::Left, [is_of])?
            .build()?;
        self.joined.replace(Some(joined));
        Ok(Some(value))
    }

    /// One of the conditions that a row must meet.
    fn condition(&self, expr: Expr) -> Result<Expr> {
        match expr {
            Expr::Not(inner) => match *inner {
                Expr::InSubquery(inner) => self.member(InSubquery {
                    negated: !inner.negated,
                    ..inner
                }),
                other => self.value(not(other)),
            },
            Expr::InSubquery(inner) => self.member(inner),
            other => self.held(other),
        }
    }

    /// A part of a condition under AND and OR: what is false or unknown in it is so in the whole.
    fn held(&self, expr: Expr) -> Result<Expr> {
        match expr {
            Expr::InSubquery(found) if !found.negated => {
                let x = self.value(*found.expr)?;
                if let Some(row) = row_in::of(&x, &found.subquery.subquery) {
                    return self.row_member(row, false);
                }
                match self.in_aggregate(&x, &found.subquery.subquery, false)? {
                    Some(found) => Ok(found),
                    None => self.equal_exists(&x, &found.subquery.subquery),
                }
            }
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: op @ (Operator::And | Operator::Or),
                right,
            }) => {
                let (left, right) = (self.held(*left)?, self.held(*right)?);
                Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
            }
            other => self.value(other),
        }
    }

    /// `x [NOT] IN (S)` as a condition of its own.
    fn member(&self, found: InSubquery) -> Result<Expr> {
        let InSubquery {
            expr,
            subquery,
            negated,
        } = found;
        let x = self.value(*expr)?;
        if let Some(row) = row_in::of(&x, &subquery.subquery) {
            return self.row_member(row, negated);
        }
        if let Some(found) = self.in_aggregate(&x, &subquery.subquery, negated)? {
            return Ok(found);
        }
        let rows = self.reachable(&subquery.subquery)?;
        let subquery = Subquery {
            outer_ref_columns: rows.all_out_ref_exprs(),
            subquery: rows.clone(),
            ..subquery
        };
        let stays = !negated || (self.purpose == Use::Read && subquery.outer_ref_columns.is_empty());
        if stays || !can_name(&x) {
            return Ok(Expr::InSubquery(InSubquery {
                expr: Box::new(x),
                subquery,
                negated,
            }));
        }
        let seen = self.outer(&x)?;
        let mut parts = vec![not_exists(filtered(&rows, |y| seen.clone().eq(y))?)];
        if first_column(&rows).nullable(rows.schema())? {
            parts.push(not_exists(filtered(&rows, Expr::is_null)?));
        }
        if x.nullable(self.schema().as_ref())? {
            parts.push(not_exists(filtered(&rows, |_| seen.is_null())?));
        }
        Ok(conjunction(parts).unwrap_or_else(|| lit(true)))
    }

    /// An expression in which it matters whether a part is false or unknown.
    fn value(&self, expr: Expr) -> Result<Expr> {
        expr.transform_up(|expr| match expr {
            Expr::InSubquery(InSubquery {
                expr,
                subquery,
                negated,
            }) => {
                let found = match row_in::of(&expr, &subquery.subquery) {
                    Some(row) => self.row_value(row)?,
                    None => match self.in_aggregate(&expr, &subquery.subquery, false)? {
                        Some(found) => found,
                        None => self.three_valued(&expr, &subquery.subquery)?,
                    },
                };
                Ok(Transformed::yes(if negated { not(found) } else { found }))
            }
            Expr::SetComparison(found) => self.quantified(found).map(Transformed::yes),
            Expr::Exists(Exists { subquery, negated }) => {
                let found = self.exists(&subquery.subquery)?;
                Ok(Transformed::yes(if negated { not(found) } else { found }))
            }
            Expr::ScalarSubquery(subquery) => {
                if let Some(column) = self.column(&subquery.subquery)? {
                    return Ok(Transformed::yes(column));
                }
                if !may_have_rows(&subquery.subquery) {
                    return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
                }
                if self.purpose == Use::Read && subquery.outer_ref_columns.is_empty() {
                    return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
                }
                self.only_row(&subquery.subquery).map(Transformed::yes)
            }
            other => Ok(Transformed::no(other)),
        })
        .map(|done| done.data)
    }

    /// `x IN (S)`: true, false or NULL.
    fn three_valued(&self, x: &Expr, rows: &Arc<LogicalPlan>) -> Result<Expr> {
        let found = self.equal_exists(x, rows)?;
        let mut open: Vec<Expr> = Vec::new();
        if first_column(rows).nullable(rows.schema())? {
            open.push(self.exists(&filtered(rows, Expr::is_null)?)?);
        }
        if x.nullable(self.schema().as_ref())? {
            open.push(x.clone().is_null().and(self.exists(rows)?));
        }
        let Some(open) = open.into_iter().reduce(Expr::or) else {
            return Ok(found);
        };
        unless_known(found, open)
    }

    fn equal_exists(&self, x: &Expr, rows: &Arc<LogicalPlan>) -> Result<Expr> {
        let seen = self.outer(x)?;
        self.exists(&filtered(rows, |y| seen.eq(y))?)
    }

    /// `x op ANY (S)` or `x op ALL (S)`: true, false or NULL.
    fn quantified(&self, found: SetComparison) -> Result<Expr> {
        let SetComparison {
            expr,
            subquery,
            op,
            quantifier,
        } = found;
        let all = quantifier == SetQuantifier::All;
        let rows = &subquery.subquery;
        let compare = |x: &Expr, y: Expr| Expr::BinaryExpr(BinaryExpr::new(Box::new(x.clone()), op, Box::new(y)));
        if let Some(found) = self.with_aggregate(rows, all, |y| compare(&expr, y))? {
            return Ok(found);
        }
        let seen = self.outer(&expr)?;
        // One row decides: one for which it is true, or with ALL one for which it is false.
        let decides = |compared: Expr| match all {
            true => Expr::IsFalse(Box::new(compared)),
            false => Expr::IsTrue(Box::new(compared)),
        };
        let decided = self.exists(&filtered(rows, |y| decides(compare(&seen, y)))?)?;
        let open = self.exists(&filtered(rows, |y| compare(&seen, y).is_null())?)?;
        when(decided, lit(!all)).when(open, unknown()).otherwise(lit(all))
    }

    /// `EXISTS (S)`.
    fn exists(&self, rows: &Arc<LogicalPlan>) -> Result<Expr> {
        if one_row(rows) {
            return Ok(lit(true));
        }
        if let Some((condition, _)) = having(rows)? {
            return self.holds(condition);
        }
        let rows = unlimited(rows);
        if self.filters {
            return Ok(exists(self.reachable(rows)?));
        }
        let counted = LogicalPlanBuilder::from(rows.as_ref().clone())
            .aggregate(Vec::<Expr>::new(), vec![count_all()])?
            .project(vec![
                Expr::Column(Column::from_name("count(*)")).gt(lit(0i64)).alias("found"),
            ])?
            .build()?;
        self.scalar(counted)
    }

    /// `(S)`, where S has one row at most.
    fn scalar(&self, rows: LogicalPlan) -> Result<Expr> {
        Ok(match self.column(&rows)? {
            Some(column) => column,
            None => scalar_subquery(Arc::new(rows)),
        })
    }

    /// Whether a condition holds, which is a subquery of one row.
    fn holds(&self, condition: LogicalPlan) -> Result<Expr> {
        Ok(Expr::IsTrue(Box::new(self.scalar(condition)?)))
    }

    /// `x [NOT] IN (S)` where S is an aggregate without GROUP BY, with or without HAVING.
    fn in_aggregate(&self, x: &Expr, rows: &Arc<LogicalPlan>, negated: bool) -> Result<Option<Expr>> {
        self.with_aggregate(rows, negated, |y| match negated {
            true => x.clone().not_eq(y),
            false => x.clone().eq(y),
        })
    }

    /// What is compared with the row of S, which is an aggregate without GROUP BY; `without` is
    /// what holds where HAVING lets no row pass.
    fn with_aggregate(
        &self,
        rows: &Arc<LogicalPlan>,
        without: bool,
        compared: impl Fn(Expr) -> Expr,
    ) -> Result<Option<Expr>> {
        if one_row(rows) {
            return Ok(Some(compared(self.scalar(rows.as_ref().clone())?)));
        }
        let Some((condition, row)) = having(rows)? else {
            return Ok(None);
        };
        let compared = compared(self.scalar(row)?);
        when(self.holds(condition)?, compared).otherwise(lit(without)).map(Some)
    }

    /// `(S)`, where S may have several rows.
    fn only_row(&self, rows: &Arc<LogicalPlan>) -> Result<Expr> {
        let y = first_column(rows);
        check_order(&y.get_type(rows.schema())?)?;
        let aggregated = |call: Expr| -> Result<Expr> {
            let plan = LogicalPlanBuilder::from(rows.as_ref().clone());
            let plan = plan.aggregate(Vec::<Expr>::new(), vec![call])?.build()?;
            Ok(scalar_subquery(Arc::new(plan)))
        };
        let (count, value) = (aggregated(count_all())?, aggregated(min(y))?);
        Ok(only_row().call(vec![count, value]))
    }

    /// The expression as seen from within a subquery.
    fn outer(&self, expr: &Expr) -> Result<Expr> {
        let seen = expr.clone().transform_up(|expr| match expr {
            Expr::Column(column) => {
                let field = self.schema().field_from_column(&column)?.clone();
                Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
            }
            other => Ok(Transformed::no(other)),
        });
        seen.map(|done| done.data)
    }
}

fn unknown() -> Expr {
    Expr::Literal(ScalarValue::Boolean(None), None)
}

/// True, unknown or false.
fn unless_known(found: Expr, open: Expr) -> Result<Expr> {
    when(found, lit(true)).when(open, unknown()).otherwise(lit(false))
}

/// Whether an expression means the same within a subquery.
fn can_name(expr: &Expr) -> bool {
    !has_subquery(expr)
}

fn first_column(rows: &LogicalPlan) -> Expr {
    Expr::Column(Column::from(rows.schema().qualified_field(0)))
}

/// The rows for which something holds of their first column. It gets a name of its own, since
/// a column outside may be called alike.
fn filtered(rows: &Arc<LogicalPlan>, predicate: impl FnOnce(Expr) -> Expr) -> Result<Arc<LogicalPlan>> {
    let named = LogicalPlanBuilder::from(rows.as_ref().clone());
    let named = named.project(vec![first_column(rows).alias(VALUE)])?;
    let y = Expr::Column(Column::from_name(VALUE));
    Ok(Arc::new(named.filter(predicate(y))?.build()?))
}

/// Whether a plan has one row whatever there is.
fn one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Projection(projection) => one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => one_row(&alias.input),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        _ => false,
    }
}

/// Whether a plan may have more than one row. One that is grouped by what it is compared with
/// outside has one for each; that is for the rules to judge.
fn may_have_rows(plan: &LogicalPlan) -> bool {
    let grouped =
        |plan: &LogicalPlan| matches!(plan, LogicalPlan::Aggregate(_)) && !plan.all_out_ref_exprs().is_empty();
    let mut below = plan;
    while let LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) = below {
        below = below.inputs()[0];
    }
    !grouped(below) && plan_may_have_rows(plan)
}

fn plan_may_have_rows(plan: &LogicalPlan) -> bool {
    !one_row(plan) && plan.max_rows().is_none_or(|rows| rows > 1)
}

/// `SELECT … HAVING condition` without GROUP BY, taken apart: a query for the condition, and one for the
/// row that it is about.
fn having(plan: &LogicalPlan) -> Result<Option<(LogicalPlan, LogicalPlan)>> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let Some((condition, row)) = having(&projection.input)? else {
                return Ok(None);
            };
            let row = LogicalPlanBuilder::from(row)
                .project(projection.expr.clone())?
                .build()?;
            Ok(Some((condition, row)))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let Some((condition, row)) = having(&alias.input)? else {
                return Ok(None);
            };
            let row = LogicalPlanBuilder::from(row).alias(alias.alias.clone())?.build()?;
            Ok(Some((condition, row)))
        }
        LogicalPlan::Filter(filter) if one_row(&filter.input) && !filter.predicate.contains_outer() => {
            let row = filter.input.as_ref().clone();
            let condition = filter.predicate.clone().alias("having");
            let condition = LogicalPlanBuilder::from(row.clone())
                .project(vec![condition])?
                .build()?;
            Ok(Some((condition, row)))
        }
        _ => Ok(None),
    }
}

/// Rows of which it only matters whether there are any, without a LIMIT or an order.
fn unlimited(rows: &Arc<LogicalPlan>) -> &Arc<LogicalPlan> {
    match rows.as_ref() {
        LogicalPlan::Limit(limit) if limit.skip.is_none() => match limit.fetch.as_deref() {
            Some(Expr::Literal(ScalarValue::Int64(Some(1..)), _)) => unlimited(&limit.input),
            _ => rows,
        },
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => unlimited(&sort.input),
        _ => rows,
    }
}

/// One of several rows is a least one, of types that have such.
fn check_order(kind: &DataType) -> Result<()> {
    let has_order = kind.is_numeric()
        || kind.is_temporal()
        || matches!(
            kind,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Binary | DataType::Boolean
        );
    if has_order {
        return Ok(());
    }
    datafusion::common::plan_err!(
        "a subquery in an expression that may have several rows can't have a value of {}; make it one row with an \
         aggregate",
        weir_engine::format::sql_type(kind)
    )
}
