//! Queries that end when nobody wants their rows any more, however much they have to do.
//!
//! A query ends between two polls of its stream, and within one a join may compare all rows of one
//! input with a batch of the other and find nothing. So the filters of joins look whether the query
//! is still wanted each time they are evaluated, and what joins give out counts against the budget
//! of tokio's tasks: an aggregate that takes billions of rows from a join yields now and then.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, HashJoinExecBuilder, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
};
use datafusion::physical_plan::unnest::UnnestExec;

use super::Rows;

/// The plan with joins that end once `rows` are not wanted any more.
pub(super) fn interruptible(plan: Arc<dyn ExecutionPlan>, rows: &Arc<dyn Rows>) -> Result<Arc<dyn ExecutionPlan>> {
    let wanted = |filter: &JoinFilter| {
        let expression = WhileWanted {
            expression: filter.expression().clone(),
            rows: rows.clone(),
        };
        let columns = filter.column_indices().to_vec();
        JoinFilter::new(Arc::new(expression), columns, filter.schema().clone())
    };
    plan.transform_up(|node| {
        let join: Arc<dyn ExecutionPlan> = if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            let filter = join.filter().map(wanted);
            Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(filter).build()?)
        } else if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            let filter = join.filter().map(wanted);
            HashJoinExecBuilder::from(join).with_filter(filter).build_exec()?
        } else if node.is::<CrossJoinExec>() || node.is::<UnnestExec>() {
            node
        } else {
            return Ok(Transformed::no(node));
        };
        Ok(Transformed::yes(
            Arc::new(CooperativeExec::new(join)) as Arc<dyn ExecutionPlan>
        ))
    })
    .map(|done| done.data)
}

/// A condition that fails once the rows are not wanted any more.
struct WhileWanted {
    expression: Arc<dyn PhysicalExpr>,
    rows: Arc<dyn Rows>,
}

impl fmt::Debug for WhileWanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt(f)
    }
}

impl fmt::Display for WhileWanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.expression, f)
    }
}

impl PartialEq for WhileWanted {
    fn eq(&self, other: &WhileWanted) -> bool {
        self.expression.eq(&other.expression)
    }
}

impl Eq for WhileWanted {}

impl Hash for WhileWanted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expression.hash(state);
    }
}

impl PhysicalExpr for WhileWanted {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.expression.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.expression.nullable(schema)
    }

    fn evaluate(&self, rows: &RecordBatch) -> Result<ColumnarValue> {
        match self.rows.are_wanted() {
            true => self.expression.evaluate(rows),
            false => exec_err!("nobody wants the rows of the query any more"),
        }
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.expression]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(WhileWanted {
            expression: children.remove(0),
            rows: self.rows.clone(),
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt_sql(f)
    }
}
