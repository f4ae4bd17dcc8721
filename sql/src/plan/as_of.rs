//! Joins of each left row with the right rows of a moment: `ASOF JOIN` and `FOR SYSTEM_TIME AS OF`.
//!
//! The parser writes them as plain joins with a marker function in their ON ([`crate::parse`]). For a
//! continuous query [`explicit`] makes an [`AsOfNode`] of such a join, which the rules treat as a whole
//! and the planner translates; for one that is read once it makes plain SQL of it.
//!
//! A join with the version that is valid at a time is an as-of join by the right side's event time.
//!
//! Other conditions in the ON of ASOF say which rows there are to choose from, as in DuckDB and Spark: they
//! filter a side. Those in the ON of a join with a version say whether it is one to join with ([`met`]).

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError, JoinType, Result, internal_err};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprFunctionExt, ExprSchemable, Extension, Join, LogicalPlan, LogicalPlanBuilder, Operator,
    ScalarUDF, UserDefinedLogicalNodeCore, Volatility, build_join_schema, lit, when,
};

use super::marker;
use super::subquery::Use;

mod versions;

use versions::Seen;

const NEAREST: &str = "weir_nearest";
const VERSION: &str = "weir_version";
const AT_ONCE: &str = "weir_at_once";

// Columns on the way.
const ROW: &str = "weir_row";
const PLACE: &str = "weir_place";
const MET: &str = "weir_met";

/// Of which moment the right rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Moment {
    /// The nearest one by a condition.
    Nearest,
    /// The version valid at a time.
    Version,
    /// What is there when the left row comes.
    Now,
}

/// A join of each left row with right rows of a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsOfNode {
    /// The left side.
    pub left: LogicalPlan,
    /// The right side.
    pub right: LogicalPlan,
    /// Equalities of the two sides; with [`Moment::Now`] any conditions.
    pub on: Vec<Expr>,
    /// The comparison that says which right row is meant; none with [`Moment::Now`].
    pub nearest: Option<Expr>,
    /// Of which moment.
    pub moment: Moment,
    /// Left rows without a partner are joined with NULLs.
    pub outer: bool,
    schema: DFSchemaRef,
}

impl Hash for AsOfNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (
            &self.left,
            &self.right,
            &self.on,
            &self.nearest,
            self.moment,
            self.outer,
        )
            .hash(state);
    }
}

impl PartialOrd for AsOfNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let key = |node: &Self| (node.moment, node.outer);
        match key(self).cmp(&key(other)) {
            Ordering::Equal => (&self.left, &self.right, &self.on).partial_cmp(&(&other.left, &other.right, &other.on)),
            order => Some(order),
        }
    }
}

impl AsOfNode {
    fn new(left: LogicalPlan, right: LogicalPlan, like: AsOf) -> Result<AsOfNode> {
        let schema = build_join_schema(left.schema(), right.schema(), &like.join_type())?;
        Ok(AsOfNode {
            left,
            right,
            on: like.on,
            nearest: like.nearest,
            moment: like.moment,
            outer: like.outer,
            schema: Arc::new(schema),
        })
    }
}

impl UserDefinedLogicalNodeCore for AsOfNode {
    fn name(&self) -> &str {
        "AsOf"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.on.iter().chain(&self.nearest).cloned().collect()
    }

    /// All: without the right rows that a filter takes out, others would be nearest.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "AsOf: {:?} {:?} {:?}", self.moment, self.on, self.nearest)
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return internal_err!("an as-of join has two inputs");
        };
        let nearest = match self.nearest {
            Some(_) => exprs.pop(),
            None => None,
        };
        let like = AsOf {
            on: exprs,
            nearest,
            moment: self.moment,
            outer: self.outer,
        };
        AsOfNode::new(left, right, like)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.left.schema().fields().len();
        let (left, right): (Vec<usize>, Vec<usize>) = output_columns.iter().partition(|column| **column < width);
        Some(vec![left, right.into_iter().map(|column| column - width).collect()])
    }
}

/// What makes a join one as of a moment.
struct AsOf {
    on: Vec<Expr>,
    nearest: Option<Expr>,
    moment: Moment,
    outer: bool,
}

/// Other conditions in its ON.
#[derive(Default)]
struct Beside {
    /// About the left rows that are joined.
    left: Vec<Expr>,
    /// About the right rows to choose from.
    right: Vec<Expr>,
    /// About what was found.
    found: Vec<Expr>,
}

impl AsOf {
    fn join_type(&self) -> JoinType {
        match self.outer {
            true => JoinType::Left,
            false => JoinType::Inner,
        }
    }
}

fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(DataFusionError::Plan(message.into()))
}

/// The plan with its joins as of a moment in the form that its purpose needs.
pub fn explicit(plan: LogicalPlan, purpose: Use) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) => joined(join, purpose),
        other => Ok(Transformed::no(other)),
    })?;
    let mut left = false;
    plan.data.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            left |= expr.exists(|expr| Ok(marker(expr).is_some()))?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    match left {
        true => refuse("the ON of a join as of a time is a list of conditions with AND, at its outermost level"),
        false => Ok(plan.data),
    }
}

/// A join as of a moment in its form; others as they are.
fn joined(join: Join, purpose: Use) -> Result<Transformed<LogicalPlan>> {
    let parts = split_conjunction_owned(join.filter.clone().unwrap_or_else(|| lit(true)));
    let of_versions = |part: &Expr| marker(part).is_some_and(|(moment, _)| moment == Moment::Version);
    if parts.iter().any(of_versions)
        && let Some(seen) = Seen::through(&join)?
    {
        let Some((as_of, mut beside)) = taken(&seen.join)? else {
            return internal_err!("a join with versions is one as of a moment");
        };
        beside.found.splice(0..0, seen.condition()?);
        let plan = made(&seen.join, as_of, beside, purpose)?;
        return seen.shown(plan).map(Transformed::yes);
    }
    match taken(&join)? {
        Some((as_of, beside)) => made(&join, as_of, beside, purpose).map(Transformed::yes),
        None => Ok(Transformed::no(LogicalPlan::Join(join))),
    }
}

/// The marker function that an expression calls, and what it is given.
fn marker(expr: &Expr) -> Option<(Moment, &[Expr])> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let moment = match call.func.name() {
        NEAREST => Moment::Nearest,
        VERSION => Moment::Version,
        AT_ONCE => Moment::Now,
        _ => return None,
    };
    Some((moment, &call.args))
}

/// What makes a join one as of a moment, if it is one.
fn taken(join: &Join) -> Result<Option<(AsOf, Beside)>> {
    let parts = split_conjunction_owned(join.filter.clone().unwrap_or_else(|| lit(true)));
    let (markers, others): (Vec<Expr>, Vec<Expr>) = parts.into_iter().partition(|part| marker(part).is_some());
    let Some((moment, args)) = markers.first().and_then(marker) else {
        return Ok(None);
    };
    let outer = match join.join_type {
        JoinType::Inner => false,
        JoinType::Left => true,
        _ => return refuse("a join FOR SYSTEM_TIME AS OF is an inner or a LEFT one"),
    };
    if markers.len() > 1 {
        return refuse("a join is as of one time only");
    }
    let keys = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    let on: Vec<Expr> = keys.chain(others).filter(|part| *part != lit(true)).collect();
    let sides = (join.left.schema().as_ref(), join.right.schema().as_ref());
    let versions = versions::upsert_key(&join.right).filter(|_| moment == Moment::Version);
    let is_key = |part: &Expr| match sides_of(part, sides) {
        Some((_, Operator::Eq, right)) => versions
            .as_ref()
            .is_none_or(|key| super::query::column_of(right, sides.1).is_some_and(|place| key.contains(&place))),
        _ => moment == Moment::Now,
    };
    let (on, others): (Vec<Expr>, Vec<Expr>) = on.into_iter().partition(is_key);
    let beside = match moment {
        Moment::Nearest => one_sided(others, sides)?,
        _ => Beside {
            found: others,
            ..Beside::default()
        },
    };
    let nearest = match moment {
        Moment::Nearest => Some(compared(args, sides)?),
        Moment::Version if on.len() < versions.as_ref().map_or(0, Vec::len) => {
            let name = |place: &usize| sides.1.field(*place).name().as_str();
            let key: Vec<&str> = versions.iter().flatten().map(name).collect();
            return refuse(format!(
                "the versions of an UPSERT source are those of its key: the ON of the join compares all of it ({})",
                key.join(", ")
            ));
        }
        Moment::Version if on.is_empty() => {
            return refuse("a join FOR SYSTEM_TIME AS OF needs an equality in its ON: versions are those of a key");
        }
        Moment::Version => Some(valid_at(args, join, sides)?),
        Moment::Now => None,
    };
    let as_of = AsOf {
        on,
        nearest,
        moment,
        outer,
    };
    Ok(Some((as_of, beside)))
}

/// Conditions of an ASOF JOIN beside its equalities: each is about the rows of one side.
fn one_sided(conditions: Vec<Expr>, (left, right): (&DFSchema, &DFSchema)) -> Result<Beside> {
    let mut beside = Beside::default();
    for condition in conditions {
        let columns = condition.column_refs();
        let of = |schema: &DFSchema| columns.iter().all(|column| schema.has_column(column));
        if super::subquery::has_subquery(&condition) {
            return refuse(
                "a subquery in the ON of an ASOF JOIN stands in a query in parentheses in the place of the relation that it \
                 is about",
            );
        }
        match (of(left), of(right)) {
            (true, _) => beside.left.push(condition),
            (_, true) => beside.right.push(condition),
            _ => {
                return refuse(
                    "beside equalities, a condition in the ON of an ASOF JOIN is about one of its sides: it says which rows \
                     there are to choose from; one about both stands in WHERE, and filters what was found",
                );
            }
        }
    }
    Ok(beside)
}

/// The comparison in a MATCH_CONDITION.
fn compared(args: &[Expr], sides: (&DFSchema, &DFSchema)) -> Result<Expr> {
    let wanted = "MATCH_CONDITION compares a value of the left side with one of the right side by >=, >, <= or <, as in \
                  (a.time >= b.time)";
    let [condition] = args else { return refuse(wanted) };
    match sides_of(condition, sides) {
        Some((_, Operator::GtEq | Operator::Gt | Operator::LtEq | Operator::Lt, _)) => Ok(condition.clone()),
        _ => refuse(wanted),
    }
}

/// That the right row's event time is no later than the time that is asked for.
fn valid_at(args: &[Expr], join: &Join, sides: (&DFSchema, &DFSchema)) -> Result<Expr> {
    let [time] = args else {
        return internal_err!("a version is that of one time");
    };
    let of_left = !time.column_refs().is_empty() && time.column_refs().iter().all(|c| sides.0.has_column(c));
    if !of_left {
        return refuse(
            "FOR SYSTEM_TIME AS OF takes a time of the left rows, such as o.time, or PROCTIME() for the rows that are there now",
        );
    }
    let kind = time.get_type(sides.0)?;
    if !matches!(kind, DataType::Timestamp(..) | DataType::Date32) {
        return refuse(format!("FOR SYSTEM_TIME AS OF takes a TIMESTAMP, and {time} is none"));
    }
    let Some(versions) = versions::event_time(&join.right) else {
        return refuse(versions::without_time(&join.right));
    };
    let column = join.right.schema().columns().swap_remove(versions);
    Ok(time.clone().gt_eq(Expr::Column(column)))
}

/// A comparison of the two sides as `left op right`.
pub fn sides_of<'a>(expr: &'a Expr, (left, right): (&DFSchema, &DFSchema)) -> Option<(&'a Expr, Operator, &'a Expr)> {
    let (one, op, other) = match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => (left, op, right),
        // A rule that has turned it round names it as before.
        Expr::Alias(alias) => return sides_of(&alias.expr, (left, right)),
        _ => return None,
    };
    let of = |schema: &DFSchema, expr: &Expr| {
        let columns = expr.column_refs();
        !columns.is_empty() && columns.iter().all(|column| schema.has_column(column))
    };
    match (of(left, one) && of(right, other), of(right, one) && of(left, other)) {
        (true, _) => Some((one, *op, other)),
        (_, true) => Some((other, op.swap()?, one)),
        _ => None,
    }
}

fn made(join: &Join, mut as_of: AsOf, beside: Beside, purpose: Use) -> Result<LogicalPlan> {
    let (mut left, mut right) = (join.left.as_ref().clone(), join.right.as_ref().clone());
    if let Some(condition) = conjunction(beside.right) {
        right = LogicalPlanBuilder::from(right).filter(condition)?.build()?;
    }
    match conjunction(beside.left) {
        None => {}
        Some(condition) if !as_of.outer => left = LogicalPlanBuilder::from(left).filter(condition)?.build()?,
        // A left row without a key finds nothing.
        Some(condition) => {
            let sides = (left.schema().as_ref(), right.schema().as_ref());
            let Some(first) = as_of.on.first_mut() else {
                return refuse(
                    "a condition on the left rows in the ON of an ASOF LEFT JOIN stands beside an equality of the two sides",
                );
            };
            let Some((key, _, other)) = sides_of(first, sides) else {
                return internal_err!("an as-of join compares its sides");
            };
            *first = when(condition, key.clone()).end()?.eq(other.clone());
        }
    }
    let outer = as_of.outer;
    let plan = match (purpose, as_of.nearest.clone()) {
        (Use::Kept, _) => {
            let node = AsOfNode::new(left, right, as_of)?;
            LogicalPlan::Extension(Extension { node: Arc::new(node) })
        }
        // The rows that are there now are those that a query reads.
        (Use::Read, None) => LogicalPlanBuilder::from(left)
            .join_on(right, as_of.join_type(), as_of.on)?
            .build()?,
        (Use::Read, Some(nearest)) => read_once(join, left, right, as_of, nearest)?,
    };
    match conjunction(beside.found) {
        None => Ok(plan),
        Some(condition) if !outer => LogicalPlanBuilder::from(plan).filter(condition)?.build(),
        Some(condition) => met(join, plan, condition),
    }
}

/// What an outer join has found, where it meets a condition.
fn met(join: &Join, plan: LogicalPlan, condition: Expr) -> Result<LogicalPlan> {
    let width = join.left.schema().fields().len();
    let columns = plan.schema().columns();
    let all = columns.iter().cloned().map(Expr::Column);
    let judged: Vec<Expr> = all.chain([condition.alias(MET)]).collect();
    let shown = columns.iter().enumerate().map(|(place, column)| {
        let value = Expr::Column(column.clone());
        if place < width {
            return Ok(value);
        }
        let met = when(Expr::Column(MET.into()), value).end()?;
        Ok(met.alias_qualified(column.relation.clone(), &column.name))
    });
    let shown = shown.collect::<Result<Vec<_>>>()?;
    LogicalPlanBuilder::from(plan).project(judged)?.project(shown)?.build()
}

/// An as-of join as plain SQL: the rows that may be meant, numbered from the nearest one on for each left
/// row. A window breaks its ties by the rest of the row.
fn read_once(join: &Join, left: LogicalPlan, right: LogicalPlan, as_of: AsOf, nearest: Expr) -> Result<LogicalPlan> {
    let sides = (left.schema().clone(), right.schema().clone());
    let Some((_, op, place)) = sides_of(&nearest, (&sides.0, &sides.1)) else {
        return internal_err!("an as-of join compares its sides");
    };
    let behind = matches!(op, Operator::LtEq | Operator::Lt);
    let place = place.clone();
    let number = row_number().alias(ROW);
    let column = |name: &str| Expr::Column(name.into());
    let nearness = row_number()
        .partition_by(vec![column(ROW)])
        .order_by(vec![place.sort(behind, false)])
        .build()?
        .alias(PLACE);
    let join_type = as_of.join_type();
    let conditions = as_of.on.into_iter().chain([nearest]);
    LogicalPlanBuilder::from(left)
        .window(vec![number])?
        .join_on(right, join_type, conditions)?
        .window(vec![nearness])?
        .filter(column(PLACE).eq(lit(1u64)))?
        .project(join.schema.columns().into_iter().map(Expr::Column))?
        .build()
}

/// The marker functions, to be registered with the session.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    [(NEAREST, 1), (VERSION, 1), (AT_ONCE, 0)]
        .map(|(name, arguments)| marker::condition(name, arguments, Volatility::Immutable))
        .into()
}

/// Whether a condition in the ON of a join is one of the markers.
pub fn is_marker(condition: &Expr) -> bool {
    marker(condition).is_some()
}
