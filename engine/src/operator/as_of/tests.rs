//! As-of joins against a look at all right rows for each left one.

use std::cmp::Ordering;

use arrow::array::TimestampMicrosecondArray;
use proptest::prelude::*;

use super::*;
use crate::graph::{AsOfClose, NodeKind};
use crate::operator::trial::{Act, Bag, Domain, Row, Subject, TIMESTAMP, acts, add, input, node, sum};

/// Left: key, place, value. Right: value, place, key, another value.
const LEFT: [DataType; 3] = [DataType::Int64, TIMESTAMP, DataType::Utf8];
const RIGHT: [DataType; 4] = [DataType::Utf8, TIMESTAMP, DataType::Int64, DataType::Int64];
const PLACE: usize = 1;
const RIGHT_KEY: usize = 2;

fn spec(nearest: Nearest, keys: usize, outer: bool) -> AsOfSpec {
    AsOfSpec {
        left_keys: vec![0][..keys].to_vec(),
        right_keys: vec![RIGHT_KEY][..keys].to_vec(),
        left_order: PLACE,
        right_order: PLACE,
        nearest,
        outer,
        records: false,
        close: None,
    }
}

fn subject(spec: &AsOfSpec, left: &[DataType], right: &[DataType], append_only: bool) -> Subject {
    let output = [&LEFT[..], &RIGHT[..]].concat();
    let emits_final = spec.close.is_some_and(|close| close.emit_final);
    Subject {
        node: node(NodeKind::AsOf(spec.clone()), &output, emits_final),
        inputs: vec![input(left, append_only), input(right, append_only)],
        keys: vec![spec.left_keys.clone(), spec.right_keys.clone()],
        domains: vec![Domain::new(&[3, 9, 3], true), Domain::new(&[3, 9, 3, 2], true)],
        entry_budget: None,
    }
}

/// Whether the right row is one that the left row may be joined with.
fn meets(spec: &AsOfSpec, left: &Row, right: &Row) -> bool {
    let keys = spec.left_keys.is_empty() || left[0].is_some() && left[0] == right[RIGHT_KEY];
    let (Some(at), Some(other)) = (left[PLACE], right[PLACE]) else {
        return false;
    };
    keys && match spec.nearest {
        Nearest::AtOrBefore => other <= at,
        Nearest::Before => other < at,
        Nearest::AtOrAfter => other >= at,
        Nearest::After => other > at,
    }
}

/// Which of two right rows is nearer to the left ones that both meet; then the first by its columns.
fn nearer(spec: &AsOfSpec, one: &Row, other: &Row) -> Ordering {
    let places = match spec.nearest {
        Nearest::AtOrBefore | Nearest::Before => other[PLACE].cmp(&one[PLACE]),
        Nearest::AtOrAfter | Nearest::After => one[PLACE].cmp(&other[PLACE]),
    };
    let values = |row: &Row| row.iter().map(|value| (value.is_none(), *value)).collect::<Vec<_>>();
    places.then_with(|| values(one).cmp(&values(other)))
}

fn nearest<'a>(spec: &AsOfSpec, left: &Row, right: &'a Bag) -> Option<&'a Row> {
    let candidates = right.keys().filter(|row| meets(spec, left, row));
    candidates.min_by(|one, other| nearer(spec, one, other))
}

fn joined(spec: &AsOfSpec, left: &Bag, right: &Bag) -> Bag {
    let mut output = Bag::new();
    for (row, weight) in left {
        match nearest(spec, row, right) {
            Some(partner) => add(&mut output, [row.clone(), partner.clone()].concat(), *weight),
            None if spec.outer => add(&mut output, [row.clone(), vec![None; RIGHT.len()]].concat(), *weight),
            None => {}
        }
    }
    output
}

fn kinds() -> impl Strategy<Value = Nearest> {
    prop_oneof![
        Just(Nearest::AtOrBefore),
        Just(Nearest::Before),
        Just(Nearest::AtOrAfter),
        Just(Nearest::After)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_sum_of_changes_is_the_join_of_the_sums(
        kind in kinds(),
        keys in 0usize..2,
        outer in any::<bool>(),
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(2, 4, true),
    ) {
        let spec = spec(kind, keys, outer);
        let subject = Subject { entry_budget, ..subject(&spec, &LEFT, &RIGHT, false) };
        subject.run(&acts, |history| joined(&spec, &sum(history, 0), &sum(history, 1)))?;
    }

    /// Many rows of a key, at many places.
    #[test]
    fn keys_with_many_rows(kind in kinds(), outer in any::<bool>(), acts in acts(2, 4, true)) {
        let spec = spec(kind, 1, outer);
        let subject = Subject {
            domains: vec![Domain::new(&[2, 250, 7], false), Domain::new(&[3, 250, 2, 7], false)],
            entry_budget: Some(1),
            ..subject(&spec, &LEFT, &RIGHT, false)
        };
        let acts: Vec<Act> = acts.iter().cycle().take(4 * acts.len()).cloned().collect();
        subject.run(&acts, |history| joined(&spec, &sum(history, 0), &sum(history, 1)))?;
    }
}

/// Rows of one step: key, how far above the watermark, value.
fn near_rows() -> impl Strategy<Value = Vec<(i64, i64, i64)>> {
    prop::collection::vec((0i64..3, -4i64..9, 0i64..4), 0..6)
}

/// Whether no on-time right row can be nearer to a left one than what is there.
fn is_final(spec: &AsOfSpec, left: &Row, right: &Bag, watermark: i64) -> bool {
    let (Some(_), Some(at)) = (left[0], left[PLACE]) else {
        return true;
    };
    match spec.nearest {
        _ if watermark == Watermark::MAX => true,
        Nearest::AtOrBefore | Nearest::Before => at < watermark,
        Nearest::AtOrAfter | Nearest::After => {
            nearest(spec, left, right).is_some_and(|partner| partner[PLACE] < Some(watermark))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Rows below the watermark that comes with them are late. All others are joined as if nothing
    /// were ever let go, and in the end nothing is left.
    #[test]
    fn time_passes(
        kind in kinds(),
        outer in any::<bool>(),
        emit_final in any::<bool>(),
        lateness in 0i64..3,
        steps in prop::collection::vec((0i64..5, near_rows(), near_rows()), 1..25),
    ) {
        let spec = AsOfSpec {
            close: Some(AsOfClose { emit_final, lateness_us: lateness }),
            ..spec(kind, 1, outer)
        };
        let [left_types, right_types] = [&LEFT[..], &RIGHT[..]].map(|types| [types, &[TIMESTAMP]].concat());
        let subject = subject(&spec, &left_types, &right_types, true);
        let mut join = subject.operator();
        let (mut watermark, mut accepted, mut output) = (0, [Bag::new(), Bag::new()], Bag::new());
        for (rise, left, right) in &steps {
            let mut rows = |input: usize, rows: &[(i64, i64, i64)]| -> Vec<(Row, i64)> {
                let row = |(key, above, value): &(i64, i64, i64)| {
                    let (key, place) = (Some(*key), Some(watermark + above));
                    let row = match input {
                        0 => vec![key, place, Some(*value)],
                        _ => vec![Some(*value), place, key, None],
                    };
                    if above + lateness >= 0 {
                        add(&mut accepted[input], row.clone(), 1);
                    }
                    ([row, vec![Some(watermark)]].concat(), 1)
                };
                rows.iter().map(row).collect()
            };
            let (left, right) = (rows(0, left), rows(1, right));
            watermark += rise;
            for (row, weight) in subject.step(&mut *join, watermark, &[&left, &right]).unwrap() {
                add(&mut output, row, weight);
            }
            let mut left = accepted[0].clone();
            left.retain(|row, _| !emit_final || is_final(&spec, row, &accepted[1], watermark - lateness));
            prop_assert_eq!(&output, &joined(&spec, &left, &accepted[1]));
            if emit_final && matches!(kind, Nearest::AtOrAfter | Nearest::After) {
                let waiting = accepted[0].keys().filter(|row| !left.contains_key(*row));
                let partners = waiting.filter_map(|row| nearest(&spec, row, &accepted[1])?[PLACE]);
                prop_assert_eq!(join.open_until(), partners.max().map(|at| at + 1 + lateness));
            }
        }
        for (row, weight) in subject.step(&mut *join, Watermark::MAX, &[&[], &[]]).unwrap() {
            add(&mut output, row, weight);
        }
        prop_assert_eq!(&output, &joined(&spec, &accepted[0], &accepted[1]));
        join.checkpoint(&mut WriteBatch::new()).unwrap();
        // One version of a key stays for those who may come yet.
        let keys: std::collections::BTreeSet<_> = accepted[1].keys().map(|row| row[2]).collect();
        prop_assert!(join.stats().state_entries as usize <= keys.len());
    }
}

fn row(values: &[i64]) -> Row {
    values.iter().map(|value| Some(*value)).collect()
}

#[test]
fn what_is_passed_goes() {
    let spec = AsOfSpec {
        close: Some(AsOfClose {
            emit_final: true,
            lateness_us: 0,
        }),
        ..spec(Nearest::AtOrBefore, 1, false)
    };
    let [left, right] = [&LEFT[..], &RIGHT[..]].map(|types| [types, &[TIMESTAMP]].concat());
    let subject = subject(&spec, &left, &right, true);
    let mut join = subject.operator();
    let version = |at: i64| (row(&[at, at, 1, 0, 0]), 1);
    let asks = |at: i64| (row(&[1, at, 5, 0]), 1);
    let versions: Vec<(Row, i64)> = (0..1000).map(version).collect();
    subject.step(&mut *join, 0, &[&[], &versions]).unwrap();
    let all = join.stats().state_bytes;
    // One version is left of a key that is never asked for.
    assert!(subject.step(&mut *join, 2000, &[&[], &[]]).unwrap().is_empty());
    let mut batch = WriteBatch::new();
    join.checkpoint(&mut batch).unwrap();
    join.committed().unwrap();
    assert!(join.stats().state_bytes < all, "{} of {all}", join.stats().state_bytes);
    let output = subject.step(&mut *join, 2001, &[&[asks(2000)], &[]]).unwrap();
    assert_eq!(output, Bag::from([(row(&[1, 2000, 5, 999, 999, 1, 0]), 1)]));
}

/// A record of key 1: its time, the watermark before it, and its value; `None` is a tombstone.
fn record(at: Option<i64>, watermark: i64, value: Option<i64>) -> (Row, i64) {
    let row = vec![
        value,
        at,
        Some(1),
        value,
        Some(watermark),
        Some(i64::from(value.is_none())),
    ];
    (row, 1)
}

#[test]
fn records_are_versions() {
    let (late, right) = (
        [&LEFT[..], &[TIMESTAMP]].concat(),
        [&RIGHT[..], &[TIMESTAMP, DataType::Boolean]].concat(),
    );
    let records = AsOfSpec {
        records: true,
        ..spec(Nearest::AtOrBefore, 1, true)
    };
    let at_the_end = AsOfSpec {
        close: Some(AsOfClose {
            emit_final: true,
            lateness_us: 0,
        }),
        ..records.clone()
    };
    let steps = [
        vec![record(Some(10), 0, Some(1)), record(Some(20), 5, Some(2))],
        // A correction, then a tombstone that counts from 25 on, and a new version.
        vec![record(Some(20), 20, Some(3)), record(None, 25, None)],
        vec![record(Some(40), 30, Some(4))],
        // A tombstone below the version that it ends.
        vec![record(None, 35, None)],
        vec![record(Some(50), 40, Some(5))],
    ];
    let expected = |at: i64| match at {
        10..20 => Some(1),
        20..25 => Some(3),
        50.. => Some(5),
        _ => None,
    };
    for (spec, left) in [(&records, &LEFT[..]), (&at_the_end, &late[..])] {
        for together in [true, false] {
            let subject = subject(spec, left, &right, true);
            let mut join = subject.operator();
            let mut output = Bag::new();
            let asks: Vec<(Row, i64)> = (5..60).map(|at| (row(&[1, at, 7, 0][..left.len()]), 1)).collect();
            let steps = match together {
                true => vec![steps.concat()],
                false => steps.to_vec(),
            };
            let first = (0, vec![&asks[..], &[]]);
            let rest = steps.iter().map(|records| (0, vec![&[][..], &records[..]]));
            for (watermark, inputs) in std::iter::once(first)
                .chain(rest)
                .chain([(Watermark::MAX, vec![&[][..], &[]])])
            {
                for (row, weight) in subject.step(&mut *join, watermark, &inputs).unwrap() {
                    add(&mut output, row, weight);
                }
            }
            let row_at = |at: i64| {
                let value = expected(at);
                let version = value.map(|value| match value {
                    1 => 10,
                    3 => 20,
                    _ => 50,
                });
                let row = vec![Some(1), Some(at), Some(7), value, version, version.and(Some(1)), value];
                (row, 1)
            };
            assert_eq!(output, (5..60).map(row_at).collect::<Bag>());
        }
    }
}

#[test]
fn places_of_times_are_the_codecs() {
    for nearest in [Nearest::AtOrBefore, Nearest::After] {
        let spec = spec(nearest, 0, false);
        let codec = RowCodec::new(vec![crate::row::RowField {
            data_type: TIMESTAMP,
            descending: places::is_descending(&spec),
            nulls_first: false,
        }]);
        for time in [i64::MIN, -1, 0, 1_700_000_000_000_000, i64::MAX] {
            let rows = codec
                .as_ref()
                .unwrap()
                .encode(&[Arc::new(TimestampMicrosecondArray::from(vec![time]))], 1)
                .unwrap();
            assert_eq!(rows.row(0), Places::new(&spec).of_time(time));
            assert_eq!(Places::new(&spec).time_of(rows.row(0)), time);
        }
    }
}
