//! How far a reach goes in a partition: which of its rows, in order, those are.
//!
//! Rows are numbered, groups of peers have the same bytes of order, and what is a distance away in the order is
//! found by the bytes of that place. So all of it is found by looking at a few rows.

use arrow::datatypes::Schema;
use datafusion::common::ScalarValue;

use crate::Result;
use crate::graph::{Far, OverSpec};
use crate::operator::arrangement::RowId;
use crate::operator::partitions::Partitions;
use crate::row::{RowCodec, RowField};

pub(super) struct Sight {
    /// Of the order, where it is one column; and whether that descends.
    place: Option<(RowCodec, bool)>,
}

/// A side of a row.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Before,
    Behind,
}

impl Sight {
    pub(super) fn new(spec: &OverSpec, schema: &Schema) -> Result<Self> {
        let place = match &spec.order[..] {
            [key] if !spec.partition.contains(&key.column) => {
                let field = RowField {
                    data_type: schema.field(key.column).data_type().clone(),
                    descending: key.descending,
                    nulls_first: key.nulls_first,
                };
                Some((RowCodec::new(vec![field])?, key.descending))
            }
            _ => None,
        };
        Ok(Self { place })
    }

    /// The first of the `rows` that is no further before a place than this: before the row numbered `from`,
    /// and in the order where `at` stands.
    pub(super) fn back(
        &self,
        partitions: &Partitions,
        rows: &[RowId],
        (from, at): (usize, RowId),
        far: &Option<Far>,
    ) -> Result<usize> {
        let Some(far) = far else { return Ok(0) };
        let order_of = |row: RowId| order_of(partitions, row);
        let mut first = from.saturating_sub(far.rows);
        if let Some(groups) = far.groups {
            let mut begin = rows.partition_point(|row| order_of(*row) < order_of(at));
            for _ in 0..groups {
                let Some(previous) = begin.checked_sub(1) else { break };
                let previous = order_of(rows[previous]);
                begin = rows[..begin].partition_point(|row| order_of(*row) < previous);
            }
            first = first.min(begin);
        }
        if let Some(distance) = &far.range {
            let Some(bound) = self.moved(order_of(at), distance, Side::Before)? else {
                return Ok(0);
            };
            first = first.min(rows.partition_point(|row| order_of(*row) < &bound[..]));
        }
        Ok(first)
    }

    /// The end of the `rows` that are no further behind a place than this: behind the row before the one numbered
    /// `from`, and in the order where `at` stands.
    pub(super) fn forth(
        &self,
        partitions: &Partitions,
        rows: &[RowId],
        (from, at): (usize, RowId),
        far: &Option<Far>,
    ) -> Result<usize> {
        let Some(far) = far else { return Ok(rows.len()) };
        let order_of = |row: RowId| order_of(partitions, row);
        let mut end = from.saturating_add(far.rows).min(rows.len());
        if let Some(groups) = far.groups {
            let mut behind = rows.partition_point(|row| order_of(*row) <= order_of(at));
            for _ in 0..groups {
                let Some(next) = rows.get(behind) else { break };
                let next = order_of(*next);
                behind += rows[behind..].partition_point(|row| order_of(*row) <= next);
            }
            end = end.max(behind);
        }
        if let Some(distance) = &far.range {
            let Some(bound) = self.moved(order_of(at), distance, Side::Behind)? else {
                return Ok(rows.len());
            };
            end = end.max(rows.partition_point(|row| order_of(*row) <= &bound[..]));
        }
        Ok(end)
    }

    /// The order of a place so far away; none if there is no such value, and NULL's own of NULL.
    fn moved(&self, order: &[u8], distance: &ScalarValue, side: Side) -> Result<Option<Vec<u8>>> {
        let Some((codec, descending)) = &self.place else {
            return Ok(None);
        };
        let values = codec.decode([order])?;
        let value = ScalarValue::try_from_array(&values[0], 0)?;
        if value.is_null() {
            return Ok(Some(order.to_vec()));
        }
        let down = (side == Side::Before) != *descending;
        let moved = match down {
            true => value.sub_checked(distance),
            false => value.add_checked(distance),
        };
        let moved = moved.and_then(|moved| moved.cast_to(&value.data_type()));
        let Ok(moved) = moved else { return Ok(None) };
        let bytes = codec.encode(&[moved.to_array()?], 1)?;
        Ok(Some(bytes.row(0).to_vec()))
    }
}

/// The bytes by which a row is ordered.
pub(super) fn order_of(partitions: &Partitions, row: RowId) -> &[u8] {
    let bytes = partitions.state.rows.bytes_of(row);
    partitions.order_of(bytes).unwrap_or(bytes)
}
