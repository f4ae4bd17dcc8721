//! What the row codec promises: bytes that never change, come back as the values they were, and
//! compare like them; and that no bytes make it panic.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray,
    FixedSizeListArray, Float32Array, Float64Array, Int8Array, Int32Array, Int64Array,
    IntervalDayTimeArray, IntervalMonthDayNanoArray, LargeStringArray, ListArray, MapArray,
    NullArray, StringArray, StructArray, TimestampMicrosecondArray, UInt16Array, make_array,
    make_comparator,
};
use arrow::array::{ArrayData, RecordBatch, StringViewArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{
    DataType, Field, Fields, Float32Type, Float64Type, Int32Type, IntervalDayTime,
    IntervalDayTimeType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, Schema,
    TimeUnit,
};
use proptest::prelude::*;

use super::{RowCodec, RowField, Rows};
use crate::Error;

// ---- pinned bytes ----

fn hex(rows: &Rows) -> Vec<String> {
    let row = |row: &[u8]| row.iter().map(|byte| format!("{byte:02x}")).collect();
    rows.iter().map(row).collect()
}

fn assert_bytes(array: impl Array + 'static, expected: &[&str]) {
    let array: ArrayRef = Arc::new(array);
    let codec = RowCodec::for_types(&[array.data_type().clone()]).unwrap();
    let rows = codec.encode(&[array.clone()], array.len()).unwrap();
    assert_eq!(hex(&rows), expected, "{}", array.data_type());
    let decoded = codec.decode(rows.iter()).unwrap();
    assert_eq!(decoded[0].data_type(), array.data_type());
    assert_same(&array, &decoded[0]);
}

#[test]
fn numbers_are_pinned() {
    assert_bytes(
        Int64Array::from(vec![
            Some(0),
            Some(1),
            Some(-1),
            Some(i64::MIN),
            Some(i64::MAX),
            None,
        ]),
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
    assert_bytes(
        Decimal128Array::from(vec![-1]),
        &["027fffffffffffffffffffffffffffffff"],
    );
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
    assert_bytes(
        Float32Array::from(vec![-2.0, f32::NAN]),
        &["023fffffff", "02ffc00000"],
    );
}

#[test]
fn intervals_are_pinned() {
    let month = IntervalMonthDayNano::new(1, 0, 0);
    let days = IntervalMonthDayNano::new(0, 30, 0);
    let back = IntervalMonthDayNano::new(0, 0, -1);
    assert_bytes(
        IntervalMonthDayNanoArray::from(vec![month, days, back]),
        &[
            "02800000000009356d6a9a00008000000180000000",
            "02800000000009356d6a9a0000800000008000001e",
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
    assert_bytes(
        StructArray::new(fields, columns, Some(nulls)),
        &["020278000281", "03"],
    );
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
    codec
        .encode_into(&[column.slice(1, 1)], 1, &mut rows)
        .unwrap();
    rows.push(b"\x02z\x00");
    let decoded = codec.decode(rows.iter()).unwrap();
    assert_eq!(
        decoded[0].as_ref(),
        &StringArray::from(vec!["a", "bc", "bc", "z"])
    );
    rows.clear();
    assert!(rows.is_empty());
    assert_eq!(rows.iter().len(), 0);
}

// ---- refusals ----

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
    assert!(codec.encode_into(&[text.clone()], 2, &mut rows).is_err());
    assert!(
        codec
            .encode_into(&[numbers.clone(), numbers.clone()], 2, &mut rows)
            .is_err()
    );
    assert!(codec.encode_into(&[numbers], 3, &mut rows).is_err());
    assert!(rows.is_empty());
    let fields = vec![Field::new("item", DataType::Int64, true)];
    let lists = RowCodec::for_types(&[DataType::List(Arc::new(fields[0].clone()))]).unwrap();
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
        (
            DataType::List(field("item", DataType::Utf8, true)),
            &[2, 2, b'a', 0],
        ),
        (
            DataType::List(field("item", DataType::Utf8, true)),
            &[2, 7, 0],
        ),
        (
            DataType::List(field("item", DataType::Utf8, true)),
            &[2, 2, 0xff, 0, 0],
        ),
        (
            DataType::List(field("item", DataType::Boolean, false)),
            &[2, 3, 0, 0],
        ),
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
        let error = codec
            .decode([bytes])
            .expect_err(&format!("{data_type}: {bytes:?}"));
        assert!(matches!(error, Error::State(_)), "{error}");
    }
}

// ---- any values of any types ----

/// Draws types and columns from a seed.
struct Draw(u64);

impl Draw {
    /// Sebastiano Vigna's SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn leaf_type(&mut self) -> DataType {
        use DataType::*;
        let types = [
            Null,
            Boolean,
            Int8,
            Int16,
            Int32,
            Int64,
            UInt8,
            UInt16,
            UInt32,
            UInt64,
            Float16,
            Float32,
            Float64,
            Utf8,
            LargeUtf8,
            Utf8View,
            Binary,
            LargeBinary,
            BinaryView,
            FixedSizeBinary(3),
            Date32,
            Date64,
            Time32(TimeUnit::Second),
            Time64(TimeUnit::Nanosecond),
            Timestamp(TimeUnit::Millisecond, None),
            Timestamp(TimeUnit::Microsecond, Some("+02:00".into())),
            Duration(TimeUnit::Microsecond),
            Interval(IntervalUnit::YearMonth),
            Interval(IntervalUnit::DayTime),
            Interval(IntervalUnit::MonthDayNano),
            Decimal32(9, 2),
            Decimal64(18, 2),
            Decimal128(38, 6),
            Decimal256(76, 10),
            Dictionary(Box::new(Int32), Box::new(Utf8)),
            Dictionary(Box::new(UInt8), Box::new(Int64)),
        ];
        types[self.below(types.len())].clone()
    }

    fn data_type(&mut self, depth: usize) -> DataType {
        if depth == 0 || self.below(3) > 0 {
            return self.leaf_type();
        }
        let item = Arc::new(Field::new("item", self.data_type(depth - 1), true));
        match self.below(5) {
            0 => DataType::List(item),
            1 => DataType::LargeList(item),
            2 => DataType::FixedSizeList(item, 2),
            3 => {
                let key = Field::new("keys", DataType::Utf8, false);
                let value = item.as_ref().clone().with_name("values");
                let entries = DataType::Struct(vec![key, value].into());
                DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
            }
            _ => {
                let other = Field::new("other", self.data_type(depth - 1), true);
                DataType::Struct(vec![item.as_ref().clone(), other].into())
            }
        }
    }

    fn nulls(&mut self, len: usize) -> Option<NullBuffer> {
        let part = self.below(3);
        (part > 0).then(|| (0..len).map(|_| self.below(4) > part).collect())
    }

    /// A column whose Arrow offset may be more than 0, as slices have it.
    fn column(&mut self, data_type: &DataType, len: usize) -> ArrayRef {
        let before = self.below(3);
        self.array(data_type, before + len).slice(before, len)
    }

    fn array(&mut self, data_type: &DataType, len: usize) -> ArrayRef {
        let nulls = self.nulls(len);
        match data_type {
            DataType::Null => Arc::new(NullArray::new(len)),
            DataType::Boolean => Arc::new(BooleanArray::new(
                (0..len).map(|_| self.below(2) == 0).collect(),
                nulls,
            )),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                let text = (0..len).map(|_| self.text()).collect::<StringArray>();
                cast(&with_nulls(&text, nulls), data_type).unwrap()
            }
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                let text = (0..len).map(|_| self.text()).collect::<StringArray>();
                cast(&with_nulls(&text, nulls), data_type).unwrap()
            }
            DataType::Dictionary(_, values) => {
                let few = self.array(values, 3);
                let picks = Int32Array::from_iter_values((0..len).map(|_| self.below(3) as i32));
                let picks = Int32Array::new(picks.values().clone(), nulls);
                let array = arrow::compute::take(&few, &picks, None).unwrap();
                cast(&array, data_type).unwrap()
            }
            DataType::List(item) => {
                let (offsets, items) = self.items(item.data_type(), len);
                Arc::new(ListArray::new(item.clone(), offsets, items, nulls))
            }
            DataType::LargeList(item) => {
                let (offsets, items) = self.items(item.data_type(), len);
                let list = ListArray::new(item.clone(), offsets, items, nulls);
                cast(&list, data_type).unwrap()
            }
            DataType::FixedSizeList(item, size) => {
                let items = self.column(item.data_type(), len * *size as usize);
                Arc::new(FixedSizeListArray::new(item.clone(), *size, items, nulls))
            }
            DataType::Map(entries, ordered) => {
                let (offsets, items) = self.items(entries.data_type(), len);
                let items = items.as_struct().clone();
                Arc::new(MapArray::new(
                    entries.clone(),
                    offsets,
                    items,
                    nulls,
                    *ordered,
                ))
            }
            DataType::Struct(fields) => {
                let column = |field: &Arc<Field>| match field.is_nullable() {
                    true => self.column(field.data_type(), len),
                    false => without_nulls(&self.column(field.data_type(), len)),
                };
                let columns = fields.iter().map(column).collect();
                let all_nullable = fields.iter().all(|field| field.is_nullable());
                Arc::new(StructArray::new(
                    fields.clone(),
                    columns,
                    nulls.filter(|_| all_nullable),
                ))
            }
            _ => self.plain(data_type, len, nulls),
        }
    }

    /// A column of any bits, with a taste for the extremes.
    fn plain(&mut self, data_type: &DataType, len: usize, nulls: Option<NullBuffer>) -> ArrayRef {
        let width = match data_type {
            DataType::FixedSizeBinary(width) => *width as usize,
            other => other.primitive_width().unwrap(),
        };
        let mut bytes = Vec::new();
        for _ in 0..len {
            let mut value = vec![0_u8; width];
            match self.below(6) {
                0 => {}
                1 => value.fill(0xff),
                2 => value[width - 1] = 0x80,
                3 => value[0] = self.below(256) as u8,
                _ => value.iter_mut().for_each(|byte| *byte = self.next() as u8),
            }
            bytes.extend(value);
        }
        let data = ArrayData::builder(data_type.clone())
            .len(len)
            .add_buffer(Buffer::from_vec(bytes))
            .nulls(nulls)
            .align_buffers(true)
            .build();
        make_array(data.unwrap())
    }

    fn text(&mut self) -> String {
        let alphabet = ['\0', '\u{1}', '\u{2}', 'a', 'b', 'é', '\u{10ffff}'];
        let plain = self.below(2) * 3;
        let longest = [1, 4, 40][self.below(3)];
        let len = self.below(longest + 1);
        (0..len)
            .map(|_| alphabet[plain + self.below(alphabet.len() - plain)])
            .collect()
    }

    fn items(&mut self, data_type: &DataType, len: usize) -> (OffsetBuffer<i32>, ArrayRef) {
        let offsets = OffsetBuffer::from_lengths((0..len).map(|_| self.below(4)));
        let items = self.column(data_type, offsets[len] as usize);
        (offsets, items)
    }

    fn field(&mut self) -> RowField {
        RowField {
            data_type: self.data_type(2),
            descending: self.below(2) == 0,
            nulls_first: self.below(2) == 0,
        }
    }

    fn fields_and_columns(&mut self, len: usize) -> (Vec<RowField>, Vec<ArrayRef>) {
        let count = 1 + self.below(4);
        let fields: Vec<RowField> = (0..count).map(|_| self.field()).collect();
        let columns = fields
            .iter()
            .map(|field| self.column(&field.data_type, len))
            .collect();
        (fields, columns)
    }
}

fn with_nulls(array: &dyn Array, nulls: Option<NullBuffer>) -> ArrayRef {
    let data = array.to_data().into_builder().nulls(nulls).build();
    make_array(data.unwrap())
}

fn without_nulls(array: &ArrayRef) -> ArrayRef {
    let data = array
        .to_data()
        .into_builder()
        .nulls(None)
        .null_count(0)
        .build();
    make_array(data.unwrap())
}

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
    let float = |a: f64, b: f64| {
        a.partial_cmp(&b)
            .unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
    };
    match left.data_type() {
        DataType::Null => Ordering::Equal,
        DataType::Float16 => {
            let widen = |array| cast(array, &DataType::Float32).unwrap();
            compare_values(&widen(left), i, &widen(right), j)
        }
        DataType::Float32 => {
            let value =
                |array: &ArrayRef, at| f64::from(array.as_primitive::<Float32Type>().value(at));
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
            let columns = left
                .as_struct()
                .columns()
                .iter()
                .zip(right.as_struct().columns());
            columns
                .map(|(a, b)| compare(a, i, b, j))
                .find(|o| o.is_ne())
                .unwrap_or(Ordering::Equal)
        }
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(..)
        | DataType::Map(..) => {
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

fn assert_same(expected: &ArrayRef, actual: &ArrayRef) {
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
            _ => column
                .logical_nulls()
                .is_some_and(|nulls| nulls.is_null(at)),
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
    orders
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
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
