//! CSV: one line a record, fields by the position of the declared columns (RFC 4180).
//!
//! Options: `delimiter` (`,`), `quote` (`"`), `null` (the text of NULL, empty unless said),
//! `timestamp.unit` (reading, as for JSON), `header` (the file connector's: the first line of a file
//! is skipped or written). As in PostgreSQL's COPY a quoted field is never NULL, so `""` is the
//! empty text where nothing is NULL; common CSV readers don't tell the two apart, hence our own.
//! A field reads as SQL would read its text, also digits as a TIMESTAMP by `timestamp.unit`;
//! BYTEA is base64, arrays, structs and maps are JSON.

use std::borrow::Cow;

use arrow::array::{Array, BinaryArray, RecordBatch};
use arrow::datatypes::SchemaRef;

use super::column::Column;
use super::json::decode::text_value;
use super::json::encode::{Cells, Form};
use super::json::scan::{Fault, Scan};
use super::options::{self, EpochUnit, Options};
use super::{DecodeError, Decoded, Decoder, Encoder, Others};
use crate::{Error, Result};

const DECODE_OPTIONS: [&str; 5] = ["delimiter", "quote", "null", "header", "timestamp.unit"];
const ENCODE_OPTIONS: [&str; 4] = ["delimiter", "quote", "null", "header"];

/// Makes a decoder of `columns`, a subset of `declared`.
pub fn decoder(
    options: &Options,
    declared: &SchemaRef,
    columns: &SchemaRef,
    others: Others,
) -> Result<Box<dyn Decoder>> {
    options::known("CSV", options, &DECODE_OPTIONS)?;
    let unit = EpochUnit::of("CSV", options)?;
    let (all, made) = others.columns("CSV", declared, columns, unit)?;
    if declared.fields().is_empty() {
        return Err(Error::Config(
            "ENCODE CSV needs declared columns: fields are matched by position".to_owned(),
        ));
    }
    let targets = declared.fields().iter().map(|field| all.index_of(field.name()).ok());
    let names = all.fields().iter().map(|field| field.name().clone());
    Ok(Box::new(CsvDecoder {
        style: Style::of(options)?,
        targets: targets.collect(),
        columns: names.zip(made).collect(),
        wanted: columns.fields().len(),
    }))
}

/// Makes an encoder for rows of `schema`.
pub fn encoder(options: &Options, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
    options::known("CSV", options, &ENCODE_OPTIONS)?;
    Ok(Box::new(CsvEncoder {
        style: Style::of(options)?,
        form: Form::new("CSV", schema)?,
    }))
}

struct Style {
    delimiter: u8,
    quote: u8,
    null: String,
}

impl Style {
    fn of(options: &Options) -> Result<Style> {
        let style = Style {
            delimiter: options::character("CSV", options, "delimiter", b',')?,
            quote: options::character("CSV", options, "quote", b'"')?,
            null: options.get("null").cloned().unwrap_or_default(),
        };
        options::flag("CSV", options, "header", false)?;
        if style.delimiter == style.quote {
            return Err(Error::Config(
                "options 'delimiter' and 'quote' of ENCODE CSV are the same character".to_owned(),
            ));
        }
        if style
            .null
            .bytes()
            .any(|byte| byte == style.delimiter || byte == style.quote || matches!(byte, b'\n' | b'\r'))
        {
            return Err(Error::Config(
                "option 'null' of ENCODE CSV must not contain the delimiter, the quote or a line end".to_owned(),
            ));
        }
        Ok(style)
    }

    /// Calls `each` with every field: its index, its first byte's place, its text, and whether it
    /// is quoted. Returns how many there are.
    fn split(&self, line: &str, mut each: impl FnMut(usize, usize, Cow<'_, str>, bool) -> Scan<()>) -> Scan<usize> {
        let bytes = line.as_bytes();
        let mut at = 0;
        for index in 0.. {
            let start = at;
            if bytes.get(at) == Some(&self.quote) {
                let text = self.quoted(line, &mut at)?;
                each(index, start, text, true)?;
            } else {
                at = line[at..]
                    .find(char::from(self.delimiter))
                    .map_or(bytes.len(), |length| at + length);
                each(index, start, Cow::Borrowed(&line[start..at]), false)?;
            }
            if at == bytes.len() {
                return Ok(index + 1);
            }
            at += 1;
        }
        Ok(0)
    }

    /// Reads a quoted field from its opening quote to the delimiter after it.
    fn quoted<'a>(&self, line: &'a str, at: &mut usize) -> Scan<Cow<'a, str>> {
        let bytes = line.as_bytes();
        let opening = *at;
        let mut text = Cow::Borrowed("");
        let mut from = opening + 1;
        loop {
            let Some(length) = line[from..].find(char::from(self.quote)) else {
                return Err(Fault::new(opening, "the quoted field beginning here has no end"));
            };
            let quote = from + length;
            match &mut text {
                Cow::Borrowed("") => text = Cow::Borrowed(&line[from..quote]),
                some => some.to_mut().push_str(&line[from..quote]),
            }
            match bytes.get(quote + 1) {
                Some(byte) if *byte == self.quote => {
                    text.to_mut().push(char::from(self.quote));
                    from = quote + 2;
                }
                Some(byte) if *byte != self.delimiter => {
                    return Err(Fault::new(quote + 1, "expected the delimiter after a quoted field"));
                }
                _ => {
                    *at = quote + 1;
                    return Ok(text);
                }
            }
        }
    }
}

struct CsvDecoder {
    style: Style,
    /// Per declared column which of `columns` it fills.
    targets: Vec<Option<usize>>,
    /// The wanted ones, then those that are only checked.
    columns: Vec<(String, Column)>,
    wanted: usize,
}

impl CsvDecoder {
    fn record(&mut self, record: &[u8]) -> Scan<()> {
        let line = match record {
            [line @ .., b'\r', b'\n'] | [line @ .., b'\n'] => line,
            _ => record,
        };
        let line = std::str::from_utf8(line)
            .map_err(|error| Fault::new(error.valid_up_to(), "the record is not valid UTF-8"))?;
        let (style, targets, columns) = (&self.style, &self.targets, &mut self.columns);
        let found = style.split(line, |index, at, text, quoted| {
            let Some(target) = targets.get(index).copied().flatten() else {
                return Ok(());
            };
            let (name, column) = &mut columns[target];
            if !quoted && text == style.null {
                column.append_null();
                return Ok(());
            }
            text_value(column, at, &text).map_err(|fault| fault.in_field(name))
        })?;
        if found != targets.len() {
            let cause = format!(
                "expected {} fields, as many as columns are declared, found {found}",
                targets.len()
            );
            return Err(Fault::new(line.len(), cause));
        }
        Ok(())
    }
}

impl Decoder for CsvDecoder {
    fn decode(&mut self, records: &BinaryArray) -> Result<Decoded> {
        let mut errors = Vec::new();
        for row in 0..records.len() {
            if records.is_null(row) {
                self.columns.iter_mut().for_each(|(_, column)| column.append_null());
                continue;
            }
            if let Err(fault) = self.record(records.value(row)) {
                errors.push(DecodeError {
                    index: row,
                    cause: format!("not the CSV declared: {fault}"),
                });
                for (_, column) in &mut self.columns {
                    column.truncate(row);
                    column.append_null();
                }
            }
        }
        let (wanted, checked) = self.columns.split_at_mut(self.wanted);
        checked.iter_mut().for_each(|(_, column)| column.truncate(0));
        let columns = wanted.iter_mut().map(|(_, column)| column.finish());
        let columns = columns.collect::<Result<_>>()?;
        Ok(Decoded { columns, errors })
    }
}

struct CsvEncoder {
    style: Style,
    form: Form,
}

impl CsvEncoder {
    /// Puts quotes around what was written from `start` on, where it would not read back without.
    fn quote(&self, out: &mut Vec<u8>, start: usize) {
        let (quote, delimiter) = (self.style.quote, self.style.delimiter);
        let text = &out[start..];
        let special = |byte: &u8| *byte == quote || *byte == delimiter || matches!(byte, b'\n' | b'\r');
        if text != self.style.null.as_bytes() && !text.iter().any(special) {
            return;
        }
        let text = out.split_off(start);
        out.push(quote);
        for byte in text {
            out.push(byte);
            if byte == quote {
                out.push(quote);
            }
        }
        out.push(quote);
    }
}

impl Encoder for CsvEncoder {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>, ends: &mut Vec<usize>) -> Result<()> {
        let arrays = self.form.of(rows)?;
        let columns = arrays.iter().map(Cells::new).collect::<Result<Vec<_>>>()?;
        for row in 0..rows.num_rows() {
            for (index, cells) in columns.iter().enumerate() {
                if index > 0 {
                    out.push(self.style.delimiter);
                }
                if cells.is_null(row) {
                    out.extend_from_slice(self.style.null.as_bytes());
                } else {
                    let start = out.len();
                    cells.push_sql(row, out);
                    self.quote(out, start);
                }
            }
            ends.push(out.len());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::samples::{self, Draw, schema};
    use arrow::array::StringArray;
    use arrow::datatypes::{DataType, TimeUnit};
    use arrow::util::display::array_value_to_string;
    use proptest::prelude::*;

    fn options(given: &[(&str, &str)]) -> Options {
        given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// The rows as text, NULL for null, and the causes of errors.
    fn decode(given: &[(&str, &str)], columns: &SchemaRef, records: &[&str]) -> (Vec<Vec<String>>, Vec<String>) {
        let mut decoder = decoder(&options(given), columns, columns, Others::Passed).unwrap();
        let decoded = decoder.decode(&BinaryArray::from_iter_values(records)).unwrap();
        let cell = |column: &arrow::array::ArrayRef, row| match column.is_null(row) {
            true => "NULL".to_owned(),
            false => array_value_to_string(column, row).unwrap(),
        };
        let rows = (0..records.len())
            .map(|row| decoded.columns.iter().map(|c| cell(c, row)).collect())
            .collect();
        (rows, decoded.errors.into_iter().map(|error| error.cause).collect())
    }

    #[test]
    fn fields_go_by_position() {
        let columns = schema(&[
            ("a", DataType::Int64),
            ("b", DataType::Utf8),
            ("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ]);
        let (rows, errors) = decode(
            &[],
            &columns,
            &[
                "1,plain,2024-01-01 00:00:00",
                "2,\"a \"\"quoted\"\", text\",1704067200000\r\n",
                ",\"\",",
                "4,5\" pipe,\n",
                "\"5\",\"line\nbreak\",\"2024-01-01\"",
            ],
        );
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(
            rows,
            [
                ["1", "plain", "2024-01-01T00:00:00"],
                ["2", "a \"quoted\", text", "2024-01-01T00:00:00"],
                ["NULL", "", "NULL"],
                ["4", "5\" pipe", "NULL"],
                ["5", "line\nbreak", "2024-01-01T00:00:00"],
            ]
        );
    }

    #[test]
    fn bad_lines_say_where() {
        let columns = schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]);
        let (rows, errors) = decode(&[], &columns, &["1", "1,2,3", "x,y", "1,\"y", "1,\"y\"z", "7,ok"]);
        assert_eq!(
            errors,
            [
                "not the CSV declared: byte 1: expected 2 fields, as many as columns are declared, found 1",
                "not the CSV declared: byte 5: expected 2 fields, as many as columns are declared, found 3",
                "not the CSV declared: field 'a', byte 0: 'x' is no BIGINT: it is not a number",
                "not the CSV declared: byte 2: the quoted field beginning here has no end",
                "not the CSV declared: byte 5: expected the delimiter after a quoted field",
            ]
        );
        assert_eq!(rows[4], ["NULL", "NULL"]);
        assert_eq!(rows[5], ["7", "ok"]);
    }

    #[test]
    fn style_is_a_choice() {
        let columns = schema(&[("a", DataType::Utf8), ("b", DataType::Utf8)]);
        let given = [("delimiter", "\\t"), ("quote", "'"), ("null", "\\N")];
        let (rows, errors) = decode(&given, &columns, &["\\N\t", "'\\N'\t'it''s'"]);
        assert!(errors.is_empty());
        assert_eq!(rows, [["NULL", ""], ["\\N", "it's"]]);
        let refused = |given| {
            decoder(&options(given), &columns, &columns, Others::Passed)
                .err()
                .unwrap()
                .to_string()
        };
        assert_eq!(
            refused(&[("separator", ",")]),
            "unknown option 'separator' of ENCODE CSV; known: delimiter, quote, null, header, timestamp.unit"
        );
        assert!(refused(&[("delimiter", ",,")]).contains("one ASCII character"));
        assert!(refused(&[("delimiter", "\"")]).contains("same character"));
        assert!(refused(&[("null", "a,b")]).contains("must not contain"));
        assert!(refused(&[("header", "yes")]).contains("'true' or 'false'"));
    }

    #[test]
    fn only_wanted_columns_are_read() {
        let declared = schema(&[("a", DataType::Int64), ("b", DataType::Utf8), ("c", DataType::Utf8)]);
        let wanted = schema(&[("c", DataType::Utf8)]);
        let mut decoder = decoder(&Options::new(), &declared, &wanted, Others::Passed).unwrap();
        let decoded = decoder.decode(&BinaryArray::from_iter_values(["x,y,z"])).unwrap();
        assert!(decoded.errors.is_empty());
        assert_eq!(*decoded.columns[0], StringArray::from(vec!["z"]));
    }

    proptest! {
        #[test]
        fn rows_read_back(
            seed: u64,
            kinds in proptest::collection::vec(0usize..samples::TYPES, 1..6),
            rows in 0usize..20,
            style in 0usize..3,
        ) {
            let styles: [&[(&str, &str)]; 3] = [&[], &[("delimiter", ";"), ("null", "null")], &[("delimiter", "\\t"), ("quote", "'")]];
            let batch = samples::batch(&mut Draw::new(seed), &kinds, rows);
            let given = options(styles[style]);
            let (mut out, mut ends) = (Vec::new(), Vec::new());
            encoder(&given, &batch.schema()).unwrap().encode(&batch, &mut out, &mut ends).unwrap();
            let mut start = 0;
            let records: Vec<_> = ends.iter().map(|end| &out[std::mem::replace(&mut start, *end)..*end]).collect();
            let mut decoder = decoder(&given, &batch.schema(), &batch.schema(), Others::Passed).unwrap();
            let decoded = decoder.decode(&BinaryArray::from_iter_values(&records)).unwrap();
            prop_assert!(decoded.errors.is_empty(), "{:?} {:?}", decoded.errors, String::from_utf8_lossy(&out));
            for (column, given) in decoded.columns.iter().zip(batch.columns()) {
                prop_assert_eq!(column, given);
            }
        }

        #[test]
        fn random_bytes_do_no_harm(records in proptest::collection::vec(any::<Vec<u8>>(), 0..8), text in "[a,\"\n1]{0,12}") {
            let columns = schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]);
            let mut decoder = decoder(&Options::new(), &columns, &columns, Others::Passed).unwrap();
            let all: Vec<&[u8]> = records.iter().map(Vec::as_slice).chain([text.as_bytes()]).collect();
            let decoded = decoder.decode(&BinaryArray::from_iter_values(&all)).unwrap();
            prop_assert!(decoded.columns.iter().all(|column| column.len() == all.len()));
        }
    }
}
