//! The row codec and the shard hash: rows/s of encoding, decoding, hashing, dealing and
//! consolidating a batch that fits in cache.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_engine::change::{ChangeBatch, consolidate};
use weir_engine::row::{RowCodec, Rows};
use weir_engine::shard::{deal, hash_rows_into};

const ROWS: usize = 16 * 1024;

/// Columns by name; values are spread as keys in events are, without being random.
fn batches() -> Vec<(&'static str, RecordBatch)> {
    let spread = |row: usize| (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let rows = || (0..ROWS).map(spread);
    let numbers: ArrayRef = Arc::new(rows().map(|n| n as i64).collect::<Int64Array>());
    let some: ArrayRef = Arc::new(rows().map(|n| (n % 8 > 0).then_some(n as i64)).collect::<Int64Array>());
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(
        rows().map(|n| format!("user-{}", n % 100_000)),
    ));
    let long = "the quick brown fox jumps over the lazy dog and then over it once more";
    let long_texts: ArrayRef = Arc::new(StringArray::from_iter_values(rows().map(|n| format!("{long} {n}"))));
    let floats: ArrayRef = Arc::new(rows().map(|n| n as f64 / 7.0).collect::<Float64Array>());
    let times = rows().map(|n| n as i64);
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(times));
    let batch = |columns: &[&ArrayRef]| {
        let named = columns.iter().map(|column| ("c", (*column).clone()));
        RecordBatch::try_from_iter(named).expect("columns of one length")
    };
    vec![
        ("i64", batch(&[&numbers])),
        ("i64 nullable", batch(&[&some])),
        ("i64 x 2", batch(&[&numbers, &times])),
        ("text", batch(&[&texts])),
        ("long text", batch(&[&long_texts])),
        ("bid", batch(&[&numbers, &numbers, &numbers, &texts, &times])),
        ("mixed", batch(&[&some, &texts, &floats, &long_texts])),
    ]
}

fn rows(criterion: &mut Criterion) {
    for (name, batch) in batches() {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(ROWS as u64));
        let codec = RowCodec::for_schema(&batch.schema()).expect("types the codec knows");
        let mut rows = Rows::new();
        group.bench_function("encode", |bencher| {
            bencher.iter(|| {
                rows.clear();
                codec
                    .encode_into(batch.columns(), ROWS, &mut rows)
                    .expect("the codec's columns");
            });
        });
        rows.clear();
        codec
            .encode_into(batch.columns(), ROWS, &mut rows)
            .expect("the codec's columns");
        group.bench_function("decode", |bencher| {
            bencher.iter(|| codec.decode(rows.iter()).expect("the codec's rows"));
        });
        let mut hashes = Vec::new();
        group.bench_function("hash", |bencher| bencher.iter(|| hash_rows_into(&rows, &mut hashes)));
    }
}

fn batches_of_changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bid");
    group.throughput(Throughput::Elements(ROWS as u64));
    let (_, batch) = batches().swap_remove(5);
    let batch = ChangeBatch::inserts(batch);
    let codec = RowCodec::for_types(&[batch.column(0).data_type().clone()]).expect("an integer");
    group.bench_function("deal to 4", |bencher| {
        bencher.iter(|| deal(&batch, &codec, &[0], 4).expect("4 tasks"));
    });
    group.bench_function("consolidate", |bencher| {
        bencher.iter(|| consolidate(std::slice::from_ref(&batch)).expect("one batch"));
    });
}

criterion_group!(benches, rows, batches_of_changes);
criterion_main!(benches);
