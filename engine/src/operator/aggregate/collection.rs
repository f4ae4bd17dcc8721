//! Counted sets of values by group: what minima, maxima under deletes and DISTINCT need.
//!
//! A group has one set for each argument and filter that some call needs as a set; calls share
//! them. The sets of a group are one entry of a table of deltas: what is saved at a checkpoint
//! are the values whose weight changed.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

use super::accumulator::{Selected, set};
use super::codec::{Reader, damaged, write_i64, write_usize};
use super::ordered::{Form, Ordered, OrderedForm, Thing};
use crate::table::{Save, Slot, Slots};
use crate::{Error, Result};

/// Version of the stored form.
const VERSION: u8 = 1;

/// Fewer noted changes than this aren't worth summing up before they are saved.
const FEW_CHANGES: usize = 64;

/// Values and their weights, in order.
struct ValueSet<T> {
    weights: BTreeMap<T, i64>,
    /// What was added since it was last saved; a value may occur often.
    changes: Vec<(T, i64)>,
    /// Memory of the values, about.
    bytes: usize,
}

impl<T> Default for ValueSet<T> {
    fn default() -> Self {
        Self {
            weights: BTreeMap::new(),
            changes: Vec::new(),
            bytes: 0,
        }
    }
}

/// Memory that a value takes in a set, about: a tree's nodes are two thirds full.
fn value_bytes<T: Thing>(value: &T) -> usize {
    (size_of::<T>() + 8) * 3 / 2 + value.extra_bytes()
}

impl<T: Thing + Borrow<T::Borrowed>> ValueSet<T> {
    /// Adds to a value's weight; returns it as it was. Where nothing is ever taken back
    /// (`append_only`), only the first time counts.
    fn add(&mut self, value: &T::Borrowed, weight: i64, append_only: bool) -> Result<i64> {
        let (value, old) = match T::find(&mut self.weights, value) {
            Some((_, old)) if append_only => return Ok(*old),
            Some((value, sum)) => {
                let old = *sum;
                *sum = old.checked_add(weight).ok_or_else(too_often)?;
                (value, old)
            }
            None => (T::from_borrowed(value), 0),
        };
        if old == 0 {
            self.bytes += value_bytes(&value);
            self.weights.insert(value.clone(), weight);
        } else if old + weight == 0 {
            self.bytes -= value_bytes(&value);
            self.weights.remove(value.borrow());
        }
        self.changes.push((value, weight));
        if self.changes.len() > FEW_CHANGES + 2 * self.weights.len() {
            self.sum_changes();
        }
        Ok(old)
    }

    /// Leaves one change a value, and none that came to nothing.
    fn sum_changes(&mut self) {
        self.changes.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.changes.dedup_by(|(value, weight), (kept, sum)| {
            let same = value == kept;
            if same {
                *sum += *weight;
            }
            same
        });
        self.changes.retain(|(_, weight)| *weight != 0);
    }

    fn load(&mut self, saved: &mut Reader<'_>) -> Result<()> {
        for _ in 0..saved.usize()? {
            let value = T::read(saved)?;
            let weight = saved.i64()?;
            let sum = self.weights.entry(value.clone()).or_insert(0);
            *sum = sum.checked_add(weight).ok_or_else(damaged)?;
            if *sum == 0 {
                self.weights.remove(value.borrow());
            }
        }
        self.bytes = self.weights.keys().map(value_bytes).sum();
        Ok(())
    }

    fn save(&mut self, save: Save, out: &mut Vec<u8>) {
        match save {
            Save::Whole => write_values(self.weights.len(), self.weights.iter(), out),
            Save::Delta => {
                let changes = self.changes.iter().map(|(value, weight)| (value, weight));
                write_values(self.changes.len(), changes, out);
            }
        }
        self.changes = Vec::new();
    }
}

fn write_values<'a, T: Thing>(count: usize, values: impl Iterator<Item = (&'a T, &'a i64)>, out: &mut Vec<u8>) {
    write_usize(count, out);
    for (value, weight) in values {
        value.write(out);
        write_i64(*weight, out);
    }
}

fn too_often() -> Error {
    Error::Data("a value occurs more than 2^63 times in a group".to_string())
}

/// One set for each slot, of values in one form.
enum Sets {
    Words(Vec<ValueSet<i64>>),
    Wides(Vec<ValueSet<i128>>),
    Bytes(Vec<ValueSet<Arc<[u8]>>>),
}

/// Does the same with the sets of any form.
macro_rules! with_sets {
    ($sets:expr, $name:ident => $do:expr) => {
        match $sets {
            Sets::Words($name) => $do,
            Sets::Wides($name) => $do,
            Sets::Bytes($name) => $do,
        }
    };
}

/// The sets of one argument and filter.
pub(super) struct Collection {
    pub argument: usize,
    pub filter: Option<usize>,
    append_only: bool,
    form: OrderedForm,
    sets: Sets,
    /// Memory of all sets' values, about.
    bytes: usize,
}

/// Rows that changed which values are in a set, as opposed to how often.
#[derive(Default)]
pub(super) struct Transitions {
    pub rows: Vec<u32>,
    /// +1 where the row's value entered its set, -1 where it left.
    pub weights: Vec<i64>,
}

impl Collection {
    fn new(argument: usize, filter: Option<usize>, append_only: bool, form: OrderedForm) -> Self {
        let sets = match form.form() {
            Form::Words => Sets::Words(Vec::new()),
            Form::Wides => Sets::Wides(Vec::new()),
            Form::Bytes(_) => Sets::Bytes(Vec::new()),
        };
        Self {
            argument,
            filter,
            append_only,
            form,
            sets,
            bytes: 0,
        }
    }

    /// Adds the rows' values to their slots' sets.
    pub fn update(&mut self, rows: &Selected<'_>, argument: &ArrayRef) -> Result<Transitions> {
        let values = self.form.encode(argument)?;
        let (once, bytes) = (self.append_only, &mut self.bytes);
        match (&mut self.sets, &values) {
            (Sets::Words(sets), Ordered::Words(words)) => add_all(sets, rows, once, bytes, |row| &words[row]),
            (Sets::Wides(sets), Ordered::Wides(wides)) => add_all(sets, rows, once, bytes, |row| &wides[row]),
            (Sets::Bytes(sets), Ordered::Bytes(strings)) => add_all(sets, rows, once, bytes, |row| strings.row(row)),
            _ => Err(Error::internal("a set of values in another form")),
        }
    }

    /// The smallest or largest value of each slot's set.
    pub fn extremes(&self, slots: &[Slot], largest: bool) -> Result<ArrayRef> {
        match (&self.sets, self.form.form()) {
            (Sets::Words(sets), _) => {
                let values: Vec<_> = extremes(sets, slots, largest).map(|v| v.copied()).collect();
                self.form.decode_words(&values)
            }
            (Sets::Wides(sets), _) => {
                let values: Vec<_> = extremes(sets, slots, largest).map(|v| v.copied()).collect();
                self.form.decode_wides(&values)
            }
            (Sets::Bytes(sets), Form::Bytes(codec)) => {
                let values: Vec<_> = extremes(sets, slots, largest)
                    .map(|v| v.map(|bytes| &bytes[..]))
                    .collect();
                self.form.decode_bytes(codec, &values)
            }
            _ => Err(Error::internal("a set of values in another form")),
        }
    }
}

fn add_all<'a, T: Thing + Borrow<T::Borrowed>>(
    sets: &mut [ValueSet<T>],
    rows: &Selected<'_>,
    append_only: bool,
    bytes: &mut usize,
    value: impl Fn(usize) -> &'a T::Borrowed,
) -> Result<Transitions>
where
    T::Borrowed: 'a,
{
    let mut transitions = Transitions::default();
    let mut result = Ok(());
    rows.each(|row, slot, weight| {
        if weight == 0 || result.is_err() {
            return;
        }
        let set = &mut sets[slot];
        *bytes -= set.bytes;
        let added = set.add(value(row), weight, append_only);
        *bytes += set.bytes;
        match added {
            Ok(old) => {
                let change = i64::from(old + weight > 0) - i64::from(old > 0);
                if change != 0 {
                    transitions.rows.push(row as u32);
                    transitions.weights.push(change);
                }
            }
            Err(error) => result = Err(error),
        }
    });
    result.map(|()| transitions)
}

fn extremes<'a, T: Thing>(
    sets: &'a [ValueSet<T>],
    slots: &'a [Slot],
    largest: bool,
) -> impl Iterator<Item = Option<&'a T>> {
    slots.iter().map(move |slot| {
        // Only what was taken back before it came has a negative weight, and only for a moment.
        let mut values = sets[slot.index()].weights.iter().filter(|(_, weight)| **weight > 0);
        let found = if largest { values.next_back() } else { values.next() };
        found.map(|(value, _)| value)
    })
}

/// All sets of all groups.
#[derive(Default)]
pub(super) struct Collections {
    pub each: Vec<Collection>,
}

impl Collections {
    /// The set of an argument and a filter, made where there is none yet.
    pub fn index_of(
        &mut self,
        argument: usize,
        filter: Option<usize>,
        append_only: bool,
        argument_type: &DataType,
    ) -> Result<usize> {
        let same = |one: &Collection| one.argument == argument && one.filter == filter;
        if let Some(index) = self.each.iter().position(same) {
            return Ok(index);
        }
        let form = OrderedForm::new(argument_type)?;
        self.each.push(Collection::new(argument, filter, append_only, form));
        Ok(self.each.len() - 1)
    }

    pub fn bytes(&self) -> usize {
        let slots = |collection: &Collection| -> usize { with_sets!(&collection.sets, sets => size_of_val(&sets[..])) };
        self.each
            .iter()
            .map(|collection| slots(collection) + collection.bytes)
            .sum()
    }
}

impl Slots for Collections {
    fn reset(&mut self, slot: Slot) {
        for collection in &mut self.each {
            with_sets!(&mut collection.sets, sets => {
                collection.bytes -= sets.get(slot.index()).map_or(0, |set| set.bytes);
                set(sets, slot, ValueSet::default());
            });
        }
    }

    fn load(&mut self, slot: Slot, bytes: &[u8]) -> Result<()> {
        let mut saved = Reader::new(bytes);
        if saved.byte()? != VERSION {
            return Err(damaged());
        }
        for collection in &mut self.each {
            with_sets!(&mut collection.sets, sets => {
                let set = &mut sets[slot.index()];
                collection.bytes -= set.bytes;
                set.load(&mut saved)?;
                collection.bytes += set.bytes;
            });
        }
        if saved.is_at_end() { Ok(()) } else { Err(damaged()) }
    }

    fn save(&mut self, slot: Slot, save: Save, out: &mut Vec<u8>) -> Result<()> {
        let mut has_changes = false;
        for collection in &mut self.each {
            with_sets!(&mut collection.sets, sets => {
                let set = &mut sets[slot.index()];
                set.sum_changes();
                has_changes |= !set.changes.is_empty();
            });
        }
        if save == Save::Delta && !has_changes {
            return Ok(());
        }
        out.push(VERSION);
        for collection in &mut self.each {
            with_sets!(&mut collection.sets, sets => sets[slot.index()].save(save, out));
        }
        Ok(())
    }

    fn is_empty(&self, slot: Slot) -> bool {
        self.each
            .iter()
            .all(|collection| with_sets!(&collection.sets, sets => sets[slot.index()].weights.is_empty()))
    }
}
