//! Small stored records: a version byte, then JSON.
//!
//! JSON, because these are few, read once at start, and grow new fields; the version byte is for
//! the day when a change can't be told by fields alone.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

const VERSION: u8 = 1;

/// `record` must consist of what JSON can hold (maps keyed by strings or numbers).
pub(crate) fn encode(record: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, record).expect("records hold only what JSON can");
    bytes
}

/// `what` names the record in errors.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], what: impl Fn() -> String) -> Result<T> {
    match bytes.split_first() {
        None => Err(Error::corrupt(what(), "it is empty")),
        Some((&VERSION, json)) => serde_json::from_slice(json).map_err(|error| Error::corrupt(what(), error)),
        Some((&found, _)) => Err(Error::FormatVersion {
            what: what(),
            found: found.into(),
            supported: VERSION.into(),
        }),
    }
}

/// A little-endian number under `key`, if there is one.
pub(crate) fn decode_number(bytes: &[u8], what: &str) -> Result<u64> {
    let number = bytes
        .try_into()
        .map_err(|_| Error::corrupt(what, format_args!("{} bytes for a number", bytes.len())))?;
    Ok(u64::from_le_bytes(number))
}
