//! QUALIFY without a window function of its own.
//!
//! It filters what the window functions of the SELECT list have computed. The planner asks for one in the
//! condition: it may name one of the list by its alias, and where it doesn't, one that changes nothing is put there.

use std::ops::ControlFlow;

use sqlparser::ast::{self, BinaryOperator, Expr, Function, Select, SelectItem, VisitMut};

use super::names::folded;
use crate::walk::{Flow, Visitor, walk};

/// Writes such conditions as the planner knows them, in subqueries too.
pub fn spelled_out(query: &mut ast::Query) {
    let _ = walk(query, &mut Qualify);
}

struct Qualify;

impl Visitor for Qualify {
    fn enter_select(&mut self, select: &mut Select) -> Flow {
        if let Some(condition) = &mut select.qualify {
            let own = Found::within(condition);
            if own.window.is_none()
                && let Some(window) = of_list(&mut select.projection, &own.names)
            {
                let is = |test: fn(Box<Expr>) -> Expr| test(Box::new(window.clone()));
                let either = joined(is(Expr::IsNull), BinaryOperator::Or, is(Expr::IsNotNull));
                let condition = std::mem::replace(condition, Expr::value(ast::Value::Boolean(true)));
                select.qualify = Some(joined(condition, BinaryOperator::And, either));
            }
        }
        ControlFlow::Continue(())
    }
}

/// A window function of the list, unless one is there under one of these names.
fn of_list(list: &mut [SelectItem], names: &[String]) -> Option<Expr> {
    let mut first = None;
    for item in list {
        let (found, name) = match item {
            SelectItem::UnnamedExpr(expr) => (Found::within(expr), None),
            SelectItem::ExprWithAlias { expr, alias } => (Found::within(expr), Some(folded(alias))),
            _ => continue,
        };
        if found.window.is_some() && name.is_some_and(|name| names.contains(&name)) {
            return None;
        }
        first = first.or(found.window);
    }
    first
}

fn joined(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    let side = |expr| Box::new(Expr::Nested(Box::new(expr)));
    let (left, right) = (side(left), side(right));
    Expr::Nested(Box::new(Expr::BinaryOp { left, op, right }))
}

/// What there is in an expression, beside queries within it.
#[derive(Default)]
struct Found {
    window: Option<Expr>,
    names: Vec<String>,
    queries: usize,
}

impl Found {
    fn within<T: VisitMut>(tree: &mut T) -> Found {
        let mut found = Found::default();
        let _ = walk(tree, &mut found);
        found
    }
}

impl Visitor for Found {
    fn enter_query(&mut self, _: &mut ast::Query) -> Flow {
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn leave_query(&mut self, _: &mut ast::Query) -> Flow {
        self.queries -= 1;
        ControlFlow::Continue(())
    }

    fn enter_expr(&mut self, expr: &mut Expr) -> Flow {
        match expr {
            _ if self.queries > 0 => {}
            Expr::Function(Function { over: Some(_), .. }) => {
                self.window.get_or_insert_with(|| expr.clone());
            }
            Expr::Identifier(name) => self.names.push(folded(name)),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
