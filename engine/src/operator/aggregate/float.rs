//! Sums and averages of floats.
//!
//! Floats aren't linear: taking a value back from a rounded sum leaves the rounding behind. Over
//! input that deletes, sums are therefore kept exactly ([`super::exact`]) and rounded once, at the
//! result. Over append-only input a running sum does, with the error of each addition kept beside
//! it (A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen", 1974).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use super::accumulator::{Accumulator, Selected, of_type, set};
use super::exact::ExactSum;
use crate::graph::AggregateFunction;
use crate::operator::codec::{Reader, write_f64, write_i64};
use crate::table::Slot;
use crate::{Error, Result};

fn doubles(argument: Option<&ArrayRef>) -> Result<ArrayRef> {
    let argument = argument.ok_or_else(|| Error::internal("a sum of nothing"))?;
    match argument.data_type() {
        DataType::Float64 => Ok(argument.clone()),
        _ => Ok(cast(argument, &DataType::Float64)?),
    }
}

/// Results of sums and counts: a sum or a mean, NULL of nothing.
fn results(
    function: &AggregateFunction,
    output_type: &DataType,
    parts: impl Iterator<Item = (f64, i64)>,
) -> Result<ArrayRef> {
    let result = |(sum, count): (f64, i64)| match (count, function) {
        (0, _) => None,
        (count, AggregateFunction::Avg) => Some(sum / count as f64),
        _ => Some(sum),
    };
    of_type(Arc::new(Float64Array::from_iter(parts.map(result))), output_type)
}

#[derive(Debug, Clone, Copy, Default)]
struct Compensated {
    sum: f64,
    /// What rounding has taken from the sum.
    lost: f64,
    count: i64,
}

impl Compensated {
    fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        self.lost += if self.sum.abs() >= value.abs() {
            (self.sum - sum) + value
        } else {
            (value - sum) + self.sum
        };
        self.sum = sum;
    }

    fn value(&self) -> f64 {
        // Where the sum is infinite or no number, what was lost means nothing.
        if self.sum.is_finite() {
            self.sum + self.lost
        } else {
            self.sum
        }
    }
}

/// For append-only input.
pub(super) struct CompensatedSums {
    function: AggregateFunction,
    output_type: DataType,
    sums: Vec<Compensated>,
}

impl CompensatedSums {
    pub fn new(function: AggregateFunction, output_type: DataType) -> Self {
        Self {
            function,
            output_type,
            sums: Vec::new(),
        }
    }
}

impl Accumulator for CompensatedSums {
    fn reset(&mut self, slot: Slot) {
        set(&mut self.sums, slot, Compensated::default());
    }

    fn update(&mut self, rows: &Selected<'_>, argument: Option<&ArrayRef>) -> Result<()> {
        let argument = doubles(argument)?;
        let values = argument.as_primitive::<Float64Type>().values();
        let sums = &mut self.sums;
        rows.each(|row, slot, weight| {
            let entry = &mut sums[slot];
            let value = if weight == 1 {
                values[row]
            } else {
                values[row] * weight as f64
            };
            entry.add(value);
            entry.count = entry.count.wrapping_add(weight);
        });
        Ok(())
    }

    fn finish(&self, slots: &[Slot]) -> Result<ArrayRef> {
        let parts = slots.iter().map(|slot| {
            let entry = &self.sums[slot.index()];
            (entry.value(), entry.count)
        });
        results(&self.function, &self.output_type, parts)
    }

    fn save(&self, slot: Slot, out: &mut Vec<u8>) {
        let entry = &self.sums[slot.index()];
        write_f64(entry.sum, out);
        write_f64(entry.lost, out);
        write_i64(entry.count, out);
    }

    fn load(&mut self, slot: Slot, saved: &mut Reader<'_>) -> Result<()> {
        self.sums[slot.index()] = Compensated {
            sum: saved.f64()?,
            lost: saved.f64()?,
            count: saved.i64()?,
        };
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.sums.capacity() * size_of::<Compensated>()
    }
}

/// For input that deletes.
pub(super) struct ExactSums {
    function: AggregateFunction,
    output_type: DataType,
    sums: Vec<(ExactSum, i64)>,
}

impl ExactSums {
    pub fn new(function: AggregateFunction, output_type: DataType) -> Self {
        Self {
            function,
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

    fn finish(&self, slots: &[Slot]) -> Result<ArrayRef> {
        let parts = slots.iter().map(|slot| {
            let (sum, count) = &self.sums[slot.index()];
            (sum.value(), *count)
        });
        results(&self.function, &self.output_type, parts)
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
