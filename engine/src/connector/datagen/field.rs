//! One column of made-up values: what its options ask for, and the values of any rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, StringBuilder,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, FieldRef, TimeUnit};

use super::{EventTime, with_nulls};
use crate::connector::nexmark::random::{below, bits, push_letters, stream};
use crate::format::calendar;
use crate::format::column::Column;
use crate::format::number::{self, Excess};
use crate::format::options::EpochUnit;
use crate::format::sql_type;
use crate::{Error, Result};

pub(super) const OPTIONS: [&str; 8] = ["kind", "start", "end", "min", "max", "length", "values", "null_rate"];
/// Longest random TEXT and BYTEA.
const MAX_LENGTH: usize = 1 << 20;

/// A column and how its values are made.
pub(super) struct Field {
    data_type: DataType,
    values: Values,
    null_rate: f64,
    values_stream: u64,
    nulls_stream: u64,
}

/// Number-like types are counted in whole units: a DECIMAL in its last digits, a DATE in days, a TIME
/// and a TIMESTAMP in microseconds.
enum Values {
    EventTime(EventTime),
    Sequence { start: i128, step: i128, end: i128 },
    Range { min: i128, max: i128 },
    FloatSequence { start: f64, end: Option<f64> },
    FloatRange { min: f64, max: f64 },
    Boolean,
    Letters(usize),
    Bytes(usize),
    OneOf(ArrayRef),
}

/// Uniform in 0 … 1, less than 1.
pub(super) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

type Options<'a> = BTreeMap<&'a str, &'a str>;

impl Field {
    /// A column by its declared type and its options.
    pub(super) fn new(
        field: &FieldRef,
        options: Options<'_>,
        seed: u64,
        index: u64,
        event_time: EventTime,
    ) -> Result<Field> {
        let asked = Asked {
            name: field.name(),
            data_type: field.data_type(),
            options,
        };
        let null_rate = asked.null_rate()?;
        Ok(Field {
            data_type: field.data_type().clone(),
            values: asked.values(event_time)?,
            null_rate,
            values_stream: stream(seed, 2 * index),
            nulls_stream: stream(seed, 2 * index + 1),
        })
    }

    /// After how many rows a sequence is at its end.
    pub(super) fn end(&self) -> Option<u64> {
        let rows = match &self.values {
            Values::Sequence { start, step, end } => end.saturating_sub(*start).div_euclid(*step) + 1,
            Values::FloatSequence { start, end: Some(end) } => (end - start).floor() as i128 + 1,
            _ => return None,
        };
        // What nobody lives to see is no end.
        u64::try_from(rows.max(0)).ok().filter(|rows| *rows < 1 << 62)
    }

    /// The values of the rows with these numbers.
    pub(super) fn make(&self, numbers: &[u64]) -> Result<ArrayRef> {
        let draw = |n: &u64| bits(self.values_stream, *n);
        let array: ArrayRef = match &self.values {
            Values::EventTime(event_time) => self.whole(numbers.iter().map(|n| event_time.of(*n).into()))?,
            Values::Sequence { start, step, .. } => self.whole(
                numbers
                    .iter()
                    .map(|n| start.saturating_add(step.saturating_mul(i128::from(*n)))),
            )?,
            Values::Range { min, max } => {
                let span = max.wrapping_sub(*min) as u128 + 1;
                let value = |n: &u64| {
                    let draw = u128::from(draw(n)) << 64 | u128::from(bits(!self.values_stream, *n));
                    // For narrow ranges the upper half alone decides, and nothing overflows.
                    let offset = match u64::try_from(span) {
                        Ok(span) => ((draw >> 64) * u128::from(span)) >> 64,
                        Err(_) => draw % span,
                    };
                    min.wrapping_add(offset as i128)
                };
                self.whole(numbers.iter().map(value))?
            }
            Values::FloatSequence { start, .. } => self.float(numbers.iter().map(|n| start + *n as f64))?,
            Values::FloatRange { min, max } => self.float(numbers.iter().map(|n| min + (max - min) * unit(draw(n))))?,
            Values::Boolean => Arc::new(BooleanArray::from_iter(
                numbers.iter().map(|n| Some(draw(n) >> 63 != 0)),
            )),
            Values::Letters(length) => {
                let mut texts = StringBuilder::with_capacity(numbers.len(), numbers.len() * length);
                let mut text = Vec::with_capacity(length + 8);
                for n in numbers {
                    text.clear();
                    push_letters(&mut text, draw(n), *length);
                    texts.append_value(String::from_utf8_lossy(&text));
                }
                Arc::new(texts.finish())
            }
            Values::Bytes(length) => {
                let bytes = |n: &u64| -> Vec<u8> {
                    (0..length.div_ceil(8) as u64)
                        .flat_map(|i| bits(draw(n), i).to_le_bytes())
                        .take(*length)
                        .collect()
                };
                Arc::new(BinaryArray::from_iter_values(numbers.iter().map(bytes)))
            }
            Values::OneOf(values) => {
                let index = |n: &u64| below(draw(n), values.len() as u64);
                take(values, &UInt64Array::from_iter_values(numbers.iter().map(index)), None)?
            }
        };
        with_nulls(array, self.null_rate, self.nulls_stream, numbers)
    }

    /// Whole units as values of the column's type; the options were checked to fit it.
    fn whole(&self, values: impl Iterator<Item = i128>) -> Result<ArrayRef> {
        let in_64_bits = |value: i128| value.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        Ok(match &self.data_type {
            DataType::Decimal128(precision, scale) => {
                Arc::new(Decimal128Array::from_iter_values(values).with_precision_and_scale(*precision, *scale)?)
            }
            DataType::UInt64 => Arc::new(UInt64Array::from_iter_values(
                values.map(|value| value.clamp(0, u64::MAX.into()) as u64),
            )),
            DataType::Timestamp(_, zone) => {
                let values = TimestampMicrosecondArray::from_iter_values(values.map(in_64_bits));
                Arc::new(values.with_timezone_opt(zone.clone()))
            }
            DataType::Time64(_) => Arc::new(Time64MicrosecondArray::from_iter_values(values.map(in_64_bits))),
            DataType::Date32 => {
                let days = Int32Array::from_iter_values(values.map(|value| in_64_bits(value) as i32));
                cast(&days, &DataType::Date32)?
            }
            other => cast(&Int64Array::from_iter_values(values.map(in_64_bits)), other)?,
        })
    }

    fn float(&self, values: impl Iterator<Item = f64>) -> Result<ArrayRef> {
        Ok(cast(&Float64Array::from_iter_values(values), &self.data_type)?)
    }
}

/// A column's options, being read.
struct Asked<'a> {
    name: &'a str,
    data_type: &'a DataType,
    options: Options<'a>,
}

impl Asked<'_> {
    fn wrong(&self, option: &str, why: impl std::fmt::Display) -> Error {
        let value = self.options.get(option).unwrap_or(&"");
        Error::Config(format!(
            "option 'fields.{}.{option}' of connector 'datagen', '{value}': {why}",
            self.name
        ))
    }

    /// Refuses options that mean nothing beside the others.
    fn only(&self, allowed: &[&str], what: &str) -> Result<()> {
        match self
            .options
            .keys()
            .find(|key| !allowed.contains(key) && !["kind", "null_rate"].contains(key))
        {
            None => Ok(()),
            Some(option) => Err(self.wrong(option, format!("it means nothing for {what}"))),
        }
    }

    fn null_rate(&self) -> Result<f64> {
        let Some(text) = self.options.get("null_rate") else {
            return Ok(0.0);
        };
        match text.parse() {
            Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
            _ => Err(self.wrong("null_rate", "it is a share, 0 to 1")),
        }
    }

    fn values(&self, event_time: EventTime) -> Result<Values> {
        if self.options.contains_key("values") {
            return self.one_of();
        }
        let is_float = matches!(self.data_type, DataType::Float32 | DataType::Float64);
        let is_whole = self.limits().is_some();
        match self.options.get("kind").copied() {
            Some("sequence") if is_float => {
                self.only(&["start", "end"], "a sequence")?;
                Ok(Values::FloatSequence {
                    start: self.float("start")?.unwrap_or(0.0),
                    end: self.float("end")?,
                })
            }
            Some("sequence") if is_whole => self.sequence(),
            Some("sequence") => Err(self.wrong(
                "kind",
                format!("{} has no sequence; use 'random'", sql_type(self.data_type)),
            )),
            None if matches!(self.data_type, DataType::Timestamp(..)) && !self.is_ranged() => {
                self.only(&[], "an event time, which start_time and rows_per_second give")?;
                Ok(Values::EventTime(event_time))
            }
            None | Some("random") if is_float => {
                self.only(&["min", "max"], "random numbers")?;
                let (min, max) = (self.float("min")?.unwrap_or(0.0), self.float("max")?.unwrap_or(1.0));
                if min > max {
                    Err(self.wrong("min", "it is above max"))
                } else {
                    Ok(Values::FloatRange { min, max })
                }
            }
            None | Some("random") if is_whole => self.range(),
            None | Some("random") => self.other(),
            Some(_) => Err(self.wrong("kind", "it is 'sequence' or 'random'")),
        }
    }

    fn is_ranged(&self) -> bool {
        self.options.contains_key("min") || self.options.contains_key("max")
    }

    fn other(&self) -> Result<Values> {
        let length = || match self.options.get("length").map(|text| text.parse::<usize>()) {
            None => Ok(10),
            Some(Ok(length)) if length <= MAX_LENGTH => Ok(length),
            Some(_) => Err(self.wrong("length", format!("it is a whole number up to {MAX_LENGTH}"))),
        };
        match self.data_type {
            DataType::Boolean => self.only(&[], "BOOLEAN").map(|()| Values::Boolean),
            DataType::Utf8 => self
                .only(&["length"], "random TEXT")
                .and_then(|()| length())
                .map(Values::Letters),
            DataType::Binary => self
                .only(&["length"], "random BYTEA")
                .and_then(|()| length())
                .map(Values::Bytes),
            other => Err(Error::Config(format!(
                "column '{}': connector 'datagen' makes no {}; it makes numbers, BOOLEAN, TEXT, BYTEA, DATE, TIME, \
                 TIMESTAMP and TIMESTAMPTZ",
                self.name,
                sql_type(other)
            ))),
        }
    }

    fn one_of(&self) -> Result<Values> {
        self.only(&["values"], "a choice of values")?;
        if self.options.contains_key("kind") {
            return Err(self.wrong("kind", "leave it out where 'values' are given"));
        }
        let mut column = Column::new("datagen", self.name, self.data_type, true, EpochUnit::Milliseconds)?;
        for text in self.options["values"].split(',') {
            column.append_text(text.trim()).map_err(|why| {
                self.wrong(
                    "values",
                    format!("'{}' is no {}: {why}", text.trim(), sql_type(self.data_type)),
                )
            })?;
        }
        Ok(Values::OneOf(column.finish()?))
    }

    fn sequence(&self) -> Result<Values> {
        self.only(&["start", "end"], "a sequence")?;
        // A step is one in the value, so as many units as a one has.
        let step = match self.data_type {
            DataType::Decimal128(_, scale) if *scale > 0 => 10i128.pow(scale.unsigned_abs().into()),
            DataType::Timestamp(..) | DataType::Time64(_) => {
                return Err(self.wrong("kind", "a time has no sequence; leave 'kind' out for event times"));
            }
            _ => 1,
        };
        let (start, end) = (self.whole("start")?.unwrap_or(0), self.whole("end")?);
        // A sequence that outgrows its type ends there.
        let (_, most) = self.limits().unwrap_or_default();
        Ok(Values::Sequence {
            start,
            step,
            end: end.unwrap_or(most),
        })
    }

    fn range(&self) -> Result<Values> {
        self.only(&["min", "max"], "random values")?;
        let (least, most) = self.limits().unwrap_or_default();
        let (from, to) = match self.data_type {
            DataType::Decimal128(_, scale) => (0, 10i128.saturating_pow(3 + u32::try_from(*scale).unwrap_or(0))),
            DataType::Date32 => (19_723, 19_723 + 365),
            DataType::Time64(_) => (0, calendar::US_PER_DAY.into()),
            DataType::Timestamp(..) => {
                let start = i128::from(super::START_TIME_US);
                (start, start + i128::from(calendar::US_PER_DAY))
            }
            _ => (0, 1_000),
        };
        let min = self.whole("min")?.unwrap_or(from);
        let max = self.whole("max")?.unwrap_or(to.max(min)).min(most);
        if min > max || min < least {
            return Err(self.wrong("min", "it is above max"));
        }
        Ok(Values::Range { min, max })
    }

    /// The least and the greatest value of a type made of whole units.
    fn limits(&self) -> Option<(i128, i128)> {
        Some(match self.data_type {
            DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
            DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
            DataType::Int32 | DataType::Date32 => (i32::MIN.into(), i32::MAX.into()),
            DataType::Int64 | DataType::Timestamp(TimeUnit::Microsecond, _) => (i64::MIN.into(), i64::MAX.into()),
            DataType::UInt8 => (0, u8::MAX.into()),
            DataType::UInt16 => (0, u16::MAX.into()),
            DataType::UInt32 => (0, u32::MAX.into()),
            DataType::UInt64 => (0, u64::MAX.into()),
            DataType::Decimal128(precision, _) => {
                let most = 10i128.pow(u32::from(*precision)) - 1;
                (-most, most)
            }
            DataType::Time64(TimeUnit::Microsecond) => (0, i128::from(calendar::US_PER_DAY) - 1),
            _ => return None,
        })
    }

    /// An option that is a value of the column's type, in whole units.
    fn whole(&self, option: &str) -> Result<Option<i128>> {
        let Some(text) = self.options.get(option) else {
            return Ok(None);
        };
        let bytes = text.as_bytes();
        let value = match self.data_type {
            DataType::Date32 => calendar::date(bytes).map(i128::from),
            DataType::Time64(_) => calendar::time(bytes).map(i128::from),
            DataType::Timestamp(..) => calendar::timestamp(bytes).map(i128::from),
            DataType::Decimal128(_, scale) => number::scaled(bytes, i32::from(*scale), Excess::Refuse),
            _ => number::scaled(bytes, 0, Excess::Refuse),
        };
        let (least, most) = self.limits().unwrap_or_default();
        match value {
            Ok(value) if value < least || value > most => Err(self.wrong(option, number::OUT_OF_RANGE)),
            Ok(value) => Ok(Some(value)),
            Err(why) => Err(self.wrong(option, why)),
        }
    }

    fn float(&self, option: &str) -> Result<Option<f64>> {
        let Some(text) = self.options.get(option) else {
            return Ok(None);
        };
        match number::float64(text) {
            Ok(value) if value.is_finite() => Ok(Some(value)),
            Ok(_) => Err(self.wrong(option, "it is not finite")),
            Err(why) => Err(self.wrong(option, why)),
        }
    }
}
