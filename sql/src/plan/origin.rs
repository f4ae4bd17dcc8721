//! Where a result's column comes from, as far as that says which columns are unique in it: a key that
//! has a window's start needs not have its end.

use weir_engine::graph::{Graph, NodeId, NodeKind};

use crate::explain;

/// Whether rows of a graph's result that agree in the column `start` agree in `end`, because these
/// are the bounds of one window of fixed length.
pub fn end_follows(graph: &Graph, start: usize, end: usize) -> bool {
    let (Some((window, start)), Some((other, end))) = (bound_of_window(graph, start), bound_of_window(graph, end))
    else {
        return false;
    };
    let node = graph.node(window);
    let NodeKind::Window(spec) = &node.kind else {
        return false;
    };
    let width = node.schema.fields().len();
    // Windows of CUMULATE share their start.
    window == other && (start, end) == (width - 2, width - 1) && spec.step_us == spec.size_us
}

/// The window node, and its column, that a column of the result is taken from unchanged.
fn bound_of_window(graph: &Graph, column: usize) -> Option<(NodeId, usize)> {
    let mut node = graph.output();
    let mut id = NodeId(graph.nodes.len() as u32 - 1);
    let mut column = column;
    loop {
        column = match &node.kind {
            NodeKind::Window(_) if column + 2 >= node.schema.fields().len() => return Some((id, column)),
            NodeKind::Map(map) => explain::expr_column(&map.exprs[column])?,
            NodeKind::Aggregate(aggregate) => *aggregate.keys.get(column)?,
            _ => return None,
        };
        id = node.inputs.first()?.node;
        node = graph.node(id);
    }
}
