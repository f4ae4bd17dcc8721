//! Sums and averages of integers and decimals: exact, whatever the order and the deletes.
//!
//! A sum is kept in 128 bits, and beyond them in a carry that almost no group ever has; so a sum
//! that leaves the range of its type and comes back is right again, and only a result is checked.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, NullBufferBuilder, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type, i256};
use hashbrown::HashMap;

use super::accumulator::{Accumulator, Selected, of_type, out_of_range, set};
use crate::decimal::{self, limit_of, mean};
use crate::graph::{AggregateCall, AggregateFunction};
use crate::operator::codec::{Reader, write_i64, write_i128};
use crate::table::Slot;
use crate::{Error, Result};

/// Sum and number of arguments of one group.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    /// The lowest 128 bits of the sum.
    sum: i128,
    count: i64,
}

pub(super) struct IntegerSums {
    name: Arc<str>,
    /// What arguments are brought to: Int64, UInt64 or Decimal128.
    work_type: DataType,
    output_type: DataType,
    finish: Finish,
    sums: Vec<Sum>,
    /// By slot, what of the sum lies beyond 128 bits, in units of 2^128.
    carries: HashMap<u32, i64>,
}

/// How a result is made of sum and count.
#[derive(Debug, Clone, Copy)]
enum Finish {
    Integer,
    Unsigned,
    /// Largest result in units of its last digit.
    Decimal {
        limit: i128,
    },
    /// Mean of integers, rounded once.
    FloatMean,
    /// Mean of durations, cut to whole units.
    IntegerMean,
    /// Mean with more digits than its arguments, cut like the engine's ad-hoc queries cut it.
    DecimalMean {
        factor: i128,
        limit: i128,
    },
}

impl IntegerSums {
    /// # Errors
    /// If `argument` can't be summed exactly.
    pub fn new(call: &AggregateCall, name: Arc<str>, argument: &DataType) -> Result<Self> {
        let work_type = match argument {
            signed if signed.is_signed_integer() => DataType::Int64,
            unsigned if unsigned.is_unsigned_integer() => DataType::UInt64,
            DataType::Duration(_) => DataType::Int64,
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale) => DataType::Decimal128(*precision, *scale),
            _ => return Err(unsupported(&name, argument)),
        };
        let output_type = call.output_type.clone();
        let finish = match (&call.function, &output_type, &work_type) {
            (AggregateFunction::Sum, DataType::Int64 | DataType::Duration(_), _) => Finish::Integer,
            (AggregateFunction::Sum, DataType::UInt64, _) => Finish::Unsigned,
            (AggregateFunction::Sum, output, DataType::Decimal128(_, scale)) => {
                let (precision, output_scale) = decimal_of(output).ok_or_else(|| unsupported(&name, argument))?;
                if output_scale != *scale {
                    return Err(unsupported(&name, argument));
                }
                Finish::Decimal {
                    limit: limit_of(precision),
                }
            }
            (AggregateFunction::Avg, DataType::Duration(_), DataType::Int64) => Finish::IntegerMean,
            (AggregateFunction::Avg, DataType::Float64, DataType::Int64 | DataType::UInt64) => Finish::FloatMean,
            (AggregateFunction::Avg, output, DataType::Decimal128(_, scale)) => {
                let (precision, output_scale) = decimal_of(output).ok_or_else(|| unsupported(&name, argument))?;
                let factor = u32::try_from(i16::from(output_scale) - i16::from(*scale))
                    .ok()
                    .and_then(|digits| 10i128.checked_pow(digits))
                    .ok_or_else(|| unsupported(&name, argument))?;
                Finish::DecimalMean {
                    factor,
                    limit: limit_of(precision),
                }
            }
            _ => return Err(unsupported(&name, argument)),
        };
        Ok(Self {
            name,
            work_type,
            output_type,
            finish,
            sums: Vec::new(),
            carries: HashMap::new(),
        })
    }

    /// Adds `values[row] * weight`, where the product can't leave 128 bits.
    #[inline(always)]
    fn add(&mut self, rows: &Selected<'_>, value: impl Fn(usize) -> i128) {
        let (sums, carries) = (&mut self.sums, &mut self.carries);
        rows.each(|row, slot, weight| {
            let entry = &mut sums[slot];
            add_wide(entry, carries, slot, value(row) * i128::from(weight));
            entry.count = entry.count.wrapping_add(weight);
        });
    }

    /// As [`IntegerSums::add`] for decimals, whose product with a weight may have 192 bits.
    fn add_decimals(&mut self, rows: &Selected<'_>, values: &[i128]) {
        let (sums, carries) = (&mut self.sums, &mut self.carries);
        rows.each(|row, slot, weight| {
            let entry = &mut sums[slot];
            match values[row].checked_mul(i128::from(weight)) {
                Some(product) => add_wide(entry, carries, slot, product),
                None => {
                    let product = i256::from_i128(values[row]).wrapping_mul(i256::from_i128(i128::from(weight)));
                    let (low, high) = product.to_parts();
                    let low = low as i128;
                    // The parts are unsigned and signed; ours are signed both.
                    add_carry(carries, slot, high as i64 + i64::from(low < 0));
                    add_wide(entry, carries, slot, low);
                }
            }
            entry.count = entry.count.wrapping_add(weight);
        });
    }

    /// The whole sum.
    fn wide(&self, slot: Slot) -> i256 {
        let low = self.sums[slot.index()].sum;
        let carry = self.carries.get(&slot.0).copied().unwrap_or(0);
        i256::from_parts(low as u128, i128::from(carry) - i128::from(low < 0))
    }

    /// The sum, if it has 128 bits.
    fn narrow(&self, slot: Slot) -> Option<i128> {
        (self.carries.is_empty() || !self.carries.contains_key(&slot.0)).then(|| self.sums[slot.index()].sum)
    }

    /// One result for each slot: NULL for a sum of nothing.
    fn results<T: ArrowPrimitiveType>(
        &self,
        slots: &[Slot],
        result: impl Fn(Slot, i64) -> Option<T::Native>,
    ) -> Result<PrimitiveArray<T>> {
        let mut values = Vec::with_capacity(slots.len());
        let mut valid = NullBufferBuilder::new(slots.len());
        for slot in slots {
            let count = self.sums[slot.index()].count;
            valid.append(count != 0);
            values.push(match count {
                0 => T::Native::default(),
                count => result(*slot, count).ok_or_else(|| out_of_range(&self.name, &self.output_type))?,
            });
        }
        Ok(PrimitiveArray::new(values.into(), valid.finish()))
    }
}

impl Accumulator for IntegerSums {
    fn reset(&mut self, slot: Slot) {
        set(&mut self.sums, slot, Sum::default());
        if !self.carries.is_empty() {
            self.carries.remove(&slot.0);
        }
    }

    fn update(&mut self, rows: &Selected<'_>, argument: Option<&ArrayRef>) -> Result<()> {
        let argument = argument.ok_or_else(|| Error::internal("a sum of nothing"))?;
        let same = argument.data_type() == &self.work_type;
        let argument = if same {
            argument.clone()
        } else {
            cast(argument, &self.work_type)?
        };
        match &self.work_type {
            DataType::Int64 => {
                let values = argument.as_primitive::<Int64Type>().values();
                self.add(rows, |row| i128::from(values[row]));
            }
            DataType::UInt64 => {
                let values = argument.as_primitive::<UInt64Type>().values();
                self.add(rows, |row| i128::from(values[row]));
            }
            _ => self.add_decimals(rows, argument.as_primitive::<Decimal128Type>().values()),
        }
        Ok(())
    }

    fn merge(&mut self, into: Slot, from: Slot) -> Result<()> {
        let added = self.sums[from.index()];
        let carry = self.carries.get(&from.0).copied();
        let entry = &mut self.sums[into.index()];
        add_wide(entry, &mut self.carries, into.index(), added.sum);
        entry.count = entry.count.wrapping_add(added.count);
        if let Some(carry) = carry {
            add_carry(&mut self.carries, into.index(), carry);
        }
        Ok(())
    }

    fn finish(&self, slots: &[Slot]) -> Result<ArrayRef> {
        let array: ArrayRef = match self.finish {
            Finish::Integer => {
                Arc::new(self.results::<Int64Type>(slots, |slot, _| self.narrow(slot)?.try_into().ok())?)
            }
            Finish::Unsigned => {
                Arc::new(self.results::<UInt64Type>(slots, |slot, _| self.narrow(slot)?.try_into().ok())?)
            }
            Finish::IntegerMean => Arc::new(self.results::<Int64Type>(slots, |slot, count| {
                (self.narrow(slot)? / i128::from(count)).try_into().ok()
            })?),
            Finish::FloatMean => {
                Arc::new(self.results::<Float64Type>(slots, |slot, count| Some(mean(self.narrow(slot)?, count)))?)
            }
            Finish::Decimal { limit } => self.decimals(slots, |slot, _| within(self.narrow(slot)?, limit))?,
            Finish::DecimalMean { factor, limit } => self.decimals(slots, |slot, count| {
                let scaled = self.wide(slot).checked_mul(i256::from_i128(factor))?;
                let mean = decimal::quotient(scaled, i256::from_i128(i128::from(count)))?;
                within(mean.to_i128()?, limit)
            })?,
        };
        of_type(array, &self.output_type)
    }

    fn save(&self, slot: Slot, out: &mut Vec<u8>) {
        let Sum { sum, count } = self.sums[slot.index()];
        write_i128(sum, out);
        write_i64(self.carries.get(&slot.0).copied().unwrap_or(0), out);
        write_i64(count, out);
    }

    fn load(&mut self, slot: Slot, saved: &mut Reader<'_>) -> Result<()> {
        let sum = saved.i128()?;
        let carry = saved.i64()?;
        self.sums[slot.index()] = Sum {
            sum,
            count: saved.i64()?,
        };
        add_carry(&mut self.carries, slot.index(), carry);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.sums.capacity() * size_of::<Sum>() + self.carries.capacity() * 16
    }
}

impl IntegerSums {
    fn decimals(&self, slots: &[Slot], result: impl Fn(Slot, i64) -> Option<i128>) -> Result<ArrayRef> {
        let values = self.results::<Decimal128Type>(slots, result)?;
        let (precision, scale) = decimal_of(&self.output_type).ok_or_else(|| Error::internal("not a decimal"))?;
        Ok(Arc::new(values.with_precision_and_scale(precision, scale)?))
    }
}

#[inline(always)]
fn add_wide(entry: &mut Sum, carries: &mut HashMap<u32, i64>, slot: usize, value: i128) {
    let (sum, overflow) = entry.sum.overflowing_add(value);
    entry.sum = sum;
    if overflow {
        add_carry(carries, slot, if value < 0 { -1 } else { 1 });
    }
}

#[cold]
fn add_carry(carries: &mut HashMap<u32, i64>, slot: usize, carry: i64) {
    let sum = carries.entry(slot as u32).or_insert(0);
    *sum += carry;
    if *sum == 0 {
        carries.remove(&(slot as u32));
    }
}

fn within(value: i128, limit: i128) -> Option<i128> {
    (value.unsigned_abs() <= limit as u128).then_some(value)
}

fn decimal_of(data_type: &DataType) -> Option<(u8, i8)> {
    match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        _ => None,
    }
}

fn unsupported(name: &str, argument: &DataType) -> Error {
    Error::Config(format!(
        "{name}: arguments of type {argument} can't be summed; cast them to BIGINT, NUMERIC or \
         DOUBLE PRECISION"
    ))
}
