//! Draw: values that are made once for each row, when it comes: the step's time, random numbers.
//!
//! What is made is no function of the row, so a delete can't compute it again. Where the input
//! deletes, an [`Arrangement`] has the values of each row by the row, and the delete takes
//! some away: of equal rows those with the smallest values, so those that came first. A row that is
//! deleted and comes again within a step has never gone, and keeps what it has.
//!
//! Random numbers are a hash of the step's seed, of the place in the graph, and of a counter. So a
//! step is a function of what it is given here too.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, FixedSizeBinaryArray, Float64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use weir_state::WriteBatch;

use crate::change::{ChangeBatch, Weights, consolidate, record_batch};
use crate::graph::{DrawSpec, Drawn, Node};
use crate::operator::arrangement::{Arrangement, Keep, gathered};
use crate::operator::{Operator, OperatorStats, Step, TaskContext};
use crate::row::{RowCodec, Rows};
use crate::shard::hash_rows;
use crate::table::Keys;
use crate::{Error, Result};

#[cfg(test)]
mod tests;

/// One task's part of a [`DrawSpec`] node.
pub struct Draw {
    values: Vec<Drawn>,
    schema: SchemaRef,
    /// Where it stands, which tells its lots from others'.
    place: [u64; 3],
    kept: Option<Kept>,
}

/// The rows that are there, with their values.
struct Kept {
    /// Of all columns of the input.
    keys: RowCodec,
    /// Of the values.
    rest: RowCodec,
    state: Arrangement,
}

impl Draw {
    /// An operator over `input`, whose columns are the first of `node.schema`.
    ///
    /// # Errors
    /// If the plan doesn't fit together, a column can't be kept in state, or the store can't be
    /// read.
    pub fn new(spec: &DrawSpec, node: &Node, input: &Node, context: &TaskContext) -> Result<Self> {
        if node.schema.fields().len() != input.schema.fields().len() + spec.values.len() {
            return Err(Error::internal("a column for each value that is drawn"));
        }
        let types: Vec<DataType> = spec.values.iter().map(|value| value.data_type()).collect();
        let kept = || -> Result<Kept> {
            Ok(Kept {
                keys: RowCodec::for_schema(&input.schema)?,
                rest: RowCodec::for_types(&types)?,
                state: Arrangement::open(context, 0, Keep::Ordered, false)?,
            })
        };
        Ok(Self {
            values: spec.values.clone(),
            schema: node.schema.clone(),
            place: [
                u64::from(context.relation.0),
                u64::from(context.node.0),
                context.task as u64,
            ],
            kept: spec.keeps.then(kept).transpose()?,
        })
    }

    /// Rows that come, with the values that are made for them.
    fn drawn(&self, batch: ChangeBatch, lots: &mut Lots) -> Result<ChangeBatch> {
        let alike = self.values.iter().all(|value| *value == Drawn::Now);
        let batch = if alike { batch } else { each_once(batch)? };
        let rows = batch.num_rows();
        let mut columns = batch.rows().columns().to_vec();
        columns.extend(self.values.iter().map(|value| lots.column(*value, rows)));
        let wide = record_batch(self.schema.clone(), columns, rows)?;
        Ok(batch.with_rows(wide))
    }
}

impl Kept {
    fn keys(&self, columns: &[ArrayRef], rows: usize) -> Result<(Rows, Vec<u64>)> {
        let keys = self.keys.encode(columns, rows)?;
        let hashes = hash_rows(&keys);
        Ok((keys, hashes))
    }

    /// Remembers rows with their values, which stand behind the other columns.
    fn remember(&mut self, batch: &ChangeBatch) -> Result<()> {
        let rows = batch.num_rows();
        let columns = batch.rows().columns();
        let (columns, values) = columns.split_at(columns.len() - self.rest.fields().len());
        let (keys, hashes) = self.keys(columns, rows)?;
        let rest = self.rest.encode(values, rows)?;
        let slots = self.state.resolve(Keys {
            rows: &keys,
            hashes: &hashes,
            buckets: &[],
        })?;
        for (row, slot) in slots.into_iter().enumerate() {
            self.state.add(slot, rest.row(row), batch.weight(row))?;
        }
        Ok(())
    }

    /// The deletes of rows, with the values that these were given.
    fn take_back(&mut self, batch: &ChangeBatch, schema: &SchemaRef) -> Result<ChangeBatch> {
        let (keys, hashes) = self.keys(batch.rows().columns(), batch.num_rows())?;
        let slots = self.state.lookup(Keys {
            rows: &keys,
            hashes: &hashes,
            buckets: &[],
        })?;
        let (mut places, mut taken, mut weights) = (Vec::new(), Rows::new(), Vec::new());
        for (row, slot) in slots.into_iter().enumerate() {
            let mut left = batch.weight(row).saturating_neg();
            let slot = slot.ok_or_else(no_such_row)?;
            let found: Vec<_> = self.state.rows.of(slot).collect();
            for id in found {
                if left == 0 {
                    break;
                }
                let gone = left.min(self.state.rows.weight(id));
                places.push(row as u32);
                taken.push(self.state.rows.bytes_of(id));
                weights.push(-gone);
                left -= gone;
                let bytes = taken.row(taken.len() - 1);
                self.state.add(slot, bytes, -gone)?;
            }
            if left > 0 {
                return Err(no_such_row());
            }
        }
        let rows = picked(batch.rows(), places)?;
        let mut columns = rows.columns().to_vec();
        columns.extend(self.rest.decode(taken.iter())?);
        let wide = record_batch(schema.clone(), columns, weights.len())?;
        Ok(ChangeBatch::new(wide, Weights::Each(weights.into())))
    }
}

fn no_such_row() -> Error {
    Error::internal("a row is deleted more often than it was inserted")
}

/// Each row as often as it is there, so that each of equal ones has values of its own.
fn each_once(batch: ChangeBatch) -> Result<ChangeBatch> {
    if (0..batch.num_rows()).all(|row| batch.weight(row) == 1) {
        return Ok(batch);
    }
    let times = |row: u32| batch.weight(row as usize).max(0) as usize;
    let places = (0..batch.num_rows() as u32).flat_map(|row| std::iter::repeat_n(row, times(row)));
    Ok(ChangeBatch::inserts(picked(batch.rows(), places.collect())?))
}

/// The rows at these places. Arrow's own would not know how many there are where no column is left.
fn picked(rows: &RecordBatch, places: Vec<u32>) -> Result<RecordBatch> {
    match rows.num_columns() {
        0 => record_batch(rows.schema(), Vec::new(), places.len()),
        _ => Ok(take_record_batch(rows, &UInt32Array::from(places))?),
    }
}

/// What is made in one step.
struct Lots {
    now_us: i64,
    seed: u128,
    place: [u64; 3],
    count: u64,
}

impl Lots {
    fn column(&mut self, value: Drawn, rows: usize) -> ArrayRef {
        match value {
            Drawn::Now => Arc::new(TimestampMicrosecondArray::from(vec![self.now_us; rows])),
            Drawn::Random => Arc::new(Float64Array::from_iter_values((0..rows).map(|_| self.fraction()))),
            Drawn::Uuid => {
                let bytes: Vec<u8> = (0..rows).flat_map(|_| self.uuid()).collect();
                Arc::new(FixedSizeBinaryArray::new(16, bytes.into(), None))
            }
        }
    }

    fn number(&mut self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u128(self.seed);
        self.place.iter().for_each(|part| hasher.write_u64(*part));
        hasher.write_u64(self.count);
        self.count += 1;
        hasher.finish()
    }

    /// From 0 to below 1, in as many steps as a double has there everywhere.
    fn fraction(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn uuid(&mut self) -> [u8; 16] {
        let high = self.number() & !0xf000 | 0x4000;
        let low = self.number() & !(0b11 << 62) | 0b10 << 62;
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    }
}

impl Operator for Draw {
    fn step(&mut self, step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        let batches = gathered(inputs.into_iter().flatten().collect())?;
        let mut lots = Lots {
            now_us: step.now_us,
            seed: step.seed,
            place: self.place,
            count: 0,
        };
        if self.kept.is_none() || batches.is_empty() {
            return batches.into_iter().map(|batch| self.drawn(batch, &mut lots)).collect();
        }
        let changes = consolidate(&batches)?;
        let comes: BooleanArray = (0..changes.num_rows())
            .map(|row| Some(changes.weight(row) > 0))
            .collect();
        let goes = arrow::compute::not(&comes)?;
        let come = self.drawn(changes.filter(&comes)?, &mut lots)?;
        let gone = changes.filter(&goes)?;
        let kept = self.kept.as_mut().expect("it was just looked at");
        kept.remember(&come)?;
        let gone = kept.take_back(&gone, &self.schema)?;
        Ok([gone, come].into_iter().filter(|batch| !batch.is_empty()).collect())
    }

    fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        let mut kept = self.kept.iter_mut();
        kept.try_for_each(|kept| kept.state.checkpoint(batch))
    }

    fn committed(&mut self) -> Result<()> {
        let mut kept = self.kept.iter_mut();
        kept.try_for_each(|kept| kept.state.committed())
    }

    fn complete(&mut self, entries: usize) -> Result<bool> {
        match &mut self.kept {
            Some(kept) => kept.state.complete(entries),
            None => Ok(true),
        }
    }

    fn stats(&self) -> OperatorStats {
        let mut stats = OperatorStats::default();
        if let Some(kept) = &self.kept {
            kept.state.count_into(&mut stats);
        }
        stats
    }
}
