//! Aggregation: groups by key, and what their calls say of them.
//!
//! Each row finds its group's slot (one probe of a [`KeyedTable`]), and each call adds the batch's
//! argument column to its own columns at those slots. The first time in a step that a group is
//! touched its results are taken down; at the end of the step they are compared with the new ones,
//! and each group whose row changed gives one delete and one insert, however many rows it got.
//!
//! Two tables at most: the groups (rows and accumulators, one value each), and the counted sets of
//! values that DISTINCT and extremes under deletes need ([`collection`]).
//!
//! A group that ends with event time lies in the bucket of that time. With EMIT ON WINDOW CLOSE it
//! gives its row when the watermark arrives there; without, its state only goes. A row that comes for
//! it after that is late: dropped and counted. (Windows over a source drop theirs before; a view's rows
//! come as they are.)

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::compute::{self, kernels::cmp};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use weir_state::WriteBatch;

use super::fault::in_words;
use super::{Operator, OperatorStats, Step, TaskContext, Watermark};
use crate::change::{ChangeBatch, Weights, record_batch};
use crate::graph::{AggregateSpec, CloseSpec, Node};
use crate::row::{RowCodec, Rows};
use crate::shard::hash_rows_into;
use crate::table::{KeyedTable, Keys, Layout, NEVER, Slot, TableOptions};
use crate::{Error, Result};

mod accumulator;
mod collection;
mod exact;
mod extreme;
mod float;
mod fold;
mod groups;
mod integer;
mod ordered;
mod partials;
#[cfg(test)]
mod tests;
mod touched;

use collection::Collections;
pub use exact::ExactSum;
use groups::{Groups, Targets};
pub(super) use partials::Partials;
use touched::Touched;

/// One task's aggregation.
pub struct Aggregate {
    keys: Vec<usize>,
    close: Option<CloseSpec>,
    schema: SchemaRef,
    codec: RowCodec,
    /// The one group of a grouping by nothing is this task's.
    owns_all: bool,
    table: KeyedTable,
    groups: Groups,
    /// Sets by group, where a call needs them.
    set_table: Option<KeyedTable>,
    sets: Collections,
    touched: Touched,
    found: Found,
    late_dropped: u64,
}

/// Memory used again for each batch: its keys and where they are.
#[derive(Default)]
struct Found {
    rows: Rows,
    hashes: Vec<u64>,
    buckets: Vec<i64>,
    groups: Vec<Slot>,
    sets: Vec<Slot>,
}

impl Aggregate {
    /// Builds it.
    ///
    /// # Errors
    /// If a call or key can't be kept up to date over its type, or the store can't be read.
    pub fn new(spec: &AggregateSpec, node: &Node, input: &Node, context: &TaskContext) -> Result<Self> {
        let key_types: Vec<DataType> = spec
            .keys
            .iter()
            .map(|key| input.schema.field(*key).data_type().clone())
            .collect();
        if let Some(close) = &spec.close
            && !matches!(key_types[close.column], DataType::Timestamp(TimeUnit::Microsecond, _))
        {
            return Err(Error::internal("groups are closed by a key that is no timestamp"));
        }
        let (groups, sets) = Groups::new(&spec.calls, spec.keys.is_empty(), &input.schema, input.append_only)?;
        let open = |ordinal: u16, layout: Layout| {
            KeyedTable::open(TableOptions {
                id: context.table(ordinal),
                layout,
                shards: context.shards.clone(),
                store: context.store.clone(),
                entry_budget: context.entry_budget,
                bucketed: spec.close.is_some(),
            })
        };
        let has_sets = !sets.each.is_empty();
        Ok(Self {
            keys: spec.keys.clone(),
            close: spec.close,
            schema: node.schema.clone(),
            codec: RowCodec::for_types(&key_types)?,
            owns_all: spec.keys.is_empty() && context.task == 0,
            table: open(0, Layout::Value)?,
            touched: Touched::new(groups.calls()),
            groups,
            set_table: has_sets.then(|| open(1, Layout::Deltas)).transpose()?,
            sets,
            found: Found::default(),
            late_dropped: 0,
        })
    }

    fn emits_on_close(&self) -> bool {
        self.close.is_some_and(|close| close.emit_on_close)
    }

    /// Adds a batch to its groups.
    fn apply(&mut self, batch: &ChangeBatch) -> Result<()> {
        let batch = &self.on_time(batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        let columns: Vec<ArrayRef> = self.keys.iter().map(|key| batch.column(*key).clone()).collect();
        self.found.rows.clear();
        self.codec
            .encode_into(&columns, batch.num_rows(), &mut self.found.rows)?;
        self.found.buckets.clear();
        if let Some(close) = &self.close {
            let times = columns[close.column].as_primitive::<TimestampMicrosecondType>();
            self.found
                .buckets
                .extend(times.iter().map(|time| time.unwrap_or(NEVER)));
        }
        self.find()?;
        self.touch()?;
        let targets = Targets {
            groups: &self.found.groups,
            collections: &self.found.sets,
        };
        self.groups.update(batch, &targets, &mut self.sets)
    }

    /// The rows of groups that have not ended.
    fn on_time(&mut self, batch: &ChangeBatch) -> Result<ChangeBatch> {
        let Some(close) = &self.close else {
            return Ok(batch.clone());
        };
        let times = batch.column(self.keys[close.column]);
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let Some(ended) = self.table.closed_through() else {
            return Ok(batch.clone());
        };
        let kept: BooleanArray = times
            .iter()
            .map(|time| Some(time.is_none_or(|time| time > ended)))
            .collect();
        match batch.num_rows() - kept.true_count() {
            0 => Ok(batch.clone()),
            late => {
                self.late_dropped += late as u64;
                batch.filter(&kept)
            }
        }
    }

    /// Finds the slots of the keys and buckets in `found`.
    fn find(&mut self) -> Result<()> {
        let found = &mut self.found;
        hash_rows_into(&found.rows, &mut found.hashes);
        let keys = Keys {
            rows: &found.rows,
            hashes: &found.hashes,
            buckets: &found.buckets,
        };
        self.table.resolve(keys, &mut self.groups, &mut found.groups)?;
        if let Some(table) = &mut self.set_table {
            table.resolve(keys, &mut self.sets, &mut found.sets)?;
        }
        Ok(())
    }

    /// The groups in `found` are about to change.
    fn touch(&mut self) -> Result<()> {
        if let Some(table) = &mut self.set_table {
            for slot in &self.found.sets {
                table.mark_dirty(*slot);
            }
        }
        if self.emits_on_close() {
            for slot in &self.found.groups {
                self.table.mark_dirty(*slot);
            }
            return Ok(());
        }
        let new = self.touched.add(&self.found.groups, &self.found.sets);
        let (groups, sets) = self.touched.slots_from(new);
        for slot in groups {
            self.table.mark_dirty(*slot);
        }
        let existed = groups.iter().map(|slot| self.groups.has_row(*slot)).collect();
        let old = (0..self.groups.calls())
            .map(|call| self.groups.finish(call, groups, sets, &self.sets))
            .collect::<Result<_>>()?;
        self.touched.note(existed, old);
        Ok(())
    }

    /// Grouping by nothing has a row from the first step on, whatever came.
    fn touch_all(&mut self) -> Result<()> {
        if self.owns_all && self.groups.emitted == Some(false) {
            self.found.rows.clear();
            self.found.rows.push(&[]);
            self.found.buckets.clear();
            self.find()?;
            self.touch()?;
        }
        Ok(())
    }

    /// One delete and one insert for each touched group whose row has changed.
    fn emit_changes(&mut self) -> Result<Option<ChangeBatch>> {
        let touched = self.touched.take()?;
        if touched.groups.is_empty() {
            return Ok(None);
        }
        if let Some(emitted) = &mut self.groups.emitted {
            *emitted = true;
        }
        for slot in &touched.groups {
            self.groups.check(*slot)?;
        }
        let new = (0..self.groups.calls())
            .map(|call| self.results(call, &touched.groups, &touched.sets))
            .collect::<Result<Vec<_>>>()?;
        let mut changed = vec![false; touched.groups.len()];
        for (old, new) in touched.old.iter().zip(&new) {
            note_different(old, new, &mut changed)?;
        }
        let (mut deletes, mut inserts) = (Vec::new(), Vec::new());
        for (index, slot) in touched.groups.iter().enumerate() {
            let (old, new) = (touched.existed[index], self.groups.has_row(*slot));
            if old && (!new || changed[index]) {
                deletes.push(index as u32);
            }
            if new && (!old || changed[index]) {
                inserts.push(index as u32);
            }
        }
        if deletes.is_empty() && inserts.is_empty() {
            return Ok(None);
        }
        let weights = match deletes.len() {
            0 => Weights::Ones,
            count => {
                let mut weights = vec![-1; count];
                weights.resize(count + inserts.len(), 1);
                Weights::Each(weights.into())
            }
        };
        let emitted = deletes.iter().chain(&inserts);
        let keys = emitted.map(|index| self.table.key(touched.groups[*index as usize]));
        let mut columns = self.codec.decode(keys)?;
        let (deletes, inserts) = (UInt32Array::from(deletes), UInt32Array::from(inserts));
        for (old, new) in touched.old.iter().zip(&new) {
            let new = compute::take(new, &inserts, None)?;
            columns.push(match deletes.len() {
                0 => new,
                _ => compute::concat(&[&compute::take(old, &deletes, None)?, &new])?,
            });
        }
        let rows = deletes.len() + inserts.len();
        Ok(Some(ChangeBatch::new(
            record_batch(self.schema.clone(), columns, rows)?,
            weights,
        )))
    }

    /// What a call says of these groups. Where it can't be computed no single row is at fault, and so
    /// the group is named.
    fn results(&mut self, call: usize, groups: &[Slot], sets: &[Slot]) -> Result<ArrayRef> {
        let error = match self.groups.finish(call, groups, sets, &self.sets) {
            Err(error @ Error::Data(_)) if !self.keys.is_empty() => error,
            done => return done,
        };
        for (nth, group) in groups.iter().enumerate() {
            let sets = sets.get(nth..=nth).unwrap_or_default();
            if let Err(Error::Data(cause)) = self.groups.finish(call, &[*group], sets, &self.sets) {
                let key = self.codec.decode([self.table.key(*group)])?;
                let places: Vec<usize> = (0..key.len()).collect();
                let key = record_batch(self.schema.project(&places)?.into(), key, 1)?;
                return Err(Error::Data(format!("{cause}, in the group ({})", in_words(&key, 0))));
            }
        }
        Err(error)
    }

    /// The rows of groups that end at or before `through`, a bucket at a time.
    fn emit_closed(&mut self, through: i64) -> Result<Vec<ChangeBatch>> {
        let mut output = Vec::new();
        let mut slots = Vec::new();
        while let Some(bucket) = self.table.first_bucket(through) {
            self.table.load_bucket(bucket, &mut self.groups, &mut slots)?;
            self.found.rows.clear();
            for slot in &slots {
                self.groups.check(*slot)?;
                self.found.rows.push(self.table.key(*slot));
            }
            self.found.buckets.clear();
            self.found.buckets.resize(slots.len(), bucket);
            if !slots.is_empty() {
                self.find()?;
                let mut columns = self.codec.decode(self.found.rows.iter())?;
                let groups = std::mem::take(&mut self.found.groups);
                let sets = std::mem::take(&mut self.found.sets);
                for call in 0..self.groups.calls() {
                    columns.push(self.results(call, &groups, &sets)?);
                }
                let rows = record_batch(self.schema.clone(), columns, slots.len())?;
                output.push(ChangeBatch::inserts(rows));
            }
            self.close_through(bucket);
        }
        Ok(output)
    }

    fn close_through(&mut self, through: i64) {
        self.table.close_through(through, &mut self.groups);
        if let Some(table) = &mut self.set_table {
            table.close_through(through, &mut self.sets);
        }
    }

    /// The last time whose groups end at this watermark.
    fn closed_through(&self, watermark: Watermark) -> Option<i64> {
        let close = self.close.as_ref().filter(|_| watermark > i64::MIN)?;
        Some(match watermark {
            i64::MAX => NEVER - 1,
            watermark => watermark.saturating_sub(close.lateness_us),
        })
    }
}

impl Operator for Aggregate {
    fn step(&mut self, step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        for batch in inputs.iter().flatten() {
            self.apply(batch)?;
        }
        self.touch_all()?;
        let mut output = Vec::new();
        output.extend(self.emit_changes()?);
        if let Some(through) = self.closed_through(step.watermark) {
            if self.emits_on_close() {
                output = self.emit_closed(through)?;
            }
            self.close_through(through);
        }
        Ok(output)
    }

    fn open_until(&self) -> Option<Watermark> {
        let close = self.close.filter(|close| close.emit_on_close)?;
        Some(self.table.last_bucket()?.saturating_add(close.lateness_us))
    }

    fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        self.table.checkpoint(&mut self.groups, batch)?;
        if let Some(table) = &mut self.set_table {
            table.checkpoint(&mut self.sets, batch)?;
        }
        Ok(())
    }

    fn committed(&mut self) -> Result<()> {
        self.table.committed(&mut self.groups);
        if let Some(table) = &mut self.set_table {
            table.committed(&mut self.sets);
        }
        Ok(())
    }

    fn complete(&mut self, entries: usize) -> Result<bool> {
        let mut done = self.table.complete(entries, &mut self.groups)?;
        if let Some(table) = &mut self.set_table {
            done &= table.complete(entries, &mut self.sets)?;
        }
        Ok(done)
    }

    fn stats(&self) -> OperatorStats {
        let tables = [Some(&self.table), self.set_table.as_ref()];
        let tables = tables.into_iter().flatten();
        let bytes: usize = tables.map(KeyedTable::bytes).sum();
        OperatorStats {
            state_bytes: (bytes + self.groups.bytes() + self.sets.bytes()) as u64,
            state_entries: self.table.entries() as u64,
            late_dropped: self.late_dropped,
            ..OperatorStats::default()
        }
    }
}

/// Marks the rows in which two columns of one type differ; NULL equals NULL.
fn note_different(old: &ArrayRef, new: &ArrayRef, different: &mut [bool]) -> Result<()> {
    let data_type = new.data_type();
    if data_type.is_nested() || *data_type == DataType::Null {
        let codec = RowCodec::for_types(std::slice::from_ref(data_type))?;
        let old = codec.encode(std::slice::from_ref(old), old.len())?;
        let new = codec.encode(std::slice::from_ref(new), new.len())?;
        for (row, different) in different.iter_mut().enumerate() {
            *different |= old.row(row) != new.row(row);
        }
        return Ok(());
    }
    let found: BooleanArray = cmp::distinct(old, new)?;
    for row in found.values().set_indices() {
        different[row] = true;
    }
    Ok(())
}
