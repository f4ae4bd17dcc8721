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
pub fn append(
    batch: &mut WriteBatch,
    commit: DmlCommit,
    relation: RelationId,
    seq: u32,
    chunk: &[u8],
) {
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

/// The chunks of the commits after `after` up to and including `upto`: by commit, then relation,
/// then number.
pub fn read(
    reader: &dyn Reader,
    after: DmlCommit,
    upto: DmlCommit,
) -> Result<impl Iterator<Item = Result<(DmlCommit, RelationId, u32, Vec<u8>)>> + Send + '_> {
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
    Ok(entries.filter_map(move |entry| {
        entry
            .and_then(|(key, value)| chunk(&key, value))
            .transpose()
    }))
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
