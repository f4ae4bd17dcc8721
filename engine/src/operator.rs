//! Operators: what the nodes of a graph do to changes.
//!
//! An operator is one task's part of a node. It takes the changes of one step and gives changes;
//! it reads no clock, spawns nothing and draws no randomness, so that a step is a function of
//! state and input. Its state lives in memory in [`crate::table`]s, which write what became dirty
//! at a checkpoint.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::DataType;
use weir_state::{RelationId, Store, TableId, WriteBatch};

use crate::Result;
use crate::change::ChangeBatch;
use crate::graph::{Node, NodeId, NodeKind};
use fault::Fault;

pub mod aggregate;
mod arrangement;
pub mod as_of;
mod codec;
pub mod draw;
pub mod fault;
pub mod gate;
pub mod join;
pub mod map;
pub mod over;
mod partitions;
pub mod present;
pub mod recurse;
pub mod repeat;
pub mod session;
pub mod slice;
mod timers;
pub mod top_n;
#[cfg(test)]
mod trial;
pub mod unnest;
pub mod upsert;
pub mod values;
pub mod window;

/// Event time up to which a relation is complete, microseconds since the epoch: no on-time row
/// below it will come. `i64::MIN` before the first row, `i64::MAX` when all inputs have ended.
pub type Watermark = i64;

/// What a step brings along that is no input.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Its time, microseconds since the epoch.
    pub now_us: i64,
    /// A number that no other step has.
    pub seed: u128,
}

/// What a step is given besides rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Step {
    /// The step's time, microseconds since the epoch: the only clock an operator may see.
    pub now_us: i64,
    /// What random numbers are made of: the only lot an operator may draw.
    pub seed: u128,
    /// The node's watermark after this step's rows. It never falls.
    pub watermark: Watermark,
}

/// Facts of one task of one node.
#[derive(Clone)]
pub struct TaskContext {
    /// The view (or sink) that the node belongs to.
    pub relation: RelationId,
    /// The node.
    pub node: NodeId,
    /// This task's number, from 0.
    pub task: usize,
    /// Tasks of the pipeline.
    pub tasks: usize,
    /// The shards it owns.
    pub shards: Range<usize>,
    /// The committed state.
    pub store: Arc<dyn Store>,
    /// How many entries each state table of the task may keep in memory; `None`: no bound.
    pub entry_budget: Option<usize>,
}

impl TaskContext {
    /// The node's state table `n` (0 … 7).
    pub fn table(&self, n: u16) -> TableId {
        assert!(n < 8 && (self.node.0 as usize) < crate::graph::MOST_NODES);
        TableId {
            relation: self.relation,
            ordinal: self.node.0 as u16 * 8 + n,
        }
    }
}

/// What an operator has seen and holds. Counters start at zero when it is built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OperatorStats {
    /// Late rows that were applied.
    pub late_applied: u64,
    /// Late rows that were dropped.
    pub late_dropped: u64,
    /// Rows without event time.
    pub without_event_time: u64,
    /// Bytes of state in memory, about.
    pub state_bytes: u64,
    /// Entries of state in memory.
    pub state_entries: u64,
}

/// One task's part of a node.
pub trait Operator: Send {
    /// Takes the changes of each input and returns the node's. Called once in every step that has input for the node,
    /// moves its watermark, or comes when the operator is due; batches of the output need not be consolidated. An
    /// operator that is built over committed state is first given a step without rows at the committed watermark, so
    /// that what was closed stays closed.
    fn step(&mut self, step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>>;

    /// The rows that it left out since it was last asked, because they can't be computed.
    fn take_faults(&mut self) -> Vec<Fault> {
        Vec::new()
    }

    /// When the operator has something to do though nothing comes, microseconds since the epoch: it
    /// wants a step whose `now_us` is that or later.
    fn due_us(&self) -> Option<i64> {
        None
    }

    /// The watermark at which all that it holds back until then would be out; `None` where it holds
    /// nothing back.
    fn open_until(&self) -> Option<Watermark> {
        None
    }

    /// Writes what became dirty since the last checkpoint. Called after a whole step.
    fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        let _ = batch;
        Ok(())
    }

    /// The last checkpoint is durable: its entries may be evicted.
    fn committed(&mut self) -> Result<()> {
        Ok(())
    }

    /// Loads up to about `entries` stored entries that are not in memory yet, while there is room.
    /// Returns true when nothing is left to load.
    fn complete(&mut self, entries: usize) -> Result<bool> {
        let _ = entries;
        Ok(true)
    }

    /// Counters and sizes.
    fn stats(&self) -> OperatorStats {
        OperatorStats::default()
    }
}

/// Builds the operator of a node for a task. `inputs` are the nodes it reads, in order.
/// [`NodeKind::Input`], [`NodeKind::Port`] and [`NodeKind::Union`] have none: who runs the graph does
/// their work.
pub fn build(node: &Node, inputs: &[&Node], context: &TaskContext) -> Result<Option<Box<dyn Operator>>> {
    Ok(Some(match &node.kind {
        NodeKind::Input(_) | NodeKind::Port(_) | NodeKind::Union => return Ok(None),
        NodeKind::Map(spec) => Box::new(map::Map::new(spec, &node.schema)),
        NodeKind::Window(spec) => Box::new(window::Window::new(spec, &node.schema)),
        NodeKind::Unnest(spec) => Box::new(unnest::Unnest::new(spec, node)),
        NodeKind::Slice(spec) => Box::new(slice::Slice::new(spec, node, inputs[0], context)?),
        NodeKind::Session(spec) => Box::new(session::Session::new(spec, node, inputs[0], context)?),
        NodeKind::Aggregate(spec) => Box::new(aggregate::Aggregate::new(spec, node, inputs[0], context)?),
        NodeKind::Join(spec) => Box::new(join::Join::new(spec, node, inputs[0], inputs[1], context)?),
        NodeKind::AsOf(spec) => Box::new(as_of::AsOf::new(spec, node, inputs[0], inputs[1], context)?),
        NodeKind::TopN(spec) => Box::new(top_n::TopN::new(spec, node, inputs[0], context)?),
        NodeKind::Over(spec) => Box::new(over::Over::new(spec, node, inputs[0], context)?),
        NodeKind::Gate(spec) => Box::new(gate::Gate::new(spec, node, inputs[0], context)?),
        NodeKind::Recurse(spec) => Box::new(recurse::Recurse::new(spec, node, inputs, context)?),
        NodeKind::Present(spec) => Box::new(present::Present::new(spec, node, inputs[0], context)?),
        NodeKind::Draw(spec) => Box::new(draw::Draw::new(spec, node, inputs[0], context)?),
        NodeKind::Upsert(spec) => Box::new(upsert::Upsert::new(spec, node, inputs[0], context)?),
        NodeKind::Values(spec) => Box::new(values::Values::new(spec, node, context)?),
        NodeKind::Repeat(spec) => Box::new(repeat::Repeat::new(spec, node)),
    }))
}

/// Whether a node's columns are of the types of an input's first `count`, and then of these.
fn extends<'a>(node: &Node, input: &'a Node, count: usize, more: impl IntoIterator<Item = &'a DataType>) -> bool {
    let kept = input.schema.fields().iter().take(count).map(|field| field.data_type());
    let own = node.schema.fields().iter().map(|field| field.data_type());
    own.eq(kept.chain(more))
}
