//! Bad records that were passed over, on their way to `weir.errors`: the last ones of each source.
//!
//! They are stored in chunks of one source and epoch. The number of records is the end of a chunk's key,
//! so that what is too much can be told without reading it: `source | epoch | pipeline | count`.

use std::collections::{BTreeMap, VecDeque};

use weir_state::pipelines::PipelineRecord;
use weir_state::{Keyspace, Reader, RelationId, WriteBatch, keys};

use crate::change::{self, ChangeBatch};
use crate::error::BadRecord;
use crate::pipeline::snapshot::{ERRORS, error_rows};
use crate::{Error, Result};

/// Records of a source that are kept.
const KEPT: usize = 10_000;

/// What was passed over since the last checkpoint, and what is stored.
#[derive(Default)]
pub struct Errors {
    fresh: BTreeMap<RelationId, VecDeque<BadRecord>>,
    /// Chunks from the oldest on, with their records; of sources that had any lately.
    stored: BTreeMap<RelationId, VecDeque<(Vec<u8>, usize)>>,
}

impl Errors {
    /// A source has passed over records.
    pub fn extend(&mut self, source: RelationId, records: Vec<BadRecord>) {
        if records.is_empty() {
            return;
        }
        let fresh = self.fresh.entry(source).or_default();
        fresh.extend(records);
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
            let rows = change::to_bytes(&[ChangeBatch::inserts(error_rows(&records, now)?)])?;
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

/// The stored chunks of a source, and how many records each has.
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
    use crate::pipeline::snapshot::{Snapshot, errors_relation};

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
        let relation = errors_relation();
        let snapshot = Snapshot::new(store.snapshot()).unwrap();
        let batches = snapshot.scan(&relation, &[0]).unwrap();
        let names = batches.map(|batch| batch.unwrap().column(0).clone());
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
            let records = (0..1000).map(|n| record("often", epoch * 1000 + n)).collect();
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
        errors.extend(RelationId(2), (0..25_000).map(|n| record("often", n)).collect());
        commit(&mut errors, &store, 31);
        assert_eq!(kept(&store, "often"), KEPT);
        // An odd number more: whole chunks go, and never more than what is too much.
        errors.extend(RelationId(2), vec![record("often", 0)]);
        commit(&mut errors, &store, 32);
        assert_eq!(kept(&store, "often"), KEPT + 1);
    }
}
