//! Ad-hoc SELECT: a query planned once, given its parameters, and run over what the server can
//! read.
//!
//! DataFusion plans and runs the query; Weir gives it rows ([`Rows`]), the functions and the checked
//! arithmetic of the one session of the dialect, and the names of columns as they were written.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, ParamValues, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use weir_engine::format::sql_type;
use weir_engine::pipeline::Batches;
use weir_engine::relation::RelationId;

use crate::catalog::{Catalog, Relation};
use crate::opaque::Opaque;
use crate::plan::errors::Computations;
use crate::plan::session::{self, RelationSource};
use crate::plan::{checked, errors, guarded, history, names, parameters, using};
use crate::statement::Query;
use crate::{Error, Result};

mod access;
pub(crate) mod apart;
mod interrupt;
mod many;
mod memory;
mod ties;
mod values;

use access::Access;
pub use memory::Memory;

/// Gives rows of relations to a query, all as of one moment.
pub trait Rows: Send + Sync + 'static {
    /// The rows of a relation, the given columns in the given order.
    fn scan(&self, relation: &Arc<Relation>, columns: &[usize]) -> Result<Batches>;

    /// The rows that have these keys, with all their columns; `keys` are the columns by which the relation's
    /// rows can be looked up, in their order, one value per key. A key without a row gives none.
    fn get(&self, relation: &Arc<Relation>, keys: &[ArrayRef]) -> Result<Vec<RecordBatch>>;

    /// Gives rows of views as they were at a moment, microseconds since 1970.
    fn at(&self, at_us: i64) -> Result<Arc<dyn Rows>> {
        let _ = at_us;
        Err(Error::new("no history can be read here"))
    }

    /// The memory for what the query makes of them; `None`: as much as it takes.
    fn memory(&self) -> Option<Memory> {
        None
    }

    /// False once nobody takes what the query makes of them: it may end then.
    fn are_wanted(&self) -> bool {
        true
    }
}

/// A planned query.
#[derive(Clone, Debug)]
pub struct ReadPlan {
    plan: Opaque<LogicalPlan>,
    /// Columns whose name occurs before, by the name that they have in the plan.
    repeated: BTreeMap<String, String>,
    schema: SchemaRef,
    /// What may fail when it is computed.
    computations: Arc<Computations>,
}

/// Plans a query that is read once. It must have no EMIT clause.
pub fn plan(query: &Query, catalog: &Catalog) -> Result<ReadPlan> {
    if query.emit.is_some() {
        return Err(Error::new(
            "a query with EMIT runs on; one that is read once has no EMIT clause",
        ));
    }
    let mut ast = query.ast.clone();
    using::spelled_out(&mut ast, catalog)?;
    let (ast, repeated) = names::unique(&ast);
    let plan = parameters::shown_as_text(session::read_plan(&ast, catalog)?).map_err(error)?;
    let computations = Arc::new(Computations::of(&query.ast, catalog));
    let plan = ReadPlan::new(plan, repeated).map_err(|error| computations.placed(error))?;
    Ok(ReadPlan { computations, ..plan })
}

/// A column's values as another type, converted as CAST does it; `None` where there is no such cast.
pub fn column_as(values: &ArrayRef, to: &DataType) -> Option<std::result::Result<ArrayRef, ArrowError>> {
    let from = values.data_type();
    let there_is = checked::is_ours(from, to) || can_cast_types(from, to);
    there_is.then(|| checked::column_as(values, to))
}

/// A planner's or a running query's error in the dialect's words.
pub fn error(error: DataFusionError) -> Error {
    errors::translate(error)
}

impl ReadPlan {
    pub(crate) fn new(plan: LogicalPlan, repeated: BTreeMap<String, String>) -> Result<ReadPlan> {
        let analyzed = session::analyzed(plan.clone())?;
        let shown = |field: &Arc<Field>| {
            let name = repeated.get(field.name()).unwrap_or(field.name());
            Field::new(name, field.data_type().clone(), true)
        };
        let fields: Vec<Field> = analyzed.schema().fields().iter().map(shown).collect();
        Ok(ReadPlan {
            plan: plan.into(),
            repeated,
            schema: Arc::new(Schema::new(fields)),
            computations: Arc::default(),
        })
    }

    /// The result's columns; a name may come twice.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The sources, tables, materialized views and system relations that it reads.
    pub fn reads(&self) -> Vec<RelationId> {
        session::read_relations(&self.plan)
    }

    /// Its parameters, `$1` first. One whose type nothing tells is TEXT.
    pub fn parameters(&self) -> Result<Vec<Field>> {
        Ok(parameter_fields(&self.parameter_types()?))
    }

    /// The types of its parameters by number, where they are known.
    pub(crate) fn parameter_types(&self) -> Result<ParameterTypes> {
        parameter_types(&self.plan)
    }

    /// The query with values for its parameters, as many as there are.
    pub fn bind(&self, values: Vec<ScalarValue>) -> Result<ReadPlan> {
        let values = fitting(&parameter_types(&self.plan)?, values)?;
        if values.is_empty() {
            return Ok(self.clone());
        }
        let plan = values::with_own_names(LogicalPlan::clone(&self.plan)).map_err(error)?;
        let bound = plan
            .replace_params_with_values(&ParamValues::from(values))
            .map_err(error)?;
        let bound = ReadPlan::new(bound, self.repeated.clone())?;
        Ok(ReadPlan {
            computations: self.computations.clone(),
            ..bound
        })
    }

    /// An error of the running query in the dialect's words, with what it is about, where that is known.
    pub fn error(&self, of: DataFusionError) -> Error {
        self.computations.placed(error(of))
    }

    /// Runs the query. Needs a tokio runtime around it, on whose blocking threads `rows` are read;
    /// dropping the stream ends that. The stream's errors are told by [`ReadPlan::error`].
    pub async fn execute(&self, rows: Arc<dyn Rows>) -> Result<SendableRecordBatchStream> {
        let (physical, context) = self
            .physical(rows)
            .await
            .map_err(|error| self.computations.placed(error))?;
        let stream = execute_stream(physical, context).map_err(error)?;
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), stream)))
    }

    pub(crate) async fn physical(&self, rows: Arc<dyn Rows>) -> Result<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)> {
        if !parameter_types(&self.plan)?.is_empty() {
            return Err(Error::new(
                "the statement has parameters, and no values were given for them",
            ));
        }
        let mut state = session::state().clone();
        if let Some(memory) = rows.memory() {
            state = SessionStateBuilder::new_from_existing(state)
                .with_runtime_env(memory.runtime())
                .build();
        }
        state.mark_start_execution();
        let plan = over(LogicalPlan::clone(&self.plan), &rows, &state).map_err(error)?;
        let plan = state.optimize(&plan).and_then(ties::broken);
        let plan = plan.and_then(guarded::in_plan).map_err(error)?;
        let usual = state.config().batch_size();
        if let Some(few) = memory::rows_at_once(&plan, usual) {
            *state.config_mut() = state.config().clone().with_batch_size(few);
        }
        let planner = state.query_planner().clone();
        let planned = planner.create_physical_plan(&plan, &state).await;
        let physical = planned
            .and_then(ties::over_sorted)
            .and_then(|physical| interrupt::interruptible(physical, &rows))
            .map_err(error)?;
        Ok((
            access::renamed(physical, &self.schema).map_err(error)?,
            state.task_ctx(),
        ))
    }
}

/// Types of parameters by number, where they are known.
pub(crate) type ParameterTypes = BTreeMap<usize, Option<DataType>>;

/// All parameters up to the last one. One whose type nothing tells is TEXT.
pub(crate) fn parameter_fields(known: &ParameterTypes) -> Vec<Field> {
    let field = |number: usize| {
        let kind = known.get(&number).cloned().flatten().unwrap_or(DataType::Utf8);
        Field::new(format!("${number}"), kind, true)
    };
    (1..=parameter_count(known)).map(field).collect()
}

/// How many parameters there are.
pub(crate) fn parameter_count(known: &ParameterTypes) -> usize {
    known.keys().next_back().copied().unwrap_or(0)
}

/// The plan with `rows` behind its relations.
fn over(plan: LogicalPlan, rows: &Arc<dyn Rows>, state: &SessionState) -> datafusion::common::Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::TableScan(mut scan) = node else {
            return Ok(Transformed::no(node));
        };
        let at_us = history::take_time(&mut scan, state)?;
        let Some(source) = scan.source.downcast_ref::<RelationSource>() else {
            return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
        };
        let rows = match at_us {
            Some(at_us) => rows
                .at(at_us)
                .map_err(|error| DataFusionError::External(Box::new(error)))?,
            None => rows.clone(),
        };
        let access = Access::new(source.relation.clone(), rows);
        let scan = TableScan {
            source: provider_as_source(Arc::new(access)),
            ..scan
        };
        Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
    })
    .map(|done| done.data)
}

/// Values for all of a plan's parameters, of their types.
fn fitting(known: &ParameterTypes, values: Vec<ScalarValue>) -> Result<Vec<ScalarValue>> {
    let count = parameter_count(known);
    if values.len() != count {
        return Err(Error::new(format!(
            "the statement has {count} parameters, and {} values were given",
            values.len()
        )));
    }
    let fitted = values.into_iter().enumerate().map(|(index, value)| {
        let kind = known.get(&(index + 1)).cloned().flatten();
        match kind {
            Some(kind) if kind != value.data_type() => value.cast_to(&kind).map_err(|_| {
                Error::new(format!(
                    "parameter ${} is {}, and {value} can't be read as one",
                    index + 1,
                    sql_type(&kind)
                ))
            }),
            _ => Ok(value),
        }
    });
    fitted.collect()
}

/// The types of the plan's parameters by number, where they are known.
fn parameter_types(plan: &LogicalPlan) -> Result<ParameterTypes> {
    let mut found = ParameterTypes::new();
    let mut wrong = None;
    plan.apply_with_subqueries(|node| {
        let counts_rows = matches!(node, LogicalPlan::Limit(_));
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Placeholder(placeholder) = expr {
                    let number = placeholder.id.trim_start_matches('$').parse::<usize>();
                    let Some(number) = number.ok().filter(|number| (1..=10_000).contains(number)) else {
                        wrong = Some(placeholder.id.clone());
                        return Ok(TreeNodeRecursion::Stop);
                    };
                    let kind = placeholder.field.as_ref().map(|field| field.data_type().clone());
                    let kind = kind.or(counts_rows.then_some(DataType::Int64));
                    let known = found.entry(number).or_default();
                    *known = known.take().or(kind);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(error)?;
    match wrong {
        Some(id) => Err(Error::new(format!(
            "parameters are $1, $2, … or ? in their order, not {id}"
        ))),
        None => Ok(found),
    }
}
