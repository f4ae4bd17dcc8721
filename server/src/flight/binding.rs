//! Parameters that a client binds: Arrow rows, made the types that the statement expects.
//!
//! A driver sends what its language has, a Python integer as BIGINT for example. A value is cast to
//! its parameter's type where nothing of it gets lost, and refused otherwise. Text is read as the SQL of
//! a CAST reads it.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::server::PeekableFlightDataStream;
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use futures::future::ready;
use tonic::Status;
use weir_engine::format::sql_type;
use weir_sql::read::column_as;

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
    let name = sql_type(to);
    let refused = || {
        let bound = sql_type(from);
        Status::invalid_argument(format!("parameter ${number} is {name}, and {bound} was bound"))
    };
    if from.is_nested() != to.is_nested() {
        return Err(refused());
    }
    let failed = |error: ArrowError| {
        let why = weir_sql::read::error(error.into()).message;
        Status::invalid_argument(format!("parameter ${number} is {name}: {why}"))
    };
    if from.is_string() {
        return column_as(column, to).ok_or_else(refused)?.map_err(failed);
    }
    if !can_cast_types(from, to) {
        return Err(refused());
    }
    let cast = cast_with_options(column, to, &STRICT).map_err(failed)?;
    if loses(from, to) {
        let back = cast_with_options(&cast, from, &STRICT).map_err(internal)?;
        if let Some(row) = first_other(column, &back)? {
            let value = ScalarValue::try_from_array(column, row).map_err(internal)?;
            return Err(Status::invalid_argument(format!(
                "parameter ${number} is {name}, and {value} in row {} does not fit",
                before + row + 1
            )));
        }
    }
    Ok(cast)
}

/// The first row in which two columns of a type differ.
fn first_other(one: &ArrayRef, other: &ArrayRef) -> Result<Option<usize>, Status> {
    if one.data_type().is_nested() {
        let differs = |row: &usize| one.slice(*row, 1) != other.slice(*row, 1);
        return Ok((0..one.len()).find(differs));
    }
    let same: BooleanArray = not_distinct(one, other).map_err(internal)?;
    Ok(same.iter().position(|same| same != Some(true)))
}

/// Whether a cast between these types may succeed and yet change a value: it is then tried backwards.
fn loses(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Timestamp(_, from), DataType::Timestamp(_, to)) => from == to,
        (DataType::List(from), DataType::List(to)) => loses(from.data_type(), to.data_type()),
        _ => from.is_numeric() && to.is_numeric() && !(from.is_floating() && to.is_floating()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, ListArray, StringArray, TimestampNanosecondArray};
    use arrow::datatypes::{Float64Type, TimeUnit};

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
    fn text_is_read_as_a_cast_reads_it() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["{A0EEBC999C0B4EF8BB6D6BB9BD380A11}"]));
        let [ScalarValue::FixedSizeBinary(16, Some(uuid))] = &bind(text, DataType::FixedSizeBinary(16)).unwrap()[..]
        else {
            panic!("no uuid");
        };
        assert_eq!(uuid[..4], [0xa0, 0xee, 0xbc, 0x99]);
        let text: ArrayRef = Arc::new(StringArray::from(vec!["\\x00ff"]));
        let bytes = ScalarValue::Binary(Some(vec![0, 255]));
        assert_eq!(bind(text, DataType::Binary).unwrap(), [bytes]);
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a0eebc99"]));
        let message = bind(text, DataType::FixedSizeBinary(16)).unwrap_err();
        assert!(
            message.starts_with("parameter $1 is UUID: ") && message.contains("'a0eebc99' is no UUID"),
            "{message}"
        );
    }

    #[test]
    fn lists_are_bound_and_lose_nothing() {
        let list = |values: Vec<Option<f64>>| -> ArrayRef {
            Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([
                Some(values),
                None,
            ]))
        };
        let wanted = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
        let bound = bind(list(vec![Some(1.0), None]), wanted.clone()).unwrap();
        assert_eq!((bound.len(), bound[0].data_type()), (2, wanted.clone()));
        let message = bind(list(vec![Some(1.5)]), wanted).unwrap_err();
        assert!(
            message.starts_with("parameter $1 is BIGINT[], and [1.5] in row 1"),
            "{message}"
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
