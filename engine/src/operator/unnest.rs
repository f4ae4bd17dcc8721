//! Unnest: a row for each element of a row's lists.
//!
//! Several lists stand side by side, the shorter ones followed by NULLs. A row without elements
//! gives no row, or one of NULLs. Nothing is kept: a row that is deleted takes the same rows away.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, Field, SchemaRef};

use crate::change::{ChangeBatch, Weights, record_batch};
use crate::graph::{Node, UnnestSpec, Unnested};
use crate::operator::{Operator, Step};
use crate::{Error, Result};

/// One task's part of an [`UnnestSpec`] node.
pub struct Unnest {
    spec: UnnestSpec,
    schema: SchemaRef,
}

impl Unnest {
    /// An operator whose output has the columns of `node.schema`.
    pub fn new(spec: &UnnestSpec, node: &Node) -> Self {
        Self {
            spec: spec.clone(),
            schema: node.schema.clone(),
        }
    }

    fn unnested(&self, batch: &ChangeBatch) -> Result<ChangeBatch> {
        let lists = self.spec.lists.iter().map(|column| list(batch.column(*column)));
        let lists = lists.collect::<Result<Vec<_>>>()?;
        let least = u32::from(self.spec.keeps_empty);
        let mut rows = Vec::new();
        let mut elements: Vec<Vec<Option<u32>>> = vec![Vec::new(); lists.len()];
        for row in 0..batch.num_rows() {
            let longest = lists.iter().map(|list| length(list, row)).max().unwrap_or(0).max(least);
            rows.extend(std::iter::repeat_n(row as u32, longest as usize));
            for (list, elements) in lists.iter().zip(&mut elements) {
                let (begin, length) = (list.value_offsets()[row] as u32, length(list, row));
                elements.extend((0..longest).map(|nth| (nth < length).then_some(begin + nth)));
            }
        }
        let weights = rows.iter().map(|row| batch.weight(*row as usize)).collect();
        let rows = UInt32Array::from(rows);
        let columns = self.spec.outputs.iter().map(|output| match output {
            Unnested::Column(column) => compute::take(batch.column(*column), &rows, None),
            Unnested::Element(nth) => {
                let elements = UInt32Array::from(elements[*nth].clone());
                compute::take(lists[*nth].values(), &elements, None)
            }
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
        let columns = record_batch(self.schema.clone(), columns, rows.len())?;
        Ok(ChangeBatch::new(columns, Weights::Each(weights)))
    }
}

/// A list column as one of the usual form.
fn list(column: &ArrayRef) -> Result<ListArray> {
    match column.data_type() {
        DataType::List(_) => Ok(column.as_list::<i32>().clone()),
        DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            let element: Arc<Field> = element.clone();
            let list = compute::cast(column, &DataType::List(element))?;
            Ok(list.as_list::<i32>().clone())
        }
        other => Err(Error::internal(format!("UNNEST of {other}, which is no list"))),
    }
}

/// How many elements a row's list has; none if it is NULL.
fn length(list: &ListArray, row: usize) -> u32 {
    match list.is_null(row) {
        true => 0,
        false => list.value_length(row) as u32,
    }
}

impl Operator for Unnest {
    fn step(&mut self, _: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        let batches = inputs.iter().flatten().filter(|batch| !batch.is_empty());
        batches.map(|batch| self.unnested(batch)).collect()
    }
}
