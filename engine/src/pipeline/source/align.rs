//! Alignment: splits are read side by side in event time.
//!
//! The watermark is the least of the splits', so whatever a split ahead of it brings is held in state
//! until the others are there too. Reading takes what comes first, not what is oldest; over a long
//! history some splits would run far ahead. So a split that is further ahead of the slowest than a bound
//! isn't taken from until that one has come nearer.
//!
//! Only a split that has history to read is waited for: one that has been at its end since it was
//! opened, has ended, or is idle, holds nobody up. The slowest itself is always read, so there is always
//! one that goes on.
//!
//! What was read ahead of a split that waits stays in the queue here. When that has become much the
//! reader is told to hold the split back, until most of it is taken.

use std::collections::{BTreeMap, BTreeSet};

use super::{SourceInput, SourceProgress, SplitState};
use crate::connector::{SplitId, SplitRead};

/// Rows, and reads, of splits that wait, beyond which the reader holds them back.
const HELD: (usize, usize) = (65_536, 16);

impl SourceProgress {
    /// The splits that others wait for.
    fn with_history(&self) -> impl Iterator<Item = &SplitState> {
        let splits = self.splits.values();
        splits.filter(|split| !(split.live || split.ended || split.idle))
    }

    /// The splits that are further ahead than `bound_us` of the slowest that has history to read.
    fn ahead(&self, bound_us: i64) -> BTreeSet<SplitId> {
        let slowest = self.with_history().map(|split| split.watermark).min();
        let Some(slowest) = slowest else {
            return BTreeSet::new();
        };
        // One of which nothing is known yet may lie anywhere.
        let limit = slowest.map_or(i64::MIN, |slowest| slowest.saturating_add(bound_us));
        let is_ahead = |split: &SplitState| !split.ended && split.watermark.is_some_and(|at| at > limit);
        let ahead = self.splits.iter().filter(|(_, split)| is_ahead(split));
        ahead.map(|(id, _)| id.clone()).collect()
    }
}

impl SourceInput {
    /// How far its splits may be apart, if they are held together.
    fn bound_us(&self) -> Option<i64> {
        let bound_ms = self.spec.alignment_ms.filter(|_| self.spec.watermark.is_some())?;
        let holds = self.reader.as_ref().is_some_and(|reader| reader.holds());
        let bound_us = i64::try_from(bound_ms).unwrap_or(i64::MAX).saturating_mul(1000);
        (holds && self.progress.splits.len() > 1).then_some(bound_us)
    }

    fn ahead(&self) -> BTreeSet<SplitId> {
        let bound_us = self.bound_us();
        bound_us.map_or_else(BTreeSet::new, |bound_us| self.progress.ahead(bound_us))
    }

    /// What a step of `budget` rows takes of each split.
    pub(super) fn share<'a>(&self, ahead: &'a BTreeSet<SplitId>, budget: usize) -> Share<'a> {
        let history = self.progress.with_history().count();
        let read = self.progress.splits.len() - ahead.len();
        Share {
            ahead,
            most: match self.bound_us().filter(|_| history > 1) {
                Some(_) => budget / read.max(1),
                None => usize::MAX,
            },
            taken: BTreeMap::new(),
            full: BTreeSet::new(),
        }
    }

    /// The splits that wait in this step: none where it isn't `wanted`, since all are to be read to
    /// some place.
    pub(super) fn align(&mut self, wanted: bool) -> BTreeSet<SplitId> {
        let ahead = if wanted { self.ahead() } else { BTreeSet::new() };
        for (id, split) in &mut self.progress.splits {
            split.waits = ahead.contains(id);
        }
        let waiting = self.pending.iter().filter(|read| ahead.contains(&read.split.id));
        let (rows, reads) = waiting.fold((0, 0), |(rows, reads), read| (rows + read.payload.events(), reads + 1));
        let held = if rows > HELD.0 || reads > HELD.1 {
            ahead.clone()
        } else if rows > HELD.0 / 2 || reads > HELD.1 / 2 {
            self.held.intersection(&ahead).cloned().collect()
        } else {
            BTreeSet::new()
        };
        if let Some(reader) = self.reader.as_ref().filter(|_| held != self.held) {
            reader.hold(held.clone());
            self.held = held;
        }
        ahead
    }

    /// Whether there is something to take now of splits that were ahead.
    pub(super) fn may_go_on(&self, were_ahead: &BTreeSet<SplitId>) -> bool {
        if were_ahead.is_empty() {
            return false;
        }
        let ahead = self.ahead();
        let mut pending = self.pending.iter().map(|read| &read.split.id);
        pending.any(|id| were_ahead.contains(id) && !ahead.contains(id))
    }
}

/// What a step takes of each split: while history is read, no more than its share (or one read), so that
/// none runs far ahead within the step. What it takes is what comes first.
pub(super) struct Share<'a> {
    ahead: &'a BTreeSet<SplitId>,
    most: usize,
    taken: BTreeMap<SplitId, usize>,
    /// Splits of which a read was too large: what follows it must not overtake it.
    full: BTreeSet<SplitId>,
}

impl Share<'_> {
    /// Whether a read may be taken. Asked of a split's reads in their order.
    pub(super) fn is_left(&mut self, read: &SplitRead) -> bool {
        let id = &read.split.id;
        if self.ahead.contains(id) || self.full.contains(id) {
            return false;
        }
        let fits = |taken: &usize| taken + read.payload.events() <= self.most;
        let is_left = self.taken.get(id).is_none_or(fits);
        if !is_left {
            self.full.insert(id.clone());
        }
        is_left
    }

    pub(super) fn take(&mut self, read: &SplitRead) {
        *self.taken.entry(read.split.id.clone()).or_default() += read.payload.events();
    }
}
