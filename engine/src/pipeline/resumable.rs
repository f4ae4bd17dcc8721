//! How long a subscriber may stay away: what it was given lately stays in the changelog, so that
//! it can come back to any epoch that it may have seen last.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use weir_state::{Epoch, RelationId};

use super::publication::Publication;

/// How long.
const RESUMABLE: Duration = Duration::from_secs(60);
/// Epochs that come closer together than this are not told apart.
const COARSE: Duration = Duration::from_millis(100);

/// The epochs that a subscriber was given within that time.
#[derive(Default)]
pub struct Given {
    epochs: VecDeque<(Instant, Epoch)>,
}

impl Given {
    /// Notes that an epoch is given now.
    pub fn note(&mut self, epoch: Epoch, now: Instant) {
        let close = self
            .epochs
            .back()
            .is_some_and(|(at, _)| now.duration_since(*at) < COARSE);
        if !close {
            self.epochs.push_back((now, epoch));
        }
    }

    /// The last epoch that was given so long ago that nobody comes back to one before it, if there
    /// is a new one.
    pub fn outlived(&mut self, now: Instant) -> Option<Epoch> {
        let mut outlived = None;
        while let Some((at, epoch)) = self.epochs.front()
            && now.duration_since(*at) >= RESUMABLE
        {
            outlived = Some(*epoch);
            self.epochs.pop_front();
        }
        outlived
    }
}

/// Subscribers that have gone and may come back.
#[derive(Default)]
pub struct Away {
    followers: Mutex<Vec<(Instant, RelationId, String)>>,
}

impl Away {
    /// A subscriber goes; its place in the changelog stays for a while.
    pub fn add(&self, view: RelationId, follower: String) {
        let until = Instant::now() + RESUMABLE;
        self.followers.lock().push((until, view, follower));
    }

    /// Gives up those who have been away for too long.
    pub fn give_up(&self, publication: &Publication) {
        let now = Instant::now();
        let mut followers = self.followers.lock();
        for (_, view, follower) in followers.iter().filter(|(until, ..)| *until <= now) {
            publication.unfollow(*view, follower);
        }
        followers.retain(|(until, ..)| *until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_outlived_when_it_was_given_long_ago() {
        let start = Instant::now();
        let mut given = Given::default();
        for step in 0..10 {
            given.note(Epoch(step), start + COARSE * step as u32);
        }
        given.note(Epoch(10), start + COARSE * 9 + COARSE / 2);
        assert_eq!(given.outlived(start + RESUMABLE / 2), None);
        assert_eq!(given.outlived(start + RESUMABLE + COARSE * 3), Some(Epoch(3)));
        assert_eq!(given.outlived(start + RESUMABLE + COARSE * 3), None);
        assert_eq!(given.outlived(start + RESUMABLE * 2), Some(Epoch(9)));
    }
}
