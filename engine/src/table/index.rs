//! The index of what is in memory: keys to slots, and what the table knows of each slot.
//!
//! The hash table holds slot numbers only; hashes and keys lie beside it, the keys one after the
//! other in one piece of memory. So a probe costs no allocation, and a new key only what it adds.

use hashbrown::HashTable;

use super::Slot;
use crate::{Error, Result};

/// In use.
const LIVE: u8 = 1;
/// Changed since the last checkpoint.
const DIRTY: u8 = 2;
/// Written by a checkpoint that is not committed.
const IN_FLIGHT: u8 = 4;
/// Asked for since the clock last passed.
const USED: u8 = 8;

/// Unused key bytes are given back when they are more than this, and more than those in use.
const SLACK_BYTES: usize = 1 << 16;

/// What is known of a slot.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    key_start: usize,
    key_bytes: u32,
    flags: u8,
    /// Chunks in the store (or on the way there); with values 0 or 1.
    chunks: u16,
    /// Bytes of the first chunk, and of those after it.
    base_bytes: u32,
    delta_bytes: u32,
}

impl Entry {
    fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

#[derive(Default)]
pub(super) struct KeyIndex {
    places: HashTable<u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    keys: Vec<u8>,
    unused_key_bytes: usize,
}

impl KeyIndex {
    #[inline]
    pub(super) fn find(&mut self, hash: u64, key: &[u8]) -> Option<Slot> {
        let (entries, keys) = (&self.entries, &self.keys);
        let same = |place: &u32| {
            let entry = &entries[*place as usize];
            entry.key_bytes as usize == key.len() && keys[entry.key_start..entry.key_start + key.len()] == *key
        };
        let place = *self.places.find(hash, same)?;
        let flags = &mut self.entries[place as usize].flags;
        if *flags & USED == 0 {
            *flags |= USED;
        }
        Some(Slot(place))
    }

    /// As [`KeyIndex::find`], without counting as use.
    pub(super) fn holds(&self, hash: u64, key: &[u8]) -> bool {
        self.places.find(hash, |place| self.key(Slot(*place)) == key).is_some()
    }

    /// Gives a key, which must not be in the index, a slot.
    pub(super) fn insert(&mut self, hash: u64, key: &[u8]) -> Result<Slot> {
        let key_bytes =
            u32::try_from(key.len()).map_err(|_| Error::Data(format!("a key of {} bytes is too long", key.len())))?;
        let entry = Entry {
            hash,
            key_start: self.keys.len(),
            key_bytes,
            flags: LIVE | USED,
            chunks: 0,
            base_bytes: 0,
            delta_bytes: 0,
        };
        let place = match self.free.pop() {
            Some(place) => {
                self.entries[place as usize] = entry;
                place
            }
            None => {
                let place = u32::try_from(self.entries.len())
                    .map_err(|_| Error::Data("more than 2^32 keys of state in one task".to_string()))?;
                self.entries.push(entry);
                place
            }
        };
        self.keys.extend_from_slice(key);
        let entries = &self.entries;
        self.places
            .insert_unique(hash, place, |place| entries[*place as usize].hash);
        Ok(Slot(place))
    }

    /// The slot is free for another key.
    pub(super) fn remove(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot.index()];
        debug_assert!(entry.is(LIVE), "slot {} is freed twice", slot.0);
        entry.flags = 0;
        self.unused_key_bytes += entry.key_bytes as usize;
        match self.places.find_entry(entry.hash, |place| *place == slot.0) {
            Ok(found) => {
                found.remove();
            }
            Err(_) => unreachable!("a slot in use is in the index"),
        }
        self.free.push(slot.0);
    }

    /// Gives back the memory of keys that have gone, where it is worth it.
    pub(super) fn shrink(&mut self) {
        let in_use = self.keys.len() - self.unused_key_bytes;
        if self.unused_key_bytes < SLACK_BYTES || self.unused_key_bytes < in_use {
            return;
        }
        let mut keys = Vec::with_capacity(in_use + in_use / 4);
        for entry in self.entries.iter_mut().filter(|entry| entry.is(LIVE)) {
            let key = &self.keys[entry.key_start..entry.key_start + entry.key_bytes as usize];
            entry.key_start = keys.len();
            keys.extend_from_slice(key);
        }
        self.keys = keys;
        self.unused_key_bytes = 0;
    }

    #[inline]
    pub(super) fn key(&self, slot: Slot) -> &[u8] {
        let entry = &self.entries[slot.index()];
        &self.keys[entry.key_start..entry.key_start + entry.key_bytes as usize]
    }

    pub(super) fn hash(&self, slot: Slot) -> u64 {
        self.entries[slot.index()].hash
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// How many slots there are, free ones included.
    pub(super) fn slots(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.places.capacity() * 5
            + self.keys.capacity()
            + self.free.capacity() * 4
    }

    /// Returns false if it was dirty before.
    #[inline]
    pub(super) fn set_dirty(&mut self, slot: Slot) -> bool {
        let entry = &mut self.entries[slot.index()];
        debug_assert!(entry.is(LIVE), "slot {} is free", slot.0);
        let was = entry.is(DIRTY);
        entry.flags |= DIRTY;
        !was
    }

    /// Makes it clean; returns false if it was before, or is free.
    pub(super) fn take_dirty(&mut self, slot: Slot) -> bool {
        take(&mut self.entries[slot.index()].flags, DIRTY)
    }

    /// Returns false if it was in flight before.
    pub(super) fn set_in_flight(&mut self, slot: Slot) -> bool {
        let entry = &mut self.entries[slot.index()];
        let was = entry.is(IN_FLIGHT);
        entry.flags |= IN_FLIGHT;
        !was
    }

    /// As [`KeyIndex::take_dirty`].
    pub(super) fn take_in_flight(&mut self, slot: Slot) -> bool {
        take(&mut self.entries[slot.index()].flags, IN_FLIGHT)
    }

    /// Returns false if it was not used since this was last asked.
    pub(super) fn take_used(&mut self, slot: Slot) -> bool {
        take(&mut self.entries[slot.index()].flags, USED)
    }

    /// In use, and memory and store agree.
    pub(super) fn is_settled(&self, slot: Slot) -> bool {
        self.entries[slot.index()].flags & (LIVE | DIRTY | IN_FLIGHT) == LIVE
    }

    pub(super) fn is_in_flight(&self, slot: Slot) -> bool {
        self.entries[slot.index()].is(IN_FLIGHT)
    }

    /// In the store, or on the way there.
    pub(super) fn is_stored(&self, slot: Slot) -> bool {
        self.chunks(slot) > 0
    }

    /// Stored, or changed in memory: not one that was only made to be looked for.
    pub(super) fn is_known(&self, slot: Slot) -> bool {
        self.is_stored(slot) || !self.is_settled(slot)
    }

    pub(super) fn chunks(&self, slot: Slot) -> u64 {
        u64::from(self.entries[slot.index()].chunks)
    }

    /// Bytes of the first chunk, and of all others.
    pub(super) fn chunk_bytes(&self, slot: Slot) -> (u32, u32) {
        let entry = &self.entries[slot.index()];
        (entry.base_bytes, entry.delta_bytes)
    }

    /// One chunk more of this size is stored.
    pub(super) fn add_chunk(&mut self, slot: Slot, bytes: usize) {
        let entry = &mut self.entries[slot.index()];
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        match entry.chunks {
            0 => entry.base_bytes = bytes,
            _ => entry.delta_bytes = entry.delta_bytes.saturating_add(bytes),
        }
        entry.chunks = entry.chunks.saturating_add(1);
    }

    /// Nothing is stored any more.
    pub(super) fn clear_chunks(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot.index()];
        (entry.chunks, entry.base_bytes, entry.delta_bytes) = (0, 0, 0);
    }
}

fn take(flags: &mut u8, flag: u8) -> bool {
    let was = *flags & flag != 0;
    *flags &= !flag;
    was
}
