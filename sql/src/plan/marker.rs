//! Functions that stand for a clause in conditions until the planner takes them out again: nobody computes them.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

/// A marker of so many arguments. One that is volatile is not folded where these are constant.
pub fn condition(name: &'static str, arguments: usize, volatility: Volatility) -> Arc<ScalarUDF> {
    let takes = match arguments {
        0 => TypeSignature::Nullary,
        _ => TypeSignature::Any(arguments),
    };
    let signature = Signature::new(takes, volatility);
    Arc::new(ScalarUDF::from(Marker { name, signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Marker {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for Marker {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{} is only a marker", self.name)
    }
}
