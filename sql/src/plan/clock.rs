//! The functions that tell the time: PostgreSQL's names and types, in UTC and in whole microseconds.
//!
//! In a SELECT it is the statement's time, which the optimizer puts in their place. In a continuous
//! query they mean the step's time, and are replaced before: see [`super::now`] and [`super::drawn`].

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, cast, lit,
};

use super::now::TIME;

/// Name, other names, and what it gives.
const FUNCTIONS: [(&str, &[&str], &str); 5] = [
    (
        "now",
        &["current_timestamp", "transaction_timestamp", "statement_timestamp"],
        "The present time, as TIMESTAMPTZ.",
    ),
    ("localtimestamp", &[], "The present time in UTC, as TIMESTAMP."),
    ("current_date", &["today"], "The present day in UTC, as DATE."),
    ("current_time", &[], "The present time of the day in UTC, as TIME."),
    ("localtime", &[], "The present time of the day in UTC, as TIME."),
];

/// The functions.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let tells = |(name, others, what): &(&'static str, &[&str], &str)| Tells {
        name,
        aliases: others.iter().map(|other| other.to_string()).collect(),
        signature: Signature::nullary(Volatility::Stable),
        documentation: Documentation::builder(DocSection::default(), *what, format!("{name}()")).build(),
    };
    let functions = FUNCTIONS.iter().map(tells);
    functions.map(|tells| Arc::new(ScalarUDF::from(tells))).collect()
}

/// Whether a function tells the time.
pub fn tells(function: &str) -> bool {
    FUNCTIONS.iter().any(|(name, ..)| *name == function)
}

/// The type of a moment, TIMESTAMPTZ.
pub fn moment() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

/// The type of such a function.
fn kind(function: &str) -> DataType {
    match function {
        "now" => moment(),
        "localtimestamp" => TIME,
        "current_date" => DataType::Date32,
        _ => DataType::Time64(TimeUnit::Microsecond),
    }
}

/// What such a function gives at a TIMESTAMP in UTC.
pub fn told(function: &str, time: Expr) -> Expr {
    match kind(function) {
        kind if kind == TIME => time,
        kind => cast(time, kind),
    }
}

/// One of them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Tells {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
    documentation: Documentation,
}

impl ScalarUDFImpl for Tells {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(kind(self.name))
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let Some(now) = info.query_execution_start_time() else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        let time = ScalarValue::TimestampMicrosecond(Some(now.timestamp_micros()), None);
        Ok(ExprSimplifyResult::Simplified(lit(time.cast_to(&kind(self.name))?)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("{}() has no value outside of a statement", self.name)
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
