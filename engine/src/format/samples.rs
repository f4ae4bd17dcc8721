//! Made-up rows of every type that formats carry, for their tests.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, MapArray, RecordBatch, StringArray,
    StructArray, Time64MicrosecondArray, TimestampMicrosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, IntervalMonthDayNano, Schema, SchemaRef};

/// Number of types [`array`] knows; the last three are nested.
pub(super) const TYPES: usize = 22;
/// Those before this are not nested.
pub(super) const FLAT_TYPES: usize = 19;

/// A small repeatable source of numbers (Steele et al., "SplitMix", 2014).
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Draw {
        Draw(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Any integer, small ones and the edges often.
    fn integer(&mut self) -> i64 {
        match self.below(8) {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => 0,
            3 | 4 => self.below(2_000) as i64 - 1_000,
            _ => self.next() as i64,
        }
    }

    fn float(&mut self) -> f64 {
        match self.below(8) {
            0 => f64::NAN,
            1 => f64::NEG_INFINITY,
            2 => -0.0,
            3 => self.below(1_000) as f64 / 8.0,
            _ => {
                let any = f64::from_bits(self.next());
                if any.is_nan() { 1.0 } else { any }
            }
        }
    }

    pub(super) fn text(&mut self) -> String {
        const PIECES: [&str; 16] = [
            "", "a", "word", "\"", "\\", "\n", "\r\n", "\u{0}", "\u{1f}", "é", "😀", ",", ";", " ", "null", "\\u0041",
        ];
        (0..self.below(6)).map(|_| PIECES[self.below(16) as usize]).collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.below(9)).map(|_| self.next() as u8).collect()
    }

    fn values<T>(&mut self, rows: usize, mut one: impl FnMut(&mut Draw) -> T) -> Vec<Option<T>> {
        (0..rows).map(|_| (self.below(5) > 0).then(|| one(self))).collect()
    }
}

/// Rows with one column per kind.
pub(super) fn batch(draw: &mut Draw, kinds: &[usize], rows: usize) -> RecordBatch {
    let columns: Vec<_> = kinds.iter().map(|kind| array(draw, *kind, rows)).collect();
    let field = |(i, column): (usize, &ArrayRef)| Field::new(format!("c{i}"), column.data_type().clone(), true);
    let schema = Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

/// An array of one of the [`TYPES`].
fn array(draw: &mut Draw, kind: usize, rows: usize) -> ArrayRef {
    match kind {
        0 => Arc::new(BooleanArray::from(draw.values(rows, |d| d.below(2) == 0))),
        1 => Arc::new(Int8Array::from(draw.values(rows, |d| d.integer() as i8))),
        2 => Arc::new(Int16Array::from(draw.values(rows, |d| d.integer() as i16))),
        3 => Arc::new(Int32Array::from(draw.values(rows, |d| d.integer() as i32))),
        4 => Arc::new(Int64Array::from(draw.values(rows, Draw::integer))),
        5 => Arc::new(UInt8Array::from(draw.values(rows, |d| d.next() as u8))),
        6 => Arc::new(UInt16Array::from(draw.values(rows, |d| d.next() as u16))),
        7 => Arc::new(UInt32Array::from(draw.values(rows, |d| d.next() as u32))),
        8 => Arc::new(UInt64Array::from(draw.values(rows, |d| d.integer() as u64))),
        9 => Arc::new(Float32Array::from(draw.values(rows, |d| d.float() as f32))),
        10 => Arc::new(Float64Array::from(draw.values(rows, Draw::float))),
        11 => {
            let values = Decimal128Array::from(draw.values(rows, |d| i128::from(d.integer()) * 1_000_000_007));
            Arc::new(values.with_precision_and_scale(38, 9).unwrap())
        }
        12 => Arc::new(StringArray::from(draw.values(rows, Draw::text))),
        13 => Arc::new(BinaryArray::from_iter(draw.values(rows, Draw::bytes))),
        14 => Arc::new(Date32Array::from(draw.values(rows, |d| d.integer() as i32))),
        15 => Arc::new(Time64MicrosecondArray::from(
            draw.values(rows, |d| d.below(86_400_000_000) as i64),
        )),
        16 => Arc::new(TimestampMicrosecondArray::from(draw.values(rows, Draw::integer))),
        17 => Arc::new(TimestampMicrosecondArray::from(draw.values(rows, Draw::integer)).with_timezone("+00:00")),
        18 => {
            let interval =
                |d: &mut Draw| IntervalMonthDayNano::new(d.integer() as i32, d.integer() as i32, d.integer());
            Arc::new(IntervalMonthDayNanoArray::from(draw.values(rows, interval)))
        }
        19 => list(draw, rows),
        20 => structs(draw, rows),
        _ => map(draw, rows),
    }
}

/// Lengths of lists and which of them are null; null ones are empty.
fn lengths(draw: &mut Draw, rows: usize) -> (OffsetBuffer<i32>, NullBuffer) {
    let lengths = draw.values(rows, |d| d.below(4) as usize);
    let ends = OffsetBuffer::from_lengths(lengths.iter().map(|length| length.unwrap_or(0)));
    (ends, lengths.iter().map(Option::is_some).collect())
}

fn list(draw: &mut Draw, rows: usize) -> ArrayRef {
    let (ends, nulls) = lengths(draw, rows);
    let kind = draw.below(TYPES as u64 - 1) as usize;
    let items = array(draw, kind, ends[rows] as usize);
    let field = Arc::new(Field::new("item", items.data_type().clone(), true));
    Arc::new(ListArray::new(field, ends, items, Some(nulls)))
}

fn structs(draw: &mut Draw, rows: usize) -> ArrayRef {
    let kinds = [draw.below(FLAT_TYPES as u64) as usize, 12, 19];
    let columns: Vec<_> = kinds.iter().map(|kind| array(draw, *kind, rows)).collect();
    let fields: Fields = ["a", "B \"quoted\"", "é"]
        .iter()
        .zip(&columns)
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect();
    let nulls = draw
        .values(rows, |_| ())
        .iter()
        .map(Option::is_some)
        .collect::<NullBuffer>();
    Arc::new(StructArray::new(fields, columns, Some(nulls)))
}

fn map(draw: &mut Draw, rows: usize) -> ArrayRef {
    let (ends, nulls) = lengths(draw, rows);
    let count = ends[rows] as usize;
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..count).map(|i| format!("{i}{}", draw.text())),
    ));
    let kind = draw.below(FLAT_TYPES as u64) as usize;
    let values = array(draw, kind, count);
    let pair: Fields = vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", values.data_type().clone(), true),
    ]
    .into();
    let entries = StructArray::new(pair.clone(), vec![keys, values], None);
    let field = Arc::new(Field::new("entries", DataType::Struct(pair), false));
    Arc::new(MapArray::new(field, ends, entries, Some(nulls), false))
}

/// Nullable columns of these names and types.
pub(super) fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
