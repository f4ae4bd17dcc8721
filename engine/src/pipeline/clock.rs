//! The clock of an engine, and its lots: what a step brings along that is no input.
//!
//! Operators read neither. Each step has one time and one seed, which the pipeline's thread takes
//! from here.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What says which time it is: the machine, or a test that sets it.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<Fixed>>);

#[derive(Debug)]
struct Fixed {
    us: AtomicI64,
    /// What it stood at first, and when that was.
    begun: (i64, Instant),
}

impl Clock {
    /// A clock that stands at a time, microseconds since the epoch, until [`Clock::set`] moves it.
    pub fn fixed(us: i64) -> Clock {
        Clock(Some(Arc::new(Fixed {
            us: AtomicI64::new(us),
            begun: (us, Instant::now()),
        })))
    }

    /// Moves a fixed clock. Pipelines that sleep don't notice: [`super::Engine::wake`] them.
    ///
    /// # Panics
    /// If it is the machine's.
    pub fn set(&self, us: i64) {
        let fixed = self.0.as_ref().expect("only a fixed clock can be set");
        fixed.us.store(us, Ordering::Release);
    }

    /// Whether it stands until it is set.
    pub fn is_fixed(&self) -> bool {
        self.0.is_some()
    }

    /// Microseconds since the epoch.
    pub fn now_us(&self) -> i64 {
        match &self.0 {
            Some(fixed) => fixed.us.load(Ordering::Acquire),
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_micros() as i64),
        }
    }

    /// The same moment as one by which lengths of time are measured: setting the machine's clock doesn't
    /// move it.
    pub fn instant(&self) -> Instant {
        match &self.0 {
            Some(fixed) => {
                let (first_us, begun) = fixed.begun;
                let passed_us = self.now_us().saturating_sub(first_us).max(0);
                begun + Duration::from_micros(passed_us.unsigned_abs())
            }
            None => Instant::now(),
        }
    }
}

/// A number that nobody knows before: the standard library's hash keys are the operating system's
/// random numbers.
pub fn seed() -> u128 {
    let half = || u128::from(RandomState::new().hash_one(0));
    half() << 64 | half()
}
