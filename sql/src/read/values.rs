//! VALUES whose columns keep their names when parameters get values.
//!
//! DataFusion makes a VALUES anew then, to find its types, and calls its columns `column1`,
//! `column2`, …. INSERT knows them by the names of the table's columns. So they get those names
//! from a projection above, which stays.

use std::sync::Arc;

use arrow::datatypes::{Field, Fields};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Values};

/// The plan with its VALUES in that form.
pub fn with_own_names(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Values(values) => Ok(Transformed::yes(projected(values)?)),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.data)
}

fn projected(values: Values) -> Result<LogicalPlan> {
    let own = values.schema.clone();
    let plain = |(index, field): (usize, &Arc<Field>)| {
        let name = format!("column{}", index + 1);
        Arc::new(field.as_ref().clone().with_name(name))
    };
    let plain: Fields = own.fields().iter().enumerate().map(plain).collect();
    let plain = DFSchema::from_unqualified_fields(plain, own.metadata().clone())?;
    let columns = plain.columns().into_iter().zip(own.iter());
    let exprs = columns
        .map(|(column, (qualifier, field))| Expr::Column(column).alias_qualified(qualifier.cloned(), field.name()))
        .collect();
    let schema = Arc::new(plain);
    let values = LogicalPlan::Values(Values { schema, ..values });
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(values))?))
}
