//! Change batches as bytes, for changelogs on disk.
//!
//! ```text
//! version (1 byte) | weighted (1 byte: 0 or 1) | checksum of the rest (8 bytes, little endian) | Arrow IPC stream
//! ```
//!
//! The stream holds the rows; where some weight isn't 1, they have `weir_weight` (Int64) as one
//! more, last column. No batches are no stream. The checksum is [`hash_key`]'s: Arrow's reader
//! trusts lengths it finds, so damaged bytes must be noticed before it sees them.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use super::{ChangeBatch, Weights, record_batch};
use crate::shard::hash_key;
use crate::{Error, Result};

/// The version that is written, and the only one that is read.
const VERSION: u8 = 1;
const HEADER_LEN: usize = 10;
const WEIGHT_COLUMN: &str = "weir_weight";

/// Writes batches of one schema.
///
/// # Errors
/// If the schemas differ, or Arrow IPC has no form for a column's type.
pub fn to_bytes(batches: &[ChangeBatch]) -> Result<Vec<u8>> {
    let weighted = batches.iter().any(|batch| matches!(batch.weights, Weights::Each(_)));
    let mut bytes = vec![VERSION, u8::from(weighted), 0, 0, 0, 0, 0, 0, 0, 0];
    if let Some(first) = batches.first() {
        let schema = stored_schema(&first.schema(), weighted);
        let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)?;
        let mut writer = StreamWriter::try_new_with_options(&mut bytes, &schema, options)?;
        for batch in batches {
            writer.write(&stored_batch(batch, &schema, weighted)?)?;
        }
        writer.finish()?;
    }
    let checksum = hash_key(&bytes[HEADER_LEN..]);
    bytes[2..HEADER_LEN].copy_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

fn stored_schema(schema: &SchemaRef, weighted: bool) -> SchemaRef {
    if !weighted {
        return schema.clone();
    }
    let weight = Arc::new(Field::new(WEIGHT_COLUMN, DataType::Int64, false));
    Arc::new(Schema::new(
        schema.fields().iter().cloned().chain([weight]).collect::<Vec<_>>(),
    ))
}

fn stored_batch(batch: &ChangeBatch, schema: &SchemaRef, weighted: bool) -> Result<RecordBatch> {
    let mut columns = batch.rows.columns().to_vec();
    if weighted {
        columns.push(Arc::new(batch.weights_array()));
    }
    record_batch(schema.clone(), columns, batch.num_rows())
}

/// Reads what [`to_bytes`] wrote. The batches get `schema`, whose names and metadata may differ
/// from the written ones; its column types must not.
///
/// # Errors
/// If the bytes are damaged, of another version, or hold columns of other types.
pub fn from_bytes(bytes: &[u8], schema: &SchemaRef) -> Result<Vec<ChangeBatch>> {
    let (weighted, stream) = open(bytes)?;
    if stream.is_empty() {
        return Ok(Vec::new());
    }
    StreamReader::try_new(stream, None)
        .map_err(damaged)?
        .map(|batch| loaded_batch(batch.map_err(damaged)?, schema, weighted))
        .collect()
}

/// Checks the header. Gives whether there is a weight column, and the stream.
fn open(bytes: &[u8]) -> Result<(bool, &[u8])> {
    match bytes.first() {
        Some(&VERSION) => {}
        Some(version) => {
            return Err(Error::State(format!(
                "a changelog entry has version {version}, this Weir reads version {VERSION}; \
                 start the Weir that wrote this data directory"
            )));
        }
        None => return Err(damaged("it is empty")),
    }
    let Some((header, stream)) = bytes.split_first_chunk::<HEADER_LEN>() else {
        return Err(damaged("it ends in its header"));
    };
    let [_, weighted @ (0 | 1), checksum @ ..] = *header else {
        return Err(damaged("unknown flags"));
    };
    if hash_key(stream) != u64::from_le_bytes(checksum) {
        return Err(damaged("its checksum doesn't match"));
    }
    Ok((weighted == 1, stream))
}

fn loaded_batch(batch: RecordBatch, schema: &SchemaRef, weighted: bool) -> Result<ChangeBatch> {
    let num_rows = batch.num_rows();
    let mut columns = batch.columns().to_vec();
    let weights = if weighted {
        let column = columns.pop().ok_or_else(|| damaged("it has no weights"))?;
        let column = column.as_primitive_opt::<Int64Type>().filter(|w| w.null_count() == 0);
        Weights::Each(
            column
                .ok_or_else(|| damaged("its weights aren't numbers"))?
                .values()
                .clone(),
        )
    } else {
        Weights::Ones
    };
    let types = columns.iter().map(|column| column.data_type());
    if !types.eq(schema.fields().iter().map(|field| field.data_type())) {
        return Err(Error::State(format!(
            "a changelog entry holds columns of other types than expected: {} instead of {schema}",
            batch.schema()
        )));
    }
    let rows = record_batch(schema.clone(), columns, num_rows).map_err(damaged)?;
    Ok(ChangeBatch::new(rows, weights))
}

fn damaged(cause: impl std::fmt::Display) -> Error {
    Error::State(format!(
        "a changelog entry can't be read ({cause}); the data directory is damaged: restore a copy"
    ))
}
