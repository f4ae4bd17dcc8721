//! The change batch: rows in motion and their signed weights.
//!
//! A row's **weight** says how often it is added (positive) or taken back (negative); an update is
//! one of each. A relation is the sum of its changes. Most input only ever adds, so a batch whose
//! weights are all +1 says so without storing them: [`Weights::Ones`]. [`ChangeBatch::new`] finds
//! that form by itself, so `Weights::Each` means that some weight really differs from 1.
//!
//! A batch may hold the same row several times, and rows of weight 0, which mean nothing;
//! [`consolidate`] brings a set of batches to its shortest form.

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::array::{AsArray, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute;
use arrow::datatypes::{Int64Type, SchemaRef};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::row::{RowCodec, Rows};
use crate::shard::hash_rows;
use crate::{Error, Result};

mod bytes;
mod repeated;
#[cfg(test)]
mod tests;

pub use bytes::{from_bytes, to_bytes};
pub use repeated::{BATCH_ROWS, repeated};

/// The weights of a change batch's rows.
#[derive(Clone, Debug)]
pub enum Weights {
    /// Every row has weight +1.
    Ones,
    /// One weight per row.
    Each(ScalarBuffer<i64>),
}

/// Rows and how often each is added or taken back.
#[derive(Clone, Debug)]
pub struct ChangeBatch {
    rows: RecordBatch,
    weights: Weights,
}

impl ChangeBatch {
    /// A batch of `rows` with one weight each.
    ///
    /// # Panics
    /// If there are not as many weights as rows.
    pub fn new(rows: RecordBatch, weights: Weights) -> Self {
        let weights = match weights {
            Weights::Each(each) => {
                assert_eq!(each.len(), rows.num_rows(), "a change batch needs a weight per row");
                if each.iter().all(|weight| *weight == 1) {
                    Weights::Ones
                } else {
                    Weights::Each(each)
                }
            }
            Weights::Ones => Weights::Ones,
        };
        Self { rows, weights }
    }

    /// A batch that adds every one of `rows` once.
    pub fn inserts(rows: RecordBatch) -> Self {
        Self {
            rows,
            weights: Weights::Ones,
        }
    }

    /// A batch that takes every one of `rows` back once.
    pub fn deletes(rows: RecordBatch) -> Self {
        let weights = vec![-1; rows.num_rows()];
        Self::new(rows, Weights::Each(weights.into()))
    }

    /// A batch without rows.
    pub fn empty(schema: SchemaRef) -> Self {
        Self::inserts(RecordBatch::new_empty(schema))
    }

    /// The rows.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The rows' weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Rows and weights, taken apart.
    pub fn into_parts(self) -> (RecordBatch, Weights) {
        (self.rows, self.weights)
    }

    /// Number of rows, whatever their weights.
    pub fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.num_rows() == 0
    }

    /// The rows' schema; weights are no part of it.
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// The column at `index`.
    pub fn column(&self, index: usize) -> &ArrayRef {
        self.rows.column(index)
    }

    /// The weight of the row at `index`.
    pub fn weight(&self, index: usize) -> i64 {
        match &self.weights {
            Weights::Ones => 1,
            Weights::Each(each) => each[index],
        }
    }

    /// The weights as an Arrow array without nulls, one per row.
    pub fn weights_array(&self) -> Int64Array {
        match &self.weights {
            Weights::Ones => Int64Array::from_value(1, self.num_rows()),
            Weights::Each(each) => Int64Array::new(each.clone(), None),
        }
    }

    /// True if nothing is taken back: every weight is positive (not necessarily 1).
    pub fn is_append_only(&self) -> bool {
        match &self.weights {
            Weights::Ones => true,
            Weights::Each(each) => each.iter().all(|weight| *weight > 0),
        }
    }

    /// The same weights over other rows, as a projection gives them.
    ///
    /// # Panics
    /// If `rows` has another number of rows.
    pub fn with_rows(self, rows: RecordBatch) -> Self {
        assert_eq!(rows.num_rows(), self.num_rows(), "weights belong to as many rows");
        Self {
            rows,
            weights: self.weights,
        }
    }

    /// The rows for which `keep` is true (not false, not null).
    ///
    /// # Errors
    /// If `keep` has another length.
    pub fn filter(&self, keep: &BooleanArray) -> Result<Self> {
        if keep.len() != self.num_rows() {
            return Err(Error::internal(format!(
                "a filter of {} values over {} rows",
                keep.len(),
                self.num_rows()
            )));
        }
        let rows = compute::filter_record_batch(&self.rows, keep)?;
        let weights = match &self.weights {
            Weights::Ones => Weights::Ones,
            Weights::Each(each) => {
                let each = Int64Array::new(each.clone(), None);
                let kept = compute::filter(&each, keep)?;
                Weights::Each(kept.as_primitive::<Int64Type>().values().clone())
            }
        };
        Ok(Self::new(rows, weights))
    }

    /// The rows at `indices`, in that order.
    ///
    /// # Errors
    /// If an index is null or beyond the last row.
    pub fn take(&self, indices: &UInt32Array) -> Result<Self> {
        let rows = self.num_rows();
        if indices.null_count() > 0 || indices.values().iter().any(|index| *index as usize >= rows) {
            return Err(Error::internal(format!(
                "a row index that is null or beyond {rows} rows"
            )));
        }
        let columns = self
            .rows
            .columns()
            .iter()
            .map(|column| compute::take(column, indices, None))
            .collect::<Result<Vec<_>, _>>()?;
        let weights = match &self.weights {
            Weights::Ones => Weights::Ones,
            Weights::Each(each) => Weights::Each(indices.values().iter().map(|index| each[*index as usize]).collect()),
        };
        Ok(Self::new(record_batch(self.schema(), columns, indices.len())?, weights))
    }

    /// `length` rows from `offset` on, without copying.
    ///
    /// # Panics
    /// If the range goes beyond the last row.
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        let rows = self.rows.slice(offset, length);
        let weights = match &self.weights {
            Weights::Ones => Weights::Ones,
            Weights::Each(each) => Weights::Each(each.slice(offset, length)),
        };
        Self::new(rows, weights)
    }

    /// All batches as one, in order. Without batches it is an empty one of `schema`.
    ///
    /// # Errors
    /// If a batch has other columns, or a string column would exceed its type's 2 GiB.
    pub fn concat(schema: &SchemaRef, batches: &[ChangeBatch]) -> Result<Self> {
        if let [only] = batches
            && only.schema() == *schema
        {
            return Ok(only.clone());
        }
        let rows = compute::concat_batches(schema, batches.iter().map(|batch| &batch.rows))?;
        let weights = if batches.iter().all(|batch| matches!(batch.weights, Weights::Ones)) {
            Weights::Ones
        } else {
            let mut each = Vec::with_capacity(rows.num_rows());
            for batch in batches {
                match &batch.weights {
                    Weights::Ones => each.resize(each.len() + batch.num_rows(), 1),
                    Weights::Each(weights) => each.extend_from_slice(weights),
                }
            }
            Weights::Each(each.into())
        };
        Ok(Self::new(rows, weights))
    }

    /// The opposite change: what was added is taken back, and the other way round.
    pub fn negate(&self) -> Self {
        let weights = match &self.weights {
            Weights::Ones => vec![-1; self.num_rows()].into(),
            Weights::Each(each) => each.iter().map(|weight| weight.wrapping_neg()).collect(),
        };
        Self::new(self.rows.clone(), Weights::Each(weights))
    }
}

/// A record batch that knows its number of rows even without columns (`count(*)` needs none).
pub(crate) fn record_batch(schema: SchemaRef, columns: Vec<ArrayRef>, num_rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(num_rows));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

/// Sums equal rows and drops those whose weight becomes 0. The rows keep the order in which each
/// was first seen. Two rows are equal if the row codec gives them the same bytes: NULL equals
/// NULL, NaN equals NaN, -0.0 equals 0.0.
///
/// # Errors
/// If `batches` is empty (then there is no schema), has differing columns or columns that the row
/// codec refuses, or if a sum of weights overflows.
pub fn consolidate(batches: &[ChangeBatch]) -> Result<ChangeBatch> {
    let first = batches
        .first()
        .ok_or_else(|| Error::internal("nothing to consolidate"))?;
    let schema = first.schema();
    let whole = ChangeBatch::concat(&schema, batches)?;
    if u32::try_from(whole.num_rows()).is_err() {
        return Err(Error::internal("more than 2^32 rows to consolidate at once"));
    }
    let codec = RowCodec::for_schema(&schema)?;
    let rows = codec.encode(whole.rows.columns(), whole.num_rows())?;
    let sums = sum_equal(&rows, &whole)?;
    let kept: Vec<(u32, i64)> = sums.into_iter().filter(|(_, weight)| *weight != 0).collect();
    if kept.len() == whole.num_rows() {
        return Ok(whole);
    }
    let indices: UInt32Array = kept.iter().map(|(index, _)| *index).collect::<Vec<_>>().into();
    let weights = kept.iter().map(|(_, weight)| *weight).collect();
    Ok(ChangeBatch::new(whole.take(&indices)?.rows, Weights::Each(weights)))
}

/// The changes of one epoch summed up, deletes before inserts: so the last change of a key is what
/// becomes of it, in whatever order the tasks wrote them down.
///
/// # Errors
/// As [`consolidate`].
pub fn deletes_first(epoch: Vec<ChangeBatch>) -> Result<Vec<ChangeBatch>> {
    if epoch.iter().all(ChangeBatch::is_append_only) {
        return Ok(epoch);
    }
    let summed = consolidate(&epoch)?;
    let (deletes, inserts): (Vec<u32>, Vec<u32>) =
        (0..summed.num_rows() as u32).partition(|row| summed.weight(*row as usize) < 0);
    let order: UInt32Array = deletes.into_iter().chain(inserts).collect::<Vec<_>>().into();
    Ok(vec![summed.take(&order)?])
}

/// For each distinct row the index of its first appearance, ascending, and its summed weight.
fn sum_equal(rows: &Rows, batch: &ChangeBatch) -> Result<Vec<(u32, i64)>> {
    let hashes = hash_rows(rows);
    let mut sums: Vec<(u32, i64)> = Vec::with_capacity(rows.len());
    let mut places: HashTable<u32> = HashTable::with_capacity(rows.len());
    for (index, hash) in hashes.iter().enumerate() {
        let row = rows.row(index);
        let weight = batch.weight(index);
        let same = |place: &u32| rows.row(sums[*place as usize].0 as usize) == row;
        let rehash = |place: &u32| hashes[sums[*place as usize].0 as usize];
        match places.entry(*hash, same, rehash) {
            Entry::Occupied(entry) => {
                let sum = &mut sums[*entry.get() as usize].1;
                *sum = sum
                    .checked_add(weight)
                    .ok_or_else(|| Error::Data("a row is repeated more than 2^63 times".to_string()))?;
            }
            Entry::Vacant(entry) => {
                entry.insert(sums.len() as u32);
                sums.push((index as u32, weight));
            }
        }
    }
    Ok(sums)
}
