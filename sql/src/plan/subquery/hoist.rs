//! Subqueries where no rule looks for them, brought into SELECT lists and filters.
//!
//! `GROUP BY (SELECT …)`, `sum((SELECT …))` and `ORDER BY (SELECT …)` become columns that are computed
//! below. The condition of an inner join becomes a filter over all pairs, whose other parts the rules take
//! for the join again; in that of an outer join, what looks at one side is computed on that side.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, JoinType, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Aggregate, Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Sort, Window};

use super::{has_subquery, is_subquery, reach};
use crate::plan::refuse;

/// The plan with its subqueries in SELECT lists and filters, as far as there is a way.
pub fn hoisted(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Aggregate(aggregate)
            if aggregate
                .group_expr
                .iter()
                .chain(&aggregate.aggr_expr)
                .any(has_subquery) =>
        {
            aggregated(aggregate).map(Transformed::yes)
        }
        LogicalPlan::Window(window) if window.window_expr.iter().any(has_subquery) => {
            let mut below = Below::new("");
            let exprs = window.window_expr.iter().map(|expr| below.replaced(expr));
            let exprs = exprs.collect::<Result<Vec<_>>>()?;
            let plan = Window::try_new(exprs, below.computed(&window.input)?.into())?;
            shown(LogicalPlan::Window(plan), &window.schema.columns()).map(Transformed::yes)
        }
        LogicalPlan::Sort(sort) if sort.expr.iter().any(|by| has_subquery(&by.expr)) => {
            let mut below = Below::new("");
            let mut by = sort.expr.clone();
            for by in &mut by {
                by.expr = below.replaced(&by.expr)?;
            }
            let sorted = LogicalPlan::Sort(Sort {
                expr: by,
                input: Arc::new(below.under_list(&sort.input)?),
                fetch: sort.fetch,
            });
            shown(sorted, &sort.input.schema().columns()).map(Transformed::yes)
        }
        LogicalPlan::Join(join)
            if join.join_type == JoinType::Inner && join.filter.as_ref().is_some_and(has_subquery) =>
        {
            filtered(join).map(Transformed::yes)
        }
        LogicalPlan::Join(join) if join.filter.as_ref().is_some_and(has_subquery) => marked(join).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })
    .map(|done| done.data)
}

/// What is computed below a node.
struct Below {
    /// Which side of a join it is.
    side: &'static str,
    computed: Vec<Expr>,
}

impl Below {
    fn new(side: &'static str) -> Below {
        Below {
            side,
            computed: Vec::new(),
        }
    }

    fn called(&self, at: usize) -> String {
        format!("weir_computed_{}{at}", self.side)
    }

    /// The column that a subquery is computed in.
    fn column(&mut self, subquery: Expr) -> Expr {
        let at = self.computed.iter().position(|other| *other == subquery);
        let at = at.unwrap_or_else(|| {
            self.computed.push(subquery);
            self.computed.len() - 1
        });
        Expr::Column(Column::from_name(self.called(at)))
    }

    /// An expression with columns in the place of its subqueries, under its own name.
    fn replaced(&mut self, expr: &Expr) -> Result<Expr> {
        let names = NamePreserver::new_for_projection();
        let name = names.save(expr);
        let mut renamed = false;
        let replaced = expr.clone().transform_down(|expr| {
            if !is_subquery(&expr) {
                return Ok(Transformed::no(expr));
            }
            renamed = true;
            let column = self.column(expr);
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        })?;
        Ok(match renamed {
            true => name.restore(replaced.data),
            false => replaced.data,
        })
    }

    /// As [`Below::computed`], but below a SELECT list that leaves out what the subqueries look at.
    fn under_list(self, input: &LogicalPlan) -> Result<LogicalPlan> {
        let LogicalPlan::Projection(list) = input else {
            return self.computed(input);
        };
        let mut there = true;
        for expr in &self.computed {
            there &= looks_at(expr, list.input.schema())?;
        }
        if !there {
            return self.computed(input);
        }
        let names = (0..self.computed.len()).map(|at| Expr::Column(Column::from_name(self.called(at))));
        let exprs: Vec<Expr> = list.expr.iter().cloned().chain(names).collect();
        LogicalPlanBuilder::from(self.computed(&list.input)?)
            .project(exprs)?
            .build()
    }

    fn computed(self, input: &LogicalPlan) -> Result<LogicalPlan> {
        let columns = input.schema().columns().into_iter().map(Expr::Column);
        let computed = self.computed.iter().enumerate();
        let computed = computed.map(|(at, expr)| expr.clone().alias(self.called(at)));
        LogicalPlanBuilder::from(input.clone())
            .project(columns.chain(computed).collect::<Vec<_>>())?
            .build()
    }
}

fn shown(plan: LogicalPlan, columns: &[Column]) -> Result<LogicalPlan> {
    let columns = columns.iter().cloned().map(Expr::Column);
    LogicalPlanBuilder::from(plan)
        .project(columns.collect::<Vec<_>>())?
        .build()
}

fn aggregated(aggregate: Aggregate) -> Result<LogicalPlan> {
    let mut below = Below::new("");
    let mut groups = Vec::with_capacity(aggregate.group_expr.len());
    for group in &aggregate.group_expr {
        groups.push(match group {
            // Its parts have names of their own.
            Expr::GroupingSet(_) if has_subquery(group) => {
                return datafusion::common::plan_err!(
                    "a subquery can't stand in GROUPING SETS, CUBE or ROLLUP; compute it in a query below: FROM (SELECT \
                     …, (SELECT …) AS name FROM …)"
                );
            }
            group => below.replaced(group)?,
        });
    }
    let calls = aggregate.aggr_expr.iter().map(|call| below.replaced(call));
    let calls = calls.collect::<Result<Vec<_>>>()?;
    let input = below.computed(&aggregate.input)?;
    Aggregate::try_new(input.into(), groups, calls).map(LogicalPlan::Aggregate)
}

fn filtered(mut join: Join) -> Result<LogicalPlan> {
    let parts = join.filter.take().into_iter().flat_map(split_conjunction_owned);
    let (filters, stay): (Vec<Expr>, Vec<Expr>) = parts.partition(has_subquery);
    join.filter = conjunction(stay);
    let joined = LogicalPlan::Join(join);
    match conjunction(filters) {
        Some(filter) => Filter::try_new(filter, joined.into()).map(LogicalPlan::Filter),
        None => Ok(joined),
    }
}

/// A join whose condition has subqueries, each of which looks at one side.
fn marked(mut join: Join) -> Result<LogicalPlan> {
    let (mut left, mut right) = (Below::new("left_"), Below::new("right_"));
    let columns = join.schema.columns();
    let filter = join.filter.take().map(|filter| {
        filter.transform_down(|expr| {
            if !is_subquery(&expr) {
                return Ok(Transformed::no(expr));
            }
            let seen = [join.left.schema(), join.right.schema()].map(|schema| looks_at(&expr, schema));
            let column = match seen {
                [Ok(_), Ok(false)] => left.column(expr),
                [Ok(false), Ok(true)] => right.column(expr),
                [Err(error), _] | [_, Err(error)] => return Err(error),
                _ => return Err(DataFusionError::External(Box::new(refuse::both_sides()))),
            };
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        })
    });
    join.filter = filter.transpose()?.map(|done| done.data);
    let joined = Join::try_new(
        Arc::new(left.computed(&join.left)?),
        Arc::new(right.computed(&join.right)?),
        join.on,
        join.filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    shown(LogicalPlan::Join(joined), &columns)
}

/// Whether a subquery looks at columns of a side, also by what it is compared with.
fn looks_at(subquery: &Expr, side: &DFSchema) -> Result<bool> {
    let mut compared = false;
    subquery.apply(|expr| {
        compared |= matches!(expr, Expr::Column(column) if side.has_column(column));
        Ok(TreeNodeRecursion::Continue)
    })?;
    let within = match reach::query_of(subquery) {
        Some(query) => !reach::looked_at(query, side)?.is_empty(),
        None => false,
    };
    Ok(compared || within)
}
