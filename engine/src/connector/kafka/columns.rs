//! Records of one partition on their way into Arrow: one copy of each payload, no allocation per row.

use arrow::array::{BinaryArray, BinaryBuilder};

use super::client::Message;
use crate::connector::{Headers, Position, Records, Wanted};

/// How many bytes the columns may hold; Arrow's limit is 2 GiB.
const MOST_BYTES: usize = 1 << 30;

/// Records on their way into Arrow.
pub(super) struct Columns {
    keys: Option<BinaryBuilder>,
    values: BinaryBuilder,
    positions: Vec<Position>,
    timestamps_ms: Vec<i64>,
    headers: Option<Vec<Headers>>,
    bytes: usize,
}

impl Columns {
    pub(super) fn new(wanted: &Wanted, rows: usize, bytes: usize) -> Self {
        Self {
            keys: wanted.keys.then(|| BinaryBuilder::with_capacity(rows, 0)),
            values: BinaryBuilder::with_capacity(rows, bytes),
            positions: Vec::with_capacity(rows),
            timestamps_ms: Vec::with_capacity(rows),
            headers: wanted.headers.then(|| Vec::with_capacity(rows)),
            bytes: 0,
        }
    }

    /// True if a record of so many bytes fits beside those that are there.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.positions.is_empty() || self.bytes + bytes <= MOST_BYTES
    }

    /// Takes a record; returns its bytes.
    pub(super) fn push(&mut self, message: &Message<'_>) -> usize {
        let value = message.value();
        let mut bytes = value.map_or(0, <[u8]>::len);
        self.values.append_option(value);
        if let Some(keys) = &mut self.keys {
            let key = message.key();
            bytes += key.map_or(0, <[u8]>::len);
            keys.append_option(key);
        }
        self.positions.push(message.offset());
        self.timestamps_ms.push(message.timestamp_ms());
        if let Some(headers) = &mut self.headers {
            headers.push(message.headers());
        }
        self.bytes += bytes;
        bytes
    }

    /// The records so far; what follows is expected to be as much again.
    pub(super) fn finish(&mut self, wanted: &Wanted) -> Records {
        let rows = self.positions.len();
        let fresh = if rows == 0 {
            Columns::new(wanted, 0, 0)
        } else {
            Columns::new(wanted, rows, self.bytes)
        };
        let mut full = std::mem::replace(self, fresh);
        Records {
            keys: match &mut full.keys {
                Some(keys) => keys.finish(),
                None => BinaryArray::new_null(rows),
            },
            values: full.values.finish(),
            positions: full.positions,
            timestamps_ms: full.timestamps_ms,
            headers: full.headers,
        }
    }
}
