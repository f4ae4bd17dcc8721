//! Which shard a key belongs to, and which task owns it.
//!
//! A key's bytes (see [`crate::row`]) are hashed to 64 bits; eight of them name one of [`SHARDS`]
//! fixed shards; each task of a stage owns a contiguous range of shards. Stored keys contain their
//! shard, so the hash is part of the data format: it is written here, pinned by test vectors, and
//! changes only together with [`VERSION`].

use std::ops::Range;

use arrow::array::{ArrayRef, UInt32Array};
use weir_state::Shard;

use crate::change::ChangeBatch;
use crate::row::{RowCodec, Rows};
use crate::{Error, Result};

/// Number of shards of every keyed stage and table, whatever its parallelism.
pub const SHARDS: usize = 256;

/// Version of the hash and of the shard taken from it.
pub const VERSION: u8 = 1;

/// Digits of pi after the point, in base 2^64, made odd: constants nobody chose.
const PI: [u64; 4] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7345,
    0xa409_3822_299f_31d1,
    0x082e_fa98_ec4e_6c89,
];

/// Hashes a key's bytes; all 64 bits are good.
///
/// 16 bytes at a time are folded into the state by a 64 x 64 -> 128 bit multiplication, the idea
/// of Wang Yi's wyhash. Both halves of the product are xored onto its factors, so a factor of 0
/// doesn't wipe out the other. It isn't keyed: no defence against keys chosen to collide.
#[inline]
pub fn hash_key(key: &[u8]) -> u64 {
    let len = key.len();
    let mut state = PI[0] ^ (len as u64).wrapping_mul(PI[1]);
    let mut rest = key;
    while rest.len() > 16 {
        state = fold(read_8(rest, 0) ^ PI[2], read_8(rest, 8) ^ state);
        rest = &rest[16..];
    }
    let (low, high) = match rest.len() {
        8.. => (read_8(rest, 0), read_8(rest, rest.len() - 8)),
        4..8 => (read_4(rest, 0), read_4(rest, rest.len() - 4)),
        1..4 => {
            let middle = u64::from(rest[rest.len() / 2]);
            (u64::from(rest[0]) << 8 | middle, u64::from(rest[rest.len() - 1]))
        }
        0 => (0, 0),
    };
    let state = fold(low ^ PI[2], high ^ state);
    fold(state ^ PI[3], PI[1])
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (a ^ product as u64) ^ (b ^ (product >> 64) as u64)
}

#[inline(always)]
fn read_8(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[inline(always)]
fn read_4(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u64::from(u32::from_le_bytes(word))
}

/// The hash of each row's bytes.
pub fn hash_rows(rows: &Rows) -> Vec<u64> {
    let mut hashes = Vec::new();
    hash_rows_into(rows, &mut hashes);
    hashes
}

/// As [`hash_rows`], into memory that is used again; what `hashes` held is gone.
pub fn hash_rows_into(rows: &Rows, hashes: &mut Vec<u64>) {
    hashes.clear();
    hashes.extend(rows.iter().map(hash_key));
}

/// The shard of a hash: its bits 48 to 55. Hash tables use the highest and the lowest bits
/// (hashbrown: the top 7 as tags), which must differ among the keys of one shard.
#[inline]
pub fn shard_of(hash: u64) -> Shard {
    Shard((hash >> 48) as u8)
}

/// The task, of `tasks` (1 to [`SHARDS`]), that owns `shard`. Ranges are contiguous and differ in
/// size by at most one.
#[inline]
pub fn task_of(shard: Shard, tasks: usize) -> usize {
    usize::from(shard.0) * tasks / SHARDS
}

/// The shards that `task` of `tasks` owns: the inverse of [`task_of`].
pub fn shards_of(task: usize, tasks: usize) -> Range<usize> {
    let first = |task: usize| (task * SHARDS).div_ceil(tasks);
    first(task)..first(task + 1)
}

/// Deals a batch to the tasks of the next stage by the hash of its `key_columns`, which `codec`
/// encodes. Gives one batch per task, the rows in their old order; equal keys meet in one task.
///
/// # Errors
/// If `tasks` isn't 1 to [`SHARDS`], or the codec isn't for these columns.
pub fn deal(batch: &ChangeBatch, codec: &RowCodec, key_columns: &[usize], tasks: usize) -> Result<Vec<ChangeBatch>> {
    if !(1..=SHARDS).contains(&tasks) {
        return Err(Error::internal(format!("can't deal to {tasks} tasks")));
    }
    if tasks == 1 {
        return Ok(vec![batch.clone()]);
    }
    let columns: Vec<ArrayRef> = key_columns.iter().map(|c| batch.column(*c).clone()).collect();
    let rows = codec.encode(&columns, batch.num_rows())?;
    let mut dealt = vec![Vec::with_capacity(batch.num_rows() / tasks + 1); tasks];
    for (index, row) in rows.iter().enumerate() {
        dealt[task_of(shard_of(hash_key(row)), tasks)].push(index as u32);
    }
    dealt
        .into_iter()
        .map(|indices| match indices.len() {
            0 => Ok(ChangeBatch::empty(batch.schema())),
            all if all == batch.num_rows() => Ok(batch.clone()),
            _ => batch.take(&UInt32Array::from(indices)),
        })
        .collect()
}

#[cfg(test)]
mod tests;
