//! JSON: its operators and functions, PostgreSQL's of JSONB.
//!
//! JSON and JSONB are one type ([`JSON`]), which holds the one text of each value
//! ([`weir_engine::format::json::value`]). Operators are planned as calls ([`Operators`]). Those that are NULL of NULL
//! are rows of one table ([`calls`]); what makes JSON of other values is in [`build`]. What isn't about JSON takes it
//! as text ([`typed`]).

use std::sync::Arc;

use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF};
use sqlparser::ast::BinaryOperator;
use weir_engine::format::json::value::JSON;

mod access;
mod build;
mod calls;
mod change;
mod paths;
pub mod rewritten;
mod typing;

pub use typing::typed;

/// All functions, to be registered with the session.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let strict = access::CALLS.iter().chain(change::CALLS).map(calls::function);
    strict.chain(build::functions()).map(Arc::new).collect()
}

/// Whether a function is one of these.
fn is_own(function: &ScalarUDF) -> bool {
    calls::is_one(function) || build::is_one(function)
}

/// Plans the operators as calls.
#[derive(Debug)]
pub struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::*;
        let kind = |side: &Expr| side.get_type(schema).ok();
        let is_json = |side: &Expr| kind(side) == Some(JSON);
        let is_text = |side: &Expr| kind(side).is_some_and(|kind| kind.is_string() || kind.is_null());
        let one_is_json = is_json(&expr.left) || is_json(&expr.right);
        let function = match &expr.op {
            Arrow => "json_get",
            LongArrow => "json_get_text",
            HashArrow => "json_get_path",
            HashLongArrow => "json_get_path_text",
            HashMinus => "json_without_path",
            Question => "jsonb_exists",
            QuestionPipe => "jsonb_exists_any",
            QuestionAnd => "jsonb_exists_all",
            AtArrow | ArrowAt if one_is_json || (is_text(&expr.left) && is_text(&expr.right)) => "jsonb_contains",
            Minus if is_json(&expr.left) => "json_without",
            StringConcat
                if one_is_json
                    && [&expr.left, &expr.right]
                        .into_iter()
                        .all(|side| may_be_json(side, schema)) =>
            {
                "json_concat"
            }
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let args = match expr.op {
            ArrowAt => vec![expr.right, expr.left],
            _ => vec![expr.left, expr.right],
        };
        Ok(PlannerResult::Planned(call(function, args)?))
    }
}

/// Whether it is JSON, or a string in the query that is read as such.
fn may_be_json(side: &Expr, schema: &DFSchema) -> bool {
    match side {
        Expr::Literal(value, _) => value.data_type().is_string() || value.is_null(),
        side => side.get_type(schema).is_ok_and(|kind| kind == JSON),
    }
}

/// `doc['name']` and `doc[0]`, which are `doc -> 'name'` and `doc -> 0`.
///
/// # Errors
/// Where the key is none.
pub fn part(document: Expr, key: Expr) -> Result<Expr> {
    call("json_get", vec![document, key])
}

fn call(name: &str, args: Vec<Expr>) -> Result<Expr> {
    match access::CALLS.iter().chain(change::CALLS).find(|call| call.name == name) {
        Some(found) => Ok(calls::function(found).call(args)),
        None => internal_err!("there is no {name}()"),
    }
}
