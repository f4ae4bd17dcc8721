//! The clock that rows of a pace come by: one for all readers of the same rows, as long as one of them reads.
//!
//! So a reader that begins later, as a new view's does, finds the rows that others have had already, and
//! is where they are as soon as it has read them. If each had a clock of its own it would stay behind for ever.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::connector::Position;

/// Which rows: a connector's name and its options.
pub type Rows = (&'static str, BTreeMap<String, String>);

static CLOCKS: Mutex<Vec<(Rows, Weak<Clock>)>> = Mutex::new(Vec::new());

/// How far rows have come.
pub struct Clock {
    begun: Instant,
    /// Rows a second and split.
    pace: f64,
    /// By split, the row that came when it began.
    first: Mutex<Vec<Position>>,
}

impl Clock {
    /// The clock of these rows for a reader that begins at these positions, one for each split. It is
    /// there by then, if it wasn't.
    pub fn of(rows: &Rows, pace: f64, from: &[Position]) -> Arc<Clock> {
        let mut clocks = CLOCKS.lock();
        clocks.retain(|(_, clock)| clock.strong_count() > 0);
        let known = clocks.iter().find(|(of, _)| of == rows);
        if let Some(clock) = known.and_then(|(_, clock)| clock.upgrade()) {
            let since = clock.since();
            let mut first = clock.first.lock();
            for (first, from) in first.iter_mut().zip(from) {
                *first = (*first).max(from.saturating_sub(since));
            }
            drop(first);
            return clock;
        }
        let clock = Arc::new(Clock {
            begun: Instant::now(),
            pace,
            first: Mutex::new(from.to_vec()),
        });
        clocks.push((rows.clone(), Arc::downgrade(&clock)));
        clock
    }

    /// Rows of a split that have come since it began, without the first one.
    fn since(&self) -> Position {
        (self.begun.elapsed().as_secs_f64() * self.pace) as Position
    }

    /// The row of a split that comes next.
    pub fn due(&self, split: usize) -> Position {
        self.first.lock()[split].saturating_add(self.since()).saturating_add(1)
    }

    /// How long until a row of a split comes.
    pub fn until(&self, split: usize, row: Position) -> Duration {
        let rows = row.saturating_sub(self.first.lock()[split]);
        let due = Duration::try_from_secs_f64(rows as f64 / self.pace).unwrap_or(Duration::MAX);
        due.saturating_sub(self.begun.elapsed())
    }
}
