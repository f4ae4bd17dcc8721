//! EXPLAIN: a graph in words, what to mind about it, and its shape.

use std::fmt::Write;

use arrow::datatypes::Schema;
use weir_engine::format::column_words;
use weir_engine::graph::{
    AggregateCall, AggregateFunction, AggregateSpec, AsOfSpec, Exchange, FoldSpec, Graph, JoinKind, JoinSpec, Nearest,
    Node, NodeKind, OrderKey, OverSpec, PresentSpec, Ranking, SessionKey, SessionSpec, SliceSpec, TopNSpec, UnnestSpec,
    ValuesSpec, WindowSpec,
};

mod expr;
mod shape;

pub use expr::text as expression;
pub(crate) use expr::{column as expr_column, text as expr_text, value as value_text};
pub use shape::shape;

/// The graph, result first, each node with what it does, whether its rows change, its key, how rows
/// come to it, and what bounds its state. The number before a node is the one in `weir.operators`.
pub fn explain(graph: &Graph) -> String {
    annotated(graph, &|_| None)
}

/// The same, with a line of what is known of a node by its number.
pub fn annotated(graph: &Graph, known: &dyn Fn(u32) -> Option<String>) -> String {
    let mut lines = Lines {
        graph,
        known,
        shown: vec![false; graph.nodes.len()],
        text: String::new(),
    };
    if let Some(last) = graph.nodes.len().checked_sub(1) {
        lines.node(last, 0);
    }
    lines.text
}

/// What someone who creates this view may want to know: state that grows with the input for ever.
pub fn notes(graph: &Graph) -> Vec<String> {
    graph.nodes.iter().filter_map(|node| note(graph, node)).collect()
}

fn note(graph: &Graph, node: &Node) -> Option<String> {
    match &node.kind {
        NodeKind::AsOf(join) if join.close.is_none() => {
            let adds = node.inputs.iter().all(|input| graph.node(input.node).append_only);
            adds.then(|| {
                "the as-of join keeps all rows of both sides for ever, since a later row may be nearer; event times of sources \
                 with a WATERMARK on both sides would bound it"
                    .to_string()
            })
        }
        NodeKind::Join(join) if join.close.is_none() && join.interval.is_none() && !join.at_once => {
            let endless = |input: usize| {
                let input = graph.node(node.inputs[input].node);
                input.append_only && input.key.as_ref().is_none_or(|key| !key.is_empty()) && !is_fixed(graph, input)
            };
            let sides = match (endless(0), endless(1)) {
                (true, true) => "both sides",
                (true, false) => "its left side",
                (false, true) => "its right side",
                (false, false) => return None,
            };
            let on = match join.left_keys.is_empty() {
                true => "of every pair".to_string(),
                false => format!("on {}", join_keys(graph, node, join)),
            };
            Some(format!(
                "the join {on} keeps all rows of {sides} for ever, since any of them may still find a partner; \
                 equality on the window_end of both sides with EMIT ON WINDOW CLOSE would bound it"
            ))
        }
        NodeKind::Aggregate(aggregate) if aggregate.close.is_none() => {
            let below = graph.node(node.inputs[0].node);
            let windowed = aggregate.keys.iter().any(|key| is_window_bound(graph, below, *key));
            windowed.then(|| {
                format!(
                    "the groups by {} are kept for ever, so that late rows correct them; WITH (allowed_lateness = '1 \
                     hour') or EMIT ON WINDOW CLOSE bounds them",
                    names(below, &aggregate.keys)
                )
            })
        }
        NodeKind::Over(over) if over.close.is_none() && !over.in_order => {
            let below = graph.node(node.inputs[0].node);
            below.append_only.then(|| {
                "OVER keeps all rows for ever, since a late one may change their values; EMIT ON WINDOW CLOSE with an \
                 ORDER BY of the event time and frames that are bounded on both sides bounds them"
                    .to_string()
            })
        }
        NodeKind::Session(session) if session.close.is_none() && session.watermark.is_some() => Some(format!(
            "the {} of sessions are kept for ever, so that late rows correct them; WITH (allowed_lateness = '1 hour') \
             or EMIT ON WINDOW CLOSE bounds them",
            if session.groups.is_some() { "groups" } else { "rows" }
        )),
        _ => None,
    }
}

/// Whether a node's rows all stand in the query.
fn is_fixed(graph: &Graph, node: &Node) -> bool {
    match &node.kind {
        NodeKind::Values(_) => true,
        NodeKind::Map(_) => is_fixed(graph, graph.node(node.inputs[0].node)),
        _ => false,
    }
}

/// True if the column comes from a window that judges late rows, so that closing it is possible.
fn is_window_bound(graph: &Graph, node: &Node, column: usize) -> bool {
    let below = |input: usize| node.inputs.get(input).map(|input| graph.node(input.node));
    match (&node.kind, below(0)) {
        (NodeKind::Window(window), Some(input)) => {
            let width = input.schema.fields().len();
            match column {
                column if column < width => is_window_bound(graph, input, column),
                _ => window.watermark.is_some(),
            }
        }
        (NodeKind::Session(session), Some(_)) => {
            let is_end = match &session.groups {
                Some(groups) => groups.keys.get(column) == Some(&SessionKey::End),
                None => column + 1 == node.schema.fields().len(),
            };
            is_end && session.watermark.is_some()
        }
        (NodeKind::Map(map), Some(input)) => match expr::column(&map.exprs[column]) {
            Some(column) => is_window_bound(graph, input, column),
            None => false,
        },
        (NodeKind::Aggregate(aggregate), Some(input)) => match aggregate.keys.get(column) {
            Some(key) => is_window_bound(graph, input, *key),
            None => false,
        },
        (
            NodeKind::Union | NodeKind::Gate(_) | NodeKind::TopN(_) | NodeKind::Over(_) | NodeKind::Draw(_),
            Some(input),
        ) => column < input.schema.fields().len() && is_window_bound(graph, input, column),
        _ => false,
    }
}

struct Lines<'a> {
    graph: &'a Graph,
    known: &'a dyn Fn(u32) -> Option<String>,
    /// Nodes that stand in the text: one that several read stands there once.
    shown: Vec<bool>,
    text: String,
}

impl Lines<'_> {
    fn node(&mut self, index: usize, depth: usize) {
        let node = &self.graph.nodes[index];
        let indent = "  ".repeat(depth);
        if std::mem::replace(&mut self.shown[index], true) {
            let _ = writeln!(self.text, "{indent}{index} {}, see above", node.kind.name());
            return;
        }
        let what = describe(self.graph, node);
        let _ = writeln!(self.text, "{indent}{index} {} {what}", node.kind.name());
        let _ = writeln!(self.text, "{indent}    {}", facts(self.graph, node).join(" · "));
        if let Some(known) = (self.known)(index as u32) {
            let _ = writeln!(self.text, "{indent}    {known}");
        }
        if let NodeKind::Recurse(recurse) = &node.kind {
            let _ = writeln!(self.text, "{indent}    each round:");
            for line in explain(&recurse.inner).lines() {
                let _ = writeln!(self.text, "{indent}      | {line}");
            }
        }
        for input in &node.inputs {
            self.node(input.node.0 as usize, depth + 1);
        }
    }
}

/// What the planner proved of a node.
fn facts(graph: &Graph, node: &Node) -> Vec<String> {
    let mut facts = vec![if node.append_only { "append-only" } else { "updating" }.to_string()];
    match &node.key {
        Some(key) if key.is_empty() => facts.push("one row".to_string()),
        Some(key) => facts.push(format!("key ({})", names(node, key))),
        None => {}
    }
    facts.extend(node.inputs.iter().filter_map(|input| match &input.exchange {
        Exchange::Local => None,
        Exchange::Hash(keys) => Some(format!("dealt by ({})", names(graph.node(input.node), keys))),
        Exchange::Single => Some("in one task".to_string()),
    }));
    facts.dedup();
    if let Some(bound) = &node.state_bound {
        facts.push(format!("state: {bound}"));
    }
    if node.has_watermark {
        facts.push("watermark".to_string());
    }
    facts
}

fn describe(graph: &Graph, node: &Node) -> String {
    let below = node.inputs.first().map(|input| graph.node(input.node));
    match (&node.kind, below) {
        (NodeKind::Input(input), _) => {
            let columns = match node.schema.fields().len() {
                0 => "no columns".to_string(),
                _ => all_names(&node.schema),
            };
            let timeout = input.timeout_us.map(duration);
            let closes = timeout.map(|long| format!(", closes what is open when nothing comes for {long}"));
            format!("{} ({columns}){}", input.name, closes.unwrap_or_default())
        }
        (NodeKind::Map(map), Some(below)) => {
            let named = map.exprs.iter().zip(node.schema.fields());
            let columns: Vec<String> = named
                .map(|(expr, field)| {
                    let text = expr::text(expr, &below.schema);
                    let name = column_words(field.name());
                    match text == name {
                        true => text,
                        false => format!("{text} AS {name}"),
                    }
                })
                .collect();
            let columns = if columns.is_empty() {
                "(no columns)".to_string()
            } else {
                columns.join(", ")
            };
            match &map.filter {
                Some(filter) => format!("{columns} where {}", expr::text(filter, &below.schema)),
                None => columns,
            }
        }
        (NodeKind::Window(window), Some(below)) => describe_window(below, window),
        (NodeKind::Session(session), Some(below)) => describe_session(below, session),
        (NodeKind::Aggregate(aggregate), Some(below)) => describe_aggregate(below, aggregate),
        (NodeKind::Join(join), _) => describe_join(graph, node, join),
        (NodeKind::AsOf(join), _) => describe_as_of(graph, node, join),
        (NodeKind::TopN(top), Some(below)) => describe_top_n(below, top),
        (NodeKind::Over(over), Some(below)) => describe_over(below, over),
        (NodeKind::Gate(gate), _) => format!("holds rows until the watermark passes {}", names(node, &[gate.column])),
        (NodeKind::Upsert(upsert), Some(below)) => format!("the last row by {}", names(below, &upsert.keys)),
        (NodeKind::Unnest(unnest), Some(below)) => describe_unnest(below, unnest),
        (NodeKind::Present(present), Some(below)) => describe_present(below, present),
        (NodeKind::Slice(slice), Some(below)) => describe_slice(below, slice),
        (NodeKind::Draw(draw), _) => {
            let values: Vec<&str> = draw.values.iter().map(|value| value.text()).collect();
            values.join(", ")
        }
        (NodeKind::Values(values), _) => describe_values(values),
        (NodeKind::Repeat(repeat), Some(below)) => format!("each row {} times", names(below, &[repeat.times])),
        (NodeKind::Union, _) => format!("of {} inputs", node.inputs.len()),
        (NodeKind::Recurse(recurse), _) => format!(
            "{}, at most {} rounds a step",
            if recurse.distinct {
                "each row once"
            } else {
                "each derivation"
            },
            recurse.max_iterations
        ),
        (NodeKind::Port(0), _) => format!("the recursion's own rows ({})", all_names(&node.schema)),
        (NodeKind::Port(port), _) => format!("input {port} of the recursion ({})", all_names(&node.schema)),
        _ => String::new(),
    }
}

fn describe_values(values: &ValuesSpec) -> String {
    let names = all_names(&values.rows.schema());
    match values.rows.num_rows() {
        1 => format!("1 row ({names})"),
        rows => format!("{rows} rows ({names})"),
    }
}

fn describe_window(below: &Node, window: &WindowSpec) -> String {
    let time = names(below, &[window.time]);
    let mut text = format!("of {} over {time}", duration(window.size_us));
    if window.slide_us != window.size_us {
        let _ = write!(text, " every {}", duration(window.slide_us));
    }
    if window.step_us != window.size_us {
        let _ = write!(text, " growing by {}", duration(window.step_us));
    }
    if window.offset_us != 0 {
        let _ = write!(text, " shifted by {}", duration(window.offset_us));
    }
    text.push_str(&late(window.watermark, window.drop_late_after_us));
    text
}

fn late(watermark: Option<usize>, drop_after_us: Option<i64>) -> String {
    match (watermark, drop_after_us) {
        (None, None) => String::new(),
        (Some(_), None) => ", late rows correct it".to_string(),
        (_, Some(0)) => ", late rows are dropped".to_string(),
        (_, Some(us)) => format!(", rows later than {} are dropped", duration(us)),
    }
}

fn describe_session(below: &Node, session: &SessionSpec) -> String {
    let time = names(below, &[session.time]);
    let of = match session.partition.is_empty() {
        true => String::new(),
        false => format!("of each {} ", names(below, &session.partition)),
    };
    let close = session.close.map(|close| close.lateness_us);
    let mut text = format!("{of}over {time} with a gap of {}", duration(session.gap_us));
    text.push_str(&late(session.watermark, close));
    if let Some(groups) = &session.groups {
        let key = |key: &SessionKey| match key {
            SessionKey::Column(column) => names(below, &[*column]),
            SessionKey::Start => "window_start".to_string(),
            SessionKey::End => "window_end".to_string(),
        };
        let keys: Vec<String> = groups.keys.iter().map(key).collect();
        let calls: Vec<String> = groups.calls.iter().map(|call| call_text(call, &below.schema)).collect();
        let said = if calls.is_empty() { "distinct" } else { "by" };
        let _ = write!(text, "; {said} {}", keys.join(", "));
        if !calls.is_empty() {
            let _ = write!(text, ": {}", calls.join(", "));
        }
    }
    if session.close.is_some_and(|close| close.emit_on_close) {
        text.push_str(", emits when the session closes");
    }
    text
}

fn describe_aggregate(below: &Node, aggregate: &AggregateSpec) -> String {
    let calls: Vec<String> = aggregate
        .calls
        .iter()
        .map(|call| call_text(call, &below.schema))
        .collect();
    let keys = names(below, &aggregate.keys);
    let mut text = match (keys.is_empty(), calls.is_empty()) {
        (true, _) => calls.join(", "),
        (false, true) => format!("distinct {keys}"),
        (false, false) => format!("by {keys}: {}", calls.join(", ")),
    };
    if aggregate.close.as_ref().is_some_and(|close| close.emit_on_close) {
        text.push_str(", emits when the window closes");
    }
    text
}

/// A call over rows of `schema`.
pub(crate) fn call_text(call: &AggregateCall, schema: &Schema) -> String {
    let column = |column: usize| column_words(schema.field(column).name());
    let name = match &call.function {
        AggregateFunction::Count => "count",
        AggregateFunction::Sum => "sum",
        AggregateFunction::Avg => "avg",
        AggregateFunction::Min => "min",
        AggregateFunction::Max => "max",
        AggregateFunction::Fold(fold) => fold.function.fun().name(),
    };
    let distinct = if call.distinct { "DISTINCT " } else { "" };
    let argument = match (&call.function, call.argument) {
        (AggregateFunction::Fold(fold), _) => fold_arguments(fold, schema),
        (_, Some(argument)) => column(argument),
        (_, None) => "*".to_string(),
    };
    let filter = match call.filter {
        Some(filter) => format!(" FILTER (WHERE {})", column(filter)),
        None => String::new(),
    };
    format!("{name}({distinct}{argument}){filter}")
}

/// The arguments of a fold, and in which order it is given the rows; what only breaks ties is left out.
fn fold_arguments(fold: &FoldSpec, schema: &Schema) -> String {
    let own = fold.columns.iter().map(|column| schema.field(*column).clone());
    let own = Schema::new(own.collect::<Vec<_>>());
    let arguments = fold.function.expressions();
    let arguments: Vec<String> = arguments.iter().map(|argument| expr::text(argument, &own)).collect();
    let ties = |key: &OrderKey| fold.columns.contains(&key.column) && !key.descending && !key.nulls_first;
    let said = fold.order.iter().rposition(|key| !ties(key)).map_or(0, |last| last + 1);
    let order: Vec<String> = fold.order[..said].iter().map(|key| order_text(key, schema)).collect();
    let mut text = arguments.join(", ");
    if !order.is_empty() {
        let _ = write!(text, " ORDER BY {}", order.join(", "));
    }
    text
}

fn describe_join(graph: &Graph, node: &Node, join: &JoinSpec) -> String {
    let kind = match join.kind {
        JoinKind::Inner => "inner",
        JoinKind::Left => "left",
        JoinKind::Full => "full",
        JoinKind::Semi => "semi",
        JoinKind::Anti => "anti",
        JoinKind::Mark => "mark",
    };
    let kind = match join.at_once {
        true => format!("{kind}, as of now,"),
        false => kind.to_string(),
    };
    let mut text = match join.left_keys.is_empty() {
        true => format!("{kind}, every pair"),
        false => format!("{kind} on {}", join_keys(graph, node, join)),
    };
    if let Some(residual) = &join.residual {
        // Without the hidden columns of an interval join.
        let hidden = usize::from(join.interval.is_some());
        let columns = |input: usize| {
            let fields = graph.node(node.inputs[input].node).schema.fields();
            fields[..fields.len() - hidden].to_vec()
        };
        let both = Schema::new([columns(0), columns(1)].concat());
        let _ = write!(text, " and {}", expr::text(residual, &both));
    }
    text
}

fn describe_as_of(graph: &Graph, node: &Node, join: &AsOfSpec) -> String {
    let (left, right) = (graph.node(node.inputs[0].node), graph.node(node.inputs[1].node));
    let kind = if join.outer { "left" } else { "inner" };
    let pair = |(l, r): (&usize, &usize)| format!("{} = {}", names(left, &[*l]), names(right, &[*r]));
    let keys: Vec<String> = join.left_keys.iter().zip(&join.right_keys).map(pair).collect();
    let mut text = match keys.is_empty() {
        true => kind.to_string(),
        false => format!("{kind} on {}", keys.join(" AND ")),
    };
    let (at, of) = (names(left, &[join.left_order]), names(right, &[join.right_order]));
    let which = match (join.records, join.nearest) {
        (true, _) => format!("the version by right {of} that is valid at left {at}"),
        (_, Nearest::AtOrBefore) => format!("the last right {of} until left {at}"),
        (_, Nearest::Before) => format!("the last right {of} before left {at}"),
        (_, Nearest::AtOrAfter) => format!("the first right {of} from left {at} on"),
        (_, Nearest::After) => format!("the first right {of} after left {at}"),
    };
    let _ = write!(text, ", {which}");
    text.push_str(&late(
        join.close.map(|_| join.left_order),
        join.close.map(|close| close.lateness_us),
    ));
    if join.close.is_some_and(|close| close.emit_final) {
        text.push_str(", emits when it is final");
    }
    text
}

/// `a = b AND c = d`, of a join's keys.
fn join_keys(graph: &Graph, node: &Node, join: &JoinSpec) -> String {
    let (left, right) = (graph.node(node.inputs[0].node), graph.node(node.inputs[1].node));
    let pair = |(position, (l, r)): (usize, (&usize, &usize))| {
        let equals = match join.null_equals_null[position] {
            true => "IS NOT DISTINCT FROM",
            false => "=",
        };
        format!("{} {equals} {}", names(left, &[*l]), names(right, &[*r]))
    };
    let pairs = join.left_keys.iter().zip(&join.right_keys).enumerate();
    pairs.map(pair).collect::<Vec<_>>().join(" AND ")
}

fn describe_top_n(below: &Node, top: &TopNSpec) -> String {
    let what = match top.ranking {
        Ranking::RowNumber => "",
        Ranking::Rank => " and their peers",
        Ranking::DenseRank => " values",
    };
    let mut text = match (top.limit, top.offset) {
        (u64::MAX, offset) => format!("all but the first {offset}"),
        (limit, 0) => format!("the first {limit}{what}"),
        (limit, offset) => format!("{limit}{what} after the first {offset}"),
    };
    push_sorted(&mut text, below, &top.partition, &top.order);
    text
}

fn describe_over(below: &Node, over: &OverSpec) -> String {
    let calls: Vec<&str> = over.calls.iter().map(|call| call.text.as_str()).collect();
    let mut text = calls.join(", ");
    push_sorted(&mut text, below, &over.partition, &over.order);
    if over.waits_for().is_some() {
        text.push_str(", emits when it is final");
    }
    text
}

fn describe_present(below: &Node, present: &PresentSpec) -> String {
    let enters = present.enters.map(|column| format!("from {}", names(below, &[column])));
    let leaves = present
        .leaves
        .map(|column| format!("until {}", names(below, &[column])));
    let parts: Vec<String> = enters.into_iter().chain(leaves).collect();
    format!("by the clock {}", parts.join(" "))
}

fn describe_slice(below: &Node, slice: &SliceSpec) -> String {
    let calls: Vec<String> = slice.calls.iter().map(|call| call_text(call, &below.schema)).collect();
    let by = match slice.keys.is_empty() {
        true => String::new(),
        false => format!(" by {}", names(below, &slice.keys)),
    };
    format!(
        "the rows of {} of {}{by}: {}",
        duration(slice.slice_us),
        names(below, &[slice.time]),
        calls.join(", ")
    )
}

fn describe_unnest(below: &Node, unnest: &UnnestSpec) -> String {
    let empty = match unnest.keeps_empty {
        true => ", or one row where there are none",
        false => "",
    };
    format!("the elements of {}{empty}", names(below, &unnest.lists))
}

fn push_sorted(text: &mut String, below: &Node, partition: &[usize], order: &[OrderKey]) {
    if !partition.is_empty() {
        let _ = write!(text, " of each {}", names(below, partition));
    }
    let order: Vec<String> = order.iter().map(|key| order_text(key, &below.schema)).collect();
    if !order.is_empty() {
        let _ = write!(text, " by {}", order.join(", "));
    }
}

/// The function that gives a number or rank.
pub(crate) fn ranking_text(ranking: Ranking) -> &'static str {
    match ranking {
        Ranking::RowNumber => "row_number()",
        Ranking::Rank => "rank()",
        Ranking::DenseRank => "dense_rank()",
    }
}

fn order_text(key: &OrderKey, schema: &Schema) -> String {
    let descending = if key.descending { " DESC" } else { "" };
    // As PostgreSQL has it: NULLs are the largest.
    let nulls = match (key.nulls_first, key.descending) {
        (true, false) => " NULLS FIRST",
        (false, true) => " NULLS LAST",
        _ => "",
    };
    format!("{}{descending}{nulls}", column_words(schema.field(key.column).name()))
}

fn names(node: &Node, columns: &[usize]) -> String {
    let name = |column: &usize| column_words(node.schema.field(*column).name());
    columns.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn all_names(schema: &Schema) -> String {
    let names: Vec<String> = schema.fields().iter().map(|field| column_words(field.name())).collect();
    names.join(", ")
}

/// A length of time in words: `1 hour 30 minutes`.
pub fn duration(us: i64) -> String {
    const UNITS: [(i64, &str); 6] = [
        (86_400_000_000, "day"),
        (3_600_000_000, "hour"),
        (60_000_000, "minute"),
        (1_000_000, "second"),
        (1_000, "millisecond"),
        (1, "microsecond"),
    ];
    let mut left = us.unsigned_abs();
    let mut parts = Vec::new();
    for (unit, name) in UNITS {
        let count = left / unit as u64;
        left %= unit as u64;
        match count {
            0 => {}
            1 => parts.push(format!("1 {name}")),
            count => parts.push(format!("{count} {name}s")),
        }
    }
    match (parts.is_empty(), us < 0) {
        (true, _) => "0 seconds".to_string(),
        (_, true) => format!("minus {}", parts.join(" ")),
        (_, false) => parts.join(" "),
    }
}
