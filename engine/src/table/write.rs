//! From memory to the store: checkpoints, and evicting what is safely there.

use weir_state::{Keyspace, WriteBatch};

use super::{KeyedTable, Layout, Presence, Save, Slot, Slots};
use crate::Result;

/// Chunks of an entry are merged when they are more than this and together at least half as large
/// as the first, so that what is rewritten stays in proportion to what has changed ...
const CHUNKS: u64 = 8;
/// ... and in any case when they are more than this: each costs a read when the entry is loaded.
const MOST_CHUNKS: u64 = 64;

impl KeyedTable {
    /// Writes what became dirty since the last checkpoint into `batch`, and frees what was born and
    /// died in between.
    ///
    /// # Errors
    /// Those of [`Slots::save`].
    pub fn checkpoint<S: Slots>(&mut self, slots: &mut S, batch: &mut WriteBatch) -> Result<()> {
        if let Presence::Buckets(_) = &self.presence {
            return self.checkpoint_buckets(slots, batch);
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            if !self.index.take_dirty(slot) {
                continue;
            }
            if !slots.is_empty(slot) {
                self.write(slot, slots, batch)?;
            } else if self.index.is_stored(slot) {
                self.delete_chunks(slot, 0, batch);
                self.index.clear_chunks(slot);
                self.set_in_flight(slot);
            } else if !self.index.is_in_flight(slot) {
                self.free(slot, slots);
            }
        }
        self.dirty = dirty;
        Ok(())
    }

    /// All checkpoints so far are durable: forgets what has gone, and evicts entries that are
    /// neither dirty nor lately used until the budget is kept.
    pub fn committed<S: Slots>(&mut self, slots: &mut S) {
        let mut in_flight = std::mem::take(&mut self.in_flight);
        for slot in in_flight.drain(..) {
            if self.index.take_in_flight(slot) && self.index.is_settled(slot) && slots.is_empty(slot) {
                self.free(slot, slots);
            }
        }
        self.in_flight = in_flight;
        if let Some(budget) = self.entry_budget {
            self.evict(budget, slots);
        }
        self.index.shrink();
    }

    fn write<S: Slots>(&mut self, slot: Slot, slots: &mut S, batch: &mut WriteBatch) -> Result<()> {
        let chunks = self.index.chunks(slot);
        let save = match self.stored.layout() {
            Layout::Value => Save::Whole,
            Layout::Deltas if chunks == 0 || self.should_merge(slot) => Save::Whole,
            Layout::Deltas => Save::Delta,
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let chunk = if save == Save::Whole { 0 } else { chunks };
        self.write_stored_key(slot, chunk, &mut buffer);
        let key_bytes = buffer.len();
        slots.save(slot, save, &mut buffer)?;
        let (key, value) = buffer.split_at(key_bytes);
        if save == Save::Whole {
            batch.put(Keyspace::State, key, value);
            self.delete_chunks(slot, 1, batch);
            self.index.clear_chunks(slot);
            self.index.add_chunk(slot, value.len());
        } else if !value.is_empty() {
            batch.put(Keyspace::State, key, value);
            self.index.add_chunk(slot, value.len());
        }
        self.set_in_flight(slot);
        self.buffer = buffer;
        Ok(())
    }

    fn should_merge(&self, slot: Slot) -> bool {
        let chunks = self.index.chunks(slot);
        let (base_bytes, delta_bytes) = self.index.chunk_bytes(slot);
        chunks >= MOST_CHUNKS || (chunks >= CHUNKS && delta_bytes >= base_bytes / 2)
    }

    /// Deletes the stored chunks from number `first` on.
    fn delete_chunks(&self, slot: Slot, first: u64, batch: &mut WriteBatch) {
        let mut key = Vec::new();
        for chunk in first..self.index.chunks(slot) {
            key.clear();
            self.write_stored_key(slot, chunk, &mut key);
            batch.delete(Keyspace::State, &key);
        }
    }

    pub(super) fn set_in_flight(&mut self, slot: Slot) {
        if self.index.set_in_flight(slot) {
            self.in_flight.push(slot);
        }
    }

    /// The clock: its hand passes over the slots and takes those that were not used since it was
    /// there last. Two rounds without finding any end it.
    fn evict<S: Slots>(&mut self, budget: usize, slots: &mut S) {
        let mut passed = 0;
        while self.index.len() > budget && passed < 2 * self.index.slots() {
            let slot = Slot((self.hand % self.index.slots()) as u32);
            self.hand = slot.index() + 1;
            passed += 1;
            if !self.index.is_settled(slot) || self.index.take_used(slot) {
                continue;
            }
            debug_assert!(self.index.is_stored(slot), "what is in no store can't be evicted");
            self.become_partial(slot);
            self.free(slot, slots);
            self.has_evicted = true;
        }
    }

    /// The part of the table that the slot belongs to is no longer wholly in memory.
    fn become_partial(&mut self, slot: Slot) {
        match &mut self.presence {
            Presence::Shards { complete, partial } => {
                let (hash, key) = (self.index.hash(slot), self.index.key(slot));
                let shard = self.stored.owned_shard(hash, key).expect("the shard is owned");
                *partial += usize::from(complete[shard]);
                complete[shard] = false;
            }
            Presence::Buckets(buckets) => buckets.become_partial(slot),
        }
        // What the cursor has passed may be gone again.
        self.cursor = None;
    }
}
