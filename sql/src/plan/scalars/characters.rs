//! `convert_from(bytes, 'UTF8')` and `convert_to(text, 'UTF8')`: text as the bytes of its characters, both ways.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use weir_engine::format::sql_type;

/// Both functions.
pub fn functions() -> [Arc<ScalarUDF>; 2] {
    [false, true].map(|to_bytes| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(Convert { to_bytes, signature }))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Convert {
    to_bytes: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Convert {
    fn name(&self) -> &str {
        if self.to_bytes { "convert_to" } else { "convert_from" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [value, encoding] = given else {
            return plan_err!("{0}() takes a value and an encoding: {0}(value, 'UTF8')", self.name());
        };
        let fits = value.is_null() || value.is_string() || (!self.to_bytes && value.is_binary());
        match fits && (encoding.is_string() || encoding.is_null()) {
            true if self.to_bytes => Ok(vec![DataType::Utf8, DataType::Utf8]),
            true => Ok(vec![DataType::Binary, DataType::Utf8]),
            false => plan_err!(
                "there is no {}({}, {})",
                self.name(),
                sql_type(value),
                sql_type(encoding)
            ),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.to_bytes {
            true => DataType::Binary,
            false => DataType::Utf8,
        })
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [values, encodings] = &arrays[..] else {
            return exec_err!("{}() takes two arguments", self.name());
        };
        let names = encodings.as_string::<i32>().iter().flatten();
        for name in names {
            if !["UTF8", "UTF-8"].contains(&name.to_ascii_uppercase().as_str()) {
                return exec_err!("{}(…, '{name}'): text is in 'UTF8' only", self.name());
            }
        }
        let made: ArrayRef = match self.to_bytes {
            true => cast(values, &DataType::Binary)?,
            false => Arc::new(read(values)?),
        };
        let nulls = arrow::buffer::NullBuffer::union(made.nulls(), encodings.nulls());
        let made = made.to_data().into_builder().nulls(nulls).build()?;
        Ok(ColumnarValue::Array(arrow::array::make_array(made)))
    }
}

fn read(values: &ArrayRef) -> Result<arrow::array::StringArray> {
    let mut made = StringBuilder::new();
    for bytes in values.as_binary::<i32>() {
        match bytes.map(std::str::from_utf8) {
            None => made.append_null(),
            Some(Ok(text)) => made.append_value(text),
            Some(Err(wrong)) => {
                return exec_err!(
                    "convert_from(): byte {} is no character of UTF8; CAST(… AS TEXT) shows bytes in hexadecimal digits",
                    wrong.valid_up_to() + 1
                );
            }
        }
    }
    Ok(made.finish())
}
