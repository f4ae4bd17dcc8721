//! What can't be kept up to date, and what to write instead.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};

use weir_engine::graph::Drawn;

use super::{drawn, history, now};
use crate::{Error, Result};

/// Refuses what the rules would turn into something that nobody wrote.
pub fn as_written(plan: &LogicalPlan) -> Result<()> {
    let mut refused = None;
    plan.apply_with_subqueries(|node| {
        if matches!(node, LogicalPlan::Filter(filter) if history::is_marker(&filter.predicate)) {
            refused.get_or_insert(Error::new(
                "a relation as it once was never changes: FOR SYSTEM_TIME AS OF a time is for a SELECT that is read once; in a \
                 continuous query it stands behind JOIN, with a time of the left rows or PROCTIME()",
            ));
            return Ok(TreeNodeRecursion::Continue);
        }
        for function in drawn::functions(node)? {
            if let Some(error) = volatile(node, &function) {
                refused.get_or_insert(error);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(super::errors::translate)?;
    refused.map_or(Ok(()), Err)
}

/// Why a node may not compute with a function whose value differs from one call to the next; `None`
/// if it may.
fn volatile(node: &LogicalPlan, function: &str) -> Option<Error> {
    let is_filter = matches!(node, LogicalPlan::Filter(_));
    if is_filter && now::is_now(function) {
        return None;
    }
    let why = match (drawn::value(function), node) {
        (None, _) => {
            return Some(Error::new(format!(
                "{function}() can't stand in a continuous query: its value changes with time or call; ask ad hoc with \
                 SELECT"
            )));
        }
        (Some(Drawn::Now), LogicalPlan::Filter(_)) => {
            return Some(Error::new(format!(
                "{function}() can't stand in a filter of a continuous query; write what it means with now(), as in WHERE \
                 ts > now() - INTERVAL '1 day'"
            )));
        }
        (
            Some(_),
            LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) | LogicalPlan::Filter(_),
        ) => return None,
        (Some(_), LogicalPlan::Sort(_) | LogicalPlan::Distinct(_)) => "in ORDER BY or DISTINCT ON",
        (Some(Drawn::Now), LogicalPlan::Join(_)) => {
            return Some(Error::new(format!(
                "{function}() can't stand in the ON of this join: in the ON of an outer join it may tell until when rows of \
                 the side count that NULLs stand for where nothing is found (LEFT JOIN r ON … AND r.time > now() - INTERVAL '1 \
                 hour'); otherwise put it into WHERE, or into a query in parentheses"
            )));
        }
        (Some(_), LogicalPlan::Join(_)) => "in the ON of a join",
        (Some(_), LogicalPlan::Values(_)) => "in VALUES",
        (Some(_), _) => "here",
    };
    Some(Error::new(format!(
        "{function}() can't stand {why} of a continuous query: each row has a value of its own, made once; make it a \
         column in the SELECT list of a query in parentheses, and use that"
    )))
}

/// What is said of a window function in WHERE and the like.
pub const WINDOW_FIRST: &str = "window functions are computed after WHERE, GROUP BY and HAVING, so they can't stand there; \
                                filter by them with QUALIFY, or in a query around this one";

/// Refuses window functions and aggregates where they aren't computed yet.
pub fn misplaced(plan: &LogicalPlan) -> Result<()> {
    let is_window = |expr: &Expr| Ok(matches!(expr, Expr::WindowFunction(_)));
    let is_aggregate = |expr: &Expr| Ok(matches!(expr, Expr::AggregateFunction(_)));
    let mut found = false;
    let mut grouped = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Filter(_) | LogicalPlan::Aggregate(_) | LogicalPlan::Join(_) = node {
            node.apply_expressions(|expr| {
                found |= expr.exists(is_window)?;
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        if let LogicalPlan::Aggregate(aggregate) = node {
            for group in &aggregate.group_expr {
                grouped |= group.exists(is_aggregate)?;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(super::errors::translate)?;
    match (found, grouped) {
        (true, _) => Err(Error::new(WINDOW_FIRST)),
        (_, true) => Err(Error::new(
            "an aggregate can't stand in GROUP BY, which says what it is about",
        )),
        _ => Ok(()),
    }
}

/// The error for a plan node that has no streaming form.
pub fn plan(plan: &LogicalPlan) -> Error {
    Error::new(match plan {
        LogicalPlan::Subquery(_) => {
            "this LATERAL subquery can't be turned into a join, so it can't be kept up to date; write the JOIN"
                .to_string()
        }
        LogicalPlan::Sort(_) => {
            "ORDER BY without LIMIT has no meaning for a kept answer; add LIMIT, or leave it out here and order when \
             you SELECT from the view"
                .to_string()
        }
        other => {
            let name = other.display().to_string();
            let name = name.split([':', ' ']).next().unwrap_or_default().to_string();
            format!("{name} is not supported in a continuous query")
        }
    })
}

/// The error for a query that reads nothing.
pub fn constants() -> Error {
    Error::new(
        "a continuous query must read a source, a table or a view; constants never change: use INSERT INTO a table, or \
         SELECT",
    )
}

/// The error for a NOT IN that is left as a join of a kind of its own.
pub fn null_aware() -> Error {
    Error::new("this NOT IN can't be kept up to date; write NOT EXISTS (SELECT … WHERE … = …) instead")
}

/// The error for a subquery that looks at rows outside from where nothing gets them.
pub fn dependent() -> Error {
    Error::new(
        "this subquery can't be turned into a join: it looks at rows outside from within a recursion, a window in FROM, a \
         join as of a time, or by a LIMIT or OFFSET that is no number; write the JOIN",
    )
}

/// The error for a subquery that looks at rows whose values would be made anew for it.
pub fn made_anew() -> Error {
    Error::new(
        "a subquery can't look from within a LIMIT, an aggregate, a subquery of its own or the like at rows with values of \
         now(), random() or uuid(); keep those rows in a materialized view, and read that",
    )
}

/// The error for a subquery in the ON of an outer join that looks at both sides.
pub fn both_sides() -> Error {
    Error::new(
        "a subquery in the ON of an outer join may look at one side of the join, not at both: join with it, or move it \
         into a query that is joined",
    )
}

/// Refuses subqueries inside expressions.
pub fn subqueries<'a>(exprs: impl Iterator<Item = &'a Expr>) -> Result<()> {
    for expr in exprs {
        let mut found = false;
        expr.apply(|expr| {
            found |= matches!(
                expr,
                Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)
            );
            Ok(if found {
                TreeNodeRecursion::Stop
            } else {
                TreeNodeRecursion::Continue
            })
        })
        .map_err(super::errors::translate)?;
        if found {
            return Err(Error::new(
                "this subquery can't be turned into a join, so it can't be kept up to date: it must stand in WHERE, HAVING, \
                 the SELECT list, GROUP BY, ORDER BY, an aggregate or ON; or write the JOIN",
            ));
        }
    }
    Ok(())
}

/// The error for lists within lists that stand beside other lists.
pub fn nested_unnest() -> Error {
    Error::new("UNNEST of an array's arrays stands alone in a continuous query; unnest the others in a query around it")
}

/// The error for an aggregate that can't take a row out again.
pub fn frame(function: &str) -> Error {
    Error::new(format!(
        "{function}() can't be kept over a frame that leaves rows behind; begin the frame at UNBOUNDED PRECEDING"
    ))
}

/// The error for values that rest on all later rows.
pub fn never_final(call: &str) -> Error {
    Error::new(format!(
        "EMIT ON WINDOW CLOSE gives each row once, when all rows are there that its values rest on, and {call} rests on all \
         rows that are yet to come; end its frame at CURRENT ROW, a number of rows or groups FOLLOWING, or an interval without \
         months FOLLOWING (LEAD by a number of rows, LAG and the ranks look at so many, too), put window_end into PARTITION \
         BY, or leave EMIT ON WINDOW CLOSE out"
    ))
}

/// The error for what would close above window functions that look ahead.
pub fn closes_above_what_waits() -> Error {
    Error::new(
        "EMIT ON WINDOW CLOSE: an OVER that looks ahead gives its rows later than their event time, so nothing above it closes \
         by that; keep it as a view of its own with EMIT ON WINDOW CLOSE, and read that view without",
    )
}

/// The error for EMIT ON WINDOW CLOSE where nothing closes.
pub fn no_close(has_watermark: bool) -> Error {
    Error::new(if has_watermark {
        "EMIT ON WINDOW CLOSE needs something that event time closes in the result: group by window_start and \
         window_end of a window over the column that the source's WATERMARK is for, by date_trunc or date_bin of it, or \
         keep that column"
    } else {
        "EMIT ON WINDOW CLOSE needs a watermark, and nothing that this query reads has one. A source has it if it says \
         WATERMARK FOR column AS column - INTERVAL '5' SECOND. A table has none, for its rows may change at any time: \
         leave EMIT ON WINDOW CLOSE out, and the view has every change"
    })
}
