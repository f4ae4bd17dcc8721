//! Row fields of fixed width: numbers, booleans, times, intervals, FixedSizeBinary and Null.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, NullArray, NullBufferBuilder, make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::{ArrowNativeType, DataType, IntervalDayTime, IntervalMonthDayNano, IntervalUnit, i256};

use super::bytes::copy;
use super::{Column, Target, VALUE, damaged};
use crate::Result;

/// How an Arrow array stores a type's values, and their payloads, which compare like the values.
trait Stored {
    type Native: ArrowNativeType;
    type Payload;

    fn to_payload(value: Self::Native, flip: u8) -> Self::Payload;

    /// `None` if no value has this payload.
    fn from_payload(payload: Self::Payload, flip: u8) -> Option<Self::Native>;
}

/// Runs `$body` with `$stored` as the storage of the type, or `$other` if it isn't stored as a
/// number. Many types are stored alike, so this gives less code than one case for each.
macro_rules! with_stored {
    ($data_type:expr, $stored:ident => $body:expr, $other:pat => $otherwise:expr $(,)?) => {{
        macro_rules! stored {
            ($as:ty) => {{
                type $stored = $as;
                $body
            }};
        }
        use DataType::*;
        match $data_type {
            Int8 => stored!(i8),
            Int16 => stored!(i16),
            Int32 | Date32 | Time32(_) | Decimal32(..) | Interval(IntervalUnit::YearMonth) => {
                stored!(i32)
            }
            Int64 | Date64 | Time64(_) | Timestamp(..) | Duration(_) | Decimal64(..) => {
                stored!(i64)
            }
            Decimal128(..) => stored!(i128),
            Decimal256(..) => stored!(i256),
            UInt8 => stored!(u8),
            UInt16 => stored!(u16),
            UInt32 => stored!(u32),
            UInt64 => stored!(u64),
            Float16 => stored!(Half),
            Float32 => stored!(f32),
            Float64 => stored!(f64),
            Interval(IntervalUnit::DayTime) => stored!(IntervalDayTime),
            Interval(IntervalUnit::MonthDayNano) => stored!(IntervalMonthDayNano),
            $other => $otherwise,
        }
    }};
}

macro_rules! integers {
    ($($int:ty, $word:ty, $sign:expr;)*) => {$(
        impl Stored for $int {
            type Native = $int;
            type Payload = [u8; size_of::<$int>()];

            #[inline(always)]
            fn to_payload(value: $int, flip: u8) -> Self::Payload {
                let flip = <$word>::from_ne_bytes([flip; size_of::<$int>()]);
                (value as $word ^ $sign ^ flip).to_be_bytes()
            }

            #[inline(always)]
            fn from_payload(payload: Self::Payload, flip: u8) -> Option<$int> {
                let flip = <$word>::from_ne_bytes([flip; size_of::<$int>()]);
                Some((<$word>::from_be_bytes(payload) ^ $sign ^ flip) as $int)
            }
        }
    )*};
}

integers! {
    i8, u8, 1 << 7;
    i16, u16, 1 << 15;
    i32, u32, 1 << 31;
    i64, u64, 1 << 63;
    i128, u128, 1 << 127;
    u8, u8, 0;
    u16, u16, 0;
    u32, u32, 0;
    u64, u64, 0;
}

/// A 16 bit float, of which only the bits are needed.
struct Half;

macro_rules! floats {
    ($($float:ty, $native:ty, $word:ty, $nan:expr, $to_bits:expr, $from_bits:expr;)*) => {$(
        impl Stored for $float {
            type Native = $native;
            type Payload = [u8; size_of::<$word>()];

            #[inline(always)]
            fn to_payload(value: $native, flip: u8) -> Self::Payload {
                const SIGN: $word = 1 << (<$word>::BITS - 1);
                // The quiet NaN without its lowest bit.
                const INFINITY: $word = $nan & ($nan - 1);
                let bits = $to_bits(value);
                let bits = match bits & !SIGN {
                    0 => 0,
                    magnitude if magnitude > INFINITY => $nan,
                    _ => bits,
                };
                let ordered = if bits & SIGN == 0 { bits | SIGN } else { !bits };
                <$word>::to_payload(ordered, flip)
            }

            #[inline(always)]
            fn from_payload(payload: Self::Payload, flip: u8) -> Option<$native> {
                const SIGN: $word = 1 << (<$word>::BITS - 1);
                let ordered = <$word>::from_payload(payload, flip)?;
                let bits = if ordered & SIGN == 0 { !ordered } else { ordered & !SIGN };
                Some($from_bits(bits))
            }
        }
    )*};
}

floats! {
    Half, u16, u16, 0x7e00, std::convert::identity, std::convert::identity;
    f32, f32, u32, 0x7fc0_0000, f32::to_bits, f32::from_bits;
    f64, f64, u64, 0x7ff8_0000_0000_0000, f64::to_bits, f64::from_bits;
}

impl Stored for i256 {
    type Native = i256;
    type Payload = [u8; 32];

    #[inline(always)]
    fn to_payload(value: i256, flip: u8) -> Self::Payload {
        let mut payload = value.to_be_bytes();
        payload[0] ^= 1 << 7;
        payload.map(|byte| byte ^ flip)
    }

    #[inline(always)]
    fn from_payload(payload: Self::Payload, flip: u8) -> Option<i256> {
        let mut bytes = payload.map(|byte| byte ^ flip);
        bytes[0] ^= 1 << 7;
        Some(i256::from_be_bytes(bytes))
    }
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const DAY_NS: i128 = DAY_MS as i128 * 1_000_000;
const MONTH_DAYS: i128 = 30;

impl Stored for IntervalDayTime {
    type Native = IntervalDayTime;
    type Payload = [u8; 12];

    fn to_payload(value: IntervalDayTime, flip: u8) -> Self::Payload {
        let length = i64::from(value.days) * DAY_MS + i64::from(value.milliseconds);
        let mut payload = [0; 12];
        payload[..8].copy_from_slice(&i64::to_payload(length, flip));
        payload[8..].copy_from_slice(&i32::to_payload(value.days, flip));
        payload
    }

    fn from_payload(payload: Self::Payload, flip: u8) -> Option<IntervalDayTime> {
        let length = i64::from_payload(payload[..8].try_into().ok()?, flip)?;
        let days = i32::from_payload(payload[8..].try_into().ok()?, flip)?;
        let milliseconds = length.checked_sub(i64::from(days) * DAY_MS)?;
        Some(IntervalDayTime {
            days,
            milliseconds: milliseconds.try_into().ok()?,
        })
    }
}

impl Stored for IntervalMonthDayNano {
    type Native = IntervalMonthDayNano;
    type Payload = [u8; 20];

    /// No interval is longer than 2^83 nanoseconds: of the length's 16 bytes 12 do.
    fn to_payload(value: IntervalMonthDayNano, flip: u8) -> Self::Payload {
        let days = i128::from(value.months) * MONTH_DAYS + i128::from(value.days);
        let length = days * DAY_NS + i128::from(value.nanoseconds);
        let mut payload = [0; 20];
        payload[..12].copy_from_slice(&length.to_be_bytes()[4..]);
        payload[0] ^= 1 << 7;
        payload[..12].iter_mut().for_each(|byte| *byte ^= flip);
        payload[12..16].copy_from_slice(&i32::to_payload(value.months, flip));
        payload[16..].copy_from_slice(&i32::to_payload(value.days, flip));
        payload
    }

    fn from_payload(payload: Self::Payload, flip: u8) -> Option<IntervalMonthDayNano> {
        let mut length = [0; 16];
        length[..12].copy_from_slice(&payload[..12]);
        length[..12].iter_mut().for_each(|byte| *byte ^= flip);
        length[0] ^= 1 << 7;
        let length = i128::from_be_bytes(length) >> 32;
        let months = i32::from_payload(payload[12..16].try_into().ok()?, flip)?;
        let days = i32::from_payload(payload[16..].try_into().ok()?, flip)?;
        let whole_days = i128::from(months) * MONTH_DAYS + i128::from(days);
        let nanoseconds = length - whole_days * DAY_NS;
        Some(IntervalMonthDayNano {
            months,
            days,
            nanoseconds: nanoseconds.try_into().ok()?,
        })
    }
}

/// The payload's bytes, `None` for a type that isn't of fixed width.
pub(super) fn width_of(data_type: &DataType) -> Option<usize> {
    with_stored!(data_type, S => Some(size_of::<<S as Stored>::Payload>()), other => match other {
        Null => Some(0),
        Boolean => Some(1),
        FixedSizeBinary(width @ 1..) => Some(*width as usize),
        _ => None,
    })
}

/// Writes a column whose type [`width_of`] knows.
pub(super) fn write(array: &ArrayRef, null: u8, flip: u8, target: Target<'_>) {
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
    with_stored!(array.data_type(), S => {
        let data = array.to_data();
        let values = data.buffer::<<S as Stored>::Native>(0)[..array.len()].iter();
        write_payloads(values.map(|value| S::to_payload(*value, flip)), nulls, null, target);
    }, other => match other {
        Boolean => {
            let bits = array.as_boolean().values().iter();
            write_payloads(bits.map(|bit| [u8::from(bit) ^ flip]), nulls, null, target);
        }
        FixedSizeBinary(width) => {
            let width = *width as usize;
            let values = array.as_fixed_size_binary().value_data().chunks_exact(width);
            target.each(1 + width, values.enumerate(), |(row, value), slot| {
                if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                    slot[0] = VALUE;
                    copy(value, flip, &mut slot[1..]);
                } else {
                    slot[0] = null;
                }
            });
        }
        Null => target.each(1, 0..array.len(), |_, slot| slot[0] = null),
        other => unreachable!("{other} isn't of fixed width"),
    })
}

/// Writes markers and payloads; slots are zero where nothing is written.
#[inline(always)]
fn write_payloads<const WIDTH: usize>(
    payloads: impl Iterator<Item = [u8; WIDTH]>,
    nulls: Option<&NullBuffer>,
    null: u8,
    target: Target<'_>,
) {
    match nulls {
        None => target.each(1 + WIDTH, payloads, |payload, slot| {
            slot[0] = VALUE;
            slot[1..].copy_from_slice(&payload);
        }),
        Some(nulls) => {
            target.each(1 + WIDTH, payloads.zip(nulls.iter()), |(payload, valid), slot| {
                slot[0] = if valid { VALUE } else { null };
                if valid {
                    slot[1..].copy_from_slice(&payload);
                }
            });
        }
    }
}

/// Takes a column whose type [`width_of`] knows off the front of every row.
pub(super) fn decode(column: &Column, rest: &mut [&[u8]]) -> Result<ArrayRef> {
    Ok(with_stored!(&column.data_type, S => {
        let (values, nulls) = take_values::<S, _>(column, rest)?;
        let data = ArrayData::builder(column.data_type.clone())
            .len(rest.len())
            .nulls(nulls)
            .add_buffer(Buffer::from_vec(values));
        make_array(data.build()?)
    }, other => match other {
        Boolean => {
            let (bytes, nulls) = take_values::<u8, _>(column, rest)?;
            if bytes.iter().any(|byte| *byte > 1) {
                return Err(damaged("a boolean is neither true nor false"));
            }
            let bits = BooleanBuffer::collect_bool(bytes.len(), |row| bytes[row] != 0);
            Arc::new(BooleanArray::new(bits, nulls))
        }
        FixedSizeBinary(width) => {
            let (bytes, nulls) = take_bytes(column, *width as usize, rest)?;
            Arc::new(FixedSizeBinaryArray::try_new(*width, bytes.into(), nulls)?)
        }
        Null => {
            let (_, nulls) = take_bytes(column, 0, rest)?;
            if nulls.map_or(0, |nulls| nulls.null_count()) < rest.len() {
                return Err(damaged("a value where only nulls can be"));
            }
            Arc::new(NullArray::new(rest.len()))
        }
        other => unreachable!("{other} isn't of fixed width"),
    }))
}

fn take_values<S: Stored<Payload = [u8; WIDTH]>, const WIDTH: usize>(
    column: &Column,
    rest: &mut [&[u8]],
) -> Result<(Vec<S::Native>, Option<NullBuffer>)> {
    let mut values = Vec::with_capacity(rest.len());
    let mut nulls = Nulls::with_capacity(rest.len());
    for row in rest {
        let (valid, after) = take_marker(column, row)?;
        let Some((payload, after)) = after.split_first_chunk::<WIDTH>() else {
            return Err(damaged("it is shorter than its fields"));
        };
        *row = after;
        if valid {
            let value = S::from_payload(*payload, column.flip).ok_or_else(|| damaged("an interval is out of range"))?;
            values.push(value);
            nulls.push(true);
        } else {
            values.push(S::Native::default());
            nulls.push(false);
        }
    }
    Ok((values, nulls.finish()))
}

/// As [`take_values`], of a width that is known only now.
fn take_bytes(column: &Column, width: usize, rest: &mut [&[u8]]) -> Result<(Vec<u8>, Option<NullBuffer>)> {
    let mut values = Vec::with_capacity(rest.len() * width);
    let mut nulls = Nulls::with_capacity(rest.len());
    for row in rest {
        let (valid, after) = take_marker(column, row)?;
        let Some((payload, after)) = after.split_at_checked(width) else {
            return Err(damaged("it is shorter than its fields"));
        };
        *row = after;
        let flip = if valid { column.flip } else { 0 };
        values.extend(payload.iter().map(|byte| byte ^ flip));
        nulls.push(valid);
    }
    Ok((values, nulls.finish()))
}

/// Whether the field at the front of a row is a value, and what follows its marker.
#[inline(always)]
pub(super) fn take_marker<'a>(column: &Column, row: &'a [u8]) -> Result<(bool, &'a [u8])> {
    match row.split_first() {
        Some((&VALUE, after)) => Ok((true, after)),
        Some((marker, after)) if *marker == column.null => Ok((false, after)),
        Some(_) => Err(damaged("a field begins with an unknown marker")),
        None => Err(damaged("it is shorter than its fields")),
    }
}

/// Collects which rows are nulls, with next to no work while there are none.
pub(super) struct Nulls {
    builder: NullBufferBuilder,
    /// Values behind the last null.
    values: usize,
}

impl Nulls {
    pub(super) fn with_capacity(rows: usize) -> Self {
        Self {
            builder: NullBufferBuilder::new(rows),
            values: 0,
        }
    }

    #[inline(always)]
    pub(super) fn push(&mut self, valid: bool) {
        if valid {
            self.values += 1;
        } else {
            self.builder.append_n_non_nulls(std::mem::take(&mut self.values));
            self.builder.append_null();
        }
    }

    /// `None` without nulls.
    pub(super) fn finish(mut self) -> Option<NullBuffer> {
        self.builder.append_n_non_nulls(self.values);
        self.builder.finish()
    }
}
