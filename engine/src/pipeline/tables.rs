//! Tables: rows changed by DML, and the log of DML commits that pipelines read.
//!
//! All tables of an engine share one log, so that a transaction over several of them is one change
//! to everyone. A commit is durable when it returns; pipelines take it in at their next step.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::MutexGuard;
use weir_state::{DmlCommit, Epoch, RelationId, Store, WriteBatch, dml};

use super::output::RowWriter;
use super::shared::Shared;
use super::snapshot::Snapshot;
use crate::change::{self, ChangeBatch};
use crate::float;
use crate::relation::{Storage, StoredRelation, TableSpec};
use crate::{Error, Result};

impl TableSpec {
    /// How its rows are read.
    pub fn stored(&self) -> StoredRelation {
        let storage = if self.key.is_empty() {
            Storage::Bag
        } else {
            Storage::Keyed(self.key.clone())
        };
        StoredRelation {
            relation: self.relation,
            schema: self.schema.clone(),
            storage,
        }
    }
}

/// A DML statement's hold on the tables: no other commits until it is dropped, so that what was
/// checked (keys, conditions) still holds when it commits.
pub struct TableWrite<'a> {
    pub(super) _lock: MutexGuard<'a, ()>,
    pub(super) store: Arc<dyn Store>,
    pub(super) tables: HashMap<RelationId, Arc<TableSpec>>,
    pub(super) shared: &'a Shared,
}

impl TableWrite<'_> {
    /// The tables as the statement sees them.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::new(self.store.snapshot())
    }

    /// The last commit that changed a table since the engine was opened.
    pub fn last_change(&self, table: RelationId) -> DmlCommit {
        let last = self.shared.table_changes.lock().get(&table).copied();
        last.unwrap_or(DmlCommit::ZERO)
    }

    /// Makes the changes durable as one commit. Without any change the last commit is returned.
    pub fn commit(self, changes: &[(RelationId, ChangeBatch)]) -> Result<DmlCommit> {
        let (commit, changed) = write(&self.store, &self.tables, changes)?;
        if changed.is_empty() {
            return Ok(commit);
        }
        let changed = changed.into_iter().map(|relation| (relation, commit));
        self.shared.table_changes.lock().extend(changed);
        self.shared.publication.publish_dml(commit);
        self.shared.ring_all();
        Ok(commit)
    }
}

/// Makes changes of tables durable as one commit; says which tables it has changed. Without any change
/// it is the last commit.
pub fn write(
    store: &Arc<dyn Store>,
    tables: &HashMap<RelationId, Arc<TableSpec>>,
    changes: &[(RelationId, ChangeBatch)],
) -> Result<(DmlCommit, Vec<RelationId>)> {
    let last = dml::last(store.as_ref())?;
    let commit = last.next();
    let (mut batch, mut present) = (WriteBatch::new(), WriteBatch::new());
    let mut changed = Vec::new();
    for (seq, (relation, rows)) in changes.iter().enumerate() {
        let spec = tables
            .get(relation)
            .ok_or_else(|| Error::internal("a write to an unknown table"))?;
        if rows.is_empty() {
            continue;
        }
        let rows = change::consolidate(&[float::one_form_of_changes(rows.clone())?])?;
        let stored = spec.stored();
        let writer = RowWriter::new(*relation, &spec.name, &stored.storage, &stored.schema)?;
        writer.write(&rows, Epoch(commit.0), &mut 0, &mut batch, &mut present)?;
        dml::append(&mut batch, commit, *relation, seq as u32, &change::to_bytes(&[rows])?);
        changed.push(*relation);
    }
    if changed.is_empty() {
        return Ok((last, changed));
    }
    batch.append(present);
    store.commit(batch)?;
    Ok((commit, changed))
}
