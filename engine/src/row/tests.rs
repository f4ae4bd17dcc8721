//! What the row codec promises: bytes that never change, come back as the values they were, and
//! compare like them; and that no bytes make it panic. Here are the bytes and the refusals; any
//! values of any types are in [`properties`].

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int8Array,
    Int64Array, IntervalDayTimeArray, IntervalMonthDayNanoArray, LargeStringArray, ListArray, NullArray, StringArray,
    StringViewArray, StructArray, TimestampMicrosecondArray, UInt16Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Field, Fields, Int32Type, IntervalDayTime, IntervalMonthDayNano, IntervalUnit, Schema,
};

use self::properties::assert_same;
use super::{RowCodec, RowField, Rows};
use crate::Error;

mod draw;
mod properties;

fn hex(rows: &Rows) -> Vec<String> {
    let row = |row: &[u8]| row.iter().map(|byte| format!("{byte:02x}")).collect();
    rows.iter().map(row).collect()
}

fn assert_bytes(array: impl Array + 'static, expected: &[&str]) {
    let array: ArrayRef = Arc::new(array);
    let codec = RowCodec::for_types(&[array.data_type().clone()]).unwrap();
    let rows = codec.encode(std::slice::from_ref(&array), array.len()).unwrap();
    assert_eq!(hex(&rows), expected, "{}", array.data_type());
    let decoded = codec.decode(rows.iter()).unwrap();
    assert_eq!(decoded[0].data_type(), array.data_type());
    assert_same(&array, &decoded[0]);
}

#[test]
fn numbers_are_pinned() {
    assert_bytes(
        Int64Array::from(vec![Some(0), Some(1), Some(-1), Some(i64::MIN), Some(i64::MAX), None]),
        &[
            "028000000000000000",
            "028000000000000001",
            "027fffffffffffffff",
            "020000000000000000",
            "02ffffffffffffffff",
            "030000000000000000",
        ],
    );
    assert_bytes(Int8Array::from(vec![5, -128]), &["0285", "0200"]);
    assert_bytes(UInt16Array::from(vec![258]), &["020102"]);
    assert_bytes(
        BooleanArray::from(vec![Some(true), Some(false), None]),
        &["0201", "0200", "0300"],
    );
    assert_bytes(NullArray::new(2), &["03", "03"]);
    assert_bytes(Decimal128Array::from(vec![-1]), &["027fffffffffffffffffffffffffffffff"]);
    assert_bytes(
        TimestampMicrosecondArray::from(vec![1_000_000]).with_timezone("UTC"),
        &["0280000000000f4240"],
    );
}

#[test]
fn floats_are_pinned() {
    assert_bytes(
        Float64Array::from(vec![
            0.0,
            -0.0,
            1.5,
            -1.5,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            f64::from_bits(0xfff0_0000_0000_0001),
        ]),
        &[
            "028000000000000000",
            "028000000000000000",
            "02bff8000000000000",
            "024007ffffffffffff",
            "02fff0000000000000",
            "02000fffffffffffff",
            "02fff8000000000000",
            "02fff8000000000000",
        ],
    );
    assert_bytes(Float32Array::from(vec![-2.0, f32::NAN]), &["023fffffff", "02ffc00000"]);
}

#[test]
fn intervals_are_pinned() {
    let month = IntervalMonthDayNano::new(1, 0, 0);
    let days = IntervalMonthDayNano::new(0, 30, 0);
    let back = IntervalMonthDayNano::new(0, 0, -1);
    assert_bytes(
        IntervalMonthDayNanoArray::from(vec![month, days, back]),
        &[
            "028000000000093569074200008000000180000000",
            "02800000000009356907420000800000008000001e",
            "027fffffffffffffffffffffff8000000080000000",
        ],
    );
    assert_bytes(
        IntervalDayTimeArray::from(vec![IntervalDayTime::new(1, 1)]),
        &["028000000005265c0180000001"],
    );
}

#[test]
fn text_and_bytes_are_pinned() {
    assert_bytes(
        StringArray::from(vec![Some(""), Some("ab"), Some("\0\u{1}\u{2}"), None]),
        &["0200", "02616200", "02010101020200", "03"],
    );
    assert_bytes(LargeStringArray::from(vec!["é"]), &["02c3a900"]);
    assert_bytes(
        StringViewArray::from(vec!["longer than twelve bytes"]),
        &["026c6f6e676572207468616e207477656c766520627974657300"],
    );
    assert_bytes(
        FixedSizeBinaryArray::try_from_iter([[0_u8, 1, 255]].into_iter()).unwrap(),
        &["020001ff"],
    );
}

#[test]
fn nested_values_are_pinned() {
    let lists = vec![Some(vec![Some(1), None]), Some(vec![]), None];
    assert_bytes(
        ListArray::from_iter_primitive::<Int32Type, _, _>(lists),
        &["020280000001030000000000", "0200", "03"],
    );
    let fields = Fields::from(vec![
        Field::new("a", DataType::Utf8, true),
        Field::new("b", DataType::Int8, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some("x"), None])),
        Arc::new(Int8Array::from(vec![Some(1), Some(2)])),
    ];
    let nulls = NullBuffer::from(vec![true, false]);
    assert_bytes(StructArray::new(fields, columns, Some(nulls)), &["020278000281", "03"]);
}

#[test]
fn directions_and_null_places_are_pinned() {
    let fields = vec![
        RowField::descending(DataType::Utf8),
        RowField {
            data_type: DataType::Int8,
            descending: true,
            nulls_first: false,
        },
        RowField {
            data_type: DataType::Int8,
            descending: false,
            nulls_first: true,
        },
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some("a\0"), None])),
        Arc::new(Int8Array::from(vec![Some(1), None])),
        Arc::new(Int8Array::from(vec![Some(1), None])),
    ];
    let codec = RowCodec::new(fields).unwrap();
    let rows = codec.encode(&columns, 2).unwrap();
    assert_eq!(hex(&rows), ["029efefeff027e0281", "0103000100"]);
    assert_eq!(codec.fixed_width(), None);
}

#[test]
fn fixed_width_is_known() {
    let width = |types: &[DataType]| RowCodec::for_types(types).unwrap().fixed_width();
    assert_eq!(width(&[]), Some(0));
    assert_eq!(width(&[DataType::Int64, DataType::Boolean]), Some(11));
    assert_eq!(width(&[DataType::Int64, DataType::Utf8]), None);
    let codec = RowCodec::for_types(&[]).unwrap();
    let rows = codec.encode(&[], 3).unwrap();
    assert_eq!(rows.len(), 3);
    assert!(codec.decode(rows.iter()).unwrap().is_empty());
}

#[test]
fn rows_are_appended_and_cleared() {
    let codec = RowCodec::for_types(&[DataType::Utf8]).unwrap();
    let column: ArrayRef = Arc::new(StringArray::from(vec!["a", "bc"]));
    let mut rows = codec.encode(std::slice::from_ref(&column), 2).unwrap();
    codec.encode_into(&[column.slice(1, 1)], 1, &mut rows).unwrap();
    rows.push(b"\x02z\x00");
    let decoded = codec.decode(rows.iter()).unwrap();
    assert_eq!(decoded[0].as_ref(), &StringArray::from(vec!["a", "bc", "bc", "z"]));
    rows.clear();
    assert!(rows.is_empty());
    assert_eq!(rows.iter().len(), 0);
}

#[test]
fn unsupported_types_are_refused_with_the_column() {
    let run_ends = Arc::new(Field::new("run_ends", DataType::Int32, false));
    let values = Arc::new(Field::new("values", DataType::Int32, true));
    let runs = DataType::RunEndEncoded(run_ends, values.clone());
    let list = DataType::List(Arc::new(Field::new("item", runs, true)));
    let schema = Schema::new(vec![Field::new("c", list, true)]);
    let error = RowCodec::for_schema(&schema).unwrap_err();
    assert!(
        matches!(&error, Error::Config(cause) if cause.starts_with("column 'c': a value of type RunEndEncoded")),
        "{error}"
    );
    assert!(RowCodec::for_types(&[DataType::ListView(values)]).is_err());
}

#[test]
fn other_columns_are_refused() {
    let codec = RowCodec::for_types(&[DataType::Int64]).unwrap();
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let mut rows = Rows::new();
    assert!(codec.encode_into(std::slice::from_ref(&text), 2, &mut rows).is_err());
    assert!(
        codec
            .encode_into(&[numbers.clone(), numbers.clone()], 2, &mut rows)
            .is_err()
    );
    assert!(codec.encode_into(&[numbers], 3, &mut rows).is_err());
    assert!(rows.is_empty());
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let lists = RowCodec::for_types(&[DataType::List(item)]).unwrap();
    assert!(lists.encode(&[text], 2).is_err());
}

#[test]
fn wrong_bytes_are_errors() {
    let field = |name: &str, data_type, nullable| Arc::new(Field::new(name, data_type, nullable));
    let cases: Vec<(DataType, &[u8])> = vec![
        (DataType::Int16, &[]),
        (DataType::Int16, &[2, 0]),
        (DataType::Int16, &[1, 0, 0]),
        (DataType::Int16, &[4, 0, 0]),
        (DataType::Int16, &[2, 0, 0, 0]),
        (DataType::Boolean, &[2, 2]),
        (DataType::Null, &[2]),
        (DataType::Utf8, &[2, b'a']),
        (DataType::Utf8, &[2, b'a', 1]),
        (DataType::Utf8, &[2, b'a', 1, 3, 0]),
        (DataType::Utf8, &[2, 0xff, 0]),
        (DataType::Utf8View, &[2, 0xc3, 0]),
        (DataType::List(field("item", DataType::Utf8, true)), &[2, 2, b'a', 0]),
        (DataType::List(field("item", DataType::Utf8, true)), &[2, 7, 0]),
        (DataType::List(field("item", DataType::Utf8, true)), &[2, 2, 0xff, 0, 0]),
        (DataType::List(field("item", DataType::Boolean, false)), &[2, 3, 0, 0]),
        (
            DataType::Struct(vec![field("a", DataType::Boolean, false)].into()),
            &[2, 3, 0],
        ),
        (
            DataType::FixedSizeList(field("item", DataType::Boolean, true), 2),
            &[2, 2, 0, 0],
        ),
        (
            DataType::Interval(IntervalUnit::DayTime),
            &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
    ];
    for (data_type, bytes) in cases {
        let codec = RowCodec::for_types(std::slice::from_ref(&data_type)).unwrap();
        let error = codec.decode([bytes]).expect_err(&format!("{data_type}: {bytes:?}"));
        assert!(matches!(error, Error::State(_)), "{error}");
    }
}
