//! Where in a query an error is, of those that the planner knows no place for: where what it names stands.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Spanned, VisitMut};
use sqlparser::tokenizer::Location;

use crate::Error;
use crate::plan::names::folded;
use crate::plan::{session, spelled};
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
    match (&places.found[..], &places.named) {
        ([(place, written)], Named::Function(name)) => {
            let message = error.message.replace(&format!("{name}("), &format!("{written}("));
            super::at(message, *place)
        }
        ([(place, _)], Named::Column(_)) => super::at(error.message, *place),
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
    /// Each with what is written there.
    found: Vec<(Location, String)>,
}

/// Whether a function that is written so is the one of this name: some have several.
fn is_called(written: &str, name: &str) -> bool {
    let state = session::state();
    let scalar = || state.scalar_functions().get(written).map(|function| function.name());
    let aggregate = || state.aggregate_functions().get(written).map(|function| function.name());
    let spelled = || spelled::other_names().find(|(other, _)| *other == written);
    written == name || scalar().or_else(aggregate) == Some(name) || spelled().is_some_and(|(_, meant)| meant == name)
}

impl Visitor for Places {
    fn enter_expr(&mut self, expr: &mut Expr) -> Flow {
        let place = match (&self.named, &*expr) {
            (Named::Column(name), Expr::Identifier(ident)) => {
                (folded(ident) == *name).then(|| (ident.span, name.clone()))
            }
            (Named::Column(name), Expr::CompoundIdentifier(parts)) => {
                let written: Vec<String> = parts.iter().map(folded).collect();
                (written.join(".") == *name).then(|| (parts[0].span, name.clone()))
            }
            (Named::Function(name), Expr::Function(call)) => {
                let ident = call.name.0.last().and_then(|part| part.as_ident());
                ident
                    .map(|ident| (ident.span, folded(ident)))
                    .filter(|(_, written)| is_called(written, name))
            }
            _ => None,
        };
        self.found.extend(place.map(|(span, written)| (span.start, written)));
        ControlFlow::Continue(())
    }
}
