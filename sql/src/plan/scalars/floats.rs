//! What functions of numbers and times give where DataFusion's give something else.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::ColumnarValue;

/// Functions that have no value for some numbers, or one that is out of range.
pub const WITH_RANGE: [&str; 17] = [
    "acos", "acosh", "asin", "atanh", "cbrt", "cos", "cosh", "degrees", "exp", "ln", "log", "log10", "log2", "power",
    "sin", "sinh", "tan",
];

/// What was made, if it is a number wherever the arguments are.
pub fn in_range(function: &str, given: &[ColumnarValue], made: ColumnarValue) -> Result<ColumnarValue> {
    let column = match &made {
        ColumnarValue::Array(column) => column.clone(),
        ColumnarValue::Scalar(value) => value.to_array()?,
    };
    if !column.data_type().is_floating() {
        return Ok(made);
    }
    let strange = |column: &ArrayRef| -> Result<Vec<usize>> {
        let wide = cast(column, &DataType::Float64)?;
        let wide = wide.as_primitive::<Float64Type>();
        let rows = 0..wide.len();
        Ok(rows
            .filter(|row| wide.is_valid(*row) && !wide.value(*row).is_finite())
            .collect())
    };
    for row in strange(&column)? {
        let mut shown = Vec::with_capacity(given.len());
        let mut known = true;
        for value in given {
            let value = match value {
                ColumnarValue::Array(column) => column.slice(row, 1),
                ColumnarValue::Scalar(value) => value.to_array()?,
            };
            known &= !value.data_type().is_floating() || strange(&value)?.is_empty();
            shown.push(array_value_to_string(&value, 0)?);
        }
        if known {
            return exec_err!(
                "{function}({}) has no value, or one that is out of range",
                shown.join(", ")
            );
        }
    }
    Ok(made)
}

/// Floats rounded, from halfway to the even number.
pub fn rounded(value: &ColumnarValue) -> Result<ColumnarValue> {
    let round = |column: &ArrayRef| -> ArrayRef {
        match column.as_primitive_opt::<Float64Type>() {
            Some(wide) => Arc::new(wide.unary::<_, Float64Type>(f64::round_ties_even)),
            None => {
                let short = column.as_primitive::<Float32Type>();
                Arc::new(short.unary::<_, Float32Type>(f32::round_ties_even))
            }
        }
    };
    match value {
        ColumnarValue::Array(column) => Ok(ColumnarValue::Array(round(column))),
        ColumnarValue::Scalar(value) => {
            let column = round(&value.to_array()?);
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&column, 0)?))
        }
    }
}

/// Times to the millisecond below, before 1970 too; none for another granularity or type.
pub fn to_millis(granularity: &ColumnarValue, time: &ColumnarValue) -> Result<Option<ColumnarValue>> {
    let ColumnarValue::Scalar(granularity) = granularity else {
        return Ok(None);
    };
    let is_millis = match granularity.try_as_str() {
        Some(Some(word)) => ["millisecond", "milliseconds"].contains(&word.to_ascii_lowercase().as_str()),
        _ => false,
    };
    let DataType::Timestamp(TimeUnit::Microsecond, zone) = time.data_type() else {
        return Ok(None);
    };
    if !is_millis {
        return Ok(None);
    }
    let column = match time {
        ColumnarValue::Array(column) => column.clone(),
        ColumnarValue::Scalar(value) => value.to_array()?,
    };
    let times = column.as_primitive::<TimestampMicrosecondType>();
    let floored = times.unary::<_, TimestampMicrosecondType>(|us| us - us.rem_euclid(1000));
    let floored: ArrayRef = Arc::new(floored.with_timezone_opt(zone));
    Ok(Some(match time {
        ColumnarValue::Array(_) => ColumnarValue::Array(floored),
        ColumnarValue::Scalar(_) => ColumnarValue::Scalar(ScalarValue::try_from_array(&floored, 0)?),
    }))
}
