//! Casts that are done otherwise than in DataFusion, which cuts, loses digits or spells otherwise.
//!
//! - A fraction that becomes a whole number is rounded: a DECIMAL from halfway away from zero, a float from
//!   halfway to the even number, both as in PostgreSQL. What its type can't hold is an error.
//! - A float becomes a DECIMAL by the digits that it is sure to have (15, or 6 of a REAL), rounded.
//! - A DECIMAL becomes the float that is nearest.
//! - Text becomes BYTEA by PostgreSQL's spelling, `\x00ff` or with octal escapes, and BYTEA becomes the former
//!   ([`bytes`]). The difference of two times is an INTERVAL of days and time. Text and INTERVAL become each other as
//!   PostgreSQL spells them ([`interval`]).
//! - Text becomes a date or time as in records ([`moments`]).
//! - JSON and other types become each other ([`json`]), text and arrays as well ([`arrays`]), and a struct becomes
//!   another by the order of its fields ([`structs`]).
//! - Text and floats become each other as PostgreSQL spells them, and a number that its type comes
//!   only infinitely near is an error.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Decimal256Array, FixedSizeBinaryBuilder, PrimitiveArray, StringArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    TimestampMicrosecondType, i256,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use weir_engine::format::json::value::JSON;
use weir_engine::format::uuid::{self, UUID};
use weir_engine::format::{interval, sql_type};
use weir_engine::{decimal, float};

use super::moments;
use super::operation::is_float;
use super::{arrays, bytes, json, structs};
use crate::plan::templates;
use crate::plan::templates::show::{self, Kind};

pub(super) const STRICT: CastOptions<'static> = CastOptions {
    safe: false,
    format_options: FormatOptions::new(),
};

/// Whether a cast is one of these.
pub fn is_ours(from: &DataType, to: &DataType) -> bool {
    match from {
        &JSON => *to != JSON && json::is_target(to),
        DataType::Utf8 | DataType::Utf8View => {
            is_float(to)
                || moments::is_read(to)
                || matches!(to, DataType::Binary | DataType::Interval(_))
                || *to == UUID
                || *to == JSON
                || arrays::is_read(to)
        }
        DataType::List(_) => *to == DataType::Utf8 && arrays::is_spelled(from),
        DataType::Struct(fields) => structs::are_taken(fields, to),
        DataType::Time64(TimeUnit::Microsecond) => *to == DataType::Utf8,
        DataType::FixedSizeBinary(16) | DataType::Interval(_) | DataType::Binary => *to == DataType::Utf8,
        DataType::Duration(_) => *to == DataType::Utf8 || *to == DataType::Interval(IntervalUnit::MonthDayNano),
        from if is_float(from) => {
            *to == DataType::Utf8
                || to.is_integer()
                || to.is_decimal()
                || (*from == DataType::Float64 && *to == DataType::Float32)
        }
        DataType::Timestamp(_, zone) => *to == DataType::Utf8 && zone.as_deref().is_none_or(|zone| zone == "+00:00"),
        DataType::Decimal128(..) => to.is_integer() || *to == DataType::Float64,
        _ => false,
    }
}

/// The column as another type, where [`is_ours`].
pub fn converted(value: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    match (value.data_type(), to) {
        (&JSON, to) => json::taken(value, to),
        (_, &JSON) => json::read(value),
        (DataType::List(_), _) => arrays::spelled(value),
        (_, DataType::List(field)) => arrays::read(value, field),
        (DataType::Struct(_), DataType::Struct(fields)) => structs::taken(value, fields),
        (DataType::Time64(_), _) => Ok(moments::times_of_day_as_text(value)),
        (from, DataType::Utf8) if from.is_floating() => spelled(value),
        (DataType::Float64, DataType::Float32) => {
            let column = value.as_primitive::<Float64Type>();
            let narrow = |wide: f64| match wide as f32 {
                narrow if narrow.is_infinite() && wide.is_finite() => {
                    Err(misfit(&format!("{wide:?}"), to, "it is out of range"))
                }
                narrow => Ok(narrow),
            };
            Ok(Arc::new(column.try_unary::<_, Float32Type, _>(narrow)?))
        }
        (DataType::Timestamp(..), _) => times_as_text(value),
        (DataType::FixedSizeBinary(_), _) => Ok(uuids_as_text(value)),
        (_, DataType::FixedSizeBinary(_)) => text_as_uuids(value, to),
        (_, DataType::Binary) => bytes::read(value),
        (DataType::Binary, _) => Ok(bytes::spelled(value)),
        (DataType::Interval(_) | DataType::Duration(_), DataType::Utf8) => intervals_as_text(value),
        (DataType::Duration(_), _) => interval::of(value),
        (_, DataType::Interval(_)) => text_as_intervals(value, to),
        (from, to) if from.is_string() && moments::is_read(to) => moments::read(value, to),
        (from, to) if from.is_floating() && to.is_decimal() => floats_as_decimals(value, to),
        (from, to) if from.is_floating() => whole(value, to),
        (DataType::Decimal128(_, scale), DataType::Float64) => decimals_as_floats(value, *scale),
        (DataType::Decimal128(_, scale), to) => whole_of_decimals(value, *scale, to),
        _ => read(value, to),
    }
}

/// Floats as text.
fn spelled(value: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = FormatOptions::new();
    let formatter = ArrayFormatter::try_new(value.as_ref(), &options)?;
    let wide = cast_with_options(value, &DataType::Float64, &STRICT)?;
    let wide = wide.as_primitive::<Float64Type>();
    let text = |row: usize| -> Result<Option<String>, ArrowError> {
        if value.is_null(row) {
            return Ok(None);
        }
        match float::word(wide.value(row)) {
            Some(word) => Ok(Some(word.to_string())),
            None => formatter.value(row).try_to_string().map(Some),
        }
    };
    let texts = (0..value.len())
        .map(text)
        .collect::<Result<StringArray, ArrowError>>()?;
    Ok(Arc::new(texts))
}

/// Text as floats.
fn read(value: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let text = cast_with_options(value, &DataType::Utf8, &STRICT)?;
    let texts = text.as_string::<i32>();
    let parse = |text: &str| float::parse(text).map_err(|why| misfit(text, to, why));
    let wide = texts.iter().map(|text| text.map(parse).transpose());
    let wide: ArrayRef = Arc::new(wide.collect::<Result<PrimitiveArray<Float64Type>, ArrowError>>()?);
    match to {
        DataType::Float64 => Ok(wide),
        _ => converted(&wide, to),
    }
}

pub(super) fn misfit(value: &str, to: &DataType, why: &str) -> ArrowError {
    ArrowError::CastError(format!("'{value}' is no {}: {why}", sql_type(to)))
}

/// Timestamps as PostgreSQL writes them; those of a TIMESTAMPTZ in UTC.
fn times_as_text(value: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let is_moment = matches!(value.data_type(), DataType::Timestamp(_, Some(_)));
    let micros = cast_with_options(value, &DataType::Timestamp(TimeUnit::Microsecond, None), &STRICT)?;
    let template = templates::parse("YYYY-MM-DD HH24:MI:SS").map_err(ArrowError::CastError)?;
    let text = |us: i64| {
        let mut text = String::new();
        show::write(&template, us, Kind::Local, &mut text);
        let fraction = us.rem_euclid(1_000_000);
        if fraction > 0 {
            text.push_str(format!(".{fraction:06}").trim_end_matches('0'));
        }
        if is_moment {
            text.push_str("+00");
        }
        text
    };
    let texts = micros.as_primitive::<TimestampMicrosecondType>().iter();
    Ok(Arc::new(texts.map(|us| us.map(text)).collect::<StringArray>()))
}

fn uuids_as_text(value: &ArrayRef) -> ArrayRef {
    let uuids = value.as_fixed_size_binary().iter();
    Arc::new(uuids.map(|bytes| bytes.map(uuid::text)).collect::<StringArray>())
}

fn text_as_uuids(value: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let texts = cast_with_options(value, &DataType::Utf8, &STRICT)?;
    let mut made = FixedSizeBinaryBuilder::with_capacity(texts.len(), 16);
    for text in texts.as_string::<i32>() {
        match text {
            Some(text) => made.append_value(uuid::parse(text).map_err(|why| misfit(text, to, why))?)?,
            None => made.append_null(),
        }
    }
    Ok(Arc::new(made.finish()))
}

fn intervals_as_text(value: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let intervals = interval::of(value)?;
    let texts = intervals.as_primitive::<IntervalMonthDayNanoType>().iter();
    Ok(Arc::new(
        texts.map(|value| value.map(interval::text)).collect::<StringArray>(),
    ))
}

fn text_as_intervals(value: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let texts = cast_with_options(value, &DataType::Utf8, &STRICT)?;
    let read = |text: &str| interval::parse(text).map_err(|why| misfit(text, to, why));
    let read = texts.as_string::<i32>().iter().map(|text| text.map(read).transpose());
    let read = read.collect::<Result<PrimitiveArray<IntervalMonthDayNanoType>, ArrowError>>()?;
    Ok(Arc::new(read))
}

/// A column as another type, for all casts there are.
pub fn column_as(value: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    match is_ours(value.data_type(), to) {
        true => converted(value, to),
        false => cast_with_options(value, to, &STRICT),
    }
}

/// Floats as whole numbers.
fn whole(value: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let wide = cast_with_options(value, &DataType::Float64, &STRICT)?;
    let round = |float: f64| {
        let rounded = float.round_ties_even();
        // Where 128 bits end, all whole numbers have ended.
        match rounded.is_finite() && rounded.abs() < 2f64.powi(100) {
            true => Ok(rounded as i128),
            false => Err(misfit(&spell(float), to, "it is out of range")),
        }
    };
    of_whole_numbers(
        wide.as_primitive::<Float64Type>()
            .try_unary::<_, Decimal128Type, _>(round)?,
        to,
    )
}

/// Decimals as whole numbers.
fn whole_of_decimals(value: &ArrayRef, scale: i8, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let column = value.as_primitive::<Decimal128Type>();
    let unit = u32::try_from(scale).ok().and_then(|digits| 10i128.checked_pow(digits));
    let round = |number: i128| {
        let rounded = unit.and_then(|unit| decimal::quotient_128(number, unit));
        rounded.ok_or_else(|| misfit(&number.to_string(), to, "it is out of range"))
    };
    of_whole_numbers(column.try_unary::<_, Decimal128Type, _>(round)?, to)
}

fn of_whole_numbers(numbers: Decimal128Array, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let range = match to {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        _ => (0, i128::from(u64::MAX)),
    };
    if let Some(other) = numbers
        .iter()
        .flatten()
        .find(|number| *number < range.0 || *number > range.1)
    {
        return Err(misfit(&other.to_string(), to, "it is out of range"));
    }
    let numbers: ArrayRef = Arc::new(numbers.with_precision_and_scale(38, 0)?);
    cast_with_options(&numbers, to, &STRICT)
}

/// Floats as decimals, by the digits that they are sure to have.
fn floats_as_decimals(value: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let digits = match value.data_type() {
        DataType::Float64 => 15,
        _ => 6,
    };
    let wide = cast_with_options(value, &DataType::Float64, &STRICT)?;
    let (precision, scale) = match to {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => (*precision, *scale),
        _ => return Err(misfit("a float", to, "it is no DECIMAL")),
    };
    let number = |float: f64| {
        let number = in_digits(float, digits, scale);
        number.ok_or_else(|| misfit(&spell(float), to, "it is out of range"))
    };
    let numbers = wide.as_primitive::<Float64Type>().iter();
    let numbers: Vec<Option<i256>> = numbers
        .map(|float| float.map(number).transpose())
        .collect::<Result<_, _>>()?;
    if let DataType::Decimal256(..) = to {
        let column = Decimal256Array::from(numbers).with_precision_and_scale(precision, scale)?;
        column.validate_decimal_precision(precision)?;
        return Ok(Arc::new(column));
    }
    let short = |number: Option<i256>| match number {
        Some(number) => number
            .to_i128()
            .map(Some)
            .ok_or_else(|| misfit(&number.to_string(), to, "it is out of range")),
        None => Ok(None),
    };
    let numbers: Vec<Option<i128>> = numbers.into_iter().map(short).collect::<Result<_, _>>()?;
    let column = Decimal128Array::from(numbers).with_precision_and_scale(precision, scale)?;
    column.validate_decimal_precision(precision)?;
    Ok(Arc::new(column))
}

/// A float in units of 10^-scale, by its first digits.
fn in_digits(float: f64, digits: usize, scale: i8) -> Option<i256> {
    if !float.is_finite() {
        return None;
    }
    let text = format!("{float:.*e}", digits - 1);
    let (mantissa, exponent) = text.split_once('e')?;
    let mantissa: i128 = mantissa.replace('.', "").parse().ok()?;
    let exponent = exponent.parse::<i32>().ok()? - (digits as i32 - 1) + i32::from(scale);
    let mantissa = i256::from_i128(mantissa);
    let ten = i256::from_i128(10);
    match u32::try_from(exponent) {
        Ok(_) if mantissa == i256::ZERO => Some(mantissa),
        Ok(power) => mantissa.checked_mul(ten.checked_pow(power)?),
        // Of so few digits nothing is left.
        Err(_) if exponent < -40 => Some(i256::ZERO),
        Err(_) => decimal::quotient(mantissa, ten.checked_pow(exponent.unsigned_abs())?),
    }
}

/// Decimals as floats, each the nearest.
fn decimals_as_floats(value: &ArrayRef, scale: i8) -> Result<ArrayRef, ArrowError> {
    /// Powers of ten up to this one are floats.
    const EXACT_POWER: u32 = 22;
    const EXACT: u128 = 1 << f64::MANTISSA_DIGITS;
    let power = u32::try_from(scale).ok().filter(|scale| *scale <= EXACT_POWER);
    let nearest = |number: i128| match power {
        Some(power) if number.unsigned_abs() <= EXACT => Ok(number as f64 / 10f64.powi(power as i32)),
        _ => {
            let text = format!("{number}e{}", -i32::from(scale));
            text.parse::<f64>()
                .map_err(|_| misfit(&text, &DataType::Float64, "it is not a number"))
        }
    };
    let column = value.as_primitive::<Decimal128Type>();
    Ok(Arc::new(column.try_unary::<_, Float64Type, _>(nearest)?))
}

fn spell(float: f64) -> String {
    float::word(float).map_or_else(|| format!("{float:?}"), str::to_string)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Float32Array, Float64Array};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn text(of: f64) -> String {
        let array: ArrayRef = Arc::new(Float64Array::from(vec![of]));
        converted(&array, &DataType::Utf8)
            .unwrap()
            .as_string::<i32>()
            .value(0)
            .to_string()
    }

    #[test]
    fn floats_are_spelled_and_read_as_postgres_does() {
        assert_eq!(
            [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.5].map(text),
            ["Infinity", "-Infinity", "NaN", "0.5"]
        );
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("-Infinity"), None, Some(" 2.5 ")]));
        let read = converted(&texts, &DataType::Float32).unwrap();
        let read: Vec<Option<f32>> = read.as_primitive::<Float32Type>().iter().collect();
        assert_eq!(read, [Some(f32::NEG_INFINITY), None, Some(2.5)]);
        for (text, to) in [
            ("1e400", DataType::Float64),
            ("1e39", DataType::Float32),
            ("x", DataType::Float64),
        ] {
            let texts: ArrayRef = Arc::new(StringArray::from(vec![text]));
            assert!(converted(&texts, &to).is_err(), "{text}");
        }
    }

    #[test]
    fn fractions_become_whole_numbers_rounded() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![
            Some(0.5),
            Some(1.5),
            Some(2.5),
            Some(-2.5),
            Some(2.6),
            None,
        ]));
        let whole = converted(&floats, &DataType::Int32).unwrap();
        let whole: Vec<Option<i32>> = whole.as_primitive::<Int32Type>().iter().collect();
        assert_eq!(whole, [Some(0), Some(2), Some(2), Some(-2), Some(3), None]);
        let decimals = Decimal128Array::from(vec![5, 15, 25, -25, 24]).with_precision_and_scale(5, 1);
        let decimals: ArrayRef = Arc::new(decimals.unwrap());
        let whole = converted(&decimals, &DataType::Int32).unwrap();
        assert_eq!(whole.as_primitive::<Int32Type>().values(), &[1, 2, 3, -3, 2]);
        for float in [f64::NAN, f64::INFINITY, 2147483647.5, -3e9, 1e300] {
            let column: ArrayRef = Arc::new(Float64Array::from(vec![float]));
            assert!(converted(&column, &DataType::Int32).is_err(), "{float}");
        }
    }

    #[test]
    fn floats_become_decimals_by_their_digits() {
        let to = DataType::Decimal128(20, 2);
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.285, -0.285, 1e15, 0.1 + 0.2, 1e-300, 0.0]));
        let decimals = converted(&floats, &to).unwrap();
        let decimals = decimals.as_primitive::<Decimal128Type>().values().to_vec();
        assert_eq!(decimals, [29, -29, 100_000_000_000_000_000, 30, 0, 0]);
        let short: ArrayRef = Arc::new(Float32Array::from(vec![0.1f32]));
        let decimals = converted(&short, &DataType::Decimal128(38, 10)).unwrap();
        assert_eq!(decimals.as_primitive::<Decimal128Type>().value(0), 1_000_000_000);
        for float in [f64::NAN, f64::NEG_INFINITY, 1e18, 1e300] {
            let column: ArrayRef = Arc::new(Float64Array::from(vec![float]));
            assert!(converted(&column, &to).is_err(), "{float}");
        }
    }

    #[test]
    fn decimals_become_the_nearest_floats() {
        let numbers = vec![1, -25, 90_071_992_547_409_935];
        let decimals = Decimal128Array::from(numbers).with_precision_and_scale(38, 1);
        let decimals: ArrayRef = Arc::new(decimals.unwrap());
        let floats = converted(&decimals, &DataType::Float64).unwrap();
        assert_eq!(
            floats.as_primitive::<Float64Type>().values(),
            &[0.1, -2.5, 9_007_199_254_740_994.0]
        );
    }
}
