//! Committed relations as of one moment.
//!
//! A snapshot of the store shows whole epochs only, so views of one pipeline agree in it. Tables
//! run ahead of the pipelines that read them; where both are read together, a table is shown as of
//! the DML commit at which the pipeline's epoch ends: what the log says came after is taken back.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use weir_state::{
    DmlCommit, Epoch, Keyspace, Reader, RelationId, decode_counter, dml, history, keys, pipelines, unborn,
};

use super::output::read_changes;
use crate::change::{self, ChangeBatch, Weights};
use crate::relation::{Storage, StoredRelation};
use crate::row::RowCodec;
use crate::{Error, Result};

/// A scan's rows, batch by batch.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// A scan's rows as they are stored, with their weights.
type Stored = Box<dyn Iterator<Item = Result<ChangeBatch>> + Send>;

/// Committed relations as of one moment.
#[derive(Clone)]
pub struct Snapshot {
    reader: Arc<dyn Reader>,
    dml: DmlCommit,
    /// Changes of tables that are not committed yet.
    pending: Arc<Pending>,
}

/// Changes by table, in their order.
pub type Pending = BTreeMap<RelationId, Vec<ChangeBatch>>;

impl Snapshot {
    /// A snapshot over a reader of the store.
    pub fn new(reader: Arc<dyn Reader>) -> Result<Snapshot> {
        let dml = dml::last(reader.as_ref())?;
        Ok(Snapshot {
            reader,
            dml,
            pending: Arc::default(),
        })
    }

    /// The same with changes of tables that are yet to be committed.
    pub fn with_pending(&self, pending: Pending) -> Snapshot {
        Snapshot {
            pending: Arc::new(pending),
            ..self.clone()
        }
    }

    /// The store as it was.
    pub fn reader(&self) -> &dyn Reader {
        self.reader.as_ref()
    }

    /// The last DML commit in it.
    pub fn dml(&self) -> DmlCommit {
        self.dml
    }

    /// The record of the pipeline that holds a view.
    pub fn pipeline_of(&self, view: RelationId) -> Result<Option<pipelines::PipelineRecord>> {
        Ok(pipelines::load(self.reader())?
            .into_iter()
            .find(|record| record.views.contains(&view)))
    }

    /// All rows of a view or table; a row of weight n comes n times.
    pub fn scan(&self, relation: &StoredRelation, columns: &[usize]) -> Result<Batches> {
        Ok(repeat_all(self.stored(relation, columns)?))
    }

    fn stored(&self, relation: &StoredRelation, columns: &[usize]) -> Result<Stored> {
        if unborn::is_unborn(self.reader(), relation.relation)? {
            return Ok(Box::new(std::iter::empty()));
        }
        match relation.storage {
            Storage::Append => Ok(self.chunks(relation, columns)),
            Storage::Keyed(_) => self.rows(relation, columns),
            Storage::Bag | Storage::By(_) => self.counted(relation, columns, keys::view_range(relation.relation)),
            Storage::Changes => Err(Error::internal("a relation without stored rows was scanned")),
        }
    }

    /// The rows of a key (all its columns given, as rows of key columns), for point reads.
    pub fn get(&self, relation: &StoredRelation, keys_columns: &[ArrayRef]) -> Result<Vec<RecordBatch>> {
        let Some(key) = relation.storage.look_up() else {
            return Err(Error::internal("a point read needs a keyed relation"));
        };
        if unborn::is_unborn(self.reader(), relation.relation)? {
            return Ok(Vec::new());
        }
        let codec = super::output::key_codec(&relation.schema, key)?;
        let count = keys_columns.first().map_or(0, |column| column.len());
        let encoded = codec.encode(keys_columns, count)?;
        let wanted: Vec<Vec<u8>> = encoded
            .iter()
            .map(|key| keys::view_key(relation.relation, key))
            .collect();
        if let Storage::By(_) = relation.storage {
            return self.get_counted(relation, wanted);
        }
        let borrowed: Vec<&[u8]> = wanted.iter().map(Vec::as_slice).collect();
        let found = self.reader.multi_get(Keyspace::View, &borrowed)?;
        let rows: Vec<Vec<u8>> = found.into_iter().flatten().collect();
        let all = relation.all_columns();
        let codec = RowCodec::for_schema(&relation.schema)?;
        Ok(vec![decode_rows(&codec, &relation.schema, &all, &rows)?])
    }

    /// The rows whose stored keys begin with one of some.
    fn get_counted(&self, relation: &StoredRelation, wanted: Vec<Vec<u8>>) -> Result<Vec<RecordBatch>> {
        let mut found = Vec::new();
        for start in wanted {
            let range = keys::prefix_range(&start);
            for batch in repeat_all(self.counted(relation, &relation.all_columns(), range)?) {
                found.push(batch?);
            }
        }
        Ok(found)
    }

    /// A table as of an earlier DML commit than the snapshot's.
    pub fn scan_table_at(&self, table: &StoredRelation, columns: &[usize], at: DmlCommit) -> Result<Batches> {
        self.scan_with(table, columns, self.differences(table, at)?)
    }

    /// A relation's rows as they are with some changes.
    fn scan_with(
        &self,
        relation: &StoredRelation,
        columns: &[usize],
        mut changes: Vec<ChangeBatch>,
    ) -> Result<Batches> {
        if changes.is_empty() {
            return self.scan(relation, columns);
        }
        for batch in self.stored(relation, &relation.all_columns())? {
            changes.push(batch?);
        }
        let rows = project(change::consolidate(&changes)?, columns)?;
        Ok(Box::new(change::repeated(rows)))
    }

    /// A view that keeps a history as it was at a moment, microseconds since 1970.
    pub fn scan_view_at(&self, view: &StoredRelation, columns: &[usize], at_us: i64) -> Result<Batches> {
        self.scan_with(view, columns, self.taken_back(view, at_us)?)
    }

    /// From when on a view's history is kept, microseconds since 1970.
    pub fn history_begins(&self, view: RelationId) -> Result<Option<i64>> {
        Ok(history::begins(self.reader(), view)?)
    }

    /// What came to a view after a moment, the other way round.
    fn taken_back(&self, view: &StoredRelation, at_us: i64) -> Result<Vec<ChangeBatch>> {
        let Some((_, first)) = history::next(self.reader(), view.relation, at_us)? else {
            return Ok(Vec::new());
        };
        let before = Epoch(first.0.saturating_sub(1));
        let later = read_changes(self.reader(), view, before, Epoch(u64::MAX))?;
        Ok(later.iter().map(ChangeBatch::negate).collect())
    }

    /// The rows of a key, as [`Snapshot::get`], of a table as of an earlier DML commit.
    pub fn get_table_at(
        &self,
        table: &StoredRelation,
        keys_columns: &[ArrayRef],
        at: DmlCommit,
    ) -> Result<Vec<RecordBatch>> {
        self.get_with(table, keys_columns, self.differences(table, at)?)
    }

    /// The rows of a key, as [`Snapshot::get`], of a view as it was at a moment.
    pub fn get_view_at(
        &self,
        view: &StoredRelation,
        keys_columns: &[ArrayRef],
        at_us: i64,
    ) -> Result<Vec<RecordBatch>> {
        self.get_with(view, keys_columns, self.taken_back(view, at_us)?)
    }

    fn get_with(
        &self,
        table: &StoredRelation,
        keys_columns: &[ArrayRef],
        later: Vec<ChangeBatch>,
    ) -> Result<Vec<RecordBatch>> {
        let present = self.get(table, keys_columns)?;
        let Some(key) = table.storage.look_up() else {
            return Ok(present);
        };
        if later.is_empty() {
            return Ok(present);
        }
        let codec = super::output::key_codec(&table.schema, key)?;
        let count = keys_columns.first().map_or(0, |column| column.len());
        let wanted: HashSet<Vec<u8>> = codec.encode(keys_columns, count)?.iter().map(<[u8]>::to_vec).collect();
        let mut changes: Vec<ChangeBatch> = present.into_iter().map(ChangeBatch::inserts).collect();
        for batch in later {
            let columns: Vec<ArrayRef> = key.iter().map(|column| batch.column(*column).clone()).collect();
            let keys = codec.encode(&columns, batch.num_rows())?;
            let mine: BooleanArray = keys.iter().map(|key| Some(wanted.contains(key))).collect();
            changes.push(batch.filter(&mine)?);
        }
        change::repeated(change::consolidate(&changes)?).collect()
    }

    /// By what a table as of a DML commit differs from what is stored: its pending changes, and what
    /// was changed after that commit, the other way round.
    fn differences(&self, table: &StoredRelation, at: DmlCommit) -> Result<Vec<ChangeBatch>> {
        let mut changes = self.pending.get(&table.relation).cloned().unwrap_or_default();
        if at >= self.dml {
            return Ok(changes);
        }
        for entry in dml::read(self.reader(), at, self.dml)? {
            let (_, relation, _, bytes) = entry?;
            if relation == table.relation {
                let batches = change::from_bytes(&bytes, &table.schema)?;
                changes.extend(batches.iter().map(ChangeBatch::negate));
            }
        }
        Ok(changes)
    }

    fn chunks(&self, relation: &StoredRelation, columns: &[usize]) -> Stored {
        let range = keys::view_range(relation.relation);
        let entries = Owned::scan(self.reader.clone(), range.start, range.end);
        let (schema, columns) = (relation.schema.clone(), columns.to_vec());
        Box::new(entries.flat_map(move |entry| {
            let decode = || -> Result<Vec<Result<ChangeBatch>>> {
                let (_, bytes) = entry?;
                let batches = change::from_bytes(&bytes, &schema)?;
                Ok(batches.into_iter().map(|batch| project(batch, &columns)).collect())
            };
            decode().unwrap_or_else(|error| vec![Err(error)])
        }))
    }

    /// Rows that are stored by key.
    fn rows(&self, relation: &StoredRelation, columns: &[usize]) -> Result<Stored> {
        let range = keys::view_range(relation.relation);
        let codec = RowCodec::for_schema(&relation.schema)?;
        let entries = Owned::scan(self.reader.clone(), range.start, range.end);
        let (schema, columns) = (relation.schema.clone(), columns.to_vec());
        Ok(batches(entries, move |entries| {
            let rows: Vec<Vec<u8>> = entries.into_iter().map(|(_, row)| row).collect();
            Ok(ChangeBatch::inserts(decode_rows(&codec, &schema, &columns, &rows)?))
        }))
    }

    /// Rows that are stored with a count, those of a range of keys.
    fn counted(&self, relation: &StoredRelation, columns: &[usize], range: Range<Vec<u8>>) -> Result<Stored> {
        let order = relation.storage.order(relation.schema.fields().len());
        let schema = Arc::new(relation.schema.project(&order)?);
        let codec = RowCodec::for_schema(&schema)?;
        let place = |column: &usize| order.iter().position(|stored| stored == column);
        let columns: Vec<usize> = columns.iter().filter_map(place).collect();
        let entries = Owned::scan(self.reader.clone(), range.start, range.end);
        Ok(batches(entries, move |entries| {
            let mut rows: Vec<Vec<u8>> = Vec::with_capacity(entries.len());
            let mut counts: Vec<i64> = Vec::with_capacity(entries.len());
            for (key, count) in entries {
                rows.push(keys::split_view_key(&key)?.1.to_vec());
                counts.push(decode_counter(&count)?);
            }
            let rows = decode_rows(&codec, &schema, &columns, &rows)?;
            Ok(ChangeBatch::new(rows, Weights::Each(counts.into())))
        }))
    }
}

/// A stored key and its value.
type Entry = (Vec<u8>, Vec<u8>);

/// What is stored, some thousand rows at a time.
fn batches(mut entries: Owned, decode: impl Fn(Vec<Entry>) -> Result<ChangeBatch> + Send + 'static) -> Stored {
    let mut next = move || -> Result<Option<ChangeBatch>> {
        let some = entries
            .by_ref()
            .take(change::BATCH_ROWS)
            .collect::<Result<Vec<Entry>>>()?;
        (!some.is_empty()).then(|| decode(some)).transpose()
    };
    Box::new(std::iter::from_fn(move || next().transpose()))
}

/// Each row as often as its weight says.
fn repeat_all(stored: Stored) -> Batches {
    Box::new(stored.flat_map(|batch| -> Batches {
        match batch {
            Ok(batch) => Box::new(change::repeated(batch)),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }))
}

/// The columns that are asked for.
fn project(batch: ChangeBatch, columns: &[usize]) -> Result<ChangeBatch> {
    let rows = batch.rows().project(columns)?;
    Ok(batch.with_rows(rows))
}

fn decode_rows(codec: &RowCodec, schema: &SchemaRef, columns: &[usize], rows: &[Vec<u8>]) -> Result<RecordBatch> {
    let arrays = codec.decode(rows.iter().map(Vec::as_slice))?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let whole = RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?;
    Ok(whole.project(columns)?)
}

/// A scan that owns its reader: read in slices, each going on after the last key.
struct Owned {
    reader: Arc<dyn Reader>,
    next: Vec<u8>,
    end: Vec<u8>,
    slice: std::vec::IntoIter<(Vec<u8>, Vec<u8>)>,
    done: bool,
}

impl Owned {
    const SLICE: usize = 4096;

    fn scan(reader: Arc<dyn Reader>, start: Vec<u8>, end: Vec<u8>) -> Owned {
        Owned {
            reader,
            next: start,
            end,
            slice: Vec::new().into_iter(),
            done: false,
        }
    }

    fn refill(&mut self) -> Result<()> {
        let entries = self.reader.scan(Keyspace::View, &self.next, Some(&self.end));
        let slice = entries.take(Self::SLICE).collect::<Result<Vec<_>, _>>()?;
        self.done = slice.len() < Self::SLICE;
        if let Some((last, _)) = slice.last() {
            self.next = last.clone();
            self.next.push(0);
        }
        self.slice = slice.into_iter();
        Ok(())
    }
}

impl Iterator for Owned {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.slice.next() {
                return Some(Ok(entry));
            }
            if self.done {
                return None;
            }
            if let Err(error) = self.refill() {
                self.done = true;
                return Some(Err(error));
            }
        }
    }
}
