//! TEXT: records as this encoding has them.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;

use super::{Decoder, Encoder};
use crate::Result;

/// Makes a decoder of `columns`, a subset of `declared`.
pub fn decoder(
    options: &BTreeMap<String, String>,
    declared: &SchemaRef,
    columns: &SchemaRef,
) -> Result<Box<dyn Decoder>> {
    let _ = (options, declared, columns);
    Err(crate::Error::Config("ENCODE TEXT is not there yet".to_owned()))
}

/// Makes an encoder for rows of `schema`.
pub fn encoder(options: &BTreeMap<String, String>, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
    let _ = (options, schema);
    Err(crate::Error::Config("ENCODE TEXT is not there yet".to_owned()))
}
