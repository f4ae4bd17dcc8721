//! Tasks of one aggregation over a store, stepped, checkpointed and crashed by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use weir_state::{Keyspace, MemoryStore, Reader, Store, WriteBatch, keys};

use super::{Row, batch, nodes};
use crate::change::ChangeBatch;
use crate::graph::AggregateSpec;
use crate::operator::aggregate::Aggregate;
use crate::operator::trial::context;
use crate::operator::{Operator, Step};
use crate::row::RowCodec;
use crate::shard::deal;
use crate::{Error, Result};

pub struct Rig {
    spec: AggregateSpec,
    append_only: bool,
    entry_budget: Option<usize>,
    store: Arc<MemoryStore>,
    tasks: Vec<Aggregate>,
    watermark: i64,
    in_flight: Vec<WriteBatch>,
}

impl Rig {
    pub fn new(spec: AggregateSpec, append_only: bool, tasks: usize, entry_budget: Option<usize>) -> Self {
        let mut rig = Self {
            spec,
            append_only,
            entry_budget,
            store: Arc::new(MemoryStore::new()),
            tasks: Vec::new(),
            watermark: i64::MIN,
            in_flight: Vec::new(),
        };
        rig.crash(tasks);
        rig
    }

    /// What is not committed is gone; begins again with this many tasks.
    pub fn crash(&mut self, tasks: usize) {
        self.in_flight.clear();
        let (node, input) = nodes(&self.spec, self.append_only);
        let task = |task| {
            let mut context = context(&self.store, task, tasks);
            context.entry_budget = self.entry_budget;
            Aggregate::new(&self.spec, &node, &input, &context).unwrap()
        };
        self.tasks = (0..tasks).map(task).collect();
    }

    /// As [`Rig::crash`], after a failure.
    pub fn rebuilt(mut self, tasks: usize) -> Self {
        self.crash(tasks);
        self
    }

    pub fn checkpoint(&mut self) {
        let mut whole = WriteBatch::new();
        for task in &mut self.tasks {
            let mut batch = WriteBatch::new();
            task.checkpoint(&mut batch).unwrap();
            whole.append(batch);
        }
        self.in_flight.push(whole);
    }

    pub fn commit(&mut self) {
        for batch in self.in_flight.drain(..) {
            self.store.commit(batch).unwrap();
        }
        for task in &mut self.tasks {
            task.committed().unwrap();
        }
    }

    pub fn complete(&mut self, entries: usize) {
        for task in &mut self.tasks {
            task.complete(entries).unwrap();
        }
    }

    /// A step of one batch; the changes in words, deletes first.
    pub fn try_step(&mut self, rows: &[(Row, i64)]) -> Result<Vec<String>> {
        let output = self.try_batches(vec![batch(rows)], self.watermark)?;
        Ok(output.iter().flat_map(in_words).collect())
    }

    pub fn step(&mut self, rows: &[(Row, i64)]) -> Vec<String> {
        self.try_step(rows).unwrap()
    }

    /// As [`Rig::step`], with the watermark after it.
    pub fn step_to(&mut self, rows: &[(Row, i64)], watermark: i64) -> Vec<String> {
        self.watermark = watermark;
        self.step(rows)
    }

    /// A step of all tasks, each with its part of the batches.
    pub fn try_batches(&mut self, batches: Vec<ChangeBatch>, watermark: i64) -> Result<Vec<ChangeBatch>> {
        let types = self.spec.keys.iter();
        let schema = super::input_schema();
        let types: Vec<_> = types.map(|key| schema.field(*key).data_type().clone()).collect();
        let codec = RowCodec::for_types(&types)?;
        let mut inputs = vec![Vec::new(); self.tasks.len()];
        for batch in batches {
            if self.spec.keys.is_empty() {
                inputs[0].push(batch);
                continue;
            }
            let dealt = deal(&batch, &codec, &self.spec.keys, self.tasks.len())?;
            for (input, batch) in inputs.iter_mut().zip(dealt) {
                input.push(batch);
            }
        }
        let step = Step {
            watermark,
            ..Step::default()
        };
        let mut output = Vec::new();
        for (task, input) in self.tasks.iter_mut().zip(inputs) {
            output.extend(task.step(&step, vec![input])?);
        }
        Ok(output)
    }

    /// Entries in the store, of all tables.
    pub fn stored(&self) -> usize {
        let range = keys::relation_state_range(context(&self.store, 0, 1).relation);
        self.store.scan(Keyspace::State, &range.start, Some(&range.end)).count()
    }

    /// Rows that came too late.
    pub fn late_dropped(&self) -> u64 {
        self.tasks.iter().map(|task| task.stats().late_dropped).sum()
    }

    /// Groups in memory.
    pub fn entries(&self) -> u64 {
        self.tasks.iter().map(|task| task.stats().state_entries).sum()
    }
}

/// A row of a batch as text.
pub fn text(batch: &ChangeBatch, row: usize) -> String {
    let options = FormatOptions::default();
    let columns = batch.rows().columns().iter().map(|column| {
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options).unwrap();
        formatter.value(row).to_string()
    });
    columns.collect::<Vec<_>>().join("|")
}

fn in_words(batch: &ChangeBatch) -> Vec<String> {
    let words = |row| format!("{:+} {}", batch.weight(row), text(batch, row));
    (0..batch.num_rows()).map(words).collect()
}

/// Rows and how often each is there.
pub type Bag = BTreeMap<String, i64>;

/// Adds changes to a bag.
///
/// # Errors
/// If a row is taken out that isn't in it.
pub fn add(bag: &mut Bag, changes: &[ChangeBatch]) -> Result<()> {
    for batch in changes {
        for row in 0..batch.num_rows() {
            *bag.entry(text(batch, row)).or_insert(0) += batch.weight(row);
        }
    }
    bag.retain(|_, weight| *weight != 0);
    match bag.iter().find(|(_, weight)| **weight < 0) {
        Some((row, _)) => Err(Error::internal(format!("{row} was deleted and not there"))),
        None => Ok(()),
    }
}
