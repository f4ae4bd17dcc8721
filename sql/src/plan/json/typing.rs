//! What takes JSON, and what takes it as the text that it is.
//!
//! To DataFusion JSONB is one more kind of text. So what is about text (`length`, `LIKE`, `||`) is given JSON as TEXT,
//! which it was before; functions that hand values on have it as JSON. It is cast to what PostgreSQL casts it to.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Operator};
use weir_engine::format::json::value::JSON;
use weir_engine::format::sql_type;

use super::is_own;
use crate::plan::checked;

/// Functions that hand on values of any type.
const OF_ANYTHING: [&str; 14] = [
    "arrow_typeof",
    "coalesce",
    "greatest",
    "ifnull",
    "least",
    "make_array",
    "make_map",
    "map",
    "named_struct",
    "nullif",
    "nvl",
    "nvl2",
    "pg_typeof",
    "struct",
];

/// An expression with JSON as text where it is not about JSON.
pub fn typed(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is_json = |expr: &Expr| expr.get_type(schema).is_ok_and(|kind| kind == JSON);
    let text = |expr: Expr| Expr::Cast(Cast::new(Box::new(expr), DataType::Utf8));
    match expr {
        Expr::ScalarFunction(mut call)
            if !is_own(&call.func)
                && !OF_ANYTHING.contains(&call.func.name())
                && !call.func.name().starts_with("array_")
                && !call.func.name().starts_with("weir_")
                && call.args.iter().any(is_json) =>
        {
            call.args = call
                .args
                .into_iter()
                .map(|arg| if is_json(&arg) { text(arg) } else { arg })
                .collect();
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_of_text(op) && (is_json(&left) || is_json(&right)) => {
            let [left, right] = [left, right].map(|side| Box::new(if is_json(&side) { text(*side) } else { *side }));
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
        }
        Expr::Like(mut like) if is_json(&like.expr) || is_json(&like.pattern) => {
            if is_json(&like.expr) {
                like.expr = Box::new(text(*like.expr));
            }
            if is_json(&like.pattern) {
                like.pattern = Box::new(text(*like.pattern));
            }
            Ok(Transformed::yes(Expr::Like(like)))
        }
        Expr::Cast(cast) => {
            castable(&cast.expr.get_type(schema)?, cast.field.data_type())?;
            Ok(Transformed::no(Expr::Cast(cast)))
        }
        Expr::TryCast(cast) if *cast.field.data_type() == JSON || is_json(&cast.expr) => {
            plan_err!("there is no TRY_CAST of JSONB; CAST fails where a text is no JSON")
        }
        other => Ok(Transformed::no(other)),
    }
}

fn is_of_text(op: Operator) -> bool {
    use Operator::*;
    matches!(
        op,
        StringConcat
            | RegexMatch
            | RegexIMatch
            | RegexNotMatch
            | RegexNotIMatch
            | LikeMatch
            | ILikeMatch
            | NotLikeMatch
            | NotILikeMatch
    )
}

fn castable(from: &DataType, to: &DataType) -> Result<()> {
    match (from == &JSON, to == &JSON) {
        (true, false) if !checked::json_becomes(to) => plan_err!(
            "JSONB can't be cast to {}; take a text out of it with ->> or #>>, and cast that",
            sql_type(to)
        ),
        (false, true) if !from.is_string() && !from.is_null() => {
            plan_err!("{} can't be cast to JSONB; to_jsonb() makes JSON of it", sql_type(from))
        }
        _ => Ok(()),
    }
}
