//! JSON records into columns, in one pass and by the schema.
//!
//! The wanted columns lead: a value is read as its column's type right where it stands in the
//! record and appended to the column. Nothing else is built. What is not wanted is skipped, but
//! still must be JSON; or is checked, as a column like the others that nobody gets.

use arrow::array::{Array, BinaryArray};
use arrow::datatypes::SchemaRef;

use super::keys::Keys;
use super::scan::{Fault, Reader, Scan, unescape};
use crate::Result;
use crate::format::column::{Column, Data};
use crate::format::options::EpochUnit;
use crate::format::sql_type;
use crate::format::{DecodeError, Decoded, Decoder, Others};

/// Maps this small are searched for equal keys one by one.
const SMALL_MAP: usize = 16;
/// How much of a bad value an error shows, in characters.
const SHOWN: usize = 40;

/// Decodes objects into the wanted columns.
pub(super) struct JsonDecoder {
    /// The wanted ones, then those that are only checked.
    columns: Vec<Column>,
    wanted: usize,
    keys: Keys,
}

impl JsonDecoder {
    pub(super) fn new(
        declared: &SchemaRef,
        wanted: &SchemaRef,
        others: Others,
        unit: EpochUnit,
    ) -> Result<JsonDecoder> {
        let (all, columns) = others.columns("JSON", declared, wanted, unit)?;
        Ok(JsonDecoder {
            columns,
            wanted: wanted.fields().len(),
            keys: Keys::of_wanted(declared, &all),
        })
    }

    fn record(&mut self, bytes: &[u8], row: usize) -> Scan<()> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| Fault::new(error.valid_up_to(), "the record is not valid UTF-8"))?;
        let mut reader = Reader::new(text);
        reader.space();
        if reader.peek() != b'{' {
            return Err(reader.expected("an object"));
        }
        object(&mut reader, &mut self.keys, &mut self.columns, row, 0)?;
        reader.finish()
    }
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, records: &BinaryArray) -> Result<Decoded> {
        let mut errors = Vec::new();
        for row in 0..records.len() {
            if records.is_null(row) {
                self.columns.iter_mut().for_each(Column::append_null);
                continue;
            }
            if let Err(fault) = self.record(records.value(row), row) {
                errors.push(DecodeError {
                    index: row,
                    cause: format!("not the JSON declared: {fault}"),
                });
                for column in &mut self.columns {
                    column.truncate(row);
                    column.append_null();
                }
            }
        }
        let (wanted, checked) = self.columns.split_at_mut(self.wanted);
        checked.iter_mut().for_each(|column| column.truncate(0));
        let columns = wanted.iter_mut().map(Column::finish).collect::<Result<_>>()?;
        Ok(Decoded { columns, errors })
    }
}

/// Appends a value that stands alone as text, a CSV field or a whole record: nested ones as JSON,
/// digits as a TIMESTAMP by `timestamp.unit`, all else as SQL reads its text.
pub(crate) fn text_value(column: &mut Column, at: usize, text: &str) -> Scan<()> {
    let counts = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    match column.data {
        Data::List { .. } | Data::Struct { .. } | Data::Map { .. } => {
            let mut reader = Reader::new(text);
            reader.space();
            value(&mut reader, column, 0)?;
            reader.finish()
        }
        Data::Timestamp { .. } if counts(text.trim()) => column
            .append_number(text.trim())
            .map_err(|why| unfit(at, text, column, why)),
        _ => column.append_text(text).map_err(|why| unfit(at, text, column, why)),
    }
}

/// Reads an object whose fields fill `columns` at `row`; those without a field get NULL.
fn object(reader: &mut Reader<'_>, keys: &mut Keys, columns: &mut [Column], row: usize, depth: u32) -> Scan<()> {
    reader.open(depth)?;
    keys.begin();
    let mut filled = 0;
    let mut more = !reader.take(b'}');
    while more {
        reader.quote()?;
        let target = keys.pass(reader)?;
        reader.colon()?;
        match target.column {
            None => reader.skip(depth + 1)?,
            Some(index) => {
                let column = &mut columns[index];
                if column.len() == row {
                    filled += 1;
                } else if keys.replaces(target, index) {
                    column.truncate(row);
                } else {
                    reader.skip(depth + 1)?;
                    more = reader.more_members()?;
                    continue;
                }
                keys.fills(target, index);
                value(reader, column, depth + 1).map_err(|fault| fault.in_field(keys.name(index)))?;
            }
        }
        more = reader.more_members()?;
    }
    if filled == columns.len() {
        return Ok(());
    }
    for (index, column) in columns.iter_mut().enumerate().filter(|(_, column)| column.len() == row) {
        if !column.nullable {
            return Err(
                Fault::new(reader.at - 1, "the field is missing, but its type is NOT NULL").in_field(keys.name(index)),
            );
        }
        column.append_null();
    }
    Ok(())
}

/// Reads one value into a column; the reader stands on its first byte.
#[inline]
fn value(reader: &mut Reader<'_>, column: &mut Column, depth: u32) -> Scan<()> {
    match reader.peek() {
        first if first != b'n' && matches!(column.data, Data::Json(_)) => json(reader, column, depth),
        b'"' => string(reader, column),
        b'-' | b'0'..=b'9' => {
            if let Data::Int64(values) = &mut column.data
                && let Some(value) = reader.small_integer()
            {
                values.push(value);
                column.nulls.append_non_null();
                return Ok(());
            }
            let at = reader.at;
            let text = reader.number()?;
            column.append_number(text).map_err(|why| unfit(at, text, column, why))
        }
        b'{' | b'[' => nested(reader, column, depth),
        b'n' => {
            reader.word("null")?;
            if !column.nullable {
                return Err(Fault::new(reader.at - 4, "null, but its type is NOT NULL"));
            }
            column.append_null();
            Ok(())
        }
        b't' => {
            reader.word("true")?;
            boolean(reader, column, true)
        }
        b'f' => {
            reader.word("false")?;
            boolean(reader, column, false)
        }
        _ => Err(reader.expected("a JSON value")),
    }
}

#[inline]
fn string(reader: &mut Reader<'_>, column: &mut Column) -> Scan<()> {
    reader.at += 1;
    let at = reader.at;
    let quoted = reader.string()?;
    match &mut column.data {
        Data::Text(spans) => {
            if quoted.escaped {
                unescape(quoted.raw, at, &mut spans.bytes)?;
            } else {
                spans.bytes.extend_from_slice(quoted.raw.as_bytes());
            }
            spans.close();
            column.nulls.append_non_null();
            Ok(())
        }
        _ if quoted.escaped => {
            let mut bytes = Vec::new();
            unescape(quoted.raw, at, &mut bytes)?;
            let text = String::from_utf8_lossy(&bytes);
            column.append_text(&text).map_err(|why| unfit(at, &text, column, why))
        }
        _ => column
            .append_text(quoted.raw)
            .map_err(|why| unfit(at, quoted.raw, column, why)),
    }
}

fn boolean(reader: &Reader<'_>, column: &mut Column, value: bool) -> Scan<()> {
    let word = if value { "true" } else { "false" };
    match &mut column.data {
        Data::Boolean(values) => values.append(value),
        Data::Text(spans) => {
            spans.bytes.extend_from_slice(word.as_bytes());
            spans.close();
        }
        _ => {
            let expected = sql_type(&column.data_type);
            return Err(Fault::new(
                reader.at - word.len(),
                format!("expected {expected}, found {word}"),
            ));
        }
    }
    column.nulls.append_non_null();
    Ok(())
}

/// Reads any value as JSON.
fn json(reader: &mut Reader<'_>, column: &mut Column, depth: u32) -> Scan<()> {
    let start = reader.at;
    reader.skip(depth)?;
    let text = reader.since(start);
    column.append_text(text).map_err(|why| unfit(start, text, column, why))
}

/// Reads an array or object: into a column of such a type, or as text into TEXT.
fn nested(reader: &mut Reader<'_>, column: &mut Column, depth: u32) -> Scan<()> {
    let (start, row) = (reader.at, column.len());
    let is_object = reader.peek() == b'{';
    match &mut column.data {
        Data::Struct { children, keys, .. } if is_object => object(reader, keys, children, row, depth)?,
        Data::Map { ends, keys, values, .. } if is_object => {
            map(reader, keys, values, depth)?;
            ends.push(keys.len());
        }
        Data::List { ends, values, .. } if !is_object => {
            reader.elements(depth, |reader, index| {
                value(reader, values, depth + 1).map_err(|fault| fault.in_element(index))
            })?;
            ends.push(values.len());
        }
        Data::Text(spans) => {
            reader.skip(depth)?;
            spans.bytes.extend_from_slice(reader.since(start).as_bytes());
            spans.close();
        }
        _ => {
            let (expected, found) = (
                sql_type(&column.data_type),
                if is_object { "an object" } else { "an array" },
            );
            return Err(Fault::new(start, format!("expected {expected}, found {found}")));
        }
    }
    column.nulls.append_non_null();
    Ok(())
}

/// Reads an object as a map. Equal keys are found afterwards, and then the object is read again,
/// which spares the usual case the search before every value.
fn map(reader: &mut Reader<'_>, keys: &mut Column, values: &mut Column, depth: u32) -> Scan<()> {
    let (start, first) = (reader.at, keys.len());
    reader.members(depth, |reader, key| {
        let name = map_key(reader, key.raw, key.escaped)?;
        let name = name.as_deref().unwrap_or(key.raw);
        keys.append_text(name).map_err(|why| Fault::new(reader.at, why))?;
        value(reader, values, depth + 1).map_err(|fault| fault.in_field(name))
    })?;
    if !has_equal_keys(keys, first) {
        return Ok(());
    }
    keys.truncate(first);
    values.truncate(first);
    reader.at = start;
    let mut entries: Vec<(String, usize)> = Vec::new();
    let mut places = hashbrown::HashMap::new();
    reader.members(depth, |reader, key| {
        let name = map_key(reader, key.raw, key.escaped)?.unwrap_or_else(|| key.raw.to_owned());
        match places.get(&name) {
            Some(&place) => entries[place] = (name, reader.at),
            None => {
                places.insert(name.clone(), entries.len());
                entries.push((name, reader.at));
            }
        }
        reader.skip(depth + 1)
    })?;
    let end = reader.at;
    for (name, at) in entries {
        keys.append_text(&name).map_err(|why| Fault::new(at, why))?;
        reader.at = at;
        value(reader, values, depth + 1).map_err(|fault| fault.in_field(&name))?;
    }
    reader.at = end;
    Ok(())
}

/// The text of an escaped key.
fn map_key(reader: &Reader<'_>, raw: &str, escaped: bool) -> Scan<Option<String>> {
    if !escaped {
        return Ok(None);
    }
    let mut name = Vec::new();
    unescape(raw, reader.at, &mut name)?;
    Ok(Some(String::from_utf8_lossy(&name).into_owned()))
}

fn has_equal_keys(keys: &Column, first: usize) -> bool {
    let Data::Text(spans) = &keys.data else {
        return false;
    };
    let all = || (first..keys.len()).map(|index| spans.get(index));
    if keys.len() - first <= SMALL_MAP {
        return all()
            .enumerate()
            .any(|(index, key)| all().take(index).any(|earlier| earlier == key));
    }
    let mut seen = hashbrown::HashSet::with_capacity(keys.len() - first);
    !all().all(|key| seen.insert(key))
}

/// A fault about a text that is not of the column's type.
#[cold]
fn unfit(at: usize, text: &str, column: &Column, why: &str) -> Box<Fault> {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    Fault::new(at, format!("'{shown}' is no {}: {why}", sql_type(&column.data_type)))
}
