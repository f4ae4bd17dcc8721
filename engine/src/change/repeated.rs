//! Changes as plain rows: a row of weight n comes n times.
//!
//! A weight may be far larger than what memory holds of rows, so they are made part by part, each
//! when it is asked for.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute;

use super::{ChangeBatch, Weights, record_batch};
use crate::{Error, Result};

/// Rows of one part at most.
pub const BATCH_ROWS: usize = 8192;

/// The rows of `changes`, each as often as its weight says, in parts of at most [`BATCH_ROWS`].
///
/// A negative weight is an error, and the last thing that comes.
pub fn repeated(changes: ChangeBatch) -> impl Iterator<Item = Result<RecordBatch>> + Send {
    Repeated {
        changes,
        row: 0,
        given: 0,
    }
}

struct Repeated {
    changes: ChangeBatch,
    /// The row that comes next.
    row: usize,
    /// How often it has come already.
    given: u64,
}

impl Repeated {
    fn part(&mut self) -> Result<Option<RecordBatch>> {
        let from = self.row;
        let rows = self.changes.num_rows();
        if matches!(self.changes.weights(), Weights::Ones) {
            self.row = rows.min(from + BATCH_ROWS);
            return Ok((self.row > from).then(|| self.changes.rows().slice(from, self.row - from)));
        }
        let mut places: Vec<u32> = Vec::new();
        while self.row < rows && places.len() < BATCH_ROWS {
            let times = u64::try_from(self.changes.weight(self.row))
                .map_err(|_| Error::internal("a row that is to be repeated has a negative weight"))?;
            let count = (times - self.given).min((BATCH_ROWS - places.len()) as u64);
            places.extend(std::iter::repeat_n(self.row as u32, count as usize));
            self.given += count;
            if self.given == times {
                self.row += 1;
                self.given = 0;
            }
        }
        if places.is_empty() {
            return Ok(None);
        }
        let places = UInt32Array::from(places);
        let columns = self.changes.rows().columns().iter();
        let columns = columns
            .map(|column| compute::take(column, &places, None))
            .collect::<Result<Vec<_>, _>>()?;
        record_batch(self.changes.schema(), columns, places.len()).map(Some)
    }
}

impl Iterator for Repeated {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let part = self.part();
        if part.is_err() {
            self.row = self.changes.num_rows();
        }
        part.transpose()
    }
}
