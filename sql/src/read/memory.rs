//! The memory that queries may take, and how many rows they move at a time.

use std::fmt;
use std::sync::Arc;

use arrow::array::Array;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::Result;
use crate::plan::scalars::size::LARGEST_COLUMN;

/// Memory that queries share. What sorts and groups more than that goes through temporary files;
/// what can't (the table of a join) fails.
#[derive(Clone)]
pub struct Memory(Arc<RuntimeEnv>);

impl Memory {
    /// Memory of so many bytes.
    ///
    /// # Errors
    /// If the system has no place for temporary files.
    pub fn limited(bytes: usize) -> Result<Memory> {
        let pool = Arc::new(GreedyMemoryPool::new(bytes));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc();
        Ok(Memory(runtime.map_err(super::error)?))
    }

    pub(super) fn runtime(&self) -> Arc<RuntimeEnv> {
        self.0.clone()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({})", self.0.memory_pool)
    }
}

/// Rows that may move together in a query with long constants, each of which is there once for every
/// row; `None` where none is long.
pub(super) fn rows_at_once(plan: &LogicalPlan, usual: usize) -> Option<usize> {
    let mut longest = 0;
    let _ = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Literal(value, _) = expr
                    && (value.data_type().is_nested() || value.data_type().is_string() || value.data_type().is_binary())
                    && let Ok(array) = value.to_array()
                {
                    longest = longest.max(array.get_array_memory_size());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    let fit = LARGEST_COLUMN as usize / longest.max(1);
    (fit < usual).then_some(fit.max(1))
}
