//! Made-up rows are what their options say, and the same every time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;

use crate::connector::conformance::source_conformance;
use crate::connector::{self, Bound, ConnectorSpec, Payload, Positions, SourceConnector, SplitId, Start, Wanted};

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(
        columns
            .iter()
            .map(|(n, t)| Field::new(*n, t.clone(), true))
            .collect::<Vec<_>>(),
    ))
}

fn source(options: &[(&str, &str)], columns: &SchemaRef) -> crate::Result<Arc<dyn SourceConnector>> {
    let options = options
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    connector::source(
        &ConnectorSpec {
            connector: "datagen".to_owned(),
            options,
        },
        columns,
    )
}

/// The first rows of split 0, made at once.
fn rows(options: &[(&str, &str)], columns: &[(&str, DataType)], count: usize) -> RecordBatch {
    let options: Vec<_> = options.iter().copied().chain([("rows_per_second", "0")]).collect();
    let source = source(&options, &schema(columns)).unwrap();
    let mut reader = source
        .open(&source.resolve(&Start::Earliest).unwrap(), None, &Wanted::default())
        .unwrap();
    let read = reader.read(count, Duration::ZERO).unwrap().remove(0);
    match read.payload {
        Payload::Rows { rows, .. } => rows,
        Payload::Records(_) => panic!("datagen makes rows"),
    }
}

fn refused(options: &[(&str, &str)], columns: &[(&str, DataType)]) -> String {
    source(options, &schema(columns)).err().unwrap().to_string()
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

#[test]
fn it_keeps_the_promises_of_sources() {
    let columns = schema(&[("id", DataType::Int64), ("word", DataType::Utf8), ("at", timestamp())]);
    let bounded = [
        ("rows_per_second", "0"),
        ("number_of_rows", "101"),
        ("splits", "3"),
        ("fields.id.kind", "sequence"),
        ("fields.word.null_rate", "0.5"),
    ];
    let counted = source(&bounded, &columns).unwrap();
    source_conformance(counted.as_ref(), None, &Wanted::default());
    let ends = counted.resolve_bound(&Bound::Latest).unwrap().unwrap();
    assert_eq!(ends.values().copied().collect::<Vec<_>>(), [34, 34, 33]);

    let endless = source(&[("rows_per_second", "0")], &columns).unwrap();
    let until = Positions::from([(SplitId("0".into()), 50)]);
    source_conformance(endless.as_ref(), Some(&until), &Wanted::default());
    assert!(endless.resolve_bound(&Bound::Latest).is_err());
    assert!(endless.resolve(&Start::Latest).is_err());
    assert!(
        endless
            .resolve(&Start::Offsets(Positions::from([(SplitId("1".into()), 0)])))
            .is_err()
    );
}

#[test]
fn sequences_count_and_end() {
    let columns = [
        ("id", DataType::Int32),
        ("day", DataType::Date32),
        ("d", DataType::Decimal128(9, 2)),
    ];
    let options = [
        ("fields.id.kind", "sequence"),
        ("fields.id.start", "5"),
        ("fields.id.end", "8"),
        ("fields.day.kind", "sequence"),
        ("fields.day.start", "2024-02-28"),
        ("fields.d.kind", "sequence"),
        ("fields.d.start", "0.5"),
    ];
    let rows = rows(&options, &columns, 100);
    assert_eq!(rows.column(0).as_primitive::<Int32Type>().values()[..], [5, 6, 7, 8]);
    assert_eq!(array_value_to_string(rows.column(1), 2).unwrap(), "2024-03-01");
    assert_eq!(array_value_to_string(rows.column(2), 3).unwrap(), "3.50");

    // A sequence is one over all splits.
    let options = [("fields.id.kind", "sequence"), ("fields.id.end", "6"), ("splits", "2")];
    let first = self::rows(&options, &[("id", DataType::Int64)], 100);
    assert_eq!(first.column(0).as_primitive::<Int64Type>().values()[..], [0, 2, 4, 6]);
}

#[test]
fn random_values_keep_their_range() {
    let columns = [
        ("i", DataType::Int64),
        ("u", DataType::UInt64),
        ("f", DataType::Float64),
        ("t", DataType::Utf8),
        ("c", DataType::Utf8),
        ("n", DataType::Int64),
        ("wide", DataType::Decimal128(38, 0)),
    ];
    let wide = "9".repeat(38);
    let least = format!("-{wide}");
    let options = [
        ("fields.i.min", "-3"),
        ("fields.i.max", "3"),
        ("fields.u.min", "18446744073709551614"),
        ("fields.u.max", "18446744073709551615"),
        ("fields.f.min", "2"),
        ("fields.f.max", "3"),
        ("fields.t.length", "13"),
        ("fields.c.values", "red, green,blue"),
        ("fields.n.null_rate", "0.25"),
        ("fields.wide.min", least.as_str()),
        ("fields.wide.max", wide.as_str()),
    ];
    let rows = rows(&options, &columns, 10_000);
    let count = |value: i64| {
        rows.column(0)
            .as_primitive::<Int64Type>()
            .values()
            .iter()
            .filter(|v| **v == value)
            .count()
    };
    assert!(
        (-3..=3).all(|value| (1_250..1_650).contains(&count(value))),
        "{:?}",
        (-3..=3).map(count).collect::<Vec<_>>()
    );
    assert_eq!(count(4), 0);
    let unsigned = rows.column(1).as_primitive::<arrow::datatypes::UInt64Type>();
    assert!(unsigned.values().iter().all(|value| *value >= u64::MAX - 1));
    assert!(
        rows.column(2)
            .as_primitive::<Float64Type>()
            .values()
            .iter()
            .all(|value| (2.0..3.0).contains(value))
    );
    assert!(
        rows.column(3)
            .as_string::<i32>()
            .iter()
            .all(|text| text.is_some_and(|text| text.len() == 13))
    );
    for colour in ["red", "green", "blue"] {
        let count = rows
            .column(4)
            .as_string::<i32>()
            .iter()
            .filter(|text| *text == Some(colour))
            .count();
        assert!((3_100..3_600).contains(&count), "{colour}: {count}");
    }
    assert!(
        (2_300..2_700).contains(&rows.column(5).null_count()),
        "{}",
        rows.column(5).null_count()
    );
    let wide = rows.column(6).as_primitive::<arrow::datatypes::Decimal128Type>();
    assert!(wide.values().iter().all(|value| value.unsigned_abs() < 10u128.pow(38)));
    assert!(wide.values().iter().any(|value| *value < 0) && wide.values().iter().any(|value| *value > 0));
}

#[test]
fn every_type_of_a_column_is_made() {
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let types = [
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(10, 3),
        DataType::Decimal128(38, 38),
        DataType::Utf8,
        DataType::Binary,
        DataType::Date32,
        DataType::Time64(TimeUnit::Microsecond),
        timestamp(),
        zoned,
    ];
    for data_type in types {
        let rows = rows(&[], &[("v", data_type.clone())], 100);
        assert_eq!(
            (rows.column(0).data_type(), rows.column(0).null_count()),
            (&data_type, 0)
        );
        let distinct: std::collections::BTreeSet<_> = (0..100)
            .map(|row| array_value_to_string(rows.column(0), row).unwrap())
            .collect();
        assert!(distinct.len() > 1, "{data_type}");
    }
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    assert!(refused(&[], &[("l", list)]).contains("column 'l': connector 'datagen' makes no BIGINT[]"));
}

#[test]
fn event_time_goes_with_the_rows() {
    let source = source(
        &[
            ("rows_per_second", "250"),
            ("start_time", "2024-06-01T00:00:00Z"),
            ("number_of_rows", "3"),
        ],
        &schema(&[("at", timestamp())]),
    )
    .unwrap();
    let mut reader = source
        .open(&source.resolve(&Start::Earliest).unwrap(), None, &Wanted::default())
        .unwrap();
    let mut times = Vec::new();
    loop {
        for read in reader.read(1_000, Duration::from_secs(1)).unwrap() {
            let Payload::Rows { rows, .. } = &read.payload else {
                panic!("datagen makes rows")
            };
            times.extend((0..rows.num_rows()).map(|row| array_value_to_string(rows.column(0), row).unwrap()));
            if read.ended {
                assert_eq!(
                    times,
                    [
                        "2024-06-01T00:00:00",
                        "2024-06-01T00:00:00.004",
                        "2024-06-01T00:00:00.008"
                    ]
                );
                return;
            }
        }
    }
}

#[test]
fn the_clock_sets_the_pace() {
    let source = source(
        &[("rows_per_second", "200"), ("splits", "2")],
        &schema(&[("id", DataType::Int64)]),
    )
    .unwrap();
    let begin = Instant::now();
    let mut reader = source
        .open(&source.resolve(&Start::Earliest).unwrap(), None, &Wanted::default())
        .unwrap();
    let (mut count, mut reads) = (0, 0);
    while begin.elapsed() < Duration::from_millis(500) {
        count += reader
            .read(1_000, Duration::from_millis(50))
            .unwrap()
            .iter()
            .map(|r| r.payload.len())
            .sum::<usize>();
        reads += 1;
    }
    // Never ahead of the clock; how far behind depends on how busy the machine is.
    let due = (begin.elapsed().as_secs_f64() * 200.0) as usize + 2;
    assert!(count > 0 && count <= due, "{count} rows, {due} were due");
    assert!(reads < 200, "{reads} reads");
}

#[test]
fn readers_of_the_same_rows_go_by_one_clock() {
    let columns = schema(&[("id", DataType::Int64)]);
    let source = source(&[("rows_per_second", "1"), ("seed", "77")], &columns).unwrap();
    let first_read = |from: i64| {
        let from = Positions::from([(SplitId("0".into()), from)]);
        let mut reader = source.open(&from, None, &Wanted::default()).unwrap();
        let read = reader.read(1_000_000, Duration::ZERO).unwrap().remove(0);
        (read.next, reader)
    };
    let (next, ahead) = first_read(10_000);
    assert!(next > 10_000, "{next}");
    // It finds what has come for the other one.
    let (next, behind) = first_read(0);
    assert!(next > 10_000, "{next}");
    drop((ahead, behind));
    let (next, _) = first_read(0);
    assert!(next < 10_000, "{next}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let columns = [("id", DataType::Int64), ("t", DataType::Utf8), ("at", timestamp())];
    for (option, value, part) in [
        ("rows", "1", "known: rows_per_second, number_of_rows"),
        ("fields.id.step", "1", "fields.<column>.kind"),
        ("fields.no.kind", "random", "there is no column 'no'"),
        ("fields.id.kind", "fibonacci", "it is 'sequence' or 'random'"),
        ("fields.id.min", "x", "it is not a number"),
        ("fields.id.max", "9223372036854775808", "it is out of range"),
        ("fields.id.length", "3", "it means nothing for random values"),
        ("fields.id.values", "1,b", "'b' is no BIGINT"),
        ("fields.id.null_rate", "2", "it is a share"),
        ("fields.t.kind", "sequence", "TEXT has no sequence"),
        ("fields.t.length", "-1", "whole number"),
        ("fields.at.kind", "now", "it is 'sequence' or 'random'"),
        ("fields.at.kind", "sequence", "a time has no sequence"),
        ("rows_per_second", "fast", "a whole number"),
        ("splits", "0", "1 to 4096"),
        ("start_time", "today", "it is not a timestamp"),
    ] {
        let error = refused(&[(option, value)], &columns);
        assert!(error.contains(part), "{option} = {value}: {error}");
    }
    assert!(refused(&[("fields.id.min", "2"), ("fields.id.max", "1")], &columns).contains("it is above max"));
}
