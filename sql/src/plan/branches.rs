//! The branches of a UNION, their columns called as the UNION's.
//!
//! DataFusion gives a branch these names where it is a projection. It takes them for given as well where
//! it is VALUES, or has an ORDER BY and a LIMIT: if the other branches turn out to be empty, what stands
//! above would ask for columns that nothing has.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Union};
use datafusion::optimizer::AnalyzerRule;

/// Names the columns of branches.
#[derive(Debug)]
pub struct NamedBranches;

impl AnalyzerRule for NamedBranches {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Union(union) => named(union).map(Transformed::yes),
            node => Ok(Transformed::no(node)),
        })
        .map(|done| done.data)
    }

    fn name(&self) -> &str {
        "named_branches"
    }
}

fn named(union: Union) -> Result<LogicalPlan> {
    let Union { inputs, schema } = union;
    let named = |input: Arc<LogicalPlan>| {
        let fields = || input.schema().fields().iter().zip(schema.fields());
        if fields().all(|(here, wanted)| here.name() == wanted.name()) {
            return Ok(input);
        }
        let columns = input.schema().columns().into_iter().zip(schema.fields());
        let exprs = columns.map(|(column, wanted)| Expr::Column(column).alias(wanted.name()));
        let exprs = exprs.collect();
        Projection::try_new(exprs, input).map(|projection| Arc::new(LogicalPlan::Projection(projection)))
    };
    let inputs = inputs.into_iter().map(named).collect::<Result<_>>()?;
    Ok(LogicalPlan::Union(Union { inputs, schema }))
}
