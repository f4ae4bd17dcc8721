//! The groups that a step has touched, each once, and what their rows were before it.

use arrow::array::{Array, ArrayRef};
use arrow::compute;

use crate::Result;
use crate::table::Slot;

/// The place of slots that the step has not touched.
const NOWHERE: u32 = u32::MAX;

pub(super) struct Touched {
    /// By slot, its place among those touched.
    places: Vec<u32>,
    groups: Vec<Slot>,
    sets: Vec<Slot>,
    existed: Vec<bool>,
    /// By call, the old results in pieces, as batches added them.
    old: Vec<Vec<ArrayRef>>,
}

/// What a step has touched, in order of first touch.
pub(super) struct TouchedGroups {
    pub groups: Vec<Slot>,
    /// The slots of the groups' sets, where there are any.
    pub sets: Vec<Slot>,
    /// Whether the group had a row before.
    pub existed: Vec<bool>,
    /// By call, the results before; without meaning where there was no row.
    pub old: Vec<ArrayRef>,
}

impl Touched {
    pub fn new(calls: usize) -> Self {
        Self {
            places: Vec::new(),
            groups: Vec::new(),
            sets: Vec::new(),
            existed: Vec::new(),
            old: vec![Vec::new(); calls],
        }
    }

    /// Adds the groups of a batch's rows and returns how many there were before. `sets` is empty
    /// or as long.
    pub fn add(&mut self, groups: &[Slot], sets: &[Slot]) -> usize {
        let before = self.groups.len();
        for (row, slot) in groups.iter().enumerate() {
            if slot.index() >= self.places.len() {
                self.places.resize(slot.index() + 1, NOWHERE);
            }
            let place = &mut self.places[slot.index()];
            if *place == NOWHERE {
                *place = self.groups.len() as u32;
                self.groups.push(*slot);
                self.sets.extend(sets.get(row));
            }
        }
        before
    }

    /// The slots of groups, and of their sets, from the given place on.
    pub fn slots_from(&self, first: usize) -> (&[Slot], &[Slot]) {
        (&self.groups[first..], self.sets.get(first..).unwrap_or_default())
    }

    /// What the groups added last were before.
    pub fn note(&mut self, existed: Vec<bool>, old: Vec<ArrayRef>) {
        if existed.is_empty() {
            return;
        }
        self.existed.extend(existed);
        for (pieces, piece) in self.old.iter_mut().zip(old) {
            pieces.push(piece);
        }
    }

    /// Ends the step.
    pub fn take(&mut self) -> Result<TouchedGroups> {
        for slot in &self.groups {
            self.places[slot.index()] = NOWHERE;
        }
        let mut old = Vec::with_capacity(self.old.len());
        for pieces in &mut self.old {
            match &pieces[..] {
                [] => {}
                [only] => old.push(only.clone()),
                many => {
                    let many: Vec<&dyn Array> = many.iter().map(|piece| piece.as_ref()).collect();
                    old.push(compute::concat(&many)?);
                }
            }
            pieces.clear();
        }
        Ok(TouchedGroups {
            groups: std::mem::take(&mut self.groups),
            sets: std::mem::take(&mut self.sets),
            existed: std::mem::take(&mut self.existed),
            old,
        })
    }
}
