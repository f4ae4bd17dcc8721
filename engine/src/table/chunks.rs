//! How tables with time buckets are stored: as a log of chunks, one for each bucket, shard and
//! checkpoint.
//!
//! Such state is short-lived: most of it is written once or twice and then forgotten with its
//! bucket. So a checkpoint puts what has changed of a shard's part of a bucket into one value, which
//! costs the store a fraction of a value for each entry; and a bucket is loaded whole.
//!
//! The stored key is the bucket's prefix with the shard, then the chunk's number, u64 big endian: it
//! rises within the bucket, not without gaps. A chunk is a sequence of records, each a key (its length
//! as u32 little endian, its bytes), a byte that says what follows ([`WHOLE`], [`DELTA`], [`GONE`]),
//! and for the first two the bytes that [`Slots::save`] gave, with their length before them. A later
//! record of a key counts over an earlier one.
//!
//! What later records have made worthless is counted. When it is half of what a bucket has stored,
//! the bucket is written anew.

use std::ops::Range;

use weir_state::{Keyspace, Shard, TableId, WriteBatch, keys};

use super::buckets::Delete;
use super::complete::{Cursor, Part};
use super::{KeyedTable, Layout, Save, Slot, Slots};
use crate::Result;
use crate::shard::SHARDS;

/// All of the entry.
const WHOLE: u8 = 1;
/// What is to be added to the entry so far.
const DELTA: u8 = 2;
/// There is no entry any more.
const GONE: u8 = 0;

/// A chunk is ended when it has more bytes than this. Those of all shards are filled at the same time,
/// and are to stay in the processor's cache meanwhile.
const CHUNK_BYTES: usize = 1 << 13;
/// A bucket isn't written anew for less than this.
const WORTHLESS_BYTES: u64 = 1 << 16;
/// A closed bucket of up to this many chunks is deleted one by one: range deletes make later reads
/// slower.
const FEW: usize = 16;
/// An entry's deltas are made one with it when they are more than this and twice as large as it.
const DELTAS: u64 = 8;

/// What is stored of a bucket, as far as it is known.
#[derive(Default)]
pub(super) struct Chunks {
    /// Above the number of every chunk that was seen.
    next: u64,
    bytes: u64,
    /// Bytes of records that count no more.
    worthless: u64,
    /// Shard and number of all chunks, unless they are more than [`FEW`].
    all: Option<Vec<(u8, u64)>>,
}

impl Chunks {
    /// Nothing is stored.
    pub(super) fn none() -> Self {
        Self {
            all: Some(Vec::new()),
            ..Self::default()
        }
    }

    fn add(&mut self, shard: u8, number: u64, bytes: usize) {
        self.next = self.next.max(number + 1);
        self.bytes += bytes as u64;
        match &mut self.all {
            Some(all) if all.len() < FEW => all.push((shard, number)),
            _ => self.all = None,
        }
    }

    /// Whether something is or may be stored.
    pub(super) fn is_stored(&self) -> bool {
        self.all.as_ref().is_none_or(|all| !all.is_empty())
    }

    fn is_half_worthless(&self) -> bool {
        self.worthless >= WORTHLESS_BYTES && self.worthless >= self.bytes / 2
    }
}

impl KeyedTable {
    /// Writes what became dirty since the last checkpoint, and frees what was born and died in
    /// between.
    pub(super) fn checkpoint_buckets<S: Slots>(&mut self, slots: &mut S, batch: &mut WriteBatch) -> Result<()> {
        self.buckets_mut().write_deletes(batch);
        let mut changed: Vec<(i64, Slot)> = Vec::with_capacity(self.dirty.len());
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            if !self.index.take_dirty(slot) {
                continue;
            }
            if !slots.is_empty(slot) || self.index.is_stored(slot) {
                changed.push((self.buckets().of(slot), slot));
            } else if !self.index.is_in_flight(slot) {
                self.free(slot, slots);
            }
        }
        self.dirty = dirty;
        changed.sort_unstable();
        for changed in changed.chunk_by(|one, other| one.0 == other.0) {
            let bucket = changed[0].0;
            if self.buckets_mut().chunks(bucket).is_half_worthless() {
                self.write_anew(bucket, slots, batch)?;
            } else {
                self.write_chunks(bucket, changed, slots, batch)?;
            }
        }
        Ok(())
    }

    /// Writes entries of a bucket. They come in the order of their slots, which is that of the
    /// memory in which they lie, and are dealt to a chunk for each shard.
    fn write_chunks<S: Slots>(
        &mut self,
        bucket: i64,
        entries: &[(i64, Slot)],
        slots: &mut S,
        batch: &mut WriteBatch,
    ) -> Result<()> {
        let mut chunks = std::mem::take(&mut self.chunks);
        chunks.resize_with(SHARDS, Vec::new);
        let mut begun = Vec::new();
        for (_, slot) in entries {
            let shard = self.stored.shard(self.index.hash(*slot), self.index.key(*slot)).0;
            let chunk = &mut chunks[usize::from(shard)];
            if chunk.is_empty() {
                begun.push(shard);
            }
            self.write_record(bucket, *slot, slots, chunk)?;
            if chunk.len() >= CHUNK_BYTES {
                self.put_chunk(bucket, shard, chunk, batch);
            }
        }
        for shard in begun {
            self.put_chunk(bucket, shard, &mut chunks[usize::from(shard)], batch);
        }
        self.chunks = chunks;
        Ok(())
    }

    fn write_record<S: Slots>(&mut self, bucket: i64, slot: Slot, slots: &mut S, chunk: &mut Vec<u8>) -> Result<()> {
        let begin = chunk.len();
        let key = self.index.key(slot);
        chunk.extend_from_slice(&(key.len() as u32).to_le_bytes());
        chunk.extend_from_slice(key);
        let (base_bytes, delta_bytes) = self.index.chunk_bytes(slot);
        let before = u64::from(base_bytes) + u64::from(delta_bytes);
        let chunks = self.index.chunks(slot);
        let save = if slots.is_empty(slot) {
            None
        } else if self.stored.layout() == Layout::Value
            || chunks == 0
            || (chunks > DELTAS && u64::from(delta_bytes) >= 2 * u64::from(base_bytes))
        {
            Some(Save::Whole)
        } else {
            Some(Save::Delta)
        };
        chunk.push(match save {
            None => GONE,
            Some(Save::Whole) => WHOLE,
            Some(Save::Delta) => DELTA,
        });
        let mut bytes = 0;
        if let Some(save) = save {
            let length = chunk.len();
            chunk.extend_from_slice(&[0; 4]);
            slots.save(slot, save, chunk)?;
            bytes = chunk.len() - length - 4;
            chunk[length..length + 4].copy_from_slice(&(bytes as u32).to_le_bytes());
        }
        if save == Some(Save::Delta) {
            if bytes == 0 {
                chunk.truncate(begin);
            } else {
                self.index.add_chunk(slot, bytes);
            }
        } else {
            let record = (chunk.len() - begin - bytes) as u64;
            let worthless = if chunks > 0 { before + record } else { 0 };
            self.index.clear_chunks(slot);
            match save {
                Some(_) => self.index.add_chunk(slot, bytes),
                None => self.buckets_mut().chunks(bucket).worthless += record,
            }
            self.buckets_mut().chunks(bucket).worthless += worthless;
        }
        self.set_in_flight(slot);
        Ok(())
    }

    fn put_chunk(&mut self, bucket: i64, shard: u8, chunk: &mut Vec<u8>, batch: &mut WriteBatch) {
        if chunk.is_empty() {
            return;
        }
        let table = self.stored.id();
        let chunks = self.buckets_mut().chunks(bucket);
        let number = chunks.next;
        chunks.add(shard, number, chunk.len());
        batch.put(Keyspace::State, &stored_key(table, bucket, shard, number), chunk);
        chunk.clear();
        // An entry may have been very large.
        chunk.shrink_to(2 * CHUNK_BYTES);
    }

    /// Deletes what is stored of a bucket and writes all that is in it.
    fn write_anew<S: Slots>(&mut self, bucket: i64, slots: &mut S, batch: &mut WriteBatch) -> Result<()> {
        if !self.buckets().is_complete(bucket) {
            self.complete_part(Part::Bucket(bucket), slots)?;
        }
        self.delete_bucket(bucket);
        self.buckets_mut().write_deletes(batch);
        let chunks = self.buckets_mut().chunks(bucket);
        *chunks = Chunks {
            next: chunks.next,
            ..Chunks::none()
        };
        let mut entries = Vec::new();
        for slot in self.buckets().slots(bucket) {
            if slots.is_empty(slot) {
                // It is gone once that is committed.
                if self.index.is_stored(slot) {
                    self.set_in_flight(slot);
                }
            } else {
                entries.push((bucket, slot));
            }
            self.index.clear_chunks(slot);
        }
        self.write_chunks(bucket, &entries, slots, batch)
    }

    /// Goes over stored chunks of a bucket, from where the cursor stands, and loads the entries that
    /// are not in memory: what is in memory is newer. Ends behind the shard in which it has gone over
    /// `most` records. Returns how many they were.
    pub(super) fn load_chunks<S: Slots>(&mut self, bucket: i64, most: usize, slots: &mut S) -> Result<usize> {
        let part = Part::Bucket(bucket);
        let Range { mut start, end } = self.stored.bucket_range(bucket);
        if let Some(cursor) = self.cursor.take_if(|cursor| cursor.part == part) {
            start = cursor.next;
        }
        let chunks = self.buckets_mut().chunks(bucket);
        if chunks.next == 0 {
            *chunks = Chunks::none();
        }
        // The scan borrows the store, not the table.
        let store = self.stored.shared_store();
        let mut begun = Vec::new();
        let (mut passed, mut at, mut is_through) = (0, None, true);
        for stored in store.scan(Keyspace::State, &start, Some(&end)) {
            let (stored_key, chunk) = stored?;
            let (shard, number) = self.stored.read_chunk_key(&stored_key)?;
            if at != Some(shard) && passed >= most {
                self.cursor = Some(Cursor { part, next: stored_key });
                is_through = false;
                break;
            }
            at = Some(shard);
            self.buckets_mut().chunks(bucket).add(shard, number, chunk.len());
            passed += self.load_chunk(bucket, &chunk, slots, &mut begun)?;
        }
        for slot in begun {
            self.index.set_loading(slot, false);
            if !self.index.is_stored(slot) {
                self.free(slot, slots);
            }
        }
        if is_through {
            self.buckets_mut().set_complete(bucket);
        }
        Ok(passed)
    }

    /// Loads a chunk's entries, those in memory only if they are being loaded, and notes which of
    /// them it has begun.
    fn load_chunk<S: Slots>(
        &mut self,
        bucket: i64,
        chunk: &[u8],
        slots: &mut S,
        begun: &mut Vec<Slot>,
    ) -> Result<usize> {
        let mut rest = chunk;
        let mut records = 0;
        while !rest.is_empty() {
            let (record, after) = Record::first(rest).ok_or_else(|| self.stored.damaged("a chunk can't be read"))?;
            rest = after;
            records += 1;
            let hash = self.stored.hash(record.key);
            let slot = match self.index.find(hash, record.key) {
                Some(slot) if self.index.is_loading(slot) => slot,
                Some(_) => continue,
                None => {
                    let slot = self.index.insert(hash, record.key)?;
                    self.buckets_mut().enter(bucket, slot);
                    slots.reset(slot);
                    self.index.set_loading(slot, true);
                    begun.push(slot);
                    slot
                }
            };
            if record.kind != DELTA && self.index.is_stored(slot) {
                let (base_bytes, delta_bytes) = self.index.chunk_bytes(slot);
                let chunks = self.buckets_mut().chunks(bucket);
                chunks.worthless += u64::from(base_bytes) + u64::from(delta_bytes);
                self.index.clear_chunks(slot);
                slots.reset(slot);
            }
            if record.kind != GONE {
                slots.load(slot, record.saved)?;
                self.index.add_chunk(slot, record.saved.len());
            }
        }
        Ok(records)
    }

    /// Loads the buckets of the missing entries, which are those that are being loaded meanwhile.
    pub(super) fn load_missing_buckets<S: Slots>(&mut self, slots: &mut S) -> Result<()> {
        let missing = self.missing.clone();
        let mut buckets = Vec::with_capacity(missing.len());
        for slot in &missing {
            self.index.set_loading(*slot, true);
            buckets.push(self.buckets().of(*slot));
        }
        buckets.sort_unstable();
        buckets.dedup();
        for bucket in buckets {
            self.complete_part(Part::Bucket(bucket), slots)?;
        }
        for slot in &missing {
            self.index.set_loading(*slot, false);
        }
        Ok(())
    }

    /// Has the next checkpoint delete what is stored of a bucket.
    pub(super) fn delete_bucket(&mut self, bucket: i64) {
        let table = self.stored.id();
        let is_complete = self.buckets().is_complete(bucket);
        let range = self.stored.bucket_range(bucket);
        let buckets = self.buckets_mut();
        match &buckets.chunks(bucket).all {
            Some(all) if is_complete => {
                let keys: Vec<_> = all
                    .iter()
                    .map(|(shard, number)| stored_key(table, bucket, *shard, *number))
                    .collect();
                keys.into_iter().for_each(|key| buckets.delete(Delete::Key(key)));
            }
            _ => buckets.delete(Delete::Range(range.start, range.end)),
        }
    }
}

/// One record of a chunk.
struct Record<'a> {
    key: &'a [u8],
    kind: u8,
    saved: &'a [u8],
}

impl Record<'_> {
    /// The first record of some, and the others; none if it isn't one.
    fn first(rest: &[u8]) -> Option<(Record<'_>, &[u8])> {
        let (key, rest) = take_counted(rest)?;
        let (kind, rest) = rest.split_first()?;
        let (saved, rest) = match *kind {
            GONE => (&[][..], rest),
            WHOLE | DELTA => take_counted(rest)?,
            _ => return None,
        };
        Some((
            Record {
                key,
                kind: *kind,
                saved,
            },
            rest,
        ))
    }
}

/// Bytes with their number before them, and what follows.
fn take_counted(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = rest.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

fn stored_key(table: TableId, bucket: i64, shard: u8, number: u64) -> Vec<u8> {
    let prefix = keys::bucket_prefix(table, bucket, Shard(shard));
    [&prefix[..], &number.to_be_bytes()].concat()
}
