//! What the calls of an aggregate keep for each group: columns indexed by slot.
//!
//! A call is updated with vectors: the group of each row, the rows' weights and the argument
//! column. Rows whose argument is NULL, or that the call's filter leaves out, are masked before.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;

use super::extreme::Extreme;
use super::float::ExactSums;
use super::integer::IntegerSums;
use crate::change::ChangeBatch;
use crate::graph::{AggregateCall, AggregateFunction};
use crate::operator::codec::{Reader, write_i64};
use crate::table::Slot;
use crate::{Error, Result};

/// One call's part of the groups.
pub(super) trait Accumulator: Send {
    /// The slot's group begins anew; see [`crate::table::Slots::reset`].
    fn reset(&mut self, slot: Slot);

    /// Takes rows. `argument` has a value for each, and none only for `count(*)`.
    fn update(&mut self, rows: &Selected<'_>, argument: Option<&ArrayRef>) -> Result<()>;

    /// Adds what another slot has: as if its rows had been given to this one.
    fn merge(&mut self, into: Slot, from: Slot) -> Result<()>;

    /// The results of these groups.
    fn finish(&self, slots: &[Slot]) -> Result<ArrayRef>;

    fn save(&self, slot: Slot, out: &mut Vec<u8>);

    fn load(&mut self, slot: Slot, saved: &mut Reader<'_>) -> Result<()>;

    /// Memory, about.
    fn bytes(&self) -> usize;
}

/// The rows of a batch that a call looks at.
pub(super) struct Selected<'a> {
    /// Each row's group.
    pub slots: &'a [Slot],
    /// Each row's weight; none if all are 1.
    pub weights: Option<&'a [i64]>,
    /// The rows that count; none if all do.
    pub mask: Option<BooleanBuffer>,
}

impl Selected<'_> {
    /// Calls `take` with row, slot and weight of each selected row. Inlined into its callers, so
    /// that the usual case, no mask and no weights, becomes a plain loop.
    #[inline(always)]
    pub fn each(&self, mut take: impl FnMut(usize, usize, i64)) {
        match (&self.mask, self.weights) {
            (None, None) => {
                for (row, slot) in self.slots.iter().enumerate() {
                    take(row, slot.index(), 1);
                }
            }
            (None, Some(weights)) => {
                for (row, (slot, weight)) in self.slots.iter().zip(weights).enumerate() {
                    take(row, slot.index(), *weight);
                }
            }
            (Some(mask), None) => {
                for row in mask.set_indices() {
                    take(row, self.slots[row].index(), 1);
                }
            }
            (Some(mask), Some(weights)) => {
                for row in mask.set_indices() {
                    take(row, self.slots[row].index(), weights[row]);
                }
            }
        }
    }
}

/// The BOOLEAN column that says which rows count, where there is one.
pub(super) fn filter_of(batch: &ChangeBatch, filter: Option<usize>) -> Option<&BooleanArray> {
    filter.map(|column| batch.column(column).as_boolean())
}

/// The rows in which `filter` is true and `argument` isn't null; none if those are all.
pub(super) fn mask(filter: Option<&BooleanArray>, argument: Option<&ArrayRef>) -> Option<BooleanBuffer> {
    let passes = filter.map(|filter| match filter.nulls() {
        Some(nulls) => filter.values() & nulls.inner(),
        None => filter.values().clone(),
    });
    let valid = argument
        .and_then(|argument| argument.logical_nulls())
        .filter(|nulls| nulls.null_count() > 0);
    match (passes, valid) {
        (Some(passes), Some(valid)) => Some(&passes & valid.inner()),
        (passes, valid) => passes.or(valid.map(|nulls| nulls.into_inner())),
    }
}

/// Makes the accumulator of a call over arguments of `argument_type`.
///
/// # Errors
/// If the function can't be kept up to date over this type.
pub(super) fn accumulator(
    call: &AggregateCall,
    name: &str,
    argument_type: Option<&DataType>,
) -> Result<Box<dyn Accumulator>> {
    let name: Arc<str> = name.into();
    let needed = || argument_type.ok_or_else(|| Error::internal(format!("{name} without an argument")));
    Ok(match &call.function {
        AggregateFunction::Count => Box::new(Counts::new(name, call.output_type.clone())),
        AggregateFunction::Sum | AggregateFunction::Avg => {
            let argument = needed()?;
            if !argument.is_floating() {
                Box::new(IntegerSums::new(call, name, argument)?)
            } else {
                let is_mean = call.function == AggregateFunction::Avg;
                Box::new(ExactSums::new(name, is_mean, call.output_type.clone()))
            }
        }
        AggregateFunction::Min | AggregateFunction::Max => {
            let largest = call.function == AggregateFunction::Max;
            Box::new(Extreme::new(needed()?, call.output_type.clone(), largest)?)
        }
        AggregateFunction::Fold(_) => return Err(Error::internal(format!("{name} is no accumulator"))),
    })
}

/// An array of exactly the type that the plan promised.
pub(super) fn of_type(array: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(array);
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    Ok(cast_with_options(&array, data_type, &options)?)
}

/// A result that its type can't hold, in PostgreSQL's words.
pub(super) fn out_of_range(name: &str, data_type: &DataType) -> Error {
    let type_name = match data_type {
        DataType::Int64 => "bigint".to_string(),
        DataType::UInt64 => "unsigned bigint".to_string(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => format!("numeric({precision}, {scale})"),
        DataType::Float64 => "double precision".to_string(),
        DataType::Float32 => "real".to_string(),
        other => other.to_string(),
    };
    Error::Data(format!(
        "{name}: {type_name} out of range; cast the argument to a wider type"
    ))
}

/// `count(x)`, and `count(*)` with a filter.
struct Counts {
    name: Arc<str>,
    output_type: DataType,
    counts: Vec<i64>,
}

impl Counts {
    fn new(name: Arc<str>, output_type: DataType) -> Self {
        Self {
            name,
            output_type,
            counts: Vec::new(),
        }
    }
}

impl Accumulator for Counts {
    fn reset(&mut self, slot: Slot) {
        set(&mut self.counts, slot, 0);
    }

    fn update(&mut self, rows: &Selected<'_>, _argument: Option<&ArrayRef>) -> Result<()> {
        if !add_weights(&mut self.counts, rows) {
            return Err(out_of_range(&self.name, &self.output_type));
        }
        Ok(())
    }

    fn merge(&mut self, into: Slot, from: Slot) -> Result<()> {
        match merge_counts(&mut self.counts, into, from) {
            true => Ok(()),
            false => Err(out_of_range(&self.name, &self.output_type)),
        }
    }

    fn finish(&self, slots: &[Slot]) -> Result<ArrayRef> {
        of_type(counts_of(&self.counts, slots), &self.output_type)
    }

    fn save(&self, slot: Slot, out: &mut Vec<u8>) {
        write_i64(self.counts[slot.index()], out);
    }

    fn load(&mut self, slot: Slot, saved: &mut Reader<'_>) -> Result<()> {
        self.counts[slot.index()] = saved.i64()?;
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * 8
    }
}

/// Adds each row's weight to its slot's count. False if a count leaves the range of i64.
pub(super) fn add_weights(counts: &mut [i64], rows: &Selected<'_>) -> bool {
    let mut overflows = false;
    rows.each(|_, slot, weight| {
        let (sum, overflow) = counts[slot].overflowing_add(weight);
        counts[slot] = sum;
        overflows |= overflow;
    });
    !overflows
}

/// Adds a slot's count to another's. False if that leaves the range of i64.
pub(super) fn merge_counts(counts: &mut [i64], into: Slot, from: Slot) -> bool {
    let (sum, overflows) = counts[into.index()].overflowing_add(counts[from.index()]);
    counts[into.index()] = sum;
    !overflows
}

/// The counts of these slots as a column.
pub(super) fn counts_of(counts: &[i64], slots: &[Slot]) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(
        slots.iter().map(|slot| counts[slot.index()]),
    ))
}

/// Puts a value at a slot, which may be the next new one.
pub(super) fn set<T>(column: &mut Vec<T>, slot: Slot, value: T) {
    if slot.index() == column.len() {
        column.push(value);
    } else {
        column[slot.index()] = value;
    }
}
