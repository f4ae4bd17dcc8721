//! Counted sets by group: of values, as minima, maxima under deletes and DISTINCT need them, or of rows
//! in an order, as folds do.
//!
//! A group has one set for each argument and filter that some call needs as a set; calls share
//! them. The sets of a group are one entry of a table of deltas: what is saved at a checkpoint
//! are the values whose weight changed.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

use super::accumulator::{Selected, filter_of, mask, set};
use super::ordered::{Form, Ordered, OrderedForm, Thing};
use crate::change::ChangeBatch;
use crate::graph::FoldRows;
use crate::operator::codec::{Reader, damaged, write_i64, write_usize};
use crate::row::{RowCodec, RowField};
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
    /// Adds to a value's weight; returns it as it was.
    fn add(&mut self, value: &T::Borrowed, weight: i64, keeps: Keeps) -> Result<i64> {
        if let Some(worse) = keeps.worse()
            && !self.makes_way(value, worse)
        {
            return Ok(1);
        }
        let (value, old) = match T::find(&mut self.weights, value) {
            Some((_, old)) if keeps == Keeps::Once => return Ok(*old),
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

    /// Of a set that keeps one value: drops it if it compares to the new one as `worse` says. False
    /// if it stays instead.
    fn makes_way(&mut self, value: &T::Borrowed, worse: Ordering) -> bool {
        let Some((kept, weight)) = self.weights.pop_first() else {
            return true;
        };
        if kept.compare(value) != worse {
            self.weights.insert(kept, weight);
            return false;
        }
        self.bytes -= value_bytes(&kept);
        self.changes.push((kept, -weight));
        true
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

/// What a set is made of.
enum Content {
    /// The values of a column. NULL is none of them.
    Values { argument: usize, form: OrderedForm },
    /// Rows of some columns, NULLs with them, in the order of their bytes.
    Rows { spec: RowsSpec, codec: RowCodec },
}

/// Columns whose rows are kept, and how each is ordered.
#[derive(PartialEq)]
pub(super) struct RowsSpec {
    pub columns: Vec<usize>,
    pub fields: Vec<RowField>,
}

/// How much of what comes a set remembers. Only input that never deletes allows for less than all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeps {
    /// How often each is there.
    All,
    /// Each, once.
    Once,
    /// The first.
    First,
    /// The last.
    Last,
}

impl Keeps {
    /// Of a set that keeps one value: how a value that gives way compares to the one that takes its
    /// place.
    fn worse(self) -> Option<Ordering> {
        match self {
            Keeps::All | Keeps::Once => None,
            Keeps::First => Some(Ordering::Greater),
            Keeps::Last => Some(Ordering::Less),
        }
    }
}

/// The sets of one argument (or of the rows of some columns) and filter.
pub(super) struct Collection {
    content: Content,
    filter: Option<usize>,
    keeps: Keeps,
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
    fn new(content: Content, filter: Option<usize>, keeps: Keeps) -> Self {
        let sets = match &content {
            Content::Values { form, .. } => match form.form() {
                Form::Words => Sets::Words(Vec::new()),
                Form::Wides => Sets::Wides(Vec::new()),
                Form::Bytes(_) => Sets::Bytes(Vec::new()),
            },
            Content::Rows { .. } => Sets::Bytes(Vec::new()),
        };
        Self {
            content,
            filter,
            keeps,
            sets,
            bytes: 0,
        }
    }

    /// The column whose values these are, unless they are rows.
    pub fn argument(&self) -> Option<usize> {
        match &self.content {
            Content::Values { argument, .. } => Some(*argument),
            Content::Rows { .. } => None,
        }
    }

    /// Adds a batch's values to their slots' sets.
    pub fn update(&mut self, batch: &ChangeBatch, slots: &[Slot], weights: Option<&[i64]>) -> Result<Transitions> {
        let argument = self.argument().map(|column| batch.column(column));
        let mask = mask(filter_of(batch, self.filter), argument);
        let rows = &Selected { slots, weights, mask };
        let values = match (&self.content, argument) {
            (Content::Values { form, .. }, Some(argument)) => form.encode(argument)?,
            (Content::Rows { spec, codec }, _) => {
                let columns: Vec<ArrayRef> = spec.columns.iter().map(|c| batch.column(*c).clone()).collect();
                Ordered::Bytes(codec.encode(&columns, batch.num_rows())?)
            }
            (Content::Values { .. }, None) => return Err(Error::internal("a set of values of no column")),
        };
        let (keeps, bytes) = (self.keeps, &mut self.bytes);
        match (&mut self.sets, &values) {
            (Sets::Words(sets), Ordered::Words(words)) => add_all(sets, rows, keeps, bytes, |row| &words[row]),
            (Sets::Wides(sets), Ordered::Wides(wides)) => add_all(sets, rows, keeps, bytes, |row| &wides[row]),
            (Sets::Bytes(sets), Ordered::Bytes(strings)) => add_all(sets, rows, keeps, bytes, |row| strings.row(row)),
            _ => Err(Error::internal("a set of values in another form")),
        }
    }

    /// Of the rows of each slot's set, in order, those that are read, as columns; and which of them are
    /// each slot's.
    pub fn rows(&self, slots: &[Slot], reads: FoldRows) -> Result<(Vec<ArrayRef>, Vec<Range<usize>>)> {
        let (Sets::Bytes(sets), Content::Rows { codec, .. }) = (&self.sets, &self.content) else {
            return Err(Error::internal("rows of a set of values"));
        };
        let mut rows: Vec<&[u8]> = Vec::new();
        let mut ranges = Vec::with_capacity(slots.len());
        for slot in slots {
            let begin = rows.len();
            let mut kept = positive(&sets[slot.index()]);
            match reads {
                FoldRows::All => {
                    for (row, weight) in kept {
                        rows.extend(std::iter::repeat_n(&row[..], *weight as usize));
                    }
                }
                FoldRows::Once => rows.extend(kept.map(|(row, _)| &row[..])),
                FoldRows::First => rows.extend(kept.next().map(|(row, _)| &row[..])),
                FoldRows::Last => rows.extend(kept.next_back().map(|(row, _)| &row[..])),
            }
            ranges.push(begin..rows.len());
        }
        Ok((codec.decode(rows)?, ranges))
    }

    /// The values of a slot's set, in order.
    pub fn values(&self, slot: Slot) -> Result<ArrayRef> {
        let Content::Values { form, .. } = &self.content else {
            return Err(Error::internal("the values of a set of rows"));
        };
        match (&self.sets, form.form()) {
            (Sets::Words(sets), _) => {
                let values: Vec<_> = positive(&sets[slot.index()]).map(|(value, _)| Some(*value)).collect();
                form.decode_words(&values)
            }
            (Sets::Wides(sets), _) => {
                let values: Vec<_> = positive(&sets[slot.index()]).map(|(value, _)| Some(*value)).collect();
                form.decode_wides(&values)
            }
            (Sets::Bytes(sets), Form::Bytes(codec)) => {
                let values = positive(&sets[slot.index()]).map(|(value, _)| Some(&value[..]));
                form.decode_bytes(codec, &values.collect::<Vec<_>>())
            }
            _ => Err(Error::internal("a set of values in another form")),
        }
    }

    /// The smallest or largest value of each slot's set.
    pub fn extremes(&self, slots: &[Slot], largest: bool) -> Result<ArrayRef> {
        let Content::Values { form, .. } = &self.content else {
            return Err(Error::internal("the extremes of a set of rows"));
        };
        match (&self.sets, form.form()) {
            (Sets::Words(sets), _) => {
                let values: Vec<_> = extremes(sets, slots, largest).map(|v| v.copied()).collect();
                form.decode_words(&values)
            }
            (Sets::Wides(sets), _) => {
                let values: Vec<_> = extremes(sets, slots, largest).map(|v| v.copied()).collect();
                form.decode_wides(&values)
            }
            (Sets::Bytes(sets), Form::Bytes(codec)) => {
                let values: Vec<_> = extremes(sets, slots, largest)
                    .map(|v| v.map(|bytes| &bytes[..]))
                    .collect();
                form.decode_bytes(codec, &values)
            }
            _ => Err(Error::internal("a set of values in another form")),
        }
    }
}

fn add_all<'a, T: Thing + Borrow<T::Borrowed>>(
    sets: &mut [ValueSet<T>],
    rows: &Selected<'_>,
    keeps: Keeps,
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
        let added = set.add(value(row), weight, keeps);
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

fn merge<T: Thing + Borrow<T::Borrowed>>(sets: &mut [ValueSet<T>], into: Slot, from: Slot, keeps: Keeps) -> Result<()> {
    let other = std::mem::take(&mut sets[from.index()]);
    for (value, weight) in &other.weights {
        sets[into.index()].add(value.borrow(), *weight, keeps)?;
    }
    Ok(())
}

fn extremes<'a, T: Thing>(
    sets: &'a [ValueSet<T>],
    slots: &'a [Slot],
    largest: bool,
) -> impl Iterator<Item = Option<&'a T>> {
    slots.iter().map(move |slot| {
        let mut values = positive(&sets[slot.index()]);
        let found = if largest { values.next_back() } else { values.next() };
        found.map(|(value, _)| value)
    })
}

/// What is in a set, with its weight. (Only what was taken back before it came has a negative weight,
/// and only for a moment.)
fn positive<T: Thing>(set: &ValueSet<T>) -> impl DoubleEndedIterator<Item = (&T, &i64)> {
    set.weights.iter().filter(|(_, weight)| **weight > 0)
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
        let same = |one: &Collection| one.argument() == Some(argument) && one.filter == filter;
        if let Some(index) = self.each.iter().position(same) {
            return Ok(index);
        }
        let form = OrderedForm::new(argument_type)?;
        let keeps = if append_only { Keeps::Once } else { Keeps::All };
        let content = Content::Values { argument, form };
        self.each.push(Collection::new(content, filter, keeps));
        Ok(self.each.len() - 1)
    }

    /// The set of the rows of some columns and a filter, made where there is none yet.
    pub fn index_of_rows(&mut self, rows: RowsSpec, filter: Option<usize>, keeps: Keeps) -> Result<usize> {
        let same = |one: &Collection| match &one.content {
            Content::Rows { spec, .. } => *spec == rows && one.filter == filter && one.keeps == keeps,
            Content::Values { .. } => false,
        };
        if let Some(index) = self.each.iter().position(same) {
            return Ok(index);
        }
        let codec = RowCodec::new(rows.fields.clone())?;
        let content = Content::Rows { spec: rows, codec };
        self.each.push(Collection::new(content, filter, keeps));
        Ok(self.each.len() - 1)
    }

    /// Adds what another slot's sets have, and takes it away from there.
    pub fn merge(&mut self, into: Slot, from: Slot) -> Result<()> {
        for collection in &mut self.each {
            let keeps = collection.keeps;
            collection.bytes -=
                with_sets!(&collection.sets, sets => sets[into.index()].bytes + sets[from.index()].bytes);
            with_sets!(&mut collection.sets, sets => merge(sets, into, from, keeps))?;
            collection.bytes += with_sets!(&collection.sets, sets => sets[into.index()].bytes);
        }
        Ok(())
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
