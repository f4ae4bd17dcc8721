//! Live keyed state: memory first, the store behind.
//!
//! A [`KeyedTable`] maps keys to *slots*. What a slot holds is the operator's business: it owns
//! its memory in a form made for its access pattern ([`Slots`]). The table knows which keys are
//! in memory, which are dirty, which shards are *complete* (a miss is a miss) or *partial* (a miss
//! is looked up in the store, a batch of keys at a time), and writes and evicts entries.
//!
//! Two layouts: [`Layout::Value`] stores one value per key, rewritten when dirty. [`Layout::Deltas`]
//! stores a collection per key as a sequence of chunks, one per checkpoint that changed it, so
//! that a large collection isn't rewritten for a small change; chunks are merged when they get
//! many. An entry that is born and dies between two checkpoints is never written.
//!
//! An entry goes by becoming empty ([`Slots::is_empty`]); there is no other way to remove one. It
//! stays in memory, empty, until its delete is committed: else a partial shard would read the old
//! value back. For the same reason only what is committed and clean may be evicted, and so a
//! look-up in the store needs no snapshot: what a commit changes meanwhile is in memory.
//!
//! A *bucketed* table holds state that event time bounds. Each key has a time bucket, which leads
//! the stored key, and closing a bucket forgets all its entries at the cost of one range delete.
//! There the buckets, not the shards, are complete or partial, and a bucket is stored as a log of
//! chunks with many entries each and loaded whole: most of it is forgotten soon after it was written.
//!
//! The life of a table within an operator:
//!
//! ```text
//! step        resolve / lookup -> slots; change what they hold; mark_dirty
//!             first_bucket, load_bucket, close_through as the watermark rises
//! checkpoint  checkpoint -> puts and deletes of what is dirty
//! committed   committed  -> evicts down to the budget
//! idle        complete   -> loads what is not in memory, while there is room
//! ```
//!
//! Slots are good within a step: `checkpoint` frees empty ones, `committed` evicts.

use std::ops::Range;
use std::sync::Arc;

use weir_state::{Store, TableId};

use crate::row::Rows;
use crate::{Error, Result};

mod buckets;
mod chunks;
mod complete;
mod index;
mod keys;
mod stored;
#[cfg(test)]
mod tests;
mod write;

use buckets::Buckets;
use complete::Cursor;
use index::KeyIndex;
use stored::Stored;

/// The bucket of keys without event time: it never closes.
pub const NEVER: i64 = i64::MAX;

/// Where an entry's content lies in the operator's memory: an index into its columns. Small,
/// dense, and used again when an entry has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// The slot as an index.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// How an entry is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One value per key.
    Value,
    /// A sequence of chunks per key.
    Deltas,
}

/// What of an entry is to be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Save {
    /// All of it. Loading these bytes into an empty slot gives the entry.
    Whole,
    /// What changed since it was last loaded or saved. Loading the chunks in the order of their
    /// saves gives the entry. No bytes at all mean that nothing has changed.
    Delta,
}

/// The contents of the slots, in the operator's own form.
pub trait Slots {
    /// The slot becomes empty and gives its memory back. It is one that was in use, or the next
    /// new one: `slot.index()` is never above the number of slots so far.
    fn reset(&mut self, slot: Slot);

    /// All slots, the first `slots`, become empty and give their memory back.
    fn clear(&mut self, slots: usize) {
        (0..slots).for_each(|slot| self.reset(Slot(slot as u32)));
    }

    /// Takes what was saved into a slot that was reset before. [`Layout::Value`]: called once.
    /// [`Layout::Deltas`]: once for each chunk, in the order of their saves.
    fn load(&mut self, slot: Slot, bytes: &[u8]) -> Result<()>;

    /// Appends the bytes to be stored to `out`; the slot counts as saved afterwards. Never called
    /// for an empty slot. [`Save::Delta`] only in [`Layout::Deltas`].
    fn save(&mut self, slot: Slot, save: Save, out: &mut Vec<u8>) -> Result<()>;

    /// Whether there is nothing in the slot that a fresh one hasn't.
    fn is_empty(&self, slot: Slot) -> bool;
}

/// Keys to be found, as vectors of one length.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    /// The keys' bytes. One key may occur many times.
    pub rows: &'a Rows,
    /// Their hashes, as [`crate::shard::hash_key`] gives them.
    pub hashes: &'a [u64],
    /// Their time buckets ([`NEVER`] for none); empty for a table without buckets. A key always
    /// has the same bucket.
    pub buckets: &'a [i64],
}

impl<'a> Keys<'a> {
    /// Keys for a table without buckets.
    pub fn new(rows: &'a Rows, hashes: &'a [u64]) -> Self {
        Self {
            rows,
            hashes,
            buckets: &[],
        }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True without keys.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// What a table is opened with.
#[derive(Clone)]
pub struct TableOptions {
    /// Its id: where it lies in the store.
    pub id: TableId,
    /// How entries are stored.
    pub layout: Layout,
    /// The shards that the task owns. The empty key (grouping by nothing) belongs to shard 0.
    pub shards: Range<usize>,
    /// The committed state.
    pub store: Arc<dyn Store>,
    /// How many entries may stay in memory past a commit; `None`: no bound. It must hold what a
    /// step touches all the same.
    pub entry_budget: Option<usize>,
    /// Keys have time buckets. A fact of the table, for ever.
    pub bucketed: bool,
}

/// Keys and where their entries are: in memory, in the store, or nowhere.
pub struct KeyedTable {
    stored: Stored,
    index: KeyIndex,
    presence: Presence,
    /// May hold slots that are freed or clean by now; the entry's flag decides.
    dirty: Vec<Slot>,
    /// Written by a checkpoint that is not committed yet; again the flag decides.
    in_flight: Vec<Slot>,
    /// Made by the running call; whether they are stored is to be found out.
    missing: Vec<Slot>,
    entry_budget: Option<usize>,
    /// Where the clock of eviction stands.
    hand: usize,
    /// Something was evicted once: loading ahead would only push out something else.
    has_evicted: bool,
    cursor: Option<Cursor>,
    /// Reused for values on their way to a batch.
    buffer: Vec<u8>,
    /// As `buffer`, one for each shard.
    chunks: Vec<Vec<u8>>,
    /// Reused by look-ups.
    guesses: Vec<Slot>,
}

/// What is known to be wholly in memory.
enum Presence {
    /// By shard, from the first owned one on.
    Shards { complete: Vec<bool>, partial: usize },
    /// By time bucket.
    Buckets(Buckets),
}

impl KeyedTable {
    /// The first bytes of each key have no say in its hash, and so in its shard: the hashes that keys
    /// are given with are of the rest. A fact of the table, for ever.
    pub fn set_leading_bytes(&mut self, bytes: usize) {
        self.stored.set_leading_bytes(bytes);
    }

    /// Opens a table. Where nothing of it is stored it is complete from the start.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn open(options: TableOptions) -> Result<Self> {
        let stored = Stored::new(&options);
        let presence = if options.bucketed {
            Presence::Buckets(Buckets::new(stored.find_buckets()?))
        } else {
            let complete = stored.is_unused()?;
            let shards = options.shards.len();
            Presence::Shards {
                complete: vec![complete; shards],
                partial: if complete { 0 } else { shards },
            }
        };
        Ok(Self {
            stored,
            index: KeyIndex::new(options.entry_budget.is_some()),
            presence,
            dirty: Vec::new(),
            in_flight: Vec::new(),
            missing: Vec::new(),
            entry_budget: options.entry_budget,
            hand: 0,
            has_evicted: false,
            cursor: None,
            buffer: Vec::new(),
            chunks: Vec::new(),
            guesses: Vec::new(),
        })
    }

    /// Finds the slot of each key; `out[i]` is that of `keys.rows.row(i)`. A key that has no entry
    /// gets an empty slot. What is stored and not in memory is loaded, all keys at once.
    ///
    /// # Errors
    /// If the store can't be read, a key belongs to a shard of another task, or its bucket is
    /// closed.
    pub fn resolve<S: Slots>(&mut self, keys: Keys<'_>, slots: &mut S, out: &mut Vec<Slot>) -> Result<()> {
        self.check(keys)?;
        self.index.guess(keys.hashes, out);
        for (row, slot) in out.iter_mut().enumerate() {
            let (key, hash) = (keys.rows.row(row), keys.hashes[row]);
            *slot = match self.index.confirm(*slot, hash, key) {
                Some(slot) => slot,
                None => self.begin(hash, key, keys.buckets.get(row).copied(), slots)?,
            };
        }
        if !self.missing.is_empty() {
            self.load_missing(slots)?;
            for slot in std::mem::take(&mut self.missing) {
                if !self.index.is_stored(slot) {
                    self.mark_dirty(slot);
                }
            }
        }
        Ok(())
    }

    /// As [`KeyedTable::resolve`], but a key that has no entry gets none: what the other side of
    /// a join is probed with. A slot that is given may be empty (its entry has just gone).
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn lookup<S: Slots>(&mut self, keys: Keys<'_>, slots: &mut S, out: &mut Vec<Option<Slot>>) -> Result<()> {
        self.check(keys)?;
        out.clear();
        out.reserve(keys.len());
        let mut guesses = std::mem::take(&mut self.guesses);
        self.index.guess(keys.hashes, &mut guesses);
        for (row, guess) in guesses.iter().enumerate() {
            let (key, hash) = (keys.rows.row(row), keys.hashes[row]);
            let mut found = self.index.confirm(*guess, hash, key);
            if found.is_none() {
                let bucket = keys.buckets.get(row).copied();
                if !self.is_complete(hash, key, bucket) {
                    found = Some(self.begin(hash, key, bucket, slots)?);
                }
            }
            out.push(found);
        }
        self.guesses = guesses;
        if !self.missing.is_empty() {
            self.load_missing(slots)?;
            for slot in out.iter_mut() {
                *slot = slot.filter(|slot| self.index.is_known(*slot));
            }
            for slot in std::mem::take(&mut self.missing) {
                if !self.index.is_stored(slot) {
                    self.free(slot, slots);
                }
            }
        }
        Ok(())
    }

    /// The entry has changed: the next checkpoint writes it, or deletes it if it is empty then.
    #[inline]
    pub fn mark_dirty(&mut self, slot: Slot) {
        if self.index.set_dirty(slot) {
            self.dirty.push(slot);
        }
    }

    /// The key of a slot in use.
    #[inline]
    pub fn key(&self, slot: Slot) -> &[u8] {
        self.index.key(slot)
    }

    /// How many entries are in memory, those that are about to go included.
    pub fn entries(&self) -> usize {
        self.index.len()
    }

    /// Bytes of memory that the table takes, about; the slots' contents are the operator's to
    /// count.
    pub fn bytes(&self) -> usize {
        let buckets = match &self.presence {
            Presence::Shards { .. } => 0,
            Presence::Buckets(buckets) => buckets.bytes(),
        };
        self.index.bytes() + buckets
    }

    /// Whether the next checkpoint may have something to write.
    pub fn is_dirty(&self) -> bool {
        let closed = match &self.presence {
            Presence::Shards { .. } => false,
            Presence::Buckets(buckets) => buckets.has_deletes(),
        };
        closed || !self.dirty.is_empty()
    }

    fn check(&self, keys: Keys<'_>) -> Result<()> {
        let bucketed = matches!(self.presence, Presence::Buckets(_));
        let buckets = if bucketed { keys.len() } else { 0 };
        if keys.hashes.len() != keys.len() || keys.buckets.len() != buckets {
            return Err(Error::internal(format!(
                "{} keys with {} hashes and {} time buckets",
                keys.len(),
                keys.hashes.len(),
                keys.buckets.len()
            )));
        }
        Ok(())
    }

    /// Whether a key that is not in memory has no entry. True also of closed buckets.
    fn is_complete(&self, hash: u64, key: &[u8], bucket: Option<i64>) -> bool {
        match &self.presence {
            Presence::Shards { partial: 0, .. } => true,
            Presence::Shards { complete, .. } => self.stored.owned_shard(hash, key).is_none_or(|shard| complete[shard]),
            Presence::Buckets(buckets) => bucket.is_none_or(|bucket| buckets.is_complete(bucket)),
        }
    }

    /// Makes an entry for a key that is not in memory. Where it may be stored, it is put among the
    /// missing.
    #[cold]
    fn begin<S: Slots>(&mut self, hash: u64, key: &[u8], bucket: Option<i64>, slots: &mut S) -> Result<Slot> {
        let shard = self
            .stored
            .owned_shard(hash, key)
            .ok_or_else(|| Error::internal(format!("{}: a key of another task's shard", self.stored.id())))?;
        let slot = self.index.insert(hash, key)?;
        let complete = match &mut self.presence {
            Presence::Shards { complete, .. } => complete[shard],
            Presence::Buckets(buckets) => {
                let bucket = bucket.unwrap_or(NEVER);
                match buckets.enter(bucket, slot) {
                    Some(complete) => complete,
                    None => {
                        self.index.remove(slot);
                        return Err(Error::internal(format!(
                            "{}: a row for the closed time {bucket}",
                            self.stored.id()
                        )));
                    }
                }
            }
        };
        slots.reset(slot);
        if complete {
            self.mark_dirty(slot);
        } else {
            self.missing.push(slot);
        }
        Ok(slot)
    }

    /// The entry leaves memory.
    fn free<S: Slots>(&mut self, slot: Slot, slots: &mut S) {
        if let Presence::Buckets(buckets) = &mut self.presence {
            buckets.leave(slot);
        }
        slots.reset(slot);
        self.index.remove(slot);
    }
}
