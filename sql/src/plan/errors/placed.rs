//! Where in a query an error is, of those that the planner knows no place for: where what it names stands.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Spanned, VisitMut};
use sqlparser::tokenizer::Location;

use crate::Error;
use crate::plan::names::folded;
use crate::walk::{Flow, Visitor, walk};

/// The error with the place of the column or function that it is about, if that stands in the query or
/// expression once.
pub fn placed<T: VisitMut + Clone>(error: Error, tree: &T) -> Error {
    if error.place.is_some() {
        return error;
    }
    let Some(named) = named(&error.message) else {
        return error;
    };
    let mut places = Places {
        named,
        found: Vec::new(),
    };
    let _ = walk(&mut tree.clone(), &mut places);
    match places.found[..] {
        [place] => super::at(error.message, place),
        _ => error,
    }
}

/// The same of an expression that stands in a definition; at its beginning where nothing better is known.
pub fn placed_in(error: Error, expr: &Expr) -> Error {
    let error = placed(error, expr);
    match error.place {
        Some(_) => error,
        None => super::at(error.message, expr.span().start),
    }
}

enum Named {
    Column(String),
    Function(String),
}

/// What a message is about.
fn named(message: &str) -> Option<Named> {
    if let Some(rest) = message.strip_prefix("column '") {
        let (name, _) = rest.split_once('\'')?;
        return Some(Named::Column(name.to_string()));
    }
    let rest = message.strip_prefix("no function fits ").unwrap_or(message);
    let (name, _) = rest.split_once('(')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    is_name.then(|| Named::Function(name.to_string()))
}

struct Places {
    named: Named,
    found: Vec<Location>,
}

impl Visitor for Places {
    fn enter_expr(&mut self, expr: &mut Expr) -> Flow {
        let place = match (&self.named, &*expr) {
            (Named::Column(name), Expr::Identifier(ident)) => (folded(ident) == *name).then_some(ident.span),
            (Named::Column(name), Expr::CompoundIdentifier(parts)) => {
                let written: Vec<String> = parts.iter().map(folded).collect();
                (written.join(".") == *name).then_some(parts[0].span)
            }
            (Named::Function(name), Expr::Function(call)) => {
                let ident = call.name.0.last().and_then(|part| part.as_ident());
                ident.filter(|ident| folded(ident) == *name).map(|ident| ident.span)
            }
            _ => None,
        };
        self.found.extend(place.map(|span| span.start));
        ControlFlow::Continue(())
    }
}
