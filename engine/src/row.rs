//! The row codec: rows as bytes that compare like the rows, and back.
//!
//! State keys, join rows, top-N orders, view keys and shard hashes all rest on these bytes, so the
//! format is ours, pinned by test vectors, and changes only together with [`VERSION`] (which
//! belongs into whatever describes stored state). `memcmp` of two rows' bytes gives PostgreSQL's
//! order under each field's direction and null placement; equal rows have equal bytes; no row's
//! bytes are a prefix of another's, so the bytes of a row's first fields are a key prefix.
//!
//! A row is its fields, one after the other. A **field** is a marker and a payload:
//!
//! ```text
//! marker   01 null that sorts first | 02 a value | 03 null that sorts last
//! payload  of fixed width (numbers, booleans, times, FixedSizeBinary); a null has as many zeros
//!            integers      big endian, sign bit flipped
//!            floats        IEEE bits made to sort: negative ones inverted, others sign bit flipped;
//!                          -0.0 is written as 0.0, every NaN as the same one, above infinity
//!            intervals     length in milliseconds (day-time, 8 bytes) or nanoseconds
//!                          (month-day-nano, 12 bytes) at 24 hours a day and 30 days a month,
//!                          then months and days, which tell '1 month' from '30 days'
//!          of variable width; a null has none
//!            bytes, text   each 00 as 01 01, each 01 as 01 02, then 00
//!            struct        its fields
//!            list, map     its elements as fields, then 00 (an element begins with a marker)
//! ```
//!
//! A descending field inverts the bits of its values' payload; the marker stays. Inside structs and
//! lists everything is ascending with nulls last, as PostgreSQL compares arrays and rows, and the
//! whole payload is inverted for a descending field. A dictionary is written as its values.
//!
//! Work goes column by column (`fixed`, `bytes`, `nested`): first each row's length, then
//! each column at every row's cursor. Rows of fixed width skip the first half.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute;
use arrow::datatypes::{DataType, Schema};

use crate::format::sql_type;
use crate::{Error, Result};

mod bytes;
mod fixed;
mod nested;
#[cfg(test)]
mod tests;

/// Version of the encoding.
pub const VERSION: u8 = 1;

const NULL_FIRST: u8 = 1;
const VALUE: u8 = 2;
const NULL_LAST: u8 = 3;
/// Ends bytes, text and lists.
const END: u8 = 0;

/// One field of a row: its type and how it sorts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowField {
    /// The type of the column.
    pub data_type: DataType,
    /// Whether greater values sort first.
    pub descending: bool,
    /// Whether nulls sort before all values (in either direction).
    pub nulls_first: bool,
}

impl RowField {
    /// An ascending field, nulls last.
    pub fn ascending(data_type: DataType) -> Self {
        Self {
            data_type,
            descending: false,
            nulls_first: false,
        }
    }

    /// A descending field, nulls first, as PostgreSQL's `DESC`.
    pub fn descending(data_type: DataType) -> Self {
        Self {
            data_type,
            descending: true,
            nulls_first: true,
        }
    }
}

/// Encodes and decodes rows of given fields. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RowCodec {
    fields: Arc<[RowField]>,
    columns: Arc<[Column]>,
    fixed_width: Option<usize>,
}

impl RowCodec {
    /// A codec for rows of these fields.
    ///
    /// # Errors
    /// If a field's type has no encoding.
    pub fn new(fields: Vec<RowField>) -> Result<Self> {
        let columns = fields.iter().map(Column::new).collect::<Result<Arc<[Column]>>>()?;
        let fixed_width = columns.iter().map(Column::fixed_width).sum();
        Ok(Self {
            fields: fields.into(),
            columns,
            fixed_width,
        })
    }

    /// A codec for rows of these types, all ascending, nulls last.
    ///
    /// # Errors
    /// If a type has no encoding.
    pub fn for_types(types: &[DataType]) -> Result<Self> {
        Self::new(types.iter().cloned().map(RowField::ascending).collect())
    }

    /// A codec for some columns of a schema, all ascending, nulls last.
    ///
    /// # Errors
    /// If a column's type has no encoding.
    pub fn for_columns(schema: &Schema, columns: &[usize]) -> Result<Self> {
        let field = |column: &usize| RowField::ascending(schema.field(*column).data_type().clone());
        Self::new(columns.iter().map(field).collect())
    }

    /// A codec for whole rows of a schema, all ascending, nulls last.
    ///
    /// # Errors
    /// If a column's type has no encoding; the message names the column.
    pub fn for_schema(schema: &Schema) -> Result<Self> {
        for field in schema.fields() {
            Column::new(&RowField::ascending(field.data_type().clone())).map_err(|error| match error {
                Error::Config(cause) => Error::Config(format!("column '{}': {cause}", field.name())),
                other => other,
            })?;
        }
        Self::new(
            schema
                .fields()
                .iter()
                .map(|f| RowField::ascending(f.data_type().clone()))
                .collect(),
        )
    }

    /// The fields, in order.
    pub fn fields(&self) -> &[RowField] {
        &self.fields
    }

    /// The bytes of every row, if all rows have as many: when all fields are of fixed width.
    pub fn fixed_width(&self) -> Option<usize> {
        self.fixed_width
    }

    /// Encodes `num_rows` rows, given by columns.
    ///
    /// # Errors
    /// If the columns aren't the codec's, or a dictionary can't be read.
    pub fn encode(&self, columns: &[ArrayRef], num_rows: usize) -> Result<Rows> {
        let mut rows = Rows::new();
        self.encode_into(columns, num_rows, &mut rows)?;
        Ok(rows)
    }

    /// As [`RowCodec::encode`], behind the rows that `rows` already holds.
    ///
    /// # Errors
    /// As [`RowCodec::encode`]; then `rows` is as before.
    pub fn encode_into(&self, columns: &[ArrayRef], num_rows: usize, rows: &mut Rows) -> Result<()> {
        if columns.len() != self.columns.len() {
            return Err(Error::internal(format!(
                "{} columns for a row codec of {}",
                columns.len(),
                self.columns.len()
            )));
        }
        if let Some(column) = columns.iter().find(|column| column.len() != num_rows) {
            return Err(Error::internal(format!(
                "a column of {} values to encode {num_rows} rows",
                column.len()
            )));
        }
        let ready = self
            .columns
            .iter()
            .zip(columns)
            .map(|(column, array)| Ok((column, column.prepare(array)?)))
            .collect::<Result<Vec<_>>>()?;
        match self.fixed_width {
            Some(width) => encode_fixed_width(&ready, num_rows, width, rows),
            None => encode_variable_width(&ready, num_rows, rows),
        }
        Ok(())
    }

    /// Decodes rows into one array per field, each exactly of the field's type.
    ///
    /// # Errors
    /// If a row isn't one of this codec.
    pub fn decode<'a>(&self, rows: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let mut rest: Vec<&[u8]> = rows.into_iter().collect();
        let arrays = self
            .columns
            .iter()
            .map(|column| column.decode(&mut rest))
            .collect::<Result<Vec<_>>>()?;
        if rest.iter().any(|bytes| !bytes.is_empty()) {
            return Err(damaged("it is longer than its fields"));
        }
        Ok(arrays)
    }

    /// The number of bytes that the first `fields` fields of a row take: the length of the key
    /// prefix that they are.
    ///
    /// # Errors
    /// If the row isn't one of this codec.
    ///
    /// # Panics
    /// If the codec has fewer fields.
    pub fn prefix_len(&self, row: &[u8], fields: usize) -> Result<usize> {
        nested::fields_len(&self.columns[..fields], row, 0).ok_or_else(|| damaged("it is shorter than its fields"))
    }
}

fn encode_fixed_width(ready: &[(&Column, Ready)], num_rows: usize, width: usize, rows: &mut Rows) {
    let start = rows.data.len();
    rows.data.resize(start + num_rows * width, 0);
    rows.offsets.extend((1..=num_rows).map(|row| start + row * width));
    let mut at = 0;
    for (column, ready) in ready {
        let data = &mut rows.data[start..];
        column.write(
            ready,
            Target::Strided {
                data,
                stride: width,
                at,
            },
        );
        at += column.fixed_width().unwrap_or(0);
    }
}

/// The new offsets hold first each row's length, then its begin, at last its end: while columns
/// are written they are the rows' cursors.
fn encode_variable_width(ready: &[(&Column, Ready)], num_rows: usize, rows: &mut Rows) {
    let fixed_part = ready.iter().filter_map(|(column, _)| column.fixed_width()).sum();
    let before = rows.offsets.len();
    rows.offsets.resize(before + num_rows, fixed_part);
    let cursors = &mut rows.offsets[before..];
    for (_, ready) in ready {
        ready.add_lengths(cursors);
    }
    let mut end = rows.data.len();
    for cursor in cursors.iter_mut() {
        let length = *cursor;
        *cursor = end;
        end += length;
    }
    rows.data.resize(end, 0);
    for (column, ready) in ready {
        column.write(
            ready,
            Target::Cursors {
                data: &mut rows.data,
                cursors,
            },
        );
    }
    debug_assert_eq!(rows.offsets.last(), Some(&rows.data.len()));
}

/// Where a column's fields go, one for each row.
enum Target<'a> {
    /// Row `i` begins at `i * stride`, the column `at` bytes into it.
    Strided {
        data: &'a mut [u8],
        stride: usize,
        at: usize,
    },
    /// A cursor for each row, to be moved behind the field.
    Cursors {
        data: &'a mut [u8],
        cursors: &'a mut [usize],
    },
}

impl Target<'_> {
    /// Hands each row's `width` bytes to `write`, together with its value. Inlined so that `width`
    /// is a constant in the loops.
    #[inline(always)]
    fn each<V>(self, width: usize, values: impl Iterator<Item = V>, mut write: impl FnMut(V, &mut [u8])) {
        match self {
            Target::Strided { data, stride, at: _ } if stride == width => {
                for (slot, value) in data.chunks_exact_mut(width).zip(values) {
                    write(value, slot);
                }
            }
            Target::Strided { data, stride, at } => {
                for (row, value) in data.chunks_exact_mut(stride).zip(values) {
                    write(value, &mut row[at..at + width]);
                }
            }
            Target::Cursors { data, cursors } => {
                for (cursor, value) in cursors.iter_mut().zip(values) {
                    let end = *cursor + width;
                    write(value, &mut data[*cursor..end]);
                    *cursor = end;
                }
            }
        }
    }
}

/// One field's part of a codec.
#[derive(Clone, Debug)]
struct Column {
    data_type: DataType,
    /// The marker of a null.
    null: u8,
    /// What a value's payload is xored with: 0, or ff if descending.
    flip: u8,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Payload of this many bytes.
    Fixed(usize),
    /// Bytes or text.
    Bytes,
    /// A struct, with a codec of its fields.
    Struct(RowCodec),
    /// A list or map, with a codec of its element as the only field.
    List(RowCodec),
    /// A dictionary, with the column that its values would be.
    Dictionary(Box<Column>),
}

/// A column that is ready to be written: what had to be found out before.
enum Ready {
    Fixed(ArrayRef),
    Bytes(bytes::Ready),
    Nested(nested::Ready),
}

impl Ready {
    /// Adds to each row's length what the column will write, unless its width is fixed.
    fn add_lengths(&self, lengths: &mut [usize]) {
        match self {
            Ready::Fixed(_) => {}
            Ready::Bytes(ready) => ready.add_lengths(lengths),
            Ready::Nested(ready) => ready.add_lengths(lengths),
        }
    }
}

impl Column {
    fn new(field: &RowField) -> Result<Self> {
        Ok(Self {
            data_type: field.data_type.clone(),
            null: if field.nulls_first { NULL_FIRST } else { NULL_LAST },
            flip: if field.descending { 0xff } else { 0 },
            kind: Self::kind_of(field)?,
        })
    }

    fn kind_of(field: &RowField) -> Result<Kind> {
        use DataType::*;
        let one = |of: &DataType| RowCodec::for_types(std::slice::from_ref(of));
        Ok(match &field.data_type {
            Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView => Kind::Bytes,
            Struct(fields) => {
                let types: Vec<_> = fields.iter().map(|field| field.data_type().clone()).collect();
                Kind::Struct(RowCodec::for_types(&types)?)
            }
            List(of) | LargeList(of) | Map(of, _) => Kind::List(one(of.data_type())?),
            FixedSizeList(of, 1..) => Kind::List(one(of.data_type())?),
            Dictionary(_, values) => {
                let data_type = values.as_ref().clone();
                let inner = Column::new(&RowField {
                    data_type,
                    ..field.clone()
                })?;
                match inner.kind {
                    Kind::Fixed(_) | Kind::Bytes => Kind::Dictionary(Box::new(inner)),
                    _ => return Err(unsupported(&field.data_type)),
                }
            }
            other => match fixed::width_of(other) {
                Some(width) => Kind::Fixed(width),
                None => return Err(unsupported(other)),
            },
        })
    }

    /// Marker and payload, if every field of the column has as many bytes.
    fn fixed_width(&self) -> Option<usize> {
        match &self.kind {
            Kind::Fixed(width) => Some(1 + width),
            Kind::Dictionary(values) => values.fixed_width(),
            _ => None,
        }
    }

    fn prepare(&self, array: &ArrayRef) -> Result<Ready> {
        let same = array.data_type() == &self.data_type;
        match &self.kind {
            Kind::Fixed(_) if same => Ok(Ready::Fixed(array.clone())),
            Kind::Bytes if same => Ok(Ready::Bytes(bytes::Ready::new(array))),
            Kind::Dictionary(values) if same => values.prepare(&compute::cast(array, &values.data_type)?),
            Kind::Struct(fields) => Ok(Ready::Nested(nested::Ready::of_struct(fields, array)?)),
            Kind::List(element) => Ok(Ready::Nested(nested::Ready::of_list(element, array)?)),
            _ => Err(mismatch(&self.data_type, array)),
        }
    }

    fn write(&self, ready: &Ready, target: Target<'_>) {
        match (ready, target) {
            (Ready::Fixed(array), target) => fixed::write(array, self.null, self.flip, target),
            (Ready::Bytes(ready), Target::Cursors { data, cursors }) => {
                ready.write(self.null, self.flip, data, cursors);
            }
            (Ready::Nested(ready), Target::Cursors { data, cursors }) => {
                ready.write(self.null, self.flip, data, cursors);
            }
            (_, Target::Strided { .. }) => unreachable!("the row is of variable width"),
        }
    }

    /// Takes the column's field off the front of every row.
    fn decode(&self, rest: &mut [&[u8]]) -> Result<ArrayRef> {
        match &self.kind {
            Kind::Fixed(_) => fixed::decode(self, rest),
            Kind::Bytes => bytes::decode(self, rest),
            Kind::Struct(fields) => nested::decode_struct(self, fields, rest),
            Kind::List(element) => nested::decode_list(self, element, rest),
            Kind::Dictionary(values) => Ok(compute::cast(&values.decode(rest)?, &self.data_type)?),
        }
    }
}

/// Encoded rows in one piece of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    data: Vec<u8>,
    /// Where each row ends, after a leading 0.
    offsets: Vec<usize>,
}

impl Default for Rows {
    fn default() -> Self {
        Self {
            data: Vec::new(),
            offsets: vec![0],
        }
    }
}

impl Rows {
    /// No rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the row at `index`.
    ///
    /// # Panics
    /// If there are not as many rows.
    #[inline]
    pub fn row(&self, index: usize) -> &[u8] {
        &self.data[self.offsets[index]..self.offsets[index + 1]]
    }

    /// The rows' bytes, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.offsets.windows(2).map(|ends| &self.data[ends[0]..ends[1]])
    }

    /// Appends a row of these bytes.
    pub fn push(&mut self, row: &[u8]) {
        self.data.extend_from_slice(row);
        self.offsets.push(self.data.len());
    }

    /// Drops all rows and keeps the memory.
    pub fn clear(&mut self) {
        self.data.clear();
        self.offsets.truncate(1);
    }

    /// The bytes of all rows, one after the other.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Where in [`Rows::data`] each row begins, and at last where it all ends: one more than rows.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }
}

fn unsupported(data_type: &DataType) -> Error {
    Error::Config(format!(
        "a value of type {} can't be kept in state; cast it to a number, text, bytes, time, list, map or struct",
        sql_type(data_type)
    ))
}

fn mismatch(expected: &DataType, array: &dyn Array) -> Error {
    Error::internal(format!(
        "a column of type {} where {expected} belongs",
        array.data_type()
    ))
}

fn damaged(cause: &str) -> Error {
    Error::State(format!(
        "a stored row can't be read ({cause}); the data directory is damaged: restore a copy"
    ))
}
