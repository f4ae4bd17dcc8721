//! The stored value of a log entry, shared by changelogs and the DML log: a chunk and its span.
//!
//! An entry usually holds the changes of its own number (epoch or commit) alone. When numbers
//! that nobody stands between are consolidated into one, the entry under the last of them holds
//! the changes of all: its span begins after an earlier number. A reader whose position lies
//! inside that span can't be served, since the entry would repeat changes it has; the span is
//! stored so that this is noticed.
//!
//! Layout: the chunk, then a tag byte at the very end (so that reading strips it without moving
//! the chunk): 0 for a single number; 1 for a span, with the little-endian number that it begins
//! after just before the tag; 2 for a span whose changes cancelled out, likewise, without chunk; 3 for a
//! mark, which is no changes at all but says something of its number.

use crate::error::{Error, Result};

const SINGLE: u8 = 0;
const SPAN: u8 = 1;
const EMPTY_SPAN: u8 = 2;
const MARK: u8 = 3;

pub(crate) fn encode(chunk: &[u8]) -> Vec<u8> {
    [chunk, &[SINGLE]].concat()
}

/// A span begins after the number `after`; `None` instead of a chunk: nothing is left of it.
pub(crate) fn encode_span(chunk: Option<&[u8]>, after: u64) -> Vec<u8> {
    let (chunk, tag) = match chunk {
        Some(chunk) => (chunk, SPAN),
        None => (&[][..], EMPTY_SPAN),
    };
    [chunk, &after.to_le_bytes(), &[tag]].concat()
}

/// A mark.
pub(crate) fn encode_mark() -> Vec<u8> {
    vec![MARK]
}

/// Whether an entry is a mark.
pub(crate) fn is_mark(value: &[u8]) -> bool {
    value == [MARK]
}

/// The chunk, if any, of the entry under `number`, for a reader who has everything up to and
/// including `position`, which is less. `log` names the log in errors.
pub(crate) fn decode(
    mut value: Vec<u8>,
    number: u64,
    position: u64,
    log: impl Fn() -> String,
) -> Result<Option<Vec<u8>>> {
    if is_mark(&value) {
        return Ok(None);
    }
    let tag = value.pop();
    if tag == Some(SINGLE) {
        return Ok(Some(value));
    }
    let (Some(SPAN | EMPTY_SPAN), Some((chunk, after))) = (tag, value.split_last_chunk()) else {
        return Err(Error::corrupt(
            log(),
            format_args!("entry {number} ends with tag {tag:?} after {} bytes", value.len()),
        ));
    };
    if u64::from_le_bytes(*after) < position {
        return Err(Error::Trimmed {
            log: log(),
            asked: position,
            kept_after: number,
        });
    }
    let chunk_bytes = chunk.len();
    value.truncate(chunk_bytes);
    Ok((tag == Some(SPAN)).then_some(value))
}
