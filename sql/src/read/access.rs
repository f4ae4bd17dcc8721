//! A relation as DataFusion reads it: only the columns asked for, and by key where the query says
//! which.
//!
//! Rows are read on a blocking thread of the runtime, two batches ahead of who takes them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr, expressions::Column};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use weir_engine::pipeline::Batches;

use super::Rows;
use crate::catalog::Relation;

/// Keys that one query may ask for before the relation is read as a whole.
const MOST_KEYS: usize = 1000;

/// A relation and who has its rows.
#[derive(Clone)]
pub(super) struct Access {
    relation: Arc<Relation>,
    rows: Arc<dyn Rows>,
}

impl Access {
    pub fn new(relation: Arc<Relation>, rows: Arc<dyn Rows>) -> Access {
        Access { relation, rows }
    }

    /// The columns by name by which the relation's rows can be looked up.
    fn key_names(&self) -> Vec<&str> {
        let stored = self.relation.stored();
        let key = stored
            .as_ref()
            .and_then(|stored| stored.storage.look_up())
            .unwrap_or_default();
        let name = |column: &usize| self.relation.schema.field(*column).name().as_str();
        key.iter().map(name).collect()
    }

    /// The keys that the filters leave, one array per key column; `None` if they leave more than
    /// some.
    fn wanted(&self, filters: &[Expr]) -> Result<Option<Vec<ArrayRef>>> {
        let names = self.key_names();
        if names.is_empty() {
            return Ok(None);
        }
        let parts: Vec<&Expr> = filters.iter().flat_map(split_conjunction).collect();
        let values_of = |name: &str| {
            let column = self.relation.schema.field_with_name(name).ok()?;
            let values = parts.iter().find_map(|part| values(part, name))?;
            values
                .iter()
                .all(|value| value.data_type() == *column.data_type() && !value.is_null())
                .then_some(values)
        };
        let Some(columns) = names.into_iter().map(values_of).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let total = columns
            .iter()
            .try_fold(1usize, |product, values| product.checked_mul(values.len()));
        match total {
            None => Ok(None),
            Some(total) if total == 0 || total > MOST_KEYS => Ok(None),
            Some(total) => combinations(&columns, total).map(Some),
        }
    }
}

/// Every combination of one value per column, as one array per column.
fn combinations(columns: &[Vec<ScalarValue>], total: usize) -> Result<Vec<ArrayRef>> {
    let mut repeat = total;
    let mut arrays = Vec::with_capacity(columns.len());
    for values in columns {
        repeat /= values.len();
        let all = (0..total).map(|row| values[row / repeat % values.len()].clone());
        arrays.push(ScalarValue::iter_to_array(all)?);
    }
    Ok(arrays)
}

/// The values, each once, that a condition leaves to the column.
fn values(condition: &Expr, name: &str) -> Option<Vec<ScalarValue>> {
    let is_column = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == name);
    match condition {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) => match (left.as_ref(), right.as_ref()) {
            (column, Expr::Literal(value, _)) | (Expr::Literal(value, _), column) if is_column(column) => {
                Some(vec![value.clone()])
            }
            _ => None,
        },
        // Few values of IN come as a chain of OR.
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Or,
            right,
        }) => {
            let mut all = values(left, name)?;
            for value in values(right, name)? {
                if !all.contains(&value) {
                    all.push(value);
                }
            }
            Some(all)
        }
        Expr::InList(list) if !list.negated && is_column(&list.expr) => {
            let mut all: Vec<ScalarValue> = Vec::new();
            for item in &list.list {
                match item {
                    Expr::Literal(value, _) if all.contains(value) => {}
                    Expr::Literal(value, _) => all.push(value.clone()),
                    _ => return None,
                }
            }
            Some(all)
        }
        _ => None,
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows of {:?}", self.relation)
    }
}

impl TableProvider for Access {
    fn schema(&self) -> SchemaRef {
        self.relation.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// A condition on a key column helps; DataFusion still checks it.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let names = self.key_names();
        let support = |filter: &&Expr| {
            let helps = |part: &&Expr| names.iter().any(|name| values(part, name).is_some());
            if split_conjunction(filter).iter().any(helps) {
                TableProviderFilterPushDown::Inexact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        };
        Ok(filters.iter().map(support).collect())
    }

    // Written out, as `async_trait` would expand it.
    fn scan<'a, 'b, 'c, 'd, 'f>(
        &'a self,
        _: &'b dyn Session,
        projection: Option<&'c Vec<usize>>,
        filters: &'d [Expr],
        _: Option<usize>,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<dyn ExecutionPlan>>> + Send + 'f>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        'd: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let all = || (0..self.relation.schema.fields().len()).collect();
            let columns: Vec<usize> = projection.cloned().unwrap_or_else(all);
            let exec = AccessExec::new(self.clone(), columns, self.wanted(filters)?)?;
            Ok(Arc::new(exec) as Arc<dyn ExecutionPlan>)
        })
    }
}

/// Reads a relation's columns, whole or by keys.
#[derive(Debug)]
struct AccessExec {
    access: Access,
    columns: Vec<usize>,
    keys: Option<Vec<ArrayRef>>,
    properties: Arc<PlanProperties>,
}

impl AccessExec {
    fn new(access: Access, columns: Vec<usize>, keys: Option<Vec<ArrayRef>>) -> Result<AccessExec> {
        let schema = Arc::new(access.relation.schema.project(&columns)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(AccessExec {
            access,
            columns,
            keys,
            properties: Arc::new(properties),
        })
    }
}

impl DisplayAs for AccessExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let how = if self.keys.is_some() { "by key" } else { "all rows" };
        write!(f, "AccessExec: {} {how}", self.access.relation.name)
    }
}

impl ExecutionPlan for AccessExec {
    fn name(&self) -> &str {
        "AccessExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let at_once = context.session_config().batch_size();
        let mut builder = RecordBatchReceiverStreamBuilder::new(schema.clone(), 2);
        let out = builder.tx();
        let (access, columns, keys) = (self.access.clone(), self.columns.clone(), self.keys.clone());
        builder.spawn_blocking(move || {
            for batch in read(&access, &columns, keys)? {
                let batch = declared(batch.map_err(external)?, &schema)?;
                for start in (0..batch.num_rows()).step_by(at_once) {
                    let part = batch.slice(start, at_once.min(batch.num_rows() - start));
                    if out.blocking_send(Ok(part)).is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        Ok(builder.build())
    }
}

fn read(access: &Access, columns: &[usize], keys: Option<Vec<ArrayRef>>) -> Result<Batches> {
    let Some(keys) = keys else {
        return access.rows.scan(&access.relation, columns).map_err(external);
    };
    let found = access.rows.get(&access.relation, &keys).map_err(external)?;
    let columns = columns.to_vec();
    let project = move |batch: RecordBatch| Ok(batch.project(&columns)?);
    Ok(Box::new(found.into_iter().map(project)))
}

/// A batch under the schema that was announced.
fn declared(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().to_vec();
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The plan with its columns called as in `schema`, where they aren't.
pub(super) fn renamed(plan: Arc<dyn ExecutionPlan>, schema: &SchemaRef) -> Result<Arc<dyn ExecutionPlan>> {
    let now = plan.schema();
    let named = now.fields().iter().zip(schema.fields());
    if named.clone().all(|(now, wanted)| now.name() == wanted.name()) {
        return Ok(plan);
    }
    let column = |(index, (now, wanted)): (usize, (&Arc<arrow::datatypes::Field>, &Arc<arrow::datatypes::Field>))| {
        ProjectionExpr::new(Arc::new(Column::new(now.name(), index)), wanted.name().clone())
    };
    let exprs: Vec<ProjectionExpr> = named.enumerate().map(column).collect();
    Ok(Arc::new(ProjectionExec::try_new(exprs, plan)?))
}
