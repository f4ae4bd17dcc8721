//! Slice: what the rows of a step that lie in the same windows come to, before windows that overlap are
//! given it.
//!
//! The bounds of such windows cut time into *slices*: rows of one slice are in the same windows. So rows
//! of a step with equal keys in one slice become one row of partial results, and what a window makes
//! of partial results is what it would make of the rows. Each row is then looked at once, and not in
//! every window that it is in. Nothing is kept between steps.
//!
//! A row that is late for one of its windows is judged by itself, and so are rows without event time:
//! each becomes a row of its own, with the watermark that it came with.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use weir_state::MemoryStore;

use super::aggregate::Aggregate;
use super::arrangement::gathered;
use super::{Operator, Step, TaskContext, Watermark};
use crate::change::{ChangeBatch, record_batch};
use crate::graph::{AggregateSpec, Node, NodeKind, SliceSpec};
use crate::{Error, Result, shard};

#[cfg(test)]
mod tests;

/// One task's part of a [`SliceSpec`] node.
pub struct Slice {
    spec: SliceSpec,
    schema: SchemaRef,
    /// The grouping of a step's rows.
    grouping: AggregateSpec,
    /// Its input and output as nodes.
    input: Node,
    output: Node,
    context: TaskContext,
}

impl Slice {
    /// An operator over `input` with the columns of `node.schema`.
    ///
    /// # Errors
    /// If the plan doesn't fit together.
    pub fn new(spec: &SliceSpec, node: &Node, input: &Node, context: &TaskContext) -> Result<Self> {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        let is_time = |column: usize| {
            let field = input.schema.fields().get(column);
            field.is_some_and(|field| matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)))
        };
        let width = input.schema.fields().len();
        let fits = is_time(spec.time) && is_time(spec.watermark) && input.append_only;
        if !fits || node.schema.fields().len() != spec.keys.len() + spec.calls.len() + 2 {
            return Err(Error::internal("slices are of rows that only come, with their times"));
        }
        // Behind the input's columns: the slice, the watermark where it is needed, a number for each row
        // that stands alone.
        let added = [
            ("slice", timestamp.clone()),
            ("late", timestamp),
            ("alone", DataType::Int64),
        ];
        let added = added.map(|(name, kind)| Arc::new(Field::new(name, kind, true)));
        let fields: Vec<_> = input.schema.fields().iter().cloned().chain(added).collect();
        let wide = Arc::new(Schema::new(fields));
        let grouping = AggregateSpec {
            keys: spec.keys.iter().copied().chain(width..width + 3).collect(),
            calls: spec.calls.clone(),
            close: None,
        };
        let keys = grouping.keys.iter().map(|key| wide.fields()[*key].clone());
        let calls = &node.schema.fields()[spec.keys.len() + 1..][..spec.calls.len()];
        let grouped = Schema::new(keys.chain(calls.iter().cloned()).collect::<Vec<_>>());
        Ok(Self {
            spec: spec.clone(),
            schema: node.schema.clone(),
            input: Node {
                schema: wide,
                ..input.clone()
            },
            output: Node {
                kind: NodeKind::Aggregate(grouping.clone()),
                schema: Arc::new(grouped),
                ..node.clone()
            },
            grouping,
            context: TaskContext {
                shards: shard::shards_of(0, 1),
                task: 0,
                tasks: 1,
                entry_budget: None,
                ..context.clone()
            },
        })
    }

    /// The start of a time's slice, and the end of the first window that it is in; `None` for a time
    /// near the end of all times, which stands alone.
    fn slice(&self, time: i64) -> Option<(i64, i64)> {
        let SliceSpec {
            slice_us,
            slide_us,
            size_us,
            offset_us,
            ..
        } = self.spec;
        let into = |length: i64, from: i64| (i128::from(time) - i128::from(from)).rem_euclid(i128::from(length)) as i64;
        let start = time.checked_sub(into(slice_us, offset_us))?;
        // Ends of windows lie a slide apart.
        let last_end = time.checked_sub(into(slide_us, offset_us.checked_add(size_us)?))?;
        time.checked_add(size_us)?;
        Some((start, last_end.checked_add(slide_us)?))
    }

    /// A batch with the columns that rows are grouped by. `alone` counts rows that stand alone.
    fn sliced(&self, batch: &ChangeBatch, alone: &mut i64) -> Result<ChangeBatch> {
        let times = batch.column(self.spec.time).as_primitive::<TimestampMicrosecondType>();
        let watermarks = batch.column(self.spec.watermark);
        let watermarks = watermarks.as_primitive::<TimestampMicrosecondType>();
        let rows = batch.num_rows();
        let mut slices: Vec<Option<i64>> = Vec::with_capacity(rows);
        let mut late: Vec<Option<Watermark>> = Vec::with_capacity(rows);
        let mut numbers = Vec::with_capacity(rows);
        for (row, time) in times.iter().enumerate() {
            let watermark = watermarks.is_valid(row).then(|| watermarks.value(row));
            let slice = time.and_then(|time| self.slice(time));
            match slice.filter(|(_, first_end)| watermark.is_none_or(|watermark| watermark < *first_end)) {
                Some((start, _)) => {
                    slices.push(Some(start));
                    late.push(None);
                    numbers.push(0);
                }
                None => {
                    *alone += 1;
                    slices.push(time);
                    late.push(watermark);
                    numbers.push(*alone);
                }
            }
        }
        let mut columns = batch.rows().columns().to_vec();
        columns.push(Arc::new(TimestampMicrosecondArray::from(slices)));
        columns.push(Arc::new(TimestampMicrosecondArray::from(late)));
        columns.push(Arc::new(Int64Array::from(numbers)));
        let wide = record_batch(self.input.schema.clone(), columns, rows)?;
        Ok(batch.clone().with_rows(wide))
    }

    /// A grouped batch in the node's columns: keys, the slice, partial results, the watermark.
    fn in_order(&self, grouped: &ChangeBatch) -> Result<ChangeBatch> {
        let (columns, keys) = (grouped.rows().columns(), self.spec.keys.len());
        let order = (0..=keys).chain(keys + 3..columns.len()).chain([keys + 1]);
        let columns = order.map(|column| columns[column].clone()).collect();
        let rows = record_batch(self.schema.clone(), columns, grouped.num_rows())?;
        Ok(grouped.clone().with_rows(rows))
    }
}

impl Operator for Slice {
    fn step(&mut self, step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        let batches = gathered(inputs.into_iter().flatten().collect())?;
        if batches.is_empty() {
            return Ok(batches);
        }
        let mut alone = 0;
        let sliced: Result<Vec<_>> = batches.iter().map(|batch| self.sliced(batch, &mut alone)).collect();
        let context = TaskContext {
            store: Arc::new(MemoryStore::new()),
            ..self.context.clone()
        };
        let mut grouping = Aggregate::new(&self.grouping, &self.output, &self.input, &context)?;
        let grouped = grouping.step(step, vec![sliced?])?;
        grouped.iter().map(|batch| self.in_order(batch)).collect()
    }
}
