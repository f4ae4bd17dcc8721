//! `WINDOW w AS (…)`: windows that have a name, written out where they are named.
//!
//! The planner knows `OVER w` in a SELECT list alone, and of `OVER (w …)` and `WINDOW v AS (w …)` passes
//! over what w says. The rules are PostgreSQL's: a window that begins with the name of another has its
//! PARTITION BY, and its ORDER BY unless that has none; a frame is not taken over, so it may have none.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, Expr, Function, Ident, NamedWindowDefinition, NamedWindowExpr, SetExpr, VisitMut, WindowSpec, WindowType,
};

use super::errors;
use super::names::folded;
use crate::walk::{Flow, Visitor, done, flow, walk};
use crate::{Error, Result};

/// Writes out every named window of a query, in subqueries too.
pub fn written_out(query: &mut ast::Query) -> Result<()> {
    done(walk(query, &mut Windows::default()))
}

/// Windows by name, each whole.
type Named = Vec<(String, WindowSpec)>;

/// Those of each SELECT that is being walked, the innermost last.
#[derive(Default)]
struct Windows(Vec<Named>);

impl Visitor for Windows {
    /// An ORDER BY stands beside its SELECT, and may name its windows.
    fn enter_query(&mut self, query: &mut ast::Query) -> Flow {
        if let (SetExpr::Select(select), Some(order)) = (query.body.as_ref(), &mut query.order_by)
            && !select.named_window.is_empty()
        {
            return flow(defined(&select.named_window).and_then(|named| within(order, named)));
        }
        ControlFlow::Continue(())
    }

    fn enter_select(&mut self, select: &mut ast::Select) -> Flow {
        flow(defined(&select.named_window).map(|named| self.0.push(named)))
    }

    fn leave_select(&mut self, select: &mut ast::Select) -> Flow {
        select.named_window.clear();
        self.0.pop();
        ControlFlow::Continue(())
    }

    fn enter_expr(&mut self, expr: &mut Expr) -> Flow {
        let Expr::Function(Function { over: Some(over), .. }) = expr else {
            return ControlFlow::Continue(());
        };
        let nothing = Named::new();
        flow(whole(over, self.0.last().unwrap_or(&nothing)).map(|spec| *over = WindowType::WindowSpec(spec)))
    }
}

fn within<T: VisitMut>(tree: &mut T, named: Named) -> Result<()> {
    done(walk(tree, &mut Windows(vec![named])))
}

/// The windows of a WINDOW clause, each of which may begin with one before it.
fn defined(definitions: &[NamedWindowDefinition]) -> Result<Named> {
    let mut named = Named::new();
    for NamedWindowDefinition(ident, window) in definitions {
        let name = folded(ident);
        if named.iter().any(|(other, _)| *other == name) {
            return Err(error(ident, format!("window '{name}' is defined twice")));
        }
        let spec = match window {
            NamedWindowExpr::NamedWindow(other) => find(&named, other)?.clone(),
            NamedWindowExpr::WindowSpec(spec) => built(spec, &named)?,
        };
        named.push((name, spec));
    }
    Ok(named)
}

fn whole(over: &WindowType, named: &Named) -> Result<WindowSpec> {
    match over {
        WindowType::NamedWindow(name) => find(named, name).cloned(),
        WindowType::WindowSpec(spec) => built(spec, named),
    }
}

fn find<'a>(named: &'a Named, ident: &Ident) -> Result<&'a WindowSpec> {
    let name = folded(ident);
    let found = named.iter().find(|(other, _)| *other == name);
    found.map(|(_, spec)| spec).ok_or_else(|| {
        let there: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        let instead = match &there[..] {
            [] => {
                "define it with WINDOW name AS (PARTITION BY … ORDER BY …), before those that begin with it".to_string()
            }
            names => format!("there are: {}", names.join(", ")),
        };
        error(ident, format!("window '{name}' does not exist; {instead}"))
    })
}

/// A window with what the one that it begins with says.
fn built(spec: &WindowSpec, named: &Named) -> Result<WindowSpec> {
    let Some(ident) = &spec.window_name else {
        return Ok(spec.clone());
    };
    let base = find(named, ident)?;
    let name = folded(ident);
    let refused = if base.window_frame.is_some() {
        Some(format!(
            "window '{name}' has a frame, which another window can't take over; write OVER {ident} without parentheses, \
             or leave the frame out of '{name}'"
        ))
    } else if !spec.partition_by.is_empty() {
        Some(format!(
            "a window that begins with '{name}' has the PARTITION BY of '{name}', and can't give one"
        ))
    } else if !spec.order_by.is_empty() && !base.order_by.is_empty() {
        Some(format!(
            "window '{name}' has an ORDER BY, and one that begins with it can't give another"
        ))
    } else {
        None
    };
    if let Some(message) = refused {
        return Err(error(ident, message));
    }
    let order_by = match spec.order_by.is_empty() {
        true => base.order_by.clone(),
        false => spec.order_by.clone(),
    };
    Ok(WindowSpec {
        window_name: None,
        partition_by: base.partition_by.clone(),
        order_by,
        window_frame: spec.window_frame.clone(),
    })
}

fn error(ident: &Ident, message: String) -> Error {
    errors::at(message, ident.span.start)
}
