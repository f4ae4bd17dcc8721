//! The shape of a graph: what stored state can be read under.
//!
//! It tells all of a stateful node that its stored entries depend on: its number, its keys, what it
//! keeps for each of them, and the columns of its rows. A plan with another shape would read the
//! entries as something else.

use arrow::datatypes::Schema;
use weir_engine::graph::{AggregateCall, AggregateFunction, Far, Graph, Nearest, Node, NodeKind, OrderKey, Ranking};

/// A line for each stateful node, and one for the result's columns.
pub fn shape(graph: &Graph) -> String {
    let stateful = graph.nodes.iter().enumerate().filter(|(_, node)| node.kind.has_state());
    let mut lines: Vec<String> = stateful
        .map(|(index, node)| {
            let inputs = node.inputs.iter().map(|input| types(&graph.node(input.node).schema));
            let inputs = inputs.collect::<Vec<_>>().join(" | ");
            format!("{index} {} {inputs} -> {}", kept(graph, node), types(&node.schema))
        })
        .collect();
    lines.push(format!("result {}", types(&graph.output().schema)));
    lines.join("\n")
}

/// How far rows are kept, or waited for.
fn reached(before: &Option<Far>) -> String {
    match before {
        Some(Far {
            rows,
            groups: None,
            range: None,
        }) => format!("Some({rows})"),
        other => format!("{other:?}"),
    }
}

/// What a node keeps, and by what.
fn kept(graph: &Graph, node: &Node) -> String {
    let name = node.kind.name();
    match &node.kind {
        NodeKind::Aggregate(aggregate) => {
            let below = graph.node(node.inputs[0].node);
            let floats = |call: &AggregateCall| {
                let sums = matches!(call.function, AggregateFunction::Sum | AggregateFunction::Avg);
                let kind = call.argument.map(|column| below.schema.field(column).data_type());
                sums && kind.is_some_and(|kind| kind.is_floating())
            };
            // Floats over input that only adds were once summed in another way.
            let input = match below.append_only {
                true if aggregate.calls.iter().any(floats) => "added, summed exactly",
                true => "added",
                false => "changed",
            };
            let calls: Vec<String> = aggregate.calls.iter().map(call).collect();
            let closes = aggregate.close.map(|close| close.column);
            format!(
                "{name} by {:?} closes {closes:?} [{}] {input}",
                aggregate.keys,
                calls.join(", ")
            )
        }
        NodeKind::AsOf(join) => {
            let close = join
                .close
                .map_or("never", |close| if close.emit_final { "final" } else { "passed" });
            let records = if join.records { " records" } else { "" };
            let waits = match (join.nearest, join.close) {
                (Nearest::AtOrAfter | Nearest::After, Some(close)) if close.emit_final => ", told what it waits for",
                _ => "",
            };
            format!(
                "{name} {:?} on {:?} = {:?} by {} and {}{records} closes {close}{waits}",
                join.nearest, join.left_keys, join.right_keys, join.left_order, join.right_order
            )
        }
        NodeKind::Join(join) if join.at_once => format!(
            "{name} at once {:?} on {:?} = {:?}, keeps left rows {}",
            join.kind,
            join.left_keys,
            join.right_keys,
            !graph.node(node.inputs[0].node).append_only
        ),
        NodeKind::Join(join) => format!(
            "{name} {:?} on {:?} = {:?}{} closes {:?} residual {}{}",
            join.kind,
            join.left_keys,
            join.right_keys,
            if join.null_equals_null.contains(&true) {
                format!(" nulls {:?}", join.null_equals_null)
            } else {
                String::new()
            },
            join.close.map(|close| close.column),
            join.residual.is_some(),
            match &join.interval {
                Some(near) => format!(
                    " times {} {} from {} to {}",
                    near.left_time, near.right_time, near.from_us, near.to_us
                ),
                None => String::new(),
            }
        ),
        NodeKind::TopN(top) => {
            let ranking = match top.ranking {
                Ranking::RowNumber => String::new(),
                ranking => format!(" {ranking:?}"),
            };
            let closes = top.close.map(|close| close.column);
            format!(
                "{name}{ranking} {} closes {closes:?}",
                sorted(&top.partition, &top.order)
            )
        }
        NodeKind::Session(session) => format!(
            "{name} by {:?} over {} gap {} closes {}{}",
            session.partition,
            session.time,
            session.gap_us,
            session.close.is_some(),
            match &session.groups {
                Some(groups) => {
                    let calls: Vec<String> = groups.calls.iter().map(call).collect();
                    format!(" groups {:?} [{}]", groups.keys, calls.join(", "))
                }
                None => String::new(),
            }
        ),
        NodeKind::Over(over) => {
            // What is forgotten depends on what the functions reach.
            let kept = match over.in_order {
                true => {
                    let before: Vec<String> = over.calls.iter().map(|call| reached(&call.reach.before)).collect();
                    match over.waits_for() {
                        Some(far) => format!(" in order [{}] waits for {}", before.join(", "), reached(&Some(far))),
                        None => format!(" in order [{}]", before.join(", ")),
                    }
                }
                false => String::new(),
            };
            let closes = over.close.map(|close| close.column);
            format!(
                "{name} {} closes {closes:?}{kept}",
                sorted(&over.partition, &over.order)
            )
        }
        NodeKind::Gate(gate) => {
            let whole = if gate.whole_times { " whole times" } else { "" };
            format!("{name} by {}{whole}", gate.column)
        }
        NodeKind::Recurse(recurse) => format!("{name} distinct {}", recurse.distinct),
        NodeKind::Present(present) => format!("{name} from {:?} until {:?}", present.enters, present.leaves),
        NodeKind::Draw(draw) => format!("{name} {:?}", draw.values),
        NodeKind::Upsert(upsert) => format!("{name} by {:?}", upsert.keys),
        _ => name.to_string(),
    }
}

fn sorted(partition: &[usize], order: &[OrderKey]) -> String {
    let order = order.iter().map(|key| (key.column, key.descending, key.nulls_first));
    format!("by {partition:?} order {:?}", order.collect::<Vec<_>>())
}

fn call(call: &AggregateCall) -> String {
    let distinct = if call.distinct { " distinct" } else { "" };
    match &call.function {
        // A fold keeps the rows that it reads, in its order.
        AggregateFunction::Fold(fold) => {
            let order = fold.order.iter();
            let order = order.map(|key| (key.column, key.descending, key.nulls_first));
            let order: Vec<_> = order.collect();
            format!("{:?} rows of {:?} by {order:?}", fold.reads, fold.columns).to_lowercase()
        }
        function => format!("{function:?}{distinct} {:?}", call.argument).to_lowercase(),
    }
}

fn types(schema: &Schema) -> String {
    let types: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| field.data_type().to_string())
        .collect();
    types.join(",")
}
