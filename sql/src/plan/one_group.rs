//! Groups without GROUP BY: `GROUP BY ()`, and HAVING of a SELECT that has no aggregate.
//!
//! Both make one group of all rows, which is there even where there are none. The planner knows the first
//! as a grouping set alone, and the second not at all.

use std::ops::ControlFlow;

use sqlparser::ast::{self, Expr, Function, GroupByExpr, VisitMut};

use super::session;
use crate::walk::{Flow, Visitor, walk};

/// Writes such groups as the planner knows them, in subqueries too.
pub fn spelled_out<T: VisitMut>(tree: &mut T) {
    let _ = walk(tree, &mut OneGroup);
}

struct OneGroup;

impl Visitor for OneGroup {
    fn enter_select(&mut self, select: &mut ast::Select) -> Flow {
        let aggregated = has_aggregate(&mut select.projection) || has_aggregate(&mut select.having);
        let GroupByExpr::Expressions(groups, _) = &mut select.group_by else {
            return ControlFlow::Continue(());
        };
        let written = groups.len();
        groups.retain(|group| !matches!(group, Expr::Tuple(parts) if parts.is_empty()));
        let one_group = written > 0 || select.having.is_some();
        if groups.is_empty() && one_group && !aggregated {
            groups.push(Expr::GroupingSets(vec![Vec::new()]));
        }
        ControlFlow::Continue(())
    }
}

fn has_aggregate<T: VisitMut>(tree: &mut T) -> bool {
    let mut aggregates = Aggregates(false);
    let _ = walk(tree, &mut aggregates);
    aggregates.0
}

struct Aggregates(bool);

impl Visitor for Aggregates {
    fn enter_expr(&mut self, expr: &mut Expr) -> Flow {
        if let Expr::Function(Function { name, over: None, .. }) = expr {
            let name = name.to_string().to_ascii_lowercase();
            self.0 |= session::state().aggregate_functions().contains_key(&name);
        }
        ControlFlow::Continue(())
    }
}
