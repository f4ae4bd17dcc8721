//! Probing: changes of one side meet the rows of the other.
//!
//! Candidates are gathered as pairs of a change and a kept row until there are enough of them to
//! be worth a batch; then their columns are put together, the residual condition is computed over
//! all of them at once, and those for which it is true are emitted. A pair for which it can't be
//! computed is none ([`crate::operator::fault`]).

use super::*;
use crate::operator::fault::by_row;

/// Candidate pairs that are handled at once.
pub(super) const PAIRS: usize = 8192;

/// Candidates: a change, by its row in the batch, and a kept row.
#[derive(Default)]
pub(super) struct Pairs {
    probes: Vec<u32>,
    slots: Vec<Slot>,
    rows: Vec<RowId>,
    weights: Vec<i64>,
}

impl Pairs {
    fn clear(&mut self) {
        self.probes.clear();
        self.slots.clear();
        self.rows.clear();
        self.weights.clear();
    }
}

/// One side's changes over the other's rows.
pub(super) struct Probing<'a> {
    pub(super) probe: &'a Side,
    pub(super) stored: &'a Side,
    pub(super) probe_is_left: bool,
    pub(super) residual: Option<&'a Arc<dyn PhysicalExpr>>,
    /// Of a pair.
    pub(super) schema: &'a SchemaRef,
    /// The output's, where pairs are emitted; else `passed` is told of them, and that is all.
    pub(super) output_schema: Option<&'a SchemaRef>,
}

impl Probing<'_> {
    /// Emits the pairs of `changes` with the rows in the places `found` for them, and tells `passed`
    /// of every pair: the change's row, and the kept row with its slot.
    pub(super) fn probe(
        &self,
        changes: &Changes,
        found: &Found,
        output: &mut Vec<ChangeBatch>,
        faults: &mut Vec<Fault>,
        mut passed: impl FnMut(u32, Slot, RowId),
    ) -> Result<()> {
        let rows = &self.stored.state.rows;
        let mut pairs = Pairs::default();
        for (probe, slot) in found.rows.iter().zip(&found.slots) {
            let Some(slot) = *slot else { continue };
            let weight = changes.batch.weight(*probe as usize);
            if weight == 0 {
                continue;
            }
            for row in rows.of(slot) {
                let weight = weight
                    .checked_mul(rows.weight(row))
                    .ok_or_else(|| Error::Data("a joined row is repeated more than 2^63 times".to_string()))?;
                pairs.probes.push(*probe);
                pairs.slots.push(slot);
                pairs.rows.push(row);
                pairs.weights.push(weight);
                if pairs.rows.len() == PAIRS {
                    self.emit(changes, &pairs, output, faults, &mut passed)?;
                    pairs.clear();
                }
            }
        }
        self.emit(changes, &pairs, output, faults, &mut passed)
    }

    fn emit(
        &self,
        changes: &Changes,
        pairs: &Pairs,
        output: &mut Vec<ChangeBatch>,
        faults: &mut Vec<Fault>,
        passed: &mut impl FnMut(u32, Slot, RowId),
    ) -> Result<()> {
        if pairs.rows.is_empty() {
            return Ok(());
        }
        let rows = self.rows(changes, pairs)?;
        let holds = |residual| which_hold(residual, &rows, &pairs.weights, faults);
        let keep = self.residual.map(holds).transpose()?;
        let mut pass = |pair: usize| passed(pairs.probes[pair], pairs.slots[pair], pairs.rows[pair]);
        match &keep {
            None => (0..pairs.rows.len()).for_each(&mut pass),
            Some(keep) => keep.values().set_indices().for_each(&mut pass),
        }
        let Some(schema) = self.output_schema else {
            return Ok(());
        };
        let rows = record_batch(schema.clone(), rows.columns().to_vec(), rows.num_rows())?;
        let batch = ChangeBatch::new(rows, Weights::Each(pairs.weights.clone().into()));
        match keep {
            None => output.push(batch),
            Some(keep) if keep.true_count() > 0 => output.push(batch.filter(&keep)?),
            Some(_) => {}
        }
        Ok(())
    }

    /// The pairs' columns. A kept row's key columns are those of the change that it meets.
    fn rows(&self, changes: &Changes, pairs: &Pairs) -> Result<RecordBatch> {
        let batch = &changes.batch;
        let each_once = pairs.probes.len() == batch.num_rows()
            && pairs
                .probes
                .iter()
                .enumerate()
                .all(|(row, probe)| row == *probe as usize);
        let probe: Vec<ArrayRef> = match each_once {
            true => batch.rows().columns().to_vec(),
            false => {
                let probes = UInt32Array::from(pairs.probes.clone());
                let columns = batch.rows().columns().iter();
                columns
                    .map(|column| compute::take(column, &probes, None))
                    .collect::<Result<_, _>>()?
            }
        };
        let keys: Vec<ArrayRef> = self.probe.keys.iter().map(|key| probe[*key].clone()).collect();
        let stored = self.stored.columns(&keys, pairs.rows.iter().copied())?;
        let columns = match self.probe_is_left {
            true => [probe, stored].concat(),
            false => [stored, probe].concat(),
        };
        record_batch(self.schema.clone(), columns, pairs.rows.len())
    }
}

/// For which pairs the condition is true.
fn which_hold(
    residual: &Arc<dyn PhysicalExpr>,
    rows: &RecordBatch,
    weights: &[i64],
    faults: &mut Vec<Fault>,
) -> Result<BooleanArray> {
    match truth(residual, rows) {
        Err(Error::Data(_)) => {
            let pairs = ChangeBatch::new(rows.clone(), Weights::Each(weights.to_vec().into()));
            let parts = by_row(&pairs, None, faults, |part| truth(residual, part.rows()))?;
            let mut keep = Vec::with_capacity(weights.len());
            for part in parts {
                match part {
                    Some(part) => keep.extend(part.values().iter()),
                    None => keep.push(false),
                }
            }
            Ok(keep.into())
        }
        known => known,
    }
}
