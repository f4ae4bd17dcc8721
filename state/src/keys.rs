//! The layout of every key in the store.
//!
//! Numbers are big-endian, signed ones with the sign bit flipped, so that byte order is number
//! order and everything that is read or deleted together is one range. A range is half-open,
//! `[start, end)`.
//!
//! | keyspace | key |
//! |---|---|
//! | State | `relation u32, ordinal u16` (the table), `shard u8`, key |
//! | State, bounded by event time | table, `bucket i64`, `shard u8`, key |
//! | View | `relation u32`, key |
//! | Log | `relation u32`, `epoch u64`, `seq u32` |
//! | Dml | `commit u64`, `relation u32`, `seq u32` |
//! | Catalog | `relation u32` |
//! | Meta | a name; then, if there are many, a number |
//!
//! A table is either with buckets or without, for ever: the two forms can't be told apart by
//! looking at a key.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::ids::{DmlCommit, Epoch, PipelineId, RelationId, Shard, TableId};

const TABLE_BYTES: usize = 6;
/// Length of [`state_prefix`].
pub const STATE_PREFIX_BYTES: usize = TABLE_BYTES + 1;
/// Length of [`bucket_prefix`].
pub const BUCKET_PREFIX_BYTES: usize = TABLE_BYTES + 8 + 1;

pub(crate) const INSTANCE_ID: &[u8] = b"instance/id";
pub(crate) const EPOCH_BOUND: &[u8] = b"instance/epoch";
pub(crate) const NEXT_RELATION: &[u8] = b"next/relation";
pub(crate) const NEXT_PIPELINE: &[u8] = b"next/pipeline";
pub(crate) const DML_LAST: &[u8] = b"dml/last";
pub(crate) const DML_TRIMMED: &[u8] = b"dml/trimmed";
const PIPELINE: &[u8] = b"pipeline/";
const FOLLOWER: &[u8] = b"follower/";
const LOG_TRIMMED: &[u8] = b"log/trimmed/";
const UNBORN: &[u8] = b"unborn/";
const HISTORY: &[u8] = b"history/at/";
const HISTORY_BEGIN: &[u8] = b"history/begin/";

// ---- State ---------------------------------------------------------------------------------

/// What the keys of one shard of a table begin with; the stored key is this and then the key.
pub fn state_prefix(table: TableId, shard: Shard) -> [u8; STATE_PREFIX_BYTES] {
    let mut prefix = [0; STATE_PREFIX_BYTES];
    prefix[..TABLE_BYTES].copy_from_slice(&table_bytes(table));
    prefix[TABLE_BYTES] = shard.0;
    prefix
}

pub fn state_key(table: TableId, shard: Shard, key: &[u8]) -> Vec<u8> {
    [&state_prefix(table, shard), key].concat()
}

/// All of a table, with or without buckets.
pub fn state_range(table: TableId) -> Range<Vec<u8>> {
    prefix_range(&table_bytes(table))
}

/// All state tables of a relation.
pub fn relation_state_range(relation: RelationId) -> Range<Vec<u8>> {
    prefix_range(&relation.0.to_be_bytes())
}

/// One shard of a table without buckets.
pub fn shard_range(table: TableId, shard: Shard) -> Range<Vec<u8>> {
    prefix_range(&state_prefix(table, shard))
}

/// Takes a [`state_key`] apart again.
pub fn split_state_key(stored: &[u8]) -> Result<(TableId, Shard, &[u8])> {
    let (table, rest) = split_table(stored)?;
    let (shard, key) = rest.split_first().ok_or_else(|| short("state", stored))?;
    Ok((table, Shard(*shard), key))
}

/// What the keys of one shard in one time bucket begin with.
pub fn bucket_prefix(table: TableId, bucket: i64, shard: Shard) -> [u8; BUCKET_PREFIX_BYTES] {
    let mut prefix = [0; BUCKET_PREFIX_BYTES];
    prefix[..TABLE_BYTES].copy_from_slice(&table_bytes(table));
    prefix[TABLE_BYTES..TABLE_BYTES + 8].copy_from_slice(&ordered(bucket));
    prefix[TABLE_BYTES + 8] = shard.0;
    prefix
}

pub fn bucket_key(table: TableId, bucket: i64, shard: Shard, key: &[u8]) -> Vec<u8> {
    [&bucket_prefix(table, bucket, shard), key].concat()
}

/// The buckets from `buckets.start` up to, without, `buckets.end`, all shards.
pub fn bucket_range(table: TableId, buckets: Range<i64>) -> Range<Vec<u8>> {
    let edge = |bucket| [&table_bytes(table)[..], &ordered(bucket)].concat();
    edge(buckets.start)..edge(buckets.end)
}

/// One shard in one bucket.
pub fn bucket_shard_range(table: TableId, bucket: i64, shard: Shard) -> Range<Vec<u8>> {
    prefix_range(&bucket_prefix(table, bucket, shard))
}

/// Takes a [`bucket_key`] apart again.
pub fn split_bucket_key(stored: &[u8]) -> Result<(TableId, i64, Shard, &[u8])> {
    let (table, rest) = split_table(stored)?;
    let (bucket, rest) = rest.split_first_chunk().ok_or_else(|| short("state", stored))?;
    let (shard, key) = rest.split_first().ok_or_else(|| short("state", stored))?;
    let bucket = (u64::from_be_bytes(*bucket) ^ SIGN) as i64;
    Ok((table, bucket, Shard(*shard), key))
}

// ---- View ----------------------------------------------------------------------------------

pub fn view_key(relation: RelationId, key: &[u8]) -> Vec<u8> {
    [&relation.0.to_be_bytes(), key].concat()
}

pub fn view_range(relation: RelationId) -> Range<Vec<u8>> {
    prefix_range(&relation.0.to_be_bytes())
}

/// Takes a [`view_key`] apart again.
pub fn split_view_key(stored: &[u8]) -> Result<(RelationId, &[u8])> {
    let (relation, key) = stored.split_first_chunk().ok_or_else(|| short("view", stored))?;
    Ok((RelationId(u32::from_be_bytes(*relation)), key))
}

// ---- Log and Dml ---------------------------------------------------------------------------

pub fn log_key(relation: RelationId, epoch: Epoch, seq: u32) -> Vec<u8> {
    [
        &relation.0.to_be_bytes()[..],
        &epoch.0.to_be_bytes(),
        &seq.to_be_bytes(),
    ]
    .concat()
}

/// The epochs after `after` up to and including `upto` of one changelog.
pub fn log_range(relation: RelationId, after: Epoch, upto: Epoch) -> Range<Vec<u8>> {
    let whole = view_range(relation);
    let past = |epoch: Epoch| match epoch.0.checked_add(1) {
        Some(next) => [&whole.start[..], &next.to_be_bytes()].concat(),
        None => whole.end.clone(),
    };
    past(after)..past(upto)
}

/// Takes a [`log_key`] apart again.
pub fn split_log_key(stored: &[u8]) -> Result<(RelationId, Epoch, u32)> {
    let parts: &[u8; 16] = stored.try_into().map_err(|_| short("changelog", stored))?;
    Ok((RelationId(u32_at(parts, 0)), Epoch(u64_at(parts, 4)), u32_at(parts, 12)))
}

pub fn dml_key(commit: DmlCommit, relation: RelationId, seq: u32) -> Vec<u8> {
    [
        &commit.0.to_be_bytes()[..],
        &relation.0.to_be_bytes(),
        &seq.to_be_bytes(),
    ]
    .concat()
}

/// The DML commits after `after` up to and including `upto`.
pub fn dml_range(after: DmlCommit, upto: DmlCommit) -> Range<Vec<u8>> {
    let past = |commit: DmlCommit| match commit.0.checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        // Longer than any key that begins with the last number.
        None => vec![0xFF; 17],
    };
    past(after)..past(upto)
}

/// Takes a [`dml_key`] apart again.
pub fn split_dml_key(stored: &[u8]) -> Result<(DmlCommit, RelationId, u32)> {
    let parts: &[u8; 16] = stored.try_into().map_err(|_| short("DML log", stored))?;
    Ok((
        DmlCommit(u64_at(parts, 0)),
        RelationId(u32_at(parts, 8)),
        u32_at(parts, 12),
    ))
}

// ---- Catalog and Meta ----------------------------------------------------------------------

pub fn catalog_key(relation: RelationId) -> Vec<u8> {
    relation.0.to_be_bytes().to_vec()
}

/// Takes a [`catalog_key`] apart again.
pub fn split_catalog_key(stored: &[u8]) -> Result<RelationId> {
    let number = stored.try_into().map_err(|_| short("catalog", stored))?;
    Ok(RelationId(u32::from_be_bytes(number)))
}

pub(crate) fn pipeline_key(id: PipelineId) -> Vec<u8> {
    [PIPELINE, &id.0.to_be_bytes()].concat()
}

pub(crate) fn pipeline_range() -> Range<Vec<u8>> {
    prefix_range(PIPELINE)
}

pub(crate) fn follower_key(relation: RelationId, name: &str) -> Vec<u8> {
    [FOLLOWER, &relation.0.to_be_bytes(), name.as_bytes()].concat()
}

pub(crate) fn follower_range() -> Range<Vec<u8>> {
    prefix_range(FOLLOWER)
}

pub(crate) fn followers_of_range(relation: RelationId) -> Range<Vec<u8>> {
    prefix_range(&[FOLLOWER, &relation.0.to_be_bytes()].concat())
}

pub(crate) fn log_trimmed_key(relation: RelationId) -> Vec<u8> {
    [LOG_TRIMMED, &relation.0.to_be_bytes()].concat()
}

pub(crate) fn unborn_key(view: RelationId) -> Vec<u8> {
    [UNBORN, &view.0.to_be_bytes()].concat()
}

/// A moment at which a view changed, microseconds since 1970.
pub(crate) fn history_key(view: RelationId, at_us: i64) -> Vec<u8> {
    [HISTORY, &view.0.to_be_bytes(), &ordered(at_us)].concat()
}

/// All moments of a view.
pub(crate) fn history_range(view: RelationId) -> Range<Vec<u8>> {
    prefix_range(&[HISTORY, &view.0.to_be_bytes()].concat())
}

/// The moment of a [`history_key`].
pub(crate) fn split_history_key(stored: &[u8]) -> Result<i64> {
    let at = stored.last_chunk().ok_or_else(|| short("history", stored))?;
    Ok((u64::from_be_bytes(*at) ^ SIGN) as i64)
}

pub(crate) fn history_begin_key(view: RelationId) -> Vec<u8> {
    [HISTORY_BEGIN, &view.0.to_be_bytes()].concat()
}

// ---- Parts ---------------------------------------------------------------------------------

const SIGN: u64 = 1 << 63;

fn ordered(number: i64) -> [u8; 8] {
    (number as u64 ^ SIGN).to_be_bytes()
}

fn table_bytes(table: TableId) -> [u8; TABLE_BYTES] {
    let mut bytes = [0; TABLE_BYTES];
    bytes[..4].copy_from_slice(&table.relation.0.to_be_bytes());
    bytes[4..].copy_from_slice(&table.ordinal.to_be_bytes());
    bytes
}

fn split_table(stored: &[u8]) -> Result<(TableId, &[u8])> {
    let (table, rest): (&[u8; TABLE_BYTES], _) = stored.split_first_chunk().ok_or_else(|| short("state", stored))?;
    let relation = RelationId(u32_at(table, 0));
    let ordinal = u16::from_be_bytes([table[4], table[5]]);
    Ok((TableId { relation, ordinal }, rest))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// All keys that begin with `prefix`, which must not be all 0xFF: such keys have no end. No
/// layout makes one, since relation `u32::MAX` is never given out.
pub fn prefix_range(prefix: &[u8]) -> Range<Vec<u8>> {
    let counts = prefix.iter().rposition(|byte| *byte != 0xFF);
    let last = counts.expect("a prefix of 0xFF alone has no end");
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    prefix.to_vec()..end
}

fn short(what: &str, stored: &[u8]) -> Error {
    Error::corrupt(
        format!("a key of the {what}"),
        format_args!("{} bytes: {stored:02x?}", stored.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: TableId = TableId {
        relation: RelationId(0x01020304),
        ordinal: 0x0506,
    };

    /// Pinned: what is stored under these keys must be found by every later version.
    #[test]
    fn layouts_are_as_they_always_were() {
        let shard = Shard(0x07);
        assert_eq!(state_key(TABLE, shard, b"k"), b"\x01\x02\x03\x04\x05\x06\x07k");
        let buckets: [(i64, &[u8]); 5] = [
            (i64::MIN, b"\0\0\0\0\0\0\0\0"),
            (-1, b"\x7f\xff\xff\xff\xff\xff\xff\xff"),
            (0, b"\x80\0\0\0\0\0\0\0"),
            (258, b"\x80\0\0\0\0\0\x01\x02"),
            (i64::MAX, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ];
        for (bucket, bytes) in buckets {
            let expected = [&b"\x01\x02\x03\x04\x05\x06"[..], bytes, b"\x07k"].concat();
            assert_eq!(bucket_key(TABLE, bucket, shard, b"k"), expected, "{bucket}");
        }
        assert_eq!(view_key(RelationId(258), b"k"), b"\0\0\x01\x02k");
        assert_eq!(
            log_key(RelationId(1), Epoch(2), 3),
            b"\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\x03"
        );
        assert_eq!(
            dml_key(DmlCommit(1), RelationId(2), 3),
            b"\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03"
        );
        assert_eq!(catalog_key(RelationId(258)), b"\0\0\x01\x02");
        assert_eq!(pipeline_key(PipelineId(258)), b"pipeline/\0\0\x01\x02");
        assert_eq!(follower_key(RelationId(258), "s"), b"follower/\0\0\x01\x02s");
        assert_eq!(log_trimmed_key(RelationId(1)), b"log/trimmed/\0\0\0\x01");
        assert_eq!(
            history_key(RelationId(1), 2),
            b"history/at/\0\0\0\x01\x80\0\0\0\0\0\0\x02"
        );
        assert_eq!(history_begin_key(RelationId(1)), b"history/begin/\0\0\0\x01");
    }

    #[test]
    fn keys_come_apart_into_what_they_were_made_of() {
        for shard in [0, 1, 255].map(Shard) {
            for key in [&b""[..], b"k", b"\xff\0"] {
                let stored = state_key(TABLE, shard, key);
                assert_eq!(split_state_key(&stored).unwrap(), (TABLE, shard, key));
                for bucket in [i64::MIN, -1, 0, 1, i64::MAX] {
                    let stored = bucket_key(TABLE, bucket, shard, key);
                    let parts = split_bucket_key(&stored).unwrap();
                    assert_eq!(parts, (TABLE, bucket, shard, key));
                }
            }
        }
        let relation = RelationId(77);
        let stored = view_key(relation, b"k");
        assert_eq!(split_view_key(&stored).unwrap(), (relation, &b"k"[..]));
        let stored = log_key(relation, Epoch(u64::MAX), 9);
        assert_eq!(split_log_key(&stored).unwrap(), (relation, Epoch(u64::MAX), 9));
        let stored = dml_key(DmlCommit(5), relation, u32::MAX);
        let parts = split_dml_key(&stored).unwrap();
        assert_eq!(parts, (DmlCommit(5), relation, u32::MAX));
        assert_eq!(split_catalog_key(&catalog_key(relation)).unwrap(), relation);
    }

    #[test]
    fn keys_that_are_too_short_are_refused() {
        assert!(split_state_key(b"123456").is_err());
        assert!(split_bucket_key(b"12345678901234").is_err());
        assert!(split_view_key(b"123").is_err());
        assert!(split_log_key(b"123456789012345").is_err());
        assert!(split_dml_key(b"12345678901234567").is_err());
        assert!(split_catalog_key(b"12345").is_err());
    }

    #[test]
    fn ranges_hold_their_own_and_nothing_else() {
        let inside = |range: &Range<Vec<u8>>, key: &[u8]| key >= &range.start[..] && key < &range.end[..];
        let keys = [&b""[..], b"k", b"\xff\xff\xff"];
        let table = |relation, ordinal| TableId {
            relation: RelationId(relation),
            ordinal,
        };
        let tables = [
            table(1, 0),
            table(1, 255),
            table(1, u16::MAX),
            table(2, 0),
            table(255, 7),
        ];
        let shards = [0, 1, 254, 255].map(Shard);
        let buckets = [i64::MIN, -256, -1, 0, 1, 255, 256];
        for (table, key) in tables.iter().flat_map(|table| keys.map(|key| (*table, key))) {
            for shard in shards {
                let stored = state_key(table, shard, key);
                for other in tables {
                    assert_eq!(inside(&state_range(other), &stored), other == table);
                    let same = other.relation == table.relation;
                    assert_eq!(inside(&relation_state_range(other.relation), &stored), same);
                    for other_shard in shards {
                        let same = (other, other_shard) == (table, shard);
                        assert_eq!(inside(&shard_range(other, other_shard), &stored), same);
                    }
                }
                for bucket in buckets {
                    let stored = bucket_key(table, bucket, shard, key);
                    assert!(inside(&state_range(table), &stored));
                    for other in buckets {
                        let closed = bucket_range(table, i64::MIN..other);
                        assert_eq!(inside(&closed, &stored), bucket < other);
                        let open = bucket_range(table, other..i64::MAX);
                        assert_eq!(inside(&open, &stored), bucket >= other);
                        for other_shard in shards {
                            let range = bucket_shard_range(table, other, other_shard);
                            let same = (other, other_shard) == (bucket, shard);
                            assert_eq!(inside(&range, &stored), same);
                        }
                    }
                }
            }
            let stored = view_key(table.relation, key);
            for other in tables {
                let same = other.relation == table.relation;
                assert_eq!(inside(&view_range(other.relation), &stored), same);
            }
        }
    }

    #[test]
    fn log_ranges_begin_after_and_include_the_end() {
        let numbers = [0, 1, 255, 256, u64::MAX - 1, u64::MAX];
        for (after, upto) in numbers.iter().flat_map(|a| numbers.map(|b| (*a, b))) {
            let log = log_range(RelationId(9), Epoch(after), Epoch(upto));
            let dml = dml_range(DmlCommit(after), DmlCommit(upto));
            for number in numbers {
                let expected = number > after && number <= upto;
                for seq in [0, u32::MAX] {
                    let key = log_key(RelationId(9), Epoch(number), seq);
                    assert_eq!(log.contains(&key), expected, "{number} in {after}..={upto}");
                    let key = dml_key(DmlCommit(number), RelationId(u32::MAX), seq);
                    assert_eq!(dml.contains(&key), expected, "{number} in {after}..={upto}");
                }
                for other in [8, 10].map(RelationId) {
                    assert!(!log.contains(&log_key(other, Epoch(number), 0)));
                }
            }
        }
    }

    #[test]
    fn byte_order_is_number_order() {
        let numbers = [i64::MIN, i64::MIN + 1, -256, -1, 0, 1, 255, 256, i64::MAX];
        let keys = numbers.map(|bucket| bucket_key(TABLE, bucket, Shard(200), b"k"));
        assert!(keys.is_sorted());
    }
}
