//! Hash and shards are part of the data format: their values are pinned, their quality is measured.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use proptest::prelude::*;

use super::*;
use crate::change::Weights;

#[test]
fn hashes_are_pinned() {
    let bytes: Vec<u8> = (0..=255).collect();
    let pinned = [
        (0, 0x7c48_e7de_d287_4d6e),
        (1, 0xffc7_a2b1_bee5_9e84),
        (2, 0xff33_228f_c7e4_6484),
        (3, 0x1151_756f_f2d4_7338),
        (4, 0xa6eb_e98e_c58c_bdcb),
        (7, 0x7cf5_c52f_18cc_cbb4),
        (8, 0x5434_32b3_70d2_128b),
        (9, 0x2686_f914_a5f9_c67a),
        (16, 0x123d_700e_7591_2def),
        (17, 0x19fd_a1e5_d4f8_6fd8),
        (32, 0x0071_390f_1a44_ce7c),
        (33, 0x2ab4_4b9f_dad0_ccbf),
        (100, 0x2460_3e56_abd5_6d74),
        (256, 0x9086_8468_d2b7_3a88),
    ];
    for (len, hash) in pinned {
        assert_eq!(
            hash_key(&bytes[..len]),
            hash,
            "{len} bytes: {:#018x}",
            hash_key(&bytes[..len])
        );
    }
}

#[test]
fn shards_are_pinned() {
    let codec = RowCodec::for_types(&[DataType::Int64, DataType::Utf8]).unwrap();
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), Some(1), None]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["", "warsaw", "łódź"]));
    let rows = codec.encode(&[numbers, texts], 3).unwrap();
    let shards: Vec<u8> = hash_rows(&rows).into_iter().map(|hash| shard_of(hash).0).collect();
    assert_eq!(shards, [49, 251, 73]);
}

/// Chi-squared of `count` hashes' eight bits from `shift` on, over 256 places: 255 is expected,
/// more than 400 is as likely as 1 in 10^8.
fn chi_squared(hashes: &[u64], shift: u32) -> f64 {
    let mut places = [0_u32; 256];
    hashes
        .iter()
        .for_each(|hash| places[(hash >> shift) as usize & 255] += 1);
    let expected = hashes.len() as f64 / 256.0;
    places
        .iter()
        .map(|place| (f64::from(*place) - expected).powi(2) / expected)
        .sum()
}

#[test]
fn like_keys_spread_evenly() {
    let key_sets: [Vec<Vec<u8>>; 4] = [
        (0..100_000_i64)
            .map(|n| [&[2], &(n ^ i64::MIN).to_be_bytes()[..]].concat())
            .collect(),
        (0..100_000_i64)
            .map(|n| (n * 1_000_000).to_be_bytes().to_vec())
            .collect(),
        (0..100_000).map(|n| format!("user-{n}").into_bytes()).collect(),
        (0..100_000).map(|n| format!("{:>40}", n * 256).into_bytes()).collect(),
    ];
    for keys in key_sets {
        let mut hashes: Vec<u64> = keys.iter().map(|key| hash_key(key)).collect();
        for shift in [0, 8, 24, 48, 56] {
            let chi_squared = chi_squared(&hashes, shift);
            assert!(chi_squared < 400.0, "bits {shift}..: {chi_squared} for {:?}", keys[1]);
        }
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), keys.len(), "two of 100000 keys collide");
    }
}

/// A changed bit of the key changes each bit of the hash in half of all cases.
#[test]
fn each_bit_matters() {
    for len in [1, 3, 4, 8, 9, 16, 17, 40] {
        for bit in 0..len * 8 {
            let mut flips = 0;
            for sample in 0..200_u64 {
                let mut key: Vec<u8> = (0..len as u64)
                    .map(|at| (hash_key(&[sample as u8, at as u8]) >> 7) as u8)
                    .collect();
                let before = hash_key(&key);
                key[bit / 8] ^= 1 << (bit % 8);
                flips += (before ^ hash_key(&key)).count_ones();
            }
            let part = f64::from(flips) / (200.0 * 64.0);
            assert!((0.45..0.55).contains(&part), "bit {bit} of {len} bytes: {part}");
        }
    }
}

#[test]
fn tasks_own_contiguous_ranges() {
    for tasks in 1..=SHARDS {
        let owned: Vec<_> = (0..tasks).map(|task| shards_of(task, tasks)).collect();
        assert_eq!(owned[0].start, 0);
        assert_eq!(owned[tasks - 1].end, SHARDS);
        assert!(owned.windows(2).all(|pair| pair[0].end == pair[1].start));
        let sizes = || owned.iter().map(|range| range.len());
        assert!(sizes().max().unwrap() - sizes().min().unwrap() <= 1);
        for (task, range) in owned.iter().enumerate() {
            assert!(range.clone().all(|shard| task_of(Shard(shard as u8), tasks) == task));
        }
    }
}

fn keyed(rows: &[(i64, i64)]) -> ChangeBatch {
    let schema = Schema::new(vec![
        Field::new("position", DataType::Int64, false),
        Field::new("key", DataType::Int64, false),
    ]);
    let positions = Int64Array::from_iter_values(0..rows.len() as i64);
    let keys = Int64Array::from_iter_values(rows.iter().map(|row| row.0));
    let rows_in = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(positions), Arc::new(keys)]);
    let weights = rows.iter().map(|row| row.1).collect();
    ChangeBatch::new(rows_in.unwrap(), Weights::Each(weights))
}

#[test]
fn a_wrong_number_of_tasks_is_refused() {
    let codec = RowCodec::for_types(&[DataType::Int64]).unwrap();
    let batch = keyed(&[(1, 1)]);
    assert!(deal(&batch, &codec, &[1], 0).is_err());
    assert!(deal(&batch, &codec, &[1], SHARDS + 1).is_err());
}

proptest! {
    #[test]
    fn dealing_loses_nothing_and_keeps_keys_together(
        rows in proptest::collection::vec((0..30_i64, -2..3_i64), 0..100),
        tasks in 1..9_usize,
    ) {
        let codec = RowCodec::for_types(&[DataType::Int64]).unwrap();
        let dealt = deal(&keyed(&rows), &codec, &[1], tasks).unwrap();
        prop_assert_eq!(dealt.len(), tasks);
        let mut seen = vec![false; rows.len()];
        let mut task_of_key = HashMap::new();
        for (task, batch) in dealt.iter().enumerate() {
            let positions = batch.column(0).as_primitive::<Int64Type>().values();
            prop_assert!(positions.is_sorted());
            for (index, position) in positions.iter().enumerate() {
                let (key, weight) = rows[*position as usize];
                prop_assert!(!std::mem::replace(&mut seen[*position as usize], true));
                prop_assert_eq!(batch.weight(index), weight);
                prop_assert_eq!(*task_of_key.entry(key).or_insert(task), task);
            }
        }
        prop_assert!(seen.into_iter().all(|seen| seen));
    }
}
