//! `weir.errors`: records and rows that were passed over, the last ones of each source and view.
//!
//! They are stored in chunks of one source or view and epoch. The number of rows is the end of a chunk's
//! key, so that what is too much can be told without reading it: `relation | epoch | pipeline | count`.
//!
//! A record is bad for all pipelines that read its source, and each of them reads from the source's start and
//! passes nothing by. So when one of them has noted a record, all bad ones before it in its split are
//! noted too: the place of the last one, kept for each split (`relation | topic | partition`), tells what
//! a pipeline that reads them again has to say that is new. The committer alone writes, in the order in
//! which epochs become durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use weir_state::{Epoch, Keyspace, PipelineId, Reader, RelationId, Shard, TableId, WriteBatch, keys};

use super::snapshot::Snapshot;
use crate::change::{self, ChangeBatch};
use crate::error::{BadRecord, BadRow, RecordPlace};
use crate::relation::{Storage, StoredRelation};
use crate::{Error, Result};

/// The relation under which they are kept.
const ERRORS: RelationId = RelationId(u32::MAX - 1);
/// The table of each split's last place.
const LAST: TableId = TableId {
    relation: ERRORS,
    ordinal: 0,
};
/// Rows of a source or view that are kept.
const KEPT: usize = 10_000;
/// The column of the value's bytes.
const VALUE: usize = 5;
/// Columns that chunks had before views passed rows over.
const FIRST_COLUMNS: usize = 7;

/// `weir.errors` as a relation: what is stored, the value as text too, its bytes last.
pub fn errors_relation() -> StoredRelation {
    let stored = stored_schema();
    let mut fields = stored.fields().to_vec();
    let value = fields.remove(VALUE);
    fields.insert(VALUE, Arc::new(Field::new("text", DataType::Utf8, true)));
    fields.push(value);
    StoredRelation {
        relation: ERRORS,
        schema: Arc::new(Schema::new(fields)),
        storage: Storage::Append,
    }
}

/// Stored rows as they are shown.
fn shown(stored: &RecordBatch) -> Result<RecordBatch> {
    let mut columns = stored.columns().to_vec();
    let value = columns.remove(VALUE);
    let texts: StringArray = value
        .as_binary::<i32>()
        .iter()
        .map(|value| value.and_then(text))
        .collect();
    columns.insert(VALUE, Arc::new(texts));
    columns.push(value);
    Ok(RecordBatch::try_new(errors_relation().schema, columns)?)
}

/// A record's first bytes, if they are text. The last character may be cut.
fn text(value: &[u8]) -> Option<&str> {
    match str::from_utf8(value) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() && value.len() >= BadRecord::MAX_BYTES => {
            str::from_utf8(&value[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

/// The columns of a chunk.
fn stored_schema() -> SchemaRef {
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
    Arc::new(Schema::new(fields.to_vec()))
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
    Ok(RecordBatch::try_new(stored_schema(), columns)?)
}

impl Snapshot {
    /// The rows of `weir.errors`.
    pub fn errors(&self) -> Result<Vec<RecordBatch>> {
        let range = keys::view_range(ERRORS);
        let schema = stored_schema();
        let mut rows = Vec::new();
        for entry in self.reader().scan(Keyspace::View, &range.start, Some(&range.end)) {
            for batch in chunk(&entry?.1, &schema)? {
                rows.push(shown(batch.rows())?);
            }
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

/// What a pipeline passed over since its last checkpoint.
#[derive(Default)]
pub struct PassedRows(BTreeMap<RelationId, VecDeque<Passed>>);

impl PassedRows {
    /// A source or view has passed something over.
    pub fn extend(&mut self, relation: RelationId, passed: impl IntoIterator<Item = impl Into<Passed>>) {
        let mut passed = passed.into_iter().map(Into::into).peekable();
        if passed.peek().is_none() {
            return;
        }
        let rows = self.0.entry(relation).or_default();
        rows.extend(passed);
        rows.drain(..rows.len().saturating_sub(KEPT));
    }

    /// These views go back to the last checkpoint, and will pass the same over again.
    pub fn forget(&mut self, views: &BTreeSet<RelationId>) {
        self.0.retain(|relation, _| !views.contains(relation));
    }
}

/// Whose rows are written, and when.
#[derive(Debug, Clone, Copy)]
pub struct Noted {
    /// The epoch that passed them over.
    pub epoch: Epoch,
    /// Its pipeline.
    pub pipeline: PipelineId,
    /// By the clock.
    pub now_us: i64,
}

/// Place of the last bad record of each split that is noted.
type Last = BTreeMap<(String, i32), i64>;

/// What is stored, of sources and views that passed anything over lately.
#[derive(Default)]
pub struct ErrorLog {
    /// Chunks from the oldest on, with their rows.
    chunks: BTreeMap<RelationId, VecDeque<(Vec<u8>, usize)>>,
    last: BTreeMap<RelationId, Last>,
}

impl ErrorLog {
    /// Writes what is new, and deletes the oldest of what is too much.
    pub fn write(
        &mut self,
        reader: &dyn Reader,
        passed: PassedRows,
        noted: Noted,
        batch: &mut WriteBatch,
    ) -> Result<()> {
        for (relation, mut rows) in passed.0 {
            self.leave_new(reader, relation, &mut rows, batch)?;
            if rows.is_empty() {
                continue;
            }
            let stored = match self.chunks.remove(&relation) {
                Some(stored) => stored,
                None => chunks(reader, relation)?,
            };
            let stored = self.chunks.entry(relation).or_insert(stored);
            let rows = Vec::from(rows);
            let mut key = relation.0.to_be_bytes().to_vec();
            key.extend(noted.epoch.0.to_be_bytes());
            key.extend(noted.pipeline.0.to_be_bytes());
            key.extend((rows.len() as u32).to_be_bytes());
            let key = keys::view_key(ERRORS, &key);
            let bytes = change::to_bytes(&[ChangeBatch::inserts(as_rows(&rows, noted.now_us)?)])?;
            batch.put(Keyspace::View, &key, &bytes);
            stored.push_back((key, rows.len()));
            let mut count: usize = stored.iter().map(|(_, count)| count).sum();
            while let Some((key, oldest)) = stored.pop_front_if(|(_, oldest)| count - *oldest >= KEPT) {
                batch.delete(Keyspace::View, &key);
                count -= oldest;
            }
        }
        Ok(())
    }

    /// Takes out the records that are noted, and notes the others. Rows that a view passed over are its own.
    fn leave_new(
        &mut self,
        reader: &dyn Reader,
        relation: RelationId,
        rows: &mut VecDeque<Passed>,
        batch: &mut WriteBatch,
    ) -> Result<()> {
        let last = match self.last.remove(&relation) {
            Some(last) => last,
            None => last_places(reader, relation)?,
        };
        let last = self.last.entry(relation).or_insert(last);
        let mut moved = Last::new();
        rows.retain(|row| {
            let (Some(record), None) = (&row.record, &row.by) else {
                return true;
            };
            let split = (record.topic.clone(), record.partition);
            let is_new = last.get(&split).is_none_or(|last| record.offset > *last);
            if is_new {
                let place = moved.entry(split).or_insert(record.offset);
                *place = record.offset.max(*place);
            }
            is_new
        });
        for ((topic, partition), offset) in &moved {
            let key = keys::state_key(LAST, Shard(0), &split_key(relation, topic, *partition));
            batch.put(Keyspace::State, &key, &offset.to_be_bytes());
        }
        last.extend(moved);
        Ok(())
    }

    /// A batch was not committed: what is stored is to be read again.
    pub fn forget_stored(&mut self) {
        *self = ErrorLog::default();
    }
}

/// Deletes what is noted of a source or view that is dropped.
pub fn remove(batch: &mut WriteBatch, relation: RelationId) {
    let bound = |relation: u32| relation.to_be_bytes();
    let (start, end) = (bound(relation.0), bound(relation.0 + 1));
    batch.delete_range(
        Keyspace::View,
        &keys::view_key(ERRORS, &start),
        &keys::view_key(ERRORS, &end),
    );
    batch.delete_range(
        Keyspace::State,
        &keys::state_key(LAST, Shard(0), &start),
        &keys::state_key(LAST, Shard(0), &end),
    );
}

fn split_key(relation: RelationId, topic: &str, partition: i32) -> Vec<u8> {
    [
        &relation.0.to_be_bytes()[..],
        topic.as_bytes(),
        &partition.to_be_bytes(),
    ]
    .concat()
}

fn last_places(reader: &dyn Reader, relation: RelationId) -> Result<Last> {
    let bound = |relation: u32| keys::state_key(LAST, Shard(0), &relation.to_be_bytes());
    let (start, end) = (bound(relation.0), bound(relation.0 + 1));
    let entries = reader.scan(Keyspace::State, &start, Some(&end));
    let entry = |entry: weir_state::Result<(Vec<u8>, Vec<u8>)>| {
        let (key, value) = entry?;
        let split = key.get(start.len()..).and_then(<[u8]>::split_last_chunk);
        let offset = value.as_slice().try_into().ok().map(i64::from_be_bytes);
        let (Some((topic, partition)), Some(offset)) = (split, offset) else {
            return Err(Error::State("a split's place in weir.errors is too short".to_string()));
        };
        let topic = String::from_utf8_lossy(topic).into_owned();
        Ok(((topic, i32::from_be_bytes(*partition)), offset))
    };
    entries.map(entry).collect()
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

    use weir_state::{MemoryStore, Store};

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

    /// An epoch that passed these over.
    fn commit(
        log: &mut ErrorLog,
        store: &MemoryStore,
        epoch: u64,
        passed: impl IntoIterator<Item = (u32, Vec<BadRecord>)>,
    ) {
        let mut rows = PassedRows::default();
        for (relation, records) in passed {
            rows.extend(RelationId(relation), records);
        }
        write(log, store, epoch, rows);
    }

    fn write(log: &mut ErrorLog, store: &MemoryStore, epoch: u64, rows: PassedRows) {
        let noted = Noted {
            epoch: Epoch(epoch),
            pipeline: PipelineId(1),
            now_us: 0,
        };
        let mut batch = WriteBatch::new();
        log.write(store, rows, noted, &mut batch).unwrap();
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
        let mut log = ErrorLog::default();
        commit(&mut log, &store, 1, [(1, vec![record("rare", 0)])]);
        for epoch in 2..=31 {
            let records = (0..1000).map(|n| record("often", epoch * 1000 + n)).collect();
            commit(&mut log, &store, epoch as u64, [(2, records)]);
            if epoch % 7 == 0 {
                // As after a restart.
                log = ErrorLog::default();
            }
        }
        assert_eq!(kept(&store, "often"), KEPT);
        assert_eq!(kept(&store, "rare"), 1);
        // More at once than are kept.
        let many = (0..25_000).map(|n| record("often", 100_000 + n)).collect();
        commit(&mut log, &store, 32, [(2, many)]);
        assert_eq!(kept(&store, "often"), KEPT);
        // An odd number more: whole chunks go, and never more than what is too much.
        commit(&mut log, &store, 33, [(2, vec![record("often", 200_000)])]);
        assert_eq!(kept(&store, "often"), KEPT + 1);
    }

    #[test]
    fn a_record_is_noted_once_however_often_it_is_read() {
        let store = Arc::new(MemoryStore::new());
        let mut log = ErrorLog::default();
        let elsewhere = |offset| BadRecord {
            partition: 1,
            ..record("s", offset)
        };
        commit(
            &mut log,
            &store,
            1,
            [(1, vec![record("s", 3), elsewhere(1), record("s", 5)])],
        );
        // By another pipeline, which has come further.
        commit(
            &mut log,
            &store,
            2,
            [(1, vec![record("s", 3), record("s", 5), record("s", 9)])],
        );
        assert_eq!(kept(&store, "s"), 4);
        // After a restart, and where nothing is new.
        log = ErrorLog::default();
        commit(&mut log, &store, 3, [(1, vec![record("s", 9), elsewhere(1)])]);
        assert_eq!(kept(&store, "s"), 4);
        // What was not committed is not noted.
        let mut rows = PassedRows::default();
        rows.extend(RelationId(1), vec![record("s", 10)]);
        let noted = Noted {
            epoch: Epoch(4),
            pipeline: PipelineId(1),
            now_us: 0,
        };
        log.write(&*store, rows, noted, &mut WriteBatch::new()).unwrap();
        log.forget_stored();
        commit(
            &mut log,
            &store,
            5,
            [(1, vec![record("s", 10)]), (2, vec![record("t", 10)])],
        );
        assert_eq!((kept(&store, "s"), kept(&store, "t")), (5, 1));
        // A dropped source leaves nothing, and others as they were.
        let mut batch = WriteBatch::new();
        remove(&mut batch, RelationId(1));
        store.commit(batch).unwrap();
        assert_eq!((kept(&store, "s"), kept(&store, "t")), (0, 1));
        assert!(last_places(&*store, RelationId(1)).unwrap().is_empty());
        assert_eq!(last_places(&*store, RelationId(2)).unwrap().len(), 1);
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
        let row = BadRow {
            view: "v".to_string(),
            operator: "Map 1".to_string(),
            cause: "division by zero".to_string(),
            row: "a = 1".to_string(),
            record: None,
            more: 0,
        };
        let mut passed = PassedRows::default();
        passed.extend(RelationId(2), [row]);
        write(&mut ErrorLog::default(), &store, 2, passed);
        assert_eq!(kept(&store, "old"), 1);
        let rows = Snapshot::new(store.snapshot()).unwrap().errors().unwrap();
        let views = rows.iter().flat_map(|batch| {
            let views = arrow::array::AsArray::as_string::<i32>(batch.column(7)).clone();
            views.iter().map(|view| view.map(str::to_string)).collect::<Vec<_>>()
        });
        assert_eq!(views.collect::<Vec<_>>(), [None, Some("v".to_string())]);
    }
}
