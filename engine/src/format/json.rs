//! JSON: one object a record, straight into Arrow columns and back.
//!
//! Reading. Fields are matched to columns by exact name, else by a name that differs in ASCII case
//! only (SQL folds names to lower case); unknown fields are skipped. A missing field and `null` are
//! NULL. Of equal names the last wins. The text must be JSON to the last byte (RFC 8259). Then:
//!
//! - a number fits a number column only exactly: in range, no digits beyond a DECIMAL's scale
//!   (a REAL or DOUBLE takes the nearest value); `4.0` is an integer, `4.5` is none
//! - a string is accepted for any type whose SQL text it is: `"12"`, `"NaN"`, `"true"`
//! - a TIMESTAMP is RFC 3339 or `YYYY-MM-DD HH:MM:SS[.fff]`, with or without offset, kept in UTC; as a
//!   number it counts from the epoch in the option `timestamp.unit` (`s`, `ms`, `us`, `ns`; `ms` unless
//!   said); what is finer than a microsecond is cut off
//! - BYTEA is base64, an INTERVAL an ISO 8601 duration or SQL's words, a map an object
//! - TEXT takes anything: numbers and booleans as their text, objects and arrays as they stand
//! - JSONB takes any value as what it is, a string too ([`value`])
//!
//! Writing. All columns in order, NULL as `null`; DECIMAL and 64-bit integers as numbers with all
//! digits; floats as the shortest text that reads back the same, those JSON has no number for as
//! `"NaN"`, `"Infinity"`, `"-Infinity"`; timestamps as RFC 3339 in UTC without needless zeros.

use arrow::datatypes::SchemaRef;

use self::decode::JsonDecoder;
use self::encode::JsonEncoder;
use super::options::{self, EpochUnit, Options};
use super::{Decoder, Encoder, Others};
use crate::Result;

pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod keys;
pub mod part;
pub(crate) mod scan;
pub mod value;

#[cfg(test)]
mod tests;

/// Makes a decoder of `columns`, a subset of `declared`.
pub fn decoder(
    options: &Options,
    declared: &SchemaRef,
    columns: &SchemaRef,
    others: Others,
) -> Result<Box<dyn Decoder>> {
    options::known("JSON", options, &["timestamp.unit"])?;
    let unit = EpochUnit::of("JSON", options)?;
    Ok(Box::new(JsonDecoder::new(declared, columns, others, unit)?))
}

/// Makes an encoder for rows of `schema`.
pub fn encoder(options: &Options, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
    options::known("JSON", options, &[])?;
    Ok(Box::new(JsonEncoder::new(schema)?))
}
