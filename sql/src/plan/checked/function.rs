//! Checked operations as functions, for plans that DataFusion runs.

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::operation::Operation;

/// The function of an operation.
pub fn of(operation: Operation) -> ScalarUDF {
    ScalarUDF::from(Function {
        operation,
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

/// The operation that a function stands for, if it is one of these.
pub fn operation(function: &ScalarUDF) -> Option<&Operation> {
    Some(&function.inner().downcast_ref::<Function>()?.operation)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    operation: Operation,
    signature: Signature,
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.operation.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(given.to_vec())
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.operation.result_type(given)
    }

    /// NULL of anything is NULL.
    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.operation.evaluate(&args.args)
    }
}
