//! Runs of rows that follow each other by less than the gap, and what changes make of them.

use super::layout::{Emit, is_mark, time_bytes, time_of};
use crate::operator::arrangement::{Arrangement, RowId};
use crate::table::Slot;

/// The gap between sessions, microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap(pub(super) i64);

impl Gap {
    /// Whether rows of these times, none between them, are of one session.
    pub(super) fn joins(self, one: i64, other: i64) -> bool {
        one.abs_diff(other) < self.0 as u64
    }

    /// The end of a session whose last row is of this time; at the end of time all are over.
    pub(super) fn after(self, last: i64) -> i64 {
        last.saturating_add(self.0).min(i64::MAX - 1)
    }
}

/// A row and the session that it is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) row: RowId,
    weight: i64,
    time: i64,
    bounds: (i64, i64),
}

/// A stretch of time whose sessions some changes may touch, and no others.
pub(super) struct Region {
    slot: Slot,
    from: i64,
    through: i64,
    /// The rows in it before the changes.
    old: Vec<Member>,
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
        let before = time_of(state.rows.bytes_of(row));
        if !gap.joins(before, first) {
            break;
        }
        first = before;
    }
    first
}

/// The last time of the session that a row of this time is in, or would be in.
pub(super) fn last_of(state: &Arrangement, slot: Slot, time: i64, gap: Gap) -> i64 {
    let mut last = time;
    for row in state.rows.from(slot, &time_bytes(time)) {
        let after = time_of(state.rows.bytes_of(row));
        if !gap.joins(last, after) {
            break;
        }
        last = after;
    }
    last
}

/// The rows from one time through another, each with its session; no session may reach beyond.
pub(super) fn members(state: &Arrangement, slot: Slot, from: i64, through: i64, gap: Gap) -> Vec<Member> {
    let mut found: Vec<Member> = Vec::new();
    let mut begin = 0;
    for row in state.rows.from(slot, &time_bytes(from)) {
        let bytes = state.rows.bytes_of(row);
        let time = time_of(bytes);
        if time > through {
            break;
        }
        if is_mark(bytes) {
            continue;
        }
        if found.last().is_some_and(|last| !gap.joins(last.time, time)) {
            bound(&mut found[begin..], gap);
            begin = found.len();
        }
        found.push(Member {
            row,
            weight: state.rows.weight(row),
            time,
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
    let bounds = (first.time, gap.after(last.time));
    session.iter_mut().for_each(|member| member.bounds = bounds);
}

impl Member {
    /// Emits the row as it is.
    pub(super) fn emit(&self, slot: Slot, emit: &mut Emit) {
        emit.push(slot, self.row, self.weight, self.bounds);
    }
}
