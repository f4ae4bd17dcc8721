//! A write batch: what an epoch changes, gathered in one arena.
//!
//! Filling it costs a copy of key and value and no allocation of its own, so that every operator
//! can write what it has changed, and batches of several tasks can be joined by copying whole
//! arenas.

use parking_lot::Mutex;

use super::Keyspace;
use crate::error::{Error, Result};

/// Key and value of one entry together may have this many bytes (1 GiB), well below the 32-bit
/// lengths of the formats beneath.
pub const MAX_ENTRY_BYTES: usize = 1 << 30;

/// The memory of large batches is kept for the next ones: a commit follows the other, and memory
/// that is asked for anew costs the kernel more than filling it costs us.
static SPARE: Mutex<Vec<Memory>> = Mutex::new(Vec::new());
/// Batches that are worth it, and that are not too large to lie idle.
const SPARE_BYTES: std::ops::RangeInclusive<usize> = 1 << 20..=40 << 20;
/// One is being filled while another one is committed.
const SPARES: usize = 2;

/// Changes to a store, applied in the order in which they were put in.
#[derive(Clone, Default)]
pub struct WriteBatch {
    memory: Memory,
    /// An entry above [`MAX_ENTRY_BYTES`] isn't copied; the commit is refused with it.
    too_large: Option<(Keyspace, usize)>,
}

#[derive(Clone, Default)]
struct Memory {
    /// Of each operation: first its key (or start), then its value (or end, or delta).
    arena: Vec<u8>,
    heads: Vec<Head>,
}

impl Memory {
    fn capacity(&self) -> usize {
        self.arena.capacity() + self.heads.capacity() * size_of::<Head>()
    }
}

#[derive(Clone, Copy)]
struct Head {
    kind: Kind,
    keyspace: Keyspace,
    first_bytes: u32,
    second_bytes: u32,
}

#[derive(Clone, Copy)]
enum Kind {
    Put,
    Delete,
    DeleteRange,
    Add,
}

/// One operation of a batch, as a store applies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    Put(Keyspace, &'a [u8], &'a [u8]),
    Delete(Keyspace, &'a [u8]),
    /// `[start, end)`, never empty.
    DeleteRange(Keyspace, &'a [u8], &'a [u8]),
    Add(Keyspace, &'a [u8], i64),
}

impl WriteBatch {
    pub fn new() -> WriteBatch {
        WriteBatch::default()
    }

    /// A batch with room for about so many bytes.
    pub fn with_capacity(bytes: usize) -> WriteBatch {
        let spare = (bytes >= *SPARE_BYTES.start()).then(|| SPARE.lock().pop()).flatten();
        let mut memory = spare.unwrap_or_default();
        if memory.arena.capacity() < bytes {
            // To enlarge it would copy what was in it.
            memory.arena = Vec::with_capacity(bytes);
        }
        WriteBatch {
            memory,
            too_large: None,
        }
    }

    pub fn put(&mut self, ks: Keyspace, key: &[u8], value: &[u8]) {
        self.push(Kind::Put, ks, key, value);
    }

    pub fn delete(&mut self, ks: Keyspace, key: &[u8]) {
        self.push(Kind::Delete, ks, key, &[]);
    }

    /// Deletes what lies in `[start, end)`; nothing if `end` isn't above `start`. On disk each of
    /// these costs later reads something until compaction has passed: one for a long range is
    /// much cheaper than its keys, many for a key or two are dearer than [`WriteBatch::delete`].
    pub fn delete_range(&mut self, ks: Keyspace, start: &[u8], end: &[u8]) {
        if start < end {
            self.push(Kind::DeleteRange, ks, start, end);
        }
    }

    /// Adds to a counter, which begins at 0 (sums wrap around). `ks` must be [`Keyspace::View`].
    pub fn add(&mut self, ks: Keyspace, key: &[u8], delta: i64) {
        assert_eq!(ks, Keyspace::View, "only the view keyspace has counters");
        if delta != 0 {
            self.push(Kind::Add, ks, key, &delta.to_le_bytes());
        }
    }

    /// Puts the operations of `other` after those of this batch.
    pub fn append(&mut self, mut other: WriteBatch) {
        self.too_large = self.too_large.or(other.too_large);
        if self.memory.heads.is_empty() {
            std::mem::swap(&mut self.memory, &mut other.memory);
        } else {
            self.memory.arena.extend_from_slice(&other.memory.arena);
            self.memory.heads.extend_from_slice(&other.memory.heads);
        }
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.memory.heads.len()
    }

    pub fn is_empty(&self) -> bool {
        self.memory.heads.is_empty() && self.too_large.is_none()
    }

    /// The memory that the operations take, which is about what committing them writes.
    pub fn bytes(&self) -> usize {
        self.memory.arena.len() + self.memory.heads.len() * size_of::<Head>()
    }

    /// The operations in order.
    pub fn ops(&self) -> impl Iterator<Item = Op<'_>> {
        let mut rest = &self.memory.arena[..];
        self.memory.heads.iter().map(move |head| {
            let (first, after) = rest.split_at(head.first_bytes as usize);
            let (second, after) = after.split_at(head.second_bytes as usize);
            rest = after;
            match head.kind {
                Kind::Put => Op::Put(head.keyspace, first, second),
                Kind::Delete => Op::Delete(head.keyspace, first),
                Kind::DeleteRange => Op::DeleteRange(head.keyspace, first, second),
                Kind::Add => {
                    let delta = second.try_into().expect("a delta has eight bytes");
                    Op::Add(head.keyspace, first, i64::from_le_bytes(delta))
                }
            }
        })
    }

    /// Whether a store can take the batch; every store asks before it applies anything.
    pub fn check(&self) -> Result<()> {
        match self.too_large {
            None => Ok(()),
            Some((keyspace, bytes)) => Err(Error::TooLarge {
                keyspace,
                bytes,
                limit: MAX_ENTRY_BYTES,
            }),
        }
    }

    fn push(&mut self, kind: Kind, keyspace: Keyspace, first: &[u8], second: &[u8]) {
        let bytes = first.len() + second.len();
        if bytes > MAX_ENTRY_BYTES {
            self.too_large.get_or_insert((keyspace, bytes));
            return;
        }
        self.memory.arena.extend_from_slice(first);
        self.memory.arena.extend_from_slice(second);
        self.memory.heads.push(Head {
            kind,
            keyspace,
            first_bytes: first.len() as u32,
            second_bytes: second.len() as u32,
        });
    }
}

impl Drop for WriteBatch {
    fn drop(&mut self) {
        if !SPARE_BYTES.contains(&self.memory.capacity()) {
            return;
        }
        let mut memory = std::mem::take(&mut self.memory);
        memory.arena.clear();
        memory.heads.clear();
        let mut spare = SPARE.lock();
        if spare.len() < SPARES {
            spare.push(memory);
        }
    }
}
