//! The changelog of a view: its changes by epoch, kept for those who follow it.
//!
//! An epoch's changes are one or more chunks of bytes, numbered from 0. A follower (a sink,
//! another pipeline, a subscriber that may come back) is registered with the epoch it has; what
//! all have is trimmed. Epochs that no follower stands between may be consolidated into the last
//! of them ([`consolidate`]). Whoever then asks from before the kept part, or from the middle of a
//! consolidated span, gets [`Error::Trimmed`], never a gap or a repetition.

use serde::{Deserialize, Serialize};

use crate::document;
use crate::error::{Error, Result};
use crate::ids::{Epoch, RelationId};
use crate::keys;
use crate::log_entry;
use crate::store::{Keyspace, Reader, WriteBatch};

/// Writes chunk `seq` of an epoch.
pub fn append(batch: &mut WriteBatch, relation: RelationId, epoch: Epoch, seq: u32, chunk: &[u8]) {
    let value = log_entry::encode(chunk);
    batch.put(Keyspace::Log, &keys::log_key(relation, epoch, seq), &value);
}

/// Marks an epoch at which the view mixes two moments, so that nobody may be left standing there
/// ([`Part::Mixed`]). Behind its chunks.
pub fn mark_mixed(batch: &mut WriteBatch, relation: RelationId, epoch: Epoch) {
    let key = keys::log_key(relation, epoch, u32::MAX);
    batch.put(Keyspace::Log, &key, &log_entry::encode_mark());
}

/// A part of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A chunk of its changes.
    Chunk(Vec<u8>),
    /// It is mixed; no part of it comes after this.
    Mixed,
}

/// Replaces all epochs after `after` up to and including `upto` by `chunks`, which hold the sum of
/// their changes (no chunk: all cancelled out) and are kept under `upto`. No follower may stand
/// between the two.
pub fn consolidate<'a>(
    batch: &mut WriteBatch,
    relation: RelationId,
    after: Epoch,
    upto: Epoch,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) {
    let span = keys::log_range(relation, after, upto);
    batch.delete_range(Keyspace::Log, &span.start, &span.end);
    let nothing = log_entry::encode_span(None, after.0);
    batch.put(Keyspace::Log, &keys::log_key(relation, upto, 0), &nothing);
    for (chunk, seq) in chunks.into_iter().zip(0..) {
        let value = log_entry::encode_span(Some(chunk), after.0);
        batch.put(Keyspace::Log, &keys::log_key(relation, upto, seq), &value);
    }
}

/// The chunks of the epochs after `after` up to and including `upto`, in order.
pub fn read(
    reader: &dyn Reader,
    relation: RelationId,
    after: Epoch,
    upto: Epoch,
) -> Result<impl Iterator<Item = Result<(Epoch, u32, Vec<u8>)>> + Send + '_> {
    let parts = read_parts(reader, relation, after, upto)?;
    Ok(parts.filter_map(|part| match part {
        Ok((epoch, seq, Part::Chunk(chunk))) => Some(Ok((epoch, seq, chunk))),
        Ok((_, _, Part::Mixed)) => None,
        Err(error) => Some(Err(error)),
    }))
}

/// The same, with what is marked of the epochs.
pub fn read_parts(
    reader: &dyn Reader,
    relation: RelationId,
    after: Epoch,
    upto: Epoch,
) -> Result<impl Iterator<Item = Result<(Epoch, u32, Part)>> + Send + '_> {
    let range = keys::log_range(relation, after, upto);
    let entries = reader.scan(Keyspace::Log, &range.start, Some(&range.end));
    // Asked after the scan has begun, so that a trim in between isn't missed.
    let kept_after = trimmed(reader, relation)?;
    if after < kept_after {
        return Err(Error::Trimmed {
            log: name(relation),
            asked: after.0,
            kept_after: kept_after.0,
        });
    }
    let part = move |key: &[u8], value: Vec<u8>| {
        let (_, epoch, seq) = keys::split_log_key(key)?;
        if log_entry::is_mark(&value) {
            return Ok(Some((epoch, seq, Part::Mixed)));
        }
        let chunk = log_entry::decode(value, epoch.0, after.0, || name(relation))?;
        Ok(chunk.map(|chunk| (epoch, seq, Part::Chunk(chunk))))
    };
    Ok(entries.filter_map(move |entry| entry.and_then(|(key, value)| part(&key, value)).transpose()))
}

/// Deletes the epochs up to and including `upto`, which must not be less than in an earlier call.
/// A range delete: for many epochs at once it costs no more than for one.
pub fn trim(batch: &mut WriteBatch, relation: RelationId, upto: Epoch) {
    let start = keys::view_range(relation).start;
    let end = keys::log_range(relation, Epoch::ZERO, upto).end;
    batch.delete_range(Keyspace::Log, &start, &end);
    let mark = upto.0.to_le_bytes();
    batch.put(Keyspace::Meta, &keys::log_trimmed_key(relation), &mark);
}

/// The last epoch that was trimmed away; 0 if none was.
pub fn trimmed(reader: &dyn Reader, relation: RelationId) -> Result<Epoch> {
    match reader.get(Keyspace::Meta, &keys::log_trimmed_key(relation))? {
        None => Ok(Epoch::ZERO),
        Some(mark) => document::decode_number(&mark, &name(relation)).map(Epoch),
    }
}

/// Deletes the whole changelog of a dropped view, and its followers' records.
pub fn remove(batch: &mut WriteBatch, relation: RelationId) {
    let log = keys::view_range(relation);
    batch.delete_range(Keyspace::Log, &log.start, &log.end);
    batch.delete(Keyspace::Meta, &keys::log_trimmed_key(relation));
    let followers = keys::followers_of_range(relation);
    batch.delete_range(Keyspace::Meta, &followers.start, &followers.end);
}

/// What the changelog takes, in bytes. Reads all of it: ask once, then count along.
pub fn bytes(reader: &dyn Reader, relation: RelationId) -> Result<u64> {
    let range = keys::view_range(relation);
    let mut entries = reader.scan(Keyspace::Log, &range.start, Some(&range.end));
    entries.try_fold(0, |bytes, entry| Ok(bytes + entry?.1.len() as u64))
}

/// Someone who reads a view's changelog, and the last epoch they have.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Follower {
    /// Unique among the view's followers.
    pub name: String,
    pub relation: RelationId,
    pub delivered: Epoch,
}

impl Follower {
    /// Registers the follower, or notes how far it has come.
    pub fn put(&self, batch: &mut WriteBatch) {
        let key = keys::follower_key(self.relation, &self.name);
        batch.put(Keyspace::Meta, &key, &document::encode(self));
    }

    pub fn remove(&self, batch: &mut WriteBatch) {
        let key = keys::follower_key(self.relation, &self.name);
        batch.delete(Keyspace::Meta, &key);
    }

    /// All followers, by view and name.
    pub fn load(reader: &dyn Reader) -> Result<Vec<Follower>> {
        let range = keys::follower_range();
        let records = reader.scan(Keyspace::Meta, &range.start, Some(&range.end));
        records
            .map(|record| document::decode(&record?.1, || "a follower's record".to_owned()))
            .collect()
    }
}

fn name(relation: RelationId) -> String {
    format!("the changelog of relation {relation}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, Store};

    const VIEW: RelationId = RelationId(5);

    fn written(fill: impl FnOnce(&mut WriteBatch)) -> MemoryStore {
        let store = MemoryStore::new();
        for relation in [RelationId(4), VIEW, RelationId(6)] {
            let mut batch = WriteBatch::new();
            for epoch in [2, 3, 5, 300] {
                for seq in 0..2 {
                    let chunk = format!("{relation}/{epoch}/{seq}");
                    append(&mut batch, relation, Epoch(epoch), seq, chunk.as_bytes());
                }
            }
            store.commit(batch).unwrap();
        }
        change(&store, fill);
        store
    }

    fn change(store: &MemoryStore, fill: impl FnOnce(&mut WriteBatch)) {
        let mut batch = WriteBatch::new();
        fill(&mut batch);
        store.commit(batch).unwrap();
    }

    fn chunks(store: &MemoryStore, after: u64, upto: u64) -> Result<Vec<String>> {
        let entries = read(store, VIEW, Epoch(after), Epoch(upto))?;
        entries
            .map(|entry| {
                let (epoch, seq, chunk) = entry?;
                Ok(format!("{epoch}.{seq}={}", String::from_utf8(chunk).unwrap()))
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
    fn epochs_are_read_in_order_after_and_up_to() {
        let store = written(|_| {});
        let middle = ["3.0=5/3/0", "3.1=5/3/1", "5.0=5/5/0", "5.1=5/5/1"];
        assert_eq!(chunks(&store, 2, 5).unwrap(), middle);
        assert_eq!(chunks(&store, 2, 299).unwrap(), middle);
        assert_eq!(chunks(&store, 0, u64::MAX).unwrap().len(), 8);
        for (after, upto) in [(300, u64::MAX), (3, 4), (5, 5), (5, 2), (u64::MAX, u64::MAX)] {
            assert!(chunks(&store, after, upto).unwrap().is_empty());
        }
    }

    #[test]
    fn a_mark_comes_behind_the_chunks_of_its_epoch() {
        let store = written(|batch| mark_mixed(batch, VIEW, Epoch(3)));
        assert_eq!(chunks(&store, 2, 3).unwrap(), ["3.0=5/3/0", "3.1=5/3/1"]);
        let parts = read_parts(&store, VIEW, Epoch(2), Epoch(5)).unwrap();
        let marked: Vec<bool> = parts.map(|part| part.unwrap().2 == Part::Mixed).collect();
        assert_eq!(marked, [false, false, true, false, false]);
        change(&store, |batch| trim(batch, VIEW, Epoch(4)));
        let mut parts = read_parts(&store, VIEW, Epoch(4), Epoch(9)).unwrap();
        assert!(parts.all(|part| part.unwrap().2 != Part::Mixed));
    }

    #[test]
    fn what_was_trimmed_is_refused_and_the_rest_stays() {
        let store = written(|batch| trim(batch, VIEW, Epoch(4)));
        assert_eq!(trimmed(&store, VIEW).unwrap(), Epoch(4));
        assert_eq!(chunks(&store, 4, 5).unwrap(), ["5.0=5/5/0", "5.1=5/5/1"]);
        assert_eq!(kept_after(chunks(&store, 3, 5)), 4);
        assert_eq!(kept_after(chunks(&store, 0, 1)), 4);
        for other in [4, 6].map(RelationId) {
            let entries = read(&store, other, Epoch::ZERO, Epoch(u64::MAX)).unwrap();
            assert_eq!(entries.count(), 8);
        }
        change(&store, |batch| trim(batch, VIEW, Epoch(u64::MAX)));
        assert_eq!(bytes(&store, VIEW).unwrap(), 0);
        assert!(bytes(&store, RelationId(6)).unwrap() > 0);
    }

    #[test]
    fn a_consolidated_span_is_read_from_its_edges_only() {
        let store = written(|batch| {
            consolidate(batch, VIEW, Epoch(2), Epoch(5), [&b"sum"[..], b"more"]);
        });
        let all = ["2.0=5/2/0", "2.1=5/2/1", "5.0=sum", "5.1=more"];
        assert_eq!(chunks(&store, 0, 5).unwrap(), all);
        assert_eq!(chunks(&store, 1, 299).unwrap(), all);
        assert_eq!(chunks(&store, 2, 5).unwrap(), all[2..]);
        assert!(chunks(&store, 5, 299).unwrap().is_empty());
        for inside in [3, 4] {
            assert_eq!(kept_after(chunks(&store, inside, 300)), 5);
        }
        // Up to a place inside, there is nothing yet.
        assert!(chunks(&store, 2, 4).unwrap().is_empty());
        // Again, over a span and what came after it.
        change(&store, |batch| {
            consolidate(batch, VIEW, Epoch(1), Epoch(300), [&b"all"[..]]);
        });
        assert_eq!(chunks(&store, 1, 300).unwrap(), ["300.0=all"]);
        assert_eq!(kept_after(chunks(&store, 5, 300)), 300);
    }

    #[test]
    fn a_span_that_cancelled_out_is_still_a_span() {
        let store = written(|batch| consolidate(batch, VIEW, Epoch(2), Epoch(5), []));
        assert!(chunks(&store, 2, 5).unwrap().is_empty());
        assert_eq!(chunks(&store, 2, 300).unwrap(), ["300.0=5/300/0", "300.1=5/300/1"]);
        assert_eq!(kept_after(chunks(&store, 3, 300)), 5);
    }

    #[test]
    fn followers_are_kept_by_view_and_name() {
        let follower = |relation: u32, name: &str, epoch| Follower {
            name: name.to_owned(),
            relation: RelationId(relation),
            delivered: Epoch(epoch),
        };
        let store = written(|batch| {
            for follower in [follower(6, "s", 1), follower(5, "b", 2), follower(5, "a", 3)] {
                follower.put(batch);
            }
        });
        change(&store, |batch| follower(5, "b", 9).put(batch));
        let expected = [follower(5, "a", 3), follower(5, "b", 9), follower(6, "s", 1)];
        assert_eq!(Follower::load(&store).unwrap(), expected);
        change(&store, |batch| expected[0].remove(batch));
        assert_eq!(Follower::load(&store).unwrap(), expected[1..]);

        change(&store, |batch| {
            trim(batch, VIEW, Epoch(3));
            remove(batch, VIEW);
        });
        assert_eq!(Follower::load(&store).unwrap(), expected[2..]);
        assert_eq!(bytes(&store, VIEW).unwrap(), 0);
        assert_eq!(trimmed(&store, VIEW).unwrap(), Epoch::ZERO);
    }

    #[test]
    fn a_damaged_entry_is_named() {
        let store = written(|batch| {
            let key = keys::log_key(VIEW, Epoch(3), 0);
            batch.put(Keyspace::Log, &key, &[1, 2, 3, 1]);
        });
        let error = chunks(&store, 2, 3).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains("changelog of relation 5"), "{error}");
    }
}
