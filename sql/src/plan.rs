//! Planning: from statements to relations that can run.
//!
//! A query goes through DataFusion's SQL planner, analyzer and a chosen list of logical rules
//! ([`session`]); what comes out is translated into a streaming graph ([`query`]). What can't be
//! kept up to date is refused here, with the reason and the nearest thing that works.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use sqlparser::ast;
use weir_engine::graph::Graph;
use weir_engine::near::unknown_option;
use weir_engine::relation::{OnError, RelationId, Storage, ViewOptions, ViewSpec};

use crate::catalog::{Catalog, Definition, Relation};
use crate::statement::{CreateView, Emit, Query, RelationKind};
use crate::{Error, Result, parse};

mod aggregate;
mod as_of;
pub(crate) mod bind;
mod branches;
mod calls;
pub(crate) mod checked;
pub mod circles;
mod clock;
mod drawn;
mod equalities;
pub(crate) mod errors;
pub(crate) mod expr;
mod extremes;
mod fetch;
mod filters;
mod first_rows;
mod floats;
mod folds;
pub mod functions;
mod groupings;
pub(crate) mod guarded;
mod hidden;
pub(crate) mod history;
mod intervals;
mod joined_text;
mod json;
mod kinds;
mod marker;
mod multiset;
mod named_windows;
pub(crate) mod names;
mod never;
mod now;
mod numbers;
mod one_group;
mod operators;
mod ordered_sets;
mod origin;
pub(crate) mod parameters;
mod percentiles;
pub(crate) mod places;
mod qualify;
mod query;
mod refuse;
mod rewrite;
mod rounds;
mod row_values;
pub(crate) mod scalars;
pub(crate) mod session;
mod similar;
pub mod sorted;
pub(crate) mod spelled;
mod subquery;
mod sums;
mod templates;
mod times;
mod unnest;
pub(crate) mod using;
mod value_strings;
mod window;
mod zones;

pub use bind::{sink, source, table};
pub use query::{Closing, TimeBound};
use sorted::SortedBy;

/// A push query, planned.
pub struct PushQuery {
    /// Its graph.
    pub graph: Arc<Graph>,
    /// Its columns.
    pub schema: SchemaRef,
    /// It only adds rows.
    pub append_only: bool,
    /// Relations whose rows it reads.
    pub depends_on: Vec<RelationId>,
    /// It ends after so many rows: a LIMIT without an order, which is no part of the graph.
    pub limit: Option<u64>,
    /// How its rows are meant to be read.
    pub order: Vec<SortedBy>,
}

/// Plans `SELECT … EMIT …`.
pub fn push_query(query: &Query, catalog: &Catalog) -> Result<PushQuery> {
    let mut query = query.clone();
    let limit = take_limit(&mut query.ast);
    Ok(PushQuery {
        limit,
        ..kept_query(&query, catalog)?
    })
}

/// The graph that would keep a query up to date.
pub fn continuous(query: &Query, catalog: &Catalog) -> Result<Arc<Graph>> {
    Ok(kept_query(query, catalog)?.graph)
}

/// Takes a plain LIMIT off a query: without an order it counts rows as they come.
fn take_limit(query: &mut ast::Query) -> Option<u64> {
    let Some(ast::LimitClause::LimitOffset {
        limit: Some(ast::Expr::Value(value)),
        offset: None,
        limit_by,
    }) = &query.limit_clause
    else {
        return None;
    };
    let ast::Value::Number(number, _) = &value.value else {
        return None;
    };
    let limit = number.parse().ok()?;
    if query.order_by.is_some() || !limit_by.is_empty() {
        return None;
    }
    query.limit_clause = None;
    Some(limit)
}

fn kept_query(query: &Query, catalog: &Catalog) -> Result<PushQuery> {
    let closing = closing(query.emit, None);
    let plan = session::stream_plan(&query.ast, catalog)?;
    let done = query::translate(&plan, closing, timeout_us(query.emit), MAX_ITERATIONS, &[])?;
    let append_only = done.graph.output().append_only;
    Ok(PushQuery {
        graph: Arc::new(done.graph),
        schema: done.schema,
        append_only,
        depends_on: done.reads,
        limit: None,
        order: sorted::of(&plan),
    })
}

/// Plain views that may stand upon each other. Each is planned within the one above it, and all of
/// them must fit a thread's stack.
const DEEPEST_VIEW: usize = 64;

/// How deep a plain view over these relations would be.
fn depth(depends_on: &[RelationId], catalog: &Catalog) -> usize {
    let below = depends_on.iter().filter_map(|id| catalog.by_id(*id));
    let views = below.filter(|relation| relation.kind == RelationKind::View);
    1 + views.map(|view| depth(&view.depends_on, catalog)).max().unwrap_or(0)
}

/// Plans `CREATE VIEW`: its query must be one that could be read.
pub fn view(statement: &CreateView, id: RelationId, catalog: &Catalog) -> Result<Relation> {
    if statement.query.emit.is_some() {
        return Err(Error::new(
            "a plain view has no EMIT clause; write it where the view is read",
        ));
    }
    if let Some(option) = statement.options.keys().next() {
        return Err(Error::new(format!(
            "a plain view has no options, so '{option}' means nothing here"
        )));
    }
    let plan = session::read_plan(&statement.query.ast, catalog)?;
    let reads = session::read_relations(&plan);
    let depends_on = depends_on(&statement.query, reads, catalog);
    let depth = depth(&depends_on, catalog);
    if depth > DEEPEST_VIEW {
        return Err(Error::new(format!(
            "plain views may stand upon each other {DEEPEST_VIEW} deep, and this would be number {depth}; make one of \
             those below a MATERIALIZED VIEW"
        )));
    }
    let plan = session::analyzed(plan)?;
    let schema = query::named(plan.schema().fields(), &column_names(statement))?;
    Ok(Relation {
        id,
        name: statement.name.value.clone(),
        kind: RelationKind::View,
        sql: statement.text.clone(),
        schema,
        key: None,
        event_times: Vec::new(),
        depends_on,
        comment: None,
        paused: false,
        definition: Definition::View(statement.query.clone().into()),
    })
}

/// Plans `CREATE MATERIALIZED VIEW`.
pub fn materialized_view(statement: &CreateView, id: RelationId, catalog: &Catalog) -> Result<Relation> {
    let placed = |error| statement.option_places.placed(error);
    let given = view_options(&statement.options).map_err(placed)?;
    let plan = session::stream_plan(&statement.query.ast, catalog)?;
    let closing = closing(statement.query.emit, given.lateness_us);
    let timeout_us = timeout_us(statement.query.emit);
    let done = query::translate(
        &plan,
        closing,
        timeout_us,
        given.max_iterations,
        &column_names(statement),
    )?;
    let storage = query::storage(&done.graph, given.reads_by(&done.schema).map_err(placed)?);
    let mut options = given.options;
    if !statement.options.contains_key("on_error") {
        options.on_error = inherited(&done.reads, catalog);
    }
    let name = statement.name.value.clone();
    let graph = Arc::new(done.graph);
    let key = graph.output().key.clone();
    let view = ViewSpec {
        relation: id,
        name: name.clone(),
        graph,
        storage,
        options,
    };
    Ok(Relation {
        id,
        name,
        kind: RelationKind::MaterializedView,
        sql: statement.text.clone(),
        schema: done.schema,
        key,
        event_times: done.times,
        depends_on: depends_on(&statement.query, done.reads, catalog),
        comment: None,
        paused: false,
        definition: Definition::MaterializedView(view),
    })
}

/// The names in parentheses behind a view's name.
fn column_names(statement: &CreateView) -> Vec<String> {
    statement.columns.iter().map(names::folded).collect()
}

/// What a query rests on: the relations whose rows it reads, and those that it names, plain views
/// among them.
fn depends_on(query: &Query, reads: Vec<RelationId>, catalog: &Catalog) -> Vec<RelationId> {
    let mut all = names::named_relations(&query.ast, catalog);
    all.extend(reads);
    all.into_iter().collect()
}

/// The query of `CREATE SINK … AS SELECT`.
fn sink_query(query: &Query, name: &str, id: RelationId, catalog: &Catalog) -> Result<(ViewSpec, Vec<RelationId>)> {
    let planned = kept_query(query, catalog)?;
    let spec = ViewSpec {
        relation: id,
        name: name.to_string(),
        graph: planned.graph,
        storage: Storage::Changes,
        options: ViewOptions {
            on_error: inherited(&planned.depends_on, catalog),
            ..ViewOptions::default()
        },
    };
    Ok((spec, depends_on(query, planned.depends_on, catalog)))
}

/// The policy of a query that says nothing of it: that of all it reads, if they agree to pass over
/// what is bad. A table has none of its own, so it doesn't.
fn inherited(reads: &[RelationId], catalog: &Catalog) -> OnError {
    let skips = |id: &RelationId| match catalog.by_id(*id).map(|relation| &relation.definition) {
        Some(Definition::Source(source)) => source.on_error == OnError::Skip,
        Some(Definition::MaterializedView(view)) => view.options.on_error == OnError::Skip,
        _ => false,
    };
    match !reads.is_empty() && reads.iter().all(skips) {
        true => OnError::Skip,
        false => OnError::Fail,
    }
}

fn closing(emit: Option<Emit>, lateness_us: Option<i64>) -> Closing {
    match (emit, lateness_us) {
        (Some(Emit::OnWindowClose { .. }), _) => Closing::Emit,
        (_, Some(us)) => Closing::After(us),
        _ => Closing::Never,
    }
}

/// How long nothing may come before all that is open closes.
fn timeout_us(emit: Option<Emit>) -> Option<i64> {
    match emit {
        Some(Emit::OnWindowClose { timeout_ms }) => Some(i64::try_from(timeout_ms?).ok()?.saturating_mul(1000)),
        _ => None,
    }
}

/// Rounds that a recursion may take in a step, unless the view's options say otherwise.
const MAX_ITERATIONS: u32 = 10_000;

/// Tasks that may share a view's keys: there are so many shards.
const MOST_TASKS: usize = weir_engine::shard::SHARDS;

/// What the options of a view say.
struct Given {
    options: ViewOptions,
    lateness_us: Option<i64>,
    max_iterations: u32,
    /// Names of columns.
    key: Option<String>,
}

impl Given {
    /// The columns that reads go by.
    fn reads_by(&self, schema: &Schema) -> Result<Option<Vec<usize>>> {
        let Some(key) = &self.key else { return Ok(None) };
        let columns = bind::key_columns(key, schema).map_err(|name| {
            Error::new(format!(
                "key = '{key}' names the columns that reads go by, and the view has no column '{name}'"
            ))
        })?;
        let mut seen = BTreeSet::new();
        match columns.iter().find(|column| !seen.insert(**column)) {
            Some(twice) => Err(Error::new(format!(
                "key = '{key}' names column '{}' twice",
                schema.field(*twice).name()
            ))),
            None => Ok(Some(columns)),
        }
    }
}

fn view_options(options: &BTreeMap<String, String>) -> Result<Given> {
    let mut found = ViewOptions::default();
    let mut lateness = None;
    let mut max_iterations = MAX_ITERATIONS;
    let mut key = None;
    for (name, value) in options {
        match name.as_str() {
            "on_error" => found.on_error = bind::on_error(value)?,
            "pipeline" => found.pipeline = Some(value.clone()),
            "allowed_lateness" => lateness = Some(parse::duration_ms(name, value)? as i64 * 1000),
            "max_iterations" => {
                let given = value.parse().ok().filter(|rounds| *rounds > 0);
                max_iterations = given.ok_or_else(|| {
                    Error::new(format!(
                        "max_iterations = '{value}' is no number of rounds; give one from 1 on"
                    ))
                })?;
            }
            "parallelism" => {
                let tasks = value.parse().ok().filter(|tasks| (1..=MOST_TASKS).contains(tasks));
                found.parallelism = Some(tasks.ok_or_else(|| {
                    Error::new(format!(
                        "parallelism = '{value}' is no number of tasks; give one from 1 to {MOST_TASKS}"
                    ))
                })?);
            }
            "key" => key = Some(value.clone()),
            "history" => {
                let kept_us = parse::duration_ms(name, value)? as i64 * 1000;
                if kept_us == 0 {
                    return Err(Error::new(
                        "history = '0' keeps nothing; leave it out, or give a length such as '7 days'",
                    ));
                }
                found.history_us = Some(kept_us);
            }
            "changelog_limit" => found.changelog_limit_bytes = Some(bind::size_bytes(name, value)?),
            other => {
                const KNOWN: [&str; 8] = [
                    "pipeline",
                    "on_error",
                    "allowed_lateness",
                    "history",
                    "key",
                    "parallelism",
                    "changelog_limit",
                    "max_iterations",
                ];
                return Err(Error::new(unknown_option(other, "a materialized view", &KNOWN, "")));
            }
        }
    }
    Ok(Given {
        options: found,
        lateness_us: lateness,
        max_iterations,
        key,
    })
}
