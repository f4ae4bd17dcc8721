//! Columns being filled: what decoders write into, one value after another.
//!
//! A column can be cut back to an earlier length, also a nested one. That is how a record that
//! turns out bad halfway, or a field given twice, leaves no trace. All storage is kept flat (one
//! buffer per leaf), so no value costs an allocation.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array,
    LargeStringArray, ListArray, MapArray, PrimitiveArray, StringArray, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::array::{BooleanBufferBuilder, NullBufferBuilder};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, FieldRef, Fields, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};

use super::json::keys::Keys;
use super::json::value as json;
use super::number::{self, Excess, NOT_A_NUMBER, OUT_OF_RANGE, Why};
use super::options::EpochUnit;
use super::types::sql_type;
use super::{base64, calendar, interval, uuid};
use crate::{Error, Result};

/// A column and what it holds so far.
pub(crate) struct Column {
    pub(crate) data_type: DataType,
    pub(crate) data: Data,
    pub(crate) nulls: NullBufferBuilder,
    /// Whether the type takes nulls; only asked inside structs and lists.
    pub(crate) nullable: bool,
}

/// Values by type. Null places hold a default.
pub(crate) enum Data {
    Boolean(BooleanBufferBuilder),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    UInt8(Vec<u8>),
    UInt16(Vec<u16>),
    UInt32(Vec<u32>),
    UInt64(Vec<u64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal {
        values: Vec<i128>,
        precision: u8,
        scale: i8,
    },
    Text(Spans),
    Json(Spans),
    Binary(Spans),
    Date(Vec<i32>),
    Time(Vec<i64>),
    Timestamp {
        values: Vec<i64>,
        zone: Option<Arc<str>>,
        unit: EpochUnit,
    },
    Interval(Vec<IntervalMonthDayNano>),
    Uuid(Vec<[u8; 16]>),
    List {
        item: FieldRef,
        ends: Ends,
        values: Box<Column>,
    },
    Struct {
        fields: Fields,
        children: Vec<Column>,
        keys: Keys,
    },
    Map {
        entry: FieldRef,
        sorted: bool,
        ends: Ends,
        keys: Box<Column>,
        values: Box<Column>,
    },
}

/// Where each value ends in a buffer or child; begins with a 0.
pub(crate) struct Ends(Vec<i32>);

impl Ends {
    fn new() -> Ends {
        Ends(vec![0])
    }

    /// Closes a value that ends at `end`. A batch of records is below 2 GiB, and no value is
    /// longer than the record's text it came from, so this can't overflow.
    #[inline]
    pub(crate) fn push(&mut self, end: usize) {
        self.0.push(end as i32);
    }

    /// End of the last value.
    #[inline]
    pub(crate) fn last(&self) -> usize {
        self.0.last().map_or(0, |end| *end as usize)
    }

    /// Drops all but `len` values, returns where the last of them ends.
    fn truncate(&mut self, len: usize) -> usize {
        self.0.truncate(len + 1);
        self.last()
    }

    fn finish(&mut self) -> OffsetBuffer<i32> {
        let mut fresh = Vec::with_capacity(self.0.len());
        fresh.push(0);
        OffsetBuffer::new(std::mem::replace(&mut self.0, fresh).into())
    }
}

/// Values of changing length in one buffer.
pub(crate) struct Spans {
    ends: Ends,
    /// All bytes; what lies beyond the last end belongs to the value being written.
    pub(crate) bytes: Vec<u8>,
    /// False where values are only checked: they stay empty, however long they are.
    kept: bool,
}

impl Spans {
    fn new() -> Spans {
        Spans {
            ends: Ends::new(),
            bytes: Vec::new(),
            kept: true,
        }
    }

    /// Ends the value whose bytes were appended since the last one.
    #[inline]
    pub(crate) fn close(&mut self) {
        if !self.kept {
            self.bytes.clear();
        }
        self.ends.push(self.bytes.len());
    }

    /// The value at `index`.
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.ends.0[index] as usize..self.ends.0[index + 1] as usize]
    }

    fn truncate(&mut self, len: usize) {
        let end = self.ends.truncate(len);
        self.bytes.truncate(end);
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, arrow::buffer::Buffer) {
        let fresh = Vec::with_capacity(self.bytes.len());
        (self.ends.finish(), std::mem::replace(&mut self.bytes, fresh).into())
    }
}

/// Does the same for every vector of fixed-width values.
macro_rules! each_vector {
    ($data:expr, $values:ident => $do:expr, $($rest:tt)*) => {
        match $data {
            Data::Int8($values) => $do,
            Data::Int16($values) => $do,
            Data::Int32($values) => $do,
            Data::Int64($values) => $do,
            Data::UInt8($values) => $do,
            Data::UInt16($values) => $do,
            Data::UInt32($values) => $do,
            Data::UInt64($values) => $do,
            Data::Float32($values) => $do,
            Data::Float64($values) => $do,
            Data::Decimal { values: $values, .. } => $do,
            Data::Date($values) => $do,
            Data::Time($values) => $do,
            Data::Timestamp { values: $values, .. } => $do,
            Data::Interval($values) => $do,
            Data::Uuid($values) => $do,
            $($rest)*
        }
    };
}

impl Column {
    /// An empty column of `data_type`. `encode` is named in the error for a type it can't give.
    pub(crate) fn new(encode: &str, name: &str, data_type: &DataType, nullable: bool, unit: EpochUnit) -> Result<Self> {
        let child = |field: &FieldRef| {
            Column::new(
                encode,
                &format!("{name}.{}", field.name()),
                field.data_type(),
                field.is_nullable(),
                unit,
            )
        };
        let refuse = || {
            Err(Error::Config(format!(
                "column '{name}': ENCODE {encode} has no values of type {}; declare it TEXT and cast",
                sql_type(data_type)
            )))
        };
        let data = match data_type {
            DataType::Boolean => Data::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int8 => Data::Int8(Vec::new()),
            DataType::Int16 => Data::Int16(Vec::new()),
            DataType::Int32 => Data::Int32(Vec::new()),
            DataType::Int64 => Data::Int64(Vec::new()),
            DataType::UInt8 => Data::UInt8(Vec::new()),
            DataType::UInt16 => Data::UInt16(Vec::new()),
            DataType::UInt32 => Data::UInt32(Vec::new()),
            DataType::UInt64 => Data::UInt64(Vec::new()),
            DataType::Float32 => Data::Float32(Vec::new()),
            DataType::Float64 => Data::Float64(Vec::new()),
            DataType::Decimal128(precision, scale) => Data::Decimal {
                values: Vec::new(),
                precision: *precision,
                scale: *scale,
            },
            DataType::Utf8 => Data::Text(Spans::new()),
            DataType::LargeUtf8 => Data::Json(Spans::new()),
            DataType::Binary => Data::Binary(Spans::new()),
            DataType::Date32 => Data::Date(Vec::new()),
            DataType::Time64(TimeUnit::Microsecond) => Data::Time(Vec::new()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => Data::Timestamp {
                values: Vec::new(),
                zone: zone.clone(),
                unit,
            },
            DataType::Interval(IntervalUnit::MonthDayNano) => Data::Interval(Vec::new()),
            DataType::FixedSizeBinary(16) => Data::Uuid(Vec::new()),
            DataType::List(item) => Data::List {
                item: item.clone(),
                ends: Ends::new(),
                values: Box::new(child(item)?),
            },
            DataType::Struct(fields) => {
                let children = fields.iter().map(child).collect::<Result<Vec<_>>>()?;
                Data::Struct {
                    fields: fields.clone(),
                    children,
                    keys: Keys::of_all(fields),
                }
            }
            DataType::Map(entry, sorted) => match entry.data_type() {
                DataType::Struct(pair) if pair.len() == 2 && pair[0].data_type() == &DataType::Utf8 => Data::Map {
                    entry: entry.clone(),
                    sorted: *sorted,
                    ends: Ends::new(),
                    keys: Box::new(child(&pair[0])?),
                    values: Box::new(child(&pair[1])?),
                },
                _ => return refuse(),
            },
            _ => return refuse(),
        };
        Ok(Column {
            data_type: data_type.clone(),
            data,
            nulls: NullBufferBuilder::new(0),
            nullable,
        })
    }

    /// From here on values are read for their faults only: texts and bytes are not kept.
    pub(crate) fn only_check(&mut self) {
        match &mut self.data {
            Data::Text(spans) | Data::Json(spans) | Data::Binary(spans) => spans.kept = false,
            Data::List { values, .. } => values.only_check(),
            Data::Struct { children, .. } => children.iter_mut().for_each(Column::only_check),
            // Its keys are compared with each other.
            Data::Map { values, .. } => values.only_check(),
            _ => {}
        }
    }

    /// Number of values.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Cuts back to `len` values, and drops what was written of the next one.
    pub(crate) fn truncate(&mut self, len: usize) {
        if self.nulls.len() > len {
            self.nulls.truncate(len);
        }
        each_vector!(&mut self.data, values => values.truncate(len),
            Data::Boolean(values) => values.truncate(len),
            Data::Text(spans) | Data::Json(spans) | Data::Binary(spans) => spans.truncate(len),
            Data::List { ends, values, .. } => values.truncate(ends.truncate(len)),
            Data::Struct { children, .. } => children.iter_mut().for_each(|child| child.truncate(len)),
            Data::Map { ends, keys, values, .. } => {
                let end = ends.truncate(len);
                keys.truncate(end);
                values.truncate(end);
            }
        );
    }

    /// Appends NULL.
    pub(crate) fn append_null(&mut self) {
        each_vector!(&mut self.data, values => values.push(Default::default()),
            Data::Boolean(values) => values.append(false),
            Data::Text(spans) | Data::Json(spans) | Data::Binary(spans) => spans.close(),
            Data::List { ends, .. } | Data::Map { ends, .. } => ends.push(ends.last()),
            Data::Struct { children, .. } => children.iter_mut().for_each(Column::append_null),
        );
        self.nulls.append_null();
    }

    /// Appends a value written as a text: a quoted JSON string, a CSV cell. Anything PostgreSQL
    /// would read from such a text is read, numbers and booleans too.
    pub(crate) fn append_text(&mut self, text: &str) -> Result<(), Why> {
        match &mut self.data {
            Data::Text(spans) => {
                spans.bytes.extend_from_slice(text.as_bytes());
                spans.close();
            }
            Data::Json(spans) => {
                let text = json::canonical(text).map_err(|_| "it is no JSON")?;
                spans.bytes.extend_from_slice(text.as_bytes());
                spans.close();
            }
            Data::Binary(spans) => {
                base64::decode(text.as_bytes(), &mut spans.bytes)?;
                spans.close();
            }
            Data::Timestamp { values, .. } => values.push(calendar::timestamp(text.trim().as_bytes())?),
            Data::Date(values) => values.push(calendar::date(text.trim().as_bytes())?),
            Data::Time(values) => values.push(calendar::time(text.trim().as_bytes())?),
            Data::Interval(values) => values.push(interval::parse(text)?),
            Data::Uuid(values) => values.push(uuid::parse(text)?),
            Data::Boolean(values) => values.append(number::boolean(text.trim())?),
            _ => return self.append_number(text.trim()),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// Appends a value written as a number, as in JSON. A TIMESTAMP is a count since the epoch,
    /// cut to microseconds; a TEXT keeps the number as it stands.
    pub(crate) fn append_number(&mut self, text: &str) -> Result<(), Why> {
        let bytes = text.as_bytes();
        match &mut self.data {
            Data::Int8(values) => values.push(number::integer(bytes)?),
            Data::Int16(values) => values.push(number::integer(bytes)?),
            Data::Int32(values) => values.push(number::integer(bytes)?),
            Data::Int64(values) => values.push(number::integer(bytes)?),
            Data::UInt8(values) => values.push(number::integer(bytes)?),
            Data::UInt16(values) => values.push(number::integer(bytes)?),
            Data::UInt32(values) => values.push(number::integer(bytes)?),
            Data::UInt64(values) => values.push(number::integer(bytes)?),
            Data::Float32(values) => values.push(number::float32(text)?),
            Data::Float64(values) => values.push(number::float64(text)?),
            Data::Decimal {
                values,
                precision,
                scale,
            } => {
                let value = number::scaled(bytes, i32::from(*scale), Excess::Refuse)?;
                if value.unsigned_abs() >= 10u128.pow(u32::from(*precision)) {
                    return Err(OUT_OF_RANGE);
                }
                values.push(value);
            }
            Data::Timestamp { values, unit, .. } => {
                let us = number::scaled(bytes, unit.to_us_scale(), Excess::Floor)?;
                values.push(i64::try_from(us).map_err(|_| OUT_OF_RANGE)?);
            }
            Data::Text(spans) => {
                spans.bytes.extend_from_slice(bytes);
                spans.close();
            }
            Data::Date(_) => return Err("a date is written 'YYYY-MM-DD'"),
            Data::Time(_) => return Err("a time is written 'HH:MM:SS'"),
            Data::Interval(_) => {
                return Err("an interval is written as a duration such as 'P1DT2H'");
            }
            Data::Binary(_) => return Err("bytes are written as base64 text"),
            Data::Uuid(_) => return Err("a uuid is written as text"),
            _ => return Err(NOT_A_NUMBER),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// Takes the values as an array and leaves the column empty, with room for as many again.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        let len = self.len();
        let nulls = self.nulls.finish();
        Ok(match &mut self.data {
            Data::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Data::Int8(values) => primitive::<Int8Type>(values, nulls),
            Data::Int16(values) => primitive::<Int16Type>(values, nulls),
            Data::Int32(values) => primitive::<Int32Type>(values, nulls),
            Data::Int64(values) => primitive::<Int64Type>(values, nulls),
            Data::UInt8(values) => primitive::<UInt8Type>(values, nulls),
            Data::UInt16(values) => primitive::<UInt16Type>(values, nulls),
            Data::UInt32(values) => primitive::<UInt32Type>(values, nulls),
            Data::UInt64(values) => primitive::<UInt64Type>(values, nulls),
            Data::Float32(values) => Arc::new(Float32Array::new(take(values).into(), nulls)),
            Data::Float64(values) => Arc::new(Float64Array::new(take(values).into(), nulls)),
            Data::Decimal {
                values,
                precision,
                scale,
            } => {
                Arc::new(Decimal128Array::new(take(values).into(), nulls).with_precision_and_scale(*precision, *scale)?)
            }
            Data::Text(spans) => {
                let (ends, bytes) = spans.finish();
                Arc::new(StringArray::try_new(ends, bytes, nulls)?)
            }
            Data::Json(spans) => {
                let (ends, bytes) = spans.finish();
                let ends = ends.iter().map(|end| i64::from(*end)).collect::<Vec<i64>>();
                Arc::new(LargeStringArray::try_new(OffsetBuffer::new(ends.into()), bytes, nulls)?)
            }
            Data::Binary(spans) => {
                let (ends, bytes) = spans.finish();
                Arc::new(BinaryArray::try_new(ends, bytes, nulls)?)
            }
            Data::Date(values) => primitive::<Date32Type>(values, nulls),
            Data::Time(values) => Arc::new(Time64MicrosecondArray::new(take(values).into(), nulls)),
            Data::Timestamp { values, zone, .. } => {
                Arc::new(TimestampMicrosecondArray::new(take(values).into(), nulls).with_timezone_opt(zone.clone()))
            }
            Data::Interval(values) => primitive::<IntervalMonthDayNanoType>(values, nulls),
            Data::Uuid(values) => {
                let bytes = take(values).into_flattened();
                Arc::new(FixedSizeBinaryArray::try_new(16, bytes.into(), nulls)?)
            }
            Data::List { item, ends, values } => Arc::new(ListArray::try_new(
                item.clone(),
                ends.finish(),
                values.finish()?,
                nulls,
            )?),
            Data::Struct { fields, children, .. } => {
                let arrays = children.iter_mut().map(Column::finish).collect::<Result<Vec<_>>>()?;
                Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, nulls, len)?)
            }
            Data::Map {
                entry,
                sorted,
                ends,
                keys,
                values,
            } => {
                let DataType::Struct(pair) = entry.data_type() else {
                    return Err(Error::internal("a map's entries are a struct"));
                };
                let entries = StructArray::try_new(pair.clone(), vec![keys.finish()?, values.finish()?], None)?;
                Arc::new(MapArray::try_new(
                    entry.clone(),
                    ends.finish(),
                    entries,
                    nulls,
                    *sorted,
                )?)
            }
        })
    }
}

fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let fresh = Vec::with_capacity(values.len());
    std::mem::replace(values, fresh)
}

fn primitive<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(take(values).into(), nulls))
}
