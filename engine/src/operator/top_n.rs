//! Top-N: of each partition the rows `offset .. offset + limit` in order.
//!
//! A partition's rows are kept in an [`Arrangement`], ordered: a row's bytes begin with the columns
//! of the order, each in its direction, and go on with the others, ascending, which breaks ties.
//! So the order of the bytes is the order asked for. A row of weight n takes n places.
//!
//! A step changes the output of those partitions only whose *head*, the first `offset + limit`
//! places, changes. So the last row of each head is remembered, and a change behind it goes into
//! the state without more ado. For the others the head is read before and after the step's
//! changes, and the difference is emitted. Where the input only appends, what falls out of a head
//! never comes back, and isn't kept.
//!
//! With `emit_on_close` nothing is emitted before the watermark reaches the partition's time; then
//! its rows are, once. Either way a closed partition's state goes, and rows that come for it later
//! are dropped and counted.

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use weir_state::WriteBatch;

use crate::change::ChangeBatch;
use crate::graph::{Node, TopNSpec};
use crate::operator::arrangement::{Arrangement, Keep, RowId, bucket_of, closed_through, gathered};
use crate::operator::{Operator, OperatorStats, Step, TaskContext, Watermark};
use crate::row::{RowCodec, RowField, Rows};
use crate::shard::hash_rows;
use crate::table::{Keys, NEVER, Slot};
use crate::{Error, Result};

mod head;
#[cfg(test)]
mod tests;

use head::{Emit, Head, difference};

/// One task's part of a [`TopNSpec`] node.
pub struct TopN {
    spec: TopNSpec,
    layout: Layout,
    state: Arrangement,
    /// By slot, the step that touched it last.
    touched_in: Vec<u64>,
    steps: u64,
    /// The input never deletes: rows behind a head need not be kept.
    append_only: bool,
    /// As of the last step: what was closed then is closed for the rows of this one.
    watermark: Watermark,
    late_dropped: u64,
    without_event_time: u64,
}

/// How rows are written as bytes and read back.
struct Layout {
    /// Of the partition columns.
    partition: RowCodec,
    /// Input columns in the order in which a row's bytes have them.
    columns: Vec<usize>,
    row: RowCodec,
    schema: SchemaRef,
}

/// Where a partition's head ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Not looked at yet.
    Unknown,
    /// The head isn't full: every row is in it.
    Open,
    /// This row is the last of it, with all or some of its weight.
    At(RowId),
}

/// A step's changes, to be put into the state.
struct Changes {
    batch: ChangeBatch,
    slots: Vec<Slot>,
    rows: Rows,
}

impl TopN {
    /// An operator over `input` whose output has the columns of `node.schema`: the input's, and the
    /// row number where it is asked for.
    ///
    /// # Errors
    /// If the plan doesn't fit together, a column can't be kept in state, or the store can't be
    /// read.
    pub fn new(spec: &TopNSpec, node: &Node, input: &Node, context: &TaskContext) -> Result<Self> {
        check(spec, node, input)?;
        Ok(Self {
            layout: Layout::new(spec, node, input)?,
            state: Arrangement::open(context, 0, Keep::Ordered, spec.close.is_some())?,
            touched_in: Vec::new(),
            steps: 0,
            append_only: input.append_only,
            spec: spec.clone(),
            watermark: Watermark::MIN,
            late_dropped: 0,
            without_event_time: 0,
        })
    }

    fn emits_on_close(&self) -> bool {
        self.spec.close.is_some_and(|close| close.emit_on_close)
    }

    /// On close a partition's rows are final, so there is nothing to wait for.
    fn closed_through(&self) -> Option<i64> {
        let close = self.spec.close?;
        closed_through(self.watermark, if close.emit_on_close { 0 } else { close.lateness_us })
    }

    fn places(&self) -> u64 {
        self.spec.offset.saturating_add(self.spec.limit)
    }

    /// Finds the partitions of a batch's rows. Rows of closed partitions are dropped and counted.
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
        let keys = self
            .layout
            .partition
            .encode(&columns(&self.spec.partition), batch.num_rows())?;
        let hashes = hash_rows(&keys);
        let slots = self.state.resolve(Keys {
            rows: &keys,
            hashes: &hashes,
            buckets: &buckets,
        })?;
        let rows = self
            .layout
            .row
            .encode(&columns(&self.layout.columns), batch.num_rows())?;
        Ok(Some(Changes { batch, slots, rows }))
    }

    /// Each row's bucket; empty where nothing closes.
    fn buckets(&self, batch: &ChangeBatch) -> Vec<i64> {
        let Some(close) = self.spec.close else {
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

    /// Puts changes into the state, first inserts, so that deletes find their rows. Returns the
    /// partitions whose head may have changed, with the head as it was.
    fn apply(&mut self, changes: &[Changes]) -> Result<Vec<(Slot, Head)>> {
        self.steps += 1;
        let mut touched = Vec::new();
        for changes in changes {
            self.apply_some(changes, |weight| weight > 0, &mut touched)?;
        }
        for changes in changes.iter().filter(|changes| !changes.batch.is_append_only()) {
            self.apply_some(changes, |weight| weight < 0, &mut touched)?;
        }
        Ok(touched)
    }

    fn apply_some(
        &mut self,
        changes: &Changes,
        wanted: impl Fn(i64) -> bool,
        touched: &mut Vec<(Slot, Head)>,
    ) -> Result<()> {
        for (nth, slot) in changes.slots.iter().enumerate() {
            let (row, weight) = (changes.rows.row(nth), changes.batch.weight(nth));
            if !wanted(weight) {
                continue;
            }
            if self.end(*slot).is_before(row, &self.state) {
                if !self.append_only {
                    self.state.add(*slot, row, weight)?;
                }
                continue;
            }
            if self.is_untouched(*slot) {
                let head = match self.emits_on_close() {
                    true => Head::default(),
                    false => Head::of(&self.state, *slot, self.places()),
                };
                touched.push((*slot, head));
            }
            self.state.add(*slot, row, weight)?;
        }
        Ok(())
    }

    /// Whether the running step hasn't touched a partition; now it has.
    fn is_untouched(&mut self, slot: Slot) -> bool {
        if slot.index() >= self.touched_in.len() {
            self.touched_in.resize(slot.index() + 1, 0);
        }
        std::mem::replace(&mut self.touched_in[slot.index()], self.steps) != self.steps
    }

    fn end(&mut self, slot: Slot) -> End {
        match End::from_note(self.state.rows.note(slot)) {
            End::Unknown => {
                let end = Head::of(&self.state, slot, self.places()).end();
                self.state.rows.set_note(slot, end.to_note());
                end
            }
            end => end,
        }
    }

    /// What the step's changes make of the output.
    fn settle(&mut self, touched: Vec<(Slot, Head)>, emit: &mut Emit) -> Result<()> {
        let places = self.places();
        for (slot, before) in touched {
            let after = Head::of(&self.state, slot, places);
            let end = after.end();
            self.state.rows.set_note(slot, end.to_note());
            if !self.emits_on_close() {
                difference(&self.state, slot, &before, &after, &self.spec, emit);
            }
            if self.append_only
                && let End::At(last) = end
            {
                let beyond: Vec<RowId> = self
                    .state
                    .rows
                    .of(slot)
                    .skip_while(|row| *row != last)
                    .skip(1)
                    .collect();
                for row in beyond {
                    self.state.rows.remove(slot, row);
                }
            }
        }
        Ok(())
    }

    /// Emits what is due, and forgets closed partitions.
    fn close(&mut self, emit: &mut Emit) -> Result<Vec<ChangeBatch>> {
        let Some(through) = self.closed_through() else {
            return Ok(Vec::new());
        };
        let mut output = Vec::new();
        if self.emits_on_close() {
            while let Some(bucket) = self.state.table.first_bucket(through) {
                for slot in self.state.load_bucket(bucket)? {
                    let head = Head::of(&self.state, slot, self.places());
                    difference(&self.state, slot, &Head::default(), &head, &self.spec, emit);
                }
                output.extend(self.layout.batches(&self.state, emit, &self.spec)?);
                self.state.close_through(bucket);
            }
        }
        self.state.close_through(through);
        Ok(output)
    }
}

impl Operator for TopN {
    fn step(&mut self, step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        if self.spec.limit == 0 {
            return Ok(Vec::new());
        }
        let mut changes = Vec::new();
        for batch in gathered(inputs.into_iter().flatten().collect())? {
            changes.extend(self.changes(batch)?);
        }
        let mut emit = Emit::default();
        let touched = self.apply(&changes)?;
        self.settle(touched, &mut emit)?;
        let mut output = self.layout.batches(&self.state, &mut emit, &self.spec)?;
        self.watermark = self.watermark.max(step.watermark);
        output.extend(self.close(&mut emit)?);
        Ok(output)
    }

    fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        self.state.checkpoint(batch)
    }

    fn committed(&mut self) -> Result<()> {
        self.state.committed()
    }

    fn complete(&mut self, entries: usize) -> Result<bool> {
        self.state.complete(entries)
    }

    fn stats(&self) -> OperatorStats {
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

impl End {
    /// Whether a row comes behind the head, and so doesn't change it.
    fn is_before(self, row: &[u8], state: &Arrangement) -> bool {
        match self {
            End::At(last) => row > state.rows.bytes_of(last),
            End::Open | End::Unknown => false,
        }
    }

    /// As a slot's note, which is 0 for a slot that begins anew.
    fn to_note(self) -> u32 {
        match self {
            End::Unknown => 0,
            End::Open => 1,
            End::At(RowId(row)) => row + 2,
        }
    }

    fn from_note(note: u32) -> Self {
        match note {
            0 => End::Unknown,
            1 => End::Open,
            row => End::At(RowId(row - 2)),
        }
    }
}

impl Layout {
    fn new(spec: &TopNSpec, node: &Node, input: &Node) -> Result<Self> {
        let mut columns: Vec<usize> = Vec::new();
        let mut fields = Vec::new();
        for key in &spec.order {
            // Within a partition its columns are all the same, and a column orders but once.
            if !spec.partition.contains(&key.column) && !columns.contains(&key.column) {
                columns.push(key.column);
                fields.push(RowField {
                    data_type: input.schema.field(key.column).data_type().clone(),
                    descending: key.descending,
                    nulls_first: key.nulls_first,
                });
            }
        }
        // So that a column that can't be kept is named.
        RowCodec::for_schema(&input.schema)?;
        for (column, field) in input.schema.fields().iter().enumerate() {
            if !spec.partition.contains(&column) && !columns.contains(&column) {
                columns.push(column);
                fields.push(RowField::ascending(field.data_type().clone()));
            }
        }
        let partition: Vec<DataType> = spec
            .partition
            .iter()
            .map(|column| input.schema.field(*column).data_type().clone())
            .collect();
        Ok(Self {
            partition: RowCodec::for_types(&partition)?,
            columns,
            row: RowCodec::new(fields)?,
            schema: node.schema.clone(),
        })
    }
}

/// What the planner has to have seen to.
fn check(spec: &TopNSpec, node: &Node, input: &Node) -> Result<()> {
    let width = input.schema.fields().len();
    let number = spec.row_number.as_slice();
    let expected = input
        .schema
        .fields()
        .iter()
        .map(|field| field.data_type())
        .chain(number);
    let columns_fit = node.schema.fields().iter().map(|field| field.data_type()).eq(expected);
    let number_fits = number
        .iter()
        .all(|number| matches!(number, DataType::Int64 | DataType::UInt64));
    let in_range = spec
        .partition
        .iter()
        .chain(spec.order.iter().map(|key| &key.column))
        .all(|column| *column < width);
    let close_fits = spec.close.is_none_or(|close| {
        spec.partition.contains(&close.column)
            && matches!(
                input.schema.field(close.column).data_type(),
                DataType::Timestamp(TimeUnit::Microsecond, _)
            )
    });
    match (columns_fit && number_fits && in_range, close_fits) {
        (true, true) => Ok(()),
        (false, _) => Err(Error::internal("a top-N's columns are not those of its input")),
        (_, false) => Err(Error::internal(
            "a top-N closes by a column that isn't a TIMESTAMP(6) of its partitions",
        )),
    }
}
