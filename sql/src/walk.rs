//! One walk over syntax trees, for everyone who looks at them or changes them.
//!
//! sqlparser compiles its walk anew for each type of visitor, two thousand functions a time. Here
//! it is compiled once, for a visitor behind a pointer.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, ObjectName, Query, Select, TableFactor, VisitMut, VisitorMut};

use crate::{Error, Result};

/// Go on, or end the walk with an error. Boxed, because every level of the tree's recursion holds
/// one.
pub type Flow = ControlFlow<Box<Error>>;

const ON: Flow = ControlFlow::Continue(());

/// What is done on the way. `enter` comes before what is inside, `leave` after it.
pub trait Visitor {
    fn enter_query(&mut self, _: &mut Query) -> Flow {
        ON
    }
    fn leave_query(&mut self, _: &mut Query) -> Flow {
        ON
    }
    fn enter_select(&mut self, _: &mut Select) -> Flow {
        ON
    }
    fn leave_select(&mut self, _: &mut Select) -> Flow {
        ON
    }
    fn enter_table_factor(&mut self, _: &mut TableFactor) -> Flow {
        ON
    }
    fn leave_table_factor(&mut self, _: &mut TableFactor) -> Flow {
        ON
    }
    fn enter_relation(&mut self, _: &mut ObjectName) -> Flow {
        ON
    }
    fn enter_expr(&mut self, _: &mut Expr) -> Flow {
        ON
    }
}

/// How a walk has ended.
pub fn done(flow: Flow) -> Result<()> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

/// How a walk goes on.
pub fn flow(result: Result<()>) -> Flow {
    match result {
        Ok(()) => ON,
        Err(error) => ControlFlow::Break(Box::new(error)),
    }
}

/// Leads `visitor` through `tree`.
pub fn walk<T: VisitMut>(tree: &mut T, visitor: &mut dyn Visitor) -> Flow {
    tree.visit(&mut Led(visitor))
}

struct Led<'a>(&'a mut dyn Visitor);

impl VisitorMut for Led<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &mut Query) -> Flow {
        self.0.enter_query(query)
    }
    fn post_visit_query(&mut self, query: &mut Query) -> Flow {
        self.0.leave_query(query)
    }
    fn pre_visit_select(&mut self, select: &mut Select) -> Flow {
        self.0.enter_select(select)
    }
    fn post_visit_select(&mut self, select: &mut Select) -> Flow {
        self.0.leave_select(select)
    }
    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> Flow {
        self.0.enter_table_factor(factor)
    }
    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> Flow {
        self.0.leave_table_factor(factor)
    }
    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> Flow {
        self.0.enter_relation(relation)
    }
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> Flow {
        self.0.enter_expr(expr)
    }
}
