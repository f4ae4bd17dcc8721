//! Repeat: rows as often as one of their columns says, for INTERSECT ALL and EXCEPT ALL.
//!
//! How often a row is there is its weight, so nothing is copied: its weight is multiplied.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, SchemaRef};

use crate::change::{ChangeBatch, Weights, record_batch};
use crate::graph::{Node, RepeatSpec};
use crate::operator::{Operator, Step};
use crate::{Error, Result};

/// One task's part of a [`RepeatSpec`] node.
pub struct Repeat {
    times: usize,
    schema: SchemaRef,
}

impl Repeat {
    /// An operator whose output has the columns of `node.schema`.
    pub fn new(spec: &RepeatSpec, node: &Node) -> Self {
        Self {
            times: spec.times,
            schema: node.schema.clone(),
        }
    }

    fn repeated(&self, batch: &ChangeBatch) -> Result<ChangeBatch> {
        let times = batch
            .column(self.times)
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(|| Error::internal("rows are repeated by a column that is no BIGINT"))?;
        let weight = |row: usize| match times.is_valid(row) {
            true => batch.weight(row).checked_mul(times.value(row).max(0)),
            false => Some(0),
        };
        let weights: Option<Vec<i64>> = (0..batch.num_rows()).map(weight).collect();
        let weights = weights.ok_or_else(|| Error::Data("a row is repeated more than 2^63 times".to_string()))?;
        let mut columns = batch.rows().columns().to_vec();
        columns.remove(self.times);
        let rows = record_batch(self.schema.clone(), columns, batch.num_rows())?;
        Ok(ChangeBatch::new(rows, Weights::Each(weights.into())))
    }
}

impl Operator for Repeat {
    fn step(&mut self, _: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        let batches = inputs.into_iter().flatten().filter(|batch| !batch.is_empty());
        batches.map(|batch| self.repeated(&batch)).collect()
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::graph::NodeKind;
    use crate::operator::trial::{Bag, Domain, Subject, input, node};

    #[test]
    fn weights_are_multiplied() {
        let types = [DataType::Int64, DataType::Int64];
        let subject = Subject {
            node: node(NodeKind::Repeat(RepeatSpec { times: 1 }), &types[..1], false),
            inputs: vec![input(&types, false)],
            keys: vec![vec![0]],
            domains: vec![Domain::new(&[4, 4], true)],
            entry_budget: None,
        };
        let rows = [
            (vec![Some(1), Some(3)], 1),
            (vec![Some(1), Some(2)], -1),
            (vec![Some(2), Some(2)], 2),
            (vec![Some(3), None], 1),
            (vec![Some(4), Some(-1)], 1),
            (vec![Some(5), Some(0)], 1),
        ];
        let mut operator = subject.operator();
        let output = subject.step(&mut *operator, 0, &[&rows]).unwrap();
        assert_eq!(output, Bag::from([(vec![Some(1)], 1), (vec![Some(2)], 4)]));
    }
}
