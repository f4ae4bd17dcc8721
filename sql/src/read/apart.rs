//! Unions and grouping sets of which DataFusion would make something else.
//!
//! DataFusion moves a sort above a union into its inputs. There it leaves out columns that are
//! constant in an input, and then refuses its own plan: the union's rows are not in the order that
//! is asked for, since the column is another constant in the other input. [`Unions`] puts a node
//! above each union that passes rows on and promises no order, so that the sort stays where it is.
//!
//! The rows of grouping sets come set by set as well, and there DataFusion promises the order that each set has. A
//! grouping above, which takes equal rows to be beside each other, gives some of them twice.
//!
//! In a recursion it numbers the rows of a `UNION` and takes for new those with a higher number than all before
//! them. But rows whose hashes are equal, as those of a NULL and of an array without elements are, it numbers after
//! the others of their batch, and those in between are left out. So rows with arrays come to it one by one.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, SplitMetrics};
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::stream::BatchSplitStream;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};

/// Puts that node above each union and above grouping sets, and below each `UNION` of a recursion.
#[derive(Debug)]
pub struct Unions;

impl PhysicalOptimizerRule for Unions {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if comes_in_sets(node.as_ref()) {
                return Ok(Transformed::yes(Apart::above(node, false)));
            }
            if !is_union_of_arrays(node.as_ref()) {
                return Ok(Transformed::no(node));
            }
            let terms = node.children().into_iter();
            let terms = terms.map(|term| Apart::above(term.clone(), true)).collect();
            let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            node.replace_children(terms, options).map(Transformed::yes)
        })
        .map(|done| done.data)
    }

    fn name(&self) -> &str {
        "unions_apart"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn comes_in_sets(node: &dyn ExecutionPlan) -> bool {
    let aggregate = node.downcast_ref::<AggregateExec>();
    node.is::<UnionExec>() || aggregate.is_some_and(|aggregate| !aggregate.group_expr().is_single())
}

/// Whether it is a recursion that keeps each row once, and rows may have equal hashes.
fn is_union_of_arrays(node: &dyn ExecutionPlan) -> bool {
    let recursion = node.downcast_ref::<RecursiveQueryExec>();
    let schema = node.schema();
    recursion.is_some_and(RecursiveQueryExec::is_distinct)
        && schema.fields().iter().any(|field| field.data_type().is_nested())
}

/// Passes rows on and says nothing of their order.
#[derive(Debug)]
struct Apart {
    input: Arc<dyn ExecutionPlan>,
    /// Each row is a batch.
    one_by_one: bool,
    properties: Arc<PlanProperties>,
}

impl Apart {
    fn above(input: Arc<dyn ExecutionPlan>, one_by_one: bool) -> Arc<dyn ExecutionPlan> {
        let below = input.properties();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            below.partitioning.clone(),
            below.emission_type,
            below.boundedness,
        );
        Arc::new(Apart {
            input,
            one_by_one,
            properties: Arc::new(properties),
        })
    }
}

impl DisplayAs for Apart {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Apart")
    }
}

impl ExecutionPlan for Apart {
    fn name(&self) -> &str {
        "Apart"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Apart::above(input, self.one_by_one)),
            Err(children) => datafusion::common::internal_err!("{} inputs of one", children.len()),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        if !self.one_by_one {
            return Ok(rows);
        }
        let metrics = SplitMetrics::new(&ExecutionPlanMetricsSet::new(), partition);
        Ok(Box::pin(BatchSplitStream::new(rows, 1, metrics)))
    }
}
