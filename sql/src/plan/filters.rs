//! The optimizer rule that takes conditions down to where their columns come from.
//!
//! DataFusion's own rule takes every condition below joins and aggregates, also one that may fail in
//! rows that the join, or a condition beside it, keeps out. Here such a condition stays where it is
//! written, and what goes down in its place lets pass what it would fail for; so most rows are kept out
//! early all the same. A key of a join that may fail is computed only where the conditions beside it on
//! its own side hold.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, NullEquality, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, JoinType, LogicalPlan, when};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::guarded::{can_fail, passing_errors};

/// Takes conditions down.
#[derive(Debug, Default)]
pub struct Filters {
    all: PushDownFilter,
}

impl OptimizerRule for Filters {
    fn name(&self) -> &str {
        "push_down_filter"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let (above, plan) = match plan {
            LogicalPlan::Filter(filter) => {
                let (conditions, input) = merged(filter);
                let (stays, goes) = over(&input, conditions);
                let weak: Vec<Expr> = stays.iter().cloned().map(passing_errors).collect();
                let below = conjunction(goes.into_iter().chain(weak));
                (stays, filtered(below, input)?)
            }
            other => (Vec::new(), other),
        };
        let (held, plan) = of_join(plan);
        let mut done = self.all.rewrite(plan, config)?;
        if !held.is_empty() {
            done.data = held_again(done.data, held);
        }
        done.data = with_guarded_keys(done.data)?;
        done.data = filtered(conjunction(above), done.data)?;
        Ok(done)
    }
}

/// A filter's conditions with those of the filters right below it, which come first.
fn merged(filter: Filter) -> (Vec<Expr>, LogicalPlan) {
    let conditions = split_conjunction_owned(filter.predicate);
    match Arc::unwrap_or_clone(filter.input) {
        LogicalPlan::Filter(below) => {
            let (mut all, input) = merged(below);
            for condition in conditions {
                if !all.contains(&condition) {
                    all.push(condition);
                }
            }
            (all, input)
        }
        input => (conditions, input),
    }
}

fn filtered(condition: Option<Expr>, input: LogicalPlan) -> Result<LogicalPlan> {
    match condition {
        Some(condition) => Ok(LogicalPlan::Filter(Filter::try_new(condition, input.into())?)),
        None => Ok(input),
    }
}

/// The conditions over a plan that have to stay above it, and the others.
fn over(input: &LogicalPlan, conditions: Vec<Expr>) -> (Vec<Expr>, Vec<Expr>) {
    let fails = |condition: &Expr| can_fail(condition, input.schema());
    match input {
        LogicalPlan::Join(join) => {
            let (left, right) = kept_sides(join.join_type);
            let goes_down = |condition: &Expr| {
                (left && reads_only(condition, join.left.schema()))
                    || (right && reads_only(condition, join.right.schema()))
            };
            conditions
                .into_iter()
                .partition(|condition| goes_down(condition) && fails(condition))
        }
        LogicalPlan::Aggregate(aggregate) => {
            let groups = aggregate.group_expr.len();
            let columns = aggregate.schema.columns();
            let goes_down = |condition: &Expr| {
                let read = condition.column_refs();
                read.into_iter()
                    .all(|column| columns[..groups.min(columns.len())].contains(column))
            };
            match conditions.iter().all(goes_down) {
                true => (Vec::new(), conditions),
                false => conditions
                    .into_iter()
                    .partition(|condition| goes_down(condition) && fails(condition)),
            }
        }
        _ => (Vec::new(), conditions),
    }
}

/// Whether a join gives rows of its left and right side as they are.
fn kept_sides(kind: JoinType) -> (bool, bool) {
    use JoinType::*;
    match kind {
        Inner => (true, true),
        Left | LeftSemi | LeftAnti | LeftMark => (true, false),
        Right | RightSemi | RightAnti | RightMark => (false, true),
        Full => (false, false),
    }
}

fn reads_only(condition: &Expr, schema: &DFSchema) -> bool {
    let read = condition.column_refs();
    !read.is_empty() && read.into_iter().all(|column| schema.has_column(column))
}

/// Takes out of a join's condition what may fail and would be taken down.
fn of_join(plan: LogicalPlan) -> (Vec<Expr>, LogicalPlan) {
    match plan {
        LogicalPlan::Filter(mut filter) => {
            let (held, input) = of_join(Arc::unwrap_or_clone(filter.input));
            filter.input = input.into();
            (held, LogicalPlan::Filter(filter))
        }
        LogicalPlan::Join(mut join) => {
            let (left, right) = join.join_type.on_lr_is_preserved();
            let conditions = join.filter.take().map(split_conjunction_owned).unwrap_or_default();
            let (held, others): (Vec<Expr>, Vec<Expr>) = conditions.into_iter().partition(|condition| {
                let side = match condition {
                    _ if left && reads_only(condition, join.left.schema()) => join.left.schema(),
                    _ if right && reads_only(condition, join.right.schema()) => join.right.schema(),
                    _ => return false,
                };
                can_fail(condition, side)
            });
            let weak: Vec<Expr> = held.iter().cloned().map(passing_errors).collect();
            join.filter = conjunction(others.into_iter().chain(weak));
            (held, LogicalPlan::Join(join))
        }
        other => (Vec::new(), other),
    }
}

fn held_again(plan: LogicalPlan, held: Vec<Expr>) -> LogicalPlan {
    match plan {
        LogicalPlan::Filter(mut filter) => {
            let input = Arc::unwrap_or_clone(filter.input);
            filter.input = held_again(input, held).into();
            LogicalPlan::Filter(filter)
        }
        LogicalPlan::Join(mut join) => {
            join.filter = conjunction(join.filter.take().into_iter().chain(held));
            LogicalPlan::Join(join)
        }
        other => other,
    }
}

fn with_guarded_keys(plan: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Join(mut join) = plan else {
        return Ok(plan);
    };
    let nulls_meet = join.null_aware || join.null_equality == NullEquality::NullEqualsNull;
    let Some(filter) = join.filter.clone().filter(|_| !nulls_meet) else {
        return Ok(LogicalPlan::Join(join));
    };
    let conditions = split_conjunction_owned(filter);
    let keys = std::mem::take(&mut join.on);
    let guarded = keys.into_iter().map(|(left, right)| {
        Ok((
            guarded_key(left, join.left.schema(), &conditions)?,
            guarded_key(right, join.right.schema(), &conditions)?,
        ))
    });
    join.on = guarded.collect::<Result<_>>()?;
    Ok(LogicalPlan::Join(join))
}

/// A key that is NULL, which meets nothing, where a condition on its side doesn't hold.
fn guarded_key(key: Expr, side: &DFSchema, conditions: &[Expr]) -> Result<Expr> {
    let guards = conditions.iter().filter(|condition| reads_only(condition, side));
    match conjunction(guards.cloned()) {
        Some(guard) if can_fail(&key, side) && !matches!(key, Expr::Case(_)) => when(guard, key).end(),
        _ => Ok(key),
    }
}
