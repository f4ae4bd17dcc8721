//! The rows of relations for one statement, from one snapshot.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use weir_engine::pipeline::{Batches, Snapshot};
use weir_engine::relation::RelationId;
use weir_sql::catalog::{Definition, Relation};
use weir_sql::read::{Memory, Rows};
use weir_state::DmlCommit;

use crate::session::Context;
use crate::{Result, system};

/// Relations as one statement sees them.
pub struct SnapshotRows {
    context: Context,
    snapshot: Snapshot,
    /// Tables are shown as of this commit.
    tables_at: DmlCommit,
}

impl SnapshotRows {
    /// For a query that reads `reads`: tables are shown as of the commit at which the epoch of the
    /// views ends that rest on them, so that both agree. Views of several pipelines end at
    /// different commits; then it is the earliest of them.
    pub fn consistent(context: &Context, reads: &[RelationId]) -> Result<SnapshotRows> {
        let engine = context.instance.engine();
        let snapshot = engine.snapshot()?;
        let known = context.instance.known();
        let mut tables_at = snapshot.dml();
        for view in reads {
            let tables = known.tables_below(*view);
            if !tables.contains(view)
                && reads.iter().any(|read| tables.contains(read))
                && let Some(record) = snapshot.pipeline_of(*view)?
            {
                tables_at = tables_at.min(engine.dml_in(*view, &record));
            }
        }
        Ok(SnapshotRows {
            context: context.clone(),
            snapshot,
            tables_at,
        })
    }

    /// For a statement that holds the tables, or is in a transaction: they are shown as they are.
    pub fn present(context: &Context, snapshot: Snapshot) -> SnapshotRows {
        SnapshotRows {
            context: context.clone(),
            tables_at: snapshot.dml(),
            snapshot,
        }
    }
}

impl Rows for SnapshotRows {
    fn scan(&self, relation: &Arc<Relation>, columns: &[usize]) -> weir_sql::Result<Batches> {
        let batches = match &relation.definition {
            Definition::Source(_) => self.context.instance.engine().read_source(relation.id, columns)?,
            Definition::Table(table) => self
                .snapshot
                .scan_table_at(&table.spec.stored(), columns, self.tables_at)?,
            Definition::MaterializedView(view) => self.snapshot.scan(&view.stored(), columns)?,
            Definition::System => {
                let rows = system::rows(&self.context, &self.snapshot, relation)?;
                let rows = rows.project(columns).map_err(weir_engine::Error::from)?;
                Box::new(std::iter::once(Ok(rows)))
            }
            Definition::View(_) | Definition::Sink(_) => return Err(unreadable(relation)),
        };
        Ok(batches)
    }

    fn memory(&self) -> Option<Memory> {
        Some(self.context.instance.memory())
    }

    fn get(&self, relation: &Arc<Relation>, keys: &[ArrayRef]) -> weir_sql::Result<Vec<RecordBatch>> {
        let rows = match &relation.definition {
            Definition::Table(table) => self.snapshot.get_table_at(&table.spec.stored(), keys, self.tables_at)?,
            Definition::MaterializedView(view) => self.snapshot.get(&view.stored(), keys)?,
            _ => return Err(unreadable(relation)),
        };
        Ok(rows)
    }
}

fn unreadable(relation: &Relation) -> weir_sql::Error {
    weir_sql::Error::new(format!("'{}' has no rows of its own", relation.name))
}
