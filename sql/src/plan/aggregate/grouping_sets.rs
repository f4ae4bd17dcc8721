//! GROUPING SETS, CUBE and ROLLUP: a grouping for each set, all of them together.
//!
//! A set's rows have NULL in the columns that it doesn't group by, and its number in a hidden column:
//! a bit for each such column, from which GROUPING() tells them from NULLs of the data. The grand
//! total `()` is a grouping by nothing, which has a row of nothing too.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::utils::powerset;
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet};

use super::{Builder, Built};
use crate::plan::errors;
use crate::{Error, Result};

impl Builder {
    pub(super) fn grouping_sets(&mut self, aggregate: &Aggregate, sets: &GroupingSet) -> Result<Built> {
        let columns = sets.distinct_expr();
        let sets = listed(sets)?;
        let mut parts = Vec::with_capacity(sets.len());
        for (number, set) in sets.iter().enumerate() {
            let rolled_up = |set: &[&Expr]| columns.iter().map(|column| !set.contains(column)).collect::<Vec<_>>();
            let mask = rolled_up(set);
            // The same set may be asked for twice: then its rows come twice.
            let same = sets[..number].iter().filter(|other| rolled_up(other) == mask).count();
            parts.push(self.grouping_set(aggregate, &columns, &mask, same)?);
        }
        self.union_of(parts, aggregate.schema.as_ref())
    }

    /// The rows of one set; `mask` says which columns it has rolled up.
    fn grouping_set(&mut self, aggregate: &Aggregate, columns: &[&Expr], mask: &[bool], same: usize) -> Result<Built> {
        let keys: Vec<Expr> = columns
            .iter()
            .zip(mask)
            .filter(|(_, rolled_up)| !**rolled_up)
            .map(|(column, _)| (*column).clone())
            .collect();
        let mut calls = aggregate.aggr_expr.clone();
        if keys.is_empty() && calls.is_empty() {
            // There is no grouping by nothing for nothing.
            calls.push(datafusion::functions_aggregate::count::count_all());
        }
        let grouping = Aggregate::try_new(aggregate.input.clone(), keys, calls).map_err(errors::translate)?;
        let built = self.aggregate(&grouping)?;
        let given: Vec<Expr> = grouping.schema.columns().into_iter().map(Expr::Column).collect();
        let (keys, calls) = given.split_at(mask.iter().filter(|rolled_up| !**rolled_up).count());
        let mut keys = keys.iter();
        let mut exprs = Vec::with_capacity(aggregate.schema.fields().len());
        for (place, rolled_up) in mask.iter().enumerate() {
            let null = || ScalarValue::try_from(aggregate.schema.field(place).data_type());
            exprs.push(match rolled_up {
                true => Expr::Literal(null().map_err(errors::translate)?, None),
                false => keys
                    .next()
                    .ok_or_else(|| Error::new("a grouping set lacks a column"))?
                    .clone(),
            });
        }
        exprs.push(Expr::Literal(
            identity(mask, same, aggregate.schema.field(mask.len()).data_type())?,
            None,
        ));
        exprs.extend(calls[..aggregate.aggr_expr.len()].iter().cloned());
        self.map(built, None, &exprs, aggregate.schema.as_ref())
    }
}

/// The sets, each with its expressions.
fn listed(sets: &GroupingSet) -> Result<Vec<Vec<&Expr>>> {
    Ok(match sets {
        GroupingSet::GroupingSets(sets) => sets.iter().map(|set| set.iter().collect()).collect(),
        GroupingSet::Cube(exprs) => powerset(exprs).map_err(errors::translate)?,
        GroupingSet::Rollup(exprs) => (0..=exprs.len())
            .rev()
            .map(|many| exprs[..many].iter().collect())
            .collect(),
    })
}

/// A set's number, as [`Aggregate::INTERNAL_GROUPING_ID`] has it: a bit for each column, the last
/// one's the lowest, and above them how many equal sets come before it.
fn identity(mask: &[bool], same: usize, kind: &DataType) -> Result<ScalarValue> {
    let bits = mask
        .iter()
        .fold(0u64, |bits, rolled_up| bits << 1 | u64::from(*rolled_up));
    let number = bits | (same as u64).checked_shl(mask.len() as u32).unwrap_or_default();
    ScalarValue::UInt64(Some(number))
        .cast_to(kind)
        .map_err(errors::translate)
}
