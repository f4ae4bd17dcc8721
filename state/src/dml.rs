//! The instance-wide log of DML commits: what INSERT, UPDATE and DELETE changed, commit by commit.
//!
//! One log for all tables, so that a transaction over several is one change to everyone. Commits
//! are numbered by their writer, rising; each has chunks of bytes by relation, numbered from 0.
//! Pipelines read it up to the commit at which their epoch ends; what all have is trimmed, and
//! commits that none stands between may be consolidated, as in a [`crate::changelog`].

use crate::document;
use crate::error::{Error, Result};
use crate::ids::{DmlCommit, RelationId};
use crate::keys;
use crate::log_entry;
use crate::store::{Keyspace, Reader, WriteBatch};

/// Writes chunk `seq` of what a commit changed in a table, and notes the commit as the last.
pub fn append(batch: &mut WriteBatch, commit: DmlCommit, relation: RelationId, seq: u32, chunk: &[u8]) {
    let value = log_entry::encode(chunk);
    let key = keys::dml_key(commit, relation, seq);
    batch.put(Keyspace::Dml, &key, &value);
    batch.put(Keyspace::Meta, keys::DML_LAST, &commit.0.to_le_bytes());
}

/// The last commit of the log, whether or not it was trimmed since; 0 before the first.
pub fn last(reader: &dyn Reader) -> Result<DmlCommit> {
    mark(reader, keys::DML_LAST)
}

/// Replaces all commits after `after` up to and including `upto` by `chunks`, which hold the sum
/// of their changes to each table and are kept under `upto`. No pipeline may stand between the
/// two.
pub fn consolidate<'a>(
    batch: &mut WriteBatch,
    after: DmlCommit,
    upto: DmlCommit,
    chunks: impl IntoIterator<Item = (RelationId, u32, &'a [u8])>,
) {
    let span = keys::dml_range(after, upto);
    batch.delete_range(Keyspace::Dml, &span.start, &span.end);
    // Keeps the span known where no chunk is left; 0 is no relation's id.
    let nothing = log_entry::encode_span(None, after.0);
    let no_relation = keys::dml_key(upto, RelationId(0), 0);
    batch.put(Keyspace::Dml, &no_relation, &nothing);
    for (relation, seq, chunk) in chunks {
        let value = log_entry::encode_span(Some(chunk), after.0);
        let key = keys::dml_key(upto, relation, seq);
        batch.put(Keyspace::Dml, &key, &value);
    }
}

/// A chunk of the log: its commit, its table, its number in the commit, its bytes.
pub type DmlEntry = (DmlCommit, RelationId, u32, Vec<u8>);

/// The chunks of the commits after `after` up to and including `upto`: by commit, then relation,
/// then number.
pub fn read(
    reader: &dyn Reader,
    after: DmlCommit,
    upto: DmlCommit,
) -> Result<impl Iterator<Item = Result<DmlEntry>> + Send + '_> {
    let range = keys::dml_range(after, upto);
    let entries = reader.scan(Keyspace::Dml, &range.start, Some(&range.end));
    // Asked after the scan has begun, so that a trim in between isn't missed.
    let kept_after = trimmed(reader)?;
    if after < kept_after {
        return Err(Error::Trimmed {
            log: NAME.to_owned(),
            asked: after.0,
            kept_after: kept_after.0,
        });
    }
    let chunk = move |key: &[u8], value| {
        let (commit, relation, seq) = keys::split_dml_key(key)?;
        let chunk = log_entry::decode(value, commit.0, after.0, || NAME.to_owned())?;
        Ok(chunk.map(|chunk| (commit, relation, seq, chunk)))
    };
    Ok(entries.filter_map(move |entry| entry.and_then(|(key, value)| chunk(&key, value)).transpose()))
}

/// Deletes the commits up to and including `upto`, which must not be less than in an earlier call.
pub fn trim(batch: &mut WriteBatch, upto: DmlCommit) {
    let end = keys::dml_range(DmlCommit::ZERO, upto).end;
    batch.delete_range(Keyspace::Dml, &[], &end);
    batch.put(Keyspace::Meta, keys::DML_TRIMMED, &upto.0.to_le_bytes());
}

/// The last commit that was trimmed away; 0 if none was.
pub fn trimmed(reader: &dyn Reader) -> Result<DmlCommit> {
    mark(reader, keys::DML_TRIMMED)
}

/// What the log takes, in bytes. Reads all of it: ask once, then count along.
pub fn bytes(reader: &dyn Reader) -> Result<u64> {
    let mut entries = reader.scan(Keyspace::Dml, &[], None);
    entries.try_fold(0, |bytes, entry| Ok(bytes + entry?.1.len() as u64))
}

const NAME: &str = "the DML log";

fn mark(reader: &dyn Reader, key: &[u8]) -> Result<DmlCommit> {
    match reader.get(Keyspace::Meta, key)? {
        None => Ok(DmlCommit::ZERO),
        Some(number) => document::decode_number(&number, NAME).map(DmlCommit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, Store};

    fn written() -> MemoryStore {
        let store = MemoryStore::new();
        for commit in [1, 2, 3, 9].map(DmlCommit) {
            change(&store, |batch| {
                for relation in [8, 7].map(RelationId) {
                    let chunk = format!("{commit}/{relation}");
                    append(batch, commit, relation, 0, chunk.as_bytes());
                }
            });
        }
        store
    }

    fn change(store: &MemoryStore, fill: impl FnOnce(&mut WriteBatch)) {
        let mut batch = WriteBatch::new();
        fill(&mut batch);
        store.commit(batch).unwrap();
    }

    fn chunks(store: &MemoryStore, after: u64, upto: u64) -> Result<Vec<String>> {
        let entries = read(store, DmlCommit(after), DmlCommit(upto))?;
        entries
            .map(|entry| {
                let (commit, relation, seq, chunk) = entry?;
                let chunk = String::from_utf8(chunk).unwrap();
                Ok(format!("{commit}.{relation}.{seq}={chunk}"))
            })
            .collect()
    }

    fn kept_after(result: Result<Vec<String>>) -> u64 {
        match result {
            Err(Error::Trimmed { kept_after, .. }) => kept_after,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commits_are_read_in_order_across_tables() {
        let store = written();
        assert_eq!(last(&MemoryStore::new()).unwrap(), DmlCommit::ZERO);
        assert_eq!(last(&store).unwrap(), DmlCommit(9));
        let middle = ["2.7.0=2/7", "2.8.0=2/8", "3.7.0=3/7", "3.8.0=3/8"];
        assert_eq!(chunks(&store, 1, 3).unwrap(), middle);
        assert_eq!(chunks(&store, 0, u64::MAX).unwrap().len(), 8);
        assert!(chunks(&store, 9, u64::MAX).unwrap().is_empty());
        assert!(chunks(&store, 3, 1).unwrap().is_empty());
    }

    #[test]
    fn trimming_keeps_the_rest_and_the_last_number() {
        let store = written();
        change(&store, |batch| trim(batch, DmlCommit(2)));
        assert_eq!(kept_after(chunks(&store, 1, 9)), 2);
        assert_eq!(chunks(&store, 2, 3).unwrap(), ["3.7.0=3/7", "3.8.0=3/8"]);
        change(&store, |batch| trim(batch, DmlCommit(9)));
        assert_eq!(bytes(&store).unwrap(), 0);
        assert_eq!(trimmed(&store).unwrap(), DmlCommit(9));
        assert_eq!(last(&store).unwrap(), DmlCommit(9));
        assert!(chunks(&store, 9, 20).unwrap().is_empty());
    }

    #[test]
    fn a_consolidated_span_is_read_from_its_edges_only() {
        let store = written();
        change(&store, |batch| {
            let chunks = [(RelationId(7), 0, &b"sum"[..]), (RelationId(7), 1, b"more")];
            consolidate(batch, DmlCommit(1), DmlCommit(3), chunks);
        });
        assert_eq!(chunks(&store, 1, 3).unwrap(), ["3.7.0=sum", "3.7.1=more"]);
        assert_eq!(kept_after(chunks(&store, 2, 9)), 3);
        assert_eq!(chunks(&store, 3, 9).unwrap(), ["9.7.0=9/7", "9.8.0=9/8"]);
        change(&store, |batch| consolidate(batch, DmlCommit(1), DmlCommit(9), []));
        assert!(chunks(&store, 1, 9).unwrap().is_empty());
        assert_eq!(kept_after(chunks(&store, 3, 9)), 9);
        assert_eq!(chunks(&store, 0, 9).unwrap(), ["1.7.0=1/7", "1.8.0=1/8"]);
    }
}
