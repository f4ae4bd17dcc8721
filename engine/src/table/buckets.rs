//! Time buckets: which entries belong to each, and forgetting them together.

use std::collections::BTreeMap;

use weir_state::{Keyspace, WriteBatch};

use super::chunks::Chunks;
use super::complete::Part;
use super::{KeyedTable, NEVER, Presence, Slot, Slots};
use crate::Result;

/// The bucket of slots that are free: before all time.
const FREE: i64 = i64::MIN;

#[derive(Default)]
pub(super) struct Buckets {
    /// By slot.
    of_slot: Vec<i64>,
    /// Those that have entries in memory or in the store.
    buckets: BTreeMap<i64, Bucket>,
    partial: usize,
    /// Buckets up to this one are closed.
    closed_through: Option<i64>,
    deletes: Vec<Delete>,
}

struct Bucket {
    complete: bool,
    chunks: Chunks,
    /// Its entries in memory, and some that left it: an entry's own bucket decides.
    slots: Vec<Slot>,
    in_memory: usize,
}

/// What the next checkpoint has to delete.
pub(super) enum Delete {
    Key(Vec<u8>),
    Range(Vec<u8>, Vec<u8>),
}

impl Buckets {
    /// `stored` are the buckets that the store holds entries of.
    pub(super) fn new(stored: Vec<i64>) -> Self {
        let partial = stored.len();
        let bucket = |bucket| (bucket, Bucket::new(false, Chunks::default()));
        Self {
            buckets: stored.into_iter().map(bucket).collect(),
            partial,
            ..Self::default()
        }
    }

    /// Whether what is not in memory does not exist.
    pub(super) fn is_complete(&self, bucket: i64) -> bool {
        self.partial == 0 || self.buckets.get(&bucket).is_none_or(|bucket| bucket.complete)
    }

    pub(super) fn first_partial(&self) -> Option<i64> {
        if self.partial == 0 {
            return None;
        }
        self.buckets
            .iter()
            .find(|(_, bucket)| !bucket.complete)
            .map(|(time, _)| *time)
    }

    pub(super) fn of(&self, slot: Slot) -> i64 {
        self.of_slot[slot.index()]
    }

    /// A slot begins in a bucket. Returns whether the bucket is complete; none if it is closed.
    pub(super) fn enter(&mut self, time: i64, slot: Slot) -> Option<bool> {
        let is_closed = self.closed_through.is_some_and(|through| time <= through);
        if time == FREE || (is_closed && time != NEVER) {
            return None;
        }
        if slot.index() == self.of_slot.len() {
            self.of_slot.push(time);
        }
        self.of_slot[slot.index()] = time;
        let bucket = self
            .buckets
            .entry(time)
            .or_insert_with(|| Bucket::new(true, Chunks::none()));
        bucket.in_memory += 1;
        if bucket.slots.len() >= 2 * bucket.in_memory + 64 {
            // The new slot may be among those that left; it is pushed once, below.
            bucket.slots.sort_unstable();
            bucket.slots.dedup();
            let of_slot = &self.of_slot;
            bucket.slots.retain(|old| *old != slot && of_slot[old.index()] == time);
        }
        bucket.slots.push(slot);
        Some(bucket.complete)
    }

    /// A slot is given free.
    pub(super) fn leave(&mut self, slot: Slot) {
        let time = self.of(slot);
        if let Some(bucket) = self.buckets.get_mut(&time) {
            bucket.in_memory -= 1;
            if bucket.in_memory == 0 && !bucket.chunks.is_stored() {
                self.buckets.remove(&time);
            }
        }
        // So that a stale place in a bucket's list is never taken for an entry.
        self.of_slot[slot.index()] = FREE;
    }

    /// What is stored of a bucket that there is.
    pub(super) fn chunks(&mut self, time: i64) -> &mut Chunks {
        let bucket = self.buckets.get_mut(&time);
        &mut bucket.expect("the bucket of an entry").chunks
    }

    pub(super) fn delete(&mut self, delete: Delete) {
        self.deletes.push(delete);
    }

    pub(super) fn become_partial(&mut self, slot: Slot) {
        let time = self.of(slot);
        if let Some(bucket) = self.buckets.get_mut(&time) {
            self.partial += usize::from(bucket.complete);
            bucket.complete = false;
        }
    }

    pub(super) fn set_complete(&mut self, time: i64) {
        if let Some(bucket) = self.buckets.get_mut(&time) {
            self.partial -= usize::from(!bucket.complete);
            bucket.complete = true;
        }
    }

    pub(super) fn has_deletes(&self) -> bool {
        !self.deletes.is_empty()
    }

    pub(super) fn write_deletes(&mut self, batch: &mut WriteBatch) {
        for delete in self.deletes.drain(..) {
            match delete {
                Delete::Key(key) => batch.delete(Keyspace::State, &key),
                Delete::Range(start, end) => batch.delete_range(Keyspace::State, &start, &end),
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        // Of each slot its bucket, and its place in the bucket's list.
        self.of_slot.capacity() * (8 + 4) + self.buckets.len() * size_of::<Bucket>()
    }

    /// The slots in use of a bucket, each once.
    pub(super) fn slots(&self, time: i64) -> Vec<Slot> {
        let Some(bucket) = self.buckets.get(&time) else {
            return Vec::new();
        };
        let mut slots = bucket.slots.clone();
        slots.retain(|slot| self.of(*slot) == time);
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

impl Bucket {
    fn new(complete: bool, chunks: Chunks) -> Self {
        Self {
            complete,
            chunks,
            slots: Vec::new(),
            in_memory: 0,
        }
    }
}

impl KeyedTable {
    /// The first bucket, up to and with `through`, that has entries in memory or in the store.
    ///
    /// # Panics
    /// As all functions about buckets, if the table has none.
    pub fn first_bucket(&self, through: i64) -> Option<i64> {
        let (first, _) = self.buckets().buckets.first_key_value()?;
        (*first <= through && *first != NEVER).then_some(*first)
    }

    /// Up to which bucket all are closed, if some are.
    pub fn closed_through(&self) -> Option<i64> {
        self.buckets().closed_through
    }

    /// The last bucket but [`NEVER`] that has entries in memory or in the store.
    pub fn last_bucket(&self) -> Option<i64> {
        self.last_bucket_below(NEVER)
    }

    /// The last one before `bucket`.
    pub fn last_bucket_below(&self, bucket: i64) -> Option<i64> {
        let (last, _) = self.buckets().buckets.range(..bucket).next_back()?;
        Some(*last)
    }

    /// Makes a bucket's entries present and gives all of them that are not empty.
    ///
    /// # Errors
    /// If the store can't be read, or an entry in it.
    pub fn load_bucket<S: Slots>(&mut self, bucket: i64, slots: &mut S, out: &mut Vec<Slot>) -> Result<()> {
        if !self.buckets().is_complete(bucket) {
            self.complete_part(Part::Bucket(bucket), slots)?;
        }
        out.clear();
        out.extend(
            self.buckets()
                .slots(bucket)
                .iter()
                .filter(|slot| !slots.is_empty(**slot)),
        );
        Ok(())
    }

    /// Forgets all entries of the buckets up to and with `through`; their keys can't be resolved
    /// any more. The bucket [`NEVER`] stays. Entries that are not in memory aren't loaded for it.
    pub fn close_through<S: Slots>(&mut self, through: i64, slots: &mut S) {
        let through = through.min(NEVER - 1);
        let all_go = self.all_close(through);
        while let Some(bucket) = self.first_bucket(through) {
            if self.buckets_mut().chunks(bucket).is_stored() {
                self.delete_bucket(bucket);
            }
            if !all_go {
                for slot in self.buckets().slots(bucket) {
                    self.free(slot, slots);
                }
            }
            let buckets = self.buckets_mut();
            if let Some(bucket) = buckets.buckets.remove(&bucket) {
                buckets.partial -= usize::from(!bucket.complete);
            }
        }
        if all_go {
            slots.clear(self.index.slots());
            self.index.clear();
            let buckets = self.buckets_mut();
            buckets.of_slot.clear();
            // Of those that are left nothing is in memory, only slots that have left are noted.
            buckets.buckets.values_mut().for_each(|bucket| bucket.slots.clear());
            self.dirty.clear();
            self.in_flight.clear();
            self.cursor = None;
        }
        let buckets = self.buckets_mut();
        buckets.closed_through = buckets.closed_through.max(Some(through));
    }

    /// Whether all that is in memory goes with these buckets, and is most of what there ever was:
    /// then it is given up as a whole, which costs a fraction of giving up each entry.
    fn all_close(&self, through: i64) -> bool {
        let closing = self.buckets().buckets.range(..=through);
        let entries: usize = closing.map(|(_, bucket)| bucket.in_memory).sum();
        entries == self.index.len() && entries >= self.index.slots() / 2
    }

    pub(super) fn buckets(&self) -> &Buckets {
        match &self.presence {
            Presence::Buckets(buckets) => buckets,
            Presence::Shards { .. } => panic!("table {} has no time buckets", self.stored.id()),
        }
    }

    pub(super) fn buckets_mut(&mut self) -> &mut Buckets {
        match &mut self.presence {
            Presence::Buckets(buckets) => buckets,
            Presence::Shards { .. } => panic!("table {} has no time buckets", self.stored.id()),
        }
    }
}
