//! Pipeline records: what a pipeline consists of and how far it has come.
//!
//! The record is part of every epoch's batch, so its positions are always those that the state
//! beside it has taken in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::document;
use crate::error::Result;
use crate::ids::{DmlCommit, Epoch, PipelineId, RelationId};
use crate::keys;
use crate::store::{Keyspace, Reader, WriteBatch};

/// A pipeline as of its last epoch.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PipelineRecord {
    pub id: PipelineId,
    pub views: Vec<RelationId>,
    /// By source, then by split.
    pub positions: BTreeMap<String, BTreeMap<String, SplitProgress>>,
    /// The last DML commit that was taken in.
    pub dml: DmlCommit,
    /// The last epoch committed. Progress kept outside that lies beyond it means that this is an
    /// old copy of the data directory.
    pub epoch: Epoch,
    /// Views of other pipelines that this one follows: the last epoch taken in.
    pub changelogs: BTreeMap<RelationId, Epoch>,
    /// What else the pipeline keeps with its epoch.
    pub extra: Value,
}

/// How far one split of a source was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SplitProgress {
    /// The next place to read.
    pub position: i64,
    /// The highest event time seen, in the source's own unit; `None` before the first.
    pub max_event_time: Option<i64>,
    /// A bounded split was read to its end.
    pub ended: bool,
    /// Once, nothing more was there to read: what stood in the split when it was opened is in.
    #[serde(default)]
    pub caught_up: bool,
    /// By what the split is known again where it may be changed in place, as a file.
    #[serde(default)]
    pub mark: Option<Mark>,
}

/// What stood in a split before a position that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// At most the next place to read.
    pub at: i64,
    /// A hash of the last bytes before it.
    pub hash: u64,
}

/// All pipelines, by rising id.
pub fn load(reader: &dyn Reader) -> Result<Vec<PipelineRecord>> {
    let range = keys::pipeline_range();
    let records = reader.scan(Keyspace::Meta, &range.start, Some(&range.end));
    records
        .map(|record| document::decode(&record?.1, || "a pipeline record".to_owned()))
        .collect()
}

/// Writes the record of `record.id`, in place of the one it had.
pub fn put(batch: &mut WriteBatch, record: &PipelineRecord) {
    let value = document::encode(record);
    batch.put(Keyspace::Meta, &keys::pipeline_key(record.id), &value);
}

pub fn remove(batch: &mut WriteBatch, id: PipelineId) {
    batch.delete(Keyspace::Meta, &keys::pipeline_key(id));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::{MemoryStore, Store};

    fn record(id: u32) -> PipelineRecord {
        let split = |position, max_event_time, ended| SplitProgress {
            position,
            max_event_time,
            ended,
            caught_up: ended,
            mark: ended.then_some(Mark {
                at: position,
                hash: u64::MAX,
            }),
        };
        PipelineRecord {
            id: PipelineId(id),
            views: vec![RelationId(7), RelationId(3)],
            positions: BTreeMap::from([
                (
                    "bids".to_owned(),
                    BTreeMap::from([
                        ("0".to_owned(), split(i64::MAX, Some(i64::MIN), false)),
                        ("Ünïcode \"1\"".to_owned(), split(0, None, true)),
                    ]),
                ),
                ("none yet".to_owned(), BTreeMap::new()),
            ]),
            dml: DmlCommit(u64::MAX),
            epoch: Epoch(u64::MAX - 1),
            changelogs: BTreeMap::from([(RelationId(12), Epoch(5))]),
            extra: json!({"shape": [1, 2.5, null]}),
        }
    }

    #[test]
    fn records_come_back_as_they_were_put() {
        let store = MemoryStore::new();
        let mut batch = WriteBatch::new();
        for id in [300, 2, 1] {
            put(&mut batch, &record(id));
        }
        store.commit(batch).unwrap();
        let mut later = record(2);
        later.epoch = Epoch(9);
        let mut batch = WriteBatch::new();
        put(&mut batch, &later);
        remove(&mut batch, PipelineId(1));
        store.commit(batch).unwrap();
        assert_eq!(load(&store).unwrap(), [later, record(300)]);
    }

    #[test]
    fn an_empty_record_comes_back() {
        let store = MemoryStore::new();
        let mut batch = WriteBatch::new();
        put(&mut batch, &PipelineRecord::default());
        store.commit(batch).unwrap();
        assert_eq!(load(&store).unwrap(), [PipelineRecord::default()]);
    }
}
