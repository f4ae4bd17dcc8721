//! Join: pairs of left and right rows with equal keys; LEFT also left rows without a partner.
//!
//! Both inputs may change. A join is linear in each of them, so with L and R as of the last step
//! and ΔL and ΔR what this one brings, its change is `L ⋈ ΔR + ΔL ⋈ (R + ΔR)`: the right changes
//! meet the left rows as they were, then the left changes meet the right rows as they are now. So
//! each side is an [`Arrangement`] by key, and the changes of one probe that of the other. A pair's
//! weight is the product of its rows'.
//!
//! **LEFT.** A left row stands with NULLs as long as it has no partner. Without a residual
//! condition that is a fact of the key (are there right rows at all?); with one each left row keeps
//! the number of its partners. What is compared is before and after all of the step's right
//! changes, so a partner that only changes never shows as NULLs in between.
//!
//! A NULL in a key meets nothing (unless `null_equals_null`) and isn't kept: an inner join drops
//! such rows, a left join passes left ones on at once.
//!
//! **Closing.** In a window join both sides' state goes when the watermark passes the window, and
//! rows that come for it later are dropped and counted. What was emitted stays.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::physical_expr::PhysicalExpr;
use weir_state::WriteBatch;

use crate::change::{ChangeBatch, Weights, record_batch};
use crate::graph::{CloseSpec, JoinKind, JoinSpec, Node};
use crate::operator::arrangement::{Arrangement, Keep, RowId, bucket_of, canonical, closed_through, gathered};
use crate::operator::map::truth;
use crate::operator::{Operator, OperatorStats, Step, TaskContext, Watermark};
use crate::row::{RowCodec, Rows};
use crate::shard::hash_rows;
use crate::table::{Keys, Slot};
use crate::{Error, Result};

mod probe;
#[cfg(test)]
mod tests;

use probe::Stored;

/// One task's part of a [`JoinSpec`] node.
pub struct Join {
    spec: JoinSpec,
    left: Side,
    right: Side,
    /// Of the key columns, either side's.
    keys: RowCodec,
    schema: SchemaRef,
    /// As of the last step: what was closed then is closed for the rows of this one.
    watermark: Watermark,
    late_dropped: u64,
}

/// What is known of an input, and its rows.
struct Side {
    types: Vec<DataType>,
    keys: Vec<usize>,
    /// The columns that are no keys: what is kept of a row.
    rest: Vec<usize>,
    codec: RowCodec,
    /// Columns to be made canonical.
    floats: Vec<usize>,
    state: Arrangement,
}

/// Changes of one input that take part, with their keys.
struct Changes {
    batch: ChangeBatch,
    keys: Rows,
    hashes: Vec<u64>,
    /// Empty where nothing closes.
    buckets: Vec<i64>,
}

impl Changes {
    fn keys(&self) -> Keys<'_> {
        Keys {
            rows: &self.keys,
            hashes: &self.hashes,
            buckets: &self.buckets,
        }
    }
}

/// Changes of the side's own state: slots and rows.
struct Update<'a> {
    changes: &'a Changes,
    slots: Vec<Slot>,
    rest: Rows,
    /// By row, where partners are counted.
    partners: Vec<i64>,
}

impl Join {
    /// An operator over `left` and `right`, whose output has the columns of `node.schema`: all of
    /// the left, then all of the right.
    ///
    /// # Errors
    /// If the plan doesn't fit together, a column can't be kept in state, or the store can't be
    /// read.
    pub fn new(spec: &JoinSpec, node: &Node, left: &Node, right: &Node, context: &TaskContext) -> Result<Self> {
        check(spec, node, left, right)?;
        let counts_partners = spec.kind == JoinKind::Left && spec.residual.is_some();
        let keep_left = if counts_partners {
            Keep::WithPartners
        } else {
            Keep::Unordered
        };
        let bucketed = spec.close.is_some();
        let key_types: Vec<DataType> = spec
            .left_keys
            .iter()
            .map(|key| left.schema.field(*key).data_type().clone())
            .collect();
        Ok(Self {
            left: Side::new(
                &spec.left_keys,
                left,
                Arrangement::open(context, 0, keep_left, bucketed)?,
            )?,
            right: Side::new(
                &spec.right_keys,
                right,
                Arrangement::open(context, 1, Keep::Unordered, bucketed)?,
            )?,
            keys: RowCodec::for_types(&key_types)?,
            spec: spec.clone(),
            schema: node.schema.clone(),
            watermark: Watermark::MIN,
            late_dropped: 0,
        })
    }

    fn is_left(&self) -> bool {
        self.spec.kind == JoinKind::Left
    }

    /// `L ⋈ ΔR`, then R becomes R + ΔR, and left rows gain or lose their NULLs.
    fn step_right(&mut self, changes: &[Changes], output: &mut Vec<ChangeBatch>) -> Result<()> {
        let counts_partners = self.is_left() && self.spec.residual.is_some();
        let mut updates = Vec::with_capacity(changes.len());
        let mut hits = Vec::new();
        let mut keys = Vec::new();
        for changes in changes {
            let slots = self.right.state.resolve(changes.keys())?;
            let partners = self.left.state.lookup(changes.keys())?;
            let right = self.probing(&self.right, &self.left, false);
            right.probe(changes, &partners, output, |probe, slot, row| {
                if counts_partners {
                    hits.push((row, slot, changes.batch.weight(probe as usize)));
                }
            })?;
            if self.is_left() && !counts_partners {
                let pairs = slots.iter().zip(&partners);
                keys.extend(pairs.filter_map(|(slot, left)| Some((*slot, (*left)?))));
            }
            updates.push(self.right.update(changes, slots, Vec::new())?);
        }
        keys.sort_unstable();
        keys.dedup();
        let rows = &self.right.state.rows;
        let before: Vec<bool> = keys.iter().map(|(slot, _)| rows.total(*slot) > 0).collect();
        self.right.apply(&updates)?;
        let mut turned = self.count_partners(hits)?;
        for ((slot, left), had_partners) in keys.into_iter().zip(before) {
            let has_partners = self.right.state.rows.total(slot) > 0;
            if had_partners != has_partners {
                let rows = &self.left.state.rows;
                let sign = if has_partners { -1 } else { 1 };
                turned.extend(rows.of(left).map(|row| Stored {
                    slot: left,
                    row,
                    weight: sign * rows.weight(row),
                }));
            }
        }
        self.emit_stored_with_nulls(&turned, output)
    }

    /// Adds to left rows' numbers of partners, and gives those that got their first or lost their
    /// last, with the weight that they change by with NULLs.
    fn count_partners(&mut self, mut hits: Vec<(RowId, Slot, i64)>) -> Result<Vec<Stored>> {
        hits.sort_unstable();
        let mut turned = Vec::new();
        for hits in hits.chunk_by(|one, other| one.0 == other.0) {
            let (row, slot, _) = hits[0];
            let rows = &mut self.left.state.rows;
            let before = rows.partners(row);
            let after = hits
                .iter()
                .try_fold(before, |sum, hit| sum.checked_add(hit.2))
                .filter(|after| *after >= 0)
                .ok_or_else(|| Error::internal("a row has lost more partners than it had"))?;
            if after == before {
                continue;
            }
            self.left.state.table.mark_dirty(slot);
            rows.set_partners(slot, row, after);
            if (before == 0) != (after == 0) {
                let weight = if after == 0 {
                    rows.weight(row)
                } else {
                    -rows.weight(row)
                };
                turned.push(Stored { slot, row, weight });
            }
        }
        Ok(turned)
    }

    /// `ΔL ⋈ (R + ΔR)`, and ΔL's rows without partner; then L becomes L + ΔL.
    fn step_left(&mut self, changes: &[Changes], output: &mut Vec<ChangeBatch>) -> Result<()> {
        let counts_partners = self.is_left() && self.spec.residual.is_some();
        let mut updates = Vec::with_capacity(changes.len());
        for changes in changes {
            let slots = self.left.state.resolve(changes.keys())?;
            let found = self.right.state.lookup(changes.keys())?;
            let mut partners = vec![0i64; if counts_partners { changes.batch.num_rows() } else { 0 }];
            let right_rows = &self.right.state.rows;
            let left = self.probing(&self.left, &self.right, true);
            left.probe(changes, &found, output, |probe, _, row| {
                if counts_partners {
                    let sum = &mut partners[probe as usize];
                    *sum = sum.saturating_add(right_rows.weight(row));
                }
            })?;
            if self.is_left() {
                let alone = |row: usize| match counts_partners {
                    true => partners[row] == 0,
                    false => found[row].is_none_or(|slot| right_rows.total(slot) == 0),
                };
                let alone: Vec<u32> = (0..changes.batch.num_rows())
                    .filter(|row| alone(*row))
                    .map(|row| row as u32)
                    .collect();
                self.emit_with_nulls(&changes.batch, &alone, output)?;
            }
            updates.push(self.left.update(changes, slots, partners)?);
        }
        self.left.apply(&updates)
    }

    fn probing<'a>(&'a self, probe: &'a Side, stored: &'a Side, probe_is_left: bool) -> probe::Probing<'a> {
        probe::Probing {
            probe,
            stored,
            probe_is_left,
            residual: self.spec.residual.as_ref(),
            schema: &self.schema,
        }
    }

    /// These of a batch's left rows, with NULLs.
    fn emit_with_nulls(&self, batch: &ChangeBatch, rows: &[u32], output: &mut Vec<ChangeBatch>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let batch = match rows.len() == batch.num_rows() {
            true => batch.clone(),
            false => batch.take(&UInt32Array::from(rows.to_vec()))?,
        };
        let rows = self.with_nulls(batch.rows().columns().to_vec(), batch.num_rows())?;
        output.push(batch.with_rows(rows));
        Ok(())
    }

    /// These left rows of the state, with NULLs.
    fn emit_stored_with_nulls(&self, turned: &[Stored], output: &mut Vec<ChangeBatch>) -> Result<()> {
        for turned in turned.chunks(probe::PAIRS) {
            let table = &self.left.state.table;
            let keys = self.keys.decode(turned.iter().map(|stored| table.key(stored.slot)))?;
            let columns = self.left.columns(&keys, turned.iter().map(|stored| stored.row))?;
            let rows = self.with_nulls(columns, turned.len())?;
            let weights = turned.iter().map(|stored| stored.weight).collect();
            output.push(ChangeBatch::new(rows, Weights::Each(weights)));
        }
        Ok(())
    }

    fn with_nulls(&self, mut columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        columns.extend(self.right.types.iter().map(|data_type| new_null_array(data_type, rows)));
        record_batch(self.schema.clone(), columns, rows)
    }

    /// Keys of one input's changes. Rows that meet nothing by their key are taken out: late ones
    /// are counted, those with a NULL are put among the unkeyed.
    fn changes(
        &mut self,
        is_left: bool,
        batches: Vec<ChangeBatch>,
        unkeyed: &mut Vec<ChangeBatch>,
    ) -> Result<Vec<Changes>> {
        let closed = self
            .spec
            .close
            .and_then(|close| closed_through(self.watermark, close.lateness_us));
        let mut found = Vec::new();
        for batch in gathered(batches)? {
            let side = if is_left { &self.left } else { &self.right };
            let batch = side.canonical(batch)?;
            let mut batch = match side.on_time(&batch, self.spec.close, closed) {
                Some(on_time) => {
                    self.late_dropped += (batch.num_rows() - on_time.true_count()) as u64;
                    batch.filter(&on_time)?
                }
                None => batch,
            };
            if !self.spec.null_equals_null
                && let Some(is_null) = side.has_null_key(&batch)?
            {
                unkeyed.push(batch.filter(&is_null)?);
                batch = batch.filter(&compute::not(&is_null)?)?;
            }
            if batch.is_empty() {
                continue;
            }
            let keys = self.keys.encode(&side.key_columns(&batch), batch.num_rows())?;
            let hashes = hash_rows(&keys);
            let buckets = side.buckets(&batch, self.spec.close);
            found.push(Changes {
                batch,
                keys,
                hashes,
                buckets,
            });
        }
        Ok(found)
    }
}

impl Operator for Join {
    fn step(&mut self, step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        let mut inputs = inputs.into_iter();
        let (left, right) = (inputs.next().unwrap_or_default(), inputs.next().unwrap_or_default());
        let (mut unkeyed_left, mut unkeyed_right) = (Vec::new(), Vec::new());
        let left = self.changes(true, left, &mut unkeyed_left)?;
        let right = self.changes(false, right, &mut unkeyed_right)?;
        let mut output = Vec::new();
        self.step_right(&right, &mut output)?;
        self.step_left(&left, &mut output)?;
        if self.is_left() {
            for batch in unkeyed_left {
                let rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
                self.emit_with_nulls(&batch, &rows, &mut output)?;
            }
        }
        self.watermark = self.watermark.max(step.watermark);
        if let Some(close) = self.spec.close
            && let Some(through) = closed_through(self.watermark, close.lateness_us)
        {
            self.left.state.close_through(through);
            self.right.state.close_through(through);
        }
        Ok(output)
    }

    fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        self.left.state.checkpoint(batch)?;
        self.right.state.checkpoint(batch)
    }

    fn committed(&mut self) -> Result<()> {
        self.left.state.committed()?;
        self.right.state.committed()
    }

    fn complete(&mut self, entries: usize) -> Result<bool> {
        let left = self.left.state.complete(entries.div_ceil(2))?;
        let right = self.right.state.complete(entries.div_ceil(2))?;
        Ok(left && right)
    }

    fn stats(&self) -> OperatorStats {
        let mut stats = OperatorStats {
            late_dropped: self.late_dropped,
            ..Default::default()
        };
        self.left.state.count_into(&mut stats);
        self.right.state.count_into(&mut stats);
        stats
    }
}

impl Side {
    fn new(keys: &[usize], node: &Node, state: Arrangement) -> Result<Self> {
        let fields = node.schema.fields();
        let rest: Vec<usize> = (0..fields.len()).filter(|column| !keys.contains(column)).collect();
        let types: Vec<DataType> = fields.iter().map(|field| field.data_type().clone()).collect();
        // By schema, so that a column that can't be kept is named.
        let codec = RowCodec::for_schema(&node.schema.project(&rest)?)?;
        let floats = (0..types.len()).filter(|column| types[*column].is_floating()).collect();
        Ok(Self {
            types,
            keys: keys.to_vec(),
            rest,
            codec,
            floats,
            state,
        })
    }

    fn key_columns(&self, batch: &ChangeBatch) -> Vec<ArrayRef> {
        self.keys.iter().map(|key| batch.column(*key).clone()).collect()
    }

    /// All columns of rows in the state, given those of their keys.
    fn columns(&self, keys: &[ArrayRef], rows: impl Iterator<Item = RowId>) -> Result<Vec<ArrayRef>> {
        let rest = self.codec.decode(rows.map(|row| self.state.rows.bytes_of(row)))?;
        let mut rest = rest.into_iter();
        let mut columns = Vec::with_capacity(self.types.len());
        for column in 0..self.types.len() {
            let found = match self.keys.iter().position(|key| *key == column) {
                Some(key) => keys.get(key).cloned(),
                None => rest.next(),
            };
            columns.push(found.ok_or_else(|| Error::internal("a kept row lacks a column"))?);
        }
        Ok(columns)
    }

    fn canonical(&self, batch: ChangeBatch) -> Result<ChangeBatch> {
        if self.floats.is_empty() {
            return Ok(batch);
        }
        let mut columns = batch.rows().columns().to_vec();
        for column in &self.floats {
            columns[*column] = canonical(&columns[*column]);
        }
        let rows = record_batch(batch.schema(), columns, batch.num_rows())?;
        Ok(batch.with_rows(rows))
    }

    /// Which rows are not for a closed window; `None` if none is.
    fn on_time(&self, batch: &ChangeBatch, close: Option<CloseSpec>, closed: Option<i64>) -> Option<BooleanArray> {
        let closed = closed?;
        let buckets = self.buckets(batch, close);
        let is_late = |bucket: &i64| *bucket <= closed;
        buckets
            .iter()
            .any(is_late)
            .then(|| buckets.iter().map(|bucket| Some(!is_late(bucket))).collect())
    }

    /// Each row's bucket; empty where nothing closes.
    fn buckets(&self, batch: &ChangeBatch, close: Option<CloseSpec>) -> Vec<i64> {
        let Some(close) = close else {
            return Vec::new();
        };
        let times = batch
            .column(self.keys[close.column])
            .as_primitive::<TimestampMicrosecondType>();
        times.iter().map(bucket_of).collect()
    }

    /// Which rows have a NULL in their key; `None` if no row has.
    fn has_null_key(&self, batch: &ChangeBatch) -> Result<Option<BooleanArray>> {
        let mut found: Option<BooleanArray> = None;
        for key in &self.keys {
            let column = batch.column(*key);
            if column.logical_null_count() > 0 {
                let is_null = compute::is_null(column)?;
                found = Some(match found {
                    Some(found) => compute::or(&found, &is_null)?,
                    None => is_null,
                });
            }
        }
        Ok(found)
    }

    fn update<'a>(&self, changes: &'a Changes, slots: Vec<Slot>, partners: Vec<i64>) -> Result<Update<'a>> {
        let columns: Vec<ArrayRef> = self
            .rest
            .iter()
            .map(|column| changes.batch.column(*column).clone())
            .collect();
        let rest = self.codec.encode(&columns, changes.batch.num_rows())?;
        Ok(Update {
            changes,
            slots,
            rest,
            partners,
        })
    }

    /// Adds changes to the state: first inserts, so that deletes find their rows.
    fn apply(&mut self, updates: &[Update<'_>]) -> Result<()> {
        for update in updates {
            for (row, slot) in update.slots.iter().enumerate() {
                let weight = update.changes.batch.weight(row);
                if weight > 0 {
                    let id = self.state.add(*slot, update.rest.row(row), weight)?;
                    if let Some(partners) = update.partners.get(row) {
                        self.state.rows.set_partners(*slot, id, *partners);
                    }
                }
            }
        }
        for update in updates.iter().filter(|update| !update.changes.batch.is_append_only()) {
            for (row, slot) in update.slots.iter().enumerate() {
                let weight = update.changes.batch.weight(row);
                if weight < 0 {
                    self.state.add(*slot, update.rest.row(row), weight)?;
                }
            }
        }
        Ok(())
    }
}

/// What the planner has to have seen to.
fn check(spec: &JoinSpec, node: &Node, left: &Node, right: &Node) -> Result<()> {
    let type_of = |node: &Node, column: usize| node.schema.fields().get(column).map(|field| field.data_type().clone());
    let keys_fit = spec.left_keys.len() == spec.right_keys.len()
        && spec
            .left_keys
            .iter()
            .zip(&spec.right_keys)
            .all(|(one, other)| type_of(left, *one).is_some() && type_of(left, *one) == type_of(right, *other));
    let inputs = left.schema.fields().iter().chain(right.schema.fields());
    let columns_fit = node.schema.fields().len() == left.schema.fields().len() + right.schema.fields().len()
        && node
            .schema
            .fields()
            .iter()
            .zip(inputs)
            .all(|(one, other)| one.data_type() == other.data_type());
    let nulls_fit = spec.kind == JoinKind::Inner
        || node.schema.fields()[left.schema.fields().len()..]
            .iter()
            .all(|field| field.is_nullable());
    let close_fits = spec.close.is_none_or(|close| {
        let time = spec.left_keys.get(close.column).and_then(|key| type_of(left, *key));
        matches!(time, Some(DataType::Timestamp(TimeUnit::Microsecond, _)))
    });
    match (keys_fit, columns_fit && nulls_fit, close_fits) {
        (true, true, true) => Ok(()),
        (false, _, _) => Err(Error::internal("a join's keys are not of equal types")),
        (_, false, _) => Err(Error::internal("a join's columns are not those of its inputs")),
        (_, _, false) => Err(Error::internal("a join closes by a key that isn't TIMESTAMP(6)")),
    }
}
