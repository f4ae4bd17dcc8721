//! Heads of partitions, and what the difference of two of them makes of the output.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Int64Array, UInt64Array};

use super::*;
use crate::change::{Weights, record_batch};

/// Rows of one output batch at most.
const BATCH_ROWS: usize = 8192;

/// The first places of a partition: its rows in order, and how many places each has.
#[derive(Debug, Default)]
pub(super) struct Head {
    rows: Vec<(RowId, u64)>,
    /// All places are taken.
    is_full: bool,
}

impl Head {
    /// The first `places` places.
    pub(super) fn of(state: &Arrangement, slot: Slot, places: u64) -> Self {
        let mut rows = Vec::new();
        let mut left = places;
        for row in state.rows.of(slot) {
            if left == 0 {
                break;
            }
            let taken = left.min(state.rows.weight(row).unsigned_abs());
            rows.push((row, taken));
            left -= taken;
        }
        Self {
            rows,
            is_full: left == 0,
        }
    }

    pub(super) fn end(&self) -> End {
        match self.rows.last() {
            Some((last, _)) if self.is_full => End::At(*last),
            _ => End::Open,
        }
    }

    /// The rows from place `offset` on (from 0), with their places.
    fn visible(&self, offset: u64) -> impl Iterator<Item = (RowId, Range<u64>)> {
        let mut end = 0;
        self.rows.iter().filter_map(move |(row, places)| {
            let begin = end;
            end += places;
            (end > offset).then_some((*row, begin.max(offset)..end))
        })
    }
}

/// Rows to be emitted.
#[derive(Default)]
pub(super) struct Emit {
    slots: Vec<Slot>,
    rows: Vec<RowId>,
    weights: Vec<i64>,
    /// Row numbers; empty where they aren't asked for.
    numbers: Vec<i64>,
}

impl Emit {
    /// A row leaves the places `before` and takes the places `after`.
    fn moved(&mut self, slot: Slot, row: RowId, before: Range<u64>, after: Range<u64>, numbered: bool) {
        if !numbered {
            let weight = (after.end - after.start) as i64 - (before.end - before.start) as i64;
            if weight != 0 {
                self.push(slot, row, weight);
            }
            return;
        }
        for place in before.clone().filter(|place| !after.contains(place)) {
            self.push(slot, row, -1);
            self.numbers.push(place as i64 + 1);
        }
        for place in after.filter(|place| !before.contains(place)) {
            self.push(slot, row, 1);
            self.numbers.push(place as i64 + 1);
        }
    }

    fn push(&mut self, slot: Slot, row: RowId, weight: i64) {
        self.slots.push(slot);
        self.rows.push(row);
        self.weights.push(weight);
    }
}

/// Adds to `emit` what turns the output of one head into that of another.
pub(super) fn difference(
    state: &Arrangement,
    slot: Slot,
    before: &Head,
    after: &Head,
    spec: &TopNSpec,
    emit: &mut Emit,
) {
    let numbered = spec.row_number.is_some();
    let mut old = before.visible(spec.offset).peekable();
    let mut new = after.visible(spec.offset).peekable();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((one, _)), Some((other, _))) if one == other => Ordering::Equal,
            // A row that went and came again has another number.
            (Some((one, _)), Some((other, _))) => state.rows.bytes_of(*one).cmp(state.rows.bytes_of(*other)),
        };
        let leaves = if order.is_le() { old.next() } else { None };
        let comes = if order.is_ge() { new.next() } else { None };
        let Some(row) = comes.as_ref().or(leaves.as_ref()).map(|(row, _)| *row) else {
            return;
        };
        let places = |found: Option<(RowId, Range<u64>)>| found.map_or(0..0, |(_, places)| places);
        emit.moved(slot, row, places(leaves), places(comes), numbered);
    }
}

impl Layout {
    /// The rows of `emit`, which is empty afterwards.
    pub(super) fn batches(&self, state: &Arrangement, emit: &mut Emit, spec: &TopNSpec) -> Result<Vec<ChangeBatch>> {
        let emit = std::mem::take(emit);
        let mut output = Vec::new();
        for begin in (0..emit.rows.len()).step_by(BATCH_ROWS) {
            let range = begin..emit.rows.len().min(begin + BATCH_ROWS);
            let mut columns = self.columns(state, spec, &emit.slots[range.clone()], &emit.rows[range.clone()])?;
            if let Some(number) = &spec.row_number {
                let numbers = emit.numbers[range.clone()].iter();
                columns.push(match number {
                    DataType::UInt64 => Arc::new(UInt64Array::from_iter_values(numbers.map(|n| *n as u64))),
                    _ => Arc::new(Int64Array::from_iter_values(numbers.copied())),
                });
            }
            let weights = emit.weights[range.clone()].to_vec();
            let rows = record_batch(self.schema.clone(), columns, range.len())?;
            output.push(ChangeBatch::new(rows, Weights::Each(weights.into())));
        }
        Ok(output)
    }

    /// The input's columns of these rows.
    fn columns(&self, state: &Arrangement, spec: &TopNSpec, slots: &[Slot], rows: &[RowId]) -> Result<Vec<ArrayRef>> {
        let partition = self.partition.decode(slots.iter().map(|slot| state.table.key(*slot)))?;
        let row = self.row.decode(rows.iter().map(|row| state.rows.bytes_of(*row)))?;
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.columns.len()];
        for (column, array) in spec.partition.iter().zip(partition).chain(self.columns.iter().zip(row)) {
            if columns.len() <= *column {
                columns.resize(*column + 1, None);
            }
            columns[*column] = Some(array);
        }
        columns
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::internal("a kept row lacks a column"))
    }
}
