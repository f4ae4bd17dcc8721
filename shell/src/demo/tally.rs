//! What is counted while the demo is watched: records read, their rate, and whether the views agree.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::question::{Progress, Totals};

/// The rate is that of the last two seconds.
const RATE_OVER: Duration = Duration::from_secs(2);

/// The counts.
#[derive(Default)]
pub struct Tally {
    /// Where the topics ended when the demo began.
    begin: i64,
    samples: VecDeque<(Instant, i64)>,
    /// The views' flights as last seen.
    pub totals: Totals,
    /// Watermark of the flights, microseconds.
    pub watermark_us: Option<i64>,
    /// How often the views were looked at.
    pub looks: u64,
    /// How often they did not agree.
    pub disagreements: u64,
}

impl Tally {
    /// Begins to count at this progress.
    pub fn new(begin: &Progress) -> Tally {
        Tally {
            begin: begin.position,
            ..Tally::default()
        }
    }

    /// Takes in a look at the views and at the topics.
    pub fn add(&mut self, now: Instant, totals: Totals, progress: Progress) {
        self.totals = totals;
        self.watermark_us = progress.watermark_us;
        self.looks += 1;
        self.disagreements += u64::from(!totals.agree());
        self.samples.push_back((now, progress.position - self.begin));
        // One sample beyond the span stays, so that there is always a whole span to measure.
        while self.samples.len() > 2 && now.duration_since(self.samples[1].0) >= RATE_OVER {
            self.samples.pop_front();
        }
    }

    /// Records read.
    pub fn records(&self) -> u64 {
        let last = self.samples.back();
        last.map_or(0, |(_, records)| u64::try_from(*records).unwrap_or(0))
    }

    /// Records read in a second.
    pub fn rate(&self) -> u64 {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else {
            return 0;
        };
        let seconds = last.0.duration_since(first.0).as_secs_f64();
        if seconds <= 0.0 {
            return 0;
        }
        ((last.1 - first.1) as f64 / seconds).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(position: i64) -> Progress {
        Progress {
            position,
            watermark_us: None,
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut tally = Tally::new(&progress(100));
        assert_eq!((tally.records(), tally.rate()), (0, 0));
        tally.add(at(0), Totals::default(), progress(100));
        assert_eq!(tally.rate(), 0);
        tally.add(at(500), Totals::default(), progress(600));
        assert_eq!((tally.records(), tally.rate()), (500, 1000));
        for second in 1..10 {
            tally.add(at(500 + second * 1000), Totals::default(), progress(600));
        }
        assert_eq!((tally.records(), tally.rate()), (500, 0));
    }

    #[test]
    fn views_that_disagree_are_counted() {
        let mut tally = Tally::default();
        let agreeing = Totals {
            departures: 3,
            weather_delays: 3,
            carriers: 3,
        };
        tally.add(Instant::now(), agreeing, progress(0));
        tally.add(
            Instant::now(),
            Totals {
                carriers: 4,
                ..agreeing
            },
            progress(0),
        );
        assert_eq!((tally.looks, tally.disagreements), (2, 1));
    }
}
