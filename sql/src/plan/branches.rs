//! The branches of a UNION, their columns called as the UNION's.
//!
//! A string that stands in a branch takes the type that the column has in another, and has to spell one of it.
//!
//! DataFusion gives a branch these names where it is a projection. It takes them for given as well where
//! it is VALUES, or has an ORDER BY and a LIMIT: if the other branches turn out to be empty, what stands
//! above would ask for columns that nothing has.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Union};
use datafusion::optimizer::AnalyzerRule;
use weir_engine::format::json::value::JSON;

use super::kinds;

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

/// Branches in whose columns a string that stands in the query is a value of the other branches' type.
fn of_one_kind(mut inputs: Vec<Arc<LogicalPlan>>) -> Result<Vec<Arc<LogicalPlan>>> {
    let is_text = |kind: &DataType| kind.is_string() && *kind != JSON;
    let width = inputs.first().map_or(0, |input| input.schema().fields().len());
    for column in 0..width {
        let mut kinds = inputs.iter().filter_map(|input| input.schema().fields().get(column));
        let Some(kind) = kinds
            .find(|field| !is_text(field.data_type()) && !field.data_type().is_null())
            .map(|field| field.data_type().clone())
        else {
            continue;
        };
        for input in &mut inputs {
            let fields = input.schema().fields();
            let LogicalPlan::Projection(projection) = input.as_ref() else {
                continue;
            };
            if fields.get(column).is_some_and(|field| is_text(field.data_type())) {
                let mut exprs = projection.expr.clone();
                exprs[column] = kinds::in_branch(exprs[column].clone(), &kind)?;
                let typed = Projection::try_new(exprs, projection.input.clone())?;
                *input = Arc::new(LogicalPlan::Projection(typed));
            }
        }
    }
    Ok(inputs)
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
    let inputs = of_one_kind(inputs)?;
    let inputs = inputs.into_iter().map(named).collect::<Result<_>>()?;
    Ok(LogicalPlan::Union(Union { inputs, schema }))
}
