//! How much the next checkpoint is likely to write.
//!
//! Epochs grow with the input that piles up, and must not grow without bound: what a crash leaves
//! to be replayed at the next start, and the memory of a commit, are as large as they are. What an
//! operator will write isn't known before it has written it, so it is learned: so many bytes for
//! each row taken in, as at the checkpoints before.

/// A checkpoint that is likely to write this much is due.
pub const FULL_BYTES: usize = 24 << 20;
/// Taken for a row's share until something is known.
const FIRST_GUESS: f64 = 256.0;
/// Of fewer rows nothing is learned: what a closing window writes is no row's share.
const TELLING_ROWS: usize = 1000;

/// Rows taken in since the last checkpoint, and what a row is likely to cost.
pub struct Size {
    rows: usize,
    row_bytes: f64,
}

impl Size {
    /// Of a pipeline that has written nothing yet.
    pub fn new() -> Size {
        Size {
            rows: 0,
            row_bytes: FIRST_GUESS,
        }
    }

    /// Rows were taken in.
    pub fn take(&mut self, rows: usize) {
        self.rows += rows;
    }

    /// Whether it is time for a checkpoint.
    pub fn is_full(&self) -> bool {
        self.reaches(FULL_BYTES)
    }

    /// Whether it would write so many bytes.
    pub fn reaches(&self, bytes: usize) -> bool {
        self.rows as f64 * self.row_bytes >= bytes as f64
    }

    /// A checkpoint wrote all there was. A larger share counts at once, a smaller one by half.
    pub fn wrote(&mut self, bytes: usize) {
        let rows = std::mem::take(&mut self.rows);
        if rows >= TELLING_ROWS {
            let share = bytes as f64 / rows as f64;
            self.row_bytes = share.max((self.row_bytes + share) / 2.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that each checkpoint writes if rows come 10,000 at a time and one is made when due.
    fn written(row_bytes: impl Fn(usize) -> usize, checkpoints: usize) -> Vec<usize> {
        let mut size = Size::new();
        let mut taken = 0;
        let checkpoint = |_| {
            let mut rows = 0;
            while !size.is_full() {
                size.take(10_000);
                rows += 10_000;
            }
            taken += rows;
            let bytes = rows * row_bytes(taken);
            size.wrote(bytes);
            bytes
        };
        (0..checkpoints).map(checkpoint).collect()
    }

    #[test]
    fn checkpoints_come_to_the_size_that_is_wanted() {
        for row_bytes in [1, 50, 256, 700] {
            let last = written(|_| row_bytes, 20).pop().unwrap() as f64;
            let step = (10_000 * row_bytes) as f64;
            assert!(
                (FULL_BYTES as f64 - step..FULL_BYTES as f64 * 1.1 + step).contains(&last),
                "{row_bytes}: {last}"
            );
        }
    }

    #[test]
    fn one_large_checkpoint_is_followed_by_small_ones() {
        let grows = |taken| if taken < 2_000_000 { 50 } else { 1000 };
        let written = written(grows, 30);
        let large = written
            .iter()
            .filter(|bytes| **bytes as f64 > FULL_BYTES as f64 * 1.5)
            .count();
        assert_eq!(large, 1, "{written:?}");
    }

    #[test]
    fn a_few_rows_say_nothing() {
        let mut size = Size::new();
        size.take(10);
        size.wrote(100 << 20);
        size.take(90_000);
        assert!(!size.is_full());
    }
}
