//! What a view's result leaves in the store: rows for reads, and a changelog for followers.
//!
//! Between checkpoints the changes are only collected. A checkpoint sums them up and writes what
//! is left: a row per key, a count per row, or, for append-only results, whole chunks.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use weir_state::changelog::{self, Part};
use weir_state::{Epoch, Keyspace, Reader, RelationId, WriteBatch, keys};

use crate::change::{self, ChangeBatch, Weights};
use crate::relation::{Storage, StoredRelation, ViewSpec};
use crate::row::RowCodec;
use crate::{Error, Result};

/// Rows of one chunk in a changelog or an append-only view at most.
const CHUNK_ROWS: usize = 16_384;

/// Writes rows of a stored relation: views here, tables in [`super::tables`].
pub struct RowWriter {
    relation: RelationId,
    name: String,
    storage: Storage,
    /// The columns in the order in which a row is stored.
    order: Vec<usize>,
    row: RowCodec,
    key: Option<(Vec<usize>, RowCodec)>,
}

impl RowWriter {
    /// A writer for rows of `schema`.
    pub fn new(relation: RelationId, name: &str, storage: &Storage, schema: &SchemaRef) -> Result<RowWriter> {
        let key = match storage {
            Storage::Keyed(columns) => Some((columns.clone(), key_codec(schema, columns)?)),
            _ => None,
        };
        let order = storage.order(schema.fields().len());
        let row = key_codec(schema, &order)?;
        Ok(RowWriter {
            relation,
            name: name.to_string(),
            storage: storage.clone(),
            order,
            row,
            key,
        })
    }

    /// Writes consolidated changes: rows of a key that go into `deletes`, all else into `rows`,
    /// which is to be committed behind it. `chunk` numbers the chunks of append-only views.
    pub fn write(
        &self,
        changes: &ChangeBatch,
        epoch: Epoch,
        chunk: &mut u32,
        deletes: &mut WriteBatch,
        rows: &mut WriteBatch,
    ) -> Result<()> {
        match &self.storage {
            Storage::Changes => Ok(()),
            Storage::Append => self.write_chunks(changes, epoch, chunk, rows),
            Storage::Bag | Storage::By(_) => self.write_counts(changes, rows),
            Storage::Keyed(_) => self.write_keyed(changes, deletes, rows),
        }
    }

    fn write_chunks(&self, changes: &ChangeBatch, epoch: Epoch, chunk: &mut u32, batch: &mut WriteBatch) -> Result<()> {
        if !changes.is_append_only() {
            return Err(self.broken("an append-only view deletes"));
        }
        for_chunks(changes, |part| {
            let mut key = epoch.0.to_be_bytes().to_vec();
            key.extend(chunk.to_be_bytes());
            *chunk += 1;
            batch.put(
                Keyspace::View,
                &keys::view_key(self.relation, &key),
                &change::to_bytes(&[part])?,
            );
            Ok(())
        })
    }

    fn write_counts(&self, changes: &ChangeBatch, batch: &mut WriteBatch) -> Result<()> {
        let columns: Vec<_> = self
            .order
            .iter()
            .map(|column| changes.column(*column).clone())
            .collect();
        let rows = self.row.encode(&columns, changes.num_rows())?;
        for index in 0..changes.num_rows() {
            batch.add(
                Keyspace::View,
                &keys::view_key(self.relation, rows.row(index)),
                changes.weight(index),
            );
        }
        Ok(())
    }

    fn write_keyed(&self, changes: &ChangeBatch, deletes: &mut WriteBatch, puts: &mut WriteBatch) -> Result<()> {
        let Some((columns, codec)) = &self.key else {
            return Err(self.broken("no key"));
        };
        let count = changes.num_rows();
        let key_columns: Vec<_> = columns.iter().map(|c| changes.column(*c).clone()).collect();
        let keys = codec.encode(&key_columns, count)?;
        let rows = self.row.encode(changes.rows().columns(), count)?;
        for index in (0..count).filter(|i| changes.weight(*i) < 0) {
            deletes.delete(Keyspace::View, &keys::view_key(self.relation, keys.row(index)));
        }
        for index in (0..count).filter(|i| changes.weight(*i) > 0) {
            if changes.weight(index) != 1 {
                return Err(self.broken("two rows have the same key"));
            }
            puts.put(
                Keyspace::View,
                &keys::view_key(self.relation, keys.row(index)),
                rows.row(index),
            );
        }
        Ok(())
    }

    fn broken(&self, what: &str) -> Error {
        Error::Internal(format!("view '{}': {what}", self.name))
    }
}

/// The codec of some columns of a relation.
pub fn key_codec(schema: &SchemaRef, columns: &[usize]) -> Result<RowCodec> {
    let types: Vec<_> = columns.iter().map(|c| schema.field(*c).data_type().clone()).collect();
    RowCodec::for_types(&types)
}

fn for_chunks(changes: &ChangeBatch, mut write: impl FnMut(ChangeBatch) -> Result<()>) -> Result<()> {
    let mut offset = 0;
    while offset < changes.num_rows() {
        let rows = CHUNK_ROWS.min(changes.num_rows() - offset);
        write(changes.slice(offset, rows))?;
        offset += rows;
    }
    Ok(())
}

/// One task's part of a view's result.
pub struct ViewOutput {
    schema: SchemaRef,
    writer: Arc<RowWriter>,
    storage: Storage,
    relation: RelationId,
    append_only: bool,
    collected: Vec<ChangeBatch>,
    rows: usize,
    task: usize,
    logged_bytes: u64,
}

impl ViewOutput {
    /// The output of `spec` in task `task`.
    pub fn new(spec: &ViewSpec, schema: SchemaRef, task: usize) -> Result<ViewOutput> {
        let writer = RowWriter::new(spec.relation, &spec.name, &spec.storage, &schema)?;
        Ok(ViewOutput {
            schema,
            writer: Arc::new(writer),
            storage: spec.storage.clone(),
            relation: spec.relation,
            append_only: spec.graph.output().append_only,
            collected: Vec::new(),
            rows: 0,
            task,
            logged_bytes: 0,
        })
    }

    /// Collects changes of a step.
    pub fn extend(&mut self, changes: &[ChangeBatch]) {
        self.rows += changes.iter().map(ChangeBatch::num_rows).sum::<usize>();
        self.collected.extend_from_slice(changes);
    }

    /// Rows collected since the last checkpoint.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that went into the changelog since this was last asked.
    pub fn take_logged_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.logged_bytes)
    }

    /// Writes the collected changes as [`RowWriter::write`] does; also to the changelog where
    /// `logged`. Returns them, summed up, where `wanted`.
    pub fn write(
        &mut self,
        epoch: Epoch,
        logged: bool,
        wanted: bool,
        deletes: &mut WriteBatch,
        rows: &mut WriteBatch,
    ) -> Result<Option<Vec<ChangeBatch>>> {
        self.rows = 0;
        let collected = std::mem::take(&mut self.collected);
        if collected.is_empty() || (self.storage == Storage::Changes && !logged && !wanted) {
            return Ok(None);
        }
        let summed = if self.append_only {
            collected
        } else {
            vec![change::consolidate(&collected)?]
        };
        // Chunks of several tasks must not meet: each task has a range of numbers of its own.
        let mut chunk = (self.task as u32) << 24;
        let mut seq = chunk;
        for changes in summed.iter().filter(|changes| !changes.is_empty()) {
            let changes = changes
                .clone()
                .with_rows(changes.rows().clone().with_schema(self.schema.clone())?);
            self.writer.write(&changes, epoch, &mut chunk, deletes, rows)?;
            if logged {
                for_chunks(&changes, |part| {
                    let bytes = change::to_bytes(&[part])?;
                    self.logged_bytes += bytes.len() as u64;
                    changelog::append(deletes, self.relation, epoch, seq, &bytes);
                    seq += 1;
                    Ok(())
                })?;
            }
        }
        Ok(wanted.then_some(summed))
    }
}

/// The changes of a relation's epochs after `after` up to and including `upto`, from its changelog.
pub fn read_changes(
    store: &dyn Reader,
    relation: &StoredRelation,
    after: Epoch,
    upto: Epoch,
) -> Result<Vec<ChangeBatch>> {
    let mut changes = Vec::new();
    for entry in changelog::read(store, relation.relation, after, upto)? {
        changes.extend(change::from_bytes(&entry?.2, &relation.schema)?);
    }
    Ok(changes)
}

/// The changes of whole epochs after `after`: all up to `upto`, or fewer where they have at least so
/// many `rows`; never up to an epoch that mixes two moments. Also where they end.
pub fn some_epochs(
    store: &dyn Reader,
    relation: &StoredRelation,
    after: Epoch,
    upto: Epoch,
    rows: usize,
) -> Result<(Epoch, Vec<ChangeBatch>)> {
    let mut changes = Vec::new();
    let mut found = 0;
    let (mut of_epoch, mut epoch, mut is_mixed) = (Vec::new(), after, false);
    for part in changelog::read_parts(store, relation.relation, after, upto)? {
        let (next, _, part) = part?;
        if next != epoch {
            changes.extend(change::deletes_first(std::mem::take(&mut of_epoch))?);
            if found >= rows && !is_mixed {
                return Ok((epoch, changes));
            }
            (epoch, is_mixed) = (next, false);
        }
        match part {
            Part::Mixed => is_mixed = true,
            Part::Chunk(bytes) => {
                let batches = change::from_bytes(&bytes, &relation.schema)?;
                found += batches.iter().map(ChangeBatch::num_rows).sum::<usize>();
                of_epoch.extend(batches);
            }
        }
    }
    changes.extend(change::deletes_first(of_epoch)?);
    Ok((upto, changes))
}

/// Sum of the weights' absolute values: rows inserted and deleted.
pub fn moved_rows(changes: &ChangeBatch) -> u64 {
    match changes.weights() {
        Weights::Ones => changes.num_rows() as u64,
        Weights::Each(each) => each.iter().map(|weight| weight.unsigned_abs()).sum(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use weir_state::{MemoryStore, Store};

    use super::*;
    use crate::relation::Storage;

    /// A changelog of epochs 2, 4, … with two rows each; 4 and 6 are mixed.
    fn log() -> (MemoryStore, StoredRelation) {
        let relation = StoredRelation {
            relation: RelationId(7),
            schema: Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)])),
            storage: Storage::Bag,
        };
        let store = MemoryStore::new();
        let mut batch = WriteBatch::new();
        for epoch in [2, 4, 6, 8, 10] {
            let rows = Arc::new(Int64Array::from(vec![epoch, epoch + 1]));
            let rows = RecordBatch::try_new(relation.schema.clone(), vec![rows]).unwrap();
            let bytes = change::to_bytes(&[ChangeBatch::inserts(rows)]).unwrap();
            changelog::append(&mut batch, relation.relation, Epoch(epoch as u64), 0, &bytes);
            if [4, 6].contains(&epoch) {
                changelog::mark_mixed(&mut batch, relation.relation, Epoch(epoch as u64));
            }
        }
        store.commit(batch).unwrap();
        (store, relation)
    }

    #[test]
    fn a_delivery_ends_at_an_epoch_that_was_right() {
        let (store, relation) = log();
        let part = |after: u64, rows: usize| {
            let (reached, changes) = some_epochs(&store, &relation, Epoch(after), Epoch(11), rows).unwrap();
            (reached.0, changes.iter().map(ChangeBatch::num_rows).sum::<usize>())
        };
        assert_eq!(part(0, 1), (2, 2));
        // 4 and 6 mix two moments: what came in them goes with 8.
        assert_eq!(part(0, 3), (8, 8));
        assert_eq!(part(2, 1), (8, 6));
        assert_eq!(part(8, 1), (11, 2));
        assert_eq!(part(8, 100), (11, 2));
        assert_eq!(part(10, 1), (11, 0));
    }
}
