//! Closing: which rows come too late, which sessions are over, and what stays of them.

use super::layout::{Emit, is_mark, time_bytes, time_of};
use super::runs::{last_of, members};
use super::{Change, Session};
use crate::Result;
use crate::operator::arrangement::RowId;
use crate::operator::timers::{Hint, due};
use crate::shard::hash_rows;
use crate::table::{Keys, Slot};

/// A row or an entry near a change.
struct Near {
    first: i64,
    last: i64,
    is_mark: bool,
}

impl Session {
    /// Whether a late row's session is closed as of its split's watermark.
    pub(super) fn is_closed(&self, change: &Change) -> bool {
        let Some(limit) = self.limit(change.watermark) else {
            return false;
        };
        let near = |row: RowId| {
            let bytes = self.state.rows.bytes_of(row);
            let (first, last) = self.gap.span(bytes);
            Near {
                first,
                last,
                is_mark: is_mark(bytes),
            }
        };
        let (slot, bytes) = (change.slot, time_bytes(change.time));
        let next = self.state.rows.from(slot, &bytes).next().map(near);
        let at = next.as_ref().filter(|next| next.first == change.time);
        let previous = self.state.rows.below(slot, &bytes).next().map(near);
        let within = match (&previous, &next) {
            _ if at.is_some_and(|at| !at.is_mark) => true,
            (Some(previous), _) if previous.is_mark => false,
            (Some(previous), _) if previous.last >= change.time => true,
            (Some(previous), Some(next)) => self.gap.joins(previous.last, next.first),
            _ => false,
        };
        if within {
            return self.gap.after(last_of(&self.state, slot, change.time, self.gap)) <= limit;
        }
        if self.gap.after(change.time) <= limit {
            return true;
        }
        let before = at.or(previous.as_ref());
        before.is_some_and(|before| {
            self.gap.joins(before.last, change.time) && (before.is_mark || self.gap.after(before.last) <= limit)
        })
    }

    /// Sees to it that the partition is looked at when the session of a changed row may be over.
    pub(super) fn set_timer(&mut self, change: &Change) {
        let Some(close) = self.spec.close else { return };
        let Some(timers) = &mut self.timers else { return };
        // A row that is taken back may have been its session's last.
        let end = match change.weight > 0 {
            true => due(self.gap.after(change.time), close.lateness_us),
            false => self.watermark.saturating_add(1),
        };
        // One that is over already was open thanks to other rows, and these have a timer.
        if end > self.watermark {
            timers.set(&mut self.state, change.slot, end, Hint::default());
        }
    }

    /// Closes what is over.
    pub(super) fn close(&mut self, emit: &mut Emit) -> Result<()> {
        let limit = self.limit(self.watermark);
        let Some(timers) = &mut self.timers else {
            return Ok(());
        };
        timers.flush(&self.state)?;
        let Some(limit) = limit else { return Ok(()) };
        let due = timers.take_due(self.watermark)?;
        let hashes = hash_rows(&due.partitions);
        let slots = self.state.lookup(Keys::new(&due.partitions, &hashes))?;
        for (slot, hint) in slots.into_iter().zip(due.hints) {
            if let Some(slot) = slot {
                self.close_partition(slot, hint, limit, emit)?;
            }
        }
        self.timers.as_mut().map_or(Ok(()), |timers| timers.flush(&self.state))
    }

    /// Closes the sessions of a partition that are over, and sets a timer for the next.
    fn close_partition(&mut self, slot: Slot, hint: Hint, limit: i64, emit: &mut Emit) -> Result<()> {
        let mut hint = hint;
        let mut last_closed = None;
        let open = loop {
            let Some((first, last)) = self.first_session(slot, hint) else {
                break None;
            };
            if self.gap.after(last) > limit {
                break Some(Hint { first, last });
            }
            for member in members(&self.state, slot, first, last, self.gap) {
                if self.emits_on_close() {
                    member.emit(slot, emit);
                }
                self.state.rows.remove(slot, member.row);
            }
            self.state.table.mark_dirty(slot);
            last_closed = Some(last);
            hint = Hint::default();
        };
        let mark_ends = self.renew_mark(slot, last_closed, limit)?;
        let ends = open.map(|open| self.gap.after(open.last)).into_iter().chain(mark_ends);
        if let (Some(close), Some(timers)) = (self.spec.close, &mut self.timers) {
            timers.forget(&mut self.state, slot);
            if let Some(end) = ends.min() {
                let hint = open.unwrap_or_default();
                timers.set(&mut self.state, slot, due(end, close.lateness_us), hint);
            }
        }
        Ok(())
    }

    /// The first and last time of a partition's first session.
    fn first_session(&self, slot: Slot, hint: Hint) -> Option<(i64, i64)> {
        let rows = &self.state.rows;
        let first = rows.of(slot).map(|row| rows.bytes_of(row)).find(|row| !is_mark(row))?;
        let first = time_of(first);
        let from = if hint.first == first { hint.last } else { first };
        Some((first, last_of(&self.state, slot, from, self.gap)))
    }

    /// Puts the mark where the session that has closed last had its last row; it goes a gap after
    /// that session's end. Returns when that will be.
    fn renew_mark(&mut self, slot: Slot, last_closed: Option<i64>, limit: i64) -> Result<Option<i64>> {
        let rows = &self.state.rows;
        let old = rows.of(slot).next().filter(|row| is_mark(rows.bytes_of(*row)));
        let Some(marked) = last_closed.or_else(|| old.map(|row| time_of(rows.bytes_of(row)))) else {
            return Ok(None);
        };
        let ends = self.gap.after(self.gap.after(marked));
        let stays = ends > limit;
        if let Some(old) = old.filter(|_| last_closed.is_some() || !stays) {
            self.state.rows.remove(slot, old);
            self.state.table.mark_dirty(slot);
        }
        if stays && last_closed.is_some() {
            self.state.add(slot, &time_bytes(marked), 1)?;
        }
        Ok(stays.then_some(ends))
    }
}
