//! The store: an ordered map from bytes to bytes in six keyspaces, changed by atomic batches.
//!
//! Two implementations pass the same conformance suite: [`RocksStore`] on disk, and
//! [`MemoryStore`] for tests and instances that keep nothing. A [`Reader`] is the store as it is
//! now, or a snapshot of it.
//!
//! **Counters.** In [`Keyspace::View`] a key may hold a counter: a signed sum of everything that
//! was ever added to it, without reading it first ([`WriteBatch::add`]). A counter whose sum is 0
//! reads as absent. A key holds either a counter or a put value, and by the caller's key layout
//! one of the two for ever. Where a caller breaks that, both stores do the same: a put replaces a
//! counter, and an add to a put value changes nothing, for put values are never touched.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

mod batch;
#[cfg(test)]
mod conformance;
mod guarded;
mod memory;
mod rocks;

pub use batch::{MAX_ENTRY_BYTES, Op, WriteBatch};
pub use guarded::Guarded;
pub use memory::MemoryStore;
pub use rocks::{RocksOptions, RocksStore};

/// Which of the six ordered maps. Each is tuned for its use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Keyspace {
    /// Small records of the instance: ids, pipelines, followers.
    Meta,
    /// The catalog journal.
    Catalog,
    /// State of operators: many keys, looked up by point and loaded by range.
    State,
    /// Rows of views: read by range, by point, and the only home of counters.
    View,
    /// Changelogs of views: appended at the end, deleted at the front.
    Log,
    /// The log of DML commits: likewise.
    Dml,
}

impl Keyspace {
    pub const ALL: [Keyspace; 6] = [
        Keyspace::Meta,
        Keyspace::Catalog,
        Keyspace::State,
        Keyspace::View,
        Keyspace::Log,
        Keyspace::Dml,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Keyspace::Meta => "meta",
            Keyspace::Catalog => "catalog",
            Keyspace::State => "state",
            Keyspace::View => "view",
            Keyspace::Log => "log",
            Keyspace::Dml => "dml",
        }
    }
}

impl fmt::Display for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Entries in ascending order of their keys. After an error it ends.
pub type Scan<'a> = Box<dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>)>> + Send + 'a>;

/// One consistent state of all keyspaces, or (for a [`Store`]) whatever is committed by now.
pub trait Reader: Send + Sync {
    fn get(&self, ks: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// One answer per key, in the order of `keys`, which may repeat.
    fn multi_get(&self, ks: Keyspace, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>>;

    /// The entries of `[start, end)`, without an end those from `start` on. Sees the state at the
    /// time of the call, whatever is committed while it is read.
    fn scan(&self, ks: Keyspace, start: &[u8], end: Option<&[u8]>) -> Scan<'_>;
}

pub trait Store: Reader {
    /// Applies the whole batch or nothing, and returns when it is durable. Later operations of a
    /// batch see the earlier ones. After an error nothing of the batch is visible; for a store on
    /// disk that means until the process ends: a batch that was written but whose sync failed may
    /// be found, whole, at the next start.
    fn commit(&self, batch: WriteBatch) -> Result<()>;

    /// What is committed now, unmoved by later commits. Cheap to take; while it lives, the space
    /// of what it sees is not given back.
    fn snapshot(&self) -> Arc<dyn Reader>;

    /// Roughly the bytes that `[start, end)` takes, without reading it. What was committed
    /// lately may not be counted yet.
    fn approximate_bytes(&self, ks: Keyspace, start: &[u8], end: &[u8]) -> u64;

    /// Writes out what is durable only in the log of commits, so that the next start is quick.
    fn flush(&self) -> Result<()>;

    /// Ends what the store does by itself, and waits for that: before a process ends in which someone
    /// may still hold the store. Nothing can be committed after it; what is there can be read.
    fn close(&self);
}

/// A counter as [`Reader`] gives it.
pub fn encode_counter(sum: i64) -> [u8; 8] {
    sum.to_le_bytes()
}

pub fn decode_counter(value: &[u8]) -> Result<i64> {
    let bytes = value
        .try_into()
        .map_err(|_| Error::corrupt("a counter", format_args!("{} bytes", value.len())))?;
    Ok(i64::from_le_bytes(bytes))
}
