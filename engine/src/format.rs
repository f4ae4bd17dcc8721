//! Formats: bytes into rows and back.
//!
//! A decoder is made once for the columns a pipeline needs and is then fed whole batches of
//! records; it fills columns directly. A record that does not fit is reported by its index with
//! the cause, and the others go on; what happens then is the source's error policy.

use arrow::array::{ArrayRef, BinaryArray, RecordBatch};
use arrow::datatypes::{Fields, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::change::ChangeBatch;

mod base64;
pub mod bytes;
pub mod calendar;
pub(crate) mod column;
pub mod csv;
pub mod interval;
pub mod json;
pub(crate) mod number;
pub(crate) mod options;
mod said;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
pub mod text;
mod types;
pub mod uuid;

use column::Column;
use options::EpochUnit;
pub use types::{column_words, meant, sql_type, sql_words, without_origin};

/// Microseconds since the epoch as PostgreSQL writes a TIMESTAMP, or a TIMESTAMPTZ in UTC.
pub fn sql_timestamp(us: i64, is_moment: bool) -> String {
    let mut text = Vec::with_capacity(32);
    calendar::push_sql_timestamp(&mut text, us, is_moment);
    text.into_iter().map(char::from).collect()
}

/// How an encoding reads or writes one side (key or value) of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoding {
    /// JSON, CSV, TEXT or BYTES.
    pub kind: EncodingKind,
    /// Options in parentheses after it, lower-case keys: `timestamp.unit`, `delimiter`, `header` …
    pub options: std::collections::BTreeMap<String, String>,
}

/// The encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EncodingKind {
    /// One JSON object a record.
    Json,
    /// One CSV line a record.
    Csv,
    /// The whole record as one TEXT column.
    Text,
    /// The whole record as one BYTEA column.
    Bytes,
}

/// What a record means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Envelope {
    /// Each record is an insert.
    Plain,
    /// The last record of a key is its row; a null value deletes it.
    Upsert,
}

/// `FORMAT … ENCODE … KEY ENCODE …` of a sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkFormat {
    /// Meaning of a record.
    pub envelope: Envelope,
    /// Encoding of values.
    pub value: Encoding,
    /// Encoding of keys, where the sink has one.
    pub key: Option<Encoding>,
}

/// A record that did not decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// Index of the record in the batch that was given.
    pub index: usize,
    /// Why, naming the field where one is at fault.
    pub cause: String,
}

/// Rows of one batch of records.
#[derive(Debug)]
pub struct Decoded {
    /// One array per wanted column, each as long as the input; rows of bad records hold nulls.
    pub columns: Vec<ArrayRef>,
    /// Records that failed, by rising index.
    pub errors: Vec<DecodeError>,
}

/// Turns batches of records into columns of a fixed schema.
pub trait Decoder: Send {
    /// Decodes all records. A null input is a tombstone: its row is null in every column and it is
    /// no error.
    fn decode(&mut self, records: &BinaryArray) -> Result<Decoded>;
}

/// What a decoder does with the declared columns that are not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// They are passed over: only the form of the record is looked at.
    Passed,
    /// Their values are read as those of wanted columns are, and given to nobody: whether a record is bad
    /// is the same whichever columns are wanted.
    Checked,
}

impl Others {
    /// What a decoder fills: the wanted columns, then those that are only checked.
    fn columns(
        self,
        encoding: &'static str,
        declared: &Schema,
        wanted: &Schema,
        unit: EpochUnit,
    ) -> Result<(Schema, Vec<Column>)> {
        let others = declared.fields().iter();
        let others = others.filter(|field| self == Others::Checked && wanted.index_of(field.name()).is_err());
        let all: Fields = wanted.fields().iter().chain(others).cloned().collect();
        let columns = all
            .iter()
            .map(|field| Column::new(encoding, field.name(), field.data_type(), true, unit));
        let mut columns = columns.collect::<Result<Vec<_>>>()?;
        columns[wanted.fields().len()..].iter_mut().for_each(Column::only_check);
        Ok((Schema::new(all), columns))
    }
}

/// Makes a decoder of `columns` (the wanted subset of the declared physical columns; `declared`
/// gives all of them in order, which CSV needs).
pub fn decoder(
    encoding: &Encoding,
    declared: &SchemaRef,
    columns: &SchemaRef,
    others: Others,
) -> Result<Box<dyn Decoder>> {
    match encoding.kind {
        EncodingKind::Json => json::decoder(&encoding.options, declared, columns, others),
        EncodingKind::Csv => csv::decoder(&encoding.options, declared, columns, others),
        // A record is the one column: it is looked at in any case.
        EncodingKind::Text => text::decoder(&encoding.options, declared, columns),
        EncodingKind::Bytes => bytes::decoder(&encoding.options, declared, columns),
    }
}

/// Turns rows into one record's bytes each.
pub trait Encoder: Send {
    /// Appends row by row; `ends` receives the end of each row's bytes in `out`.
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>, ends: &mut Vec<usize>) -> Result<()>;
}

/// Makes an encoder for rows of `schema`.
pub fn encoder(encoding: &Encoding, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
    match encoding.kind {
        EncodingKind::Json => json::encoder(&encoding.options, schema),
        EncodingKind::Csv => csv::encoder(&encoding.options, schema),
        EncodingKind::Text => text::encoder(&encoding.options, schema),
        EncodingKind::Bytes => bytes::encoder(&encoding.options, schema),
    }
}

/// One record for outside: a null value is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutRecord {
    /// Encoded key, where the sink has one.
    pub key: Option<Vec<u8>>,
    /// Encoded value; `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// Turns the changes of one delivery into records: PLAIN writes every insert (a delete is an
/// error unless `force_append_only`), UPSERT writes one record per key, the last state of it.
pub trait EnvelopeWriter: Send {
    /// Appends the records to write for `changes`, which come in the order of
    /// [`crate::connector::SinkConnector::deliver`].
    fn write(&mut self, changes: &[ChangeBatch], out: &mut Vec<OutRecord>) -> Result<()>;

    /// Deletes that the last write left out, because the sink only appends.
    fn deletes_dropped(&self) -> u64 {
        0
    }
}

pub mod envelope;
