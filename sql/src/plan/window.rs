//! TUMBLE and HOP: what the parser's canonical form means.
//!
//! The parser rewrites a window in FROM into a projection that adds `window_start` and
//! `window_end` by marker functions: `weir_window_start(column, size, offset)` and
//! `weir_window_end(…)` for TUMBLE, `weir_hop_start(column, slide, size, offset)` and
//! `weir_hop_end(…)` for HOP. For a continuous query [`make_explicit`] turns that projection into a
//! [`WindowNode`], which the rules treat as a whole and the planner translates into the engine's
//! window operator. For a batch query the TUMBLE markers are ordinary functions, and
//! [`make_batch`] unnests the windows of HOP.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray, ListArray, StructArray, TimestampMicrosecondArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit, TimestampMicrosecondType};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError, Result, ScalarValue};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Extension, LogicalPlan, LogicalPlanBuilder, Projection, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, UserDefinedLogicalNodeCore, Volatility, expr::ScalarFunction, lit,
};
use weir_engine::format::sql_type;

const START: &str = "weir_window_start";
const END: &str = "weir_window_end";
const HOP_START: &str = "weir_hop_start";
const HOP_END: &str = "weir_hop_end";
const HOP_WINDOWS: &str = "weir_hop_windows";

/// Lengths of a window function, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lengths {
    /// Length.
    pub size_us: i64,
    /// Distance of starts.
    pub slide_us: i64,
    /// Shift of starts from the epoch.
    pub offset_us: i64,
}

/// Assigns rows to windows; appends the columns `weir_window_start` and `weir_window_end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowNode {
    /// The rows.
    pub input: LogicalPlan,
    /// Their event time.
    pub time: Expr,
    /// The windows.
    pub lengths: Lengths,
    schema: DFSchemaRef,
}

impl Hash for WindowNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.input, &self.time, &self.lengths).hash(state);
    }
}

impl PartialOrd for WindowNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.input, &self.time, &self.lengths).partial_cmp(&(&other.input, &other.time, &other.lengths))
    }
}

impl WindowNode {
    fn new(input: LogicalPlan, time: Expr, lengths: Lengths) -> Result<WindowNode> {
        let mut fields: Vec<_> = input.schema().iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
        fields.push((None, Arc::new(Field::new(START, timestamp(), false))));
        fields.push((None, Arc::new(Field::new(END, timestamp(), false))));
        let schema = DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?;
        Ok(WindowNode {
            input,
            time,
            lengths,
            schema: Arc::new(schema),
        })
    }
}

impl UserDefinedLogicalNodeCore for WindowNode {
    fn name(&self) -> &str {
        "Window"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.time.clone()]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::from([START.to_string(), END.to_string()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Window: {} {:?}", self.time, self.lengths)
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some(time), Some(input)) = (exprs.pop(), inputs.pop()) else {
            return Err(DataFusionError::Internal(
                "a window has one expression and one input".to_string(),
            ));
        };
        WindowNode::new(input, time, self.lengths)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.input.schema().fields().len();
        let mut needed: Vec<usize> = output_columns
            .iter()
            .copied()
            .filter(|column| *column < width)
            .collect();
        for column in self.time.column_refs() {
            needed.push(self.input.schema().index_of_column(column).ok()?);
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

/// A projection in canonical form, taken apart.
struct Canonical {
    input: LogicalPlan,
    time: Expr,
    lengths: Lengths,
    hop: bool,
}

/// Recognises the canonical form.
fn canonical(projection: &Projection) -> Result<Option<Canonical>> {
    let Some(call) = projection
        .expr
        .iter()
        .find_map(|expr| marker(expr, &[START, HOP_START]))
    else {
        return Ok(None);
    };
    let hop = call.func.name() == HOP_START;
    let (Some(time), lengths) = (call.args.first(), call.args.get(1..).unwrap_or_default()) else {
        return Err(DataFusionError::Plan(
            "a window function needs a time column".to_string(),
        ));
    };
    let lengths = read_lengths(lengths, hop)?;
    // The parser's own filter: the window operator counts rows without event time.
    let input = match projection.input.as_ref() {
        LogicalPlan::Filter(filter) if matches!(&filter.predicate, Expr::IsNotNull(e) if **e == *time) => {
            filter.input.as_ref().clone()
        }
        other => other.clone(),
    };
    let kind = time.get_type(input.schema())?;
    if !matches!(kind, DataType::Timestamp(_, _) | DataType::Date32) {
        return Err(DataFusionError::Plan(format!(
            "the time column of a window must be a TIMESTAMP or DATE, but {time} is {}",
            sql_type(&kind)
        )));
    }
    Ok(Some(Canonical {
        input,
        time: time.clone(),
        lengths,
        hop,
    }))
}

use datafusion::logical_expr::ExprSchemable;

fn marker<'a>(expr: &'a Expr, names: &[&str]) -> Option<&'a ScalarFunction> {
    match expr {
        Expr::Alias(alias) => marker(&alias.expr, names),
        Expr::ScalarFunction(call) if names.contains(&call.func.name()) => Some(call),
        _ => None,
    }
}

/// size, offset of TUMBLE; slide, size, offset of HOP.
fn read_lengths(args: &[Expr], hop: bool) -> Result<Lengths> {
    let lengths = args.iter().map(interval_us).collect::<Result<Vec<i64>>>()?;
    let found = match (hop, &lengths[..]) {
        (false, [size, offset]) => Lengths {
            size_us: *size,
            slide_us: *size,
            offset_us: *offset,
        },
        (true, [slide, size, offset]) => Lengths {
            size_us: *size,
            slide_us: *slide,
            offset_us: *offset,
        },
        _ => {
            return Err(DataFusionError::Plan(
                "a window function has too few or too many lengths".to_string(),
            ));
        }
    };
    if found.size_us <= 0 || found.slide_us <= 0 {
        return Err(DataFusionError::Plan(
            "the size and slide of a window must be positive".to_string(),
        ));
    }
    if found.size_us / found.slide_us > 10_000 {
        return Err(DataFusionError::Plan(
            "each row would be in more than 10,000 windows; use a larger slide or a smaller size".to_string(),
        ));
    }
    Ok(found)
}

fn interval_us(expr: &Expr) -> Result<i64> {
    let refuse = |why: &str| {
        Err(DataFusionError::Plan(format!(
            "{why}; write for example INTERVAL '10' SECOND"
        )))
    };
    let value = match expr {
        Expr::Literal(value, _) => value,
        _ => return refuse("the lengths of a window must be interval literals"),
    };
    let (months, days, nanos) = match value {
        ScalarValue::IntervalMonthDayNano(Some(v)) => (v.months, v.days, v.nanoseconds),
        ScalarValue::IntervalDayTime(Some(v)) => (0, v.days, i64::from(v.milliseconds) * 1_000_000),
        ScalarValue::IntervalYearMonth(Some(v)) => (*v, 0, 0),
        _ => return refuse("the lengths of a window must be intervals"),
    };
    if months != 0 {
        return refuse("months and years have no fixed length, so they can't be the length of a window");
    }
    if nanos % 1000 != 0 {
        return refuse("the lengths of a window are whole microseconds");
    }
    let us = i64::from(days)
        .checked_mul(86_400_000_000)
        .and_then(|us| us.checked_add(nanos / 1000));
    us.map_or_else(|| refuse("the length of a window is out of range"), Ok)
}

/// Replaces canonical projections by [`WindowNode`]s.
pub fn make_explicit(plan: LogicalPlan) -> Result<LogicalPlan> {
    rewrite(plan, &|canonical, projection| {
        let node = WindowNode::new(canonical.input, canonical.time, canonical.lengths)?;
        let exprs = projection
            .expr
            .into_iter()
            .map(|expr| match marker(&expr, &[START, HOP_START, END, HOP_END]) {
                Some(call) if matches!(call.func.name(), START | HOP_START) => {
                    renamed(Expr::Column(START.into()), &expr)
                }
                Some(_) => renamed(Expr::Column(END.into()), &expr),
                None => expr,
            })
            .collect();
        let input = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?))
    })
}

/// Makes HOP's canonical projections executable as a batch.
pub fn make_batch(plan: LogicalPlan) -> Result<LogicalPlan> {
    rewrite(plan, &|canonical, projection| {
        if !canonical.hop {
            return Ok(LogicalPlan::Projection(projection));
        }
        let lengths = canonical.lengths;
        let windows = hop_windows().call(vec![
            canonical.time.clone(),
            lit(lengths.slide_us),
            lit(lengths.size_us),
            lit(lengths.offset_us),
        ]);
        let mut exprs: Vec<Expr> = canonical
            .input
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        exprs.push(windows.alias(HOP_WINDOWS));
        let unnested = LogicalPlanBuilder::from(canonical.input)
            .filter(canonical.time.is_not_null())?
            .project(exprs)?
            .unnest_column(HOP_WINDOWS)?
            .build()?;
        let field = |name: &str| get_field(Expr::Column(HOP_WINDOWS.into()), name);
        let exprs = projection
            .expr
            .into_iter()
            .map(|expr| match marker(&expr, &[HOP_START, HOP_END]) {
                Some(call) if call.func.name() == HOP_START => renamed(field("window_start"), &expr),
                Some(_) => renamed(field("window_end"), &expr),
                None => expr,
            })
            .collect();
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(unnested))?))
    })
}

fn renamed(expr: Expr, like: &Expr) -> Expr {
    let name = like.schema_name().to_string();
    expr.alias(name)
}

fn rewrite(plan: LogicalPlan, replace: &dyn Fn(Canonical, Projection) -> Result<LogicalPlan>) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| {
        let LogicalPlan::Projection(projection) = plan else {
            return Ok(Transformed::no(plan));
        };
        match canonical(&projection)? {
            None => Ok(Transformed::no(LogicalPlan::Projection(projection))),
            Some(canonical) => Ok(Transformed::yes(replace(canonical, projection)?)),
        }
    })
    .map(|done| done.data)
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

fn window_fields() -> Fields {
    Fields::from(vec![
        Field::new("window_start", timestamp(), true),
        Field::new("window_end", timestamp(), true),
    ])
}

/// The marker functions, to be registered with the session.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let markers = [START, END, HOP_START, HOP_END].map(|name| Arc::new(ScalarUDF::from(WindowFunction::new(name))));
    markers.into_iter().chain([hop_windows()]).collect()
}

fn hop_windows() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(WindowFunction::new(HOP_WINDOWS)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowFunction {
    name: &'static str,
    signature: Signature,
}

impl WindowFunction {
    fn new(name: &'static str) -> WindowFunction {
        WindowFunction {
            name,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for WindowFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(std::iter::once(timestamp())
            .chain(given.iter().skip(1).cloned())
            .collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        if self.name == HOP_WINDOWS {
            let item = Field::new("item", DataType::Struct(window_fields()), true);
            return Ok(DataType::List(Arc::new(item)));
        }
        Ok(timestamp())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = args.args[0].to_array(args.number_rows)?;
        let times: &TimestampMicrosecondArray = times.as_primitive();
        let scalar = |arg: &ColumnarValue| match arg {
            ColumnarValue::Scalar(ScalarValue::Int64(Some(us))) => Ok(*us),
            ColumnarValue::Scalar(value) => interval_us(&Expr::Literal(value.clone(), None)),
            ColumnarValue::Array(_) => Err(DataFusionError::Plan(
                "the lengths of a window must be literals".to_string(),
            )),
        };
        let lengths = args.args[1..].iter().map(scalar).collect::<Result<Vec<i64>>>()?;
        let array: Arc<dyn Array> = match (self.name, &lengths[..]) {
            (START | END, [size, offset]) => {
                let shift = if self.name == END { *size } else { 0 };
                let bound = |us: i64| floor_to(us, *size, *offset)?.checked_add(shift);
                Arc::new(times.try_unary::<_, TimestampMicrosecondType, DataFusionError>(|us| {
                    bound(us).ok_or_else(|| out_of_range(us))
                })?)
            }
            (HOP_WINDOWS, [slide, size, offset]) => Arc::new(hop_array(times, *slide, *size, *offset)?),
            _ => return Err(DataFusionError::Internal(format!("{} is only a marker", self.name))),
        };
        Ok(ColumnarValue::Array(array))
    }
}

/// The last start at or before `us`; `None` out of range.
fn floor_to(us: i64, slide: i64, offset: i64) -> Option<i64> {
    let shifted = us.checked_sub(offset)?;
    shifted.checked_sub(shifted.rem_euclid(slide))?.checked_add(offset)
}

fn out_of_range(us: i64) -> DataFusionError {
    DataFusionError::Execution(format!("the window of timestamp {us} (microseconds) is out of range"))
}

/// For each time the windows that hold it, earliest first.
fn hop_array(times: &TimestampMicrosecondArray, slide: i64, size: i64, offset: i64) -> Result<ListArray> {
    let (mut starts, mut ends): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
    let mut lengths = Vec::with_capacity(times.len());
    for row in 0..times.len() {
        let before = starts.len();
        if times.is_valid(row) {
            let us = times.value(row);
            let last = floor_to(us, slide, offset).ok_or_else(|| out_of_range(us))?;
            let mut start = last;
            let mut found = Vec::new();
            while start.checked_add(size).ok_or_else(|| out_of_range(us))? > us {
                found.push(start);
                start = start.checked_sub(slide).ok_or_else(|| out_of_range(us))?;
            }
            starts.extend(found.iter().rev());
            ends.extend(found.iter().rev().map(|start| start + size));
        }
        lengths.push(starts.len() - before);
    }
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(TimestampMicrosecondArray::from(starts)),
        Arc::new(TimestampMicrosecondArray::from(ends)),
    ];
    let windows = StructArray::try_new(window_fields(), columns, None)?;
    let item = Arc::new(Field::new("item", DataType::Struct(window_fields()), true));
    let nulls: Option<NullBuffer> = times.nulls().cloned();
    Ok(ListArray::try_new(
        item,
        OffsetBuffer::from_lengths(lengths),
        Arc::new(windows),
        nulls,
    )?)
}
