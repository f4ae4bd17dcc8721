//! Versions: what a join FOR SYSTEM_TIME AS OF a time finds on its right side.
//!
//! Each row of a source with a WATERMARK is a version, from its event time on; those of an UPSERT source are of its
//! key. A plain view that filters such a source and computes columns has its versions too.
//!
//! Of an UPSERT source a version that the view's filter rejects still ends the one before. So the join is with the
//! source itself, and what the view makes of a version is made of the one that was found ([`Seen`]): if
//! that is rejected, there is none.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, Volatility, when};
use weir_engine::format::Envelope;

use super::refuse;
use crate::catalog::{Definition, Relation};
use crate::plan::now;
use crate::plan::query::{TimeBound, column_of};
use crate::plan::session::RelationSource;
use crate::plan::subquery::has_subquery;
use crate::statement::RelationKind;

/// What the rows of an UPSERT source are called below a view that was seen through.
const VERSIONS: &str = "weir_versions";

/// A join with a view of an UPSERT source, seen through to the source.
pub(super) struct Seen {
    /// The join with the source.
    pub(super) join: Join,
    view: View,
    /// The event time of the version, which each has.
    time: Expr,
    /// The columns of the join with the view.
    schema: Arc<DFSchema>,
}

/// What a plan makes of the rows of an UPSERT source.
struct View {
    source: LogicalPlan,
    /// Its columns, of the source's.
    columns: Vec<Expr>,
    /// Which rows it has.
    conditions: Vec<Expr>,
}

impl Seen {
    /// The join, if its right side filters an UPSERT source or computes columns of it.
    pub(super) fn through(join: &Join) -> Result<Option<Seen>> {
        if upsert_key(&join.right).is_some() {
            return Ok(None);
        }
        let Some(view) = View::of(&join.right)? else {
            return Ok(None);
        };
        let Some(time) = event_time(&view.source) else {
            return Ok(None);
        };
        let conditions = join
            .on
            .iter()
            .flat_map(|(left, right)| [left, right])
            .chain(&join.filter);
        if conditions.into_iter().any(has_subquery) {
            return refuse(
                "a subquery in the ON of a join with versions stands in WHERE, if the right side is a view of an UPSERT source",
            );
        }
        let of_source = |expr: &Expr| of_columns(expr.clone(), join.right.schema(), &view.columns);
        let on = join
            .on
            .iter()
            .map(|(left, right)| Ok((of_source(left)?, of_source(right)?)));
        let below = Join::try_new(
            join.left.clone(),
            Arc::new(view.source.clone()),
            on.collect::<Result<_>>()?,
            join.filter.as_ref().map(of_source).transpose()?,
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?;
        Ok(Some(Seen {
            time: Expr::Column(view.source.schema().columns().swap_remove(time)),
            join: below,
            view,
            schema: join.schema.clone(),
        }))
    }

    /// What the view asks of a version that was found.
    pub(super) fn condition(&self) -> Result<Option<Expr>> {
        let condition = conjunction(self.view.conditions.clone());
        condition.map(|condition| self.if_found(condition)).transpose()
    }

    /// The columns of the view's rows, of what was found.
    pub(super) fn shown(self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let left = self.join.left.schema().columns().into_iter().map(Expr::Column);
        let names = self.schema.columns().into_iter().skip(left.len());
        let right = self.view.columns.iter().zip(names).map(|(value, column)| {
            let value = match value {
                Expr::Column(_) => value.clone(),
                computed => self.if_found(computed.clone())?,
            };
            Ok(value.alias_qualified(column.relation, column.name))
        });
        let right: Vec<Expr> = right.collect::<Result<_>>()?;
        LogicalPlanBuilder::from(plan).project(left.chain(right))?.build()
    }

    /// A value of a version; NULL where an outer join has none.
    fn if_found(&self, value: Expr) -> Result<Expr> {
        match self.join.join_type {
            JoinType::Left => when(self.time.clone().is_not_null(), value).end(),
            _ => Ok(value),
        }
    }
}

impl View {
    fn of(plan: &LogicalPlan) -> Result<Option<View>> {
        let input = match plan {
            LogicalPlan::TableScan(_) if upsert_key(plan).is_some() => {
                let source = LogicalPlanBuilder::from(plan.clone()).alias(VERSIONS)?.build()?;
                return Ok(Some(View {
                    columns: source.schema().columns().into_iter().map(Expr::Column).collect(),
                    source,
                    conditions: Vec::new(),
                }));
            }
            LogicalPlan::SubqueryAlias(alias) => return View::of(&alias.input),
            LogicalPlan::Filter(filter) => &filter.input,
            LogicalPlan::Projection(projection) => &projection.input,
            _ => return Ok(None),
        };
        let Some(view) = View::of(input)? else {
            return Ok(None);
        };
        if !plan.expressions().iter().all(is_of_row) {
            return Ok(None);
        }
        let exprs = plan.expressions().into_iter();
        let exprs = exprs.map(|expr| of_columns(expr.unalias(), input.schema(), &view.columns));
        let exprs: Vec<Expr> = exprs.collect::<Result<_>>()?;
        Ok(Some(match plan {
            LogicalPlan::Filter(_) => View {
                conditions: [view.conditions, exprs].concat(),
                ..view
            },
            _ => View { columns: exprs, ..view },
        }))
    }
}

/// Whether an expression says the same of a row whenever it is asked.
fn is_of_row(expr: &Expr) -> bool {
    let is_drawn = |expr: &Expr| match expr {
        Expr::ScalarFunction(call) => call.func.signature().volatility != Volatility::Immutable,
        _ => false,
    };
    !has_subquery(expr) && !now::uses(expr) && !expr.exists(|expr| Ok(is_drawn(expr))).unwrap_or(true)
}

/// The expression with these values in the place of columns.
fn of_columns(expr: Expr, schema: &DFSchema, values: &[Expr]) -> Result<Expr> {
    let value = |expr: Expr| match &expr {
        Expr::Column(column) => Ok(match schema.maybe_index_of_column(column) {
            Some(place) => Transformed::yes(values[place].clone()),
            None => Transformed::no(expr),
        }),
        _ => Ok(Transformed::no(expr)),
    };
    expr.transform_up(value).map(|done| done.data)
}

/// The column that is a plan's event time, if its rows are versions.
pub(super) fn event_time(plan: &LogicalPlan) -> Option<usize> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let relation = &scan.source.downcast_ref::<RelationSource>()?.relation;
            let column = match &relation.definition {
                Definition::Source(spec) => spec.watermark.as_ref()?.column,
                _ => kept_time(relation)?,
            };
            match &scan.projection {
                Some(columns) => columns.iter().position(|c| *c == column),
                None => Some(column),
            }
        }
        LogicalPlan::SubqueryAlias(alias) => event_time(&alias.input),
        LogicalPlan::Filter(filter) => event_time(&filter.input).filter(|_| !is_upsert(&filter.input)),
        LogicalPlan::Projection(projection) => {
            let time = event_time(&projection.input).filter(|_| !is_upsert(&projection.input))?;
            let place = |expr: &Expr| column_of(expr, projection.input.schema());
            projection.expr.iter().position(|expr| place(expr) == Some(time))
        }
        _ => None,
    }
}

/// The event time of a materialized view whose rows stay as they are.
fn kept_time(view: &Relation) -> Option<usize> {
    let mut times = (0..view.event_times.len()).filter(|column| view.event_times[*column] == Some(TimeBound::Event));
    let time = times.next().filter(|_| view.append_only())?;
    times.next().is_none().then_some(time)
}

/// The key of an UPSERT source whose rows a plan is: its columns' places.
pub(super) fn upsert_key(plan: &LogicalPlan) -> Option<Vec<usize>> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => upsert_key(&alias.input),
        LogicalPlan::TableScan(scan) if is_upsert(plan) => {
            let source = scan.source.downcast_ref::<RelationSource>()?;
            let key = source.relation.key.as_ref()?.iter();
            match &scan.projection {
                None => Some(key.copied().collect()),
                Some(columns) => key.map(|key| columns.iter().position(|column| column == key)).collect(),
            }
        }
        _ => None,
    }
}

/// Whether rows are those of an UPSERT source.
fn is_upsert(plan: &LogicalPlan) -> bool {
    let is_upsert = |relation: &Relation| matches!(&relation.definition, Definition::Source(spec) if spec.envelope == Envelope::Upsert);
    first_relation(plan, is_upsert).is_some()
}

/// The first relation that a plan reads of which this is true.
fn first_relation(plan: &LogicalPlan, is_meant: impl Fn(&Relation) -> bool) -> Option<Arc<Relation>> {
    let mut found = None;
    let _ = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(source) = scan.source.downcast_ref::<RelationSource>()
            && is_meant(&source.relation)
        {
            found = Some(source.relation.clone());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// Why a plan's rows are no versions, and what works.
pub(super) fn without_time(plan: &LogicalPlan) -> String {
    let why = match first_relation(plan, |_| true) {
        None => "a query without a relation has none".to_string(),
        Some(relation) => match (&relation.definition, relation.kind) {
            (Definition::Source(spec), _) if spec.watermark.is_none() => {
                format!("'{}' is a source without a WATERMARK", relation.name)
            }
            (Definition::Source(_), _) => format!(
                "what is made of the source '{}' here has lost its event time, or is more than filters and columns",
                relation.name
            ),
            (_, RelationKind::Table) => format!("'{}' is a table, which has its rows as they are now", relation.name),
            _ => format!(
                "'{}' is a materialized view that changes its rows, or doesn't keep its source's event time",
                relation.name
            ),
        },
    };
    format!(
        "FOR SYSTEM_TIME AS OF a time needs versions that have one, and {why}. The right side is a source with a WATERMARK, a \
         plain view that filters one and computes columns, or a materialized view that only adds rows and keeps the \
         event time. A table or view that keeps its versions as rows goes with ASOF JOIN … MATCH_CONDITION (o.time >= \
         r.time), and AS OF PROCTIME() takes the rows that are there now"
    )
}
