//! What a view's changelog holds, by epoch and in bytes, so that those who read it slowly don't make
//! it grow without bound, and what they read at once has a bound too.
//!
//! Only right epochs are told apart, since readers go from one to the next.

use std::collections::VecDeque;

use weir_state::Epoch;

/// The epochs of a changelog, and what each has added.
#[derive(Default)]
pub struct Backlog {
    /// Right epochs, ascending, each with the bytes that were ever written up to it.
    upto: VecDeque<(Epoch, u64)>,
    /// Bytes ever written.
    total: u64,
}

impl Backlog {
    /// An epoch has added so many bytes. One that isn't right belongs to the next that is.
    pub fn add(&mut self, epoch: Epoch, is_right: bool, bytes: u64) {
        self.total += bytes;
        let last = self.upto.back().map_or(0, |(_, total)| *total);
        if is_right && self.total > last {
            self.upto.push_back((epoch, self.total));
        }
    }

    /// Bytes that came after an epoch.
    pub fn after(&self, epoch: Epoch) -> u64 {
        self.total - self.before(epoch)
    }

    /// The last epoch up to which there are at most so many bytes after `after`, or, where the first is
    /// larger than that, the first; `last` if that isn't known of an epoch below it.
    pub fn within(&self, after: Epoch, last: Epoch, bytes: u64) -> Epoch {
        let from = self.upto.partition_point(|(epoch, _)| *epoch <= after);
        let bound = self.before(after) + bytes;
        let fits = self.upto.partition_point(|(_, total)| *total <= bound).max(from + 1);
        match self.upto.get(fits - 1) {
            // What comes behind it has yet to be read.
            Some((epoch, _)) if fits < self.upto.len() => last.min(*epoch),
            _ => last,
        }
    }

    /// The first epoch after which there are at most so many bytes.
    pub fn floor(&self, bytes: u64) -> Epoch {
        let enough = self.upto.partition_point(|(_, total)| self.total - total > bytes);
        let last = self.upto.back();
        self.upto.get(enough).or(last).map_or(Epoch::ZERO, |(epoch, _)| *epoch)
    }

    /// Nobody asks after earlier epochs than this any more.
    pub fn forget(&mut self, upto: Epoch) {
        // The last one stays, to tell what was before those that come.
        while self.upto.get(1).is_some_and(|(epoch, _)| *epoch <= upto) {
            self.upto.pop_front();
        }
    }

    /// Bytes ever written up to an epoch, as far as that is remembered.
    fn before(&self, epoch: Epoch) -> u64 {
        let next = self.upto.partition_point(|(other, _)| *other <= epoch);
        match next.checked_sub(1) {
            Some(last) => self.upto[last].1,
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Epochs 2, 4, … 20 of ten bytes each; those that 4 divides are right.
    fn backlog() -> Backlog {
        let mut backlog = Backlog::default();
        for epoch in (2..=20).step_by(2) {
            backlog.add(Epoch(epoch), epoch % 4 == 0, 10);
        }
        backlog
    }

    #[test]
    fn what_came_after_an_epoch_is_known() {
        let mut backlog = backlog();
        assert_eq!(backlog.after(Epoch::ZERO), 100);
        assert_eq!(backlog.after(Epoch(8)), 60);
        assert_eq!(backlog.after(Epoch(9)), 60);
        assert_eq!(backlog.after(Epoch(20)), 0);
        backlog.add(Epoch(22), false, 5);
        assert_eq!(backlog.after(Epoch(20)), 5);
        backlog.forget(Epoch(13));
        assert_eq!(backlog.after(Epoch(12)), 45);
        assert_eq!(backlog.after(Epoch(16)), 25);
    }

    #[test]
    fn a_part_ends_at_a_right_epoch_and_is_never_empty() {
        let backlog = backlog();
        let last = Epoch(20);
        assert_eq!(backlog.within(Epoch::ZERO, last, 45), Epoch(8));
        assert_eq!(backlog.within(Epoch::ZERO, last, 40), Epoch(8));
        assert_eq!(backlog.within(Epoch::ZERO, last, 1), Epoch(4));
        assert_eq!(backlog.within(Epoch(8), last, 20), Epoch(12));
        assert_eq!(backlog.within(Epoch(8), last, 1000), last);
        assert_eq!(backlog.within(Epoch(8), Epoch(21), 1000), Epoch(21));
        assert_eq!(backlog.within(Epoch(20), Epoch(25), 1), Epoch(25));
        assert_eq!(Backlog::default().within(Epoch(3), Epoch(9), 1), Epoch(9));
    }

    #[test]
    fn the_floor_keeps_no_more_than_it_may() {
        let backlog = backlog();
        assert_eq!(backlog.floor(1000), Epoch(4));
        assert_eq!(backlog.floor(40), Epoch(12));
        assert_eq!(backlog.floor(39), Epoch(16));
        assert_eq!(backlog.floor(0), Epoch(20));
        assert_eq!(Backlog::default().floor(0), Epoch::ZERO);
    }

    #[test]
    fn epochs_that_add_nothing_are_not_remembered() {
        let mut backlog = Backlog::default();
        (1..1000).for_each(|epoch| backlog.add(Epoch(epoch), true, 0));
        assert!(backlog.upto.is_empty());
    }
}
