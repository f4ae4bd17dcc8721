//! Rows in comparisons, `(a, b) = (c, d)`, as comparisons of their values.
//!
//! As in PostgreSQL rows are equal if all their values are, and of `<` and the like the first values decide
//! that are not equal. A row that is looked for in a subquery becomes a call of a marker function on both sides,
//! since the planner takes one column for that:
//!
//! ```text
//! (a, b) IN (SELECT x, y …)
//! weir_row(a, b) IN (SELECT weir_row(weir_part_1, …) FROM (SELECT x, y …) AS weir_rows (weir_part_1, …))
//! ```
//!
//! Where subqueries become joins ([`super::subquery`]), it is taken apart again.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result as PlanResult, internal_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use sqlparser::ast::{self, BinaryOperator, Expr, Ident, Query, SelectItem, SetExpr, UnaryOperator};

use super::operators::string;
use crate::parse::syntax::{call, derived, select};
use crate::{Error, Result};

/// The marker function.
pub const ROW: &str = "weir_row";

/// An expression that has to do with rows, without them; `None` for any other.
pub fn taken_apart(expr: &Expr) -> Result<Option<Expr>> {
    use BinaryOperator as Op;
    let is_row = |expr: &Expr| values(expr).is_some();
    Ok(Some(match expr {
        Expr::BinaryOp { left, op, right } if is_row(left) && is_row(right) => compared(left, op, right)?,
        Expr::BinaryOp { left, op, right } if is_comparison(op) && (is_row(left) || is_row(right)) => {
            let other = if is_row(left) { right } else { left };
            if !matches!(inner(other), Expr::Subquery(_)) {
                return Ok(None);
            }
            return Err(Error::new(format!(
                "{op} compares a row with a row; of a subquery with several columns there is (a, b) IN (SELECT x, y …)"
            )));
        }
        Expr::IsNotDistinctFrom(left, right) if is_row(left) && is_row(right) => all(
            pairs(left, right)?,
            |l, r| Expr::IsNotDistinctFrom(Box::new(l), Box::new(r)),
            Op::And,
        ),
        Expr::IsDistinctFrom(left, right) if is_row(left) && is_row(right) => all(
            pairs(left, right)?,
            |l, r| Expr::IsDistinctFrom(Box::new(l), Box::new(r)),
            Op::Or,
        ),
        Expr::IsNull(row) | Expr::IsNotNull(row) if is_row(row) => {
            let negated = matches!(expr, Expr::IsNotNull(_));
            let of = |value: Expr| match negated {
                true => Expr::IsNotNull(Box::new(value)),
                false => Expr::IsNull(Box::new(value)),
            };
            joined(values(row).unwrap_or_default().into_iter().map(of), Op::And)
        }
        Expr::InList { expr, list, negated } if is_row(expr) => {
            let equal = list.iter().map(|item| compared(expr, &Op::Eq, item));
            let found = joined(equal.collect::<Result<Vec<_>>>()?.into_iter(), Op::Or);
            if *negated { not(found) } else { found }
        }
        Expr::Between {
            expr,
            negated,
            low,
            high,
        } if is_row(expr) => {
            let within = [compared(expr, &Op::GtEq, low)?, compared(expr, &Op::LtEq, high)?];
            let within = joined(within.into_iter(), Op::And);
            if *negated { not(within) } else { within }
        }
        Expr::InSubquery {
            expr,
            subquery,
            negated,
        } if is_row(expr) => looked_for(expr, subquery, *negated)?,
        Expr::AnyOp {
            left,
            compare_op,
            right,
            ..
        } if is_row(left) => match (compare_op, inner(right)) {
            (Op::Eq, Expr::Subquery(query)) => looked_for(left, query, false)?,
            _ => return Err(quantified()),
        },
        Expr::AllOp {
            left,
            compare_op,
            right,
        } if is_row(left) => match (compare_op, inner(right)) {
            (Op::NotEq, Expr::Subquery(query)) => looked_for(left, query, true)?,
            _ => return Err(quantified()),
        },
        _ => return Ok(None),
    }))
}

fn quantified() -> Error {
    Error::new(
        "of rows there are = ANY (SELECT …) and <> ALL (SELECT …), which are IN and NOT IN; other comparisons with ANY and \
         ALL are of single values",
    )
}

fn inner(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(expr) => inner(expr),
        expr => expr,
    }
}

/// The values of `(a, b)` or `ROW(a, b)`.
fn values(expr: &Expr) -> Option<Vec<Expr>> {
    match inner(expr) {
        Expr::Tuple(values) => Some(values.clone()),
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("row") => {
            let ast::FunctionArguments::List(list) = &function.args else {
                return None;
            };
            let value = |arg: &ast::FunctionArg| match arg {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                _ => None,
            };
            list.args.iter().map(value).collect()
        }
        _ => None,
    }
}

/// A row that is a value, with the names that PostgreSQL gives its fields: `f1`, `f2`, ….
pub fn with_names(expr: &Expr) -> Option<Expr> {
    if let Expr::Nested(_) = expr {
        return None;
    }
    let fields = values(expr)?.into_iter().zip(1..);
    let named = fields.flat_map(|(value, place)| [string(&format!("f{place}")), value]);
    Some(call("named_struct", named.collect()))
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

/// The values of two rows, side by side.
fn pairs(left: &Expr, right: &Expr) -> Result<Vec<(Expr, Expr)>> {
    let (Some(one), Some(other)) = (values(left), values(right)) else {
        return Err(Error::new(format!(
            "{left} is a row, and {right} is none: rows are compared with rows"
        )));
    };
    if one.len() != other.len() {
        return Err(Error::new(format!(
            "rows of {} and of {} values can't be compared: {left} and {right}",
            one.len(),
            other.len()
        )));
    }
    Ok(one.into_iter().zip(other).collect())
}

fn compared(left: &Expr, op: &BinaryOperator, right: &Expr) -> Result<Expr> {
    use BinaryOperator as Op;
    if values(left).is_none() && values(right).is_none() {
        return Ok(binary(left.clone(), op.clone(), right.clone()));
    }
    let mut pairs = pairs(left, right)?;
    let decides = match op {
        Op::Eq | Op::NotEq => {
            let by = if *op == Op::Eq { Op::And } else { Op::Or };
            let compared = pairs.iter().map(|(left, right)| compared(left, op, right));
            return Ok(joined(compared.collect::<Result<Vec<_>>>()?.into_iter(), by));
        }
        Op::Lt | Op::LtEq => Op::Lt,
        Op::Gt | Op::GtEq => Op::Gt,
        op => {
            return Err(Error::new(format!(
                "there is no {op} of rows; they go with =, <>, <, <=, > and >="
            )));
        }
    };
    let Some((left, right)) = pairs.pop() else {
        return Err(Error::new("a row without values can't be compared"));
    };
    // From the last values on: those before decide, or are equal.
    let last = compared(&left, op, &right);
    pairs.into_iter().rev().fold(last, |behind, (left, right)| {
        let equal = joined([compared(&left, &Op::Eq, &right)?, behind?].into_iter(), Op::And);
        Ok(joined([compared(&left, &decides, &right)?, equal].into_iter(), Op::Or))
    })
}

fn all(pairs: Vec<(Expr, Expr)>, of: impl Fn(Expr, Expr) -> Expr, by: BinaryOperator) -> Expr {
    joined(pairs.into_iter().map(|(left, right)| of(left, right)), by)
}

/// Conditions under AND or OR, in parentheses.
fn joined(parts: impl Iterator<Item = Expr>, by: BinaryOperator) -> Expr {
    let whole = parts.reduce(|whole, part| binary(whole, by.clone(), part));
    Expr::Nested(Box::new(
        whole.unwrap_or_else(|| Expr::value(ast::Value::Boolean(by == BinaryOperator::And))),
    ))
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    let (left, right) = (Box::new(left), Box::new(right));
    Expr::BinaryOp { left, op, right }
}

fn not(expr: Expr) -> Expr {
    Expr::UnaryOp {
        op: UnaryOperator::Not,
        expr: Box::new(expr),
    }
}

/// `row [NOT] IN (query)`
fn looked_for(row: &Expr, query: &Query, negated: bool) -> Result<Expr> {
    let values = values(row).unwrap_or_default();
    let columns = columns_of(&query.body).unwrap_or(values.len());
    if columns != values.len() {
        return Err(Error::new(format!(
            "{row} has {} values, and the subquery behind IN {columns} columns",
            values.len()
        )));
    }
    let names: Vec<Ident> = (1..=columns)
        .map(|number| Ident::new(format!("weir_part_{number}")))
        .collect();
    let list = call(ROW, names.iter().cloned().map(Expr::Identifier).collect());
    let column = |name| ast::TableAliasColumnDef { name, data_type: None };
    let alias = ast::TableAlias {
        explicit: true,
        name: Ident::new("weir_rows"),
        columns: names.into_iter().map(column).collect(),
        at: None,
    };
    let from = derived(query.clone(), Some(alias));
    Ok(Expr::InSubquery {
        expr: Box::new(call(ROW, values)),
        subquery: Box::new(select(vec![SelectItem::UnnamedExpr(list)], vec![from], None)),
        negated,
    })
}

/// How many columns a query has, where that can be seen.
fn columns_of(body: &SetExpr) -> Option<usize> {
    match body {
        SetExpr::Select(select) => {
            let is_one =
                |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
            select.projection.iter().all(is_one).then_some(select.projection.len())
        }
        SetExpr::Query(query) => columns_of(&query.body),
        SetExpr::SetOperation { left, .. } => columns_of(left),
        SetExpr::Values(values) => values.rows.first().map(|row| row.len()),
        _ => None,
    }
}

/// The marker function, to be registered with the session.
pub fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Row {
        signature: Signature::variadic_any(Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Row {
    signature: Signature,
}

impl ScalarUDFImpl for Row {
    fn name(&self) -> &str {
        ROW
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, given: &[DataType]) -> PlanResult<DataType> {
        let field = |(place, kind): (usize, &DataType)| Field::new(format!("f{}", place + 1), kind.clone(), true);
        Ok(DataType::Struct(given.iter().enumerate().map(field).collect()))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        internal_err!("{ROW} is only a marker")
    }
}
