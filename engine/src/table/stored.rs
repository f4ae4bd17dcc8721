//! Where a table's entries lie in the store, and reading them.
//!
//! A stored key is the table's prefix, the shard and the key. In [`Layout::Deltas`] the number of the
//! chunk follows, u64 big endian, from 0 without gaps: so the first chunk's absence says that there is
//! no entry, and no range need be read to find an entry's chunks. Tables with time buckets are stored
//! in another way ([`super::chunks`]).

use std::ops::Range;
use std::sync::Arc;

use weir_state::{Keyspace, Shard, Store, TableId, keys};

use super::{KeyedTable, Layout, Presence, Slot, Slots, TableOptions};
use crate::shard::{hash_key, shard_of};
use crate::{Error, Result};

const CHUNK_BYTES: usize = 8;

/// The table's place in the store.
pub(super) struct Stored {
    id: TableId,
    layout: Layout,
    shards: Range<usize>,
    store: Arc<dyn Store>,
    /// The first bytes of a key that have no say in its shard.
    leading_bytes: usize,
}

impl Stored {
    pub(super) fn new(options: &TableOptions) -> Self {
        Self {
            id: options.id,
            layout: options.layout,
            shards: options.shards.clone(),
            store: options.store.clone(),
            leading_bytes: 0,
        }
    }

    pub(super) fn set_leading_bytes(&mut self, bytes: usize) {
        self.leading_bytes = bytes;
    }

    /// A key's hash, as it is given with the keys to be found.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        hash_key(key.get(self.leading_bytes..).unwrap_or_default())
    }

    /// The shard of a key of this hash.
    pub(super) fn shard(&self, hash: u64, key: &[u8]) -> Shard {
        shard_of_key(hash, key.get(self.leading_bytes..).unwrap_or_default())
    }

    pub(super) fn id(&self) -> TableId {
        self.id
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn shared_store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// The shard of a key, counted from the first that the task owns; none if another task owns
    /// it.
    pub(super) fn owned_shard(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let shard = usize::from(self.shard(hash, key).0);
        self.shards.contains(&shard).then(|| shard - self.shards.start)
    }

    /// Whether nothing is stored in the owned shards. Only of tables without buckets.
    pub(super) fn is_unused(&self) -> Result<bool> {
        if self.shards.is_empty() {
            return Ok(true);
        }
        let first = keys::shard_range(self.id, Shard(self.shards.start as u8));
        let last = keys::shard_range(self.id, Shard((self.shards.end - 1) as u8));
        Ok(self.first_key(&first.start, &last.end)?.is_none())
    }

    /// The time buckets that hold something in the owned shards, ascending.
    pub(super) fn find_buckets(&self) -> Result<Vec<i64>> {
        let whole = keys::state_range(self.id);
        let mut found = Vec::new();
        let mut start = whole.start;
        while let Some(key) = self.first_key(&start, &whole.end)? {
            let (_, bucket, _, _) = keys::split_bucket_key(&key)?;
            let owned = self.bucket_range(bucket);
            if self.first_key(&owned.start, &owned.end)?.is_some() {
                found.push(bucket);
            }
            match bucket.checked_add(1) {
                Some(next) => start = keys::bucket_range(self.id, next..next).start,
                None => break,
            }
        }
        Ok(found)
    }

    /// What the owned shards hold in a bucket.
    pub(super) fn bucket_range(&self, bucket: i64) -> Range<Vec<u8>> {
        if self.shards.is_empty() {
            return Vec::new()..Vec::new();
        }
        let shard = |shard: usize| keys::bucket_shard_range(self.id, bucket, Shard(shard as u8));
        shard(self.shards.start).start..shard(self.shards.end - 1).end
    }

    /// What an owned shard holds, counted from the first.
    pub(super) fn shard_range(&self, owned: usize) -> Range<Vec<u8>> {
        keys::shard_range(self.id, Shard((self.shards.start + owned) as u8))
    }

    /// The shard of a stored key, counted from the first owned one.
    pub(super) fn read_shard(&self, stored: &[u8]) -> Result<usize> {
        let shard = usize::from(keys::split_state_key(stored)?.1.0);
        Ok(shard - self.shards.start)
    }

    /// Appends the stored key, up to the number of the chunk, to `out`.
    pub(super) fn write_key(&self, hash: u64, key: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&keys::state_prefix(self.id, self.shard(hash, key)));
        out.extend_from_slice(key);
    }

    /// The key within a stored key.
    pub(super) fn read_key<'a>(&self, stored: &'a [u8]) -> Result<&'a [u8]> {
        let key = keys::split_state_key(stored)?.2;
        match self.layout {
            Layout::Value => Ok(key),
            Layout::Deltas => Ok(key.split_last_chunk::<CHUNK_BYTES>().ok_or_else(|| self.short())?.0),
        }
    }

    /// Shard and number within the stored key of a bucket's chunk.
    pub(super) fn read_chunk_key(&self, stored: &[u8]) -> Result<(u8, u64)> {
        let (_, _, shard, number) = keys::split_bucket_key(stored)?;
        let number = number.try_into().map_err(|_| self.short())?;
        Ok((shard.0, u64::from_be_bytes(number)))
    }

    fn short(&self) -> Error {
        self.damaged("a key is too short")
    }

    pub(super) fn damaged(&self, cause: &str) -> Error {
        Error::State(format!(
            "table {}: {cause}; the data directory is damaged: restore a copy",
            self.id
        ))
    }

    fn first_key(&self, start: &[u8], end: &[u8]) -> Result<Option<Vec<u8>>> {
        if start >= end {
            return Ok(None);
        }
        let first = self.store.scan(Keyspace::State, start, Some(end)).next().transpose()?;
        Ok(first.map(|(key, _)| key))
    }
}

/// The empty key's shard is the first, so that task 0 owns it under any parallelism.
fn shard_of_key(hash: u64, key: &[u8]) -> Shard {
    if key.is_empty() { Shard(0) } else { shard_of(hash) }
}

/// The stored key of a chunk, given that of the entry.
pub(super) fn push_chunk(layout: Layout, chunk: u64, stored_key: &mut Vec<u8>) {
    if layout == Layout::Deltas {
        stored_key.extend_from_slice(&chunk.to_be_bytes());
    }
}

impl KeyedTable {
    /// Looks the missing entries up in the store and loads those that are there; they are known
    /// by [`super::index::KeyIndex::is_stored`] afterwards.
    pub(super) fn load_missing<S: Slots>(&mut self, slots: &mut S) -> Result<()> {
        if let Presence::Buckets(_) = &self.presence {
            return self.load_missing_buckets(slots);
        }
        let mut open = self.missing.clone();
        let (mut first, mut count) = (0, 1);
        while !open.is_empty() {
            let values = self.get_chunks(&open, first..first + count)?;
            let mut values = values.chunks_exact(count as usize);
            let mut more = Vec::new();
            for slot in open {
                let chunks = values.next().expect("as many answers as keys");
                for bytes in chunks.iter().map_while(Option::as_ref) {
                    slots.load(slot, bytes)?;
                    self.index.add_chunk(slot, bytes.len());
                }
                if chunks.iter().all(Option::is_some) {
                    more.push(slot);
                }
            }
            if self.stored.layout == Layout::Value {
                break;
            }
            // Most entries have few chunks; the others cost a handful of rounds.
            open = more;
            first += count;
            count *= 2;
        }
        Ok(())
    }

    /// For each slot in turn its stored chunks of these numbers.
    fn get_chunks(&self, slots: &[Slot], chunks: Range<u64>) -> Result<Vec<Option<Vec<u8>>>> {
        let mut keys = Vec::new();
        let mut ends = vec![0];
        for slot in slots {
            for chunk in chunks.clone() {
                self.write_stored_key(*slot, chunk, &mut keys);
                ends.push(keys.len());
            }
        }
        let keys: Vec<&[u8]> = ends.windows(2).map(|ends| &keys[ends[0]..ends[1]]).collect();
        Ok(self.stored.store.multi_get(Keyspace::State, &keys)?)
    }

    /// Appends the stored key of a slot's chunk (of its value) to `out`.
    pub(super) fn write_stored_key(&self, slot: Slot, chunk: u64, out: &mut Vec<u8>) {
        self.stored.write_key(self.index.hash(slot), self.index.key(slot), out);
        push_chunk(self.stored.layout, chunk, out);
    }
}
