//! Counters of a dataflow's nodes.

use super::{Dataflow, NodeCounters, NodeRef};
use crate::operator::OperatorStats;

impl Dataflow {
    /// Counters and sizes of each node, summed over tasks.
    pub fn node_stats(&self) -> Vec<(NodeRef, &'static str, NodeCounters, OperatorStats)> {
        self.plan
            .iter()
            .map(|node| {
                let mut counters = NodeCounters::default();
                let mut stats = OperatorStats::default();
                for task in &self.tasks {
                    if let Some(c) = task.counters.get(&node.at) {
                        counters.rows_in += c.rows_in;
                        counters.rows_out += c.rows_out;
                        counters.skipped += c.skipped;
                        counters.busy_us += c.busy_us;
                    }
                    if let Some(operator) = task.operators.get(&node.at) {
                        let s = operator.stats();
                        stats.late_applied += s.late_applied;
                        stats.late_dropped += s.late_dropped;
                        stats.without_event_time += s.without_event_time;
                        stats.state_bytes += s.state_bytes;
                        stats.state_entries += s.state_entries;
                    }
                }
                (node.at, node.graph.node(node.at.node).kind.name(), counters, stats)
            })
            .collect()
    }
}
