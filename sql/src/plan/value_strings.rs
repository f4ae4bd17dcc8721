//! A string in VALUES, or in ARRAY[…], beside a value that says its type: as in PostgreSQL it is one of that type. This
//! is done to the text, for the planner makes values fit as it plans them.

use std::ops::ControlFlow;

use sqlparser::ast::{self, Expr, VisitMut};

use crate::walk::{Flow, Visitor, walk};

/// Gives these strings the types that stand beside them.
pub fn typed<T: VisitMut>(tree: &mut T) {
    let _ = walk(tree, &mut Strings);
}

struct Strings;

impl Visitor for Strings {
    fn enter_query(&mut self, query: &mut ast::Query) -> Flow {
        of_body(&mut query.body);
        ControlFlow::Continue(())
    }

    fn enter_expr(&mut self, expr: &mut Expr) -> Flow {
        if let Expr::Array(array) = expr {
            of_one_type(&mut array.elem.iter_mut().collect::<Vec<_>>());
        }
        ControlFlow::Continue(())
    }
}

fn of_body(body: &mut ast::SetExpr) {
    match body {
        ast::SetExpr::Values(values) => {
            let width = values.rows.iter().map(|row| row.content.len()).max().unwrap_or(0);
            (0..width).for_each(|column| of_column(values, column));
        }
        ast::SetExpr::SetOperation { left, right, .. } => {
            of_body(left);
            of_body(right);
        }
        _ => {}
    }
}

fn of_column(values: &mut ast::Values, column: usize) {
    let rows = values.rows.iter_mut();
    of_one_type(&mut rows.filter_map(|row| row.content.get_mut(column)).collect::<Vec<_>>());
}

fn of_one_type(cells: &mut [&mut Expr]) {
    let Some(data_type) = cells.iter().find_map(|cell| said(cell)) else {
        return;
    };
    for cell in cells.iter_mut().filter(|cell| is_string(cell)) {
        **cell = Expr::Cast {
            kind: ast::CastKind::Cast,
            expr: Box::new(cell.clone()),
            data_type: data_type.clone(),
            array: false,
            format: None,
        };
    }
}

/// The type that an expression says.
fn said(cell: &Expr) -> Option<ast::DataType> {
    match cell {
        Expr::Cast { data_type, .. } => Some(data_type.clone()),
        Expr::TypedString(typed) => Some(typed.data_type.clone()),
        Expr::Interval(_) => Some(ast::DataType::Interval {
            fields: None,
            precision: None,
        }),
        Expr::Nested(inner) => said(inner),
        _ => None,
    }
}

fn is_string(cell: &Expr) -> bool {
    matches!(cell, Expr::Value(value) if matches!(value.value, ast::Value::SingleQuotedString(_)))
}
