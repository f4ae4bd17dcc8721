//! `(a, b) IN (SELECT x, y …)`: whether a row is among others.
//!
//! It is if all values are equal to those of one of them; it isn't if each of them has a value that is another;
//! and it is unknown otherwise, that is if a NULL leaves it open for one of them.

use std::sync::Arc;

use datafusion::common::{Column, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, lit, not, when};

use super::{Outer, VALUE, having, one_row, unless_known};
use crate::plan::row_values::ROW;

/// A row that is looked for, and the query of those that there are.
pub struct RowIn {
    values: Vec<Expr>,
    rows: Arc<LogicalPlan>,
}

/// What `x IN (rows)` is about, if x is a row.
pub fn of(x: &Expr, rows: &LogicalPlan) -> Option<RowIn> {
    let (Expr::ScalarFunction(call), LogicalPlan::Projection(list)) = (x, rows) else {
        return None;
    };
    let rows = match list.input.as_ref() {
        LogicalPlan::SubqueryAlias(alias) => &alias.input,
        _ => &list.input,
    };
    (call.func.name() == ROW).then(|| RowIn {
        values: call.args.clone(),
        rows: rows.clone(),
    })
}

impl RowIn {
    /// The rows for which something holds of their columns. These get names of their own, since a column
    /// outside may be called alike.
    fn filtered(&self, predicate: impl FnOnce(Vec<Expr>) -> Expr) -> Result<Arc<LogicalPlan>> {
        let name = |place: usize| format!("{VALUE}_{place}");
        let columns = self.rows.schema().columns().into_iter().enumerate();
        let named = columns.map(|(place, column)| Expr::Column(column).alias(name(place)));
        let plan = LogicalPlanBuilder::from(self.rows.as_ref().clone()).project(named.collect::<Vec<_>>())?;
        let columns = (0..self.values.len()).map(|place| Expr::Column(Column::from_name(name(place))));
        Ok(Arc::new(plan.filter(predicate(columns.collect()))?.build()?))
    }
}

fn equal(values: &[Expr], columns: Vec<Expr>) -> Expr {
    let pairs = values.iter().cloned().zip(columns);
    conjunction(pairs.map(|(value, column)| value.eq(column))).unwrap_or_else(|| lit(true))
}

impl Outer<'_> {
    /// A condition of its own, for which false and unknown are the same.
    pub fn row_member(&self, row: RowIn, negated: bool) -> Result<Expr> {
        if let Some(found) = self.row_of_aggregate(&row)? {
            return Ok(if negated { not(found) } else { found });
        }
        let found = self.row_found(&row)?;
        if !negated {
            return Ok(found);
        }
        let open = self.row_open(&row)?.map(not);
        Ok(conjunction([not(found)].into_iter().chain(open)).unwrap_or_else(|| lit(true)))
    }

    /// True, false or NULL.
    pub fn row_value(&self, row: RowIn) -> Result<Expr> {
        if let Some(found) = self.row_of_aggregate(&row)? {
            return Ok(found);
        }
        let found = self.row_found(&row)?;
        match self.row_open(&row)? {
            None => Ok(found),
            Some(open) => unless_known(found, open),
        }
    }

    fn row_found(&self, row: &RowIn) -> Result<Expr> {
        let seen = self.row_seen(row)?;
        self.exists(&row.filtered(|columns| equal(&seen, columns))?)
    }

    /// Whether a NULL leaves it open; `None` where there is none.
    fn row_open(&self, row: &RowIn) -> Result<Option<Expr>> {
        let seen = self.row_seen(row)?;
        let mut sure = Vec::with_capacity(seen.len());
        for (value, field) in row.values.iter().zip(row.rows.schema().fields()) {
            sure.push(!value.nullable(self.schema().as_ref())? && !field.is_nullable());
        }
        if !sure.contains(&false) {
            return Ok(None);
        }
        // What is never NULL is equal then, and makes the join one by a key.
        let open = row.filtered(|columns| {
            let pairs = seen.iter().cloned().zip(columns).zip(&sure);
            let pairs: Vec<(Expr, bool)> = pairs.map(|((value, column), sure)| (value.eq(column), *sure)).collect();
            let some = |wanted: bool| {
                let some = pairs.iter().filter(move |(_, sure)| *sure == wanted);
                conjunction(some.map(|(equal, _)| equal.clone()))
            };
            let unknown = some(false).map(Expr::is_null);
            conjunction(some(true).into_iter().chain(unknown)).unwrap_or_else(|| lit(false))
        })?;
        self.exists(&open).map(Some)
    }

    fn row_seen(&self, row: &RowIn) -> Result<Vec<Expr>> {
        row.values.iter().map(|value| self.outer(value)).collect()
    }

    /// Where the query is an aggregate without GROUP BY, with or without HAVING: its one row is compared.
    fn row_of_aggregate(&self, row: &RowIn) -> Result<Option<Expr>> {
        let compared = |rows: &LogicalPlan| -> Result<Expr> {
            let columns = rows.schema().columns().into_iter().map(|column| {
                let column = LogicalPlanBuilder::from(rows.clone()).project([Expr::Column(column)])?;
                self.scalar(column.build()?)
            });
            Ok(equal(&row.values, columns.collect::<Result<Vec<_>>>()?))
        };
        if one_row(&row.rows) {
            return compared(&row.rows).map(Some);
        }
        let Some((condition, rows)) = having(&row.rows)? else {
            return Ok(None);
        };
        when(self.holds(condition)?, compared(&rows)?)
            .otherwise(lit(false))
            .map(Some)
    }
}
