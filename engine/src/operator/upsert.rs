//! The last row by key, of records that come one after the other.
//!
//! A record replaces its key's row; a tombstone takes it away. A step's output is what it has
//! changed in the end: one delete and one insert for a key, however many records it had, and
//! nothing for a record that says what was known.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::SchemaRef;
use weir_state::WriteBatch;

use super::{Operator, OperatorStats, Step, TaskContext};
use crate::change::{ChangeBatch, Weights, record_batch};
use crate::graph::{Node, UpsertSpec};
use crate::row::{RowCodec, Rows};
use crate::shard::hash_rows_into;
use crate::table::{KeyedTable, Keys, Layout, Save, Slot, Slots, TableOptions};
use crate::{Error, Result};

#[cfg(test)]
mod tests;

/// Version of the stored form: this byte, then the row codec's bytes.
const VERSION: u8 = 1;

/// One task's upsert.
pub struct Upsert {
    keys: Vec<usize>,
    schema: SchemaRef,
    key_codec: RowCodec,
    row_codec: RowCodec,
    table: KeyedTable,
    last: LastRows,
    step: StepRecords,
    hashes: Vec<u64>,
}

/// Each key's row, encoded.
#[derive(Default)]
struct LastRows {
    rows: Vec<Option<Box<[u8]>>>,
    bytes: usize,
}

/// The keys that a step has records of, and the last record of each.
#[derive(Default)]
struct StepRecords {
    /// By slot, one more than the key's place; 0 for keys without a record.
    places: Vec<u32>,
    slots: Vec<Slot>,
    /// By place, its last row; none after a tombstone.
    last: Vec<Option<u32>>,
    /// All rows of the step, encoded.
    rows: Rows,
}

impl Upsert {
    /// Builds it.
    ///
    /// # Errors
    /// If a column's type can't be kept in state, or the store can't be read.
    pub fn new(spec: &UpsertSpec, node: &Node, input: &Node, context: &TaskContext) -> Result<Self> {
        let keys = spec.keys.iter().map(|key| input.schema.field(*key).data_type().clone());
        Ok(Self {
            keys: spec.keys.clone(),
            schema: node.schema.clone(),
            key_codec: RowCodec::for_types(&keys.collect::<Vec<_>>())?,
            row_codec: RowCodec::for_schema(&node.schema)?,
            table: KeyedTable::open(TableOptions {
                id: context.table(0),
                layout: Layout::Value,
                shards: context.shards.clone(),
                store: context.store.clone(),
                entry_budget: context.entry_budget,
                bucketed: false,
            })?,
            last: LastRows::default(),
            step: StepRecords::default(),
            hashes: Vec::new(),
        })
    }

    /// Notes a batch's records, in order.
    fn take(&mut self, batch: &ChangeBatch) -> Result<()> {
        if !matches!(batch.weights(), Weights::Ones) {
            return Err(Error::internal("records of an upsert relation can't be taken back"));
        }
        let columns = batch.rows().columns();
        let (tombstones, columns) = columns
            .split_last()
            .ok_or_else(|| Error::internal("an upsert without columns"))?;
        let keys: Vec<ArrayRef> = self.keys.iter().map(|key| columns[*key].clone()).collect();
        let keys = self.key_codec.encode(&keys, batch.num_rows())?;
        hash_rows_into(&keys, &mut self.hashes);
        let mut slots = Vec::new();
        self.table
            .resolve(Keys::new(&keys, &self.hashes), &mut self.last, &mut slots)?;

        let first = self.step.rows.len();
        self.row_codec
            .encode_into(columns, batch.num_rows(), &mut self.step.rows)?;
        if u32::try_from(self.step.rows.len()).is_err() {
            return Err(Error::internal("more than 2^32 records in a step"));
        }
        let tombstones = tombstones.as_boolean();
        for (row, slot) in slots.into_iter().enumerate() {
            let is_tombstone = tombstones.is_valid(row) && tombstones.value(row);
            self.step.note(slot, (!is_tombstone).then_some((first + row) as u32));
        }
        Ok(())
    }

    /// Replaces the rows of the step's keys and gives what has changed.
    fn replace(&mut self) -> Result<Option<ChangeBatch>> {
        let mut changes = Rows::new();
        let mut weights = Vec::new();
        for (place, slot) in self.step.slots.iter().enumerate() {
            self.step.places[slot.index()] = 0;
            let old = self.last.rows[slot.index()].as_deref();
            let new = self.step.last[place].map(|row| self.step.rows.row(row as usize));
            if old == new {
                continue;
            }
            for (row, weight) in [(old, -1), (new, 1)] {
                if let Some(row) = row {
                    changes.push(row);
                    weights.push(weight);
                }
            }
            self.last.set(*slot, new);
            self.table.mark_dirty(*slot);
        }
        self.step.slots.clear();
        self.step.last.clear();
        self.step.rows.clear();
        if weights.is_empty() {
            return Ok(None);
        }
        let columns = self.row_codec.decode(changes.iter())?;
        let rows = record_batch(self.schema.clone(), columns, weights.len())?;
        Ok(Some(ChangeBatch::new(rows, Weights::Each(weights.into()))))
    }
}

impl Operator for Upsert {
    fn step(&mut self, _step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        for batch in inputs.iter().flatten() {
            self.take(batch)?;
        }
        Ok(self.replace()?.into_iter().collect())
    }

    fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        self.table.checkpoint(&mut self.last, batch)
    }

    fn committed(&mut self) -> Result<()> {
        self.table.committed(&mut self.last);
        Ok(())
    }

    fn complete(&mut self, entries: usize) -> Result<bool> {
        self.table.complete(entries, &mut self.last)
    }

    fn stats(&self) -> OperatorStats {
        OperatorStats {
            state_bytes: (self.table.bytes() + self.last.bytes) as u64,
            state_entries: self.table.entries() as u64,
            ..OperatorStats::default()
        }
    }
}

impl StepRecords {
    fn note(&mut self, slot: Slot, row: Option<u32>) {
        if slot.index() >= self.places.len() {
            self.places.resize(slot.index() + 1, 0);
        }
        match &mut self.places[slot.index()] {
            place @ 0 => {
                self.slots.push(slot);
                self.last.push(row);
                *place = self.slots.len() as u32;
            }
            place => self.last[*place as usize - 1] = row,
        }
    }
}

impl LastRows {
    fn set(&mut self, slot: Slot, row: Option<&[u8]>) {
        let place = &mut self.rows[slot.index()];
        self.bytes -= place.as_deref().map_or(0, <[u8]>::len);
        self.bytes += row.map_or(0, <[u8]>::len);
        *place = row.map(Box::from);
    }
}

impl Slots for LastRows {
    fn reset(&mut self, slot: Slot) {
        if slot.index() == self.rows.len() {
            self.rows.push(None);
        }
        self.set(slot, None);
    }

    fn load(&mut self, slot: Slot, bytes: &[u8]) -> Result<()> {
        let Some((&VERSION, row)) = bytes.split_first() else {
            return Err(Error::State(
                "a stored row can't be read; the data directory is damaged: restore a copy".to_string(),
            ));
        };
        self.set(slot, Some(row));
        Ok(())
    }

    fn save(&mut self, slot: Slot, _save: Save, out: &mut Vec<u8>) -> Result<()> {
        out.push(VERSION);
        out.extend_from_slice(self.rows[slot.index()].as_deref().unwrap_or_default());
        Ok(())
    }

    fn is_empty(&self, slot: Slot) -> bool {
        self.rows[slot.index()].is_none()
    }
}
