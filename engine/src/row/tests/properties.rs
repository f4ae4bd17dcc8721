//! For any values of any types: they come back, their bytes compare like them, and no damage to
//! the bytes makes the codec panic.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_comparator};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, Schema,
};
use proptest::prelude::*;

use super::draw::Draw;
use crate::row::{RowCodec, RowField};

/// How two values compare, nulls last: PostgreSQL's order, equal intervals by months and days.
fn compare(left: &ArrayRef, i: usize, right: &ArrayRef, j: usize) -> Ordering {
    if let DataType::Dictionary(_, values) = left.data_type() {
        let (left, right) = (cast(left, values).unwrap(), cast(right, values).unwrap());
        return compare(&left, i, &right, j);
    }
    match (left.is_null(i), right.is_null(j)) {
        (false, false) => compare_values(left, i, right, j),
        (left, right) => left.cmp(&right),
    }
}

fn compare_values(left: &ArrayRef, i: usize, right: &ArrayRef, j: usize) -> Ordering {
    let float = |a: f64, b: f64| a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()));
    match left.data_type() {
        DataType::Null => Ordering::Equal,
        DataType::Float16 => {
            let widen = |array| cast(array, &DataType::Float32).unwrap();
            compare_values(&widen(left), i, &widen(right), j)
        }
        DataType::Float32 => {
            let value = |array: &ArrayRef, at| f64::from(array.as_primitive::<Float32Type>().value(at));
            float(value(left, i), value(right, j))
        }
        DataType::Float64 => {
            let value = |array: &ArrayRef, at| array.as_primitive::<Float64Type>().value(at);
            float(value(left, i), value(right, j))
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = |array: &ArrayRef, at| {
                let value = array.as_primitive::<IntervalDayTimeType>().value(at);
                let ms = i64::from(value.days) * 86_400_000 + i64::from(value.milliseconds);
                (ms, value.days)
            };
            value(left, i).cmp(&value(right, j))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = |array: &ArrayRef, at| {
                let value = array.as_primitive::<IntervalMonthDayNanoType>().value(at);
                let days = i128::from(value.months) * 30 + i128::from(value.days);
                (
                    days * 86_400_000_000_000 + i128::from(value.nanoseconds),
                    value.months,
                    value.days,
                )
            };
            value(left, i).cmp(&value(right, j))
        }
        DataType::Struct(_) => {
            let columns = left.as_struct().columns().iter().zip(right.as_struct().columns());
            columns
                .map(|(a, b)| compare(a, i, b, j))
                .find(|o| o.is_ne())
                .unwrap_or(Ordering::Equal)
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) | DataType::Map(..) => {
            let (a, b) = (elements(left, i), elements(right, j));
            let both = 0..a.len().min(b.len());
            let first = both.map(|at| compare(&a, at, &b, at)).find(|o| o.is_ne());
            first.unwrap_or(a.len().cmp(&b.len()))
        }
        _ => make_comparator(left, right, SortOptions::default()).unwrap()(i, j),
    }
}

fn elements(array: &ArrayRef, at: usize) -> ArrayRef {
    match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(at),
        DataType::LargeList(_) => array.as_list::<i64>().value(at),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().value(at),
        _ => Arc::new(array.as_map().value(at)),
    }
}

pub(super) fn assert_same(expected: &ArrayRef, actual: &ArrayRef) {
    assert_eq!(expected.data_type(), actual.data_type());
    assert_eq!(expected.len(), actual.len());
    for row in 0..expected.len() {
        let order = compare(expected, row, actual, row);
        assert!(order.is_eq(), "row {row}: {expected:?} became {actual:?}");
    }
}

/// How two rows must compare under the fields' directions.
fn compare_rows(fields: &[RowField], columns: &[ArrayRef], i: usize, j: usize) -> Ordering {
    let mut orders = fields.iter().zip(columns).map(|(field, column)| {
        let null = |at: usize| match column.data_type() {
            DataType::Null => true,
            _ => column.logical_nulls().is_some_and(|nulls| nulls.is_null(at)),
        };
        match (null(i), null(j)) {
            (true, true) => Ordering::Equal,
            (a, b) if a != b => {
                if field.nulls_first {
                    b.cmp(&a)
                } else {
                    a.cmp(&b)
                }
            }
            _ if field.descending => compare(column, j, column, i),
            _ => compare(column, i, column, j),
        }
    });
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn values_come_back(seed: u64, len in 0..20_usize) {
        let (fields, columns) = Draw(seed).fields_and_columns(len);
        let codec = RowCodec::new(fields.clone()).unwrap();
        let rows = codec.encode(&columns, len).unwrap();
        prop_assert_eq!(rows.len(), len);
        if let Some(width) = codec.fixed_width() {
            prop_assert!(rows.iter().all(|row| row.len() == width));
        }
        let decoded = codec.decode(rows.iter()).unwrap();
        for (column, decoded) in columns.iter().zip(&decoded) {
            assert_same(column, decoded);
        }
        let names = fields.iter().map(|f| Field::new("c", f.data_type.clone(), true));
        let schema = Schema::new(names.collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), decoded.clone()).unwrap();
        prop_assert_eq!(codec.encode(&decoded, len).unwrap(), rows);
    }

    #[test]
    fn bytes_compare_like_values(seed: u64) {
        let len = 12;
        let (fields, columns) = Draw(seed).fields_and_columns(len);
        let codec = RowCodec::new(fields.clone()).unwrap();
        let rows = codec.encode(&columns, len).unwrap();
        for i in 0..len {
            for j in 0..len {
                let expected = compare_rows(&fields, &columns, i, j);
                prop_assert_eq!(rows.row(i).cmp(rows.row(j)), expected,
                    "rows {} and {} of {:?}", i, j, columns);
                prop_assert!(expected.is_eq() || !rows.row(i).starts_with(rows.row(j)));
            }
        }
    }

    #[test]
    fn first_fields_are_a_prefix(seed: u64, len in 1..8_usize) {
        let (fields, columns) = Draw(seed).fields_and_columns(len);
        let codec = RowCodec::new(fields.clone()).unwrap();
        let rows = codec.encode(&columns, len).unwrap();
        for count in 0..=fields.len() {
            let prefix = RowCodec::new(fields[..count].to_vec()).unwrap();
            let prefixes = prefix.encode(&columns[..count], len).unwrap();
            for (row, prefix) in rows.iter().zip(prefixes.iter()) {
                prop_assert_eq!(&row[..codec.prefix_len(row, count).unwrap()], prefix);
            }
        }
    }

    #[test]
    fn damaged_bytes_never_panic(seed: u64, at: usize, byte: u8, cut: bool) {
        let mut draw = Draw(seed);
        let (fields, columns) = draw.fields_and_columns(3);
        let codec = RowCodec::new(fields).unwrap();
        let rows = codec.encode(&columns, 3).unwrap();
        let mut damaged: Vec<Vec<u8>> = rows.iter().map(<[u8]>::to_vec).collect();
        let row = &mut damaged[at % 3];
        let at = at % row.len();
        match cut {
            true => row.truncate(at),
            false => row[at] = byte,
        }
        let decoded = codec.decode(damaged.iter().map(Vec::as_slice));
        prop_assert!(!(cut && decoded.is_ok()), "a cut row was read");
        let _ = codec.prefix_len(&damaged[0], codec.fields().len());
        if let Ok(decoded) = decoded {
            codec.encode(&decoded, 3).unwrap();
        }
    }

    #[test]
    fn any_bytes_never_panic(seed: u64, bytes in proptest::collection::vec(0..4_u8, 0..60)) {
        let codec = RowCodec::new(vec![Draw(seed).field()]).unwrap();
        let _ = codec.decode([bytes.as_slice()]);
        let inverted: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
        let _ = codec.decode([[&[2_u8], inverted.as_slice()].concat().as_slice()]);
        let _ = codec.prefix_len(&bytes, 1);
    }
}
