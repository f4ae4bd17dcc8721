//! Closing: which left rows are final, and which rows nothing needs any more.
//!
//! With the nearest row *before*, a left row is final when the watermark is above its time: no right row
//! before it will come. Of the right rows below the watermark a key needs the last one, for left rows
//! that are yet to come.
//!
//! With the nearest row *behind*, a left row is final when the watermark is above the time of a right row
//! behind it: none will come in between. So of the right rows below the watermark none is needed, once
//! the left rows before them have met them, and a left row that none follows waits till the end. What the others
//! wait for is known ([`awaited`](super::awaited)).
//!
//! [`Timers`] say when to look at which key. There is one for a key's first left row, and one for the first
//! time at which one of its right rows goes.

use std::collections::BTreeSet;

use super::*;
use crate::operator::arrangement::closed_through;
use crate::operator::timers::Hint;
use crate::table::NEVER;

impl AsOf {
    /// Sees to it that the keys of changed rows are looked at in time.
    pub(super) fn set_timers(&mut self, left: &[Changes], right: &[Changes]) -> Result<()> {
        if self.timers.is_none() {
            return Ok(());
        }
        for changes in left {
            let times = changes.rows.iter().map(|row| self.places.time_of(row));
            self.latest = times.max().map_or(self.latest, |time| self.latest.max(time));
            changes.slots.iter().for_each(|slot| self.set_left_timer(*slot));
        }
        for slot in right.iter().flat_map(|changes| &changes.slots) {
            self.set_right_timer(*slot)?;
        }
        Ok(())
    }

    fn set_left_timer(&mut self, slot: Slot) {
        let rows = &self.left.state.rows;
        let Some(first) = rows.of(slot).next() else { return };
        let time = match self.places.descending {
            // At the end of the input.
            true => NEVER - 1,
            false => self.places.time_of(rows.bytes_of(first)),
        };
        if let Some([timers, _]) = &mut self.timers {
            timers.set(&mut self.left.state, slot, time, Hint::default());
        }
    }

    fn set_right_timer(&mut self, slot: Slot) -> Result<()> {
        let rows = &self.right.state.rows;
        let first_to_go = match self.places.descending {
            true => rows.below(slot, &[u8::MAX]).next(),
            // The first one goes when the second one has come to count.
            false => match rows.of(slot).next() {
                // An end before which nothing is goes by itself.
                Some(first) if self.right.is_end(first) => Some(first),
                Some(first) => rows.from(slot, &behind(self.right.place_of(first)?)).next(),
                None => None,
            },
        };
        let time = first_to_go.map(|row| self.places.time_of(rows.bytes_of(row)));
        if let (Some([_, timers]), Some(time)) = (&mut self.timers, time) {
            timers.set(&mut self.right.state, slot, time, Hint::default());
        }
        Ok(())
    }

    /// Emits what is final, where that is asked for, and lets go what nothing needs any more.
    pub(super) fn close(&mut self, emit: &mut Emit) -> Result<()> {
        let (Some([of_left, of_right]), Some(close)) = (&mut self.timers, self.spec.close) else {
            return Ok(());
        };
        of_left.flush(&self.left.state)?;
        of_right.flush(&self.right.state)?;
        // Times below this are passed.
        let Some(passed) = closed_through(self.watermark, close.lateness_us) else {
            return Ok(());
        };
        let at = match self.watermark {
            Watermark::MAX => Watermark::MAX,
            _ => passed.saturating_sub(1),
        };
        let due = [of_left.take_due(at)?, of_right.take_due(at)?];
        let due: BTreeSet<&[u8]> = due.iter().flat_map(|due| due.partitions.iter()).collect();
        let mut keys = Rows::new();
        due.into_iter().for_each(|key| keys.push(key));
        let hashes = hash_rows(&keys);
        let left = self.left.state.lookup(Keys::new(&keys, &hashes))?;
        let right = self.right.state.lookup(Keys::new(&keys, &hashes))?;
        for (left, right) in left.into_iter().zip(right) {
            self.close_key(left, right, passed, emit)?;
        }
        if let Some([of_left, of_right]) = &mut self.timers {
            of_left.flush(&self.left.state)?;
            of_right.flush(&self.right.state)?;
        }
        match &mut self.awaited {
            Some(awaited) => awaited.close_through(at),
            None => Ok(()),
        }
    }

    fn close_key(&mut self, left: Option<Slot>, right: Option<Slot>, passed: i64, emit: &mut Emit) -> Result<()> {
        let waiting = match (left, right, &self.awaited) {
            (Some(left), Some(right), Some(_)) => vec![(left, right, self.waits_for(left, right)?)],
            _ => Vec::new(),
        };
        if let Some(left) = left {
            for row in self.final_rows(left, right, passed)? {
                if self.emits_final() {
                    let nearest = match right {
                        Some(right) => self.nearest(right, row)?,
                        None => None,
                    };
                    self.push(left, row, nearest, self.left.state.rows.weight(row), emit);
                }
                self.left.state.rows.remove(left, row);
            }
            self.left.state.table.mark_dirty(left);
        }
        if let Some(right) = right {
            for row in self.useless_rows(right, passed)? {
                self.right.state.rows.remove(right, row);
            }
            self.right.state.table.mark_dirty(right);
        }
        self.wait_anew(waiting)?;
        if let Some([of_left, of_right]) = &mut self.timers {
            left.into_iter()
                .for_each(|slot| of_left.forget(&mut self.left.state, slot));
            right
                .into_iter()
                .for_each(|slot| of_right.forget(&mut self.right.state, slot));
        }
        left.into_iter().for_each(|slot| self.set_left_timer(slot));
        right.map_or(Ok(()), |slot| self.set_right_timer(slot))
    }

    /// The left rows of a key whose nearest right row is known.
    fn final_rows(&self, left: Slot, right: Option<Slot>, passed: i64) -> Result<Vec<RowId>> {
        let rows = &self.left.state.rows;
        if self.watermark == Watermark::MAX {
            return Ok(rows.of(left).collect());
        }
        let place = self.places.of_time(passed);
        if !self.places.descending {
            let before = rows.of(left).take_while(|row| rows.bytes_of(*row) < &place[..]);
            return Ok(before.collect());
        }
        let last = right.and_then(|right| self.right.state.rows.from(right, &behind(&place)).next());
        Ok(match last {
            Some(last) => rows
                .from(left, &self.places.reached_from(self.right.place_of(last)?))
                .collect(),
            None => Vec::new(),
        })
    }

    /// The right rows of a key that no left row that is there or to come may meet.
    fn useless_rows(&self, right: Slot, passed: i64) -> Result<Vec<RowId>> {
        let rows = &self.right.state.rows;
        let place = self.places.of_time(passed);
        if self.places.descending {
            return Ok(rows.from(right, &behind(&place)).collect());
        }
        let Some(last) = rows.below(right, &place).next() else {
            return Ok(Vec::new());
        };
        let kept = match self.watermark == Watermark::MAX || self.right.is_end(last) {
            true => &place[..],
            false => self.right.place_of(last)?,
        };
        let before = rows.of(right).take_while(|row| rows.bytes_of(*row) < kept);
        Ok(before.collect())
    }
}
