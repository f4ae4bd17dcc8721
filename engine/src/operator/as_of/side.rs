//! One side of an as-of join: what is known of an input, and its rows by key and place.

use arrow::array::AsArray;
use arrow::datatypes::{Field, Schema, TimestampMicrosecondType};

use super::places::is_descending;
use super::*;
use crate::operator::arrangement::{Arrangement, Keep};
use crate::row::RowField;

/// Stands behind the place where a key has no row from then on. No field of a row begins so.
const END: u8 = 0;

pub(super) struct Side {
    keys: Vec<usize>,
    order: usize,
    /// The columns that are neither.
    rest: Vec<usize>,
    /// The place, then the rest.
    rows: RowCodec,
    /// Of the visible columns.
    pub(super) types: Vec<DataType>,
    /// Where the input has its splits' watermarks.
    watermark: Option<usize>,
    /// Where it says which rows are tombstones.
    tombstone: Option<usize>,
    pub(super) state: Arrangement,
}

/// An input's columns without the hidden ones.
pub(super) fn visible<'a>(spec: &AsOfSpec, is_left: bool, schema: &'a Schema) -> &'a [Arc<Field>] {
    let hidden = match (is_left, spec.records, spec.close) {
        (false, true, _) => 2,
        (_, _, Some(_)) => 1,
        _ => 0,
    };
    let fields = schema.fields();
    &fields[..fields.len().saturating_sub(hidden)]
}

impl Side {
    pub(super) fn new(spec: &AsOfSpec, is_left: bool, schema: &Schema, context: &TaskContext) -> Result<Self> {
        let (keys, order) = match is_left {
            true => (&spec.left_keys, spec.left_order),
            false => (&spec.right_keys, spec.right_order),
        };
        let fields = visible(spec, is_left, schema);
        let types: Vec<DataType> = fields.iter().map(|field| field.data_type().clone()).collect();
        let records = spec.records && !is_left;
        let is_rest = |column: &usize| *column != order && !keys.contains(column);
        let rest: Vec<usize> = (0..types.len()).filter(is_rest).collect();
        // So that a column that can't be kept is named.
        RowCodec::for_schema(&Schema::new(fields.to_vec()))?;
        let place = RowField {
            data_type: types[order].clone(),
            descending: is_descending(spec),
            nulls_first: false,
        };
        let others = rest.iter().map(|column| RowField::ascending(types[*column].clone()));
        Ok(Self {
            keys: keys.clone(),
            order,
            rows: RowCodec::new(std::iter::once(place).chain(others).collect())?,
            rest,
            watermark: (records || spec.close.is_some()).then_some(types.len()),
            tombstone: records.then_some(types.len() + 1),
            types,
            state: Arrangement::open(context, u16::from(!is_left), Keep::Ordered, false)?,
        })
    }

    pub(super) fn key_columns(&self, batch: &ChangeBatch) -> Vec<ArrayRef> {
        self.keys.iter().map(|key| batch.column(*key).clone()).collect()
    }

    /// Rows as they are kept.
    pub(super) fn encode(&self, batch: &ChangeBatch) -> Result<Rows> {
        let columns = std::iter::once(&self.order).chain(&self.rest);
        let columns: Vec<ArrayRef> = columns.map(|column| batch.column(*column).clone()).collect();
        self.rows.encode(&columns, batch.num_rows())
    }

    /// All columns of kept rows, given those of their keys.
    pub(super) fn columns(&self, keys: &[ArrayRef], rows: impl Iterator<Item = RowId>) -> Result<Vec<ArrayRef>> {
        let decoded = self.rows.decode(rows.map(|row| self.state.rows.bytes_of(row)))?;
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.types.len()];
        let places = std::iter::once(&self.order).chain(&self.rest);
        for (column, array) in places.zip(decoded).chain(self.keys.iter().zip(keys.iter().cloned())) {
            columns[*column] = Some(array);
        }
        columns
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::internal("a kept row lacks a column"))
    }

    /// How many of a kept row's bytes are its place.
    pub(super) fn place_len(&self, row: &[u8]) -> Result<usize> {
        self.rows.prefix_len(row, 1)
    }

    pub(super) fn place_of(&self, row: RowId) -> Result<&[u8]> {
        let bytes = self.state.rows.bytes_of(row);
        Ok(&bytes[..self.place_len(bytes)?])
    }

    /// The bytes of a place from which on a key has no row.
    pub(super) fn end_at(place: &[u8]) -> Vec<u8> {
        [place, &[END]].concat()
    }

    /// Whether a key has no row from this place on.
    pub(super) fn is_end(&self, row: RowId) -> bool {
        let bytes = self.state.rows.bytes_of(row);
        self.tombstone.is_some() && self.place_len(bytes).is_ok_and(|place| bytes[place..] == [END])
    }

    /// Whether a row of the batch is a tombstone.
    pub(super) fn is_tombstone<'a>(&self, batch: &'a ChangeBatch) -> impl Fn(usize) -> bool + use<'a> {
        let column = self.tombstone.map(|column| batch.column(column).as_boolean());
        move |row| column.is_some_and(|column| column.is_valid(row) && column.value(row))
    }

    /// The watermark of a row's split before it.
    pub(super) fn watermark_of<'a>(&self, batch: &'a ChangeBatch) -> impl Fn(usize) -> Option<i64> + use<'a> {
        let column = self.watermark.map(|column| batch.column(column));
        let column = column.map(|column| column.as_primitive::<TimestampMicrosecondType>());
        move |row| {
            column
                .filter(|column| column.is_valid(row))
                .map(|column| column.value(row))
        }
    }

    /// Which rows are not below their split's watermark. Those without a time are.
    pub(super) fn on_time(&self, batch: &ChangeBatch, lateness_us: i64) -> Result<BooleanArray> {
        let Some(times) = batch.column(self.order).as_primitive_opt::<TimestampMicrosecondType>() else {
            return Err(Error::internal(
                "an as-of join closes by a column that isn't TIMESTAMP(6)",
            ));
        };
        let watermark = self.watermark_of(batch);
        let is_on_time = |(row, time): (usize, Option<i64>)| match (time, watermark(row)) {
            (Some(time), Some(watermark)) => time.saturating_add(lateness_us) >= watermark,
            _ => true,
        };
        Ok(times.iter().enumerate().map(|row| Some(is_on_time(row))).collect())
    }

    /// Which rows have no place, though they are no tombstones.
    pub(super) fn without_place(&self, batch: &ChangeBatch) -> Result<BooleanArray> {
        let (is_null, tombstone) = (compute::is_null(batch.column(self.order))?, self.is_tombstone(batch));
        let rows = is_null.values().iter().enumerate();
        Ok(rows.map(|(row, is_null)| Some(is_null && !tombstone(row))).collect())
    }

    /// Which rows have a place and no NULL in their key; `None` if all have.
    pub(super) fn has_place(&self, batch: &ChangeBatch) -> Result<Option<BooleanArray>> {
        let mut lacks = self.without_place(batch)?;
        for key in &self.keys {
            if batch.column(*key).logical_null_count() > 0 {
                lacks = compute::or(&lacks, &compute::is_null(batch.column(*key))?)?;
            }
        }
        Ok(match lacks.true_count() {
            0 => None,
            _ => Some(compute::not(&lacks)?),
        })
    }
}
