//! Join: pairs of left and right rows with equal keys, and what the kind of join says of rows by
//! whether they have a partner.
//!
//! Both inputs may change. A join is linear in each of them, so with L and R as of the last step
//! and ΔL and ΔR what this one brings, its change is `L ⋈ ΔR + ΔL ⋈ (R + ΔR)`: the right changes
//! meet the left rows as they were, then the left changes meet the right rows as they are now. So
//! each side is an [`Arrangement`] by key, and the changes of one probe that of the other. A pair's
//! weight is the product of its rows'.
//!
//! **Partners.** An outer join shows a row with NULLs as long as it has no partner, an anti-join
//! shows it as it is; a semi-join shows it as long as it has one, a mark join says which of the two
//! holds ([`Shown`]). Without a residual condition that is a fact of the key (does the other side
//! have rows at all?); with one each row keeps the number of its partners. What is compared is
//! before and after all of the step's changes of the other side, so a partner that only changes
//! never shows as NULLs in between.
//!
//! A NULL in a key meets nothing (unless `null_equals_null`) and isn't kept: such a row is shown at
//! once, or dropped, as one that will never have a partner.
//!
//! **Closing.** In a window join both sides' state goes when the watermark passes the window, and
//! rows that come for it later are dropped and counted. What was emitted stays. In an interval join
//! a row goes when no partner can come any more ([`interval`]).
//!
//! **At once.** A join may be linear in its left input only: later right changes don't touch what left
//! rows have met ([`at_once`]).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute;
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::physical_expr::PhysicalExpr;
use weir_state::WriteBatch;

use crate::change::{ChangeBatch, Weights, record_batch};
use crate::float;
use crate::graph::{CloseSpec, JoinKind, JoinSpec, Node};
use crate::operator::arrangement::{Arrangement, BUCKET_BYTES, Keep, RowId, bucket_of, closed_through, gathered};
use crate::operator::fault::Fault;
use crate::operator::map::truth;
use crate::operator::{Operator, OperatorStats, Step, TaskContext, Watermark};
use crate::row::{RowCodec, Rows};
use crate::shard::hash_rows;
use crate::table::{Keys, Slot};
use crate::{Error, Result};

mod at_once;
mod interval;
mod probe;
mod show;
mod side;
#[cfg(test)]
mod tests;

use side::{Changes, Found, Shown, Side, Turned};

/// One task's part of a [`JoinSpec`] node.
pub struct Join {
    spec: JoinSpec,
    left: Side,
    right: Side,
    /// Of the key columns, either side's.
    keys: RowCodec,
    schema: SchemaRef,
    /// Left columns, then right columns: what the residual condition is over.
    pair_schema: SchemaRef,
    left_only_adds: bool,
    /// As of the last step: what was closed then is closed for the rows of this one.
    watermark: Watermark,
    late_dropped: u64,
    /// Pairs whose condition can't be computed: they are no pairs.
    faults: Vec<Fault>,
}

impl Join {
    /// An operator over `left` and `right`, whose output has the columns of `node.schema`, as
    /// [`JoinSpec`] says.
    ///
    /// # Errors
    /// If the plan doesn't fit together, a column can't be kept in state, or the store can't be
    /// read.
    pub fn new(spec: &JoinSpec, node: &Node, left: &Node, right: &Node, context: &TaskContext) -> Result<Self> {
        check(spec, node, left, right)?;
        let (left_schema, right_schema) = (side::visible(spec, left)?, side::visible(spec, right)?);
        let fields = left_schema.fields().iter().chain(right_schema.fields());
        Ok(Self {
            left: Side::new(spec, true, &left_schema, context)?,
            right: Side::new(spec, false, &right_schema, context)?,
            keys: RowCodec::for_columns(&left.schema, &spec.left_keys)?,
            spec: spec.clone(),
            schema: node.schema.clone(),
            pair_schema: Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>())),
            left_only_adds: left.append_only,
            watermark: Watermark::MIN,
            late_dropped: 0,
            faults: Vec::new(),
        })
    }

    /// One side's changes meet the other side's rows, then become part of their own side's.
    fn step_side(&mut self, is_left: bool, changes: &[Changes], output: &mut Vec<ChangeBatch>) -> Result<()> {
        let counts_partners = self.counts_partners();
        let mut updates = Vec::with_capacity(changes.len());
        let (mut hits, mut keys) = (Vec::new(), Vec::new());
        for changes in changes {
            let (probe, stored) = self.sides_mut(is_left);
            let slots = match changes.kept {
                true => probe.state.resolve(changes.keys())?,
                false => Vec::new(),
            };
            let found = stored.find_partners(changes, probe)?;
            let mut faults = std::mem::take(&mut self.faults);
            let partners = self.probe(is_left, changes, &found, &mut hits, &mut faults, output)?;
            self.faults = faults;
            let (probe, stored) = self.sides(is_left);
            let has_partner = |row: usize| match counts_partners {
                true => partners[row] != 0,
                false => found.slots[row].is_some_and(|slot| stored.state.rows.total(slot) > 0),
            };
            self.show(is_left, &changes.batch, has_partner, output)?;
            if stored.shown != Shown::InPairs && !counts_partners {
                let pairs = slots.iter().zip(&found.slots);
                keys.extend(pairs.filter_map(|(slot, found)| Some((*slot, (*found)?))));
            }
            let partners = match probe.counts_partners {
                true => partners,
                false => Vec::new(),
            };
            if changes.kept {
                updates.push(probe.update(changes, slots, partners)?);
            }
        }
        keys.sort_unstable();
        keys.dedup();
        let (probe, stored) = self.sides_mut(is_left);
        let had_rows: Vec<bool> = keys.iter().map(|(slot, _)| probe.state.rows.total(*slot) > 0).collect();
        probe.apply(&updates)?;
        let mut turned = stored.count_partners(hits)?;
        for ((slot, found), had_rows) in keys.into_iter().zip(had_rows) {
            let has_partner = probe.state.rows.total(slot) > 0;
            if had_rows != has_partner {
                let rows = &stored.state.rows;
                turned.extend(rows.of(found).map(|row| Turned {
                    slot: found,
                    row,
                    weight: rows.weight(row),
                    has_partner,
                }));
            }
        }
        self.show_turned(!is_left, &turned, output)
    }

    /// Emits the pairs of `changes` with the rows in `found`, and gives each change's number of
    /// partners, where that is no fact of the key; `hits` are the kept rows they are partners of.
    fn probe(
        &self,
        is_left: bool,
        changes: &Changes,
        found: &Found,
        hits: &mut Vec<(RowId, Slot, i64)>,
        faults: &mut Vec<Fault>,
        output: &mut Vec<ChangeBatch>,
    ) -> Result<Vec<i64>> {
        let counts = self.counts_partners();
        if !counts && !self.spec.kind.pairs() {
            return Ok(Vec::new());
        }
        let (probe, stored) = self.sides(is_left);
        let probing = probe::Probing {
            probe,
            stored,
            probe_is_left: is_left,
            residual: self.spec.residual.as_ref(),
            schema: &self.pair_schema,
            output_schema: self.spec.kind.pairs().then_some(&self.schema),
        };
        let mut partners = vec![0i64; if counts { changes.batch.num_rows() } else { 0 }];
        probing.probe(changes, found, output, faults, |probe, slot, row| {
            if let Some(sum) = partners.get_mut(probe as usize) {
                *sum = sum.saturating_add(stored.state.rows.weight(row));
            }
            if stored.counts_partners {
                hits.push((row, slot, changes.batch.weight(probe as usize)));
            }
        })?;
        Ok(partners)
    }

    /// The side that changes, and the other.
    fn sides(&self, is_left: bool) -> (&Side, &Side) {
        match is_left {
            true => (&self.left, &self.right),
            false => (&self.right, &self.left),
        }
    }

    fn sides_mut(&mut self, is_left: bool) -> (&mut Side, &mut Side) {
        match is_left {
            true => (&mut self.left, &mut self.right),
            false => (&mut self.right, &mut self.left),
        }
    }

    /// Whether having a partner is a fact of the row, and not of its key.
    fn counts_partners(&self) -> bool {
        side::counts_partners(&self.spec)
    }

    /// Keys of one input's changes. Rows that meet nothing by their key are taken out: late ones
    /// are counted, those with a NULL are put among the unkeyed.
    fn changes(
        &mut self,
        is_left: bool,
        batches: Vec<ChangeBatch>,
        unkeyed: &mut Vec<ChangeBatch>,
    ) -> Result<Vec<Changes>> {
        let mut found = Vec::new();
        for batch in gathered(batches)? {
            let side = if is_left { &self.left } else { &self.right };
            // So that a row looks the same whether it comes out of state or straight from the input.
            let batch = float::one_form_of_changes(batch)?;
            let on_time = side.on_time(&batch, self.watermark)?;
            let mut batch = side.without_watermark(batch)?;
            if let Some(on_time) = on_time {
                self.late_dropped += (batch.num_rows() - on_time.true_count()) as u64;
                batch = batch.filter(&on_time)?;
            }
            if let Some(is_null) = side.has_null_key(&batch, &self.spec.null_equals_null)? {
                unkeyed.push(batch.filter(&is_null)?);
                batch = batch.filter(&compute::not(&is_null)?)?;
            }
            for (batch, kept) in side.needed(batch, self.watermark)? {
                let keys = self.keys.encode(&side.key_columns(&batch), batch.num_rows())?;
                let (hashes, buckets) = (hash_rows(&keys), side.buckets(&batch));
                found.push(Changes {
                    keys: side.kept_keys(keys, &buckets),
                    batch,
                    hashes,
                    buckets,
                    kept,
                });
            }
        }
        Ok(found)
    }
}

impl Operator for Join {
    fn step(&mut self, step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        let mut inputs = inputs.into_iter();
        let (left, right) = (inputs.next().unwrap_or_default(), inputs.next().unwrap_or_default());
        let (mut unkeyed_left, mut unkeyed_right) = (Vec::new(), Vec::new());
        let left = match self.spec.at_once {
            true => self.left_in_the_end(left)?,
            false => left,
        };
        let left = self.changes(true, left, &mut unkeyed_left)?;
        let right = self.changes(false, right, &mut unkeyed_right)?;
        let mut output = Vec::new();
        if self.spec.at_once {
            output = self.step_at_once(left, right)?;
        } else {
            self.step_side(false, &right, &mut output)?;
            self.step_side(true, &left, &mut output)?;
        }
        for (is_left, unkeyed) in [(true, unkeyed_left), (false, unkeyed_right)] {
            for batch in unkeyed {
                self.show(is_left, &batch, |_| false, &mut output)?;
            }
        }
        self.watermark = self.watermark.max(step.watermark);
        self.left.close(self.watermark);
        self.right.close(self.watermark);
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

    fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
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

/// What the planner has to have seen to.
fn check(spec: &JoinSpec, node: &Node, left: &Node, right: &Node) -> Result<()> {
    let type_of = |node: &Node, column: usize| node.schema.fields().get(column).map(|field| field.data_type().clone());
    let keys_fit = spec.left_keys.len() == spec.right_keys.len()
        && spec.left_keys.len() == spec.null_equals_null.len()
        && spec
            .left_keys
            .iter()
            .zip(&spec.right_keys)
            .all(|(one, other)| type_of(left, *one).is_some() && type_of(left, *one) == type_of(right, *other));
    let (left_types, right_types) = (
        side::types(&*side::visible(spec, left)?),
        side::types(&*side::visible(spec, right)?),
    );
    let wanted = match spec.kind {
        kind if kind.pairs() => [&left_types[..], &right_types[..]].concat(),
        JoinKind::Mark => [&left_types[..], &[DataType::Boolean]].concat(),
        _ => left_types.clone(),
    };
    let columns_fit = side::types(&node.schema) == wanted;
    let nullable = |from: usize, to: usize| node.schema.fields()[from..to].iter().all(|field| field.is_nullable());
    let nulls_fit = match spec.kind {
        _ if !columns_fit => false,
        JoinKind::Left => nullable(left_types.len(), wanted.len()),
        JoinKind::Full => nullable(0, wanted.len()),
        _ => true,
    };
    let close_fits = spec.close.is_none_or(|close| {
        let time = spec.left_keys.get(close.column).and_then(|key| type_of(left, *key));
        matches!(time, Some(DataType::Timestamp(TimeUnit::Microsecond, _)))
    });
    let close_fits = close_fits
        && spec.interval.is_none_or(|interval| {
            let is_time = |kind| matches!(kind, Some(DataType::Timestamp(TimeUnit::Microsecond, _)));
            let only_adds = left.append_only && right.append_only;
            is_time(type_of(left, interval.left_time)) && is_time(type_of(right, interval.right_time)) && only_adds
        });
    let kind_fits = !spec.at_once
        || matches!(spec.kind, JoinKind::Inner | JoinKind::Left) && spec.close.is_none() && spec.interval.is_none();
    if !kind_fits {
        return Err(Error::internal(
            "a join at once is an inner or left one that doesn't close",
        ));
    }
    match (keys_fit, columns_fit && nulls_fit, close_fits) {
        (true, true, true) => Ok(()),
        (false, _, _) => Err(Error::internal("a join's keys are not of equal types")),
        (_, false, _) => Err(Error::internal("a join's columns are not those of its inputs")),
        (_, _, false) => Err(Error::internal(
            "a join closes by a time that isn't TIMESTAMP(6), or of rows that go",
        )),
    }
}
