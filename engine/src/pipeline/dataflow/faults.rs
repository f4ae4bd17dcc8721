//! Rows that the views' operators left out, because something of them can't be computed.
//!
//! They are summed over all tasks, from one checkpoint to the next, so that a row which came and
//! went counts for nothing. What is left is judged when the epoch is made: it is passed over, or its
//! view fails. So a view fails for what it would have to show, and never for how its input was cut
//! into steps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_state::RelationId;

use super::{Dataflow, NodeRef, RelationInput};
use crate::Error;
use crate::connector::Position;
use crate::error::{BadRow, RecordPlace};
use crate::graph::NodeKind;
use crate::operator::fault::{Fault, Sums};
use crate::relation::OnError;

/// Different rows of a node that are told apart at most. Under `skip` others are only counted.
const TOLD: usize = 10_000;

/// Where the rows of a batch that a source gave come from.
#[derive(Debug, Clone)]
pub struct BatchOrigin {
    /// Name of the source.
    pub source: Arc<str>,
    /// Kafka topic or file path.
    pub topic: Arc<str>,
    /// Kafka partition.
    pub partition: i32,
    /// The records that were read.
    pub records: Records,
    /// Those of them that gave no row, ascending.
    pub without_row: Vec<Position>,
}

/// Positions of records.
#[derive(Debug, Clone)]
pub enum Records {
    /// Each record's.
    At(Vec<Position>),
    /// One after the other from the first.
    From(Position),
}

impl BatchOrigin {
    /// The record of a row.
    fn record(&self, row: usize) -> Option<RecordPlace> {
        let gives_row = |position: &Position| self.without_row.binary_search(position).is_err();
        let offset = match &self.records {
            Records::At(positions) => positions.iter().copied().filter(gives_row).nth(row),
            Records::From(first) => (*first..).filter(gives_row).nth(row),
        };
        Some(RecordPlace {
            source: self.source.to_string(),
            topic: self.topic.to_string(),
            partition: self.partition,
            offset: offset?,
        })
    }
}

/// Sums by node.
#[derive(Default)]
pub(super) struct Faults(BTreeMap<NodeRef, Sums<Option<RecordPlace>>>);

/// What is to be said of the rows left out.
#[derive(Default)]
pub struct Verdict {
    /// Rows passed over, by view.
    pub passed: BTreeMap<RelationId, Vec<BadRow>>,
    /// Views that can't go on.
    pub failed: BTreeMap<RelationId, Option<Error>>,
}

impl Faults {
    pub(super) fn forget(&mut self, view: RelationId) {
        self.0.retain(|at, _| at.view != view);
    }
}

impl Dataflow {
    /// Adds what the tasks' operators left out in a step.
    pub(super) fn collect_faults(&mut self, inputs: &HashMap<RelationId, RelationInput>) {
        for task in 0..self.tasks.len() {
            for (index, faults) in std::mem::take(&mut self.tasks[task].faults) {
                let at = self.plan[index].at;
                let fails = self.fails(at.view);
                for fault in faults {
                    let record = self.record_of(index, task, &fault, inputs);
                    let sums = self.faults.0.entry(at).or_default();
                    if sums.len() < TOLD || sums.has(&fault) || fails {
                        sums.add(fault, record);
                    }
                }
            }
        }
    }

    /// The record that a row is: of nodes that read a source, and nothing else.
    fn record_of(
        &self,
        index: usize,
        task: usize,
        fault: &Fault,
        inputs: &HashMap<RelationId, RelationInput>,
    ) -> Option<RecordPlace> {
        let ([edge], (nth, row)) = (&self.plan[index].inputs[..], fault.at?) else {
            return None;
        };
        let relation = self.plan[edge.from].relation.filter(|_| !edge.dealt)?;
        inputs.get(&relation)?.origins.get(task)?.get(nth)?.record(row)
    }

    fn fails(&self, view: RelationId) -> bool {
        let policy = self.specs.get(&view).map(|spec| spec.options.on_error);
        policy == Some(OnError::Fail)
    }

    /// Views of which so much can't be computed that it isn't summed any further.
    pub(super) fn hopeless(&self) -> Vec<RelationId> {
        let many = self.faults.0.iter().filter(|(_, sums)| sums.len() > TOLD);
        many.map(|(at, _)| at.view).filter(|view| self.fails(*view)).collect()
    }

    /// Whether some view would fail if the epoch were made now.
    pub fn would_fail(&self) -> bool {
        let mut faults = self.faults.0.iter();
        faults.any(|(at, sums)| sums.len() > 0 && self.fails(at.view))
    }

    /// What becomes of the rows that were left out, now that the epoch is made. They are forgotten.
    pub fn judge(&mut self) -> Verdict {
        let mut verdict = Verdict::default();
        for (at, sums) in std::mem::take(&mut self.faults).0 {
            let rows = self.bad_rows(at, sums);
            if self.fails(at.view) {
                verdict.fail(at.view, rows.into_iter().map(|(row, _)| row).collect());
            } else {
                // A row that goes was passed over when it came.
                let came = rows.into_iter().filter(|(_, weight)| *weight > 0);
                verdict
                    .passed
                    .entry(at.view)
                    .or_default()
                    .extend(came.map(|(row, _)| row));
            }
        }
        verdict
    }

    /// The same for one view, which fails at once.
    pub(super) fn condemn(&mut self, view: RelationId) -> Option<Error> {
        let mut verdict = Verdict::default();
        let of_view = self.faults.0.extract_if(.., |at, _| at.view == view);
        for (at, sums) in of_view.collect::<Vec<_>>() {
            let rows = self.bad_rows(at, sums);
            verdict.fail(view, rows.into_iter().map(|(row, _)| row).collect());
        }
        verdict.failed.remove(&view).flatten()
    }

    fn bad_rows(&self, at: NodeRef, sums: Sums<Option<RecordPlace>>) -> Vec<(BadRow, i64)> {
        let Some(spec) = self.specs.get(&at.view) else {
            return Vec::new();
        };
        let kind: &NodeKind = &spec.graph.node(at.node).kind;
        let operator = format!("{} {}", kind.name(), at.node);
        let row = |(fault, record): (Fault, Option<RecordPlace>)| {
            let row = BadRow {
                view: spec.name.clone(),
                operator: operator.clone(),
                cause: fault.cause,
                row: fault.row,
                record,
                more: 0,
            };
            (row, fault.weight)
        };
        sums.into_rows().map(row).collect()
    }
}

impl Verdict {
    /// A view fails for these rows. The first is named: by its place in the source, else by its values.
    fn fail(&mut self, view: RelationId, mut rows: Vec<BadRow>) {
        rows.sort_by(|one, other| one.record.cmp(&other.record));
        let more = rows.len().saturating_sub(1);
        match (self.failed.get_mut(&view), rows.into_iter().next()) {
            (Some(Some(Error::Row(named))), Some(_)) => named.more += more + 1,
            (_, Some(row)) => {
                let error = Error::Row(Box::new(BadRow { more, ..row }));
                self.failed.insert(view, Some(error));
            }
            (_, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_among_the_records_that_gave_rows() {
        let origin = |records: Records| BatchOrigin {
            source: "s".into(),
            topic: "t".into(),
            partition: 2,
            records,
            without_row: vec![3, 5],
        };
        let offsets = |origin: &BatchOrigin, rows: usize| -> Vec<Option<i64>> {
            (0..rows)
                .map(|row| origin.record(row).map(|place| place.offset))
                .collect()
        };
        let sparse = origin(Records::At(vec![1, 3, 5, 9, 12]));
        assert_eq!(offsets(&sparse, 4), [Some(1), Some(9), Some(12), None]);
        assert_eq!(offsets(&origin(Records::From(2)), 3), [Some(2), Some(4), Some(6)]);
    }
}
