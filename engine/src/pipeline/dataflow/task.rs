//! One task's part of a dataflow: its operators, and the nodes of a level run over them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{Schema, TimestampMicrosecondType};
use weir_state::{Epoch, RelationId, WriteBatch};

use super::{NodeCounters, NodeRef, PlanNode};
use crate::change::{ChangeBatch, record_batch};
use crate::graph::NodeKind;
use crate::operator::fault::Fault;
use crate::operator::{Moment, Operator, Step, Watermark};
use crate::pipeline::output::ViewOutput;
use crate::relation::{ViewSpec, WATERMARK_COLUMN};
use crate::{Error, Result, shard};

/// One task's part: operators, their last outputs, and what other tasks dealt to it.
pub(super) struct Task {
    pub(super) number: usize,
    pub(super) operators: HashMap<NodeRef, Box<dyn Operator>>,
    pub(super) counters: HashMap<NodeRef, NodeCounters>,
    pub(super) views: BTreeMap<RelationId, ViewOutput>,
    pub(super) outputs: Vec<Vec<ChangeBatch>>,
    pub(super) inbox: HashMap<(usize, usize), Vec<ChangeBatch>>,
    pub(super) sent: Vec<(usize, usize, usize, Vec<ChangeBatch>)>,
    pub(super) failed: BTreeMap<RelationId, Error>,
    /// Rows left out in the step, by node.
    pub(super) faults: Vec<(usize, Vec<Fault>)>,
    pub(super) fresh: BTreeSet<NodeRef>,
    /// How much the last checkpoint wrote of each view, which the next is likely to need room for.
    pub(super) written_bytes: HashMap<RelationId, usize>,
}

/// What a task writes of a view at a checkpoint.
#[derive(Default)]
pub(super) struct Checkpoint {
    /// Operators' state, the changelog, and rows that go.
    pub(super) first: WriteBatch,
    /// Rows that come. They are written when those of all tasks have gone: an update that moves a
    /// row from one task to another is a delete there and an insert here, of the same key.
    pub(super) rows: WriteBatch,
    /// The view's changes, if they were asked for.
    pub(super) changes: Option<Vec<ChangeBatch>>,
    /// Bytes written to the changelog.
    pub(super) logged: u64,
}

impl Task {
    pub(super) fn new(number: usize) -> Task {
        Task {
            number,
            operators: HashMap::new(),
            counters: HashMap::new(),
            views: BTreeMap::new(),
            outputs: Vec::new(),
            inbox: HashMap::new(),
            sent: Vec::new(),
            failed: BTreeMap::new(),
            faults: Vec::new(),
            fresh: BTreeSet::new(),
            written_bytes: HashMap::new(),
        }
    }

    pub(super) fn run_level(
        &mut self,
        level: usize,
        moment: Moment,
        plan: &[PlanNode],
        moved: &[bool],
        input: &HashMap<RelationId, Vec<ChangeBatch>>,
        out: &BTreeMap<RelationId, Option<Error>>,
    ) {
        for (index, node) in plan.iter().enumerate().filter(|(_, node)| node.level == level) {
            let view = node.at.view;
            if out.contains_key(&view) || self.failed.contains_key(&view) {
                continue;
            }
            let started = Instant::now();
            let run = AssertUnwindSafe(|| self.run_node(index, moment, plan, moved[index], input));
            let result = catch_unwind(run).unwrap_or_else(|panic| Err(Error::panicked("an operator", &*panic)));
            match result {
                Ok(false) => {}
                Ok(true) => {
                    let counters = self.counters.entry(node.at).or_default();
                    counters.busy_us += started.elapsed().as_micros() as u64;
                }
                Err(error) => {
                    self.failed.insert(view, error);
                }
            }
        }
    }

    /// Runs one node; false if it had nothing to do.
    fn run_node(
        &mut self,
        index: usize,
        moment: Moment,
        plan: &[PlanNode],
        moved: bool,
        input: &HashMap<RelationId, Vec<ChangeBatch>>,
    ) -> Result<bool> {
        let node = &plan[index];
        let mut ports: Vec<Vec<ChangeBatch>> = Vec::with_capacity(node.inputs.len());
        if let Some(relation) = node.relation {
            ports.push(input.get(&relation).cloned().unwrap_or_default());
        }
        for (port, edge) in node.inputs.iter().enumerate() {
            ports.push(if edge.dealt {
                self.inbox.remove(&(index, port)).unwrap_or_default()
            } else {
                self.outputs[edge.from].clone()
            });
        }
        let rows_in: usize = ports.iter().flatten().map(ChangeBatch::num_rows).sum();
        let fresh = self.fresh.remove(&node.at);
        let due = self.operators.get(&node.at).and_then(|operator| operator.due_us());
        let due = due.is_some_and(|due_us| due_us <= moment.now_us);
        if rows_in == 0 && !moved && !fresh && !due {
            return Ok(false);
        }
        let output = match (&node.graph.node(node.at.node).kind, &node.projection) {
            (NodeKind::Input(input), Some(projection)) => {
                let batches = ports.into_iter().flatten().map(|batch| {
                    let batch = project(batch, projection)?;
                    // The view may have closed what the source itself knows nothing of.
                    match input.with_watermark && node.before > node.own {
                        true => not_below(batch, &node.graph.node(node.at.node).schema, node.before),
                        false => Ok(batch),
                    }
                });
                batches.collect::<Result<Vec<_>>>()?
            }
            (NodeKind::Union, _) => ports.into_iter().flatten().collect(),
            _ => {
                let step = Step {
                    now_us: moment.now_us,
                    seed: moment.seed,
                    watermark: node.watermark,
                };
                let operator = self.operators.get_mut(&node.at);
                let operator = operator.ok_or_else(|| Error::internal("a node without operator"))?;
                let output = operator.step(&step, ports)?;
                let faults = operator.take_faults();
                if !faults.is_empty() {
                    self.note(index, node, faults);
                }
                output
            }
        };
        let rows_out: usize = output.iter().map(ChangeBatch::num_rows).sum();
        let counters = self.counters.entry(node.at).or_default();
        counters.rows_in += rows_in as u64;
        counters.rows_out += rows_out as u64;
        if rows_out > 0 {
            self.give(index, node, output)?;
        }
        Ok(true)
    }

    fn note(&mut self, index: usize, node: &PlanNode, faults: Vec<Fault>) {
        let came: i64 = faults.iter().map(|fault| fault.weight.max(0)).sum();
        self.counters.entry(node.at).or_default().skipped += came.unsigned_abs();
        self.faults.push((index, faults));
    }

    /// Hands a node's output to the view, to dealt edges and to local readers.
    fn give(&mut self, index: usize, node: &PlanNode, output: Vec<ChangeBatch>) -> Result<()> {
        for edge in &node.outgoing {
            match &edge.key {
                // Task 0 owns the empty key under any parallelism, as its state tables do.
                None => self.sent.push((0, edge.to, edge.port, output.clone())),
                Some((columns, codec)) => {
                    let tasks = edge.tasks;
                    for batch in output.iter().filter(|batch| !batch.is_empty()) {
                        let parts = shard::deal(batch, codec, columns, tasks)?;
                        for (task, part) in parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
                            self.sent.push((task, edge.to, edge.port, vec![part]));
                        }
                    }
                }
            }
        }
        if node.is_output
            && let Some(view) = self.views.get_mut(&node.at.view)
        {
            view.extend(&output);
        }
        self.outputs[index] = output;
        Ok(())
    }

    /// Writes what became dirty, of each view by itself: one that can't be written is left out.
    pub(super) fn checkpoint(
        &mut self,
        epoch: Epoch,
        specs: &BTreeMap<RelationId, ViewSpec>,
        logged: &BTreeSet<RelationId>,
        wanted: &BTreeSet<RelationId>,
    ) -> Vec<(RelationId, Result<Checkpoint>)> {
        let mut operators: BTreeMap<RelationId, Vec<_>> = BTreeMap::new();
        for (at, operator) in &mut self.operators {
            operators.entry(at.view).or_default().push((at.node, operator));
        }
        let mut written = Vec::with_capacity(specs.len());
        for (view, spec) in specs {
            let sizes = self.written_bytes.get(view).copied().unwrap_or_default();
            let mut checkpoint = Checkpoint {
                first: WriteBatch::with_capacity(sizes + sizes / 4),
                ..Checkpoint::default()
            };
            let outcome = operators
                .remove(view)
                .into_iter()
                .flatten()
                .try_for_each(|(node, operator)| {
                    let who = || format!("{} {node}", spec.graph.node(node).kind.name());
                    whole(&mut checkpoint, who, |to| operator.checkpoint(&mut to.first))
                })
                .and_then(|()| match self.views.get_mut(view) {
                    Some(output) => {
                        let ask = (epoch, logged.contains(view), wanted.contains(view));
                        whole(
                            &mut checkpoint,
                            || "what is kept of its rows".to_string(),
                            |to| to.write_output(output, ask),
                        )
                    }
                    None => Ok(()),
                });
            self.written_bytes.insert(*view, checkpoint.first.bytes());
            written.push((*view, outcome.map(|()| checkpoint)));
        }
        written
    }
}

impl Checkpoint {
    fn write_output(&mut self, output: &mut ViewOutput, (epoch, logged, wanted): (Epoch, bool, bool)) -> Result<()> {
        self.changes = output.write(epoch, logged, wanted, &mut self.first, &mut self.rows)?;
        self.logged = output.take_logged_bytes();
        Ok(())
    }
}

/// One part of a view's checkpoint. What goes wrong says in which.
fn whole(
    checkpoint: &mut Checkpoint,
    who: impl Fn() -> String,
    write: impl FnOnce(&mut Checkpoint) -> Result<()>,
) -> Result<()> {
    let written = catch_unwind(AssertUnwindSafe(|| write(&mut *checkpoint)));
    let written = written.unwrap_or_else(|panic| Err(Error::panicked(&who(), &*panic)));
    let fits = written.and_then(|()| Ok(checkpoint.first.check().and_then(|()| checkpoint.rows.check())?));
    fits.map_err(|error| error.within(&format!("writing {}", who())))
}

fn project(batch: ChangeBatch, columns: &[usize]) -> Result<ChangeBatch> {
    let rows = batch.rows().project(columns)?;
    Ok(batch.with_rows(rows))
}

/// Rows whose column of their split's watermark is at least that of the view.
fn not_below(batch: ChangeBatch, schema: &Schema, closed: Watermark) -> Result<ChangeBatch> {
    let place = schema.index_of(WATERMARK_COLUMN)?;
    let mut columns = batch.rows().columns().to_vec();
    let told = columns[place].as_primitive::<TimestampMicrosecondType>();
    if told.iter().all(|told| told >= Some(closed)) {
        return Ok(batch);
    }
    let told: TimestampMicrosecondArray = told.iter().map(|told| told.max(Some(closed))).collect();
    columns[place] = Arc::new(told);
    let rows = record_batch(batch.schema(), columns, batch.num_rows())?;
    Ok(batch.with_rows(rows))
}
