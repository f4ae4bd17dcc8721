//! Places: where rows lie in the order by which they are joined.
//!
//! A place is the row codec's bytes of one value, descending where the nearest right row lies behind. So
//! the right row that a left one looks for is always the last one before its own place, in the order of
//! the bytes. Whether one at the same place counts is all that is left to tell apart.

use crate::graph::{AsOfSpec, Nearest};
use crate::operator::timers::{TIME_BYTES, time_bytes, time_of};

/// What the row codec puts before a value that is there.
const VALUE: u8 = 2;

/// How places of an as-of join are compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// The greatest come first.
    pub(super) descending: bool,
    /// A right row at a left row's own place is near it.
    inclusive: bool,
}

impl Places {
    pub(super) fn new(spec: &AsOfSpec) -> Self {
        Self {
            descending: is_descending(spec),
            inclusive: matches!(spec.nearest, Nearest::AtOrBefore | Nearest::AtOrAfter),
        }
    }

    /// Right rows below this may be near a left row at `place`.
    pub(super) fn bound(self, place: &[u8]) -> Vec<u8> {
        match self.inclusive {
            true => behind(place),
            false => place.to_vec(),
        }
    }

    /// A right row at `place` may be near left rows from this on.
    pub(super) fn reached_from(self, place: &[u8]) -> Vec<u8> {
        match self.inclusive {
            true => place.to_vec(),
            false => behind(place),
        }
    }

    /// The place of an event time.
    pub(super) fn of_time(self, time: i64) -> [u8; 1 + TIME_BYTES] {
        let mut place = [VALUE; 1 + TIME_BYTES];
        place[1..].copy_from_slice(&time_bytes(time));
        if self.descending {
            place[1..].iter_mut().for_each(|byte| *byte = !*byte);
        }
        place
    }

    /// The event time that a row's bytes begin with.
    pub(super) fn time_of(self, row: &[u8]) -> i64 {
        match self.descending {
            true => !time_of(&row[1..]),
            false => time_of(&row[1..]),
        }
    }
}

/// Whether the nearest right row lies behind.
pub(super) fn is_descending(spec: &AsOfSpec) -> bool {
    matches!(spec.nearest, Nearest::AtOrAfter | Nearest::After)
}

/// The least bytes that are above all rows at `place`, which is no prefix of another's.
pub(super) fn behind(place: &[u8]) -> Vec<u8> {
    let mut bytes = place.to_vec();
    while let Some(last) = bytes.pop() {
        if last < u8::MAX {
            bytes.push(last + 1);
            break;
        }
    }
    bytes
}
