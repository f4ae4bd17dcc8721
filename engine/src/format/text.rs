//! TEXT: the whole record is one column, mostly TEXT.
//!
//! A column of another type is written as its text and read as SQL would read that text, as in CSV:
//! so a number can be a record's key. NULL is written as no bytes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, SchemaRef};

use super::column::Column;
use super::json::decode::text_value;
use super::json::encode::{Cells, Form};
use super::options::{self, EpochUnit, Options};
use super::{DecodeError, Decoded, Decoder, Encoder};
use crate::{Error, Result};

/// Makes a decoder of `columns`, a subset of `declared`, which is one column.
pub fn decoder(options: &Options, declared: &SchemaRef, columns: &SchemaRef) -> Result<Box<dyn Decoder>> {
    options::known("TEXT", options, &["timestamp.unit"])?;
    let unit = EpochUnit::of("TEXT", options)?;
    one_column("TEXT", declared, None)?;
    let (field, wanted) = (declared.field(0), !columns.fields().is_empty());
    if field.data_type() == &DataType::Utf8 {
        return Ok(Box::new(TextDecoder { wanted }));
    }
    let column = Column::new("TEXT", field.name(), field.data_type(), true, unit)?;
    Ok(Box::new(ValueDecoder { wanted, column }))
}

/// Makes an encoder for rows of `schema`, which has one column.
pub fn encoder(options: &Options, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
    options::known("TEXT", options, &[])?;
    one_column("TEXT", schema, None)?;
    Ok(Box::new(TextEncoder {
        form: Form::new("TEXT", schema)?,
    }))
}

/// Refuses schemas that are not one column (of the type given).
pub(super) fn one_column(encode: &str, schema: &SchemaRef, wanted: Option<(&DataType, &str)>) -> Result<()> {
    let kind = wanted.map_or(String::new(), |(_, sql)| format!("{sql} "));
    match &schema.fields()[..] {
        [field] if wanted.is_none_or(|(data_type, _)| field.data_type() == data_type) => Ok(()),
        fields => {
            let have: Vec<_> = fields
                .iter()
                .map(|f| format!("{} {}", f.name(), super::sql_type(f.data_type())))
                .collect();
            Err(Error::Config(format!(
                "ENCODE {encode} is for exactly one {kind}column (the whole record), not for ({}); \
                 use ENCODE JSON or CSV for more",
                have.join(", ")
            )))
        }
    }
}

struct TextDecoder {
    wanted: bool,
}

impl Decoder for TextDecoder {
    fn decode(&mut self, records: &BinaryArray) -> Result<Decoded> {
        let (ends, bytes, nulls) = records.clone().into_parts();
        let (text, errors) = match StringArray::try_new(ends, bytes, nulls) {
            Ok(text) => (text, Vec::new()),
            Err(_) => one_by_one(records),
        };
        let columns = if self.wanted {
            vec![Arc::new(text) as ArrayRef]
        } else {
            Vec::new()
        };
        Ok(Decoded { columns, errors })
    }
}

/// Finds the records that are not UTF-8.
fn one_by_one(records: &BinaryArray) -> (StringArray, Vec<DecodeError>) {
    let mut texts = StringBuilder::with_capacity(records.len(), records.value_data().len());
    let mut errors = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let text = record.map(std::str::from_utf8).transpose().unwrap_or_else(|error| {
            let cause = format!("byte {}: the record is not valid UTF-8", error.valid_up_to());
            errors.push(DecodeError { index, cause });
            None
        });
        texts.append_option(text);
    }
    (texts.finish(), errors)
}

/// Reads records that are the text of one value.
struct ValueDecoder {
    wanted: bool,
    column: Column,
}

impl Decoder for ValueDecoder {
    fn decode(&mut self, records: &BinaryArray) -> Result<Decoded> {
        let (texts, mut errors) = one_by_one(records);
        for (index, text) in texts.iter().enumerate() {
            let Some(text) = text else {
                self.column.append_null();
                continue;
            };
            if let Err(fault) = text_value(&mut self.column, 0, text) {
                errors.push(DecodeError {
                    index,
                    cause: format!("not the TEXT declared: {fault}"),
                });
                self.column.truncate(index);
                self.column.append_null();
            }
        }
        errors.sort_by_key(|error| error.index);
        let array = self.column.finish()?;
        Ok(Decoded {
            columns: if self.wanted { vec![array] } else { Vec::new() },
            errors,
        })
    }
}

struct TextEncoder {
    form: Form,
}

impl Encoder for TextEncoder {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>, ends: &mut Vec<usize>) -> Result<()> {
        let columns = self.form.of(rows)?;
        let cells = Cells::new(&columns[0])?;
        for row in 0..rows.num_rows() {
            if !cells.is_null(row) {
                cells.push_text(row, out);
            }
            ends.push(out.len());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::samples::schema;
    use arrow::array::{AsArray, Int64Array};

    #[test]
    fn records_are_the_column() {
        let columns = schema(&[("line", DataType::Utf8)]);
        let mut decoder = decoder(&Options::new(), &columns, &columns).unwrap();
        let records = BinaryArray::from_opt_vec(vec![Some("é".as_bytes()), None, Some(b"")]);
        let decoded = decoder.decode(&records).unwrap();
        assert_eq!(
            decoded.columns[0].as_string::<i32>(),
            &StringArray::from(vec![Some("é"), None, Some("")])
        );
        assert!(decoded.errors.is_empty());

        // A cut through 'é' is valid as a whole and in no part.
        let records = BinaryArray::from_vec(vec![b"ok", "é".as_bytes(), b"a\xffb", b"\xc3", b"\xa9"]).slice(1, 4);
        let decoded = decoder.decode(&records).unwrap();
        assert_eq!(
            decoded.columns[0].as_string::<i32>(),
            &StringArray::from(vec![Some("é"), None, None, None])
        );
        let errors: Vec<_> = decoded.errors.iter().map(|e| (e.index, e.cause.as_str())).collect();
        assert_eq!(errors[0], (1, "byte 1: the record is not valid UTF-8"));
        assert_eq!(errors.len(), 3);
    }

    #[test]
    fn anything_but_one_column_is_refused() {
        let two = schema(&[("a", DataType::Utf8), ("b", DataType::Int64)]);
        let error = decoder(&Options::new(), &two, &two).err().unwrap().to_string();
        assert_eq!(
            error,
            "ENCODE TEXT is for exactly one column (the whole record), not for (a TEXT, b BIGINT); \
             use ENCODE JSON or CSV for more"
        );
        let number = schema(&[("a", DataType::Int64)]);
        let options = Options::from([("header".to_owned(), "true".to_owned())]);
        let error = encoder(&options, &number).err().unwrap().to_string();
        assert_eq!(error, "unknown option 'header' of ENCODE TEXT; it has none");
    }

    #[test]
    fn any_type_is_its_text() {
        let columns = schema(&[("a", DataType::Int64)]);
        let mut numbers = decoder(&Options::new(), &columns, &columns).unwrap();
        let records = BinaryArray::from_opt_vec(vec![Some(b"-7"), None, Some(b"x"), Some(b"\xff"), Some(b"8")]);
        let decoded = numbers.decode(&records).unwrap();
        let expected = Int64Array::from(vec![Some(-7), None, None, None, Some(8)]);
        assert_eq!(*decoded.columns[0], expected);
        let errors: Vec<_> = decoded.errors.iter().map(|e| (e.index, e.cause.as_str())).collect();
        assert_eq!(
            errors,
            [
                (2, "not the TEXT declared: byte 0: 'x' is no BIGINT: it is not a number"),
                (3, "byte 0: the record is not valid UTF-8"),
            ]
        );

        let rows = RecordBatch::try_new(columns.clone(), vec![Arc::new(Int64Array::from(vec![Some(-7), None]))]);
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        encoder(&Options::new(), &columns)
            .unwrap()
            .encode(&rows.unwrap(), &mut out, &mut ends)
            .unwrap();
        assert_eq!((out.as_slice(), ends.as_slice()), (&b"-7"[..], &[2, 2][..]));
    }
}
