//! When to look at which partition: a table by time, so that what is due is found without looking
//! at any other, in memory or in the store.
//!
//! Every partition with something to come has a timer no later than that: the end of its first
//! session, or the time of a row that waits. It may have others, which find nothing to do: a timer isn't
//! moved when a session lengthens, but set anew when it goes off. Its key is its time, then the
//! partition, in whose shard it lies.

use std::collections::BTreeMap;

use weir_state::WriteBatch;

use crate::Result;
use crate::operator::arrangement::{Arrangement, BUCKET_BYTES, Keep, closed_through};
use crate::operator::{OperatorStats, TaskContext, Watermark};
use crate::row::Rows;
use crate::shard::hash_key;
use crate::table::{Keys, Slot};

/// Bytes of a time.
pub(super) const TIME_BYTES: usize = BUCKET_BYTES;

/// A slot's note where its earliest timer is known.
const KNOWN: u32 = 1;

/// How far a partition's first session is known to reach, so that it need not be gone through from
/// its first row again: all from `first` through `last` is one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Default for Hint {
    /// Nothing is known: no session begins then.
    fn default() -> Self {
        Self {
            first: i64::MAX,
            last: i64::MIN,
        }
    }
}

/// The slots of partitions at times, in a table by time: the key is the time, then the partition, in whose
/// shard it lies.
pub(super) fn slots_at<'a>(
    table: &mut Arrangement,
    places: impl Iterator<Item = (i64, &'a [u8])>,
) -> Result<Vec<Slot>> {
    let (mut rows, mut hashes, mut buckets) = (Rows::new(), Vec::new(), Vec::new());
    for (time, partition) in places {
        rows.push(&[&time_bytes(time), partition].concat());
        hashes.push(hash_key(partition));
        buckets.push(time);
    }
    table.resolve(Keys {
        rows: &rows,
        hashes: &hashes,
        buckets: &buckets,
    })
}

/// The bytes of a time, which compare as times do.
pub(super) fn time_bytes(time: i64) -> [u8; TIME_BYTES] {
    (time as u64 ^ 1 << 63).to_be_bytes()
}

/// The time that bytes begin with.
pub(super) fn time_of(row: &[u8]) -> i64 {
    let bytes = row
        .first_chunk::<TIME_BYTES>()
        .expect("a kept row begins with its time");
    (u64::from_be_bytes(*bytes) ^ 1 << 63) as i64
}

/// The watermark at which what ends then is closed.
pub(super) fn due(end: i64, lateness_us: i64) -> i64 {
    end.saturating_add(lateness_us).min(i64::MAX - 1)
}

/// What is due.
#[derive(Default)]
pub(super) struct Due {
    pub(super) partitions: Rows,
    pub(super) hints: Vec<Hint>,
}

pub(super) struct Timers {
    table: Arrangement,
    /// By slot of the partition, its earliest timer; see [`KNOWN`].
    earliest: Vec<i64>,
    pending: Vec<(Slot, i64, Hint)>,
    /// Sessions never become shorter, so hints stay true.
    keeps_hints: bool,
}

impl Timers {
    /// Opens the node's state table `n`.
    pub(super) fn open(context: &TaskContext, n: u16, append_only: bool) -> Result<Self> {
        Ok(Self {
            table: Arrangement::open_by_time(context, n, Keep::Unordered)?,
            earliest: Vec::new(),
            pending: Vec::new(),
            keeps_hints: append_only,
        })
    }

    /// Sees to it that the partition in a slot of `state` has a timer no later than `time`.
    pub(super) fn set(&mut self, state: &mut Arrangement, slot: Slot, time: i64, hint: Hint) {
        if slot.index() >= self.earliest.len() {
            self.earliest.resize(slot.index() + 1, 0);
        }
        let earliest = &mut self.earliest[slot.index()];
        if state.rows.note(slot) == KNOWN && *earliest <= time {
            return;
        }
        *earliest = time;
        state.rows.set_note(slot, KNOWN);
        self.pending.push((slot, time, hint));
    }

    /// The partition's timers that are known have gone off.
    pub(super) fn forget(&mut self, state: &mut Arrangement, slot: Slot) {
        state.rows.set_note(slot, 0);
    }

    /// Puts the timers that were set into the table. To be called before the step ends.
    pub(super) fn flush(&mut self, state: &Arrangement) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let places = self
            .pending
            .iter()
            .map(|(slot, time, _)| (*time, state.table.key(*slot)));
        let slots = slots_at(&mut self.table, places)?;
        for (slot, (_, _, hint)) in slots.into_iter().zip(std::mem::take(&mut self.pending)) {
            if self.table.rows.total(slot) == 0 {
                let hint = if self.keeps_hints { hint } else { Hint::default() };
                let row = [time_bytes(hint.first), time_bytes(hint.last)].concat();
                self.table.add(slot, &row, 1)?;
            }
        }
        Ok(())
    }

    /// Takes the timers that the watermark has reached.
    pub(super) fn take_due(&mut self, watermark: Watermark) -> Result<Due> {
        let mut found: BTreeMap<Vec<u8>, Hint> = BTreeMap::new();
        let Some(through) = closed_through(watermark, 0) else {
            return Ok(Due::default());
        };
        while let Some(bucket) = self.table.table.first_bucket(through) {
            for slot in self.table.load_bucket(bucket)? {
                let partition = self.table.table.key(slot)[TIME_BYTES..].to_vec();
                for row in self.table.rows.of(slot) {
                    let row = self.table.rows.bytes_of(row);
                    let (first, last) = (time_of(row), time_of(&row[TIME_BYTES..]));
                    let known = found.entry(partition.clone()).or_default();
                    if last > known.last {
                        *known = Hint { first, last };
                    }
                }
            }
            self.table.close_through(bucket);
        }
        self.table.close_through(through);
        let mut due = Due::default();
        for (partition, hint) in found {
            due.partitions.push(&partition);
            due.hints.push(hint);
        }
        Ok(due)
    }

    /// The last time at which some partition is to be looked at.
    pub(super) fn last(&self) -> Option<Watermark> {
        self.table.table.last_bucket()
    }

    /// The last such time before another.
    pub(super) fn last_below(&self, time: i64) -> Option<Watermark> {
        self.table.table.last_bucket_below(time)
    }

    pub(super) fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        self.table.checkpoint(batch)
    }

    pub(super) fn committed(&mut self) -> Result<()> {
        self.table.committed()
    }

    pub(super) fn complete(&mut self, entries: usize) -> Result<bool> {
        self.table.complete(entries)
    }

    pub(super) fn count_into(&self, stats: &mut OperatorStats) {
        self.table.count_into(stats);
        stats.state_bytes += (self.earliest.capacity() * 8) as u64;
    }
}
