//! EMIT: what becomes of windows that event time has closed.

use arrow::datatypes::DataType;
use weir_engine::graph::{CloseSpec, GateSpec, Input, NodeId, NodeKind};

use super::{Builder, Built, Facts, TimeBound, exchange_by};
use crate::plan::refuse;
use crate::{Result, explain};

/// How a query treats closed windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// `EMIT CHANGES`: results stay correctable for ever.
    Never,
    /// `EMIT CHANGES` with `allowed_lateness`, microseconds: final after that.
    After(i64),
    /// `EMIT ON WINDOW CLOSE`.
    Emit,
}

impl Closing {
    /// How long after its window's end a late row is still applied.
    pub fn drop_late_after_us(self) -> Option<i64> {
        match self {
            Closing::Never => None,
            Closing::After(us) => Some(us),
            Closing::Emit => Some(0),
        }
    }

    /// The close of a group by the window end at this position; it emits changes.
    pub fn spec(self, column: usize) -> Option<CloseSpec> {
        let lateness_us = self.drop_late_after_us()?;
        Some(CloseSpec {
            column,
            emit_on_close: false,
            lateness_us,
        })
    }
}

impl Builder {
    /// For EMIT ON WINDOW CLOSE: the outermost grouping emits at the close, or a gate at the end
    /// holds rows back.
    pub(super) fn finish_closing(&mut self, root: Built) -> Result<Built> {
        if self.closing != Closing::Emit {
            return Ok(root);
        }
        if let Some(at) = self.outermost_grouping(root.node) {
            let above = self.above(at, root.node);
            let node = &mut self.graph.nodes[at.0 as usize];
            if let NodeKind::Aggregate(spec) = &mut node.kind
                && let Some(close) = &mut spec.close
            {
                close.emit_on_close = true;
                node.append_only = true;
                above
                    .iter()
                    .for_each(|id| self.graph.nodes[id.0 as usize].append_only = true);
                return Ok(root);
            }
        }
        let root = self.visible(root)?;
        let below = self.graph.node(root.node);
        let gates = |column: &usize| matches!(below.schema.field(*column).data_type(), DataType::Timestamp(..));
        let find = |bound: TimeBound| root.time.iter().position(|time| *time == Some(bound));
        let column = find(TimeBound::WindowEnd).or_else(|| find(TimeBound::Event).filter(|_| below.append_only));
        let (Some(column), true) = (column.filter(gates), below.has_watermark) else {
            return Err(refuse::no_close(below.has_watermark));
        };
        let facts = Facts {
            append_only: true,
            key: below.key.clone(),
            has_watermark: true,
            bound: Some(until(below.schema.field(column).name(), 0)),
        };
        let schema = below.schema.clone();
        // A gate keeps its rows by their time.
        let exchange = exchange_by(&[column], &root);
        let node = self.push(
            NodeKind::Gate(GateSpec { column }),
            vec![Input {
                node: root.node,
                exchange,
            }],
            schema,
            facts,
        );
        let dealt = Some(vec![column]);
        Ok(Built { node, dealt, ..root })
    }

    /// The grouping from which only filters and projections lead to `node`.
    fn outermost_grouping(&self, node: NodeId) -> Option<NodeId> {
        match &self.graph.node(node).kind {
            NodeKind::Aggregate(_) => Some(node),
            NodeKind::Map(_) => self.outermost_grouping(self.graph.node(node).inputs[0].node),
            _ => None,
        }
    }

    /// The nodes from `to` down to just above `from`.
    fn above(&self, from: NodeId, to: NodeId) -> Vec<NodeId> {
        let mut nodes = Vec::new();
        let mut at = to;
        while at != from {
            nodes.push(at);
            at = self.graph.node(at).inputs[0].node;
        }
        nodes
    }
}

/// What bounds state that closes, in words.
pub fn until(column: &str, lateness_us: i64) -> String {
    match lateness_us {
        0 => format!("until the watermark passes {column}"),
        us => format!("until the watermark passes {column} by {}", explain::duration(us)),
    }
}
