//! Row fields of bytes and text.
//!
//! 00 ends a value, so 00 and 01 inside are escaped (as 01 01 and 01 02). They are rare: one look
//! at all of a column's bytes usually shows that there are none, and each value is one copy.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, GenericByteArray, OffsetSizeTrait, StringViewArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    ArrowNativeType, BinaryType, ByteArrayType, DataType, LargeBinaryType, LargeUtf8Type, Utf8Type,
};

use super::fixed::{Nulls, take_marker};
use super::{Column, END, VALUE, damaged};
use crate::{Error, Result};

/// Begins an escaped byte.
const ESCAPE: u8 = 1;

/// A column of bytes or text to be written.
pub(super) struct Ready {
    array: ArrayRef,
    /// False if the values certainly hold nothing to escape.
    escapes: bool,
}

/// Runs a block with the column's values, as an iterator of `&[u8]` (at null rows of anything).
macro_rules! with_values {
    ($array:expr, $values:ident => $body:expr) => {
        match $array.data_type() {
            DataType::Utf8 => with_values!(offsets $array.as_string::<i32>(), $values => $body),
            DataType::LargeUtf8 => with_values!(offsets $array.as_string::<i64>(), $values => $body),
            DataType::Binary => with_values!(offsets $array.as_binary::<i32>(), $values => $body),
            DataType::LargeBinary => with_values!(offsets $array.as_binary::<i64>(), $values => $body),
            DataType::Utf8View => {
                let $values = $array.as_string_view().bytes_iter();
                $body
            }
            DataType::BinaryView => {
                let $values = $array.as_binary_view().bytes_iter();
                $body
            }
            other => unreachable!("{other} isn't bytes or text"),
        }
    };
    (offsets $array:expr, $values:ident => $body:expr) => {{
        let array = $array;
        let data = array.value_data();
        let $values = array
            .value_offsets()
            .windows(2)
            .map(|ends| &data[ends[0] as usize..ends[1] as usize]);
        $body
    }};
}

impl Ready {
    pub(super) fn new(array: &ArrayRef) -> Self {
        let escapes = match array.data_type() {
            DataType::Utf8 => needs_escape(used_data(array.as_string::<i32>())),
            DataType::LargeUtf8 => needs_escape(used_data(array.as_string::<i64>())),
            DataType::Binary => needs_escape(used_data(array.as_binary::<i32>())),
            DataType::LargeBinary => needs_escape(used_data(array.as_binary::<i64>())),
            // Views may point anywhere into buffers shared with others: look at each value.
            _ => with_values!(array, values => values.into_iter().any(needs_escape)),
        };
        Self {
            array: array.clone(),
            escapes,
        }
    }

    fn nulls(&self) -> Option<&NullBuffer> {
        self.array.nulls().filter(|nulls| nulls.null_count() > 0)
    }

    pub(super) fn add_lengths(&self, lengths: &mut [usize]) {
        with_values!(self.array, values => match (self.nulls(), self.escapes) {
            (None, false) => {
                for (length, value) in lengths.iter_mut().zip(values) {
                    *length += 2 + value.len();
                }
            }
            (nulls, _) => {
                for (row, (length, value)) in lengths.iter_mut().zip(values).enumerate() {
                    *length += match nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                        true => 2 + value.len() + value.iter().filter(|b| **b <= ESCAPE).count(),
                        false => 1,
                    };
                }
            }
        });
    }

    pub(super) fn write(&self, null: u8, flip: u8, data: &mut [u8], cursors: &mut [usize]) {
        with_values!(self.array, values => match (self.nulls(), self.escapes) {
            (None, false) => {
                for (cursor, value) in cursors.iter_mut().zip(values) {
                    *cursor += write_plain(value, flip, &mut data[*cursor..]);
                }
            }
            (nulls, escapes) => {
                for (row, (cursor, value)) in cursors.iter_mut().zip(values).enumerate() {
                    let slot = &mut data[*cursor..];
                    *cursor += if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                        slot[0] = null;
                        1
                    } else if escapes {
                        write_escaped(value, flip, slot)
                    } else {
                        write_plain(value, flip, slot)
                    };
                }
            }
        });
    }
}

/// The bytes of an array's values, which may be a part of a longer buffer.
fn used_data<T: ByteArrayType>(array: &GenericByteArray<T>) -> &[u8] {
    let offsets = array.value_offsets();
    &array.value_data()[offsets[0].as_usize()..offsets[array.len()].as_usize()]
}

/// Whether there is a byte to escape. Written for the vectoriser: no exit within a block.
fn needs_escape(bytes: &[u8]) -> bool {
    bytes
        .chunks(64)
        .any(|block| block.iter().fold(false, |any, byte| any | (*byte <= ESCAPE)))
}

/// Copies `from` to the front of `to`, inverted if `flip` says so.
#[inline(always)]
pub(super) fn copy(from: &[u8], flip: u8, to: &mut [u8]) {
    let to = &mut to[..from.len()];
    if flip == 0 {
        copy_same_len(from, to);
    } else {
        to.iter_mut().zip(from).for_each(|(to, byte)| *to = byte ^ flip);
    }
}

/// Most texts are short: two copies of constant size, which may overlap, are quicker than a call.
#[inline(always)]
fn copy_same_len(from: &[u8], to: &mut [u8]) {
    #[inline(always)]
    fn ends<const N: usize>(from: &[u8], to: &mut [u8]) -> Option<()> {
        *to.first_chunk_mut::<N>()? = *from.first_chunk::<N>()?;
        *to.last_chunk_mut::<N>()? = *from.last_chunk::<N>()?;
        Some(())
    }
    let copied = match from.len() {
        33.. => None,
        16..=32 => ends::<16>(from, to),
        8..16 => ends::<8>(from, to),
        4..8 => ends::<4>(from, to),
        2..4 => ends::<2>(from, to),
        _ => ends::<1>(from, to),
    };
    if copied.is_none() {
        to.copy_from_slice(from);
    }
}

/// As [`copy_same_len`], behind what `values` holds.
#[inline(always)]
fn append(from: &[u8], values: &mut Vec<u8>) {
    #[inline(always)]
    fn ends<const N: usize>(from: &[u8], values: &mut Vec<u8>) -> Option<()> {
        values.extend_from_slice(from.first_chunk::<N>()?);
        values.truncate(values.len() + from.len() - 2 * N);
        values.extend_from_slice(from.last_chunk::<N>()?);
        Some(())
    }
    let copied = match from.len() {
        33.. => None,
        16..=32 => ends::<16>(from, values),
        8..16 => ends::<8>(from, values),
        4..8 => ends::<4>(from, values),
        _ => None,
    };
    if copied.is_none() {
        values.extend_from_slice(from);
    }
}

#[inline(always)]
fn write_plain(value: &[u8], flip: u8, slot: &mut [u8]) -> usize {
    let slot = &mut slot[..value.len() + 2];
    slot[0] = VALUE;
    copy(value, flip, &mut slot[1..]);
    slot[value.len() + 1] = END ^ flip;
    value.len() + 2
}

fn write_escaped(mut value: &[u8], flip: u8, slot: &mut [u8]) -> usize {
    slot[0] = VALUE;
    let mut at = 1;
    while let Some(plain) = find_special(value, 0) {
        copy(&value[..plain], flip, &mut slot[at..]);
        copy(&[ESCAPE, value[plain] + 1], flip, &mut slot[at + plain..]);
        at += plain + 2;
        value = &value[plain + 1..];
    }
    copy(value, flip, &mut slot[at..]);
    at += value.len();
    slot[at] = END ^ flip;
    at + 1
}

/// The index of the first byte that is 00 or 01 (after xor with `flip`).
///
/// Eight at a time: without its lowest bit such a byte is 0, and subtracting 1 from a 0 byte
/// borrows into its highest bit. Later bytes may be marked wrongly by the borrow, the first never.
#[inline(always)]
fn find_special(bytes: &[u8], flip: u8) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let flips = u64::from_ne_bytes([flip; 8]);
    let in_word = |word: [u8; 8]| {
        let word = (u64::from_le_bytes(word) ^ flips) & !ONES;
        let marks = word.wrapping_sub(ONES) & !word & (ONES << 7);
        (marks != 0).then(|| marks.trailing_zeros() as usize / 8)
    };
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        if let Some(byte) = in_word(*word) {
            return Some(index * 8 + byte);
        }
    }
    // The tail once more together with bytes that were seen before it.
    match bytes.last_chunk::<8>() {
        Some(word) => in_word(*word).map(|byte| bytes.len() - 8 + byte),
        None => tail.iter().position(|byte| byte ^ flip <= ESCAPE),
    }
}

/// The payload's length including its end, and how many bytes are escaped in it; `None` if it has
/// no end.
#[inline(always)]
pub(super) fn payload_len(payload: &[u8], flip: u8) -> Option<(usize, usize)> {
    let (mut at, mut escapes) = (0, 0);
    loop {
        at += find_special(payload.get(at..)?, flip)?;
        if payload[at] ^ flip == END {
            return Some((at + 1, escapes));
        }
        at += 2;
        escapes += 1;
    }
}

/// Takes a column of bytes or text off the front of every row.
pub(super) fn decode(column: &Column, rest: &mut [&[u8]]) -> Result<ArrayRef> {
    Ok(match &column.data_type {
        DataType::Utf8 => Arc::new(take_array::<Utf8Type>(column, rest)?),
        DataType::LargeUtf8 => Arc::new(take_array::<LargeUtf8Type>(column, rest)?),
        DataType::Binary => Arc::new(take_array::<BinaryType>(column, rest)?),
        DataType::LargeBinary => Arc::new(take_array::<LargeBinaryType>(column, rest)?),
        DataType::Utf8View => Arc::new(StringViewArray::from(&take_array::<LargeUtf8Type>(column, rest)?)),
        DataType::BinaryView => Arc::new(BinaryViewArray::from(&take_array::<LargeBinaryType>(column, rest)?)),
        other => unreachable!("{other} isn't bytes or text"),
    })
}

/// First finds all values' ends, then copies into memory of just the size.
fn take_array<T: ByteArrayType>(column: &Column, rest: &mut [&[u8]]) -> Result<GenericByteArray<T>> {
    let mut stored = Vec::with_capacity(rest.len());
    let mut nulls = Nulls::with_capacity(rest.len());
    let mut offsets = Vec::with_capacity(rest.len() + 1);
    let (mut end, mut any_escapes) = (0, false);
    offsets.push(T::Offset::default());
    for row in rest {
        let (valid, after) = take_marker(column, row)?;
        nulls.push(valid);
        *row = after;
        if valid {
            let (length, escapes) = payload_len(after, column.flip).ok_or_else(|| damaged("a text has no end"))?;
            *row = &after[length..];
            end += length - 1 - escapes;
            any_escapes |= escapes > 0;
            stored.push(&after[..length - 1]);
        }
        offsets.push(offset(end)?);
    }
    let mut values = Vec::with_capacity(end);
    if any_escapes {
        stored
            .iter()
            .try_for_each(|stored| append_unescaped(stored, column.flip, &mut values))?;
    } else {
        stored.iter().for_each(|stored| append(stored, &mut values));
    }
    if column.flip != 0 {
        values.iter_mut().for_each(|byte| *byte ^= column.flip);
    }
    let offsets = OffsetBuffer::new(offsets.into());
    GenericByteArray::try_new(offsets, values.into(), nulls.finish()).map_err(|_| damaged("a text isn't valid UTF-8"))
}

/// Appends a value that was stored with escapes; both remain inverted as `flip` says.
fn append_unescaped(mut stored: &[u8], flip: u8, values: &mut Vec<u8>) -> Result<()> {
    while let Some(plain) = find_special(stored, flip) {
        values.extend_from_slice(&stored[..plain]);
        match stored.get(plain + 1).map(|byte| byte ^ flip) {
            Some(escaped @ 1..=2) => values.push((escaped - 1) ^ flip),
            _ => return Err(damaged("a text has a wrong escape")),
        }
        stored = &stored[plain + 2..];
    }
    values.extend_from_slice(stored);
    Ok(())
}

/// A length as an offset of an Arrow array.
pub(super) fn offset<O: OffsetSizeTrait>(length: usize) -> Result<O> {
    O::from_usize(length).ok_or_else(|| {
        Error::Data(
            "more than 2 GiB of text, bytes or list elements in one column of a batch; use fewer or shorter values"
                .into(),
        )
    })
}
