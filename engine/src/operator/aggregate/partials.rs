//! Partial results: what calls make of a part of a group's rows, for an operator that keeps them as bytes
//! in a place of its own and puts parts together.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;

use super::collection::Collections;
use super::groups::{Groups, Targets};
use crate::change::ChangeBatch;
use crate::graph::AggregateCall;
use crate::table::{Save, Slot, Slots};
use crate::{Error, Result};

/// Parts in memory, for as long as they are worked on.
pub(in crate::operator) struct Partials {
    groups: Groups,
    /// Empty.
    sets: Collections,
    /// The first is that of a part that is put to another.
    used: u32,
}

impl Partials {
    /// Of calls over rows of `input` that are never deleted.
    ///
    /// # Errors
    /// If a call can't be kept up to date over its argument's type, or needs the rows themselves.
    pub(in crate::operator) fn new(calls: &[AggregateCall], input: &SchemaRef) -> Result<Self> {
        let (groups, sets) = Groups::new(calls, false, input, true)?;
        match sets.each.is_empty() {
            true => Ok(Self { groups, sets, used: 0 }),
            false => Err(Error::internal("results that need sets of values aren't put together")),
        }
    }

    /// Number of calls.
    pub(in crate::operator) fn calls(&self) -> usize {
        self.groups.calls()
    }

    /// Forgets all parts.
    pub(in crate::operator) fn clear(&mut self) {
        self.used = 0;
    }

    /// A part of no rows.
    pub(in crate::operator) fn begin(&mut self) -> Slot {
        if self.used == 0 {
            self.groups.reset(Slot(0));
        }
        self.used = self.used.max(1) + 1;
        let slot = Slot(self.used - 1);
        self.groups.reset(slot);
        slot
    }

    /// Puts a part that was written with [`Partials::save`] to another.
    pub(in crate::operator) fn add_saved(&mut self, slot: Slot, saved: &[u8]) -> Result<()> {
        self.groups.reset(Slot(0));
        self.groups.load(Slot(0), saved)?;
        self.groups.merge(slot, Slot(0))
    }

    /// Adds rows, each to its part.
    pub(in crate::operator) fn add_rows(&mut self, batch: &ChangeBatch, slots: &[Slot]) -> Result<()> {
        let targets = Targets {
            groups: slots,
            collections: &[],
        };
        self.groups.update(batch, &targets, &mut self.sets)
    }

    pub(in crate::operator) fn save(&mut self, slot: Slot, out: &mut Vec<u8>) -> Result<()> {
        self.groups.save(slot, Save::Whole, out)
    }

    /// What a call says of these parts.
    pub(in crate::operator) fn results(&mut self, call: usize, slots: &[Slot]) -> Result<ArrayRef> {
        self.groups.finish(call, slots, &[], &self.sets)
    }

    /// Memory, about.
    pub(in crate::operator) fn bytes(&self) -> usize {
        self.groups.bytes()
    }
}
