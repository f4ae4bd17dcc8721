//! Top-N: of each partition the rows `offset .. offset + limit` in order.
//!
//! What is counted up to the limit is rows, or ranks: `RANK() <= n` takes the first n rows and all
//! peers of the last of them, `DENSE_RANK() <= n` all rows with the first n values of the order.
//!
//! A step changes the output of those [`Partitions`] only whose *head*, the rows up to the limit,
//! changes. So the last row of each head is remembered, and a change behind it goes into the state
//! without more ado. For the others the head is read before and after the step's changes, and the
//! difference is emitted. Where the input only appends, what falls out of a head never comes back,
//! and isn't kept.
//!
//! With `emit_on_close` nothing is emitted before the watermark reaches the partition's time; then
//! its rows are, once. Either way a closed partition's state goes, and rows that come for it later
//! are dropped and counted.

use arrow::datatypes::{DataType, SchemaRef};
use weir_state::WriteBatch;

use crate::change::ChangeBatch;
use crate::graph::{Node, Ranking, TopNSpec};
use crate::operator::arrangement::RowId;
use crate::operator::partitions::{Changes, Partitions, inserts_first};
use crate::operator::{Operator, OperatorStats, Step, TaskContext};
use crate::table::Slot;
use crate::{Error, Result};

mod head;
#[cfg(test)]
mod tests;

use head::{Emit, Head, difference};

/// One task's part of a [`TopNSpec`] node.
pub struct TopN {
    spec: TopNSpec,
    schema: SchemaRef,
    partitions: Partitions,
    /// The input never deletes: rows behind a head need not be kept.
    append_only: bool,
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

impl TopN {
    /// An operator over `input` whose output has the columns of `node.schema`: the input's, and the
    /// row number or rank where it is asked for.
    ///
    /// # Errors
    /// If the plan doesn't fit together, a column can't be kept in state, or the store can't be
    /// read.
    pub fn new(spec: &TopNSpec, node: &Node, input: &Node, context: &TaskContext) -> Result<Self> {
        check(spec, node, input)?;
        Ok(Self {
            partitions: Partitions::open(&spec.partition, &spec.order, spec.close, input, context)?,
            schema: node.schema.clone(),
            append_only: input.append_only,
            spec: spec.clone(),
        })
    }

    /// Puts changes into the state. Returns the partitions whose head may have changed, with the
    /// head as it was.
    fn apply(&mut self, changes: &[Changes]) -> Result<Vec<(Slot, Head)>> {
        let mut touched = Vec::new();
        for (slot, row, weight) in inserts_first(changes) {
            if self.is_behind(slot, row)? {
                if !self.append_only {
                    self.partitions.state.add(slot, row, weight)?;
                }
                continue;
            }
            if self.partitions.is_untouched(slot) {
                let head = match self.partitions.emits_on_close() {
                    true => Head::default(),
                    false => Head::of(&self.partitions, slot, &self.spec)?,
                };
                touched.push((slot, head));
            }
            self.partitions.state.add(slot, row, weight)?;
        }
        Ok(touched)
    }

    /// Whether a row comes behind its partition's head, and so doesn't change it.
    fn is_behind(&mut self, slot: Slot, row: &[u8]) -> Result<bool> {
        let End::At(last) = self.end(slot)? else {
            return Ok(false);
        };
        let last = self.partitions.state.rows.bytes_of(last);
        Ok(match self.spec.ranking {
            Ranking::RowNumber => row > last,
            // A peer of the last row is in the head as well.
            Ranking::Rank | Ranking::DenseRank => self.partitions.order_of(row)? > self.partitions.order_of(last)?,
        })
    }

    fn end(&mut self, slot: Slot) -> Result<End> {
        match End::from_note(self.partitions.state.rows.note(slot)) {
            End::Unknown => {
                let end = Head::of(&self.partitions, slot, &self.spec)?.end();
                self.partitions.state.rows.set_note(slot, end.to_note());
                Ok(end)
            }
            end => Ok(end),
        }
    }

    /// What the step's changes make of the output.
    fn settle(&mut self, touched: Vec<(Slot, Head)>, emit: &mut Emit) -> Result<()> {
        for (slot, before) in touched {
            let after = Head::of(&self.partitions, slot, &self.spec)?;
            let end = after.end();
            let rows = &mut self.partitions.state.rows;
            rows.set_note(slot, end.to_note());
            if self.append_only
                && let End::At(last) = end
            {
                let beyond: Vec<RowId> = rows.of(slot).skip_while(|row| *row != last).skip(1).collect();
                for row in beyond {
                    rows.remove(slot, row);
                }
            }
            if !self.partitions.emits_on_close() {
                difference(&self.partitions.state, slot, &before, &after, &self.spec, emit);
            }
        }
        Ok(())
    }

    /// Emits what is due, and forgets closed partitions.
    fn close(&mut self, emit: &mut Emit) -> Result<Vec<ChangeBatch>> {
        let Some(through) = self.partitions.closed_through() else {
            return Ok(Vec::new());
        };
        let mut output = Vec::new();
        if self.partitions.emits_on_close() {
            while let Some(bucket) = self.partitions.state.table.first_bucket(through) {
                for slot in self.partitions.state.load_bucket(bucket)? {
                    let head = Head::of(&self.partitions, slot, &self.spec)?;
                    difference(&self.partitions.state, slot, &Head::default(), &head, &self.spec, emit);
                }
                output.extend(emit.take_batches(&self.partitions, &self.spec, &self.schema)?);
                self.partitions.state.close_through(bucket);
            }
        }
        self.partitions.state.close_through(through);
        Ok(output)
    }
}

impl Operator for TopN {
    fn step(&mut self, step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        if self.spec.limit == 0 {
            return Ok(Vec::new());
        }
        let changes = self.partitions.begin_step(inputs)?;
        let mut emit = Emit::default();
        let touched = self.apply(&changes)?;
        self.settle(touched, &mut emit)?;
        let mut output = emit.take_batches(&self.partitions, &self.spec, &self.schema)?;
        self.partitions.rise(step.watermark);
        output.extend(self.close(&mut emit)?);
        Ok(output)
    }

    fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        self.partitions.checkpoint(batch)
    }

    fn committed(&mut self) -> Result<()> {
        self.partitions.committed()
    }

    fn complete(&mut self, entries: usize) -> Result<bool> {
        self.partitions.complete(entries)
    }

    fn stats(&self) -> OperatorStats {
        self.partitions.stats()
    }
}

impl End {
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

/// What the planner has to have seen to.
fn check(spec: &TopNSpec, node: &Node, input: &Node) -> Result<()> {
    let number = spec.number.as_slice();
    let columns_fit = super::extends(node, input, input.schema.fields().len(), number);
    let number_fits = number
        .iter()
        .all(|number| matches!(number, DataType::Int64 | DataType::UInt64));
    match columns_fit && number_fits {
        true => Ok(()),
        false => Err(Error::internal("a top-N's columns are not those of its input")),
    }
}
