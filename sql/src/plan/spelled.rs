//! What PostgreSQL spells otherwise, as a call of what there is.
//!
//! - `@ x`, `|/ x` and `||/ x` are `abs`, `sqrt` and `cbrt`, `a && b` of arrays is `array_has_any`,
//!   and `~ x` is `x # -1`.
//! - `sign` and `every` are `signum` and `bool_and`, `array_replace` is `array_replace_all`, `age(ts)` is the age of
//!   today.
//! - `encode(bytes, 'base64')` has its padding.
//! - `generate_series(…)` as a column of its own is a set of rows, and elsewhere an array.
//! - JSON's aggregates and sets of rows are others' ([`rewritten`]).
//! - Who asks, and whom, is told by constants: there is one database, and one user.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, BinaryOperator, Expr, FunctionArguments, SelectItem, Spanned, UnaryOperator, Value, VisitMut,
};

use super::json::rewritten;
use super::operators::{call, string};
use super::{errors, ordered_sets};
use crate::walk::{Flow, Visitor, done, flow, walk};
use crate::{Error, Result};

/// Functions that have another name.
const NAMES: [(&str, &str); 3] = [
    ("sign", "signum"),
    ("every", "bool_and"),
    ("array_replace", "array_replace_all"),
];
/// What is asked without arguments, the answer, and whether it is asked without parentheses as well.
const ANSWERS: [(&str, &str, bool); 8] = [
    ("current_catalog", "weir", true),
    ("current_database", "weir", false),
    ("current_role", "weir", true),
    ("current_schema", "public", true),
    ("current_user", "weir", true),
    ("session_user", "weir", true),
    ("system_user", "weir", true),
    ("version", concat!("Weir ", env!("CARGO_PKG_VERSION")), false),
];

/// Names that stand for others, each with the function that is meant.
pub fn other_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    NAMES.into_iter()
}

/// What is asked without arguments, each with how.
pub fn asked() -> impl Iterator<Item = (&'static str, String)> {
    ANSWERS.into_iter().map(|(name, _, is_bare)| {
        let parentheses = if is_bare { "" } else { "()" };
        (name, format!("{name}{parentheses}"))
    })
}

/// Replaces these spellings in a syntax tree.
pub fn out<T: VisitMut>(tree: &mut T) -> Result<()> {
    done(walk(tree, &mut Spellings))
}

struct Spellings;

impl Visitor for Spellings {
    fn enter_select(&mut self, select: &mut ast::Select) -> Flow {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
                && called(expr).as_deref() == Some("generate_series")
            {
                *expr = call("unnest", vec![expr.clone()]);
            }
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                match rewritten::column(expr) {
                    Ok(Some(rows)) => *expr = rows,
                    Ok(None) => {}
                    Err(error) => return ControlFlow::Break(Box::new(error)),
                }
            }
            if let SelectItem::UnnamedExpr(Expr::Identifier(name)) = item
                && let Some(answer) = bare(name)
            {
                *item = SelectItem::ExprWithAlias {
                    expr: answer,
                    alias: name.clone(),
                };
            }
        }
        ControlFlow::Continue(())
    }

    fn enter_expr(&mut self, expr: &mut Expr) -> Flow {
        flow(replaced(expr).map(|other| {
            if let Some(other) = other {
                *expr = other;
            }
        }))
    }
}

fn replaced(expr: &mut Expr) -> Result<Option<Expr>> {
    Ok(Some(match expr {
        Expr::UnaryOp { op, expr } => {
            let function = match op {
                UnaryOperator::BitwiseNot => {
                    return Ok(Some(Expr::Nested(Box::new(Expr::BinaryOp {
                        left: expr.clone(),
                        op: BinaryOperator::PGBitwiseXor,
                        right: Box::new(Expr::Value(Value::Number("-1".to_string(), false).into())),
                    }))));
                }
                UnaryOperator::PGAbs => "abs",
                UnaryOperator::PGSquareRoot => "sqrt",
                UnaryOperator::PGCubeRoot => "cbrt",
                _ => return Ok(None),
            };
            call(function, vec![(**expr).clone()])
        }
        Expr::BinaryOp {
            left,
            op: BinaryOperator::PGOverlap,
            right,
        } => call("array_has_any", vec![(**left).clone(), (**right).clone()]),
        Expr::Collate { expr, collation } => match collation.to_string().trim_matches('"') {
            "C" | "POSIX" | "ucs_basic" | "default" => (**expr).clone(),
            other => {
                return Err(Error::new(format!(
                    "there is no collation {other}; text is compared by its bytes, which is COLLATE \"C\""
                )));
            }
        },
        Expr::Value(value) => match &value.value {
            Value::UnicodeStringLiteral(text) => string(text),
            _ => return Ok(None),
        },
        Expr::Identifier(name) => return Ok(bare(name)),
        Expr::Function(called) if is_of_all(called) => {
            let name = called.name.to_string().to_ascii_lowercase();
            let message = format!("{name}() takes a value; * is for count() alone");
            return Err(errors::at(message, called.span().start));
        }
        Expr::Function(called) => match rewritten::aggregate(called)? {
            Some(other) => other,
            None => match ordered_sets::spelled(called)? {
                Some(other) => other,
                None => return Ok(function(expr)),
            },
        },
        _ => return Ok(None),
    }))
}

/// `f(*)`, of which only that of count() means something.
fn is_of_all(function: &ast::Function) -> bool {
    let FunctionArguments::List(list) = &function.args else {
        return false;
    };
    let is_star = |arg: &ast::FunctionArg| {
        matches!(
            arg,
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Wildcard | ast::FunctionArgExpr::QualifiedWildcard(_))
        )
    };
    list.args.iter().any(is_star) && !function.name.to_string().eq_ignore_ascii_case("count")
}

/// The answer to what is asked without parentheses.
fn bare(name: &ast::Ident) -> Option<Expr> {
    let asked = name.value.to_ascii_lowercase();
    let found = ANSWERS.iter().find(|(bare, _, is_bare)| *is_bare && *bare == asked);
    found
        .filter(|_| name.quote_style.is_none())
        .map(|(_, answer, _)| string(answer))
}

/// The name of the function that an expression calls, without schema and in lower case.
fn called(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Function(function) => match &function.name.0[..] {
            [name] => name.as_ident().map(super::names::folded),
            _ => None,
        },
        _ => None,
    }
}

fn function(expr: &mut Expr) -> Option<Expr> {
    let name = called(expr)?;
    let Expr::Function(function) = expr else { return None };
    let args = match &mut function.args {
        FunctionArguments::None => 0,
        FunctionArguments::List(list) => list.args.len(),
        FunctionArguments::Subquery(_) => return None,
    };
    if let Some((_, other)) = NAMES.iter().find(|(from, _)| *from == name) {
        function.name = ast::ObjectName::from(vec![ast::Ident::new(*other)]);
        return None;
    }
    match (&mut function.args, name.as_str()) {
        (_, name) if args == 0 => {
            let found = ANSWERS.iter().find(|(asked, ..)| *asked == name);
            found.map(|(_, answer, _)| string(answer))
        }
        (FunctionArguments::List(list), "encode") if args == 2 => {
            if let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(Expr::Value(encoding))) = &mut list.args[1]
                && let Value::SingleQuotedString(name) = &mut encoding.value
                && name.eq_ignore_ascii_case("base64")
            {
                // The other is without the padding at its end.
                *name = "base64pad".to_string();
            }
            None
        }
        (FunctionArguments::List(list), "age") if args == 1 => {
            let today = ast::FunctionArgExpr::Expr(call("current_date", Vec::new()));
            list.args.insert(0, ast::FunctionArg::Unnamed(today));
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::parse::parse;
    use crate::statement::Statement;

    fn spelled(sql: &str) -> String {
        let Some(Statement::Query(query)) = parse(sql).unwrap().into_iter().next() else {
            panic!("{sql} is no SELECT");
        };
        let mut query = query.ast;
        super::out(&mut query).map_or_else(|error| error.to_string(), |()| query.to_string())
    }

    #[test]
    fn other_spellings_are_calls() {
        let cases = [
            ("SELECT @ a, |/ b, ||/ c", "SELECT abs(a), sqrt(b), cbrt(c)"),
            ("SELECT a && b", "SELECT array_has_any(a, b)"),
            (
                "SELECT every(a) FILTER (WHERE b), SIGN(c)",
                "SELECT bool_and(a) FILTER (WHERE b), signum(c)",
            ),
            (
                "SELECT generate_series(1, 3), cardinality(generate_series(1, 3))",
                "SELECT unnest(generate_series(1, 3)), cardinality(generate_series(1, 3))",
            ),
            (
                "SELECT current_user, current_database(), t.current_user",
                "SELECT 'weir', 'weir', t.current_user",
            ),
            ("SELECT a COLLATE \"C\"", "SELECT a"),
        ];
        for (sql, expected) in cases {
            assert_eq!(spelled(sql), expected);
        }
        assert!(spelled("SELECT a COLLATE \"de_DE\"").contains("no collation"));
    }
}
