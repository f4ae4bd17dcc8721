//! The index of what is in memory: keys to slots, and what the table knows of each slot.
//!
//! A batch of keys is probed in two passes over the rows. The first finds for each hash the slot
//! whose tag, 32 bits of the hash beside the slot in the hash table, is the same; the second
//! compares the keys. In each pass the rows don't depend on one another, so the processor waits for
//! the memory of many of them at once, and not for the slot, then the entry, then the key of each.

use hashbrown::HashTable;

use super::Slot;
use super::keys::{KeyBytes, same};
use crate::{Error, Result};

/// In use.
const LIVE: u8 = 1;
/// Changed since the last checkpoint.
const DIRTY: u8 = 2;
/// Written by a checkpoint that is not committed.
const IN_FLIGHT: u8 = 4;
/// Asked for since the clock last passed.
const USED: u8 = 8;

/// What is stored of it is being read.
const LOADING: u8 = 16;

/// No slot has the tag.
const NONE: Slot = Slot(u32::MAX);

/// What is known of a slot.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
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

/// What the hash table holds.
#[derive(Debug, Clone, Copy)]
struct Place {
    tag: u32,
    slot: Slot,
}

pub(super) struct KeyIndex {
    places: HashTable<Place>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    keys: KeyBytes,
    /// Whether anybody asks which entries were used.
    notes_use: bool,
}

impl KeyIndex {
    pub(super) fn new(notes_use: bool) -> Self {
        Self {
            places: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            keys: KeyBytes::new(),
            notes_use,
        }
    }

    /// For each hash a slot that most likely has its key, for [`KeyIndex::confirm`].
    pub(super) fn guess(&self, hashes: &[u64], out: &mut Vec<Slot>) {
        let guess = |hash: &u64| {
            let tag = tag_of(*hash);
            self.places
                .find(*hash, |place| place.tag == tag)
                .map_or(NONE, |place| place.slot)
        };
        out.clear();
        out.extend(hashes.iter().map(guess));
    }

    /// The slot of a key, given a guess.
    #[inline(always)]
    pub(super) fn confirm(&mut self, guess: Slot, hash: u64, key: &[u8]) -> Option<Slot> {
        let slot = if guess != NONE && same(self.keys.get(guess), key) {
            guess
        } else {
            self.find(hash, key)?
        };
        if self.notes_use {
            self.entries[slot.index()].flags |= USED;
        }
        Some(slot)
    }

    /// The slot of a key; asking is no use of it.
    #[cold]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<Slot> {
        self.places
            .find(hash, |place| same(self.keys.get(place.slot), key))
            .map(|place| place.slot)
    }

    /// Gives a key, which must not be in the index, a slot.
    pub(super) fn insert(&mut self, hash: u64, key: &[u8]) -> Result<Slot> {
        if u32::try_from(key.len()).is_err() {
            return Err(Error::Data(format!("a key of {} bytes is too long", key.len())));
        }
        let entry = Entry {
            hash,
            flags: LIVE | USED,
            chunks: 0,
            base_bytes: 0,
            delta_bytes: 0,
        };
        let slots = self.entries.len();
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                Slot(slot)
            }
            None => {
                let slot = u32::try_from(slots).ok().map(Slot).filter(|slot| *slot != NONE);
                let slot = slot.ok_or_else(|| Error::Data("more than 2^32 keys of state in one task".to_string()))?;
                self.entries.push(entry);
                slot
            }
        };
        self.keys.put(slot, key, slots);
        let entries = &self.entries;
        let place = Place {
            tag: tag_of(hash),
            slot,
        };
        self.places
            .insert_unique(hash, place, |place| entries[place.slot.index()].hash);
        Ok(slot)
    }

    /// The slot is free for another key.
    pub(super) fn remove(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot.index()];
        debug_assert!(entry.is(LIVE), "slot {} is freed twice", slot.0);
        entry.flags = 0;
        match self.places.find_entry(entry.hash, |place| place.slot == slot) {
            Ok(found) => {
                found.remove();
            }
            Err(_) => unreachable!("a slot in use is in the index"),
        }
        self.keys.remove(slot);
        self.free.push(slot.0);
    }

    /// All slots are free, as if there had been none.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.notes_use);
    }

    /// Gives back the memory of keys that have gone, where it is worth it.
    pub(super) fn shrink(&mut self) {
        self.keys.shrink();
    }

    #[inline]
    pub(super) fn key(&self, slot: Slot) -> &[u8] {
        self.keys.get(slot)
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
            + self.places.capacity() * (size_of::<Place>() + 1)
            + self.keys.bytes()
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

    pub(super) fn set_loading(&mut self, slot: Slot, is_loading: bool) {
        let flags = &mut self.entries[slot.index()].flags;
        *flags = if is_loading {
            *flags | LOADING
        } else {
            *flags & !LOADING
        };
    }

    pub(super) fn is_loading(&self, slot: Slot) -> bool {
        self.entries[slot.index()].is(LOADING)
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

/// Neither the highest nor the lowest bits, by which the hash table finds its places.
fn tag_of(hash: u64) -> u32 {
    (hash >> 20) as u32
}

fn take(flags: &mut u8, flag: u8) -> bool {
    let was = *flags & flag != 0;
    *flags &= !flag;
    was
}
