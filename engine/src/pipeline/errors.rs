//! `weir.errors`: records and rows that were passed over, the last ones of each source and view.
//!
//! They are stored in chunks of one source or view and epoch. The number of rows is the end of a chunk's
//! key, so that what is too much can be told without reading it: `relation | epoch | pipeline | count`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use weir_state::pipelines::PipelineRecord;
use weir_state::{Keyspace, Reader, RelationId, WriteBatch, keys};

use super::snapshot::Snapshot;
use crate::change::{self, ChangeBatch};
use crate::error::{BadRecord, BadRow, RecordPlace};
use crate::relation::{Storage, StoredRelation};
use crate::{Error, Result};

/// The relation under which they are kept.
const ERRORS: RelationId = RelationId(u32::MAX - 1);
/// Rows of a source or view that are kept.
const KEPT: usize = 10_000;
/// Columns that chunks had before views passed rows over.
const FIRST_COLUMNS: usize = 7;

/// `weir.errors` as a relation.
pub fn errors_relation() -> StoredRelation {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let columns = [
        ("source", DataType::Utf8),
        ("topic", DataType::Utf8),
        ("partition", DataType::Int32),
        ("offset", DataType::Int64),
        ("cause", DataType::Utf8),
        ("value", DataType::Binary),
        ("seen", time),
        ("view", DataType::Utf8),
        ("operator", DataType::Utf8),
    ];
    let fields = columns.map(|(name, kind)| Field::new(name, kind, true));
    StoredRelation {
        relation: ERRORS,
        schema: Arc::new(Schema::new(fields.to_vec())),
        storage: Storage::Append,
    }
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Passed {
    /// Where the record stands; a row of a view need not be one.
    record: Option<RecordPlace>,
    cause: String,
    value: Vec<u8>,
    /// The view and its operator that passed a row over.
    by: Option<(String, String)>,
}

impl From<BadRecord> for Passed {
    fn from(record: BadRecord) -> Passed {
        Passed {
            record: Some(RecordPlace {
                source: record.source,
                topic: record.topic,
                partition: record.partition,
                offset: record.offset,
            }),
            cause: record.cause,
            value: record.value,
            by: None,
        }
    }
}

impl From<BadRow> for Passed {
    fn from(row: BadRow) -> Passed {
        Passed {
            record: row.record,
            cause: row.cause,
            value: row.row.into_bytes(),
            by: Some((row.view, row.operator)),
        }
    }
}

fn as_rows(passed: &[Passed], seen_us: i64) -> Result<RecordBatch> {
    let records = || passed.iter().map(|row| row.record.as_ref());
    let by = || passed.iter().map(|row| row.by.as_ref());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter(records().map(|r| r.map(|r| &r.source)))),
        Arc::new(StringArray::from_iter(records().map(|r| r.map(|r| &r.topic)))),
        Arc::new(Int32Array::from_iter(records().map(|r| r.map(|r| r.partition)))),
        Arc::new(Int64Array::from_iter(records().map(|r| r.map(|r| r.offset)))),
        Arc::new(StringArray::from_iter_values(passed.iter().map(|row| &row.cause))),
        Arc::new(BinaryArray::from_iter_values(passed.iter().map(|row| &row.value))),
        Arc::new(TimestampMicrosecondArray::from_value(seen_us, passed.len())),
        Arc::new(StringArray::from_iter(by().map(|by| by.map(|(view, _)| view)))),
        Arc::new(StringArray::from_iter(by().map(|by| by.map(|(_, operator)| operator)))),
    ];
    Ok(RecordBatch::try_new(errors_relation().schema, columns)?)
}

impl Snapshot {
    /// The rows of `weir.errors`.
    pub fn errors(&self) -> Result<Vec<RecordBatch>> {
        let range = keys::view_range(ERRORS);
        let schema = errors_relation().schema;
        let mut rows = Vec::new();
        for entry in self.reader().scan(Keyspace::View, &range.start, Some(&range.end)) {
            let batches = chunk(&entry?.1, &schema)?;
            rows.extend(batches.into_iter().map(|batch| batch.into_parts().0));
        }
        Ok(rows)
    }
}

/// A chunk's rows; one from before views passed rows over has none of theirs.
fn chunk(bytes: &[u8], schema: &SchemaRef) -> Result<Vec<ChangeBatch>> {
    let error = match change::from_bytes(bytes, schema) {
        Ok(batches) => return Ok(batches),
        Err(error) => error,
    };
    let first: Vec<usize> = (0..FIRST_COLUMNS).collect();
    let batches = change::from_bytes(bytes, &Arc::new(schema.project(&first)?)).map_err(|_| error)?;
    let widened = batches.into_iter().map(|batch| {
        let mut columns = batch.rows().columns().to_vec();
        let more = schema.fields()[FIRST_COLUMNS..].iter();
        columns.extend(more.map(|field| new_null_array(field.data_type(), batch.num_rows())));
        Ok(ChangeBatch::inserts(RecordBatch::try_new(schema.clone(), columns)?))
    });
    widened.collect()
}

/// What was passed over since the last checkpoint, and what is stored.
#[derive(Default)]
pub struct Errors {
    fresh: BTreeMap<RelationId, VecDeque<Passed>>,
    /// Chunks from the oldest on, with their rows; of sources and views that had any lately.
    stored: BTreeMap<RelationId, VecDeque<(Vec<u8>, usize)>>,
}

impl Errors {
    /// A source or view has passed something over.
    pub fn extend(&mut self, relation: RelationId, passed: impl IntoIterator<Item = impl Into<Passed>>) {
        let mut passed = passed.into_iter().map(Into::into).peekable();
        if passed.peek().is_none() {
            return;
        }
        let fresh = self.fresh.entry(relation).or_default();
        fresh.extend(passed);
        fresh.drain(..fresh.len().saturating_sub(KEPT));
    }

    /// Others may have written: what is stored is to be read again.
    pub fn forget_stored(&mut self) {
        self.stored.clear();
    }

    /// Writes what is new, and deletes the oldest of what is too much.
    pub fn write(
        &mut self,
        reader: &dyn Reader,
        record: &PipelineRecord,
        now: i64,
        batch: &mut WriteBatch,
    ) -> Result<()> {
        for (source, records) in std::mem::take(&mut self.fresh) {
            let stored = match self.stored.remove(&source) {
                Some(stored) => stored,
                None => chunks(reader, source)?,
            };
            let stored = self.stored.entry(source).or_insert(stored);
            let records = Vec::from(records);
            let mut key = source.0.to_be_bytes().to_vec();
            key.extend(record.epoch.0.to_be_bytes());
            key.extend(record.id.0.to_be_bytes());
            key.extend((records.len() as u32).to_be_bytes());
            let key = keys::view_key(ERRORS, &key);
            let rows = change::to_bytes(&[ChangeBatch::inserts(as_rows(&records, now)?)])?;
            batch.put(Keyspace::View, &key, &rows);
            stored.push_back((key, records.len()));
            let mut count: usize = stored.iter().map(|(_, count)| count).sum();
            while let Some((key, oldest)) = stored.pop_front_if(|(_, oldest)| count - *oldest >= KEPT) {
                batch.delete(Keyspace::View, &key);
                count -= oldest;
            }
        }
        Ok(())
    }
}

/// The stored chunks of a source or view, and how many rows each has.
fn chunks(reader: &dyn Reader, source: RelationId) -> Result<VecDeque<(Vec<u8>, usize)>> {
    let bound = |source: u32| keys::view_key(ERRORS, &source.to_be_bytes());
    let entries = reader.scan(Keyspace::View, &bound(source.0), Some(&bound(source.0 + 1)));
    entries
        .map(|entry| {
            let (key, _) = entry?;
            let count = key.last_chunk().copied().map(u32::from_be_bytes);
            let count = count.ok_or_else(|| Error::State("a key of weir.errors is too short".to_string()))?;
            Ok((key, count as usize))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_state::{Epoch, MemoryStore, PipelineId, Store};

    use super::*;

    fn record(source: &str, offset: i64) -> BadRecord {
        BadRecord {
            source: source.to_string(),
            topic: "t".to_string(),
            partition: 0,
            offset,
            cause: "no number".to_string(),
            value: b"x".to_vec(),
        }
    }

    fn commit(errors: &mut Errors, store: &MemoryStore, epoch: u64) {
        let of = PipelineRecord {
            id: PipelineId(1),
            views: Vec::new(),
            positions: BTreeMap::new(),
            dml: weir_state::DmlCommit::ZERO,
            epoch: Epoch(epoch),
            changelogs: BTreeMap::new(),
            extra: serde_json::Value::Null,
        };
        let mut batch = WriteBatch::new();
        errors.write(store, &of, 0, &mut batch).unwrap();
        store.commit(batch).unwrap();
    }

    /// How many records of a source are kept.
    fn kept(store: &Arc<MemoryStore>, source: &str) -> usize {
        let snapshot = Snapshot::new(store.snapshot()).unwrap();
        let batches = snapshot.errors().unwrap();
        let names = batches.iter().map(|batch| batch.column(0).clone());
        let count = |names: arrow::array::ArrayRef| {
            let names = arrow::array::AsArray::as_string::<i32>(&names).clone();
            names.iter().filter(|name| *name == Some(source)).count()
        };
        names.map(count).sum()
    }

    #[test]
    fn the_last_records_of_each_source_are_kept() {
        let store = Arc::new(MemoryStore::new());
        let mut errors = Errors::default();
        errors.extend(RelationId(1), vec![record("rare", 0)]);
        for epoch in 1..=30 {
            let records: Vec<BadRecord> = (0..1000).map(|n| record("often", epoch * 1000 + n)).collect();
            errors.extend(RelationId(2), records);
            commit(&mut errors, &store, epoch as u64);
            if epoch % 7 == 0 {
                // As after a restart.
                errors = Errors::default();
            }
        }
        assert_eq!(kept(&store, "often"), KEPT);
        assert_eq!(kept(&store, "rare"), 1);
        // More at once than are kept.
        errors.extend(RelationId(2), (0..25_000).map(|n| record("often", n)));
        commit(&mut errors, &store, 31);
        assert_eq!(kept(&store, "often"), KEPT);
        // An odd number more: whole chunks go, and never more than what is too much.
        errors.extend(RelationId(2), vec![record("often", 0)]);
        commit(&mut errors, &store, 32);
        assert_eq!(kept(&store, "often"), KEPT + 1);
    }

    #[test]
    fn rows_of_views_stand_beside_records_also_those_of_an_older_version() {
        let store = Arc::new(MemoryStore::new());
        let old = as_rows(&[record("old", 0).into()], 0).unwrap();
        let old = old.project(&(0..FIRST_COLUMNS).collect::<Vec<_>>()).unwrap();
        let mut batch = WriteBatch::new();
        let bytes = change::to_bytes(&[ChangeBatch::inserts(old)]).unwrap();
        let key = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1];
        batch.put(Keyspace::View, &keys::view_key(ERRORS, &key), &bytes);
        store.commit(batch).unwrap();
        let mut errors = Errors::default();
        let row = BadRow {
            view: "v".to_string(),
            operator: "Map 1".to_string(),
            cause: "Divide by zero error".to_string(),
            row: "a = 1".to_string(),
            record: None,
            more: 0,
        };
        errors.extend(RelationId(2), [row]);
        commit(&mut errors, &store, 2);
        assert_eq!(kept(&store, "old"), 1);
        let rows = Snapshot::new(store.snapshot()).unwrap().errors().unwrap();
        let views = rows.iter().flat_map(|batch| {
            let views = arrow::array::AsArray::as_string::<i32>(batch.column(7)).clone();
            views.iter().map(|view| view.map(str::to_string)).collect::<Vec<_>>()
        });
        assert_eq!(views.collect::<Vec<_>>(), [None, Some("v".to_string())]);
    }
}
