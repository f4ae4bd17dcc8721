//! Values: rows that stand in the query itself.
//!
//! They come in the first step of all, and never again, in whatever life of the process. That they
//! have come is a fact to be remembered, as state with the epoch: one row without columns.

use weir_state::WriteBatch;

use crate::Result;
use crate::change::{ChangeBatch, record_batch};
use crate::graph::{Node, ValuesSpec};
use crate::operator::arrangement::{Arrangement, Keep};
use crate::operator::{Operator, OperatorStats, Step, TaskContext};
use crate::row::Rows;
use crate::shard::hash_rows;
use crate::table::Keys;

/// One task's part of a [`ValuesSpec`] node. Its rows are task 0's, as is the empty key.
pub struct Values {
    rows: Option<ChangeBatch>,
    given: Arrangement,
}

impl Values {
    /// An operator that gives the rows with the columns of `node.schema`.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn new(spec: &ValuesSpec, node: &Node, context: &TaskContext) -> Result<Self> {
        let columns = spec.rows.columns().to_vec();
        let rows = record_batch(node.schema.clone(), columns, spec.rows.num_rows())?;
        Ok(Self {
            rows: (context.task == 0).then(|| ChangeBatch::inserts(rows)),
            given: Arrangement::open(context, 0, Keep::Ordered, false)?,
        })
    }
}

impl Operator for Values {
    fn step(&mut self, _: &Step, _: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        let Some(rows) = self.rows.take() else {
            return Ok(Vec::new());
        };
        let mut keys = Rows::default();
        keys.push(&[]);
        let slots = self.given.resolve(Keys {
            rows: &keys,
            hashes: &hash_rows(&keys),
            buckets: &[],
        })?;
        if self.given.rows.total(slots[0]) > 0 {
            return Ok(Vec::new());
        }
        self.given.add(slots[0], &[], 1)?;
        Ok(vec![rows])
    }

    fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        self.given.checkpoint(batch)
    }

    fn committed(&mut self) -> Result<()> {
        self.given.committed()
    }

    fn complete(&mut self, entries: usize) -> Result<bool> {
        self.given.complete(entries)
    }

    fn stats(&self) -> OperatorStats {
        let mut stats = OperatorStats::default();
        self.given.count_into(&mut stats);
        stats
    }
}
