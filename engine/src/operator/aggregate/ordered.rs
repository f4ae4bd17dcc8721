//! Values as plain things that compare like them: 64-bit words, 128-bit words, or bytes.
//!
//! Minima, maxima and sets of values are kept in one of these three forms, whatever the type of
//! the column: numbers, times and booleans as words, wide decimals as 128-bit words, all else as
//! the row codec's bytes. Equal values (-0.0 and 0.0, any two NaNs) are equal things; NaN is above
//! infinity.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, ArrowNativeTypeOp, AsArray, BooleanArray, make_array};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, IntervalUnit, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};

use crate::operator::codec::{Reader, write_bytes, write_i64, write_i128};
use crate::row::{RowCodec, Rows};
use crate::{Error, Result};

/// A column in its ordered form. At null rows the things mean nothing.
pub(super) enum Ordered {
    Words(ScalarBuffer<i64>),
    Wides(ScalarBuffer<i128>),
    Bytes(Rows),
}

/// Turns columns of one type into their ordered form and back.
pub(super) struct OrderedForm {
    data_type: DataType,
    form: Form,
}

#[derive(Clone)]
pub(super) enum Form {
    Words,
    Wides,
    Bytes(RowCodec),
}

/// One value in its ordered form.
pub(super) trait Thing: Ord + Clone + Send + 'static {
    /// What a column gives.
    type Borrowed: Ord + ?Sized;

    fn from_borrowed(borrowed: &Self::Borrowed) -> Self;
    /// The value in a map, and what the map says of it.
    fn find<'a, V>(map: &'a mut BTreeMap<Self, V>, borrowed: &Self::Borrowed) -> Option<(Self, &'a mut V)>;
    fn compare(&self, other: &Self::Borrowed) -> Ordering;
    fn write(&self, out: &mut Vec<u8>);
    fn read(saved: &mut Reader<'_>) -> Result<Self>;
    /// Memory beyond the struct itself.
    fn extra_bytes(&self) -> usize {
        0
    }
}

impl Thing for i64 {
    type Borrowed = i64;

    #[inline(always)]
    fn from_borrowed(borrowed: &i64) -> Self {
        *borrowed
    }

    fn find<'a, V>(map: &'a mut BTreeMap<Self, V>, borrowed: &i64) -> Option<(Self, &'a mut V)> {
        map.get_mut(borrowed).map(|found| (*borrowed, found))
    }

    #[inline(always)]
    fn compare(&self, other: &i64) -> Ordering {
        self.cmp(other)
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_i64(*self, out);
    }

    fn read(saved: &mut Reader<'_>) -> Result<Self> {
        saved.i64()
    }
}

impl Thing for i128 {
    type Borrowed = i128;

    #[inline(always)]
    fn from_borrowed(borrowed: &i128) -> Self {
        *borrowed
    }

    fn find<'a, V>(map: &'a mut BTreeMap<Self, V>, borrowed: &i128) -> Option<(Self, &'a mut V)> {
        map.get_mut(borrowed).map(|found| (*borrowed, found))
    }

    #[inline(always)]
    fn compare(&self, other: &i128) -> Ordering {
        self.cmp(other)
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_i128(*self, out);
    }

    fn read(saved: &mut Reader<'_>) -> Result<Self> {
        saved.i128()
    }
}

/// Shared, since a set keeps a value in its map and in its list of changes.
impl Thing for Arc<[u8]> {
    type Borrowed = [u8];

    fn from_borrowed(borrowed: &[u8]) -> Self {
        borrowed.into()
    }

    fn find<'a, V>(map: &'a mut BTreeMap<Self, V>, borrowed: &[u8]) -> Option<(Self, &'a mut V)> {
        let at = (Bound::Included(borrowed), Bound::Included(borrowed));
        map.range_mut::<[u8], _>(at)
            .next()
            .map(|(value, found)| (value.clone(), found))
    }

    fn compare(&self, other: &[u8]) -> Ordering {
        self.as_ref().cmp(other)
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_bytes(self, out);
    }

    fn read(saved: &mut Reader<'_>) -> Result<Self> {
        Ok(saved.bytes()?.into())
    }

    fn extra_bytes(&self) -> usize {
        self.len() + 16
    }
}

impl OrderedForm {
    /// # Errors
    /// If values of the type have no order that state can keep.
    pub fn new(data_type: &DataType) -> Result<Self> {
        use DataType::*;
        let form = match data_type {
            Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 => Form::Words,
            Float32 | Float64 | Date32 | Date64 | Time32(_) | Time64(_) => Form::Words,
            Timestamp(_, _) | Duration(_) | Interval(IntervalUnit::YearMonth) => Form::Words,
            Decimal32(_, _) | Decimal64(_, _) => Form::Words,
            Decimal128(_, _) => Form::Wides,
            other => Form::Bytes(RowCodec::for_types(std::slice::from_ref(other))?),
        };
        Ok(Self {
            data_type: data_type.clone(),
            form,
        })
    }

    pub fn form(&self) -> &Form {
        &self.form
    }

    /// A column's values.
    ///
    /// # Errors
    /// If the column isn't of the type.
    pub fn encode(&self, array: &ArrayRef) -> Result<Ordered> {
        if array.data_type() != &self.data_type {
            return Err(Error::internal(format!(
                "a column of type {} where {} belongs",
                array.data_type(),
                self.data_type
            )));
        }
        Ok(match &self.form {
            Form::Words => Ordered::Words(words(array)?),
            Form::Wides => Ordered::Wides(native::<i128>(array)),
            Form::Bytes(codec) => Ordered::Bytes(codec.encode(std::slice::from_ref(array), array.len())?),
        })
    }

    /// The column of these words; NULL for none.
    pub fn decode_words(&self, values: &[Option<i64>]) -> Result<ArrayRef> {
        use DataType::*;
        let of = |value: &Option<i64>| value.unwrap_or_default();
        let buffer: Buffer = match &self.data_type {
            Boolean => {
                let values = values.iter().map(|value| value.map(|word| word != 0));
                return Ok(Arc::new(values.collect::<BooleanArray>()));
            }
            Int8 | UInt8 => values.iter().map(|value| of(value) as i8).collect(),
            Int16 | UInt16 => values.iter().map(|value| of(value) as i16).collect(),
            UInt64 => values.iter().map(|value| of(value) ^ i64::MIN).collect(),
            Float32 => values.iter().map(|value| unsorted_32(of(value) as i32)).collect(),
            Float64 => values.iter().map(|value| unsorted_64(of(value))).collect(),
            narrow if narrow.primitive_width() == Some(4) => values.iter().map(|value| of(value) as i32).collect(),
            _ => values.iter().map(of).collect(),
        };
        self.of_buffer(buffer, values.iter().map(Option::is_some).collect())
    }

    /// As [`OrderedForm::decode_words`].
    pub fn decode_wides(&self, values: &[Option<i128>]) -> Result<ArrayRef> {
        let buffer = values.iter().map(|value| value.unwrap_or_default()).collect();
        self.of_buffer(buffer, values.iter().map(Option::is_some).collect())
    }

    /// As [`OrderedForm::decode_words`].
    pub fn decode_bytes(&self, codec: &RowCodec, values: &[Option<&[u8]>]) -> Result<ArrayRef> {
        let null = arrow::array::new_null_array(&self.data_type, 1);
        let null = codec.encode(&[null], 1)?;
        let rows = values.iter().map(|value| value.unwrap_or(null.row(0)));
        let column = codec.decode(rows)?.pop();
        column.ok_or_else(|| Error::internal("a row codec without a column"))
    }

    fn of_buffer(&self, buffer: Buffer, valid: NullBuffer) -> Result<ArrayRef> {
        let data = ArrayData::builder(self.data_type.clone())
            .len(valid.len())
            .add_buffer(buffer)
            .nulls(Some(valid))
            .build()?;
        Ok(make_array(data))
    }
}

fn words(array: &ArrayRef) -> Result<ScalarBuffer<i64>> {
    use DataType::*;
    Ok(match array.data_type() {
        Boolean => {
            let values = array.as_boolean().values();
            values.iter().map(i64::from).collect()
        }
        Int8 => array
            .as_primitive::<Int8Type>()
            .values()
            .iter()
            .map(|v| i64::from(*v))
            .collect(),
        Int16 => array
            .as_primitive::<Int16Type>()
            .values()
            .iter()
            .map(|v| i64::from(*v))
            .collect(),
        UInt8 => array
            .as_primitive::<UInt8Type>()
            .values()
            .iter()
            .map(|v| i64::from(*v))
            .collect(),
        UInt16 => array
            .as_primitive::<UInt16Type>()
            .values()
            .iter()
            .map(|v| i64::from(*v))
            .collect(),
        UInt32 => array
            .as_primitive::<UInt32Type>()
            .values()
            .iter()
            .map(|v| i64::from(*v))
            .collect(),
        UInt64 => {
            let values = array.as_primitive::<UInt64Type>().values();
            values.iter().map(|value| *value as i64 ^ i64::MIN).collect()
        }
        Float32 => {
            let values = array.as_primitive::<Float32Type>().values();
            values.iter().map(|value| i64::from(sorted_32(*value))).collect()
        }
        Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            values.iter().map(|value| sorted_64(*value)).collect()
        }
        narrow if narrow.primitive_width() == Some(4) => {
            native::<i32>(array).iter().map(|value| i64::from(*value)).collect()
        }
        wide if wide.primitive_width() == Some(8) => native::<i64>(array),
        other => return Err(Error::internal(format!("{other} isn't kept as words"))),
    })
}

/// The values of an array of primitives as they lie in memory.
fn native<T: ArrowNativeTypeOp>(array: &ArrayRef) -> ScalarBuffer<T> {
    let data = array.to_data();
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}

/// Bits that compare as the floats do: those of negative ones, sign apart, are turned round.
fn sorted_64(value: f64) -> i64 {
    let value = if value.is_nan() { f64::NAN } else { value + 0.0 };
    let bits = value.to_bits() as i64;
    bits ^ ((bits >> 63) & i64::MAX)
}

fn unsorted_64(bits: i64) -> i64 {
    bits ^ ((bits >> 63) & i64::MAX)
}

fn sorted_32(value: f32) -> i32 {
    let value = if value.is_nan() { f32::NAN } else { value + 0.0 };
    let bits = value.to_bits() as i32;
    bits ^ ((bits >> 31) & i32::MAX)
}

fn unsorted_32(bits: i32) -> i32 {
    bits ^ ((bits >> 31) & i32::MAX)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int64Array, StringArray,
        TimestampMicrosecondArray, UInt64Array,
    };

    use super::*;

    /// The values, given ascending and at last NULL, keep their order and come back.
    fn check(array: ArrayRef) {
        let form = OrderedForm::new(array.data_type()).unwrap();
        let filled = array.len() - 1;
        let back = match form.encode(&array).unwrap() {
            Ordered::Words(words) => {
                assert!(words[..filled].is_sorted_by(|a, b| a < b), "{array:?}");
                let values: Vec<_> = (0..=filled).map(|row| (row < filled).then(|| words[row])).collect();
                form.decode_words(&values)
            }
            Ordered::Wides(wides) => {
                assert!(wides[..filled].is_sorted_by(|a, b| a < b), "{array:?}");
                let values: Vec<_> = (0..=filled).map(|row| (row < filled).then(|| wides[row])).collect();
                form.decode_wides(&values)
            }
            Ordered::Bytes(rows) => {
                let Form::Bytes(codec) = form.form() else {
                    panic!("bytes of another form")
                };
                let values: Vec<_> = (0..=filled).map(|row| (row < filled).then(|| rows.row(row))).collect();
                assert!(values[..filled].is_sorted_by(|a, b| a < b), "{array:?}");
                form.decode_bytes(codec, &values)
            }
        };
        assert_eq!(&back.unwrap(), &array);
    }

    #[test]
    fn values_keep_their_order_and_come_back() {
        check(Arc::new(Int64Array::from(vec![
            Some(i64::MIN),
            Some(-1),
            Some(i64::MAX),
            None,
        ])));
        check(Arc::new(Int8Array::from(vec![Some(-128), Some(-1), Some(127), None])));
        check(Arc::new(UInt64Array::from(vec![
            Some(0),
            Some(1 << 63),
            Some(u64::MAX),
            None,
        ])));
        check(Arc::new(BooleanArray::from(vec![Some(false), Some(true), None])));
        check(Arc::new(Date32Array::from(vec![Some(-3), Some(0), Some(20_000), None])));
        check(Arc::new(Float64Array::from(vec![
            Some(f64::NEG_INFINITY),
            Some(-1.5),
            Some(-5e-324),
            Some(0.0),
            Some(1e300),
            Some(f64::INFINITY),
            Some(f64::NAN),
            None,
        ])));
        check(Arc::new(Float32Array::from(vec![
            Some(-1.5),
            Some(0.0),
            Some(f32::NAN),
            None,
        ])));
        check(Arc::new(
            TimestampMicrosecondArray::from(vec![Some(-1), Some(0), Some(1), None]).with_timezone("UTC"),
        ));
        check(Arc::new(
            Decimal128Array::from(vec![Some(-5), Some(0), Some(10i128.pow(37)), None])
                .with_precision_and_scale(38, 3)
                .unwrap(),
        ));
        check(Arc::new(StringArray::from(vec![
            Some(""),
            Some("a"),
            Some("a\0"),
            Some("b"),
            None,
        ])));
    }

    #[test]
    fn zeros_and_nans_are_one_value_each() {
        assert_eq!(sorted_64(-0.0), sorted_64(0.0));
        assert_eq!(sorted_64(-f64::NAN), sorted_64(f64::NAN));
        assert_eq!(sorted_32(-0.0), sorted_32(0.0));
    }
}
