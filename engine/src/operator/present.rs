//! Present: rows whose time it is, by the step's clock.
//!
//! A row enters when the clock reaches the time in one column, and leaves when it reaches that in
//! another. Rows that are yet to enter lie in one [`Arrangement`], by the time at which they will;
//! those that are there in another, by the time at which they leave. What has left is forgotten.
//! So a row that is deleted is found where it is, or has left already.
//!
//! The clock never goes back for an operator. If it has gone back while the process was down, what
//! has entered and left stays so.

use arrow::array::AsArray;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use weir_state::WriteBatch;

use crate::change::{ChangeBatch, Weights, record_batch};
use crate::graph::{Node, PresentSpec};
use crate::operator::arrangement::{Arrangement, Keep, bucket_of, gathered};
use crate::operator::{Operator, OperatorStats, Step, TaskContext};
use crate::row::{RowCodec, Rows};
use crate::shard::hash_rows;
use crate::table::{Keys, NEVER, Slot};
use crate::{Error, Result};

#[cfg(test)]
mod tests;

/// Rows of one output batch at most.
const BATCH_ROWS: usize = 8192;

/// One task's part of a [`PresentSpec`] node.
pub struct Present {
    spec: PresentSpec,
    /// The columns of its times, and their codec.
    times: Vec<usize>,
    keys: RowCodec,
    /// The other columns.
    others: Vec<usize>,
    rest: RowCodec,
    schema: SchemaRef,
    /// By the time at which they enter.
    waiting: Arrangement,
    /// By the time at which they leave; without rows where they never do.
    here: Arrangement,
    now_us: i64,
}

/// A batch of changes with what is known of its rows.
struct Changes {
    batch: ChangeBatch,
    keys: Rows,
    hashes: Vec<u64>,
    rest: Rows,
    enters: Vec<i64>,
    leaves: Vec<i64>,
}

/// Rows on their way out, as bytes.
#[derive(Default)]
struct Out {
    keys: Rows,
    rest: Rows,
    weights: Vec<i64>,
}

impl Out {
    fn push(&mut self, key: &[u8], rest: &[u8], weight: i64) {
        self.keys.push(key);
        self.rest.push(rest);
        self.weights.push(weight);
    }
}

impl Present {
    /// An operator over `input`, whose columns are those of `node.schema`.
    ///
    /// # Errors
    /// If the plan doesn't fit together, a column can't be kept in state, or the store can't be
    /// read.
    pub fn new(spec: &PresentSpec, node: &Node, input: &Node, context: &TaskContext) -> Result<Self> {
        let fields = input.schema.fields();
        let times: Vec<usize> = spec.enters.iter().chain(&spec.leaves).copied().collect();
        let is_time = |column: &usize| {
            fields
                .get(*column)
                .is_some_and(|field| matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)))
        };
        if times.is_empty() || !times.iter().all(is_time) || node.schema.fields().len() != fields.len() {
            return Err(Error::internal("rows enter and leave by columns of TIMESTAMP(6)"));
        }
        let others: Vec<usize> = (0..fields.len()).filter(|column| !times.contains(column)).collect();
        RowCodec::for_schema(&input.schema)?;
        Ok(Self {
            spec: *spec,
            keys: RowCodec::for_schema(&input.schema.project(&times)?)?,
            rest: RowCodec::for_schema(&input.schema.project(&others)?)?,
            times,
            others,
            schema: node.schema.clone(),
            waiting: Arrangement::open(context, 0, Keep::Ordered, true)?,
            here: Arrangement::open(context, 1, Keep::Ordered, true)?,
            now_us: i64::MIN,
        })
    }

    /// The times of a batch's rows; a row without one that it needs never enters.
    fn changes(&self, batch: ChangeBatch) -> Result<Changes> {
        let rows = batch.num_rows();
        let of = |column: Option<usize>, without: i64| -> Vec<Option<i64>> {
            match column {
                Some(column) => batch
                    .column(column)
                    .as_primitive::<TimestampMicrosecondType>()
                    .iter()
                    .collect(),
                None => vec![Some(without); rows],
            }
        };
        let (enters, leaves) = (of(self.spec.enters, i64::MIN), of(self.spec.leaves, i64::MAX));
        let is_some = |row: &usize| enters[*row].is_some() && leaves[*row].is_some();
        let never = || (0..rows).filter(|row| !is_some(row)).count();
        if never() > 0 {
            let keep = (0..rows).map(|row| Some(is_some(&row))).collect();
            return self.changes(batch.filter(&keep)?);
        }
        let columns = |places: &[usize]| {
            places
                .iter()
                .map(|column| batch.column(*column).clone())
                .collect::<Vec<_>>()
        };
        let keys = self.keys.encode(&columns(&self.times), rows)?;
        let bucket = |times: Vec<Option<i64>>| times.into_iter().map(bucket_of).collect();
        Ok(Changes {
            hashes: hash_rows(&keys),
            keys,
            rest: self.rest.encode(&columns(&self.others), rows)?,
            enters: bucket(enters),
            leaves: bucket(leaves),
            batch,
        })
    }

    fn insert(&mut self, changes: &Changes, row: usize, out: &mut Out) -> Result<()> {
        let (key, rest, weight) = (changes.keys.row(row), changes.rest.row(row), changes.batch.weight(row));
        if changes.leaves[row] <= self.now_us {
            return Ok(());
        }
        if changes.enters[row] > self.now_us {
            let slot = slot_of(&mut self.waiting, changes, row, changes.enters[row])?;
            self.waiting.add(slot, rest, weight)?;
            return Ok(());
        }
        out.push(key, rest, weight);
        if self.spec.leaves.is_some() {
            let slot = slot_of(&mut self.here, changes, row, changes.leaves[row])?;
            self.here.add(slot, rest, weight)?;
        }
        Ok(())
    }

    /// Takes a row away from where it is.
    fn delete(&mut self, changes: &Changes, row: usize, out: &mut Out) -> Result<()> {
        let (key, rest) = (changes.keys.row(row), changes.rest.row(row));
        let mut left = changes.batch.weight(row).saturating_neg();
        left -= take(&mut self.waiting, changes, row, changes.enters[row], left)?;
        let gone = match self.spec.leaves {
            Some(_) => take(&mut self.here, changes, row, changes.leaves[row], left)?,
            None => left,
        };
        if gone > 0 {
            out.push(key, rest, -gone);
        }
        Ok(())
    }

    /// Lets rows enter and leave whose time has come.
    fn move_on(&mut self, out: &mut Out) -> Result<()> {
        while let Some(bucket) = self.waiting.table.first_bucket(self.now_us) {
            let mut entered = Out::default();
            for slot in self.waiting.load_bucket(bucket)? {
                for row in self.waiting.rows.of(slot) {
                    let key = self.waiting.table.key(slot);
                    entered.push(key, self.waiting.rows.bytes_of(row), self.waiting.rows.weight(row));
                }
            }
            self.waiting.close_through(bucket);
            self.enter(entered, out)?;
        }
        while let Some(bucket) = self.here.table.first_bucket(self.now_us) {
            for slot in self.here.load_bucket(bucket)? {
                for row in self.here.rows.of(slot) {
                    let key = self.here.table.key(slot);
                    out.push(key, self.here.rows.bytes_of(row), -self.here.rows.weight(row));
                }
            }
            self.here.close_through(bucket);
        }
        Ok(())
    }

    /// Puts rows that waited where they belong.
    fn enter(&mut self, entered: Out, out: &mut Out) -> Result<()> {
        let leaves = match self.spec.leaves {
            Some(_) => {
                let times = self.keys.decode(entered.keys.iter())?;
                let last = times.last().ok_or_else(|| Error::internal("a row has no times"))?;
                let times = last.as_primitive::<TimestampMicrosecondType>();
                times.iter().map(bucket_of).collect()
            }
            None => vec![NEVER; entered.weights.len()],
        };
        let hashes = hash_rows(&entered.keys);
        for (row, weight) in entered.weights.iter().enumerate() {
            let (key, rest) = (entered.keys.row(row), entered.rest.row(row));
            // The clock may have passed both of its times at once.
            if leaves[row] <= self.now_us {
                continue;
            }
            out.push(key, rest, *weight);
            if self.spec.leaves.is_some() {
                let slot = resolve(&mut self.here, key, hashes[row], leaves[row])?;
                self.here.add(slot, rest, *weight)?;
            }
        }
        Ok(())
    }

    fn batches(&self, out: &Out) -> Result<Vec<ChangeBatch>> {
        let mut output = Vec::new();
        for begin in (0..out.weights.len()).step_by(BATCH_ROWS) {
            let range = begin..out.weights.len().min(begin + BATCH_ROWS);
            let times = self.keys.decode(range.clone().map(|row| out.keys.row(row)))?;
            let rest = self.rest.decode(range.clone().map(|row| out.rest.row(row)))?;
            let places = self.times.iter().chain(&self.others);
            let mut columns: Vec<_> = places.zip(times.into_iter().chain(rest)).collect();
            columns.sort_by_key(|(place, _)| **place);
            let columns = columns.into_iter().map(|(_, column)| column).collect();
            let batch = record_batch(self.schema.clone(), columns, range.len())?;
            output.push(ChangeBatch::new(
                batch,
                Weights::Each(out.weights[range].to_vec().into()),
            ));
        }
        Ok(output)
    }
}

fn slot_of(state: &mut Arrangement, changes: &Changes, row: usize, bucket: i64) -> Result<Slot> {
    resolve(state, changes.keys.row(row), changes.hashes[row], bucket)
}

fn resolve(state: &mut Arrangement, key: &[u8], hash: u64, bucket: i64) -> Result<Slot> {
    let mut rows = Rows::new();
    rows.push(key);
    let slots = state.resolve(Keys {
        rows: &rows,
        hashes: &[hash],
        buckets: &[bucket],
    })?;
    Ok(slots[0])
}

/// Takes up to `wanted` of a row out of a state; says how many were there.
fn take(state: &mut Arrangement, changes: &Changes, row: usize, bucket: i64, wanted: i64) -> Result<i64> {
    if wanted == 0 {
        return Ok(0);
    }
    let mut rows = Rows::new();
    rows.push(changes.keys.row(row));
    let slots = state.lookup(Keys {
        rows: &rows,
        hashes: &[changes.hashes[row]],
        buckets: &[bucket],
    })?;
    let bytes = changes.rest.row(row);
    let found = slots[0].and_then(|slot| Some((slot, state.rows.find(slot, bytes)?)));
    let Some((slot, found)) = found else {
        return Ok(0);
    };
    let taken = wanted.min(state.rows.weight(found));
    state.add(slot, bytes, -taken)?;
    Ok(taken)
}

impl Operator for Present {
    fn step(&mut self, step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        self.now_us = self.now_us.max(step.now_us);
        let mut changes = Vec::new();
        for batch in gathered(inputs.into_iter().flatten().collect())? {
            changes.push(self.changes(batch)?);
        }
        let mut out = Out::default();
        // Those that were due before the changes came, so that these find them where they are.
        self.move_on(&mut out)?;
        for changes in &changes {
            for row in (0..changes.batch.num_rows()).filter(|row| changes.batch.weight(*row) > 0) {
                self.insert(changes, row, &mut out)?;
            }
        }
        for changes in &changes {
            for row in (0..changes.batch.num_rows()).filter(|row| changes.batch.weight(*row) < 0) {
                self.delete(changes, row, &mut out)?;
            }
        }
        self.batches(&out)
    }

    fn due_us(&self) -> Option<i64> {
        let first = |state: &Arrangement| state.table.first_bucket(NEVER - 1);
        first(&self.waiting).into_iter().chain(first(&self.here)).min()
    }

    fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        self.waiting.checkpoint(batch)?;
        self.here.checkpoint(batch)
    }

    fn committed(&mut self) -> Result<()> {
        self.waiting.committed()?;
        self.here.committed()
    }

    fn complete(&mut self, entries: usize) -> Result<bool> {
        Ok(self.waiting.complete(entries)? && self.here.complete(entries)?)
    }

    fn stats(&self) -> OperatorStats {
        let mut stats = OperatorStats::default();
        self.waiting.count_into(&mut stats);
        self.here.count_into(&mut stats);
        stats
    }
}
