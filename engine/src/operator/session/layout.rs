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
    partition: Vec<usize>,
    keys: RowCodec,
    /// The other columns.
    rest: Vec<usize>,
    rows: RowCodec,
    schema: SchemaRef,
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

impl Emit {
    pub(super) fn push(&mut self, slot: Slot, row: RowId, weight: i64, (start, end): (i64, i64)) {
        self.slots.push(slot);
        self.rows.push(row);
        self.weights.push(weight);
        self.starts.push(start);
        self.ends.push(end);
    }
}

impl Layout {
    pub(super) fn new(spec: &SessionSpec, node: &Node) -> Result<Self> {
        let width = node.schema.fields().len() - 2;
        // No row is without columns: it would be a mark.
        let is_rest = |column: &usize| *column == spec.time || !spec.partition.contains(column);
        let rest: Vec<usize> = (0..width).filter(is_rest).collect();
        let types = |columns: &[usize]| -> Vec<DataType> {
            let kind = |column: &usize| node.schema.field(*column).data_type().clone();
            columns.iter().map(kind).collect()
        };
        // So that a column that can't be kept is named.
        RowCodec::for_schema(&node.schema)?;
        Ok(Self {
            keys: RowCodec::for_types(&types(&spec.partition))?,
            partition: spec.partition.clone(),
            rows: RowCodec::for_types(&types(&rest))?,
            rest,
            schema: node.schema.clone(),
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

    /// The rows within their partitions.
    pub(super) fn rows(&self, batch: &ChangeBatch, times: &[i64]) -> Result<Rows> {
        let columns: Vec<ArrayRef> = self.rest.iter().map(|column| batch.column(*column).clone()).collect();
        let rest = self.rows.encode(&columns, batch.num_rows())?;
        let mut rows = Rows::new();
        let mut bytes = Vec::new();
        for (time, rest) in times.iter().zip(rest.iter()) {
            bytes.clear();
            bytes.extend_from_slice(&time_bytes(*time));
            bytes.extend_from_slice(rest);
            rows.push(&bytes);
        }
        Ok(rows)
    }

    /// The rows of `emit`.
    pub(super) fn batches(&self, state: &Arrangement, emit: &Emit) -> Result<Vec<ChangeBatch>> {
        let mut output = Vec::new();
        for begin in (0..emit.rows.len()).step_by(BATCH_ROWS) {
            let range = begin..emit.rows.len().min(begin + BATCH_ROWS);
            let mut columns = self.columns(state, &emit.slots[range.clone()], &emit.rows[range.clone()])?;
            for bounds in [&emit.starts, &emit.ends] {
                columns.push(Arc::new(TimestampMicrosecondArray::from(
                    bounds[range.clone()].to_vec(),
                )));
            }
            let rows = record_batch(self.schema.clone(), columns, range.len())?;
            let weights = emit.weights[range].to_vec();
            output.push(ChangeBatch::new(rows, Weights::Each(weights.into())));
        }
        Ok(output)
    }

    /// The input's columns of these rows.
    fn columns(&self, state: &Arrangement, slots: &[Slot], rows: &[RowId]) -> Result<Vec<ArrayRef>> {
        let keys = self.keys.decode(slots.iter().map(|slot| state.table.key(*slot)))?;
        let rest = self
            .rows
            .decode(rows.iter().map(|row| &state.rows.bytes_of(*row)[TIME_BYTES..]))?;
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.schema.fields().len() - 2];
        for (column, array) in self.partition.iter().zip(keys).chain(self.rest.iter().zip(rest)) {
            columns[*column] = Some(array);
        }
        columns
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::internal("a kept row lacks a column"))
    }
}
