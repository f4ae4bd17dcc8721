//! Text as dates and times: as records have them, and what else PostgreSQL writes with a day and a clock.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray, StringArray};
use arrow::compute::cast_with_options;
use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::{DataType, Date32Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use weir_engine::format::calendar::{self, US_PER_DAY};

use super::casts::{STRICT, misfit};

/// Whether a type is read here.
pub fn is_read(kind: &DataType) -> bool {
    match kind {
        DataType::Timestamp(TimeUnit::Microsecond, zone) => zone.as_deref().is_none_or(|zone| zone == "+00:00"),
        DataType::Date32 | DataType::Time64(TimeUnit::Microsecond) => true,
        _ => false,
    }
}

/// Text as a type of which [`is_read`] is true.
///
/// # Errors
/// Names the text that is none.
pub fn read(value: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let texts = cast_with_options(value, &DataType::Utf8, &STRICT)?;
    let texts = texts.as_string::<i32>();
    Ok(match to {
        DataType::Date32 => {
            let read = |text: &str| {
                calendar::date(text.as_bytes()).or_else(|why| {
                    let day = calendar::timestamp(text.as_bytes()).map(|us| us.div_euclid(US_PER_DAY));
                    let day = day.ok().and_then(|day| i32::try_from(day).ok());
                    day.or_else(|| Date32Type::parse(text)).ok_or(why)
                })
            };
            Arc::new(all::<Date32Type>(texts, to, read)?)
        }
        DataType::Time64(_) => {
            let read = |text: &str| {
                // A number alone would be one of microseconds.
                let other = || {
                    Some(text)
                        .filter(|text| text.contains(':'))
                        .and_then(Time64MicrosecondType::parse)
                };
                calendar::time(text.as_bytes()).or_else(|why| other().ok_or(why))
            };
            Arc::new(all::<Time64MicrosecondType>(texts, to, read)?)
        }
        DataType::Timestamp(_, zone) => {
            let read = |text: &str| {
                calendar::timestamp(text.as_bytes()).or_else(|why| TimestampMicrosecondType::parse(text).ok_or(why))
            };
            let read = all::<TimestampMicrosecondType>(texts, to, read)?;
            Arc::new(read.with_timezone_opt(zone.clone()))
        }
        other => return Err(misfit("a text", other, "it is not read here")),
    })
}

/// Times of day as text.
pub fn times_of_day_as_text(value: &ArrayRef) -> ArrayRef {
    let texts = value.as_primitive::<Time64MicrosecondType>().iter();
    Arc::new(texts.map(|us| us.map(calendar::time_text)).collect::<StringArray>())
}

fn all<T: arrow::datatypes::ArrowPrimitiveType>(
    texts: &StringArray,
    to: &DataType,
    read: impl Fn(&str) -> Result<T::Native, &'static str>,
) -> Result<PrimitiveArray<T>, ArrowError> {
    let read = |text: &str| read(text.trim()).map_err(|why| misfit(text, to, why));
    texts.iter().map(|text| text.map(read).transpose()).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;

    use super::*;

    #[test]
    fn times_are_read_with_and_without_seconds() {
        let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        let cases = [
            (
                "2024-01-03 12:00",
                DataType::Timestamp(TimeUnit::Microsecond, None),
                1_704_283_200_000_000,
            ),
            ("2024-01-03T12:00+02", moment.clone(), 1_704_276_000_000_000),
            (" 2024-01-03T12:00:00.5Z ", moment, 1_704_283_200_500_000),
            ("12:30", DataType::Time64(TimeUnit::Microsecond), 45_000_000_000),
            ("2024-1-3", DataType::Date32, 19_725),
            ("2024-01-03 12:00:00", DataType::Date32, 19_725),
        ];
        for (text, to, expected) in cases {
            let texts: ArrayRef = Arc::new(StringArray::from(vec![Some(text), None]));
            let read = read(&texts, &to).unwrap();
            let whole = match to {
                DataType::Date32 => read.as_primitive::<Date32Type>().value(0).into(),
                DataType::Time64(_) => read.as_primitive::<Time64MicrosecondType>().value(0),
                _ => read.as_primitive::<TimestampMicrosecondType>().value(0),
            };
            assert_eq!(
                (whole, read.is_null(1), read.data_type()),
                (expected, true, &to),
                "{text}"
            );
            let texts: ArrayRef = Arc::new(StringArray::from(vec!["soon"]));
            let error = super::read(&texts, &to).unwrap_err().to_string();
            assert!(error.contains("'soon'"), "{error}");
        }
    }
}
