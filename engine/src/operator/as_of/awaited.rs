//! What left rows wait for whose nearest right row lies behind them.
//!
//! Such a row is final when the watermark has passed the right row behind it. So all left rows that have one
//! are final at the last of these times, over all keys. That is where `WITH TIMEOUT` raises the watermark to, and
//! no further: a right row that nobody waits for is no reason to close anything. So a table by time holds for each key
//! just that time, and unlike a timer it goes as soon as it is another.

use std::collections::BTreeSet;

use super::{AsOf, Changes};
use crate::Result;
use crate::operator::arrangement::{Arrangement, Keep, bucket_of};
use crate::operator::timers::slots_at;
use crate::operator::{TaskContext, Watermark};
use crate::table::{NEVER, Slot};

/// What stands in the table for a key.
const THERE: &[u8] = &[1];

pub(super) struct Awaited {
    pub(super) table: Arrangement,
    /// Times of keys that are to be put into the table, and taken out.
    pending: Vec<(i64, Vec<u8>, i64)>,
    /// The last time in the table, as of the end of the last step.
    last: Option<i64>,
    /// Whether `last` is to be found anew, as it is after the start.
    is_stale: bool,
}

impl Awaited {
    /// Opens the node's state table `n`.
    pub(super) fn open(context: &TaskContext, n: u16) -> Result<Self> {
        Ok(Self {
            table: Arrangement::open_by_time(context, n, Keep::Unordered)?,
            pending: Vec::new(),
            last: None,
            is_stale: true,
        })
    }

    /// The left rows of a key wait for another time than before, or for none.
    pub(super) fn change(&mut self, key: &[u8], before: Option<i64>, after: Option<i64>) {
        if before == after {
            return;
        }
        for (time, weight) in [(after, 1), (before, -1)] {
            let time = time.map(|time| bucket_of(Some(time)));
            self.pending.extend(time.map(|time| (time, key.to_vec(), weight)));
        }
    }

    /// Puts what has changed into the table.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.is_stale = true;
        let places = self.pending.iter().map(|(time, key, _)| (*time, &key[..]));
        let slots = slots_at(&mut self.table, places)?;
        for (slot, (_, _, weight)) in slots.into_iter().zip(std::mem::take(&mut self.pending)) {
            self.table.add(slot, THERE, weight)?;
        }
        Ok(())
    }

    /// Times up to this one are passed: nobody waits for them any more.
    pub(super) fn close_through(&mut self, passed: i64) -> Result<()> {
        self.flush()?;
        self.is_stale = true;
        self.table.close_through(passed);
        Ok(())
    }

    /// Finds the last time that is waited for. To be called when the step ends.
    pub(super) fn find_last(&mut self) -> Result<()> {
        self.flush()?;
        if !std::mem::take(&mut self.is_stale) {
            return Ok(());
        }
        let mut below = NEVER;
        self.last = loop {
            // What was taken out stays in its bucket until that is committed.
            match self.table.table.last_bucket_below(below) {
                Some(bucket) if self.table.load_bucket(bucket)?.is_empty() => below = bucket,
                found => break found,
            }
        };
        Ok(())
    }

    pub(super) fn last(&self) -> Option<Watermark> {
        self.last
    }
}

/// A key's slots on the left and on the right, and what its left rows wait for.
pub(super) type Waiting = (Slot, Slot, Option<i64>);

impl AsOf {
    /// What the left rows of changed keys wait for, before one side's changes are applied.
    pub(super) fn waiting(&self, is_left: bool, changes: &[Changes]) -> Result<Vec<Waiting>> {
        if self.awaited.is_none() {
            return Ok(Vec::new());
        }
        let mut touched = BTreeSet::new();
        for changes in changes {
            for (slot, other) in changes.slots.iter().zip(&changes.others) {
                touched.extend(other.map(|other| if is_left { (*slot, other) } else { (other, *slot) }));
            }
        }
        let waiting = touched.into_iter();
        waiting
            .map(|(left, right)| Ok((left, right, self.waits_for(left, right)?)))
            .collect()
    }

    /// Notes what they wait for now.
    pub(super) fn wait_anew(&mut self, waiting: Vec<Waiting>) -> Result<()> {
        for (left, right, before) in waiting {
            let after = self.waits_for(left, right)?;
            if let Some(awaited) = &mut self.awaited {
                awaited.change(self.left.state.table.key(left), before, after);
            }
        }
        Ok(())
    }

    /// The time of the right row that is nearest to the last left row that has one: those of the others are
    /// no later.
    pub(super) fn waits_for(&self, left: Slot, right: Slot) -> Result<Option<i64>> {
        let rows = &self.right.state.rows;
        let Some(last) = rows.of(right).next() else {
            return Ok(None);
        };
        let reached = self.places.reached_from(self.right.place_of(last)?);
        let Some(waits) = self.left.state.rows.from(left, &reached).next() else {
            return Ok(None);
        };
        let nearest = self.nearest(right, waits)?;
        Ok(nearest.map(|row| self.places.time_of(rows.bytes_of(row))))
    }
}
