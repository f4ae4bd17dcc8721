//! Draws types and columns of them, with a taste for the extremes.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, Int32Array, ListArray, MapArray, NullArray,
    StringArray, StructArray, make_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

use crate::row::RowField;

/// The same seed draws the same.
pub(super) struct Draw(pub(super) u64);

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
            DataType::Boolean => Arc::new(BooleanArray::new((0..len).map(|_| self.below(2) == 0).collect(), nulls)),
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView => {
                let text = StringArray::from_iter_values((0..len).map(|_| self.text()));
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
                Arc::new(MapArray::new(entries.clone(), offsets, items, nulls, *ordered))
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

    pub(super) fn field(&mut self) -> RowField {
        RowField {
            data_type: self.data_type(2),
            descending: self.below(2) == 0,
            nulls_first: self.below(2) == 0,
        }
    }

    pub(super) fn fields_and_columns(&mut self, len: usize) -> (Vec<RowField>, Vec<ArrayRef>) {
        let count = 1 + self.below(4);
        let fields: Vec<RowField> = (0..count).map(|_| self.field()).collect();
        let columns = fields.iter().map(|field| self.column(&field.data_type, len)).collect();
        (fields, columns)
    }
}

fn with_nulls(array: &dyn Array, nulls: Option<NullBuffer>) -> ArrayRef {
    let data = array.to_data().into_builder().nulls(nulls).build();
    make_array(data.unwrap())
}

fn without_nulls(array: &ArrayRef) -> ArrayRef {
    let data = array.to_data().into_builder().nulls(None).null_count(0).build();
    make_array(data.unwrap())
}
