//! VALUES with many rows of parameters: one plan that holds them all.
//!
//! Run once for each row, INSERT would plan and commit as often; together they are one statement,
//! of which all rows come or none.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Values};

use super::{ReadPlan, error, fitting, parameter_types};
use crate::Result;

impl ReadPlan {
    /// The plan's VALUES with each of these rows of parameters in turn; `None` where it is more than
    /// VALUES under a projection, so that its rows may depend on each other.
    pub(crate) fn bind_rows(&self, rows: &[Vec<ScalarValue>]) -> Result<Option<ReadPlan>> {
        let LogicalPlan::Projection(projection) = &*self.plan else {
            return Ok(None);
        };
        let LogicalPlan::Values(values) = projection.input.as_ref() else {
            return Ok(None);
        };
        let kinds = parameter_types(&self.plan)?;
        let mut all = Vec::with_capacity(rows.len() * values.values.len());
        for row in rows {
            let row = fitting(&kinds, row.clone())?;
            for exprs in &values.values {
                let exprs = exprs.iter().map(|expr| with_values(expr.clone(), &row));
                all.push(exprs.collect::<Result<Vec<Expr>>>()?);
            }
        }
        let values = LogicalPlan::Values(Values {
            schema: values.schema.clone(),
            values: all,
        });
        let projection = Projection::try_new(projection.expr.clone(), Arc::new(values)).map_err(error)?;
        ReadPlan::new(LogicalPlan::Projection(projection), self.repeated.clone()).map(Some)
    }
}

/// The expression with values for its parameters.
fn with_values(expr: Expr, values: &[ScalarValue]) -> Result<Expr> {
    let value = |id: &str| {
        let number = id.trim_start_matches('$').parse::<usize>().ok()?;
        values.get(number.checked_sub(1)?).cloned()
    };
    let replaced = expr.transform_up(|expr| {
        Ok(match &expr {
            Expr::Placeholder(placeholder) => match value(&placeholder.id) {
                Some(value) => Transformed::yes(Expr::Literal(value, None)),
                None => Transformed::no(expr),
            },
            _ => Transformed::no(expr),
        })
    });
    Ok(replaced.map_err(error)?.data)
}
