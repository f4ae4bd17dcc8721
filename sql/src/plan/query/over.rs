//! OVER: window functions.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, Operator, SortExpr, Window, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition,
};
use datafusion::physical_expr::expressions as physical_exprs;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::windows::create_window_expr;
use datafusion::physical_planner::is_window_frame_bound_valid;
use weir_engine::graph::{Far, GateSpec, Input, NodeId, NodeKind, OrderKey, OverCall, OverSpec, Reach};

use super::order::order_keys;
use super::{Builder, Built, Closing, Facts, TimeBound, exchange_by, single, until};
use crate::plan::expr::physical;
use crate::plan::{errors, refuse};
use crate::{Error, Result, explain};

/// Partition and order of window functions, as columns of what they are over.
struct Sorted<'a> {
    partition: Vec<usize>,
    order: Vec<OrderKey>,
    /// What `order` is of.
    order_by: &'a [SortExpr],
    /// Arguments and filters that are computed before, each with its column.
    computed: Vec<(&'a Expr, usize)>,
}

impl Builder {
    pub(super) fn over(&mut self, window: &Window) -> Result<Built> {
        refuse::subqueries(window.window_expr.iter())?;
        if self.closing == Closing::Emit
            && let Some(turned) = looking_back_first(window)?
        {
            let built = self.build(&turned, true)?;
            let columns: Vec<Expr> = window.schema.columns().into_iter().map(Expr::Column).collect();
            return self.map(built, None, &columns, &window.schema);
        }
        let input = self.build(&window.input, self.closing == Closing::Emit)?;
        let visible = input.schema.fields().len();
        let calls = window.window_expr.iter().map(call_of).collect::<Result<Vec<_>>>()?;
        let [first, ..] = &calls[..] else {
            return Err(refuse::plan(&LogicalPlan::Window(window.clone())));
        };
        // The planner gives those that are sorted alike a node together.
        let params = &first.params;
        let order_exprs = params.order_by.iter().map(|sort| &sort.expr);
        // What may fail is computed row by row, so that it is the row's fault and not its partition's.
        let given = calls
            .iter()
            .flat_map(|call| call.params.args.iter().chain(call.params.filter.as_deref()));
        let computed: Vec<&Expr> = given.filter(|expr| may_fail(expr, &input.schema)).collect();
        let exprs: Vec<&Expr> = params
            .partition_by
            .iter()
            .chain(order_exprs)
            .chain(computed.iter().copied())
            .collect();
        let (input, places) = self.with_columns(input, &exprs)?;
        let (partition, places) = places.split_at(params.partition_by.len());
        let (order_places, computed_places) = places.split_at(params.order_by.len());
        let sorted = Sorted {
            computed: computed.into_iter().zip(computed_places.iter().copied()).collect(),
            partition: partition.to_vec(),
            order: order_keys(&params.order_by, order_places),
            order_by: &params.order_by,
        };
        let types = window.schema.fields()[visible..].iter().map(|field| field.data_type());
        let planned = calls
            .iter()
            .zip(types)
            .map(|(call, kind)| self.over_call(call, kind.clone(), &sorted, &input))
            .collect::<Result<Vec<_>>>()?;
        let width = input.schema.fields().len();
        let built = self.push_over(input, sorted, planned)?;
        let columns: Vec<usize> = (0..visible).chain(width..width + calls.len()).collect();
        let mut built = match width == visible {
            true => built,
            false => {
                let time = columns.iter().map(|column| built.time[*column]).collect();
                Built {
                    time,
                    ..self.select(built, &columns)?
                }
            }
        };
        built.schema = window.schema.as_ref().clone();
        Ok(built)
    }

    fn over_call(&self, call: &WindowFunction, kind: DataType, sorted: &Sorted, input: &Built) -> Result<OverCall> {
        let params = &call.params;
        let frame = &params.window_frame;
        if !is_window_frame_bound_valid(frame) {
            return Err(Error::new(format!("the frame {frame} ends before it begins")));
        }
        let below = &self.graph.node(input.node).schema;
        let column = |column: usize| -> Arc<dyn PhysicalExpr> {
            Arc::new(physical_exprs::Column::new(below.field(column).name(), column))
        };
        let value = |expr: &Expr| match sorted.computed.iter().find(|(computed, _)| *computed == expr) {
            Some((_, place)) => Ok(column(*place)),
            None => physical(expr, &input.schema),
        };
        let args = params.args.iter().map(value).collect::<Result<Vec<_>>>()?;
        let filter = params.filter.as_deref().map(value).transpose()?;
        let partition: Vec<Arc<dyn PhysicalExpr>> = sorted.partition.iter().map(|c| column(*c)).collect();
        let key = |key: &OrderKey| PhysicalSortExpr {
            expr: column(key.column),
            options: SortOptions {
                descending: key.descending,
                nulls_first: key.nulls_first,
            },
        };
        let order: Vec<PhysicalSortExpr> = sorted.order.iter().map(key).collect();
        let ignores_nulls = params.null_treatment == Some(NullTreatment::IgnoreNulls);
        let mut text = format!(
            "{}({}{})",
            call.fun.name(),
            if params.distinct { "DISTINCT " } else { "" },
            explained(&call.fun, &params.args, &args, below)
        );
        if let Some(filter) = &filter {
            text += &format!(" FILTER (WHERE {})", explain::expr_text(filter, below));
        }
        if ignores_nulls {
            text += " IGNORE NULLS";
        }
        if uses_frame(call) && frame_text(frame) != frame_text(&default_frame(sorted.order_by)) {
            text += &format!(" {}", frame_text(frame));
        }
        let function = create_window_expr(
            &call.fun,
            text.clone(),
            &args,
            &partition,
            &order,
            Arc::new(frame.clone()),
            below.clone(),
            ignores_nulls,
            params.distinct,
            filter,
        )
        .map_err(errors::translate)?;
        if function.create_window_fn().is_err() {
            return Err(refuse::frame(call.fun.name()));
        }
        Ok(OverCall {
            text,
            function,
            output_type: kind,
            reach: reach(call, &input.schema),
        })
    }

    fn push_over(&mut self, input: Built, sorted: Sorted, calls: Vec<OverCall>) -> Result<Built> {
        let Sorted { partition, order, .. } = sorted;
        let closes = partition
            .iter()
            .find(|column| input.time[**column] == Some(TimeBound::WindowEnd));
        let close = closes.and_then(|column| self.closing.spec(*column));
        let is_closed = closes.is_some();
        let (input, in_order) = match is_closed {
            true => (self.visible(input)?, false),
            false => self.in_order(input, &order)?,
        };
        let below = self.graph.node(input.node);
        let mut spec = OverSpec {
            partition,
            order,
            calls,
            close,
            in_order,
        };
        // Rows of a time come together, and so does a partition that is of one time.
        if in_order && spec.partition.contains(&spec.order[0].column) {
            for call in &mut spec.calls {
                call.reach.behind = Some(Far::rows(0));
            }
        }
        if in_order && spec.reach().behind.is_none() {
            let calls = spec.calls.iter();
            let call = calls.rev().min_by_key(|call| call.reach.behind.is_some());
            return Err(refuse::never_final(call.map_or("OVER", |call| &call.text)));
        }
        let waits = spec.waits_for().is_some();
        // A row that is old may get another value, unless its partition is closed, or may come late, as it waits for others.
        let kept = |bound: &Option<TimeBound>| {
            bound.filter(|bound| in_order && !waits || is_closed && *bound != TimeBound::Event)
        };
        let mut time: Vec<Option<TimeBound>> = input.time.iter().map(kept).collect();
        time.resize(time.len() + spec.calls.len(), None);
        let mut fields: Vec<Arc<Field>> = below.schema.fields().iter().cloned().collect();
        let mut qualified: Vec<_> = input.schema.iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
        for call in &spec.calls {
            let mut name = call.text.clone();
            while fields.iter().any(|field| *field.name() == name) {
                name.push('\'');
            }
            let field = Arc::new(Field::new(name, call.output_type.clone(), true));
            fields.push(field.clone());
            qualified.push((None, field));
        }
        let bound = bound(&spec, &below.schema);
        let facts = Facts {
            append_only: in_order,
            key: below.key.clone(),
            has_watermark: below.has_watermark,
            bound: Some(bound),
        };
        let exchange = match spec.partition.is_empty() {
            true => single(&input),
            false => exchange_by(&spec.partition, &input),
        };
        let dealt = Some(spec.partition.clone());
        let node = input.node;
        let node = self.push(
            NodeKind::Over(spec),
            vec![Input { node, exchange }],
            Arc::new(Schema::new(fields)),
            facts,
        );
        let schema = DFSchema::new_with_metadata(qualified, Default::default()).map_err(errors::translate)?;
        Ok(Built {
            node,
            schema,
            hidden: false,
            time,
            dealt,
        })
    }

    /// For EMIT ON WINDOW CLOSE over rows ordered by their event time: has them come in that order,
    /// from a gate, so that those before each are there when it comes. The result has no hidden column.
    pub(super) fn in_order(&mut self, input: Built, order: &[OrderKey]) -> Result<(Built, bool)> {
        let below = self.graph.node(input.node);
        let by_time = order
            .first()
            .filter(|key| !key.descending && input.time[key.column] == Some(TimeBound::Event));
        let Some(key) = by_time.filter(|_| self.closing == Closing::Emit && below.append_only && below.has_watermark)
        else {
            return Ok((self.visible(input)?, false));
        };
        if self.comes_in_order(input.node) {
            return Ok((self.visible(input)?, true));
        }
        let visible = input.schema.fields().len();
        let facts = Facts {
            append_only: true,
            key: below.key.clone(),
            has_watermark: true,
            bound: Some(until(below.schema.field(key.column).name(), 0)),
        };
        let schema = Arc::new(Schema::new(below.schema.fields()[..visible].to_vec()));
        let exchange = exchange_by(&[key.column], &input);
        let spec = GateSpec {
            column: key.column,
            whole_times: true,
            watermark: input.hidden.then_some(visible),
        };
        let node = input.node;
        let node = self.push(NodeKind::Gate(spec), vec![Input { node, exchange }], schema, facts);
        let dealt = Some(vec![key.column]);
        let built = Built {
            node,
            dealt,
            hidden: false,
            ..input
        };
        Ok((built, true))
    }

    /// Whether a node's rows come in the order of their event time, those of a time in one step.
    pub(super) fn comes_in_order(&self, node: NodeId) -> bool {
        let node = self.graph.node(node);
        match &node.kind {
            // Those that wait come later.
            NodeKind::Over(over) => over.in_order && over.waits_for().is_none(),
            NodeKind::Gate(gate) => gate.whole_times,
            // Else old rows may still leave the first ones.
            NodeKind::TopN(_) => node.append_only,
            NodeKind::Map(_) | NodeKind::Draw(_) => self.comes_in_order(node.inputs[0].node),
            _ => false,
        }
    }
}

fn call_of(expr: &Expr) -> Result<&WindowFunction> {
    match expr {
        Expr::Alias(alias) => call_of(&alias.expr),
        Expr::WindowFunction(call) => Ok(call),
        other => Err(Error::new(format!("{other} is no window function"))),
    }
}

/// Functions that look ahead over those that look back, where a query has them in another order: rows that wait for
/// others come too late for what is above them.
fn looking_back_first(window: &Window) -> Result<Option<LogicalPlan>> {
    let mut windows = vec![window];
    let mut input = &window.input;
    while let LogicalPlan::Window(below) = input.as_ref() {
        windows.insert(0, below);
        input = &below.input;
    }
    let ahead = windows.iter().map(|window| looks_ahead(window));
    let ahead = ahead.collect::<Result<Vec<bool>>>()?;
    let mut columns = windows.iter().flat_map(|window| &window.window_expr);
    let is_apart = columns.all(|expr| expr.column_refs().iter().all(|c| input.schema().has_column(c)));
    if ahead.is_sorted() || !is_apart {
        return Ok(None);
    }
    let of = |wanted: bool| windows.iter().zip(&ahead).filter(move |(_, ahead)| **ahead == wanted);
    let mut turned = input.as_ref().clone();
    for (window, _) in of(false).chain(of(true)) {
        let over = Window::try_new(window.window_expr.clone(), Arc::new(turned));
        turned = over.map(LogicalPlan::Window).map_err(errors::translate)?;
    }
    Ok(Some(turned))
}

/// Whether a value rests on rows behind its row and that one's peers.
fn looks_ahead(window: &Window) -> Result<bool> {
    for expr in &window.window_expr {
        let reach = reach(call_of(expr)?, window.input.schema());
        if reach.behind.is_none_or(|far| far.passes_peers()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether some row may have no value: all but columns, constants, comparisons, and what makes numbers
/// DOUBLE.
fn may_fail(expr: &Expr, schema: &DFSchema) -> bool {
    let found = expr.exists(|expr| {
        Ok(!match expr {
            Expr::Column(_) | Expr::Literal(..) | Expr::Alias(_) | Expr::Not(_) | Expr::IsNull(_) => true,
            Expr::IsNotNull(_) | Expr::IsTrue(_) | Expr::IsFalse(_) => true,
            Expr::BinaryExpr(binary) => {
                use Operator::{And, Eq, Gt, GtEq, Lt, LtEq, NotEq, Or};
                matches!(binary.op, Eq | NotEq | Lt | LtEq | Gt | GtEq | And | Or)
            }
            Expr::Cast(cast) => {
                *cast.field.data_type() == DataType::Float64 && cast.expr.get_type(schema)?.is_numeric()
            }
            _ => false,
        })
    });
    found.unwrap_or(true) && !expr.column_refs().is_empty()
}

/// A call's arguments as SQL writes them.
fn explained(
    function: &WindowFunctionDefinition,
    given: &[Expr],
    args: &[Arc<dyn PhysicalExpr>],
    schema: &Schema,
) -> String {
    match given {
        [Expr::Literal(..)] if function.name() == "count" => "*".to_string(),
        _ => {
            let texts = args.iter().map(|arg| explain::expr_text(arg, schema));
            texts.collect::<Vec<_>>().join(", ")
        }
    }
}

/// What a frame is where none is written.
fn default_frame(order_by: &[SortExpr]) -> WindowFrame {
    WindowFrame::new((!order_by.is_empty()).then_some(false))
}

fn frame_text(frame: &WindowFrame) -> String {
    let bound = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::CurrentRow => "CURRENT ROW".to_string(),
        WindowFrameBound::Preceding(value) => format!("{} PRECEDING", distance(value)),
        WindowFrameBound::Following(value) => format!("{} FOLLOWING", distance(value)),
    };
    let (start, end) = (bound(&frame.start_bound), bound(&frame.end_bound));
    format!("{} BETWEEN {start} AND {end}", frame.units)
}

fn distance(value: &ScalarValue) -> String {
    match value.is_null() {
        true => "UNBOUNDED".to_string(),
        false => explain::value_text(value),
    }
}

/// Whether a function is of its frame, or of the partition as a whole.
fn uses_frame(call: &WindowFunction) -> bool {
    matches!(call.fun, WindowFunctionDefinition::AggregateUDF(_))
        || matches!(call.fun.name(), "first_value" | "last_value" | "nth_value")
}

/// Which rows a call's value rests on.
fn reach(call: &WindowFunction, schema: &DFSchema) -> Reach {
    let ignores_nulls = call.params.null_treatment == Some(NullTreatment::IgnoreNulls);
    match call.fun.name() {
        "row_number" | "rank" | "dense_rank" => Reach {
            before: None,
            behind: Some(Far::rows(0)),
        },
        "lag" | "lead" => match shift(call) {
            Some(rows) => {
                let far = |rows: i64| match (rows > 0, ignores_nulls) {
                    (false, _) => Some(Far::rows(0)),
                    (true, true) => None,
                    (true, false) => usize::try_from(rows).ok().map(Far::rows),
                };
                Reach {
                    before: far(rows),
                    behind: far(rows.saturating_neg()),
                }
            }
            None => Reach::ALL,
        },
        _ if uses_frame(call) => frame_reach(call, schema),
        _ => Reach::ALL,
    }
}

/// How many rows back `lag` or `lead` looks.
fn shift(call: &WindowFunction) -> Option<i64> {
    let rows = match call.params.args.get(1) {
        None => 1,
        Some(Expr::Literal(value, _)) => match value.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(rows))) => rows,
            _ => return None,
        },
        Some(_) => return None,
    };
    Some(if call.fun.name() == "lead" {
        rows.checked_neg()?
    } else {
        rows
    })
}

fn frame_reach(call: &WindowFunction, schema: &DFSchema) -> Reach {
    let frame = &call.params.window_frame;
    let count = |value: &ScalarValue| match value.cast_to(&DataType::UInt64) {
        Ok(ScalarValue::UInt64(Some(count))) => usize::try_from(count).ok(),
        _ => None,
    };
    let far = |value: &ScalarValue| match frame.units {
        WindowFrameUnits::Rows => count(value).map(Far::rows),
        WindowFrameUnits::Groups => count(value).map(Far::groups),
        WindowFrameUnits::Range => is_measured(call, value, schema).then(|| Far::range(value.clone())),
    };
    // A frame of ROWS ends with its row, others with its peers.
    let near = || match frame.units {
        WindowFrameUnits::Rows => Some(Far::rows(0)),
        WindowFrameUnits::Groups | WindowFrameUnits::Range => Some(Far::groups(0)),
    };
    let before = match &frame.start_bound {
        WindowFrameBound::Preceding(value) => far(value),
        _ => near(),
    };
    let behind = match &frame.end_bound {
        WindowFrameBound::Following(value) => far(value),
        _ => near(),
    };
    // What is taken out of a sum of floats leaves a trace, so that it isn't the same wherever the
    // frame began to slide.
    Reach {
        before: before.filter(|_| is_exact(call, schema)),
        behind,
    }
}

/// Whether rows within a distance of each other are found from either side: adding it and taking it off again
/// is exact, which it isn't for months and for floating point numbers.
fn is_measured(call: &WindowFunction, distance: &ScalarValue, schema: &DFSchema) -> bool {
    let [SortExpr { expr, .. }] = &call.params.order_by[..] else {
        return false;
    };
    // All rows of a partition have the same.
    if distance.is_null() || call.params.partition_by.contains(expr) {
        return false;
    }
    match (expr.get_type(schema), distance) {
        (Ok(DataType::Timestamp(_, zone)), ScalarValue::IntervalMonthDayNano(Some(long))) => {
            let is_utc = zone.is_none_or(|zone| matches!(&*zone, "UTC" | "+00:00"));
            is_utc && long.months == 0 && long.nanoseconds % 1000 == 0
        }
        (Ok(kind), distance) => (kind.is_integer() || kind.is_decimal()) && kind == distance.data_type(),
        _ => false,
    }
}

/// Which rows are kept, and until when, in words.
fn bound(over: &OverSpec, schema: &Schema) -> String {
    if let Some(close) = &over.close {
        return until(schema.field(close.column).name(), close.lateness_us);
    }
    let reach = over.reach();
    let (Some(before), true) = (reach.before, over.in_order) else {
        return "all rows".to_string();
    };
    let time = over.order.first().map_or("", |key| schema.field(key.column).name());
    let kept = reached(&before, &over.waits_for().unwrap_or_default(), time);
    let names = over.partition.iter().map(|c| schema.field(*c).name().as_str());
    let names = names.collect::<Vec<_>>().join(", ");
    match names.is_empty() {
        true => kept,
        false => format!("{kept} of each; grows with distinct {names}"),
    }
}

/// The rows that wait for those behind them, and those that these, or later ones, reach back to, in words.
fn reached(before: &Far, behind: &Far, time: &str) -> String {
    let mut parts = Vec::new();
    let length = |far: &Far| match far.range_us() {
        Some(us) => Some(explain::duration(us)),
        None => far.range.as_ref().map(explain::value_text),
    };
    let from = match length(behind) {
        Some(length) => {
            parts.push(format!("rows until the watermark passes {time} by {length}"));
            "those"
        }
        None => "the last",
    };
    if let Some(length) = length(before) {
        parts.push(format!("rows up to {length} before {from}"));
    }
    if let groups @ 1.. = before.groups.unwrap_or(0) + behind.groups.unwrap_or(0) {
        parts.push(format!("the last {groups} groups of peers"));
    }
    let rows = before.rows + behind.rows;
    if rows > 0 || parts.is_empty() {
        parts.push(format!("the last {rows} rows"));
    }
    parts.join(" and ")
}

/// Whether a function's value is the same however its frame came to be where it is.
fn is_exact(call: &WindowFunction, schema: &DFSchema) -> bool {
    let WindowFunctionDefinition::AggregateUDF(function) = &call.fun else {
        return true;
    };
    let mut kinds = call.params.args.iter().map(|arg| arg.get_type(schema));
    match function.name() {
        "count" => true,
        "min" | "max" => kinds.all(|kind| kind.is_ok_and(|kind| !kind.is_floating())),
        "sum" | "avg" => kinds.all(|kind| kind.is_ok_and(|kind| kind.is_integer() || kind.is_decimal())),
        _ => false,
    }
}
