//! `->` and `->>` of JSON, which is text: a member by its name, an element by its number.
//!
//! What is found stands as it stood in the text, so that numbers keep all their digits. As in
//! PostgreSQL it is NULL where nothing is found, and an error where the text is no JSON.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{DFSchema, Result, exec_err, plan_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use sqlparser::ast::BinaryOperator;
use weir_engine::format::json::part;
use weir_engine::format::sql_type;

/// Both functions, to be registered with the session.
pub fn functions() -> [Arc<ScalarUDF>; 2] {
    [false, true].map(|as_text| Arc::new(function(as_text)))
}

fn function(as_text: bool) -> ScalarUDF {
    ScalarUDF::from(Get {
        as_text,
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

/// Plans the operators as functions.
#[derive(Debug)]
pub struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, _: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let as_text = match expr.op {
            BinaryOperator::Arrow => false,
            BinaryOperator::LongArrow => true,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        Ok(PlannerResult::Planned(
            function(as_text).call(vec![expr.left, expr.right]),
        ))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Get {
    /// A string is given as what it spells, `null` as NULL.
    as_text: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Get {
    fn name(&self) -> &str {
        if self.as_text { "json_get_text" } else { "json_get" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let operator = if self.as_text { "->>" } else { "->" };
        let text = |kind: &DataType| kind.is_string() || kind.is_null();
        match given {
            [json, key] if text(json) && text(key) => Ok(vec![DataType::Utf8, DataType::Utf8]),
            [json, key] if text(json) && key.is_integer() => Ok(vec![DataType::Utf8, DataType::Int64]),
            [json, key] => plan_err!(
                "there is no {} {operator} {}; JSON is TEXT, and its parts are called by a TEXT or a whole number",
                sql_type(json),
                sql_type(key)
            ),
            _ => plan_err!("{}() takes two arguments", self.name()),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [json, keys] = &arrays[..] else {
            return exec_err!("{}() takes two arguments", self.name());
        };
        let texts = json.as_string::<i32>();
        let mut found = StringBuilder::new();
        for row in 0..texts.len() {
            let part = match texts.is_valid(row) && keys.is_valid(row) {
                true => self.get(texts.value(row), keys, row)?,
                false => None,
            };
            found.append_option(part);
        }
        Ok(ColumnarValue::Array(Arc::new(found.finish())))
    }
}

impl Get {
    fn get(&self, text: &str, keys: &ArrayRef, row: usize) -> Result<Option<String>> {
        let found = match keys.as_string_opt::<i32>() {
            Some(names) => part::member(text, names.value(row)),
            None => part::element(text, keys.as_primitive::<Int64Type>().value(row)),
        };
        let plain = found.and_then(|found| match found {
            Some(part) if self.as_text => part::plain(part),
            other => Ok(other.map(str::to_string)),
        });
        plain.or_else(|why| {
            let shown: String = text.chars().take(100).collect();
            exec_err!("'{shown}' is no JSON: {why}")
        })
    }
}
