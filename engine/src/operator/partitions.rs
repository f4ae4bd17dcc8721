//! Ordered partitions: what top-N and window functions keep of their input.
//!
//! A partition's rows are kept in an [`Arrangement`], ordered: a row's bytes begin with the columns
//! of the order, each in its direction, and go on with the others, ascending, which breaks ties.
//! So the order of the bytes is the order asked for. A row of weight n takes n places.
//!
//! Where a column of the partition is a time that closes it, the rows of a time are a bucket of the
//! state. Rows that come for a closed partition are dropped and counted.

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::{DataType, Schema, TimeUnit, TimestampMicrosecondType};
use weir_state::WriteBatch;

use crate::change::ChangeBatch;
use crate::graph::{CloseSpec, Node, OrderKey};
use crate::operator::arrangement::{Arrangement, Keep, RowId, bucket_of, closed_through, gathered};
use crate::operator::{OperatorStats, TaskContext, Watermark};
use crate::row::{RowCodec, RowField, Rows};
use crate::shard::hash_rows;
use crate::table::{Keys, NEVER, Slot};
use crate::{Error, Result};

/// One task's partitions.
pub(super) struct Partitions {
    partition: Vec<usize>,
    close: Option<CloseSpec>,
    /// Of the partition columns.
    keys: RowCodec,
    /// Input columns in the order in which a row's bytes have them.
    columns: Vec<usize>,
    /// How many of them are the order.
    ordering: usize,
    row: RowCodec,
    /// The rows.
    pub(super) state: Arrangement,
    /// By slot, the step that touched it last.
    touched_in: Vec<u64>,
    steps: u64,
    /// As of the last step: what was closed then is closed for the rows of this one.
    watermark: Watermark,
    late_dropped: u64,
    without_event_time: u64,
}

/// A step's changes, to be put into the state.
pub(super) struct Changes {
    batch: ChangeBatch,
    slots: Vec<Slot>,
    rows: Rows,
}

impl Partitions {
    /// Partitions of the rows of `input`, in the node's state table 0.
    ///
    /// # Errors
    /// If the columns don't fit, one can't be kept in state, or the store can't be read.
    pub(super) fn open(
        partition: &[usize],
        order: &[OrderKey],
        close: Option<CloseSpec>,
        input: &Node,
        context: &TaskContext,
    ) -> Result<Self> {
        check(partition, order, close, &input.schema)?;
        let mut columns: Vec<usize> = Vec::new();
        let mut fields = Vec::new();
        for key in order {
            // Within a partition its columns are all the same, and a column orders but once.
            if !partition.contains(&key.column) && !columns.contains(&key.column) {
                columns.push(key.column);
                fields.push(RowField {
                    data_type: input.schema.field(key.column).data_type().clone(),
                    descending: key.descending,
                    nulls_first: key.nulls_first,
                });
            }
        }
        let ordering = columns.len();
        // So that a column that can't be kept is named.
        RowCodec::for_schema(&input.schema)?;
        for (column, field) in input.schema.fields().iter().enumerate() {
            if !partition.contains(&column) && !columns.contains(&column) {
                columns.push(column);
                fields.push(RowField::ascending(field.data_type().clone()));
            }
        }
        Ok(Self {
            partition: partition.to_vec(),
            close,
            keys: RowCodec::for_columns(&input.schema, partition)?,
            columns,
            ordering,
            row: RowCodec::new(fields)?,
            state: Arrangement::open(context, 0, Keep::Ordered, close.is_some())?,
            touched_in: Vec::new(),
            steps: 0,
            watermark: Watermark::MIN,
            late_dropped: 0,
            without_event_time: 0,
        })
    }

    /// Nothing is emitted before a partition closes.
    pub(super) fn emits_on_close(&self) -> bool {
        self.close.is_some_and(|close| close.emit_on_close)
    }

    /// The last time that is closed. On close a partition's rows are final, so there is nothing to
    /// wait for.
    pub(super) fn closed_through(&self) -> Option<i64> {
        let close = self.close?;
        closed_through(self.watermark, if close.emit_on_close { 0 } else { close.lateness_us })
    }

    /// As of the last step.
    pub(super) fn watermark(&self) -> Watermark {
        self.watermark
    }

    /// The watermark after a step's rows.
    pub(super) fn rise(&mut self, watermark: Watermark) {
        self.watermark = self.watermark.max(watermark);
    }

    /// Begins a step: finds the partitions of its rows. Rows of closed ones are dropped and counted.
    pub(super) fn begin_step(&mut self, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<Changes>> {
        self.steps += 1;
        let mut changes = Vec::new();
        for batch in gathered(inputs.into_iter().flatten().collect())? {
            changes.extend(self.changes(batch)?);
        }
        Ok(changes)
    }

    fn changes(&mut self, batch: ChangeBatch) -> Result<Option<Changes>> {
        let mut buckets = self.buckets(&batch);
        let mut batch = batch;
        if let Some(keep) = self.on_time(&buckets) {
            batch = batch.filter(&keep)?;
            buckets = self.buckets(&batch);
        }
        if batch.is_empty() {
            return Ok(None);
        }
        let columns =
            |places: &[usize]| -> Vec<ArrayRef> { places.iter().map(|column| batch.column(*column).clone()).collect() };
        let keys = self.keys.encode(&columns(&self.partition), batch.num_rows())?;
        let hashes = hash_rows(&keys);
        let slots = self.state.resolve(Keys {
            rows: &keys,
            hashes: &hashes,
            buckets: &buckets,
        })?;
        let rows = self.row.encode(&columns(&self.columns), batch.num_rows())?;
        Ok(Some(Changes { batch, slots, rows }))
    }

    /// Each row's bucket; empty where nothing closes.
    fn buckets(&self, batch: &ChangeBatch) -> Vec<i64> {
        let Some(close) = self.close else {
            return Vec::new();
        };
        let times = batch.column(close.column).as_primitive::<TimestampMicrosecondType>();
        times.iter().map(bucket_of).collect()
    }

    /// Which rows are for partitions that are open, or will ever emit; `None` if all are.
    fn on_time(&mut self, buckets: &[i64]) -> Option<BooleanArray> {
        let closed = self.closed_through();
        let is_late = |bucket: i64| closed.is_some_and(|closed| bucket <= closed);
        let is_timeless = |bucket: i64| bucket == NEVER && self.emits_on_close();
        let late = buckets.iter().filter(|bucket| is_late(**bucket)).count();
        let timeless = buckets.iter().filter(|bucket| is_timeless(**bucket)).count();
        let keep = (late + timeless > 0).then(|| {
            buckets
                .iter()
                .map(|bucket| Some(!is_late(*bucket) && !is_timeless(*bucket)))
                .collect()
        });
        self.late_dropped += late as u64;
        self.without_event_time += timeless as u64;
        keep
    }

    /// Whether the running step hasn't touched a partition; now it has.
    pub(super) fn is_untouched(&mut self, slot: Slot) -> bool {
        if slot.index() >= self.touched_in.len() {
            self.touched_in.resize(slot.index() + 1, 0);
        }
        std::mem::replace(&mut self.touched_in[slot.index()], self.steps) != self.steps
    }

    /// The part of a row's bytes by which it is ordered: peers have the same.
    pub(super) fn order_of<'a>(&self, row: &'a [u8]) -> Result<&'a [u8]> {
        Ok(&row[..self.row.prefix_len(row, self.ordering)?])
    }

    /// The input's columns of these rows.
    pub(super) fn columns_of(&self, slots: &[Slot], rows: &[RowId]) -> Result<Vec<ArrayRef>> {
        let keys = self.keys.decode(slots.iter().map(|slot| self.state.table.key(*slot)))?;
        let rest = self.row.decode(rows.iter().map(|row| self.state.rows.bytes_of(*row)))?;
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.columns.len()];
        for (column, array) in self.partition.iter().zip(keys).chain(self.columns.iter().zip(rest)) {
            if columns.len() <= *column {
                columns.resize(*column + 1, None);
            }
            columns[*column] = Some(array);
        }
        columns
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::internal("a kept row lacks a column"))
    }

    pub(super) fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        self.state.checkpoint(batch)
    }

    pub(super) fn committed(&mut self) -> Result<()> {
        self.state.committed()
    }

    pub(super) fn complete(&mut self, entries: usize) -> Result<bool> {
        self.state.complete(entries)
    }

    pub(super) fn stats(&self) -> OperatorStats {
        let mut stats = OperatorStats {
            late_dropped: self.late_dropped,
            without_event_time: self.without_event_time,
            ..Default::default()
        };
        self.state.count_into(&mut stats);
        stats.state_bytes += (self.touched_in.capacity() * 8) as u64;
        stats
    }
}

/// A step's changes, first its inserts, so that deletes find their rows.
pub(super) fn inserts_first(changes: &[Changes]) -> impl Iterator<Item = (Slot, &[u8], i64)> {
    let updating = changes.iter().filter(|changes| !changes.batch.is_append_only());
    let inserts = changes.iter().flat_map(|changes| changes.of_sign(1));
    inserts.chain(updating.flat_map(|changes| changes.of_sign(-1)))
}

impl Changes {
    fn of_sign(&self, sign: i64) -> impl Iterator<Item = (Slot, &[u8], i64)> {
        let changes = self.slots.iter().enumerate();
        let changes = changes.map(|(nth, slot)| (*slot, self.rows.row(nth), self.batch.weight(nth)));
        changes.filter(move |(.., weight)| weight.signum() == sign)
    }
}

/// What the planner has to have seen to.
fn check(partition: &[usize], order: &[OrderKey], close: Option<CloseSpec>, schema: &Schema) -> Result<()> {
    let width = schema.fields().len();
    let mut used = partition.iter().chain(order.iter().map(|key| &key.column));
    if !used.all(|column| *column < width) {
        return Err(Error::internal("a partition's columns are not those of its input"));
    }
    let close_fits = close.is_none_or(|close| {
        partition.contains(&close.column)
            && matches!(
                schema.field(close.column).data_type(),
                DataType::Timestamp(TimeUnit::Microsecond, _)
            )
    });
    match close_fits {
        true => Ok(()),
        false => Err(Error::internal(
            "partitions close by a column that isn't a TIMESTAMP(6) of theirs",
        )),
    }
}
