//! TUMBLE, HOP, CUMULATE and SESSION: what the parser's canonical form means.
//!
//! The parser rewrites a window in FROM into a projection that adds `window_start` and
//! `window_end` by marker functions ([`crate::parse`]). For a continuous query [`make_explicit`] turns
//! that projection into a [`WindowNode`], which the rules treat as a whole and the planner translates
//! into the engine's window and session operators. For a batch query [`make_batch`] makes plain SQL of
//! it.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, DFSchemaRef, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Extension, LogicalPlan, Projection, UserDefinedLogicalNodeCore, expr::ScalarFunction,
};
use weir_engine::format::sql_type;

mod batch;

pub use batch::{functions, make_batch};

const START: &str = "weir_window_start";
const END: &str = "weir_window_end";
/// The marker functions of each kind.
const MARKERS: [(&str, &str, Kind); 4] = [
    (START, END, Kind::Tumble),
    ("weir_hop_start", "weir_hop_end", Kind::Hop),
    ("weir_cumulate_start", "weir_cumulate_end", Kind::Cumulate),
    ("weir_session_start", "weir_session_end", Kind::Session),
];
/// More windows of a row than this are taken for a mistake.
const MOST_WINDOWS: i64 = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tumble,
    Hop,
    Cumulate,
    Session,
}

/// Lengths of windows that lie at fixed times, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lengths {
    /// Length.
    pub size_us: i64,
    /// Distance of starts.
    pub slide_us: i64,
    /// Distance of the ends of windows with one start.
    pub step_us: i64,
    /// Shift of starts from the epoch.
    pub offset_us: i64,
}

/// Where windows lie.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub enum Windows {
    /// At fixed times: TUMBLE, HOP, CUMULATE.
    Fixed(Lengths),
    /// Where rows are: SESSION.
    Session {
        /// Rows this far apart or farther are of different sessions, microseconds.
        gap_us: i64,
        /// Columns in which the rows of a session are equal.
        partition: Vec<Expr>,
    },
}

/// Assigns rows to windows; appends the columns `weir_window_start` and `weir_window_end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowNode {
    /// The rows.
    pub input: LogicalPlan,
    /// Their event time.
    pub time: Expr,
    /// The windows.
    pub windows: Windows,
    schema: DFSchemaRef,
}

impl Hash for WindowNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.input, &self.time, &self.windows).hash(state);
    }
}

impl PartialOrd for WindowNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.input, &self.time, &self.windows).partial_cmp(&(&other.input, &other.time, &other.windows))
    }
}

impl WindowNode {
    fn new(input: LogicalPlan, time: Expr, windows: Windows) -> Result<WindowNode> {
        let mut fields: Vec<_> = input.schema().iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
        fields.push((None, Arc::new(Field::new(START, timestamp(), false))));
        fields.push((None, Arc::new(Field::new(END, timestamp(), false))));
        let schema = DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?;
        Ok(WindowNode {
            input,
            time,
            windows,
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
        let mut exprs = vec![self.time.clone()];
        if let Windows::Session { partition, .. } = &self.windows {
            exprs.extend(partition.iter().cloned());
        }
        exprs
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let Windows::Session { partition, .. } = &self.windows else {
            return HashSet::from([START.to_string(), END.to_string()]);
        };
        // Without the rows that a filter takes out, sessions would be others.
        let is_partition = |column: &Column| partition.contains(&Expr::Column(column.clone()));
        let columns = self.schema.columns().into_iter();
        columns
            .filter(|column| !is_partition(column))
            .map(|column| column.name)
            .collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Window: {} {:?}", self.time, self.windows)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut exprs = exprs.into_iter();
        let (Some(time), Some(input)) = (exprs.next(), inputs.pop()) else {
            return Err(DataFusionError::Internal(
                "a window has a time and an input".to_string(),
            ));
        };
        let windows = match &self.windows {
            Windows::Fixed(lengths) => Windows::Fixed(*lengths),
            Windows::Session { gap_us, .. } => Windows::Session {
                gap_us: *gap_us,
                partition: exprs.collect(),
            },
        };
        WindowNode::new(input, time, windows)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.input.schema().fields().len();
        let mut needed: Vec<usize> = output_columns
            .iter()
            .copied()
            .filter(|column| *column < width)
            .collect();
        for expr in self.expressions() {
            for column in expr.column_refs() {
                needed.push(self.input.schema().index_of_column(column).ok()?);
            }
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
    kind: Kind,
    windows: Windows,
}

/// Recognises the canonical form.
fn canonical(projection: &Projection) -> Result<Option<Canonical>> {
    let found = projection.expr.iter().find_map(marker);
    let Some(Marker { kind, call, .. }) = found else {
        return Ok(None);
    };
    let (Some(time), args) = (call.args.first(), call.args.get(1..).unwrap_or_default()) else {
        return Err(DataFusionError::Plan(
            "a window function needs a time column".to_string(),
        ));
    };
    let windows = read_windows(kind, args)?;
    // The parser's own filter: the operators count rows without event time.
    let input = match projection.input.as_ref() {
        LogicalPlan::Filter(filter) if matches!(&filter.predicate, Expr::IsNotNull(e) if **e == *time) => {
            filter.input.as_ref().clone()
        }
        other => other.clone(),
    };
    let time_type = time.get_type(input.schema())?;
    if !matches!(time_type, DataType::Timestamp(_, _) | DataType::Date32) {
        return Err(DataFusionError::Plan(format!(
            "the time column of a window must be a TIMESTAMP or DATE, but {time} is {}",
            sql_type(&time_type)
        )));
    }
    Ok(Some(Canonical {
        input,
        time: time.clone(),
        kind,
        windows,
    }))
}

/// A call of a marker function.
struct Marker<'a> {
    kind: Kind,
    is_start: bool,
    call: &'a ScalarFunction,
}

fn marker(expr: &Expr) -> Option<Marker<'_>> {
    let call = match expr {
        Expr::Alias(alias) => return marker(&alias.expr),
        Expr::ScalarFunction(call) => call,
        _ => return None,
    };
    let name = call.func.name();
    let (start, _, kind) = MARKERS.iter().find(|(start, end, _)| [*start, *end].contains(&name))?;
    Some(Marker {
        kind: *kind,
        is_start: name == *start,
        call,
    })
}

/// The arguments behind the time column.
fn read_windows(kind: Kind, args: &[Expr]) -> Result<Windows> {
    let refuse = |why: &str| Err(DataFusionError::Plan(why.to_string()));
    let lengths = match kind {
        Kind::Tumble => 2,
        Kind::Hop | Kind::Cumulate => 3,
        Kind::Session => 1,
    };
    let Some((lengths, partition)) = args.split_at_checked(lengths) else {
        return refuse("a window function has too few lengths");
    };
    let lengths = lengths.iter().map(interval_us).collect::<Result<Vec<i64>>>()?;
    let found = match (kind, &lengths[..]) {
        (Kind::Tumble, [size, offset]) => Lengths {
            size_us: *size,
            slide_us: *size,
            step_us: *size,
            offset_us: *offset,
        },
        (Kind::Hop, [slide, size, offset]) => Lengths {
            size_us: *size,
            slide_us: *slide,
            step_us: *size,
            offset_us: *offset,
        },
        (Kind::Cumulate, [step, size, offset]) => Lengths {
            size_us: *size,
            slide_us: *size,
            step_us: *step,
            offset_us: *offset,
        },
        (Kind::Session, [gap]) if *gap <= 0 => return refuse("the gap of sessions must be positive"),
        (Kind::Session, [gap]) => {
            return Ok(Windows::Session {
                gap_us: *gap,
                partition: partition.to_vec(),
            });
        }
        _ => return refuse("a window function has too few lengths"),
    };
    if found.size_us <= 0 || found.slide_us <= 0 || found.step_us <= 0 {
        return refuse("the size, slide and step of a window must be positive");
    }
    if found.size_us % found.step_us != 0 {
        return refuse("the size of CUMULATE must be a whole number of steps");
    }
    if found.size_us / found.slide_us.min(found.step_us) > MOST_WINDOWS {
        return refuse("each row would be in more than 10,000 windows; use a larger slide or step, or a smaller size");
    }
    Ok(Windows::Fixed(found))
}

/// An interval literal in microseconds.
pub(super) fn interval_us(expr: &Expr) -> Result<i64> {
    let refuse = |why: &str| {
        Err(DataFusionError::Plan(format!(
            "{why}; write for example INTERVAL '10' SECOND"
        )))
    };
    let value = match expr {
        Expr::Literal(value, _) => value,
        Expr::Negative(expr) => {
            return interval_us(expr)?
                .checked_neg()
                .map_or_else(|| refuse("the length of a window is out of range"), Ok);
        }
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
        let node = WindowNode::new(canonical.input, canonical.time, canonical.windows)?;
        let input = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        with_bounds(projection, input, Expr::Column(START.into()), Expr::Column(END.into()))
    })
}

/// The projection over another input, which has the windows' bounds.
fn with_bounds(projection: Projection, input: LogicalPlan, start: Expr, end: Expr) -> Result<LogicalPlan> {
    let bound = |expr: Expr| match marker(&expr) {
        Some(marker) => {
            let bound = if marker.is_start { &start } else { &end };
            bound.clone().alias(expr.schema_name().to_string())
        }
        None => expr,
    };
    let exprs = projection.expr.into_iter().map(bound).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?))
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
