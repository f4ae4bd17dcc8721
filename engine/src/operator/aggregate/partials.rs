//! Partial results: what calls make of a part of a group's rows, for an operator that keeps them as bytes
//! in a place of its own and puts parts together.
//!
//! Where a call needs a set of values or rows, that is a part of them.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;

use super::collection::Collections;
use super::groups::{Groups, Targets};
use crate::Result;
use crate::change::ChangeBatch;
use crate::graph::AggregateCall;
use crate::operator::codec::{Reader, write_bytes};
use crate::table::{Save, Slot, Slots};

/// Parts in memory, for as long as they are worked on.
pub(in crate::operator) struct Partials {
    groups: Groups,
    /// What calls need beside, by the same slots.
    sets: Collections,
    /// The first is that of a part that is put to another.
    used: u32,
}

impl Partials {
    /// Of calls over rows of `input` that are never deleted.
    ///
    /// # Errors
    /// If a call can't be kept up to date over its argument's type.
    pub(in crate::operator) fn new(calls: &[AggregateCall], input: &SchemaRef) -> Result<Self> {
        let (groups, sets) = Groups::new(calls, false, input, true)?;
        Ok(Self { groups, sets, used: 0 })
    }

    /// Number of calls.
    pub(in crate::operator) fn calls(&self) -> usize {
        self.groups.calls()
    }

    /// Forgets all parts.
    pub(in crate::operator) fn clear(&mut self) {
        // Sets may be large.
        (0..self.used).for_each(|slot| self.sets.reset(Slot(slot)));
        self.used = 0;
    }

    /// A part of no rows.
    pub(in crate::operator) fn begin(&mut self) -> Slot {
        if self.used == 0 {
            self.reset(Slot(0));
        }
        self.used = self.used.max(1) + 1;
        let slot = Slot(self.used - 1);
        self.reset(slot);
        slot
    }

    fn reset(&mut self, slot: Slot) {
        self.groups.reset(slot);
        self.sets.reset(slot);
    }

    /// Puts a part that was written with [`Partials::save`] to another.
    pub(in crate::operator) fn add_saved(&mut self, slot: Slot, saved: &[u8]) -> Result<()> {
        if self.groups.is_empty(slot) {
            return self.load(slot, saved);
        }
        self.reset(Slot(0));
        self.load(Slot(0), saved)?;
        self.groups.merge(slot, Slot(0), &mut self.sets)
    }

    /// Adds rows, each to its part.
    pub(in crate::operator) fn add_rows(&mut self, batch: &ChangeBatch, slots: &[Slot]) -> Result<()> {
        let targets = Targets {
            groups: slots,
            collections: slots,
        };
        self.groups.update(batch, &targets, &mut self.sets)
    }

    pub(in crate::operator) fn save(&mut self, slot: Slot, out: &mut Vec<u8>) -> Result<()> {
        if self.sets.each.is_empty() {
            return self.groups.save(slot, Save::Whole, out);
        }
        let (mut results, mut sets) = (Vec::new(), Vec::new());
        self.groups.save(slot, Save::Whole, &mut results)?;
        self.sets.save(slot, Save::Whole, &mut sets)?;
        write_bytes(&results, out);
        write_bytes(&sets, out);
        Ok(())
    }

    fn load(&mut self, slot: Slot, saved: &[u8]) -> Result<()> {
        if self.sets.each.is_empty() {
            return self.groups.load(slot, saved);
        }
        let mut saved = Reader::new(saved);
        self.groups.load(slot, saved.bytes()?)?;
        self.sets.load(slot, saved.bytes()?)
    }

    /// What a call says of these parts.
    pub(in crate::operator) fn results(&mut self, call: usize, slots: &[Slot]) -> Result<ArrayRef> {
        self.groups.finish(call, slots, slots, &self.sets)
    }

    /// Memory, about.
    pub(in crate::operator) fn bytes(&self) -> usize {
        self.groups.bytes() + self.sets.bytes()
    }
}
