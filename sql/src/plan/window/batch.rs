//! Windows of a query that is read once, as plain SQL.
//!
//! TUMBLE's markers are functions of a row. The windows of HOP and CUMULATE are made as a list for
//! each row and unnested. Sessions are counted along the time of their partition: a row begins one if
//! the row before it is a gap or more away.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, StructArray, TimestampMicrosecondArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::functions_window::lead_lag::lag;
use datafusion::logical_expr::expr::WindowFunction as WindowCall;
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, Projection,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, WindowFrame, WindowFunctionDefinition, cast,
    lit,
};

use super::{END, Kind, Lengths, MARKERS, START, Windows, interval_us, rewrite, timestamp, with_bounds};

const WINDOWS: &str = "weir_windows";
const SESSION_BEGINS: &str = "weir_session_begins";
const SESSION_ENDS: &str = "weir_session_ends";

// Columns on the way.
const TIME: &str = "weir_time";
const PREVIOUS: &str = "weir_previous";
const BEGINS: &str = "weir_begins";
const NUMBER: &str = "weir_number";
const FIRST: &str = "weir_first";
const LAST: &str = "weir_last";

/// Makes canonical projections executable as a batch.
pub fn make_batch(plan: LogicalPlan) -> Result<LogicalPlan> {
    rewrite(plan, &|canonical, projection| match canonical.windows {
        Windows::Fixed(_) if canonical.kind == Kind::Tumble => Ok(LogicalPlan::Projection(projection)),
        Windows::Fixed(lengths) => unnested(canonical.input, canonical.time, lengths, projection),
        Windows::Session { gap_us, partition } => {
            sessions(canonical.input, canonical.time, gap_us, partition, projection)
        }
    })
}

fn columns_and(input: &LogicalPlan, more: Expr) -> Vec<Expr> {
    let columns = input.schema().columns().into_iter().map(Expr::Column);
    columns.chain([more]).collect()
}

/// HOP and CUMULATE.
fn unnested(input: LogicalPlan, time: Expr, lengths: Lengths, projection: Projection) -> Result<LogicalPlan> {
    let windows = function(WINDOWS).call(vec![
        time.clone(),
        lit(lengths.slide_us),
        lit(lengths.step_us),
        lit(lengths.size_us),
        lit(lengths.offset_us),
    ]);
    let exprs = columns_and(&input, windows.alias(WINDOWS));
    let unnested = LogicalPlanBuilder::from(input)
        .filter(time.is_not_null())?
        .project(exprs)?
        .unnest_column(WINDOWS)?
        .build()?;
    let field = |name: &str| get_field(Expr::Column(WINDOWS.into()), name);
    with_bounds(projection, unnested, field("window_start"), field("window_end"))
}

/// SESSION.
fn sessions(
    input: LogicalPlan,
    time: Expr,
    gap_us: i64,
    partition: Vec<Expr>,
    projection: Projection,
) -> Result<LogicalPlan> {
    let column = |name: &str| Expr::Column(name.into());
    let gap = || lit(gap_us);
    let in_order = vec![column(TIME).sort(true, false)];
    let exprs = columns_and(&input, cast(time.clone(), timestamp()).alias(TIME));
    let rows = LogicalPlanBuilder::from(input)
        .filter(time.is_not_null())?
        .project(exprs)?;
    let previous = lag(column(TIME), Some(1), None)
        .partition_by(partition.clone())
        .order_by(in_order.clone())
        .build()?;
    let rows = rows.window(vec![previous.alias(PREVIOUS)])?.build()?;
    let begins = function(SESSION_BEGINS).call(vec![column(TIME), column(PREVIOUS), gap()]);
    let exprs = columns_and(&rows, begins.alias(BEGINS));
    let number = over(sum_udaf(), column(BEGINS))
        .partition_by(partition.clone())
        .order_by(in_order)
        // Rows of one time are counted together, in whichever order they stand.
        .window_frame(WindowFrame::new(Some(false)))
        .build()?;
    let session: Vec<Expr> = partition.into_iter().chain([column(NUMBER)]).collect();
    let first = over(min_udaf(), column(TIME)).partition_by(session.clone()).build()?;
    let last = over(max_udaf(), column(TIME)).partition_by(session).build()?;
    let rows = LogicalPlanBuilder::from(rows)
        .project(exprs)?
        .window(vec![number.alias(NUMBER)])?
        .window(vec![first.alias(FIRST), last.alias(LAST)])?
        .build()?;
    let end = function(SESSION_ENDS).call(vec![column(LAST), gap()]);
    with_bounds(projection, rows, column(FIRST), end)
}

fn over(function: Arc<AggregateUDF>, argument: Expr) -> Expr {
    let function = WindowFunctionDefinition::AggregateUDF(function);
    Expr::from(WindowCall::new(function, vec![argument]))
}

fn window_fields() -> Fields {
    Fields::from(vec![
        Field::new("window_start", timestamp(), true),
        Field::new("window_end", timestamp(), true),
    ])
}

/// The functions, to be registered with the session.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let markers = MARKERS.iter().flat_map(|(start, end, _)| [*start, *end]);
    markers
        .chain([WINDOWS, SESSION_BEGINS, SESSION_ENDS])
        .map(function)
        .collect()
}

fn function(name: &'static str) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(WindowFunction::new(name)))
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
        Ok(match self.name {
            WINDOWS => {
                let item = Field::new("item", DataType::Struct(window_fields()), true);
                DataType::List(Arc::new(item))
            }
            SESSION_BEGINS => DataType::Int64,
            _ => timestamp(),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = |index: usize| args.args[index].to_array(args.number_rows);
        let times = arrays(0)?;
        let times: &TimestampMicrosecondArray = times.as_primitive();
        let array: ArrayRef = match self.name {
            START | END => {
                let (size, offset) = (length(&args, 1)?, length(&args, 2)?);
                let shift = if self.name == END { size } else { 0 };
                each(times, |us| floor_to(us, size, offset)?.checked_add(shift))?
            }
            WINDOWS => {
                let lengths = Lengths {
                    slide_us: length(&args, 1)?,
                    step_us: length(&args, 2)?,
                    size_us: length(&args, 3)?,
                    offset_us: length(&args, 4)?,
                };
                Arc::new(windows(times, lengths)?)
            }
            SESSION_BEGINS => {
                let (previous, gap) = (arrays(1)?, length(&args, 2)?);
                let previous: &TimestampMicrosecondArray = previous.as_primitive();
                let begins = times.iter().zip(previous).map(|pair| match pair {
                    (Some(time), Some(previous)) => i64::from(time.abs_diff(previous) >= gap.unsigned_abs()),
                    _ => 1,
                });
                Arc::new(Int64Array::from_iter_values(begins))
            }
            SESSION_ENDS => {
                let gap = length(&args, 1)?;
                each(times, |us| us.checked_add(gap))?
            }
            _ => return Err(DataFusionError::Internal(format!("{} is only a marker", self.name))),
        };
        Ok(ColumnarValue::Array(array))
    }
}

/// A constant length of time.
fn length(args: &ScalarFunctionArgs, index: usize) -> Result<i64> {
    match &args.args[index] {
        ColumnarValue::Scalar(ScalarValue::Int64(Some(us))) => Ok(*us),
        ColumnarValue::Scalar(value) => interval_us(&Expr::Literal(value.clone(), None)),
        ColumnarValue::Array(_) => Err(DataFusionError::Plan(
            "the lengths of a window must be literals".to_string(),
        )),
    }
}

fn each(times: &TimestampMicrosecondArray, bound: impl Fn(i64) -> Option<i64>) -> Result<ArrayRef> {
    let bounds = times
        .try_unary::<_, TimestampMicrosecondType, DataFusionError>(|us| bound(us).ok_or_else(|| out_of_range(us)))?;
    Ok(Arc::new(bounds))
}

/// The last start at or before `us`; `None` out of range.
fn floor_to(us: i64, slide: i64, offset: i64) -> Option<i64> {
    let shifted = us.checked_sub(offset)?;
    shifted.checked_sub(shifted.rem_euclid(slide))?.checked_add(offset)
}

fn out_of_range(us: i64) -> DataFusionError {
    DataFusionError::Execution(format!("the window of timestamp {us} (microseconds) is out of range"))
}

/// For each time the windows that hold it, the latest start first.
fn windows(times: &TimestampMicrosecondArray, lengths: Lengths) -> Result<ListArray> {
    let (mut starts, mut ends): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
    let mut counts = Vec::with_capacity(times.len());
    for row in 0..times.len() {
        let before = starts.len();
        if times.is_valid(row) {
            let us = times.value(row);
            let missing = || out_of_range(us);
            let mut start = floor_to(us, lengths.slide_us, lengths.offset_us).ok_or_else(missing)?;
            loop {
                let last = start.checked_add(lengths.size_us).ok_or_else(missing)?;
                if last <= us {
                    break;
                }
                let ended = (us - start) / lengths.step_us;
                let steps = lengths.size_us / lengths.step_us;
                for step in ended + 1..=steps {
                    starts.push(start);
                    ends.push(start + step * lengths.step_us);
                }
                start = start.checked_sub(lengths.slide_us).ok_or_else(missing)?;
            }
        }
        counts.push(starts.len() - before);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(starts)),
        Arc::new(TimestampMicrosecondArray::from(ends)),
    ];
    let windows = StructArray::try_new(window_fields(), columns, None)?;
    let item = Arc::new(Field::new("item", DataType::Struct(window_fields()), true));
    let nulls: Option<NullBuffer> = times.nulls().cloned();
    let offsets = OffsetBuffer::from_lengths(counts);
    Ok(ListArray::try_new(item, offsets, Arc::new(windows), nulls)?)
}
