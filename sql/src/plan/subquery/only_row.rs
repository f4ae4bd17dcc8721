//! The function that says so when a subquery has more rows than an expression can use.

use std::sync::{Arc, LazyLock};

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// `weir_only_row(rows, value)`: the value, of a subquery with so many rows.
pub fn only_row() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::from(OnlyRow {
            signature: Signature::any(2, Volatility::Immutable),
        }))
    });
    FUNCTION.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OnlyRow {
    signature: Signature,
}

impl ScalarUDFImpl for OnlyRow {
    fn name(&self) -> &str {
        "weir_only_row"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match given {
            [_, value] => Ok(value.clone()),
            _ => internal_err!("weir_only_row takes two arguments"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [rows, value] = &args.args[..] else {
            return internal_err!("weir_only_row takes two arguments");
        };
        let rows = rows.to_array(args.number_rows)?;
        match rows.as_primitive::<Int64Type>().iter().flatten().max() {
            Some(rows @ 2..) => exec_err!(
                "a subquery in an expression has {rows} rows where it may have one; make it one row with an aggregate, \
                 or with LIMIT 1"
            ),
            _ => Ok(value.clone()),
        }
    }
}
