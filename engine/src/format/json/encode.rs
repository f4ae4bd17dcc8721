//! Rows as JSON text, and single values as the plain text that CSV and TEXT write.
//!
//! A batch's arrays are looked through once ([`Cells`]), so that writing a value is one match and
//! no downcast.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    LargeStringArray, ListArray, MapArray, RecordBatch, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, SchemaRef, TimeUnit};

use super::scan::plain_end;
use crate::format::sql_type;
use crate::format::{Encoder, base64, calendar, interval, number, uuid};
use crate::{Error, Result};

/// Encodes rows as objects.
pub(super) struct JsonEncoder {
    form: Form,
    /// Per column `"name":` with the brace or comma before it.
    prefixes: Vec<Vec<u8>>,
}

impl JsonEncoder {
    pub(super) fn new(schema: &SchemaRef) -> Result<JsonEncoder> {
        let prefixes = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(i, field)| prefix(i, field.name()))
            .collect();
        Ok(JsonEncoder {
            form: Form::new("JSON", schema)?,
            prefixes,
        })
    }
}

impl Encoder for JsonEncoder {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>, ends: &mut Vec<usize>) -> Result<()> {
        let arrays = self.form.of(rows)?;
        let cells = arrays.iter().map(Cells::new).collect::<Result<Vec<_>>>()?;
        for row in 0..rows.num_rows() {
            push_object(&self.prefixes, &cells, row, out);
            ends.push(out.len());
        }
        Ok(())
    }
}

fn prefix(index: usize, name: &str) -> Vec<u8> {
    let mut prefix = vec![if index == 0 { b'{' } else { b',' }];
    push_string(name.as_bytes(), &mut prefix);
    prefix.push(b':');
    prefix
}

fn push_object(prefixes: &[Vec<u8>], cells: &[Cells<'_>], row: usize, out: &mut Vec<u8>) {
    if cells.is_empty() {
        out.push(b'{');
    }
    for (prefix, cells) in prefixes.iter().zip(cells) {
        out.extend_from_slice(prefix);
        cells.push_json(row, out);
    }
    out.push(b'}');
}

/// Appends a JSON string.
pub(crate) fn push_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut from = 0;
    loop {
        let end = plain_end(text, from);
        out.extend_from_slice(&text[from..end]);
        let Some(&byte) = text.get(end) else { break };
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            _ => b'u',
        };
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
            out.extend_from_slice(&[b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
        }
        from = end + 1;
    }
    out.push(b'"');
}

/// Brings columns to the types that [`Cells`] writes: a query may give others of the same kind.
pub(crate) struct Form {
    targets: Vec<DataType>,
}

impl Form {
    /// Refuses columns that have no text.
    pub(crate) fn new(encode: &str, schema: &SchemaRef) -> Result<Form> {
        let target = |field: &FieldRef| {
            // The difference of two times is an INTERVAL. Inside of others no cast would make one of it.
            let kind = match field.data_type() {
                DataType::Duration(_) => Some(SPAN),
                other => canonical(other),
            };
            kind.ok_or_else(|| {
                Error::Config(format!(
                    "column '{}': ENCODE {encode} can't write type {}; cast it to TEXT",
                    field.name(),
                    sql_type(field.data_type())
                ))
            })
        };
        Ok(Form {
            targets: schema.fields().iter().map(target).collect::<Result<_>>()?,
        })
    }

    /// The columns of `rows`, cast where needed.
    pub(crate) fn of(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        if rows.num_columns() != self.targets.len() {
            return Err(Error::internal("an encoder was given rows of another schema"));
        }
        let column = |(array, target): (&ArrayRef, &DataType)| match array.data_type() == target {
            true => Ok(Arc::clone(array)),
            false if *target == SPAN => Ok(interval::of(array)?),
            false => Ok(cast(array, target)?),
        };
        rows.columns().iter().zip(&self.targets).map(column).collect()
    }
}

/// What lengths of time are written as.
const SPAN: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// The type that a type is written as; none where it has no text.
fn canonical(data_type: &DataType) -> Option<DataType> {
    use DataType as T;
    let child = |field: &FieldRef| -> Option<FieldRef> {
        Some(Arc::new(Field::new(
            field.name(),
            canonical(field.data_type())?,
            field.is_nullable(),
        )))
    };
    Some(match data_type {
        T::Null | T::Boolean | T::Float32 | T::Float64 | T::Utf8 | T::Binary | T::Date32 | T::Decimal128(..) => {
            data_type.clone()
        }
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => data_type.clone(),
        T::Float16 => T::Float32,
        T::Decimal32(precision, scale) | T::Decimal64(precision, scale) => T::Decimal128(*precision, *scale),
        T::FixedSizeBinary(16) => data_type.clone(),
        T::LargeUtf8 => data_type.clone(),
        T::Utf8View => T::Utf8,
        T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
        T::Date64 => T::Date32,
        T::Time32(_) | T::Time64(_) => T::Time64(TimeUnit::Microsecond),
        T::Timestamp(_, zone) => T::Timestamp(TimeUnit::Microsecond, zone.clone()),
        T::Interval(_) => SPAN,
        T::Dictionary(_, value) => canonical(value)?,
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => T::List(child(item)?),
        T::Struct(fields) => T::Struct(fields.iter().map(child).collect::<Option<_>>()?),
        T::Map(entry, sorted) => T::Map(child(entry)?, *sorted),
        _ => return None,
    })
}

/// The values of a column, ready to be written one by one.
pub(crate) struct Cells<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

enum Values<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Int8(&'a Int8Array),
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    UInt8(&'a UInt8Array),
    UInt16(&'a UInt16Array),
    UInt32(&'a UInt32Array),
    UInt64(&'a UInt64Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Decimal(&'a Decimal128Array, i8),
    Text(&'a StringArray),
    Json(&'a LargeStringArray),
    Binary(&'a BinaryArray),
    Uuid(&'a FixedSizeBinaryArray),
    Date(&'a Date32Array),
    Time(&'a Time64MicrosecondArray),
    /// And whether it is a moment.
    Timestamp(&'a TimestampMicrosecondArray, bool),
    Interval(&'a IntervalMonthDayNanoArray),
    List(&'a ListArray, Box<Cells<'a>>),
    Struct(Vec<Vec<u8>>, Vec<Cells<'a>>),
    Map(&'a MapArray, Box<Cells<'a>>, Box<Cells<'a>>),
}

impl<'a> Cells<'a> {
    /// Looks through an array of a type that [`Form`] gives.
    pub(crate) fn new(array: &'a ArrayRef) -> Result<Cells<'a>> {
        let values = match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Boolean(array.as_boolean()),
            DataType::Int8 => Values::Int8(array.as_primitive()),
            DataType::Int16 => Values::Int16(array.as_primitive()),
            DataType::Int32 => Values::Int32(array.as_primitive()),
            DataType::Int64 => Values::Int64(array.as_primitive()),
            DataType::UInt8 => Values::UInt8(array.as_primitive()),
            DataType::UInt16 => Values::UInt16(array.as_primitive()),
            DataType::UInt32 => Values::UInt32(array.as_primitive()),
            DataType::UInt64 => Values::UInt64(array.as_primitive()),
            DataType::Float32 => Values::Float32(array.as_primitive()),
            DataType::Float64 => Values::Float64(array.as_primitive()),
            DataType::Decimal128(_, scale) => Values::Decimal(array.as_primitive(), *scale),
            DataType::Utf8 => Values::Text(array.as_string()),
            DataType::LargeUtf8 => Values::Json(array.as_string()),
            DataType::Binary => Values::Binary(array.as_binary()),
            DataType::FixedSizeBinary(16) => Values::Uuid(array.as_fixed_size_binary()),
            DataType::Date32 => Values::Date(array.as_primitive()),
            DataType::Time64(TimeUnit::Microsecond) => Values::Time(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => Values::Timestamp(array.as_primitive(), zone.is_some()),
            DataType::Interval(IntervalUnit::MonthDayNano) => Values::Interval(array.as_primitive()),
            DataType::List(_) => {
                let list = array.as_list();
                Values::List(list, Box::new(Cells::new(list.values())?))
            }
            DataType::Struct(fields) => {
                let prefixes = fields
                    .iter()
                    .enumerate()
                    .map(|(i, field)| prefix(i, field.name()))
                    .collect();
                let children = array.as_struct().columns().iter().map(Cells::new);
                Values::Struct(prefixes, children.collect::<Result<_>>()?)
            }
            DataType::Map(..) => {
                let map = array.as_map();
                Values::Map(
                    map,
                    Box::new(Cells::new(map.keys())?),
                    Box::new(Cells::new(map.values())?),
                )
            }
            other => {
                return Err(Error::internal(format!("values of type {other} can't be written")));
            }
        };
        Ok(Cells {
            nulls: array.nulls(),
            values,
        })
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        matches!(self.values, Values::Null) || self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the value at `row` as JSON.
    pub(crate) fn push_json(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return;
        }
        let in_quotes = match &self.values {
            Values::Text(array) => return push_string(array.value(row).as_bytes(), out),
            Values::Float32(array) => !array.value(row).is_finite(),
            Values::Float64(array) => !array.value(row).is_finite(),
            Values::Binary(_) | Values::Uuid(_) | Values::Date(_) | Values::Time(_) => true,
            Values::Timestamp(..) | Values::Interval(_) => true,
            _ => false,
        };
        if in_quotes {
            out.push(b'"');
        }
        self.push_text(row, out);
        if in_quotes {
            out.push(b'"');
        }
    }

    /// Appends the value at `row`, which is not NULL, as plain text; nested values as JSON.
    pub(crate) fn push_text(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Null => {}
            Values::Boolean(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Values::Int8(array) => number::push_integer(out, array.value(row).into()),
            Values::Int16(array) => number::push_integer(out, array.value(row).into()),
            Values::Int32(array) => number::push_integer(out, array.value(row).into()),
            Values::Int64(array) => number::push_integer(out, array.value(row)),
            Values::UInt8(array) => number::push_unsigned(out, array.value(row).into()),
            Values::UInt16(array) => number::push_unsigned(out, array.value(row).into()),
            Values::UInt32(array) => number::push_unsigned(out, array.value(row).into()),
            Values::UInt64(array) => number::push_unsigned(out, array.value(row)),
            Values::Float32(array) => number::push_float32(out, array.value(row)),
            Values::Float64(array) => number::push_float64(out, array.value(row)),
            Values::Decimal(array, scale) => number::push_decimal(out, array.value(row), *scale),
            Values::Text(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Values::Json(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Values::Binary(array) => base64::encode(array.value(row), out),
            Values::Uuid(array) => uuid::push(array.value(row), out),
            Values::Date(array) => calendar::push_date(out, array.value(row).into()),
            Values::Time(array) => calendar::push_time(out, array.value(row)),
            Values::Timestamp(array, _) => calendar::push_timestamp(out, array.value(row)),
            Values::Interval(array) => interval::push(out, array.value(row)),
            Values::List(array, items) => push_list(array, items, row, out),
            Values::Struct(prefixes, children) => push_object(prefixes, children, row, out),
            Values::Map(array, keys, values) => push_map(array, keys, values, row, out),
        }
    }

    /// The same with times as SQL has them, where they stand by themselves.
    pub(crate) fn push_sql(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Timestamp(array, is_moment) => calendar::push_sql_timestamp(out, array.value(row), *is_moment),
            _ => self.push_text(row, out),
        }
    }
}

fn push_list(array: &ListArray, items: &Cells<'_>, row: usize, out: &mut Vec<u8>) {
    let ends = array.value_offsets();
    out.push(b'[');
    for index in ends[row]..ends[row + 1] {
        if index > ends[row] {
            out.push(b',');
        }
        items.push_json(index as usize, out);
    }
    out.push(b']');
}

fn push_map(array: &MapArray, keys: &Cells<'_>, values: &Cells<'_>, row: usize, out: &mut Vec<u8>) {
    let ends = array.value_offsets();
    out.push(b'{');
    for index in ends[row]..ends[row + 1] {
        if index > ends[row] {
            out.push(b',');
        }
        let mut key = Vec::new();
        keys.push_text(index as usize, &mut key);
        push_string(&key, out);
        out.push(b':');
        values.push_json(index as usize, out);
    }
    out.push(b'}');
}
