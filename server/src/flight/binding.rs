//! Parameters that a client binds: Arrow rows, made the types that the statement expects.
//!
//! A driver sends what its language has, a Python integer as BIGINT for example. A value is cast to
//! its parameter's type where nothing of it gets lost, and refused otherwise.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::server::PeekableFlightDataStream;
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use futures::future::ready;
use tonic::Status;
use weir_engine::format::sql_type;

use super::metadata::internal;

/// Bytes of parameters that may be bound at once.
const BOUND_BYTES: usize = 256 << 20;

const STRICT: CastOptions<'static> = CastOptions {
    safe: false,
    format_options: arrow::util::display::FormatOptions::new(),
};

/// Rows of parameters from a client's stream; `None` if it sent no schema, and so bound nothing.
pub async fn rows(
    stream: PeekableFlightDataStream,
    parameters: &[Field],
) -> Result<Option<Vec<Vec<ScalarValue>>>, Status> {
    // The first message may hold nothing but the command.
    let data = stream
        .try_filter(|data| ready(!data.data_header.is_empty()))
        .map_err(FlightError::from);
    let mut batches = FlightRecordBatchStream::new_from_flight_data(data);
    let mut rows = Vec::new();
    let mut bytes = 0;
    while let Some(batch) = batches.try_next().await? {
        bytes += batch.get_array_memory_size();
        if bytes > BOUND_BYTES {
            let limit = BOUND_BYTES >> 20;
            return Err(Status::resource_exhausted(format!(
                "more than {limit} MiB of parameters at once; bind them in several goes"
            )));
        }
        append(&batch, parameters, &mut rows)?;
    }
    Ok(batches.schema().is_some().then_some(rows))
}

/// Appends a batch's rows, made the parameters' types.
fn append(batch: &RecordBatch, parameters: &[Field], rows: &mut Vec<Vec<ScalarValue>>) -> Result<(), Status> {
    if batch.num_columns() != parameters.len() {
        return Err(Status::invalid_argument(format!(
            "the statement has {} parameters, but {} were bound",
            parameters.len(),
            batch.num_columns()
        )));
    }
    let columns = batch
        .columns()
        .iter()
        .zip(parameters)
        .enumerate()
        .map(|(at, (column, parameter))| cast(column, parameter.data_type(), at + 1, rows.len()))
        .collect::<Result<Vec<ArrayRef>, Status>>()?;
    for row in 0..batch.num_rows() {
        let values = columns.iter().map(|column| ScalarValue::try_from_array(column, row));
        rows.push(values.collect::<Result<_, _>>().map_err(internal)?);
    }
    Ok(())
}

/// A column of values for parameter `number` as `to`; `before` rows were bound before these.
fn cast(column: &ArrayRef, to: &DataType, number: usize, before: usize) -> Result<ArrayRef, Status> {
    let from = column.data_type();
    if from == to {
        return Ok(column.clone());
    }
    if !can_cast_types(from, to) {
        return Err(Status::invalid_argument(format!(
            "parameter ${number} is {}, and {} was bound",
            sql_type(to),
            sql_type(from)
        )));
    }
    let name = sql_type(to);
    let cast = cast_with_options(column, to, &STRICT)
        .map_err(|error| Status::invalid_argument(format!("parameter ${number} is {name}: {error}")))?;
    if loses(from, to) {
        let back = cast_with_options(&cast, from, &STRICT).map_err(internal)?;
        let same: BooleanArray = not_distinct(column, &back).map_err(internal)?;
        if let Some(row) = same.iter().position(|same| same != Some(true)) {
            let value = ScalarValue::try_from_array(column, row).map_err(internal)?;
            return Err(Status::invalid_argument(format!(
                "parameter ${number} is {name}, and {value} in row {} does not fit",
                before + row + 1
            )));
        }
    }
    Ok(cast)
}

/// Whether a cast between these types may succeed and yet change a value: it is then tried backwards.
fn loses(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Timestamp(_, from), DataType::Timestamp(_, to)) => from == to,
        _ => from.is_numeric() && to.is_numeric() && !(from.is_floating() && to.is_floating()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringArray, TimestampNanosecondArray};
    use arrow::datatypes::TimeUnit;

    use super::*;

    fn bind(column: ArrayRef, to: DataType) -> Result<Vec<ScalarValue>, String> {
        let batch = RecordBatch::try_from_iter([("0", column)]).unwrap();
        let mut rows = Vec::new();
        append(&batch, &[Field::new("$1", to, true)], &mut rows).map_err(|status| status.message().to_string())?;
        Ok(rows.into_iter().map(|mut row| row.remove(0)).collect())
    }

    #[test]
    fn values_become_the_parameters_types() {
        let integers: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        assert_eq!(
            bind(integers, DataType::Int16).unwrap(),
            [ScalarValue::Int16(Some(7)), ScalarValue::Int16(None)]
        );
        let text: ArrayRef = Arc::new(StringArray::from(vec!["2024-02-29"]));
        assert_eq!(
            bind(text, DataType::Date32).unwrap(),
            [ScalarValue::Date32(Some(19782))]
        );
        let price: ArrayRef = Arc::new(Float64Array::from(vec![1.1]));
        assert_eq!(
            bind(price, DataType::Decimal128(10, 2)).unwrap(),
            [ScalarValue::Decimal128(Some(110), 10, 2)]
        );
    }

    #[test]
    fn what_would_be_lost_is_refused() {
        let float: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 1.5]));
        let message = bind(float, DataType::Int64).unwrap_err();
        assert_eq!(message, "parameter $1 is BIGINT, and 1.5 in row 2 does not fit");
        let large: ArrayRef = Arc::new(Int64Array::from(vec![40_000]));
        assert!(
            bind(large, DataType::Int16)
                .unwrap_err()
                .starts_with("parameter $1 is SMALLINT")
        );
        let fine: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_000_001]));
        let microseconds = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert!(bind(fine, microseconds).unwrap_err().ends_with("does not fit"));
        let word: ArrayRef = Arc::new(StringArray::from(vec!["seven"]));
        assert!(bind(word, DataType::Int64).is_err());
    }

    #[test]
    fn the_number_of_parameters_is_checked() {
        let batch = RecordBatch::try_from_iter([("0", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
        let status = append(&batch, &[], &mut Vec::new()).unwrap_err();
        assert_eq!(status.message(), "the statement has 0 parameters, but 1 were bound");
    }
}
