//! What a number in the text is. One with a point is a DECIMAL, as in PostgreSQL, so that what is
//! computed with it is exact. One with an exponent, or with more digits than a DECIMAL has, is a DOUBLE.

use std::ops::ControlFlow;

use sqlparser::ast::{self, VisitMut, visit_expressions_mut};

/// Digits of the longest DECIMAL.
const MOST_DIGITS: usize = 38;

/// Writes the numbers that are DOUBLEs as such.
pub fn typed<V: VisitMut>(node: &mut V) {
    let _ = visit_expressions_mut(node, |expr| {
        if let ast::Expr::Value(value) = expr
            && let ast::Value::Number(number, _) = &value.value
            && is_double(number)
        {
            let text = ast::Value::SingleQuotedString(number.to_string());
            *expr = double(ast::Expr::Value(text.with_span(value.span)));
        }
        ControlFlow::<()>::Continue(())
    });
}

/// `CAST(expr AS DOUBLE)`
pub fn double(expr: ast::Expr) -> ast::Expr {
    ast::Expr::Cast {
        kind: ast::CastKind::Cast,
        expr: Box::new(expr),
        data_type: ast::DataType::Double(ast::ExactNumberInfo::None),
        array: false,
        format: None,
    }
}

fn is_double(number: &str) -> bool {
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    digits > MOST_DIGITS || number.contains(['e', 'E'])
}
