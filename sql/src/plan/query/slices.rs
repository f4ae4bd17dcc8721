//! Aggregates over windows that overlap: rows are summed up by slice first.
//!
//! Each row of HOP is in size / slide windows. Where partial results can be put together, a slice
//! operator groups the rows of a step by the slice of time that they share all windows in, and the
//! windows and groups above get its rows.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use weir_engine::graph::{AggregateCall, AggregateFunction, Exchange, Input, NodeId, NodeKind, SliceSpec, WindowSpec};
use weir_engine::relation::WATERMARK_COLUMN;

use super::windowed::with_bounds;
use super::{Builder, Built, Facts};
use crate::explain;

/// What an aggregate reads, seen from below its windows.
struct Overlapping {
    /// The rows in no window yet.
    input: NodeId,
    window: WindowSpec,
    watermark: usize,
    keys: Vec<Key>,
    calls: Vec<AggregateCall>,
}

enum Key {
    Column(usize),
    Start,
    End,
}

impl Builder {
    /// What an aggregate by `keys` reads, the keys there, and its calls: as they are, or of partial
    /// results.
    pub(in crate::plan) fn sliced(
        &mut self,
        input: Built,
        keys: Vec<usize>,
        calls: Vec<AggregateCall>,
    ) -> (Built, Vec<usize>, Vec<AggregateCall>) {
        let Some(found) = self.overlapping(&input, &keys, &calls) else {
            return (input, keys, calls);
        };
        let mut columns: Vec<usize> = Vec::new();
        for key in &found.keys {
            if let Key::Column(column) = key
                && !columns.contains(column)
            {
                columns.push(*column);
            }
        }
        let slice = self.push_slice(&found, &columns);
        let below = self.graph.node(slice);
        let fields = with_bounds(&below.schema);
        let width = fields.len();
        let facts = Facts {
            append_only: true,
            key: None,
            has_watermark: below.has_watermark,
            bound: None,
        };
        let window = WindowSpec {
            time: columns.len(),
            watermark: Some(width - 3),
            ..found.window
        };
        let node = self.push(
            NodeKind::Window(window),
            vec![Input {
                node: slice,
                exchange: Exchange::Local,
            }],
            Arc::new(Schema::new(fields)),
            facts,
        );
        let place = |key: &Key| match key {
            Key::Column(column) => columns.iter().position(|c| c == column).unwrap_or_default(),
            Key::Start => width - 2,
            Key::End => width - 1,
        };
        let places: Vec<usize> = found.keys.iter().map(place).collect();
        let mut time = vec![None; width];
        for (key, place) in keys.iter().zip(&places) {
            time[*place] = input.time[*key];
        }
        let together = |(index, call): (usize, AggregateCall)| AggregateCall {
            function: match call.function {
                AggregateFunction::Count => AggregateFunction::Sum,
                function => function,
            },
            argument: Some(columns.len() + 1 + index),
            distinct: false,
            filter: None,
            output_type: call.output_type,
        };
        let calls = calls.into_iter().enumerate().map(together).collect();
        let built = Built {
            node,
            time,
            dealt: None,
            hidden: false,
            ..input
        };
        (built, places, calls)
    }

    /// What the aggregate reads, if partial results of it are worth something.
    fn overlapping(&self, input: &Built, keys: &[usize], calls: &[AggregateCall]) -> Option<Overlapping> {
        if calls.is_empty() {
            return None;
        }
        // Through what only chooses columns.
        let mut at = self.graph.node(input.node);
        let mut columns: Vec<usize> = (0..at.schema.fields().len()).collect();
        let window = loop {
            match &at.kind {
                NodeKind::Map(map) if map.filter.is_none() => {
                    let through = |column: &usize| explain::expr_column(&map.exprs[*column]);
                    let needed = keys
                        .iter()
                        .chain(calls.iter().flat_map(|call| call.argument.iter().chain(&call.filter)));
                    // Of what nobody needs it doesn't matter how it is computed.
                    let mut below = vec![usize::MAX; columns.len()];
                    for column in needed {
                        below[*column] = through(&columns[*column])?;
                    }
                    columns = below;
                    at = self.graph.node(at.inputs[0].node);
                }
                NodeKind::Window(window) => break window,
                _ => return None,
            }
        };
        let below = self.graph.node(at.inputs[0].node);
        let watermark = window.watermark?;
        let overlaps = window.slide_us < window.size_us && window.step_us == window.size_us;
        let time = below.schema.field(window.time).data_type();
        if !overlaps || !below.append_only || *time != DataType::Timestamp(TimeUnit::Microsecond, None) {
            return None;
        }
        let width = below.schema.fields().len();
        let key = |key: &usize| match columns[*key] {
            column if column < width => Some(Key::Column(column)),
            column if column == width => Some(Key::Start),
            column if column == width + 1 => Some(Key::End),
            _ => None,
        };
        let keys: Vec<Key> = keys.iter().map(key).collect::<Option<_>>()?;
        let of_rows = |column: usize| Some(columns[column]).filter(|column| *column < width);
        let call = |call: &AggregateCall| {
            let argument = match call.argument {
                Some(argument) => Some(of_rows(argument)?),
                None => None,
            };
            let filter = match call.filter {
                Some(filter) => Some(of_rows(filter)?),
                None => None,
            };
            let call = AggregateCall {
                argument,
                filter,
                ..call.clone()
            };
            let kind = argument.map(|argument| below.schema.field(argument).data_type());
            merges(&call, kind).then_some(call)
        };
        Some(Overlapping {
            input: at.inputs[0].node,
            window: window.clone(),
            watermark,
            keys,
            calls: calls.iter().map(call).collect::<Option<_>>()?,
        })
    }

    fn push_slice(&mut self, found: &Overlapping, keys: &[usize]) -> NodeId {
        let below = self.graph.node(found.input);
        let field = |column: &usize| below.schema.field(*column).clone().with_nullable(true);
        let timestamp = || DataType::Timestamp(TimeUnit::Microsecond, None);
        let calls = found.calls.iter().map(|call| {
            let name = explain::call_text(call, &below.schema);
            Field::new(name, call.output_type.clone(), true)
        });
        let mut fields: Vec<Field> = keys.iter().map(field).collect();
        fields.push(Field::new(
            below.schema.field(found.window.time).name(),
            timestamp(),
            true,
        ));
        fields.extend(calls);
        fields.push(Field::new(WATERMARK_COLUMN, timestamp(), true));
        let facts = Facts {
            append_only: true,
            key: None,
            has_watermark: below.has_watermark,
            bound: None,
        };
        let window = &found.window;
        let spec = SliceSpec {
            keys: keys.to_vec(),
            time: window.time,
            slice_us: divisor(window.slide_us, window.size_us),
            slide_us: window.slide_us,
            size_us: window.size_us,
            offset_us: window.offset_us,
            calls: found.calls.clone(),
            watermark: found.watermark,
        };
        let input = Input {
            node: found.input,
            exchange: Exchange::Local,
        };
        self.push(NodeKind::Slice(spec), vec![input], Arc::new(Schema::new(fields)), facts)
    }
}

/// Whether a call's results over parts of the rows make its result over all, to the last digit, and none
/// of them can be out of range where that isn't.
fn merges(call: &AggregateCall, argument: Option<&DataType>) -> bool {
    use DataType::{Decimal128, Int8, Int16, Int32};
    match &call.function {
        AggregateFunction::Count => !call.distinct,
        AggregateFunction::Min | AggregateFunction::Max => true,
        AggregateFunction::Sum if !call.distinct => match (argument, &call.output_type) {
            (Some(Int8 | Int16 | Int32), DataType::Int64) => true,
            // Room for a billion rows.
            (Some(Decimal128(digits, scale)), Decimal128(out, same)) => scale == same && digits + 9 <= *out,
            _ => false,
        },
        _ => false,
    }
}

/// The greatest length that divides both.
fn divisor(a: i64, b: i64) -> i64 {
    match b {
        0 => a,
        b => divisor(b, a % b),
    }
}
