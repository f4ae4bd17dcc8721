//! Formats and generators alone: rows a second on one core.
//!
//! Beside the decoders stands what they can't beat, a check of the same bytes for UTF-8, and Arrow's
//! own JSON reader on the same work. `cargo bench --bench formats [-- FILTER]`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use weir_engine::connector::nexmark::{Columns, Config, Generator, Kind, schema};
use weir_engine::format::{Encoding, EncodingKind, Others, decoder, encoder};

/// Rows in a batch, as readers give them.
const ROWS: usize = 8_192;

fn encoding(kind: EncodingKind) -> Encoding {
    Encoding {
        kind,
        options: BTreeMap::new(),
    }
}

fn some(kind: Kind, names: &[&str]) -> SchemaRef {
    let all = schema(kind);
    let fields = names
        .iter()
        .map(|name| all.field_with_name(name).expect("a column").clone());
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn bids() -> RecordBatch {
    let generator = Generator::new(Config::of_events(10_000_000)).expect("a generator");
    generator
        .rows(Kind::Bid, 5_000_000, ROWS, &schema(Kind::Bid))
        .expect("rows")
}

fn encoded(kind: EncodingKind, rows: &RecordBatch) -> BinaryArray {
    let (mut out, mut ends) = (Vec::new(), Vec::new());
    let mut encoder = encoder(&encoding(kind), &rows.schema()).expect("an encoder");
    encoder.encode(rows, &mut out, &mut ends).expect("bytes");
    let mut start = 0;
    BinaryArray::from_iter_values(ends.iter().map(|end| &out[std::mem::replace(&mut start, *end)..*end]))
}

fn formats(c: &mut Criterion) {
    let rows = bids();
    let all = schema(Kind::Bid);
    let four = some(Kind::Bid, &["auction", "bidder", "price", "date_time"]);
    let mut group = c.benchmark_group("formats");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, kind) in [("json", EncodingKind::Json), ("csv", EncodingKind::Csv)] {
        let records = encoded(kind, &rows);
        let cases = [
            ("7 columns", &all, Others::Passed),
            ("4 columns", &four, Others::Passed),
            ("4 columns and 3 checked", &four, Others::Checked),
        ];
        for (columns, wanted, others) in cases {
            let mut decoder = decoder(&encoding(kind), &all, wanted, others).expect("a decoder");
            group.bench_function(format!("decode {name} bids, {columns}"), |b| {
                b.iter(|| black_box(decoder.decode(&records).expect("rows")));
            });
        }
        let mut encoder = encoder(&encoding(kind), &all).expect("an encoder");
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        group.bench_function(format!("encode {name} bids"), |b| {
            b.iter(|| {
                out.clear();
                ends.clear();
                encoder.encode(&rows, &mut out, &mut ends).expect("bytes");
                black_box(&out);
            });
        });
    }

    let records = encoded(EncodingKind::Json, &rows);
    group.bench_function("floor: UTF-8 check of json bids", |b| {
        b.iter(|| {
            records
                .iter()
                .flatten()
                .filter(|record| std::str::from_utf8(record).is_ok())
                .count()
        });
    });
    let lines: Vec<u8> = records
        .iter()
        .flatten()
        .flat_map(|record| [record, b"\n"].concat())
        .collect();
    group.bench_function("arrow's reader: json bids, 7 columns", |b| {
        b.iter_batched(
            || {
                arrow::json::ReaderBuilder::new(all.clone())
                    .with_batch_size(ROWS)
                    .build_decoder()
                    .expect("a decoder")
            },
            |mut decoder| {
                decoder.decode(&lines).expect("rows");
                black_box(decoder.flush().expect("rows"));
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn generators(c: &mut Criterion) {
    let events = 20_000;
    let mut group = c.benchmark_group("nexmark generator");
    group.throughput(Throughput::Elements(events));
    let q7 = Columns {
        bid: Some(some(Kind::Bid, &["auction", "price", "date_time"])),
        ..Columns::default()
    };
    let keys = Columns {
        person: Some(some(Kind::Person, &["id", "name", "city", "state"])),
        auction: Some(some(Kind::Auction, &["id", "seller", "category"])),
        bid: Some(some(Kind::Bid, &["auction", "price", "date_time"])),
    };
    for (name, columns) in [
        ("all columns", Columns::all()),
        ("few of each kind", keys),
        ("3 of bids", q7),
    ] {
        let mut generator = Generator::new(Config::of_events(10_000_000)).expect("a generator");
        group.bench_function(name, |b| {
            b.iter(|| black_box(generator.next(events, &columns).expect("events")));
        });
    }
    group.finish();
}

criterion_group!(benches, formats, generators);
criterion_main!(benches);
