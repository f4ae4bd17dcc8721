//! Row fields of structs, lists and maps: rows within rows.
//!
//! What is inside is encoded by a codec of its own into rows of its own, which then are copied as
//! the payload: a struct's is one such row, a list's are its elements' rows, one after the other.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, FieldRef};

use super::bytes::{copy, offset, payload_len};
use super::fixed::{Nulls, take_marker};
use super::{Column, END, Kind, RowCodec, Rows, VALUE, damaged, mismatch};
use crate::Result;

/// A nested column to be written.
pub(super) struct Ready {
    inside: Rows,
    /// For a list: at which of the rows inside each list begins, and the last ends.
    lists: Option<Vec<usize>>,
    nulls: Option<NullBuffer>,
}

impl Ready {
    pub(super) fn of_struct(fields: &RowCodec, array: &ArrayRef) -> Result<Self> {
        let Some(structs) = array.as_struct_opt() else {
            return Err(mismatch(&DataType::Struct(Default::default()), array));
        };
        let inside = fields.encode(structs.columns(), structs.len())?;
        Ok(Self {
            inside,
            lists: None,
            nulls: structs.nulls().cloned(),
        })
    }

    pub(super) fn of_list(element: &RowCodec, array: &ArrayRef) -> Result<Self> {
        let (values, bounds) = match array.data_type() {
            DataType::List(_) => elements_of(array.as_list::<i32>()),
            DataType::LargeList(_) => elements_of(array.as_list::<i64>()),
            DataType::Map(..) => {
                let map = array.as_map();
                let entries: ArrayRef = Arc::new(map.entries().clone());
                within(&entries, map.value_offsets())
            }
            DataType::FixedSizeList(_, length) => {
                let length = *length as usize;
                let bounds = (0..=array.len()).map(|row| row * length).collect();
                (array.as_fixed_size_list().values().clone(), bounds)
            }
            _ => return Err(mismatch(&element.fields[0].data_type, array)),
        };
        let inside = element.encode(std::slice::from_ref(&values), values.len())?;
        Ok(Self {
            inside,
            lists: Some(bounds),
            nulls: array.nulls().cloned(),
        })
    }

    /// The row's payload before inversion and without a list's end; `None` for a null.
    #[inline]
    fn payload(&self, row: usize) -> Option<&[u8]> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        let (first, end) = match &self.lists {
            Some(bounds) => (bounds[row], bounds[row + 1]),
            None => (row, row + 1),
        };
        Some(&self.inside.data[self.inside.offsets[first]..self.inside.offsets[end]])
    }

    pub(super) fn add_lengths(&self, lengths: &mut [usize]) {
        let end = usize::from(self.lists.is_some());
        for (row, length) in lengths.iter_mut().enumerate() {
            *length += 1 + self.payload(row).map_or(0, |payload| payload.len() + end);
        }
    }

    pub(super) fn write(&self, null: u8, flip: u8, data: &mut [u8], cursors: &mut [usize]) {
        for (row, cursor) in cursors.iter_mut().enumerate() {
            let slot = &mut data[*cursor..];
            let Some(payload) = self.payload(row) else {
                slot[0] = null;
                *cursor += 1;
                continue;
            };
            slot[0] = VALUE;
            copy(payload, flip, &mut slot[1..]);
            *cursor += 1 + payload.len();
            if self.lists.is_some() {
                data[*cursor] = END ^ flip;
                *cursor += 1;
            }
        }
    }
}

fn elements_of<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> (ArrayRef, Vec<usize>) {
    within(list.values(), list.value_offsets())
}

/// The elements between the first and the last offset, and the offsets counted from the first.
fn within<O: OffsetSizeTrait>(values: &ArrayRef, offsets: &[O]) -> (ArrayRef, Vec<usize>) {
    let first = offsets[0].as_usize();
    let bounds: Vec<usize> = offsets.iter().map(|offset| offset.as_usize() - first).collect();
    (values.slice(first, bounds[bounds.len() - 1]), bounds)
}

/// The length of the fields at the front of `bytes`, which are inverted as `flip` says; `None` if
/// they aren't fields of these columns.
pub(super) fn fields_len(columns: &[Column], bytes: &[u8], flip: u8) -> Option<usize> {
    columns
        .iter()
        .try_fold(0, |at, column| Some(at + field_len(column, &bytes[at..], flip)?))
}

/// The length of a field, marker and payload. A column at the top has its own flip, and markers
/// that aren't inverted; inside, markers are inverted with all the rest.
fn field_len(column: &Column, bytes: &[u8], flip: u8) -> Option<usize> {
    let (marker, payload) = bytes.split_first()?;
    let valid = match marker ^ flip {
        VALUE => true,
        marker if marker == column.null => false,
        _ => return None,
    };
    let flip = flip ^ column.flip;
    let column = match &column.kind {
        Kind::Dictionary(values) => values,
        _ => column,
    };
    let length = match &column.kind {
        Kind::Fixed(width) => (*width <= payload.len()).then_some(*width),
        _ if !valid => Some(0),
        Kind::Bytes => payload_len(payload, flip).map(|(length, _)| length),
        Kind::Struct(fields) => fields_len(&fields.columns, payload, flip),
        Kind::List(element) => list_len(&element.columns[0], payload, flip),
        Kind::Dictionary(_) => None,
    };
    Some(1 + length?)
}

fn list_len(element: &Column, payload: &[u8], flip: u8) -> Option<usize> {
    let mut at = 0;
    while payload.get(at)? ^ flip != END {
        at += field_len(element, &payload[at..], flip)?;
    }
    Some(at + 1)
}

/// A nested column's payloads, taken off the front of every row.
struct Payloads<'a> {
    /// As they stand in the rows. Those of nulls are empty.
    stored: Vec<&'a [u8]>,
    /// All of them, inverted back; only where the field is descending.
    inverted: Vec<u8>,
    nulls: Option<NullBuffer>,
}

impl<'a> Payloads<'a> {
    fn take(column: &Column, rest: &mut [&'a [u8]]) -> Result<Self> {
        let mut stored = Vec::with_capacity(rest.len());
        let mut inverted = Vec::new();
        let mut nulls = Nulls::with_capacity(rest.len());
        for row in rest {
            let (valid, after) = take_marker(column, row)?;
            let length = field_len(column, row, 0).ok_or_else(|| damaged("a list has no end"))?;
            let (payload, after) = after.split_at(length - 1);
            *row = after;
            stored.push(payload);
            if column.flip != 0 {
                inverted.extend(payload.iter().map(|byte| byte ^ column.flip));
            }
            nulls.push(valid);
        }
        Ok(Self {
            stored,
            inverted,
            nulls: nulls.finish(),
        })
    }

    /// The payloads as they were before inversion, `null` where the field is null.
    fn iter<'b>(&'b self, null: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        let mut inverted = self.inverted.as_slice();
        self.stored.iter().enumerate().map(move |(row, stored)| {
            if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                return null;
            }
            match self.inverted.is_empty() {
                true => stored,
                false => inverted.split_off(..stored.len()).unwrap_or_default(),
            }
        })
    }
}

/// A row of `codec` whose every field is null.
fn null_row(codec: &RowCodec) -> Vec<u8> {
    let mut row = Vec::new();
    for column in codec.columns.iter() {
        row.push(column.null);
        row.resize(row.len() + column.fixed_width().map_or(0, |width| width - 1), 0);
    }
    row
}

pub(super) fn decode_struct(column: &Column, fields: &RowCodec, rest: &mut [&[u8]]) -> Result<ArrayRef> {
    let payloads = Payloads::take(column, rest)?;
    let null = null_row(fields);
    let arrays = fields.decode(payloads.iter(&null))?;
    let DataType::Struct(types) = &column.data_type else {
        return Err(damaged("a struct where none belongs"));
    };
    let structs = StructArray::try_new_with_length(types.clone(), arrays, payloads.nulls, rest.len())
        .map_err(|_| damaged("a null where none can be"))?;
    Ok(Arc::new(structs))
}

pub(super) fn decode_list(column: &Column, element: &RowCodec, rest: &mut [&[u8]]) -> Result<ArrayRef> {
    let payloads = Payloads::take(column, rest)?;
    let null = null_list(&column.data_type, element);
    let mut elements = Vec::new();
    let mut ends = Vec::with_capacity(rest.len() + 1);
    ends.push(0);
    for mut payload in payloads.iter(&null) {
        // The end byte is the last one: the payload was measured when it was taken.
        while payload.len() > 1 {
            let length =
                field_len(&element.columns[0], payload, 0).ok_or_else(|| damaged("a list has a wrong element"))?;
            let (element, after) = payload.split_at(length);
            elements.push(element);
            payload = after;
        }
        ends.push(elements.len());
    }
    let values = element.decode(elements)?.remove(0);
    assemble_list(&column.data_type, values, &ends, payloads.nulls.clone())
}

/// What stands for a null list: no elements, or as many nulls as a list of fixed size must have.
fn null_list(data_type: &DataType, element: &RowCodec) -> Vec<u8> {
    let mut payload = match data_type {
        DataType::FixedSizeList(_, length) => null_row(element).repeat(*length as usize),
        _ => Vec::new(),
    };
    payload.push(END);
    payload
}

fn assemble_list(
    data_type: &DataType,
    values: ArrayRef,
    ends: &[usize],
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let list: Result<ArrayRef, _> = match data_type {
        DataType::List(of) => list_array::<i32>(of, values, ends, nulls)?,
        DataType::LargeList(of) => list_array::<i64>(of, values, ends, nulls)?,
        DataType::Map(of, ordered) => {
            let entries = values.as_struct().clone();
            MapArray::try_new(of.clone(), offsets(ends)?, entries, nulls, *ordered).map(|map| Arc::new(map) as ArrayRef)
        }
        DataType::FixedSizeList(of, length) => {
            let whole = |ends: &[usize]| ends[1] - ends[0] == *length as usize;
            if !ends.windows(2).all(whole) {
                return Err(damaged("a list of fixed size has another size"));
            }
            FixedSizeListArray::try_new(of.clone(), *length, values, nulls).map(|list| Arc::new(list) as ArrayRef)
        }
        _ => return Err(damaged("a list where none belongs")),
    };
    list.map_err(|_| damaged("a null where none can be"))
}

type Built = std::result::Result<ArrayRef, arrow::error::ArrowError>;

fn list_array<O: OffsetSizeTrait>(
    of: &FieldRef,
    values: ArrayRef,
    ends: &[usize],
    nulls: Option<NullBuffer>,
) -> Result<Built> {
    let list = GenericListArray::<O>::try_new(of.clone(), offsets(ends)?, values, nulls);
    Ok(list.map(|list| Arc::new(list) as ArrayRef))
}

fn offsets<O: OffsetSizeTrait>(ends: &[usize]) -> Result<OffsetBuffer<O>> {
    let offsets = ends.iter().map(|end| offset(*end)).collect::<Result<Vec<O>>>()?;
    Ok(OffsetBuffer::new(offsets.into()))
}
