//! Runs of rows that follow each other by less than the gap, and what changes make of them.
//!
//! Where groups are kept, an entry stands for all rows from its session's first through its last: a
//! run of its own, but for the other groups of the session.

use super::layout::{Emit, TIME_BYTES, is_mark, time_bytes, time_of};
use crate::operator::arrangement::{Arrangement, RowId};
use crate::table::Slot;

/// The gap between sessions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    /// Microseconds.
    pub(super) us: i64,
    /// It lies between entries that begin with their first and their last time, not between rows, which
    /// begin with their time.
    pub(super) between_entries: bool,
}

impl Gap {
    /// Whether a row of a time is of the session that has come up to another time, no row between them.
    pub(super) fn joins(self, last: i64, time: i64) -> bool {
        time.saturating_sub(last) < self.us
    }

    /// The end of a session whose last row is of this time; at the end of time all are over.
    pub(super) fn after(self, last: i64) -> i64 {
        last.saturating_add(self.us).min(i64::MAX - 1)
    }

    /// The bounds of a session from its first row through its last.
    pub(super) fn bounds(self, (first, last): (i64, i64)) -> (i64, i64) {
        (first, self.after(last))
    }

    /// The first and last time that kept bytes stand for.
    pub(super) fn span(self, bytes: &[u8]) -> (i64, i64) {
        let first = time_of(bytes);
        match self.between_entries && !is_mark(bytes) {
            true => (first, time_of(&bytes[TIME_BYTES..])),
            false => (first, first),
        }
    }
}

/// A row or an entry, and the session that it is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) row: RowId,
    weight: i64,
    first: i64,
    last: i64,
    pub(super) bounds: (i64, i64),
}

/// A stretch of time whose sessions some changes may touch, and no others.
pub(super) struct Region {
    pub(super) slot: Slot,
    pub(super) from: i64,
    pub(super) through: i64,
    /// The rows in it before the changes.
    pub(super) old: Vec<Member>,
}

impl Region {
    /// The regions around changes of these times, ascending, in a slot's rows as they are before.
    pub(super) fn around(
        state: &Arrangement,
        slot: Slot,
        times: impl Iterator<Item = i64>,
        gap: Gap,
        out: &mut Vec<Region>,
    ) {
        let mut open: Option<(i64, i64)> = None;
        for time in times {
            open = Some(match open {
                Some((from, through)) if time <= through => (from, through),
                Some((from, through)) if gap.joins(through, time) => (from, last_of(state, slot, time, gap)),
                complete => {
                    out.extend(complete.map(|(from, through)| Region::of(state, slot, from, through, gap)));
                    (first_of(state, slot, time, gap), last_of(state, slot, time, gap))
                }
            });
        }
        out.extend(open.map(|(from, through)| Region::of(state, slot, from, through, gap)));
    }

    fn of(state: &Arrangement, slot: Slot, from: i64, through: i64, gap: Gap) -> Region {
        let old = members(state, slot, from, through, gap);
        Region {
            slot,
            from,
            through,
            old,
        }
    }

    /// Adds to `emit` what the changes have made of the rows.
    pub(super) fn difference(&self, state: &Arrangement, gap: Gap, emit: &mut Emit) {
        let new = members(state, self.slot, self.from, self.through, gap);
        let weight = |member: Option<Member>| member.map_or(0, |member| member.weight);
        let each = |leaves: Option<Member>, comes: Option<Member>| match (leaves, comes) {
            (Some(leaves), Some(comes)) if leaves.bounds == comes.bounds => {
                if leaves.weight != comes.weight {
                    emit.push(self.slot, comes.row, comes.weight - leaves.weight, comes.bounds);
                }
            }
            _ => {
                for (member, weight) in [(leaves, -weight(leaves)), (comes, weight(comes))] {
                    if let Some(member) = member {
                        emit.push(self.slot, member.row, weight, member.bounds);
                    }
                }
            }
        };
        let old = self.old.iter().copied();
        state.rows.side_by_side(old, new.into_iter(), |member| member.row, each);
    }
}

/// The first time of the session that a row of this time is in, or would be in.
fn first_of(state: &Arrangement, slot: Slot, time: i64, gap: Gap) -> i64 {
    let mut first = time;
    for row in state.rows.below(slot, &time_bytes(time)) {
        let bytes = state.rows.bytes_of(row);
        let (from, through) = gap.span(bytes);
        if is_mark(bytes) || !gap.joins(through, first) {
            break;
        }
        first = from;
    }
    first
}

/// The last time of the session that a row of this time is in, or would be in.
pub(super) fn last_of(state: &Arrangement, slot: Slot, time: i64, gap: Gap) -> i64 {
    let bytes = time_bytes(time);
    let mut last = time;
    if let Some(before) = state.rows.below(slot, &bytes).next() {
        // An entry may reach beyond the time.
        last = last.max(gap.span(state.rows.bytes_of(before)).1);
    }
    for row in state.rows.from(slot, &bytes) {
        let (from, through) = gap.span(state.rows.bytes_of(row));
        if !gap.joins(last, from) {
            break;
        }
        last = last.max(through);
    }
    last
}

/// The rows from one time through another, each with its session; no session may reach beyond.
pub(super) fn members(state: &Arrangement, slot: Slot, from: i64, through: i64, gap: Gap) -> Vec<Member> {
    let mut found: Vec<Member> = Vec::new();
    let mut begin = 0;
    for row in state.rows.from(slot, &time_bytes(from)) {
        let bytes = state.rows.bytes_of(row);
        let (first, last) = gap.span(bytes);
        if first > through {
            break;
        }
        if is_mark(bytes) {
            continue;
        }
        if found.last().is_some_and(|before| !gap.joins(before.last, first)) {
            bound(&mut found[begin..], gap);
            begin = found.len();
        }
        found.push(Member {
            row,
            weight: state.rows.weight(row),
            first,
            last,
            bounds: (0, 0),
        });
    }
    bound(&mut found[begin..], gap);
    found
}

/// Gives the rows of one session its bounds.
fn bound(session: &mut [Member], gap: Gap) {
    let (Some(first), Some(last)) = (session.first(), session.last()) else {
        return;
    };
    let bounds = gap.bounds((first.first, last.last));
    session.iter_mut().for_each(|member| member.bounds = bounds);
}

impl Member {
    /// Emits the row as it is.
    pub(super) fn emit(&self, slot: Slot, emit: &mut Emit) {
        emit.push(slot, self.row, self.weight, self.bounds);
    }
}
