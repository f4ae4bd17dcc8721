//! `length`, `octet_length` and `bit_length`, which PostgreSQL has of BYTEA too. DataFusion takes bytes for text there,
//! or not at all.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use weir_engine::format::sql_type;

/// The functions, around those of `state`.
pub fn functions(state: &SessionState) -> Result<Vec<Arc<ScalarUDF>>> {
    let lengths = [("length", 1), ("octet_length", 1), ("bit_length", 8)];
    let function = |(name, units): (&'static str, usize)| {
        let plain = state.udf(name)?;
        let signature = Signature::user_defined(Volatility::Immutable);
        Ok(Arc::new(ScalarUDF::from(Length {
            name,
            units,
            plain,
            signature,
        })))
    };
    lengths.into_iter().map(function).collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Length {
    name: &'static str,
    /// How many a byte is.
    units: usize,
    /// That of texts.
    plain: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Length {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [DataType::Binary] => Ok(vec![DataType::Binary]),
            [kind] if kind.is_string() || kind.is_null() => Ok(vec![DataType::Utf8]),
            given => {
                let given: Vec<String> = given.iter().map(sql_type).collect();
                let given = given.join(", ");
                plan_err!(
                    "no function fits {0}({given}); there is {0}(TEXT), {0}(BYTEA)",
                    self.name
                )
            }
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.plain.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let count = |bytes: &[u8]| match i32::try_from(bytes.len() * self.units) {
            Ok(count) => Ok(count),
            Err(_) => exec_err!("{}() is out of range", self.name),
        };
        match &args.args[..] {
            [ColumnarValue::Scalar(ScalarValue::Binary(bytes))] => {
                let count = bytes.as_deref().map(count).transpose()?;
                Ok(ColumnarValue::Scalar(ScalarValue::Int32(count)))
            }
            [ColumnarValue::Array(values)] if values.data_type().is_binary() => {
                let counts = values
                    .as_binary::<i32>()
                    .iter()
                    .map(|bytes| bytes.map(count).transpose());
                let counts: ArrayRef = Arc::new(counts.collect::<Result<Int32Array>>()?);
                Ok(ColumnarValue::Array(counts))
            }
            _ => self.plain.invoke_with_args(args),
        }
    }
}
