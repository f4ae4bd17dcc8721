//! The graph inside a recursion, run round by round in memory.

use std::sync::Arc;

use weir_state::{MemoryStore, WriteBatch};

use crate::change::ChangeBatch;
use crate::graph::{Graph, NodeId, NodeKind};
use crate::operator::fault::Fault;
use crate::operator::{self, Operator, OperatorStats, Step, TaskContext};
use crate::{Error, Result, shard};

/// The operators of a recursive term, over a store of their own that nothing is written to.
pub(super) struct Rounds {
    graph: Arc<Graph>,
    operators: Vec<Option<Box<dyn Operator>>>,
    /// Rows that its operators left out.
    pub(super) faults: Vec<Fault>,
}

impl Rounds {
    pub(super) fn new(graph: &Arc<Graph>, context: &TaskContext) -> Result<Self> {
        let store = Arc::new(MemoryStore::new());
        let build = |(index, node): (usize, &crate::graph::Node)| {
            let inputs: Vec<_> = node.inputs.iter().map(|input| graph.node(input.node)).collect();
            let context = TaskContext {
                relation: context.relation,
                node: NodeId(index as u32),
                task: 0,
                tasks: 1,
                shards: shard::shards_of(0, 1),
                store: store.clone(),
                entry_budget: None,
            };
            operator::build(node, &inputs, &context)
        };
        Ok(Self {
            graph: graph.clone(),
            operators: graph.nodes.iter().enumerate().map(build).collect::<Result<_>>()?,
            faults: Vec::new(),
        })
    }

    /// One round: what the ports' changes make of the recursive term.
    pub(super) fn run(&mut self, step: &Step, ports: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        let step = Step {
            watermark: i64::MIN,
            ..*step
        };
        let mut outputs: Vec<Vec<ChangeBatch>> = Vec::with_capacity(self.graph.nodes.len());
        for (node, operator) in self.graph.nodes.iter().zip(&mut self.operators) {
            let taken = || node.inputs.iter().map(|input| outputs[input.node.0 as usize].clone());
            let given = match (&node.kind, operator) {
                (NodeKind::Port(port), _) => ports.get(*port).cloned().unwrap_or_default(),
                (NodeKind::Union, _) => taken().flatten().collect(),
                (_, Some(operator)) if taken().flatten().any(|batch| !batch.is_empty()) => {
                    let given = operator.step(&step, taken().collect())?;
                    // Where they stand in a batch of a round is of no use to anybody.
                    let faults = operator.take_faults().into_iter();
                    self.faults.extend(faults.map(|fault| Fault { at: None, ..fault }));
                    given
                }
                (_, Some(_)) => Vec::new(),
                (_, None) => return Err(Error::internal("a node of a recursion without operator")),
            };
            outputs.push(given.into_iter().filter(|batch| !batch.is_empty()).collect());
        }
        Ok(outputs.pop().unwrap_or_default())
    }

    /// Lets the operators forget what of their changes would have to be written.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        let mut nowhere = WriteBatch::new();
        for operator in self.operators.iter_mut().flatten() {
            operator.checkpoint(&mut nowhere)?;
            operator.committed()?;
        }
        Ok(())
    }

    pub(super) fn count_into(&self, stats: &mut OperatorStats) {
        for operator in self.operators.iter().flatten() {
            let of = operator.stats();
            stats.state_bytes += of.state_bytes;
            stats.state_entries += of.state_entries;
        }
    }
}
