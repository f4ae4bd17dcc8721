//! Interval joins: partners' event times lie near each other, so a row may go when the watermark has
//! passed the latest time that a partner of it can have.
//!
//! State lies in buckets of time, half as wide as the interval (and at least a second): a change
//! looks for its partners in the few buckets that they can be in, and a bucket is let go as a whole.
//! A row is late if its time lies below the watermark of its own split, which the hidden column
//! behind it tells. What is on time finds all its partners, since no state goes before a watermark
//! that is never above any split's.

use super::*;
use crate::graph::IntervalSpec;

/// Buckets are no narrower than this.
const LEAST_WIDTH_US: i64 = 1_000_000;

/// One side's part of an [`IntervalSpec`]: partners' times lie from `from_us` to `to_us` after a
/// row's own.
pub(super) struct Reach {
    /// The event-time column.
    pub(super) time: usize,
    from_us: i64,
    to_us: i64,
    width_us: i64,
    lateness_us: i64,
}

impl Reach {
    pub(super) fn new(interval: IntervalSpec, is_left: bool) -> Self {
        let IntervalSpec { from_us, to_us, .. } = interval;
        let (time, from_us, to_us) = match is_left {
            true => (interval.left_time, from_us, to_us),
            false => (interval.right_time, to_us.saturating_neg(), from_us.saturating_neg()),
        };
        Self {
            time,
            from_us,
            to_us,
            width_us: (to_us.saturating_sub(from_us) / 2).max(LEAST_WIDTH_US),
            lateness_us: interval.lateness_us,
        }
    }

    /// A time's bucket, called by the last time in it. Rows without time are in none, and meet nothing.
    pub(super) fn bucket(&self, time: Option<i64>) -> i64 {
        let last = |time: i64| {
            let begin = time.saturating_sub(time.rem_euclid(self.width_us));
            begin.saturating_add(self.width_us - 1)
        };
        bucket_of(time.map(last))
    }

    /// The buckets of the other side in which a row's partners may be.
    pub(super) fn partner_buckets(&self, time: i64) -> impl Iterator<Item = i64> + use<> {
        let first = self.bucket(Some(time.saturating_add(self.from_us)));
        let last = self.bucket(Some(time.saturating_add(self.to_us)));
        let width_us = self.width_us;
        let next = move |bucket: &i64| bucket.checked_add(width_us).filter(|next| *next <= last);
        std::iter::successors((first <= last).then_some(first), next)
    }

    /// The last bucket whose rows have all had their partners, at a watermark.
    pub(super) fn closed_through(&self, watermark: Watermark) -> Option<i64> {
        // A partner may still come at the watermark itself.
        let passed = closed_through(watermark, self.lateness_us)?.saturating_sub(1);
        Some(match watermark {
            Watermark::MAX => Watermark::MAX - 1,
            _ => passed.saturating_sub(self.to_us),
        })
    }

    /// Which rows are not below their split's watermark, in column `watermark`; `None` if all are.
    pub(super) fn on_time(&self, batch: &ChangeBatch, watermark: usize) -> Result<Option<BooleanArray>> {
        let column = |column: usize| {
            let column = batch.rows().columns().get(column);
            column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
        };
        let (Some(times), Some(watermarks)) = (column(self.time), column(watermark)) else {
            return Err(Error::internal("an interval join's input has no watermark column"));
        };
        let is_on_time = |(time, watermark): (Option<i64>, Option<i64>)| match (time, watermark) {
            (Some(time), Some(watermark)) => time.saturating_add(self.lateness_us) >= watermark,
            _ => true,
        };
        let on_time: BooleanArray = times.iter().zip(watermarks).map(|row| Some(is_on_time(row))).collect();
        Ok((on_time.true_count() < on_time.len()).then_some(on_time))
    }
}
