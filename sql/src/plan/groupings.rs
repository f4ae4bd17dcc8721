//! Groups written as rows: `GROUP BY (a, b)`, and grouping sets of them.
//!
//! The planner knows `ROLLUP` and `CUBE` of single columns only, and neither inside of `GROUPING SETS`. Of others
//! the sets are written out: `ROLLUP ((a, b), c)` is `GROUPING SETS ((a, b, c), (a, b), ())`.

use std::ops::ControlFlow;

use sqlparser::ast::{self, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, VisitMut};

use crate::walk::{Flow, Visitor, walk};

/// A CUBE of more has more sets than anybody means, and is left to the planner.
const CUBE: usize = 12;

/// Writes such groups as the planner knows them, in subqueries too.
pub fn spelled_out<T: VisitMut>(tree: &mut T) {
    let _ = walk(tree, &mut Groupings);
}

struct Groupings;

impl Visitor for Groupings {
    fn enter_select(&mut self, select: &mut ast::Select) -> Flow {
        if let GroupByExpr::Expressions(groups, _) = &mut select.group_by {
            *groups = std::mem::take(groups).into_iter().flat_map(spelled).collect();
        }
        ControlFlow::Continue(())
    }
}

type Sets = Vec<Vec<Expr>>;

fn spelled(group: Expr) -> Vec<Expr> {
    let has_rows = |parts: &Sets| parts.iter().any(|part| part.len() != 1);
    let group = match group {
        // Without parts it is the one group of all rows.
        Expr::Tuple(parts) if !parts.is_empty() => return parts,
        Expr::Rollup(parts) if has_rows(&parts) => Expr::GroupingSets(rolled_up(&parts)),
        Expr::Cube(parts) if has_rows(&parts) && parts.len() <= CUBE => Expr::GroupingSets(cubed(&parts)),
        Expr::GroupingSets(sets) => Expr::GroupingSets(sets.into_iter().flat_map(sets_of).collect()),
        other => other,
    };
    vec![group]
}

/// All of the parts, all but the last, and so on down to none.
fn rolled_up(parts: &[Vec<Expr>]) -> Sets {
    (0..=parts.len()).rev().map(|count| parts[..count].concat()).collect()
}

/// Each choice of the parts.
fn cubed(parts: &[Vec<Expr>]) -> Sets {
    let chosen = |choice: usize| {
        let chosen = parts.iter().enumerate().filter(|(place, _)| choice >> place & 1 == 1);
        chosen.flat_map(|(_, part)| part.clone()).collect()
    };
    (0..1 << parts.len()).rev().map(chosen).collect()
}

/// The sets that one of GROUPING SETS stands for: of ROLLUP and CUBE, which are read as calls there, theirs.
fn sets_of(set: Vec<Expr>) -> Sets {
    let [Expr::Function(call)] = &set[..] else {
        return vec![set];
    };
    let name = call.name.to_string().to_ascii_lowercase();
    match (name.as_str(), parts_of(call)) {
        ("rollup", Some(parts)) => rolled_up(&parts),
        ("cube", Some(parts)) if parts.len() <= CUBE => cubed(&parts),
        _ => vec![set],
    }
}

fn parts_of(call: &Function) -> Option<Sets> {
    let FunctionArguments::List(list) = &call.args else {
        return None;
    };
    let part = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Tuple(parts))) => Some(parts.clone()),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(part)) => Some(vec![part.clone()]),
        _ => None,
    };
    list.args.iter().map(part).collect()
}
