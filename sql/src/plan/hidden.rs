//! WITH within WITH: names that hide others.
//!
//! As anywhere, the nearest one counts. The planner wants each name once, so one that hides another gets a name
//! of its own, and what reads it still calls it by the old one.

use std::ops::ControlFlow;

use sqlparser::ast::{self, Ident, ObjectName, TableAlias, TableFactor, VisitMut};

use super::names::folded;
use crate::parse::syntax::select;
use crate::walk::{Flow, Visitor, walk};

/// Gives such queries names of their own.
pub fn renamed(query: &mut ast::Query) {
    Renamer::default().query(query);
}

#[derive(Default)]
struct Renamer {
    /// The names that are seen, and what they are called for the planner. The last of a name counts.
    seen: Vec<(String, Ident)>,
    /// Queries that are done, taken out of what is being walked.
    aside: Vec<ast::Query>,
    given: usize,
}

impl Renamer {
    fn query(&mut self, query: &mut ast::Query) {
        let before = self.seen.len();
        let mut with = query.with.take();
        if let Some(with) = &mut with {
            for cte in &mut with.cte_tables {
                let name = folded(&cte.alias.name);
                let hides = self.seen[..before].iter().any(|(other, _)| *other == name);
                let called = match hides {
                    true => self.name(),
                    false => cte.alias.name.clone(),
                };
                let itself = (name, called.clone());
                // One that isn't recursive may read what it hides.
                match with.recursive {
                    true => {
                        self.seen.push(itself);
                        self.query(&mut cte.query);
                    }
                    false => {
                        self.query(&mut cte.query);
                        self.seen.push(itself);
                    }
                }
                cte.alias.name = called;
            }
        }
        self.within(&mut query.body);
        self.within(&mut query.order_by);
        query.with = with;
        self.seen.truncate(before);
    }

    fn within<T: VisitMut>(&mut self, tree: &mut T) {
        let _ = walk(tree, self);
    }

    fn name(&mut self) -> Ident {
        self.given += 1;
        Ident::new(format!("weir_with_{}", self.given))
    }
}

impl Visitor for Renamer {
    fn enter_query(&mut self, query: &mut ast::Query) -> Flow {
        self.query(query);
        let done = std::mem::replace(query, select(Vec::new(), Vec::new(), None));
        self.aside.push(done);
        ControlFlow::Continue(())
    }

    fn leave_query(&mut self, query: &mut ast::Query) -> Flow {
        *query = self.aside.pop().expect("it was put there");
        ControlFlow::Continue(())
    }

    fn enter_table_factor(&mut self, factor: &mut TableFactor) -> Flow {
        if let TableFactor::Table { name, alias, .. } = factor
            && let [part] = &name.0[..]
            && let Some(ident) = part.as_ident().cloned()
            && let Some((_, called)) = self.seen.iter().rev().find(|(seen, _)| *seen == folded(&ident))
            && folded(called) != folded(&ident)
        {
            *name = ObjectName::from(vec![called.clone()]);
            alias.get_or_insert_with(|| TableAlias {
                explicit: true,
                name: ident,
                columns: Vec::new(),
                at: None,
            });
        }
        ControlFlow::Continue(())
    }
}
