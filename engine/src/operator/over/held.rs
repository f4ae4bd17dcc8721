//! Rows in order that wait for later ones: whose values are final, and when to look again.
//!
//! A value is final when all rows that it rests on are there. Rows only come behind those that are there, so
//! those are so many rows or groups of peers behind it, or all up to a time that the watermark has passed. At the
//! end of the input all values are final.
//!
//! Which rows have been emitted is not kept: those were that are final as of the rows and the watermark before
//! the step. What lies behind a row that waits is never forgotten, so this comes out the same after a crash.
//!
//! [`Timers`] say when to look at a partition to which nothing comes: when the watermark passes what its first
//! waiting row looks at, or at the end of the input.

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Schema, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use weir_state::WriteBatch;

use super::later;
use super::sight::{Sight, order_of};
use crate::graph::{Far, OverSpec};
use crate::operator::arrangement::RowId;
use crate::operator::partitions::Partitions;
use crate::operator::timers::{Hint, Timers};
use crate::operator::{OperatorStats, TaskContext, Watermark};
use crate::row::{RowCodec, RowField};
use crate::shard::hash_rows;
use crate::table::{Keys, NEVER, Slot};
use crate::{Error, Result};

/// The timer of what no watermark but that at the end of the input makes final.
const AT_THE_END: i64 = NEVER - 1;

/// What one task's rows wait for.
pub(super) struct Held {
    /// How far from a partition's end those are that have too few rows or groups behind them.
    later: Option<Far>,
    /// Where they wait for the watermark, too.
    ahead: Option<Ahead>,
    timers: Timers,
    /// The watermark at which all that wait for it alone are final, of partitions that have been looked at.
    latest: Watermark,
}

/// How far ahead in event time values look.
struct Ahead {
    distance_us: i64,
    /// Of the order, which is event time.
    time: RowCodec,
    data_type: DataType,
}

impl Held {
    /// Of the rows of a node in order whose values reach so far behind, in its state table 1.
    pub(super) fn open(spec: &OverSpec, far: Far, input: &Schema, context: &TaskContext) -> Result<Self> {
        Ok(Self {
            ahead: match far.range {
                Some(_) => Some(Ahead::new(spec, far.range_us(), input)?),
                None => None,
            },
            later: later(&Some(Far { range: None, ..far })),
            timers: Timers::open(context, 1, true)?,
            latest: Watermark::MIN,
        })
    }

    /// How many of a partition's rows are final.
    pub(super) fn final_until(
        &self,
        partitions: &Partitions,
        sight: &Sight,
        rows: &[RowId],
        watermark: Watermark,
    ) -> Result<usize> {
        let followed = self.followed(partitions, sight, rows)?;
        match &self.ahead {
            _ if watermark == Watermark::MAX => Ok(rows.len()),
            Some(ahead) => Ok(followed.min(ahead.passed(partitions, rows, watermark)?)),
            None => Ok(followed),
        }
    }

    /// How many have all rows and groups behind them that they look at.
    fn followed(&self, partitions: &Partitions, sight: &Sight, rows: &[RowId]) -> Result<usize> {
        match rows.last() {
            Some(newest) => sight.back(partitions, rows, (rows.len(), *newest), &self.later),
            None => Ok(0),
        }
    }

    /// Sees to it that a partition whose rows wait from number `first` on is looked at when that one is final.
    pub(super) fn wait(
        &mut self,
        partitions: &mut Partitions,
        sight: &Sight,
        slot: Slot,
        (rows, first): (&[RowId], usize),
    ) -> Result<()> {
        if first == rows.len() {
            return Ok(());
        }
        let followed = self.followed(partitions, sight, rows)?;
        let time = match &self.ahead {
            Some(ahead) if first < followed => {
                let last = ahead.is_final_at(partitions, rows[followed - 1])?;
                self.latest = self.latest.max(last);
                ahead.is_final_at(partitions, rows[first])?
            }
            _ => AT_THE_END,
        };
        self.timers.set(&mut partitions.state, slot, time, Hint::default());
        Ok(())
    }

    /// The partitions that are to be looked at, at a watermark.
    pub(super) fn take_due(&mut self, partitions: &mut Partitions, watermark: Watermark) -> Result<Vec<Slot>> {
        let due = self.timers.take_due(watermark)?;
        let hashes = hash_rows(&due.partitions);
        let slots = partitions.state.lookup(Keys::new(&due.partitions, &hashes))?;
        let slots: Vec<Slot> = slots.into_iter().flatten().collect();
        for slot in &slots {
            self.timers.forget(&mut partitions.state, *slot);
        }
        Ok(slots)
    }

    /// To be called before the step ends.
    pub(super) fn flush(&mut self, partitions: &Partitions) -> Result<()> {
        self.timers.flush(&partitions.state)
    }

    /// The watermark at which all that wait for it alone are out. Those that wait for more rows are not.
    pub(super) fn open_until(&self) -> Option<Watermark> {
        // Of rows from before the start each partition's first one is known.
        Some(self.timers.last_below(AT_THE_END)?.max(self.latest))
    }

    pub(super) fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        self.timers.checkpoint(batch)
    }

    pub(super) fn committed(&mut self) -> Result<()> {
        self.timers.committed()
    }

    pub(super) fn complete(&mut self, entries: usize) -> Result<bool> {
        self.timers.complete(entries)
    }

    pub(super) fn count_into(&self, stats: &mut OperatorStats) {
        self.timers.count_into(stats);
    }
}

impl Ahead {
    fn new(spec: &OverSpec, distance_us: Option<i64>, input: &Schema) -> Result<Self> {
        let wrong = || Error::internal("rows in order look ahead by what is no length of event time");
        let ([key], Some(distance_us)) = (&spec.order[..], distance_us) else {
            return Err(wrong());
        };
        let data_type = input.field(key.column).data_type().clone();
        if !matches!(data_type, DataType::Timestamp(..)) || spec.partition.contains(&key.column) {
            return Err(wrong());
        }
        let field = RowField {
            data_type: data_type.clone(),
            descending: key.descending,
            nulls_first: key.nulls_first,
        };
        Ok(Self {
            distance_us,
            time: RowCodec::new(vec![field])?,
            data_type,
        })
    }

    /// How many rows there are of times that lie so far behind the watermark.
    fn passed(&self, partitions: &Partitions, rows: &[RowId], watermark: Watermark) -> Result<usize> {
        let bound = watermark.saturating_sub(self.distance_us);
        let bound = ScalarValue::Int64(Some(bound)).cast_to(&self.data_type)?;
        let bound = self.time.encode(&[bound.to_array()?], 1)?;
        Ok(rows.partition_point(|row| order_of(partitions, *row) < bound.row(0)))
    }

    /// The watermark at which no row will come any more that a row looks at.
    fn is_final_at(&self, partitions: &Partitions, row: RowId) -> Result<Watermark> {
        let times = self.time.decode([order_of(partitions, row)])?;
        let time = times[0].as_primitive::<TimestampMicrosecondType>().value(0);
        Ok(time
            .saturating_add(self.distance_us)
            .saturating_add(1)
            .min(AT_THE_END - 1))
    }
}
