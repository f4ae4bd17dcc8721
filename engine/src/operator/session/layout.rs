//! How rows of sessions are written as bytes and read back.
//!
//! A row's bytes begin with its time, so that their order is that of time: eight bytes, big endian,
//! the sign bit flipped. Its columns follow, but for those of the partition, which are its key
//! (the time stands there in any case).
//! Bytes with no columns behind the time are a *mark*: the last session that closed, and whose rows
//! have gone, had its last row then.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, SchemaRef};

use crate::change::{ChangeBatch, Weights, record_batch};
use crate::graph::{Node, SessionSpec};
use crate::operator::arrangement::{Arrangement, RowId};
pub(super) use crate::operator::timers::{TIME_BYTES, time_bytes, time_of};
use crate::row::{RowCodec, Rows};
use crate::table::Slot;
use crate::{Error, Result};

/// Rows of one output batch at most.
const BATCH_ROWS: usize = 8192;
/// Whether a row's bytes are a mark.
pub(super) fn is_mark(row: &[u8]) -> bool {
    row.len() == TIME_BYTES
}

/// Columns and their codecs.
pub(super) struct Layout {
    pub(super) partition: Vec<usize>,
    keys: RowCodec,
    /// The other columns.
    pub(super) rest: Vec<usize>,
    rows: RowCodec,
    /// Of the output.
    pub(super) schema: SchemaRef,
}

/// Rows to be emitted, with the bounds of their sessions.
#[derive(Default)]
pub(super) struct Emit {
    slots: Vec<Slot>,
    rows: Vec<RowId>,
    weights: Vec<i64>,
    starts: Vec<i64>,
    ends: Vec<i64>,
}

/// Those of one batch.
pub(super) struct Part<'a> {
    pub(super) slots: &'a [Slot],
    pub(super) rows: &'a [RowId],
    weights: &'a [i64],
    starts: &'a [i64],
    ends: &'a [i64],
}

impl Emit {
    pub(super) fn push(&mut self, slot: Slot, row: RowId, weight: i64, (start, end): (i64, i64)) {
        self.slots.push(slot);
        self.rows.push(row);
        self.weights.push(weight);
        self.starts.push(start);
        self.ends.push(end);
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        (0..self.rows.len()).step_by(BATCH_ROWS).map(|begin| {
            let range = begin..self.rows.len().min(begin + BATCH_ROWS);
            Part {
                slots: &self.slots[range.clone()],
                rows: &self.rows[range.clone()],
                weights: &self.weights[range.clone()],
                starts: &self.starts[range.clone()],
                ends: &self.ends[range],
            }
        })
    }
}

impl Part<'_> {
    /// The bounds of the rows' sessions.
    pub(super) fn bounds(&self) -> [ArrayRef; 2] {
        [self.starts, self.ends].map(|times| Arc::new(TimestampMicrosecondArray::from(times.to_vec())) as ArrayRef)
    }

    /// The rows with these columns.
    pub(super) fn batch(&self, schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<ChangeBatch> {
        let rows = record_batch(schema.clone(), columns, self.rows.len())?;
        Ok(ChangeBatch::new(rows, Weights::Each(self.weights.to_vec().into())))
    }
}

impl Layout {
    /// Of whole rows.
    pub(super) fn of_rows(spec: &SessionSpec, node: &Node) -> Result<Self> {
        let width = node.schema.fields().len() - 2;
        // No row is without columns: it would be a mark.
        let is_rest = |column: &usize| *column == spec.time || !spec.partition.contains(column);
        // So that a column that can't be kept is named.
        RowCodec::for_schema(&node.schema)?;
        Self::new(spec, (0..width).filter(is_rest).collect(), &node.schema, &node.schema)
    }

    /// Of these columns of the input beside those of the partition.
    pub(super) fn new(spec: &SessionSpec, rest: Vec<usize>, input: &SchemaRef, output: &SchemaRef) -> Result<Self> {
        let types = |columns: &[usize]| -> Vec<DataType> {
            let kind = |column: &usize| input.field(*column).data_type().clone();
            columns.iter().map(kind).collect()
        };
        Ok(Self {
            keys: RowCodec::for_types(&types(&spec.partition))?,
            partition: spec.partition.clone(),
            rows: RowCodec::for_types(&types(&rest))?,
            rest,
            schema: output.clone(),
        })
    }

    /// The rows' partitions.
    pub(super) fn keys(&self, batch: &ChangeBatch) -> Result<Rows> {
        let columns: Vec<ArrayRef> = self
            .partition
            .iter()
            .map(|column| batch.column(*column).clone())
            .collect();
        self.keys.encode(&columns, batch.num_rows())
    }

    /// The rows' other columns.
    pub(super) fn rest(&self, batch: &ChangeBatch) -> Result<Rows> {
        let columns: Vec<ArrayRef> = self.rest.iter().map(|column| batch.column(*column).clone()).collect();
        self.rows.encode(&columns, batch.num_rows())
    }

    /// How many of the bytes are the other columns.
    pub(super) fn rest_len(&self, bytes: &[u8]) -> Result<usize> {
        self.rows.prefix_len(bytes, self.rest.len())
    }

    /// The rows within their partitions.
    pub(super) fn rows(&self, batch: &ChangeBatch, times: &[i64]) -> Result<Rows> {
        let mut rows = Rows::new();
        let mut bytes = Vec::new();
        for (time, rest) in times.iter().zip(self.rest(batch)?.iter()) {
            bytes.clear();
            bytes.extend_from_slice(&time_bytes(*time));
            bytes.extend_from_slice(rest);
            rows.push(&bytes);
        }
        Ok(rows)
    }

    /// A batch of whole rows.
    pub(super) fn batch(&self, state: &Arrangement, part: &Part<'_>) -> Result<ChangeBatch> {
        let rest = part.rows.iter().map(|row| &state.rows.bytes_of(*row)[TIME_BYTES..]);
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.schema.fields().len() - 2];
        for (column, array) in self.columns(state, part, rest)? {
            columns[column] = Some(array);
        }
        let columns = columns.into_iter().chain(part.bounds().map(Some));
        let columns = columns.collect::<Option<Vec<_>>>();
        part.batch(
            &self.schema,
            columns.ok_or_else(|| Error::internal("a kept row lacks a column"))?,
        )
    }

    /// The input's columns of these rows, of which `rest` is the other columns' bytes.
    pub(super) fn columns<'a>(
        &self,
        state: &Arrangement,
        part: &Part<'_>,
        rest: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<(usize, ArrayRef)>> {
        let keys = self.keys.decode(part.slots.iter().map(|slot| state.table.key(*slot)))?;
        let rest = self.rows.decode(rest)?;
        let partition = self.partition.iter().copied().zip(keys);
        Ok(partition.chain(self.rest.iter().copied().zip(rest)).collect())
    }
}
