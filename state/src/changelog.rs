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
    let chunk = move |key: &[u8], value| {
        let (_, epoch, seq) = keys::split_log_key(key)?;
        let chunk = log_entry::decode(value, epoch.0, after.0, || name(relation))?;
        Ok(chunk.map(|chunk| (epoch, seq, chunk)))
    };
    Ok(entries.filter_map(move |entry| {
        entry
            .and_then(|(key, value)| chunk(&key, value))
            .transpose()
    }))
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
