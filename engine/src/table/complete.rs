//! Loading ahead: what is stored and not in memory, part by part, while there is room.

use std::ops::Range;

use weir_state::Keyspace;

use super::{KeyedTable, Presence, Slots};
use crate::Result;

/// A part of a table that is complete or partial as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// An owned shard, counted from the first.
    Shard(usize),
    /// A time bucket, in all owned shards.
    Bucket(i64),
}

/// How far the loading of a part has come.
pub(super) struct Cursor {
    pub(super) part: Part,
    /// Stored keys below this are in memory.
    pub(super) next: Vec<u8>,
}

impl KeyedTable {
    /// Loads up to about `entries` stored entries that are not in memory yet, while the budget has
    /// room. Returns true when nothing is left to load, or nothing more fits.
    ///
    /// # Errors
    /// If the store can't be read, or an entry in it.
    pub fn complete<S: Slots>(&mut self, entries: usize, slots: &mut S) -> Result<bool> {
        let mut left = entries;
        while let Some(part) = self.first_partial() {
            let room = match self.entry_budget {
                None => usize::MAX,
                // Where the state doesn't fit, what a step needs is the better choice.
                Some(budget) if self.has_evicted => (budget / 2).saturating_sub(self.entries()),
                Some(budget) => budget.saturating_sub(self.entries()),
            };
            if room == 0 {
                return Ok(true);
            }
            if left == 0 {
                return Ok(false);
            }
            left = left.saturating_sub(self.load_part(part, left.min(room), slots)?);
        }
        Ok(true)
    }

    /// Loads all of a part.
    pub(super) fn complete_part<S: Slots>(&mut self, part: Part, slots: &mut S) -> Result<()> {
        self.cursor = None;
        self.load_part(part, usize::MAX, slots)?;
        Ok(())
    }

    fn first_partial(&self) -> Option<Part> {
        match &self.presence {
            Presence::Shards { partial: 0, .. } => None,
            Presence::Shards { complete, .. } => complete.iter().position(|complete| !complete).map(Part::Shard),
            Presence::Buckets(buckets) => buckets.first_partial().map(Part::Bucket),
        }
    }

    fn load_part<S: Slots>(&mut self, part: Part, most: usize, slots: &mut S) -> Result<usize> {
        match part {
            Part::Shard(shard) => self.load_shards(shard, most, slots),
            Part::Bucket(bucket) => self.load_chunks(bucket, most, slots),
        }
    }

    /// Goes over up to `most` stored entries of a shard and of the partial ones behind it, from where the cursor
    /// stands, and loads those that are not in memory: what is in memory is newer. Returns how many it went over.
    ///
    /// The shards are read as one, since finding where one begins costs more than the few entries that most have.
    fn load_shards<S: Slots>(&mut self, first: usize, most: usize, slots: &mut S) -> Result<usize> {
        let behind = self.behind_partial(first);
        let mut start = self.stored.shard_range(first).start;
        let end = self.stored.shard_range(behind - 1).end;
        let part = Part::Shard(first);
        if let Some(cursor) = self.cursor.take_if(|cursor| cursor.part == part) {
            start = cursor.next;
        }
        // The scan borrows the store, not the table.
        let store = self.stored.shared_store();
        let mut scan = store.scan(Keyspace::State, &start, Some(&end));
        let mut ahead = scan.next().transpose()?;
        let mut passed = 0;
        while let Some((stored_key, value)) = ahead.take() {
            if passed == most {
                let shard = self.stored.read_shard(&stored_key)?;
                self.set_complete(first..shard);
                self.cursor = Some(Cursor {
                    part: Part::Shard(shard),
                    next: stored_key,
                });
                return Ok(passed);
            }
            let key = self.stored.read_key(&stored_key)?;
            let hash = self.stored.hash(key);
            let mut slot = None;
            if self.index.find(hash, key).is_none() {
                slot = Some(self.begin(hash, key, None, slots)?);
                // It is stored, so there is nothing to be looked up.
                self.missing.clear();
            }
            let mut chunk = value;
            loop {
                if let Some(slot) = slot {
                    slots.load(slot, &chunk)?;
                    self.index.add_chunk(slot, chunk.len());
                }
                match scan.next().transpose()? {
                    Some((next_key, next)) if self.stored.read_key(&next_key)? == key => {
                        chunk = next;
                    }
                    other => {
                        ahead = other;
                        break;
                    }
                }
            }
            passed += 1;
        }
        self.set_complete(first..behind);
        Ok(passed)
    }

    /// The end of the partial shards of which `first` is one.
    fn behind_partial(&self, first: usize) -> usize {
        match &self.presence {
            Presence::Shards { complete, .. } => {
                let partial = complete[first..].iter().take_while(|complete| !**complete);
                first + partial.count().max(1)
            }
            Presence::Buckets(_) => first + 1,
        }
    }

    fn set_complete(&mut self, shards: Range<usize>) {
        if let Presence::Shards { complete, partial } = &mut self.presence {
            for complete in &mut complete[shards] {
                *partial -= usize::from(!*complete);
                *complete = true;
            }
        }
    }
}
