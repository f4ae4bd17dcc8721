//! EMIT: what becomes of windows that event time has closed.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
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
        self.spec_after(column, 0)
    }

    /// The close of a group by a time at this position that lies so long before its window's end.
    pub fn spec_after(self, column: usize, to_the_end_us: i64) -> Option<CloseSpec> {
        let lateness_us = self.drop_late_after_us()?.saturating_add(to_the_end_us);
        Some(CloseSpec {
            column,
            emit_on_close: false,
            lateness_us,
        })
    }
}

impl Builder {
    /// For EMIT ON WINDOW CLOSE: groupings emit at the close, and where the outermost operator is
    /// none, a gate at the end holds rows back.
    pub(super) fn finish_closing(&mut self, root: Built) -> Result<Built> {
        if self.closing != Closing::Emit {
            return Ok(root);
        }
        self.emit_at_the_close();
        if self.comes_once(root.node) || self.comes_in_order(root.node) {
            return Ok(root);
        }
        let below = self.graph.node(root.node);
        let gates = |column: &usize| matches!(below.schema.field(*column).data_type(), DataType::Timestamp(..));
        let find = |bound: TimeBound| root.time.iter().position(|time| *time == Some(bound));
        let end = find(TimeBound::WindowEnd);
        let column = end.or_else(|| find(TimeBound::Event).filter(|_| below.append_only));
        let (Some(column), true) = (column.filter(gates), below.has_watermark) else {
            return Err(match self.graph.nodes.iter().any(|node| waits(&node.kind)) {
                true => refuse::closes_above_what_waits(),
                false => refuse::no_close(below.has_watermark),
            });
        };
        // Windows have judged their rows already.
        let root = if end.is_some() { self.visible(root)? } else { root };
        let below = self.graph.node(root.node);
        let visible = root.schema.fields().len();
        let facts = Facts {
            append_only: true,
            key: below.key.clone(),
            has_watermark: true,
            bound: Some(until(below.schema.field(column).name(), 0)),
        };
        let schema = Arc::new(Schema::new(below.schema.fields()[..visible].to_vec()));
        // A gate keeps its rows by their time.
        let exchange = exchange_by(&[column], &root);
        let node = self.push(
            NodeKind::Gate(GateSpec {
                column,
                whole_times: false,
                watermark: root.hidden.then_some(visible),
            }),
            vec![Input {
                node: root.node,
                exchange,
            }],
            schema,
            facts,
        );
        let dealt = Some(vec![column]);
        Ok(Built {
            node,
            dealt,
            hidden: false,
            ..root
        })
    }

    /// Has every grouping by a window give its rows once, when that closes. What is above it closes
    /// by the same time, in the same step or later, and would have taken back all it was given
    /// before; now it has nothing to take back. Only windows over a grouping's own times may end
    /// before its rows come; over the end of its windows they don't.
    fn emit_at_the_close(&mut self) {
        let nodes = &mut self.graph.nodes;
        let mut below_a_window = vec![false; nodes.len()];
        for index in (0..nodes.len()).rev() {
            let may_end_before = match &nodes[index].kind {
                NodeKind::Window(window) => window.drop_late_after_us.is_none(),
                NodeKind::Session(session) => session.close.is_none(),
                _ => false,
            };
            if below_a_window[index] || may_end_before {
                for input in &nodes[index].inputs {
                    below_a_window[input.node.0 as usize] = true;
                }
            }
        }
        for index in 0..nodes.len() {
            let only_adds = nodes[index]
                .inputs
                .iter()
                .all(|input| nodes[input.node.0 as usize].append_only);
            let node = &mut nodes[index];
            match &mut node.kind {
                NodeKind::Map(_) | NodeKind::Union | NodeKind::Window(_) => node.append_only = only_adds,
                NodeKind::Draw(draw) => {
                    node.append_only = only_adds;
                    if only_adds {
                        draw.keeps = false;
                        node.state_bound = None;
                    }
                }
                // A join at once adds rows where its left side does.
                NodeKind::Join(join) if join.at_once => {}
                NodeKind::Join(join) => node.append_only = only_adds && join.kind.only_adds(),
                NodeKind::Aggregate(spec) => match &mut spec.close {
                    Some(close) if !below_a_window[index] => {
                        close.emit_on_close = true;
                        node.append_only = true;
                    }
                    _ => node.append_only = only_adds && spec.calls.is_empty() && !spec.keys.is_empty(),
                },
                _ => {}
            }
        }
    }

    /// Whether a node only filters and projects what a grouping, an as-of join or window functions give
    /// once, when it is final.
    fn comes_once(&self, node: NodeId) -> bool {
        let node = self.graph.node(node);
        match &node.kind {
            NodeKind::Aggregate(spec) => spec.close.is_some_and(|close| close.emit_on_close),
            NodeKind::Session(spec) => spec.close.is_some_and(|close| close.emit_on_close),
            NodeKind::AsOf(spec) => spec.close.is_some_and(|close| close.emit_final),
            NodeKind::Map(_) | NodeKind::Draw(_) => self.comes_once(node.inputs[0].node),
            kind => waits(kind),
        }
    }
}

/// Whether rows wait in a node for later ones that its window functions look at.
fn waits(kind: &NodeKind) -> bool {
    matches!(kind, NodeKind::Over(over) if over.waits_for().is_some())
}

/// What bounds state that closes, in words.
pub fn until(column: &str, lateness_us: i64) -> String {
    match lateness_us {
        0 => format!("until the watermark passes {column}"),
        us => format!("until the watermark passes {column} by {}", explain::duration(us)),
    }
}
