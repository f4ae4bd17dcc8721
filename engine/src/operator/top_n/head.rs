//! Heads of partitions, and what the difference of two of them makes of the output.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, UInt64Array};

use super::*;
use crate::change::{Weights, record_batch};
use crate::operator::arrangement::Arrangement;

/// Rows of one output batch at most.
const BATCH_ROWS: usize = 8192;

/// A row of a head.
#[derive(Debug, Clone)]
struct Placed {
    row: RowId,
    /// The places it has in the partition, from 0.
    places: Range<u64>,
    /// Its rank, from 1; of no meaning where rows are numbered.
    rank: u64,
}

/// The first rows of a partition, in order.
#[derive(Debug, Default)]
pub(super) struct Head {
    rows: Vec<Placed>,
    /// What comes behind them is beyond the limit.
    is_full: bool,
}

impl Head {
    /// The head of a partition.
    pub(super) fn of(partitions: &Partitions, slot: Slot, spec: &TopNSpec) -> Result<Self> {
        match spec.ranking {
            Ranking::RowNumber => Ok(Self::of_places(&partitions.state, slot, spec)),
            Ranking::Rank | Ranking::DenseRank => Self::of_ranks(partitions, slot, spec),
        }
    }

    fn of_places(state: &Arrangement, slot: Slot, spec: &TopNSpec) -> Self {
        let end = spec.offset.saturating_add(spec.limit);
        let mut rows = Vec::new();
        let mut place = 0;
        for row in state.rows.of(slot) {
            if place == end {
                break;
            }
            let taken = (end - place).min(state.rows.weight(row).unsigned_abs());
            let places = place..place + taken;
            rows.push(Placed { row, places, rank: 0 });
            place += taken;
        }
        Self {
            rows,
            is_full: place == end,
        }
    }

    fn of_ranks(partitions: &Partitions, slot: Slot, spec: &TopNSpec) -> Result<Self> {
        let state = &partitions.state;
        let end = spec.offset.saturating_add(spec.limit);
        let mut rows: Vec<Placed> = Vec::new();
        let (mut place, mut rank, mut dense) = (0, 0, 0);
        let mut peers: Option<&[u8]> = None;
        for row in state.rows.of(slot) {
            let order = partitions.order_of(state.rows.bytes_of(row))?;
            if peers.replace(order) != Some(order) {
                (rank, dense) = (place + 1, dense + 1);
            }
            let rank = match spec.ranking {
                Ranking::DenseRank => dense,
                _ => rank,
            };
            if rank > end {
                return Ok(Self { rows, is_full: true });
            }
            let places = place..place + state.rows.weight(row).unsigned_abs();
            place = places.end;
            rows.push(Placed { row, places, rank });
        }
        Ok(Self { rows, is_full: false })
    }

    pub(super) fn end(&self) -> End {
        match self.rows.last() {
            Some(last) if self.is_full => End::At(last.row),
            _ => End::Open,
        }
    }

    /// The rows from place `offset` on (from 0).
    fn visible(&self, offset: u64) -> impl Iterator<Item = Placed> {
        let seen = self.rows.iter().filter(move |placed| placed.places.end > offset);
        seen.map(move |placed| Placed {
            places: placed.places.start.max(offset)..placed.places.end,
            ..*placed
        })
    }
}

/// Rows to be emitted.
#[derive(Default)]
pub(super) struct Emit {
    slots: Vec<Slot>,
    rows: Vec<RowId>,
    weights: Vec<i64>,
    /// Row numbers or ranks; empty where they aren't asked for.
    numbers: Vec<i64>,
}

impl Emit {
    /// A row that was so `before` is so `after`.
    fn moved(&mut self, slot: Slot, before: Option<Placed>, after: Option<Placed>, spec: &TopNSpec) {
        let weight = |placed: &Placed| (placed.places.end - placed.places.start) as i64;
        let (Some(row), old, new) = (
            after.as_ref().or(before.as_ref()).map(|placed| placed.row),
            before.as_ref().map_or(0, weight),
            after.as_ref().map_or(0, weight),
        ) else {
            return;
        };
        match (spec.number.is_some(), spec.ranking) {
            (false, _) => self.push(slot, row, new - old, None),
            (true, Ranking::RowNumber) => {
                let places = |placed: Option<Placed>| placed.map_or(0..0, |placed| placed.places);
                let (before, after) = (places(before), places(after));
                for place in before.clone().filter(|place| !after.contains(place)) {
                    self.push(slot, row, -1, Some(place + 1));
                }
                for place in after.filter(|place| !before.contains(place)) {
                    self.push(slot, row, 1, Some(place + 1));
                }
            }
            (true, _) => {
                let rank = |placed: Option<Placed>| placed.map(|placed| placed.rank);
                let (before, after) = (rank(before), rank(after));
                if before == after {
                    self.push(slot, row, new - old, after);
                } else {
                    self.push(slot, row, -old, before);
                    self.push(slot, row, new, after);
                }
            }
        }
    }

    /// A weight of 0 is no change.
    fn push(&mut self, slot: Slot, row: RowId, weight: i64, number: Option<u64>) {
        if weight != 0 {
            self.slots.push(slot);
            self.rows.push(row);
            self.weights.push(weight);
            self.numbers.extend(number.map(|number| number as i64));
        }
    }

    /// The rows, of which none are left.
    pub(super) fn take_batches(
        &mut self,
        partitions: &Partitions,
        spec: &TopNSpec,
        schema: &SchemaRef,
    ) -> Result<Vec<ChangeBatch>> {
        let emit = std::mem::take(self);
        let mut output = Vec::new();
        for begin in (0..emit.rows.len()).step_by(BATCH_ROWS) {
            let range = begin..emit.rows.len().min(begin + BATCH_ROWS);
            let mut columns = partitions.columns_of(&emit.slots[range.clone()], &emit.rows[range.clone()])?;
            if let Some(number) = &spec.number {
                let numbers = emit.numbers[range.clone()].iter();
                let numbers: ArrayRef = match number {
                    DataType::UInt64 => Arc::new(UInt64Array::from_iter_values(numbers.map(|n| *n as u64))),
                    _ => Arc::new(Int64Array::from_iter_values(numbers.copied())),
                };
                columns.push(numbers);
            }
            let weights = emit.weights[range.clone()].to_vec();
            let rows = record_batch(schema.clone(), columns, range.len())?;
            output.push(ChangeBatch::new(rows, Weights::Each(weights.into())));
        }
        Ok(output)
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
    let (old, new) = (before.visible(spec.offset), after.visible(spec.offset));
    state.rows.side_by_side(
        old,
        new,
        |placed| placed.row,
        |leaves, comes| emit.moved(slot, leaves, comes, spec),
    );
}
