//! Quotients of decimals, rounded to their last digit.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Datum, Decimal128Array, Decimal256Array};
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, i256};
use arrow::error::ArrowError;
use datafusion::logical_expr::Operator;
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use weir_engine::decimal;

use super::operation::too_long;

/// Each of `left` divided by that of `right`, both decimals of as many bits.
pub fn divided(left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
    let ((left, left_single), (right, right_single)) = (left.get(), right.get());
    let rows = if left_single { right.len() } else { left.len() };
    let place = |single: bool, row: usize| if single { 0 } else { row };
    let places = (0..rows).map(|row| (place(left_single, row), place(right_single, row)));
    let known = places.map(|(one, other)| (left.is_valid(one) && right.is_valid(other)).then_some((one, other)));
    let output = BinaryTypeCoercer::new(left.data_type(), &Operator::Divide, right.data_type())
        .get_result_type()
        .map_err(|error| ArrowError::ComputeError(error.strip_backtrace()))?;
    match output {
        DataType::Decimal128(precision, scale) => {
            let zeros = zeros(left, right, scale);
            let (left, right) = (
                left.as_primitive::<Decimal128Type>(),
                right.as_primitive::<Decimal128Type>(),
            );
            let quotient = |(one, other): (usize, usize)| short(left.value(one), right.value(other), zeros);
            let numbers = known.map(|places| places.map(quotient).transpose());
            let numbers = numbers.collect::<Result<Vec<Option<i128>>, _>>()?;
            Ok(Arc::new(
                Decimal128Array::from(numbers).with_precision_and_scale(precision, scale)?,
            ))
        }
        DataType::Decimal256(precision, scale) => {
            let zeros = zeros(left, right, scale);
            let (left, right) = (
                left.as_primitive::<Decimal256Type>(),
                right.as_primitive::<Decimal256Type>(),
            );
            let quotient = |(one, other): (usize, usize)| wide(left.value(one), right.value(other), zeros);
            let numbers = known.map(|places| places.map(quotient).transpose());
            let numbers = numbers.collect::<Result<Vec<Option<i256>>, _>>()?;
            Ok(Arc::new(
                Decimal256Array::from(numbers).with_precision_and_scale(precision, scale)?,
            ))
        }
        other => Err(ArrowError::InvalidArgumentError(format!(
            "a quotient of decimals that is {other}"
        ))),
    }
}

/// How many zeros what is divided gets, or loses, for a quotient of this scale.
fn zeros(left: &dyn Array, right: &dyn Array, scale: i8) -> i32 {
    let scale_of = |kind: &DataType| match kind {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => i32::from(*scale),
        _ => 0,
    };
    i32::from(scale) - scale_of(left.data_type()) + scale_of(right.data_type())
}

fn short(one: i128, other: i128, zeros: i32) -> Result<i128, ArrowError> {
    if other == 0 {
        return Err(ArrowError::DivideByZero);
    }
    let power = u32::try_from(zeros).ok().and_then(|zeros| 10i128.checked_pow(zeros));
    if let Some(longer) = power.and_then(|power| one.checked_mul(power)) {
        return decimal::quotient_128(longer, other).ok_or_else(|| too_long(&DataType::Decimal128(38, 0)));
    }
    let quotient = wide(i256::from_i128(one), i256::from_i128(other), zeros)?;
    quotient.to_i128().ok_or_else(|| too_long(&DataType::Decimal128(38, 0)))
}

fn wide(one: i256, other: i256, zeros: i32) -> Result<i256, ArrowError> {
    if other == i256::ZERO {
        return Err(ArrowError::DivideByZero);
    }
    let power = i256::from_i128(10).checked_pow(zeros.unsigned_abs());
    let (one, other) = match zeros >= 0 {
        true => (power.and_then(|power| one.checked_mul(power)), Some(other)),
        false => (Some(one), power.and_then(|power| other.checked_mul(power))),
    };
    let quotient = one.zip(other).and_then(|(one, other)| decimal::quotient(one, other));
    quotient.ok_or_else(|| too_long(&DataType::Decimal256(76, 0)))
}
