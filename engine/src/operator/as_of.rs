//! As-of join: each left row with the right row of its key that is nearest to it in some order.
//!
//! Both sides are kept by key, each key's rows in the order of their *places*: the column that is
//! compared, in the direction in which the nearest right row is the last one before ([`places`]). So
//! looking for it is a look at one spot of an ordered set.
//!
//! A right row that comes or goes concerns the left rows from its place up to the next right row's, and no
//! others. They are found by that range, and where the right row that is nearest to them is another
//! than before, what they showed is taken back. Then the left changes meet the right rows as they are
//! now. So with L and R as of the last step the output's change is `asof(L, R + ΔR) - asof(L, R) +
//! asof(ΔL, R + ΔR)`.
//!
//! **Versions.** Where the right input is the records of an upsert relation, each is a version of its
//! key's row ([`versions`]).
//!
//! **Closing.** Where places are event times, rows go when the watermark has passed what they can meet
//! ([`closing`]); rows below their own split's watermark are late, dropped and counted.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array, new_null_array};
use arrow::compute;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use weir_state::WriteBatch;

use crate::change::{ChangeBatch, Weights, record_batch};
use crate::float;
use crate::graph::{AsOfSpec, Nearest, Node};
use crate::operator::arrangement::{RowId, gathered};
use crate::operator::timers::Timers;
use crate::operator::{Operator, OperatorStats, Step, TaskContext, Watermark};
use crate::row::{RowCodec, Rows};
use crate::shard::hash_rows;
use crate::table::{Keys, Slot};
use crate::{Error, Result};

mod awaited;
mod closing;
mod places;
mod side;
#[cfg(test)]
mod tests;
mod versions;

use awaited::Awaited;
use places::{Places, behind};
use side::Side;

/// Rows of one output batch at most.
const BATCH_ROWS: usize = 8192;

/// One task's part of an [`AsOfSpec`] node.
pub struct AsOf {
    spec: AsOfSpec,
    left: Side,
    right: Side,
    places: Places,
    /// Of the key columns, either side's.
    keys: RowCodec,
    schema: SchemaRef,
    /// When to look at which key, by the left rows and by the right ones; where event time closes.
    timers: Option<[Timers; 2]>,
    /// What final rows wait for, where the nearest right row lies behind.
    awaited: Option<Awaited>,
    /// As of the last step.
    watermark: Watermark,
    /// Of the left rows that have come since the start.
    latest: i64,
    late_dropped: u64,
    without_event_time: u64,
}

/// Changes of one input, found in its state.
struct Changes {
    slots: Vec<Slot>,
    /// The same keys' slots in the other side's state.
    others: Vec<Option<Slot>>,
    rows: Rows,
    weights: Vec<i64>,
}

/// Left rows whose nearest right row may become another.
struct Region {
    left: Slot,
    right: Slot,
    rows: Vec<RowId>,
    before: Option<RowId>,
}

/// Rows to be emitted.
#[derive(Default)]
struct Emit {
    slots: Vec<Slot>,
    left: Vec<RowId>,
    right: Vec<Option<RowId>>,
    weights: Vec<i64>,
}

impl AsOf {
    /// An operator over `left` and `right`, whose output has the columns of `node.schema`, as
    /// [`AsOfSpec`] says.
    ///
    /// # Errors
    /// If the plan doesn't fit together, a column can't be kept in state, or the store can't be
    /// read.
    pub fn new(spec: &AsOfSpec, node: &Node, left: &Node, right: &Node, context: &TaskContext) -> Result<Self> {
        check(spec, node, left, right)?;
        let timers = match spec.close {
            // Only sessions have hints to keep.
            Some(_) => Some([Timers::open(context, 2, false)?, Timers::open(context, 3, false)?]),
            None => None,
        };
        let places = Places::new(spec);
        let waits = places.descending && spec.close.is_some_and(|close| close.emit_final);
        Ok(Self {
            left: Side::new(spec, true, &left.schema, context)?,
            right: Side::new(spec, false, &right.schema, context)?,
            awaited: waits.then(|| Awaited::open(context, 4)).transpose()?,
            places,
            keys: RowCodec::for_columns(&left.schema, &spec.left_keys)?,
            schema: node.schema.clone(),
            timers,
            spec: spec.clone(),
            watermark: Watermark::MIN,
            latest: i64::MIN,
            late_dropped: 0,
            without_event_time: 0,
        })
    }

    fn emits_final(&self) -> bool {
        self.spec.close.is_some_and(|close| close.emit_final)
    }

    /// One input's rows that may meet something. Of the others, late ones are counted, and those with a
    /// NULL in their key or place are put among the `placeless`.
    fn meeting(
        &mut self,
        is_left: bool,
        batches: Vec<ChangeBatch>,
        placeless: &mut Vec<ChangeBatch>,
    ) -> Result<Vec<ChangeBatch>> {
        let side = if is_left { &self.left } else { &self.right };
        let mut meeting = Vec::new();
        for batch in gathered(batches)? {
            // So that a row looks the same whether it comes out of state or straight from the input.
            let mut batch = float::one_form_of_changes(batch)?;
            if let Some(close) = self.spec.close {
                let on_time = side.on_time(&batch, close.lateness_us)?;
                self.late_dropped += (on_time.len() - on_time.true_count()) as u64;
                self.without_event_time += side.without_place(&batch)?.true_count() as u64;
                batch = batch.filter(&on_time)?;
            }
            if let Some(meets) = side.has_place(&batch)? {
                placeless.push(batch.filter(&compute::not(&meets)?)?);
                batch = batch.filter(&meets)?;
            }
            if !batch.is_empty() {
                meeting.push(batch);
            }
        }
        Ok(meeting)
    }

    /// Finds the places of rows in their own side's state, and their keys in the other's.
    fn changes(&mut self, is_left: bool, batch: &ChangeBatch) -> Result<Changes> {
        let (side, other) = match is_left {
            true => (&mut self.left, &mut self.right),
            false => (&mut self.right, &mut self.left),
        };
        let keys = self.keys.encode(&side.key_columns(batch), batch.num_rows())?;
        let hashes = hash_rows(&keys);
        let slots = side.state.resolve(Keys::new(&keys, &hashes))?;
        let others = other.state.lookup(Keys::new(&keys, &hashes))?;
        let found = Changes {
            slots,
            others,
            rows: side.encode(batch)?,
            weights: (0..batch.num_rows()).map(|row| batch.weight(row)).collect(),
        };
        match self.spec.records && !is_left {
            true => self.versions(found, batch),
            false => Ok(found),
        }
    }

    /// The left rows that right changes concern, before these are applied.
    fn regions(&self, changes: &[Changes]) -> Result<Vec<Region>> {
        let mut touched: Vec<(Slot, &[u8], Slot)> = Vec::new();
        for changes in changes {
            for (row, (slot, other)) in changes.slots.iter().zip(&changes.others).enumerate() {
                let left = other.filter(|left| self.left.state.rows.total(*left) > 0);
                if let Some(left) = left {
                    let row = changes.rows.row(row);
                    touched.push((*slot, &row[..self.right.place_len(row)?], left));
                }
            }
        }
        touched.sort_unstable();
        touched.dedup();
        let mut regions = Vec::new();
        for (nth, (right, place, left)) in touched.iter().enumerate() {
            let next_touched = touched.get(nth + 1).filter(|next| next.0 == *right);
            let next = self.right.state.rows.from(*right, &behind(place)).next();
            let next = next.map(|row| self.right.place_of(row)).transpose()?;
            let end = next.into_iter().chain(next_touched.map(|next| next.1)).min();
            let (from, end) = (
                self.places.reached_from(place),
                end.map(|end| self.places.reached_from(end)),
            );
            let rows = &self.left.state.rows;
            let within = |row: &RowId| end.as_ref().is_none_or(|end| rows.bytes_of(*row) < &end[..]);
            let rows: Vec<RowId> = rows.from(*left, &from).take_while(within).collect();
            if let Some(first) = rows.first() {
                regions.push(Region {
                    left: *left,
                    right: *right,
                    before: self.nearest(*right, *first)?,
                    rows,
                });
            }
        }
        Ok(regions)
    }

    /// The right row that is nearest to a left one.
    fn nearest(&self, right: Slot, left: RowId) -> Result<Option<RowId>> {
        let bound = self.places.bound(self.left.place_of(left)?);
        let rows = &self.right.state.rows;
        let Some(last) = rows.below(right, &bound).next() else {
            return Ok(None);
        };
        let first = rows.from(right, self.right.place_of(last)?).next();
        Ok(first.filter(|row| !self.right.is_end(*row)))
    }

    /// What the applied right changes make of the left rows that they concern.
    fn settle(&self, regions: Vec<Region>, emit: &mut Emit) -> Result<()> {
        for region in regions {
            let after = self.nearest(region.right, region.rows[0])?;
            let bytes = |row: Option<RowId>| row.map(|row| self.right.state.rows.bytes_of(row));
            if bytes(region.before) == bytes(after) {
                continue;
            }
            for row in region.rows {
                let weight = self.left.state.rows.weight(row);
                self.push(region.left, row, region.before, -weight, emit);
                self.push(region.left, row, after, weight, emit);
            }
        }
        Ok(())
    }

    fn push(&self, slot: Slot, left: RowId, right: Option<RowId>, weight: i64, emit: &mut Emit) {
        if right.is_some() || self.spec.outer {
            emit.slots.push(slot);
            emit.left.push(left);
            emit.right.push(right);
            emit.weights.push(weight);
        }
    }

    /// Puts left changes into the state; they meet the right rows as they are.
    fn apply_left(&mut self, changes: &[Changes], emit: &mut Emit) -> Result<()> {
        // First inserts, so that deletes find their rows.
        for sign in [1, -1] {
            for changes in changes {
                for (nth, slot) in changes.slots.iter().enumerate() {
                    let weight = changes.weights[nth];
                    if weight.signum() != sign {
                        continue;
                    }
                    let row = self.left.state.add(*slot, changes.rows.row(nth), weight)?;
                    if !self.emits_final() {
                        let nearest = match changes.others[nth] {
                            Some(right) => self.nearest(right, row)?,
                            None => None,
                        };
                        self.push(*slot, row, nearest, weight, emit);
                    }
                }
            }
        }
        Ok(())
    }

    fn apply_right(&mut self, changes: &[Changes]) -> Result<()> {
        if self.spec.records {
            return self.apply_versions(changes);
        }
        for sign in [1, -1] {
            for changes in changes {
                for (nth, slot) in changes.slots.iter().enumerate() {
                    if changes.weights[nth].signum() == sign {
                        self.right
                            .state
                            .add(*slot, changes.rows.row(nth), changes.weights[nth])?;
                    }
                }
            }
        }
        Ok(())
    }

    fn batches(&self, emit: &Emit) -> Result<Vec<ChangeBatch>> {
        let mut output = Vec::new();
        for begin in (0..emit.weights.len()).step_by(BATCH_ROWS) {
            let range = begin..emit.weights.len().min(begin + BATCH_ROWS);
            let slots = &emit.slots[range.clone()];
            let keys = self
                .keys
                .decode(slots.iter().map(|slot| self.left.state.table.key(*slot)))?;
            let mut columns = self.left.columns(&keys, emit.left[range.clone()].iter().copied())?;
            columns.extend(self.right_columns(&keys, &emit.right[range.clone()])?);
            let rows = record_batch(self.schema.clone(), columns, range.len())?;
            let weights = Weights::Each(emit.weights[range].to_vec().into());
            output.push(ChangeBatch::new(rows, weights));
        }
        Ok(output)
    }

    /// Columns of right rows, NULLs where there is none.
    fn right_columns(&self, keys: &[ArrayRef], rows: &[Option<RowId>]) -> Result<Vec<ArrayRef>> {
        let some: UInt32Array = (0..rows.len() as u32)
            .filter(|row| rows[*row as usize].is_some())
            .collect();
        let take = |columns: &[ArrayRef], indices: &UInt32Array| -> Result<Vec<ArrayRef>> {
            let taken = columns.iter().map(|column| compute::take(column, indices, None));
            Ok(taken.collect::<Result<_, _>>()?)
        };
        let keys = match some.len() == rows.len() {
            true => keys.to_vec(),
            false => take(keys, &some)?,
        };
        let columns = self.right.columns(&keys, rows.iter().flatten().copied())?;
        if some.len() == rows.len() {
            return Ok(columns);
        }
        let mut next = 0..;
        let places: UInt32Array = rows.iter().map(|row| row.and_then(|_| next.next())).collect();
        take(&columns, &places)
    }

    /// Left rows that can meet nothing.
    fn alone(&self, batch: ChangeBatch) -> Result<ChangeBatch> {
        let mut columns = batch.rows().columns()[..self.left.types.len()].to_vec();
        let rows = batch.num_rows();
        columns.extend(self.right.types.iter().map(|kind| new_null_array(kind, rows)));
        let rows = record_batch(self.schema.clone(), columns, rows)?;
        Ok(batch.with_rows(rows))
    }
}

impl Operator for AsOf {
    fn step(&mut self, step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        let mut inputs = inputs.into_iter();
        let (left, right) = (inputs.next().unwrap_or_default(), inputs.next().unwrap_or_default());
        let (mut alone, mut nowhere) = (Vec::new(), Vec::new());
        let left = self.meeting(true, left, &mut alone)?;
        let right = self.meeting(false, right, &mut nowhere)?;
        let mut emit = Emit::default();
        let right: Vec<Changes> = right
            .iter()
            .map(|batch| self.changes(false, batch))
            .collect::<Result<_>>()?;
        let regions = match self.emits_final() {
            true => Vec::new(),
            false => self.regions(&right)?,
        };
        let waiting = self.waiting(false, &right)?;
        self.apply_right(&right)?;
        self.wait_anew(waiting)?;
        self.settle(regions, &mut emit)?;
        let left: Vec<Changes> = left
            .iter()
            .map(|batch| self.changes(true, batch))
            .collect::<Result<_>>()?;
        let waiting = self.waiting(true, &left)?;
        self.apply_left(&left, &mut emit)?;
        self.wait_anew(waiting)?;
        self.watermark = self.watermark.max(step.watermark);
        self.set_timers(&left, &right)?;
        self.close(&mut emit)?;
        self.awaited.as_mut().map_or(Ok(()), Awaited::find_last)?;
        let mut output = self.batches(&emit)?;
        if self.spec.outer {
            for batch in alone {
                output.push(self.alone(batch)?);
            }
        }
        Ok(output)
    }

    fn open_until(&self) -> Option<Watermark> {
        let close = self.spec.close.filter(|close| close.emit_final)?;
        let last = match (&self.awaited, &self.timers) {
            (Some(awaited), _) => awaited.last()?,
            // Of rows from before the start each key's first one is known.
            (None, Some([of_left, _])) => of_left.last()?.max(self.latest),
            (None, None) => return None,
        };
        Some(last.saturating_add(1).saturating_add(close.lateness_us))
    }

    fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        self.left.state.checkpoint(batch)?;
        self.right.state.checkpoint(batch)?;
        self.timers
            .iter_mut()
            .flatten()
            .try_for_each(|timers| timers.checkpoint(batch))?;
        let awaited = self.awaited.as_mut();
        awaited.map_or(Ok(()), |awaited| awaited.table.checkpoint(batch))
    }

    fn committed(&mut self) -> Result<()> {
        self.left.state.committed()?;
        self.right.state.committed()?;
        self.timers.iter_mut().flatten().try_for_each(Timers::committed)?;
        let awaited = self.awaited.as_mut();
        awaited.map_or(Ok(()), |awaited| awaited.table.committed())
    }

    fn complete(&mut self, entries: usize) -> Result<bool> {
        let mut done = self.left.state.complete(entries.div_ceil(2))?;
        done &= self.right.state.complete(entries.div_ceil(2))?;
        for timers in self.timers.iter_mut().flatten() {
            done &= timers.complete(entries.div_ceil(2))?;
        }
        if let Some(awaited) = &mut self.awaited {
            done &= awaited.table.complete(entries.div_ceil(2))?;
        }
        Ok(done)
    }

    fn stats(&self) -> OperatorStats {
        let mut stats = OperatorStats {
            late_dropped: self.late_dropped,
            without_event_time: self.without_event_time,
            ..Default::default()
        };
        self.left.state.count_into(&mut stats);
        self.right.state.count_into(&mut stats);
        for timers in self.timers.iter().flatten() {
            timers.count_into(&mut stats);
        }
        if let Some(awaited) = &self.awaited {
            awaited.table.count_into(&mut stats);
        }
        stats
    }
}

/// What the planner has to have seen to.
fn check(spec: &AsOfSpec, node: &Node, left: &Node, right: &Node) -> Result<()> {
    let kind = |node: &Node, column: usize| node.schema.fields().get(column).map(|field| field.data_type().clone());
    let same = |l: usize, r: usize| kind(left, l).is_some() && kind(left, l) == kind(right, r);
    let keys_fit = spec.left_keys.len() == spec.right_keys.len()
        && spec.left_keys.iter().zip(&spec.right_keys).all(|(l, r)| same(*l, *r));
    let visible = side::visible(spec, true, &left.schema)
        .iter()
        .chain(side::visible(spec, false, &right.schema))
        .map(|field| field.data_type());
    let columns_fit = node.schema.fields().iter().map(|field| field.data_type()).eq(visible);
    let is_time = matches!(
        kind(left, spec.left_order),
        Some(DataType::Timestamp(TimeUnit::Microsecond, _))
    );
    let close_fits = spec.close.is_none() || is_time && left.append_only && right.append_only;
    let records_fit = !spec.records || is_time && spec.nearest == Nearest::AtOrBefore && right.append_only;
    match keys_fit && same(spec.left_order, spec.right_order) && columns_fit && close_fits && records_fit {
        true => Ok(()),
        false => Err(Error::internal("an as-of join doesn't fit its inputs")),
    }
}
