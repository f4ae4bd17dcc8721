//! Gate: holds changes back until the watermark reaches their time, then lets out what is left.
//!
//! What comes out never changes again, so it is append-only whatever comes in. The rows of one
//! time are one entry of an [`Arrangement`] with a bucket of its own: letting it out forgets it at
//! the cost of a delete. So rows have to be dealt to tasks by the time column.
//!
//! A row without time (NULL) would be held for ever, so it is dropped and counted. A row below the
//! watermark that its own split had before it is late, dropped and counted; so is, where that isn't
//! known, a change for a time that the watermark had passed before the step. At just that
//! time rows may still come (the watermark is a lower bound of what comes), and are let out at
//! once; only a delete of what was let out then comes too late. A gate of whole times holds them
//! until the watermark is above, and none come then.

use arrow::array::{Array, AsArray, TimestampMicrosecondArray, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use weir_state::WriteBatch;

use crate::change::{ChangeBatch, Weights, consolidate, record_batch};
use crate::graph::{GateSpec, Node};
use crate::operator::arrangement::{Arrangement, Keep, bucket_of, closed_through, gathered};
use crate::operator::{Operator, OperatorStats, Step, TaskContext, Watermark};
use crate::row::{RowCodec, Rows};
use crate::shard::hash_rows;
use crate::table::{Keys, NEVER};
use crate::{Error, Result};

#[cfg(test)]
mod tests;

/// Rows of one output batch at most.
const BATCH_ROWS: usize = 8192;

/// One task's part of a [`GateSpec`] node.
pub struct Gate {
    column: usize,
    /// How far the watermark has to be above a time.
    above_us: i64,
    /// The input's last column, where each row has its split's watermark.
    watermarks: Option<usize>,
    /// Of the time alone.
    keys: RowCodec,
    /// Of the other columns.
    rest: RowCodec,
    schema: SchemaRef,
    state: Arrangement,
    /// The input never deletes, so what is due need not be held first.
    append_only: bool,
    /// As of the last step.
    watermark: Watermark,
    late_dropped: u64,
    without_event_time: u64,
}

/// A step's changes by what becomes of them.
#[derive(Default)]
struct Sorted {
    /// Rows that are let out as they come, by place in the batch.
    now: Vec<u32>,
    /// Rows of the time that was let out last.
    again: Vec<u32>,
    held: Vec<u32>,
    buckets: Vec<i64>,
}

/// Rows on their way out, as bytes: times are often many, with few rows each.
#[derive(Default)]
struct Out {
    times: Rows,
    rest: Rows,
    weights: Vec<i64>,
}

impl Gate {
    /// An operator over `input`, whose columns are those of `node.schema`, and maybe the watermark.
    ///
    /// # Errors
    /// If the plan doesn't fit together, a column can't be kept in state, or the store can't be
    /// read.
    pub fn new(spec: &GateSpec, node: &Node, input: &Node, context: &TaskContext) -> Result<Self> {
        let fields = input.schema.fields();
        let time = fields.get(spec.column).map(|field| field.data_type().clone());
        let Some(time @ DataType::Timestamp(TimeUnit::Microsecond, _)) = time else {
            return Err(Error::internal("a gate's column isn't TIMESTAMP(6)"));
        };
        let types = |node: &Node| -> Vec<DataType> {
            node.schema
                .fields()
                .iter()
                .map(|field| field.data_type().clone())
                .collect()
        };
        let visible = spec.watermark.unwrap_or(fields.len());
        let watermark_fits = spec.watermark.is_none_or(|column| {
            column + 1 == fields.len()
                && fields[column].data_type() == &DataType::Timestamp(TimeUnit::Microsecond, None)
        });
        if !watermark_fits || types(node)[..] != types(input)[..visible] {
            return Err(Error::internal("a gate's columns are not those of its input"));
        }
        let rest: Vec<usize> = (0..visible).filter(|column| *column != spec.column).collect();
        Ok(Self {
            column: spec.column,
            above_us: i64::from(spec.whole_times),
            watermarks: spec.watermark,
            keys: RowCodec::for_types(&[time])?,
            rest: RowCodec::for_schema(&input.schema.project(&rest)?)?,
            schema: node.schema.clone(),
            state: Arrangement::open(context, 0, Keep::Ordered, true)?,
            append_only: input.append_only,
            watermark: Watermark::MIN,
            late_dropped: 0,
            without_event_time: 0,
        })
    }

    fn sort(&mut self, batch: &ChangeBatch, watermark: Watermark) -> Sorted {
        let times = batch.column(self.column).as_primitive::<TimestampMicrosecondType>();
        let passed = closed_through(self.watermark, self.above_us);
        let due = closed_through(watermark, self.above_us);
        let watermarks = self.watermarks.map(|column| batch.column(column).as_primitive());
        let mut sorted = Sorted::default();
        for (row, time) in times.iter().enumerate() {
            let bucket = bucket_of(time);
            let is_late = |watermarks: &TimestampMicrosecondArray| {
                watermarks.is_valid(row) && time.is_some_and(|time| time < watermarks.value(row))
            };
            let is_closed = |passed: i64| bucket < passed || self.above_us > 0 && bucket == passed;
            if bucket == NEVER {
                self.without_event_time += 1;
            } else if watermarks.is_some_and(is_late) || passed.is_some_and(is_closed) {
                self.late_dropped += 1;
            } else if passed == Some(bucket) {
                sorted.again.push(row as u32);
            } else if self.append_only && due.is_some_and(|due| bucket <= due) {
                sorted.now.push(row as u32);
            } else {
                sorted.held.push(row as u32);
                sorted.buckets.push(bucket);
            }
        }
        sorted
    }

    /// Lets out the inserts of the time that was let out last.
    fn let_out_again(&mut self, batches: &[ChangeBatch], output: &mut Vec<ChangeBatch>) -> Result<()> {
        if batches.is_empty() {
            return Ok(());
        }
        let rest = consolidate(batches)?;
        let inserts: Vec<u32> = (0..rest.num_rows() as u32)
            .filter(|row| rest.weight(*row as usize) > 0)
            .collect();
        self.late_dropped += (rest.num_rows() - inserts.len()) as u64;
        output.push(rest.take(&UInt32Array::from(inserts))?);
        Ok(())
    }

    fn hold(&mut self, batches: &[(ChangeBatch, Vec<i64>)]) -> Result<()> {
        let mut updates = Vec::with_capacity(batches.len());
        for (batch, buckets) in batches {
            let rows = batch.num_rows();
            let mut columns = batch.rows().columns().to_vec();
            let time = columns.remove(self.column);
            let keys = self.keys.encode(&[time], rows)?;
            let hashes = hash_rows(&keys);
            let slots = self.state.resolve(Keys {
                rows: &keys,
                hashes: &hashes,
                buckets,
            })?;
            updates.push((batch, slots, self.rest.encode(&columns, rows)?));
        }
        // First inserts, so that deletes find their rows.
        for wanted in [1, -1] {
            for (batch, slots, rows) in &updates {
                for (row, slot) in slots.iter().enumerate() {
                    if batch.weight(row).signum() == wanted {
                        self.state.add(*slot, rows.row(row), batch.weight(row))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn let_out_due(&mut self, output: &mut Vec<ChangeBatch>) -> Result<()> {
        let Some(due) = closed_through(self.watermark, self.above_us) else {
            return Ok(());
        };
        let mut out = Out::default();
        while let Some(bucket) = self.state.table.first_bucket(due) {
            for slot in self.state.load_bucket(bucket)? {
                for row in self.state.rows.of(slot) {
                    out.times.push(self.state.table.key(slot));
                    out.rest.push(self.state.rows.bytes_of(row));
                    out.weights.push(self.state.rows.weight(row));
                    if out.weights.len() == BATCH_ROWS {
                        output.push(self.batch(std::mem::take(&mut out))?);
                    }
                }
            }
            self.state.close_through(bucket);
        }
        self.state.close_through(due);
        if !out.weights.is_empty() {
            output.push(self.batch(out)?);
        }
        Ok(())
    }

    fn batch(&self, out: Out) -> Result<ChangeBatch> {
        let time = self.keys.decode(out.times.iter())?;
        let mut columns = self.rest.decode(out.rest.iter())?;
        columns.splice(self.column..self.column, time);
        let batch = record_batch(self.schema.clone(), columns, out.weights.len())?;
        Ok(ChangeBatch::new(batch, Weights::Each(out.weights.into())))
    }
}

impl Operator for Gate {
    fn step(&mut self, step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        let watermark = self.watermark.max(step.watermark);
        let mut output = Vec::new();
        let (mut again, mut held) = (Vec::new(), Vec::new());
        for batch in gathered(inputs.into_iter().flatten().collect())? {
            let sorted = self.sort(&batch, watermark);
            let columns = batch.rows().columns()[..self.schema.fields().len()].to_vec();
            let rows = record_batch(self.schema.clone(), columns, batch.num_rows())?;
            let batch = batch.with_rows(rows);
            let part = |rows: Vec<u32>| match rows.len() == batch.num_rows() {
                true => Ok(batch.clone()),
                false => batch.take(&UInt32Array::from(rows)),
            };
            for (rows, parts) in [(sorted.now, &mut output), (sorted.again, &mut again)] {
                if !rows.is_empty() {
                    parts.push(part(rows)?);
                }
            }
            if !sorted.held.is_empty() {
                held.push((part(sorted.held)?, sorted.buckets));
            }
        }
        self.let_out_again(&again, &mut output)?;
        self.hold(&held)?;
        self.watermark = watermark;
        self.let_out_due(&mut output)?;
        Ok(output)
    }

    fn open_until(&self) -> Option<Watermark> {
        Some(self.state.table.last_bucket()?.saturating_add(self.above_us))
    }

    fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        self.state.checkpoint(batch)
    }

    fn committed(&mut self) -> Result<()> {
        self.state.committed()
    }

    fn complete(&mut self, entries: usize) -> Result<bool> {
        self.state.complete(entries)
    }

    fn stats(&self) -> OperatorStats {
        let mut stats = OperatorStats {
            late_dropped: self.late_dropped,
            without_event_time: self.without_event_time,
            ..Default::default()
        };
        self.state.count_into(&mut stats);
        stats
    }
}
