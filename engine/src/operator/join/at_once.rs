//! Joins at once: a left row meets the right rows that are there when it comes (`FOR SYSTEM_TIME AS OF
//! PROCTIME()`), and what becomes of those later doesn't touch it.
//!
//! The right changes of a step come first, so the answer doesn't hang on how a step's rows are dealt to
//! tasks. Where the left input only adds rows, nothing is kept of it. Else what a row has met is kept
//! with it, and its delete takes away just that: bytes of the left row, then for each right row its weight and
//! its bytes. Of equal left rows that have met different right ones, those go first whose bytes are least.

use super::*;
use crate::change::consolidate;

/// Bytes of the weight of a right row.
const WEIGHT_BYTES: usize = size_of::<i64>();

/// Right rows that left rows had met which go now.
#[derive(Default)]
struct Gone {
    /// By place in the batch of changes.
    left: Vec<u32>,
    right: Rows,
    weights: Vec<i64>,
    /// Left rows that had met none.
    alone: Vec<u32>,
    alone_weights: Vec<i64>,
}

impl Join {
    pub(super) fn step_at_once(&mut self, left: Vec<Changes>, right: Vec<Changes>) -> Result<Vec<ChangeBatch>> {
        let mut updates = Vec::with_capacity(right.len());
        for changes in &right {
            let slots = self.right.state.resolve(changes.keys())?;
            updates.push(self.right.update(changes, slots, Vec::new())?);
        }
        self.right.apply(&updates)?;
        let mut output = Vec::new();
        for changes in left {
            self.meet(changes, &mut output)?;
        }
        Ok(output)
    }

    /// The left changes of a step, as they are in the end: a row that goes and comes again has never gone.
    pub(super) fn left_in_the_end(&self, batches: Vec<ChangeBatch>) -> Result<Vec<ChangeBatch>> {
        match self.left_only_adds || batches.is_empty() {
            true => Ok(batches),
            false => Ok(vec![consolidate(&batches)?]),
        }
    }

    fn meet(&mut self, changes: Changes, output: &mut Vec<ChangeBatch>) -> Result<()> {
        let found = self.right.find_partners(&changes, &self.left)?;
        if self.left_only_adds {
            let mut faults = std::mem::take(&mut self.faults);
            let partners = self.probe(true, &changes, &found, &mut Vec::new(), &mut faults, output)?;
            self.faults = faults;
            let has_partner = |row: usize| match self.counts_partners() {
                true => partners[row] != 0,
                false => found.slots[row].is_some_and(|slot| self.right.state.rows.total(slot) > 0),
            };
            return self.show(true, &changes.batch, has_partner, output);
        }
        let slots = self.left.state.resolve(changes.keys())?;
        let update = self.left.update(&changes, slots, Vec::new())?;
        let (slots, rest) = (update.slots, update.rest);
        let mut gone = Gone::default();
        for (row, slot) in slots.iter().enumerate() {
            let weight = changes.batch.weight(row);
            if weight < 0 {
                self.take_away(*slot, rest.row(row), row as u32, weight, &mut gone)?;
            }
        }
        self.emit_gone(&changes, &gone, output)?;
        let comes: BooleanArray = (0..slots.len())
            .map(|row| Some(changes.batch.weight(row) > 0))
            .collect();
        let mut faults = std::mem::take(&mut self.faults);
        let met = self.meet_those_that_come(&changes, &found, &comes, &mut faults, output)?;
        self.faults = faults;
        for (row, slot) in slots.iter().enumerate().filter(|(row, _)| comes.value(*row)) {
            let bytes = [rest.row(row), &met[row]].concat();
            self.left.state.add(*slot, &bytes, changes.batch.weight(row))?;
        }
        Ok(())
    }

    /// Emits the pairs of the left rows that come; gives what each has met, as it is kept.
    fn meet_those_that_come(
        &self,
        changes: &Changes,
        found: &Found,
        comes: &BooleanArray,
        faults: &mut Vec<Fault>,
        output: &mut Vec<ChangeBatch>,
    ) -> Result<Vec<Vec<u8>>> {
        let probing = probe::Probing {
            probe: &self.left,
            stored: &self.right,
            probe_is_left: true,
            residual: self.spec.residual.as_ref(),
            schema: &self.pair_schema,
            output_schema: Some(&self.schema),
        };
        let of_those = Found {
            rows: found
                .rows
                .iter()
                .copied()
                .filter(|row| comes.value(*row as usize))
                .collect(),
            slots: (0..found.rows.len())
                .filter(|nth| comes.value(found.rows[*nth] as usize))
                .map(|nth| found.slots[nth])
                .collect(),
        };
        let rows = &self.right.state.rows;
        let mut pairs: Vec<(u32, &[u8], i64)> = Vec::new();
        probing.probe(changes, &of_those, output, faults, |row, _, partner| {
            pairs.push((row, rows.bytes_of(partner), rows.weight(partner)));
        })?;
        pairs.sort_unstable();
        let mut met = vec![Vec::new(); comes.len()];
        for (row, bytes, weight) in pairs {
            met[row as usize].extend_from_slice(&weight.to_be_bytes());
            met[row as usize].extend_from_slice(bytes);
        }
        let batch = changes.batch.filter(comes)?;
        let has_met: Vec<bool> = (0..met.len())
            .filter(|row| comes.value(*row))
            .map(|row| !met[row].is_empty())
            .collect();
        self.show(true, &batch, |row| has_met[row], output)?;
        Ok(met)
    }

    /// Takes a left row out of the state, and notes what it had met.
    fn take_away(&mut self, slot: Slot, row: &[u8], at: u32, weight: i64, gone: &mut Gone) -> Result<()> {
        let mut left = weight;
        while left < 0 {
            let rows = &self.left.state.rows;
            let kept = rows.from(slot, row).next();
            let kept = kept.filter(|kept| rows.bytes_of(*kept).starts_with(row));
            let Some(kept) = kept else {
                return Err(Error::internal("a row is deleted more often than it was inserted"));
            };
            let taken = left.max(-rows.weight(kept));
            let bytes = rows.bytes_of(kept).to_vec();
            let mut met = &bytes[row.len()..];
            if met.is_empty() {
                gone.alone.push(at);
                gone.alone_weights.push(taken);
            }
            while let Some((weight, after)) = met.split_first_chunk::<WEIGHT_BYTES>() {
                let (partner, after) = after.split_at(self.right.kept_len(after)?);
                gone.left.push(at);
                gone.right.push(partner);
                let weight = taken.checked_mul(i64::from_be_bytes(*weight));
                gone.weights
                    .push(weight.ok_or_else(|| Error::internal("a pair's weight is out of range"))?);
                met = after;
            }
            self.left.state.add(slot, &bytes, taken)?;
            left -= taken;
        }
        Ok(())
    }

    fn emit_gone(&self, changes: &Changes, gone: &Gone, output: &mut Vec<ChangeBatch>) -> Result<()> {
        let take = |rows: &[u32]| -> Result<Vec<ArrayRef>> {
            let rows = UInt32Array::from(rows.to_vec());
            let columns = changes.batch.rows().columns().iter();
            Ok(columns
                .map(|column| compute::take(column, &rows, None))
                .collect::<Result<_, _>>()?)
        };
        if !gone.left.is_empty() {
            let left = take(&gone.left)?;
            let keys: Vec<ArrayRef> = self.left.keys.iter().map(|key| left[*key].clone()).collect();
            let right = self.right.columns_of(&keys, gone.right.iter())?;
            let rows = record_batch(self.schema.clone(), [left, right].concat(), gone.left.len())?;
            output.push(ChangeBatch::new(rows, Weights::Each(gone.weights.clone().into())));
        }
        if !gone.alone.is_empty() && self.left.shown == Shown::Alone {
            let rows = self.shown_rows(true, take(&gone.alone)?, gone.alone.len(), None)?;
            output.push(ChangeBatch::new(rows, Weights::Each(gone.alone_weights.clone().into())));
        }
        Ok(())
    }
}
