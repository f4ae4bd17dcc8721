//! EXPLAIN: a graph in words, and its shape.

use std::fmt::Write;

use arrow::datatypes::Schema;
use weir_engine::graph::{Exchange, Graph, JoinKind, Node, NodeKind};

/// The graph, result first, each node with what it does, its key, whether it updates, how rows
/// come to it, and what bounds its state.
pub fn explain(graph: &Graph) -> String {
    let mut text = String::new();
    if !graph.nodes.is_empty() {
        explain_node(graph, graph.nodes.len() - 1, 0, &mut text);
    }
    text
}

fn explain_node(graph: &Graph, index: usize, depth: usize, text: &mut String) {
    let node = &graph.nodes[index];
    let indent = "  ".repeat(depth);
    let _ = writeln!(text, "{indent}{index} {} {}", node.kind.name(), describe(graph, node));
    let mut facts = vec![if node.append_only {
        "append-only".to_string()
    } else {
        "updating".to_string()
    }];
    if let Some(key) = &node.key {
        facts.push(format!("key ({})", names(&node.schema, key)));
    }
    if let Some(bound) = &node.state_bound {
        facts.push(format!("state: {bound}"));
    }
    if node.has_watermark {
        facts.push("watermark".to_string());
    }
    let _ = writeln!(text, "{indent}    {}", facts.join(" · "));
    for input in &node.inputs {
        explain_node(graph, input.node.0 as usize, depth + 1, text);
    }
}

fn describe(graph: &Graph, node: &Node) -> String {
    let below = node.inputs.first().map(|input| &graph.node(input.node).schema);
    let columns = |columns: &[usize]| below.map(|schema| names(schema, columns)).unwrap_or_default();
    let mut text = match &node.kind {
        NodeKind::Input(input) => format!("{} ({})", input.name, all_names(&node.schema)),
        NodeKind::Map(map) => {
            let exprs: Vec<String> = map.exprs.iter().map(ToString::to_string).collect();
            let filter = map
                .filter
                .as_ref()
                .map(|filter| format!("where {filter}: "))
                .unwrap_or_default();
            format!("{filter}{}", exprs.join(", "))
        }
        NodeKind::Window(window) => format!(
            "{} of {} µs every {} µs",
            columns(&[window.time]),
            window.size_us,
            window.slide_us
        ),
        NodeKind::Union => String::new(),
        NodeKind::Aggregate(aggregate) => {
            let calls: Vec<String> = aggregate
                .calls
                .iter()
                .map(|call| format!("{:?}", call.function).to_lowercase())
                .collect();
            let close = match &aggregate.close {
                Some(close) if close.emit_on_close => " emits on window close",
                _ => "",
            };
            format!("by ({}): {}{close}", columns(&aggregate.keys), calls.join(", "))
        }
        NodeKind::Join(join) => {
            let kind = if join.kind == JoinKind::Left { "left" } else { "inner" };
            let right = &graph.node(node.inputs[1].node).schema;
            let residual = join
                .residual
                .as_ref()
                .map(|residual| format!(" and {residual}"))
                .unwrap_or_default();
            format!(
                "{kind} on ({}) = ({}){residual}",
                columns(&join.left_keys),
                names(right, &join.right_keys)
            )
        }
        NodeKind::TopN(top) => {
            let order: Vec<usize> = top.order.iter().map(|key| key.column).collect();
            format!(
                "{} after {} of each ({}) by ({})",
                top.limit,
                top.offset,
                columns(&top.partition),
                columns(&order)
            )
        }
        NodeKind::Gate(gate) => format!("until the watermark passes {}", columns(&[gate.column])),
        NodeKind::Upsert(upsert) => format!("last row by ({})", columns(&upsert.keys)),
    };
    for input in &node.inputs {
        match &input.exchange {
            Exchange::Local => {}
            Exchange::Hash(keys) => {
                let _ = write!(text, " ⇐ by ({})", names(&graph.node(input.node).schema, keys));
            }
            Exchange::Single => text.push_str(" ⇐ one task"),
        }
    }
    text
}

fn names(schema: &Schema, columns: &[usize]) -> String {
    columns
        .iter()
        .map(|column| schema.field(*column).name().as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn all_names(schema: &Schema) -> String {
    names(schema, &(0..schema.fields().len()).collect::<Vec<_>>())
}

/// The stable ids and types of a graph's stateful nodes: what stored state can be read under.
pub fn shape(graph: &Graph) -> String {
    let mut lines = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate().filter(|(_, node)| node.kind.has_state()) {
        let types = |schema: &Schema| -> String {
            schema
                .fields()
                .iter()
                .map(|field| field.data_type().to_string())
                .collect::<Vec<_>>()
                .join(",")
        };
        let inputs: Vec<String> = node
            .inputs
            .iter()
            .map(|input| types(&graph.node(input.node).schema))
            .collect();
        lines.push(format!(
            "{index} {} {} -> {}",
            node.kind.name(),
            inputs.join(" | "),
            types(&node.schema)
        ));
    }
    lines.push(format!(
        "result {}",
        graph
            .output()
            .schema
            .fields()
            .iter()
            .map(|f| f.data_type().to_string())
            .collect::<Vec<_>>()
            .join(",")
    ));
    lines.join("\n")
}
