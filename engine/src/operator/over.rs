//! OVER: window functions, kept up to date.
//!
//! For each of the [`Partitions`] that a step touches, the functions are computed over its rows as
//! they were and as they are, and the difference is emitted. So nothing of the output is kept: a
//! value is a function of the rows, and comes out the same when it has to be taken back.
//!
//! Not all of a partition is computed anew. Between the rows that are the same at its begin and at its end lies what
//! has changed. A value changes only where that is within the functions' *reach*: `lag(x)` rests on one row before, a
//! frame of `ROWS 2 PRECEDING` on two, one of `RANGE 5 PRECEDING` on the rows whose place in the order is so near
//! ([`sight`]), a rank on all before. What lies further away is neither computed nor, unless something there reaches
//! it, decoded.
//!
//! Where rows come in order, nothing that is emitted ever changes: a row is emitted when all rows are there that its
//! values rest on, which is when it comes or later ([`held`]), and rows that no later one reaches are forgotten.

use std::cmp::Ordering;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, SchemaRef};
use weir_state::WriteBatch;

use crate::change::{ChangeBatch, Weights, record_batch};
use crate::graph::{Far, Node, OverSpec, Reach};
use crate::operator::arrangement::RowId;
use crate::operator::partitions::{Changes, Partitions, inserts_first};
use crate::operator::{Operator, OperatorStats, Step, TaskContext, Watermark};
use crate::row::{RowCodec, Rows};
use crate::table::Slot;
use crate::{Error, Result};

mod held;
mod sight;
#[cfg(test)]
mod tests;

use held::Held;
use sight::Sight;

/// So many rows, or a partition more, are computed at once.
const BATCH_ROWS: usize = 8192;
/// More rows in a partition can't be numbered.
const MOST_ROWS: u64 = i32::MAX as u64;

/// One task's part of an [`OverSpec`] node.
pub struct Over {
    spec: OverSpec,
    input: SchemaRef,
    schema: SchemaRef,
    /// Of all functions together.
    reach: Reach,
    sight: Sight,
    /// Of their values.
    values: RowCodec,
    partitions: Partitions,
    /// What rows in order wait for, where they do.
    held: Option<Held>,
}

/// The rows of a partition, each as often as its weight says, and what of them is computed.
struct Part {
    rows: Vec<RowId>,
    /// Whose values may have changed.
    core: Range<usize>,
    /// What those rest on.
    around: Range<usize>,
}

/// A partition before and after the step.
struct Change {
    slot: Slot,
    before: Part,
    after: Part,
}

/// Rows of a batch to be emitted.
#[derive(Default)]
struct Emit {
    rows: Vec<u32>,
    weights: Vec<i64>,
}

impl Over {
    /// An operator over `input` whose output has the columns of `node.schema`: the input's, and the
    /// functions' values.
    ///
    /// # Errors
    /// If the plan doesn't fit together, a column can't be kept in state, or the store can't be
    /// read.
    pub fn new(spec: &OverSpec, node: &Node, input: &Node, context: &TaskContext) -> Result<Self> {
        check(spec, node, input)?;
        let types: Vec<DataType> = spec.calls.iter().map(|call| call.output_type.clone()).collect();
        let mut reach = spec.reach();
        let waits_for = spec.waits_for();
        if spec.in_order && waits_for.is_none() {
            // Peers of a row may stand behind it, but all of them come with it.
            reach.behind = Some(Far::rows(0));
        }
        let held = waits_for.map(|far| Held::open(spec, far, &input.schema, context));
        Ok(Self {
            input: input.schema.clone(),
            schema: node.schema.clone(),
            reach,
            sight: Sight::new(spec, &input.schema)?,
            values: RowCodec::for_types(&types)?,
            partitions: Partitions::open(&spec.partition, &spec.order, spec.close, input, context)?,
            held: held.transpose()?,
            spec: spec.clone(),
        })
    }

    /// Puts changes into the state. Returns the partitions that they touch, with their rows as they
    /// were.
    fn apply(&mut self, changes: &[Changes]) -> Result<Vec<(Slot, Vec<RowId>)>> {
        let mut touched = Vec::new();
        for (slot, row, weight) in inserts_first(changes) {
            if self.partitions.is_untouched(slot) {
                touched.push((slot, self.rows_of(slot)?));
            }
            self.partitions.state.add(slot, row, weight)?;
        }
        Ok(touched)
    }

    fn rows_of(&self, slot: Slot) -> Result<Vec<RowId>> {
        let rows = &self.partitions.state.rows;
        let total = rows.total(slot).unsigned_abs();
        if total > MOST_ROWS {
            return Err(Error::Data(format!(
                "a partition of OVER has {total} rows, more than the {MOST_ROWS} that it can have"
            )));
        }
        let mut all = Vec::with_capacity(total as usize);
        for row in rows.of(slot) {
            all.extend(std::iter::repeat_n(row, rows.weight(row).unsigned_abs() as usize));
        }
        Ok(all)
    }

    /// The partitions that rows wait in which the watermark has made final, with their rows, where nothing came to
    /// them.
    fn take_due(&mut self, watermark: Watermark) -> Result<Vec<(Slot, Vec<RowId>)>> {
        let due = match &mut self.held {
            Some(held) => held.take_due(&mut self.partitions, watermark)?,
            None => Vec::new(),
        };
        let mut touched = Vec::new();
        for slot in due {
            if self.partitions.is_untouched(slot) {
                touched.push((slot, self.rows_of(slot)?));
            }
        }
        Ok(touched)
    }

    /// What the step's changes, and its watermark, make of the output.
    fn settle(&mut self, touched: Vec<(Slot, Vec<RowId>)>, watermark: Watermark) -> Result<Vec<ChangeBatch>> {
        let mut output = Vec::new();
        let mut due = Vec::new();
        let mut rows = 0;
        for (slot, before) in touched {
            let after = self.rows_of(slot)?;
            let change = match self.spec.in_order {
                true => self.in_order(slot, before, after, watermark)?,
                false => self.change(slot, before, after)?,
            };
            rows += change.before.around.len() + change.after.around.len();
            due.push(change);
            if rows >= BATCH_ROWS {
                output.extend(self.compute(&std::mem::take(&mut due))?);
                rows = 0;
            }
        }
        output.extend(self.compute(&due)?);
        Ok(output)
    }

    /// Which values of a partition have become final. What no later row reaches is forgotten.
    fn in_order(&mut self, slot: Slot, before: Vec<RowId>, after: Vec<RowId>, watermark: Watermark) -> Result<Change> {
        if !after.starts_with(&before) {
            return Err(Error::internal(
                "a row came behind its time to a window function in order",
            ));
        }
        let until = |rows: &[RowId], watermark| match &self.held {
            Some(held) => held.final_until(&self.partitions, &self.sight, rows, watermark),
            None => Ok(rows.len()),
        };
        let core = until(&before, self.partitions.watermark())?..until(&after, watermark)?;
        let none = core.start..core.start;
        let change = Change {
            slot,
            before: Part {
                rows: before,
                core: none.clone(),
                around: none,
            },
            after: self.around(after, core)?,
        };
        self.forget(&change)?;
        if let Some(held) = &mut self.held {
            let waiting = (&change.after.rows[..], change.after.core.end);
            held.wait(&mut self.partitions, &self.sight, slot, waiting)?;
        }
        Ok(change)
    }

    /// What of a partition has changed, and which values that may change.
    fn change(&self, slot: Slot, before: Vec<RowId>, after: Vec<RowId>) -> Result<Change> {
        let head = same(before.iter().zip(&after));
        let tail = same(before[head..].iter().rev().zip(after[head..].iter().rev()));
        let changed = [&before[head..before.len() - tail], &after[head..after.len() - tail]];
        let first = changed.iter().filter_map(|rows| rows.first());
        let last = changed.iter().filter_map(|rows| rows.last());
        let ends = first
            .min_by(|one, other| self.compare(**one, **other))
            .zip(last.max_by(|one, other| self.compare(**one, **other)))
            .map(|(first, last)| (*first, *last));
        Ok(Change {
            slot,
            before: self.part(before, head, tail, ends)?,
            after: self.part(after, head, tail, ends)?,
        })
    }

    /// A partition whose first `head` and last `tail` rows are as they were, and what has changed between
    /// them: the first and the last row of those before and after. So the core is the same in both.
    fn part(&self, rows: Vec<RowId>, head: usize, tail: usize, changed: Option<(RowId, RowId)>) -> Result<Part> {
        let Reach { before, behind } = &self.reach;
        let back = |from: usize, at: RowId, far| self.sight.back(&self.partitions, &rows, (from, at), far);
        let forth = |from: usize, at: RowId, far| self.sight.forth(&self.partitions, &rows, (from, at), far);
        let core = match changed {
            Some((first, last)) => back(head, first, behind)?..forth(rows.len() - tail, last, before)?,
            None => head..head,
        };
        self.around(rows, core)
    }

    /// The core of a partition, with what its values rest on.
    fn around(&self, rows: Vec<RowId>, core: Range<usize>) -> Result<Part> {
        let Reach { before, behind } = &self.reach;
        let back = |from: usize, at: RowId, far| self.sight.back(&self.partitions, &rows, (from, at), far);
        let forth = |from: usize, at: RowId, far| self.sight.forth(&self.partitions, &rows, (from, at), far);
        let around = match rows[core.clone()] {
            [] => core.start..core.start,
            [first, .., last] => back(core.start, first, before)?..forth(core.end, last, behind)?,
            [one] => back(core.start, one, before)?..forth(core.end, one, behind)?,
        };
        Ok(Part { rows, core, around })
    }

    /// Drops the rows that are emitted and that nothing reaches which waits or is to come.
    fn forget(&mut self, change: &Change) -> Result<()> {
        let Part { rows, core, .. } = &change.after;
        let Some(newest) = rows.last() else { return Ok(()) };
        let reached = match rows.get(core.end) {
            Some(first) => (core.end, *first, self.reach.before.clone()),
            None => (rows.len(), *newest, later(&self.reach.before)),
        };
        let (from, at, far) = reached;
        let reached = self.sight.back(&self.partitions, rows, (from, at), &far)?;
        let (old, kept) = rows.split_at(reached);
        let mut last = kept.first();
        for row in old.iter().rev() {
            if last != Some(row) {
                self.partitions.state.rows.remove(change.slot, *row);
                last = Some(row);
            }
        }
        if !old.is_empty() {
            self.partitions.state.table.mark_dirty(change.slot);
        }
        Ok(())
    }

    /// The difference that changes make, as rows of the output.
    fn compute(&self, changes: &[Change]) -> Result<Option<ChangeBatch>> {
        let (mut slots, mut rows) = (Vec::new(), Vec::new());
        for change in changes {
            for part in [&change.before, &change.after] {
                rows.extend_from_slice(&part.rows[part.around.clone()]);
                slots.resize(rows.len(), change.slot);
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let mut columns = self.partitions.columns_of(&slots, &rows)?;
        let batch = record_batch(self.input.clone(), columns.clone(), rows.len())?;
        let values = self.evaluate(&batch, changes)?;
        let encoded = self.values.encode(&values, rows.len())?;
        let emit = self.difference(changes, &encoded)?;
        if emit.rows.is_empty() {
            return Ok(None);
        }
        columns.extend(values);
        let indices = UInt32Array::from(emit.rows);
        let columns: Vec<ArrayRef> = columns
            .iter()
            .map(|column| compute::take(column, &indices, None))
            .collect::<Result<_, _>>()?;
        let rows = record_batch(self.schema.clone(), columns, indices.len())?;
        Ok(Some(ChangeBatch::new(rows, Weights::Each(emit.weights.into()))))
    }

    /// The functions' values for the rows of a batch, which are those around the changes' cores, one
    /// part after the other.
    fn evaluate(&self, batch: &RecordBatch, changes: &[Change]) -> Result<Vec<ArrayRef>> {
        let parts = || changes.iter().flat_map(|change| [&change.before, &change.after]);
        let mut values = Vec::with_capacity(self.spec.calls.len());
        for call in &self.spec.calls {
            let mut begin = 0;
            let mut arrays = Vec::with_capacity(2 * changes.len());
            for part in parts().filter(|part| !part.around.is_empty()) {
                let rows = batch.slice(begin, part.around.len());
                begin += rows.num_rows();
                let array = call.function.evaluate(&rows)?;
                arrays.push(match *array.data_type() == call.output_type {
                    true => array,
                    false => compute::cast(&array, &call.output_type)?,
                });
            }
            let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
            values.push(compute::concat(&arrays)?);
        }
        Ok(values)
    }

    /// The rows to be emitted, by place in the batch of all parts.
    fn difference(&self, changes: &[Change], values: &Rows) -> Result<Emit> {
        let mut emit = Emit::default();
        let mut begin = 0;
        for Change { before, after, .. } in changes {
            let behind = begin + before.around.len();
            let old_at = |row: usize| begin + row - before.around.start;
            let new_at = |row: usize| behind + row - after.around.start;
            let (mut old, mut new) = (before.core.clone(), after.core.clone());
            loop {
                let order = match (old.is_empty(), new.is_empty()) {
                    (true, true) => break,
                    (false, true) => Ordering::Less,
                    (true, false) => Ordering::Greater,
                    (false, false) => self.compare(before.rows[old.start], after.rows[new.start]),
                };
                if order.is_eq() && values.row(old_at(old.start)) == values.row(new_at(new.start)) {
                    (old.start, new.start) = (old.start + 1, new.start + 1);
                    continue;
                }
                if order.is_le() {
                    emit.push(old_at(old.start), -1);
                    old.start += 1;
                }
                if order.is_ge() {
                    emit.push(new_at(new.start), 1);
                    new.start += 1;
                }
            }
            begin = behind + after.around.len();
        }
        Ok(emit)
    }

    fn compare(&self, one: RowId, other: RowId) -> Ordering {
        let rows = &self.partitions.state.rows;
        match one == other {
            true => Ordering::Equal,
            // One that went and came again has another number.
            false => rows.bytes_of(one).cmp(rows.bytes_of(other)),
        }
    }
}

/// How far before rows that are yet to come a reach goes, from the end of those that are there: they come behind all of
/// these, so their own group isn't there, and the newest row's peers are a group before them.
fn later(far: &Option<Far>) -> Option<Far> {
    far.clone().map(|far| Far {
        groups: far.groups.and_then(|groups| groups.checked_sub(1)),
        ..far
    })
}

/// How many pairs are of the same row, up to the first that isn't.
fn same<'a>(pairs: impl Iterator<Item = (&'a RowId, &'a RowId)>) -> usize {
    pairs.take_while(|(one, other)| one == other).count()
}

impl Emit {
    fn push(&mut self, row: usize, weight: i64) {
        self.rows.push(row as u32);
        self.weights.push(weight);
    }
}

impl Operator for Over {
    fn step(&mut self, step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        let changes = self.partitions.begin_step(inputs)?;
        let watermark = self.partitions.watermark().max(step.watermark);
        let mut touched = self.apply(&changes)?;
        touched.extend(self.take_due(watermark)?);
        let output = self.settle(touched, watermark)?;
        if let Some(held) = &mut self.held {
            held.flush(&self.partitions)?;
        }
        self.partitions.rise(watermark);
        if let Some(through) = self.partitions.closed_through() {
            self.partitions.state.close_through(through);
        }
        Ok(output)
    }

    fn open_until(&self) -> Option<Watermark> {
        self.held.as_ref()?.open_until()
    }

    fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        self.partitions.checkpoint(batch)?;
        self.held.as_mut().map_or(Ok(()), |held| held.checkpoint(batch))
    }

    fn committed(&mut self) -> Result<()> {
        self.partitions.committed()?;
        self.held.as_mut().map_or(Ok(()), Held::committed)
    }

    fn complete(&mut self, entries: usize) -> Result<bool> {
        let held = self.held.as_mut().map_or(Ok(true), |held| held.complete(entries))?;
        Ok(self.partitions.complete(entries)? && held)
    }

    fn stats(&self) -> OperatorStats {
        let mut stats = self.partitions.stats();
        self.held.iter().for_each(|held| held.count_into(&mut stats));
        stats
    }
}

/// What the planner has to have seen to.
fn check(spec: &OverSpec, node: &Node, input: &Node) -> Result<()> {
    let values = spec.calls.iter().map(|call| &call.output_type);
    let fits = super::extends(node, input, input.schema.fields().len(), values);
    let closes = spec.close.is_none_or(|close| !close.emit_on_close);
    let ends = !spec.in_order || spec.reach().behind.is_some();
    Err(Error::internal(
        match (fits, closes, spec.in_order && !input.append_only) {
            (true, true, false) if ends => return Ok(()),
            (true, true, false) => "rows in order wait for all that are to come",
            (false, ..) => "the columns of OVER are not its input's and its functions'",
            (_, false, _) => "OVER emits changes; a gate holds them until the close",
            (.., true) => "rows that come in order are never deleted",
        },
    ))
}
