//! Sums and averages of floats.
//!
//! Floats aren't linear: taking a value back from a rounded sum leaves the rounding behind, and the order of
//! values shows in the last digits. Sums are therefore kept exactly ([`super::exact`]) and rounded once, at the
//! result.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use super::accumulator::{Accumulator, Selected, of_type, out_of_range, set};
use super::exact::ExactSum;
use crate::operator::codec::{Reader, write_i64};
use crate::table::Slot;
use crate::{Error, Result};

fn doubles(argument: Option<&ArrayRef>) -> Result<ArrayRef> {
    let argument = argument.ok_or_else(|| Error::internal("a sum of nothing"))?;
    match argument.data_type() {
        DataType::Float64 => Ok(argument.clone()),
        _ => Ok(cast(argument, &DataType::Float64)?),
    }
}

/// A sum for each group.
pub(super) struct ExactSums {
    name: Arc<str>,
    is_mean: bool,
    output_type: DataType,
    sums: Vec<(ExactSum, i64)>,
}

impl ExactSums {
    pub fn new(name: Arc<str>, is_mean: bool, output_type: DataType) -> Self {
        Self {
            name,
            is_mean,
            output_type,
            sums: Vec::new(),
        }
    }
}

impl Accumulator for ExactSums {
    fn reset(&mut self, slot: Slot) {
        set(&mut self.sums, slot, (ExactSum::default(), 0));
    }

    fn update(&mut self, rows: &Selected<'_>, argument: Option<&ArrayRef>) -> Result<()> {
        let argument = doubles(argument)?;
        let values = argument.as_primitive::<Float64Type>().values();
        let sums = &mut self.sums;
        rows.each(|row, slot, weight| {
            let (sum, count) = &mut sums[slot];
            sum.add(values[row], weight);
            *count = count.wrapping_add(weight);
        });
        Ok(())
    }

    fn merge(&mut self, into: Slot, from: Slot) -> Result<()> {
        let (added, more) = self.sums[from.index()].clone();
        let (sum, count) = &mut self.sums[into.index()];
        sum.merge(&added);
        *count = count.wrapping_add(more);
        Ok(())
    }

    fn finish(&self, slots: &[Slot]) -> Result<ArrayRef> {
        let result = |slot: &Slot| match &self.sums[slot.index()] {
            (_, 0) => Ok(None),
            (sum, count) => match sum.result(self.is_mean, *count) {
                Some(result) => Ok(Some(result)),
                None => Err(out_of_range(&self.name, &self.output_type)),
            },
        };
        let results = slots.iter().map(result).collect::<Result<Float64Array>>()?;
        of_type(Arc::new(results), &self.output_type)
    }

    fn save(&self, slot: Slot, out: &mut Vec<u8>) {
        let (sum, count) = &self.sums[slot.index()];
        sum.save(out);
        write_i64(*count, out);
    }

    fn load(&mut self, slot: Slot, saved: &mut Reader<'_>) -> Result<()> {
        self.sums[slot.index()] = (ExactSum::load(saved)?, saved.i64()?);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.sums.capacity() * (size_of::<(ExactSum, i64)>() + ExactSum::USUAL_BYTES)
    }
}
