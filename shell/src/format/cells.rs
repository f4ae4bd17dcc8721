//! Values as text for eyes.
//!
//! Times and lengths of time stand as PostgreSQL writes them, bytes as `\x` and their digits, nested values as JSON.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, IntervalMonthDayNanoType, Schema, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use weir_server::format::uuid::{self, UUID};
use weir_server::format::{calendar, interval, json, sql_timestamp};

/// Text of each value of a column; none for NULL.
pub fn texts(array: &ArrayRef) -> Result<Vec<Option<String>>, String> {
    if let Some(uuids) = array.as_fixed_size_binary_opt()
        && *array.data_type() == UUID
    {
        return Ok(uuids.iter().map(|value| value.map(uuid::text)).collect());
    }
    if array.data_type().is_nested()
        && let Some(texts) = nested(array)
    {
        return Ok(texts);
    }
    if let DataType::Timestamp(_, zone) = array.data_type() {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let times = cast(array, &micros).map_err(|error| error.to_string())?;
        let times = times.as_primitive::<TimestampMicrosecondType>().iter();
        return Ok(times.map(|us| us.map(|us| sql_timestamp(us, zone.is_some()))).collect());
    }
    if let DataType::Time64(TimeUnit::Microsecond) = array.data_type() {
        let times = array.as_primitive::<Time64MicrosecondType>().iter();
        return Ok(times.map(|us| us.map(calendar::time_text)).collect());
    }
    if let DataType::Interval(_) | DataType::Duration(_) = array.data_type() {
        let spans = interval::of(array).map_err(|error| error.to_string())?;
        let spans = spans.as_primitive::<IntervalMonthDayNanoType>().iter();
        return Ok(spans.map(|span| span.map(interval::text)).collect());
    }
    let prefix = match array.data_type() {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "\\x",
        _ => "",
    };
    let options = FormatOptions::new().with_display_error(false);
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options).map_err(|error| error.to_string())?;
    let nulls = array.logical_nulls();
    let text = |row: usize| -> Result<Option<String>, String> {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(None);
        }
        let value = formatter
            .value(row)
            .try_to_string()
            .map_err(|error| error.to_string())?;
        Ok(Some(format!("{prefix}{value}")))
    };
    (0..array.len()).map(text).collect()
}

/// Nested values as the engine's JSON; none where it doesn't know a type inside.
fn nested(array: &ArrayRef) -> Option<Vec<Option<String>>> {
    // An object of one field with an empty name, so that what stands around the value is known.
    const BEFORE: usize = "{\"\":".len();
    const BEHIND: usize = "}".len();
    let schema = Arc::new(Schema::new(vec![Field::new("", array.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(schema.clone(), vec![array.clone()]).ok()?;
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    let mut encoder = json::encoder(&Default::default(), &schema).ok()?;
    encoder.encode(&batch, &mut bytes, &mut ends).ok()?;
    let mut start = 0;
    let mut texts = Vec::with_capacity(ends.len());
    for (row, end) in ends.into_iter().enumerate() {
        let value = bytes.get(start + BEFORE..end - BEHIND)?;
        texts.push(match array.is_null(row) {
            true => None,
            false => Some(String::from_utf8_lossy(value).into_owned()),
        });
        start = end;
    }
    Some(texts)
}

/// Whether values of a type stand at the right edge of their column, digit under digit.
pub fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

/// Whether a value of a type still says something when its end is cut off.
pub fn may_be_cut(data_type: &DataType) -> bool {
    data_type.is_nested() || data_type.is_string() || data_type.is_binary()
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, DurationSecondArray, Float64Array,
        IntervalMonthDayNanoArray, ListArray, NullArray, StringArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Int64Type, IntervalMonthDayNano};

    use super::*;

    fn shown(array: impl Array + 'static) -> Vec<String> {
        let array: ArrayRef = Arc::new(array);
        let texts = texts(&array).expect("texts");
        texts
            .into_iter()
            .map(|text| text.unwrap_or_else(|| "-".to_owned()))
            .collect()
    }

    #[test]
    fn values_are_readable() {
        let times = vec![Some(1_700_000_000_000_000), Some(1_700_000_000_250_000), None];
        assert_eq!(
            shown(TimestampMicrosecondArray::from(times.clone())),
            ["2023-11-14 22:13:20", "2023-11-14 22:13:20.25", "-"]
        );
        assert_eq!(
            shown(TimestampMicrosecondArray::from(times).with_timezone("UTC"))[0],
            "2023-11-14 22:13:20+00"
        );
        let price = Decimal128Array::from(vec![10_800]).with_precision_and_scale(38, 4);
        assert_eq!(shown(price.expect("a decimal")), ["1.0800"]);
        assert_eq!(
            shown(Float64Array::from(vec![0.1, 1e16, f64::NAN])),
            ["0.1", "1e16", "NaN"]
        );
        assert_eq!(shown(BinaryArray::from(vec![b"\xde\xad".as_slice()])), ["\\xdead"]);
        assert_eq!(shown(BooleanArray::from(vec![true])), ["true"]);
        assert_eq!(shown(Date32Array::from(vec![0])), ["1970-01-01"]);
        assert_eq!(shown(NullArray::new(1)), ["-"]);
        let span = IntervalMonthDayNano::new(1, 2, 3_000_000_000);
        assert_eq!(
            shown(IntervalMonthDayNanoArray::from(vec![span])),
            ["1 mon 2 days 00:00:03"]
        );
        assert_eq!(shown(DurationSecondArray::from(vec![90_061])), ["1 day 01:01:01"]);
    }

    #[test]
    fn nested_values_are_json() {
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None]), None]);
        assert_eq!(shown(list), ["[1,null]", "-"]);
        let text = StringArray::from(vec!["x"]);
        let field = Arc::new(Field::new_list_field(DataType::Utf8, true));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([1]);
        assert_eq!(shown(ListArray::new(field, offsets, Arc::new(text), None)), ["[\"x\"]"]);
    }
}
