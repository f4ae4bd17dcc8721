//! How values of the view keyspace are stored: a tag byte says whether it is a put value or a
//! counter.
//!
//! Only merge operands make counters, so the merge operator and the compaction filter can never
//! take a put value for one, whatever its bytes. An operand and a whole counter look the same;
//! sums of sums are sums, in whatever order compaction forms them. A counter that has come to 0
//! reads as absent, and the filter drops it when compaction comes by. (RocksDB doesn't show a
//! filter what it has just merged, so such an entry may stay until the next time; the families'
//! periodic compaction sees to it that there is one.)

use rocksdb::MergeOperands;
use rocksdb::compaction_filter::Decision;

use crate::error::{Error, Result};

const VALUE: u8 = 0;
const COUNTER: u8 = 1;
const COUNTER_BYTES: usize = 9;

/// Writes the stored form of a put value over what is in `tagged`.
pub(super) fn tag_value(value: &[u8], tagged: &mut Vec<u8>) {
    tagged.clear();
    tagged.push(VALUE);
    tagged.extend_from_slice(value);
}

/// The stored form of a counter, and of what is added to one.
pub(super) fn tag_counter(sum: i64) -> [u8; COUNTER_BYTES] {
    let mut tagged = [COUNTER; COUNTER_BYTES];
    tagged[1..].copy_from_slice(&sum.to_le_bytes());
    tagged
}

/// What a reader sees.
pub(super) fn read(stored: &[u8]) -> Result<Option<Vec<u8>>> {
    match stored.split_first() {
        Some((&VALUE, value)) => Ok(Some(value.to_vec())),
        _ => match sum_of(stored) {
            Some(0) => Ok(None),
            Some(_) => Ok(Some(stored[1..].to_vec())),
            None => Err(Error::corrupt(
                "a value of the view keyspace",
                format_args!("tag {:?}, {} bytes", stored.first(), stored.len()),
            )),
        },
    }
}

/// RocksDB's merge, both full and partial. `None` (on damaged bytes) fails the read or the
/// compaction that asked.
pub(super) fn merge(_key: &[u8], existing: Option<&[u8]>, added: &MergeOperands) -> Option<Vec<u8>> {
    let before = match existing {
        None => 0,
        Some(stored) if stored.first() == Some(&VALUE) => return Some(stored.to_vec()),
        Some(stored) => sum_of(stored)?,
    };
    let sum = added
        .iter()
        .try_fold(before, |sum, operand| Some(i64::wrapping_add(sum, sum_of(operand)?)))?;
    Some(tag_counter(sum).to_vec())
}

/// RocksDB's compaction filter. Dropping is safe under snapshots too: an entry that is dropped
/// read as absent wherever it could be seen.
pub(super) fn filter(_level: u32, _key: &[u8], stored: &[u8]) -> Decision {
    match sum_of(stored) {
        Some(0) => Decision::Remove,
        _ => Decision::Keep,
    }
}

fn sum_of(stored: &[u8]) -> Option<i64> {
    match stored.split_first()? {
        (&COUNTER, sum) => Some(i64::from_le_bytes(sum.try_into().ok()?)),
        _ => None,
    }
}
