//! Sessions against their definition, over all rows that count.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::graph::{AggregateCall, AggregateFunction, CloseSpec, NodeKind, SessionGroups, SessionKey};
use crate::operator::trial::{Bag, Domain, Record, Row, Subject, TIMESTAMP, acts, add, input, node};

const TYPES: [DataType; 5] = [DataType::Int64, TIMESTAMP, DataType::Utf8, TIMESTAMP, TIMESTAMP];
const TIME: usize = 1;
const GAP: i64 = 4;

fn closing(emit_on_close: bool, lateness_us: i64) -> Option<CloseSpec> {
    Some(CloseSpec {
        column: 4,
        emit_on_close,
        lateness_us,
    })
}

fn subject(partition: &[usize], append_only: bool, close: Option<CloseSpec>, entry_budget: Option<usize>) -> Subject {
    let spec = SessionSpec {
        time: TIME,
        partition: partition.to_vec(),
        gap_us: GAP,
        watermark: None,
        close,
        groups: None,
    };
    Subject {
        node: node(
            NodeKind::Session(spec),
            &TYPES,
            close.is_some_and(|close| close.emit_on_close),
        ),
        inputs: vec![input(&TYPES[..3], append_only)],
        keys: vec![partition.to_vec()],
        domains: vec![Domain::new(&[3, 40, 2], true)],
        entry_budget,
    }
}

/// `SELECT` of the keys, `count(*)`, `sum(c0)`, `min(c2)` and `count(DISTINCT c2)`.
fn grouped(partition: &[usize], by: &[usize], close: Option<CloseSpec>, entry_budget: Option<usize>) -> Subject {
    let call = |function: AggregateFunction, argument: Option<usize>, output_type: DataType| AggregateCall {
        function,
        argument,
        distinct: false,
        filter: None,
        output_type,
    };
    let calls = vec![
        call(AggregateFunction::Count, None, DataType::Int64),
        call(AggregateFunction::Sum, Some(0), DataType::Int64),
        call(AggregateFunction::Min, Some(2), DataType::Utf8),
        AggregateCall {
            distinct: true,
            ..call(AggregateFunction::Count, Some(2), DataType::Int64)
        },
    ];
    let columns = by.iter().map(|column| SessionKey::Column(*column));
    let keys: Vec<SessionKey> = columns.chain([SessionKey::End, SessionKey::Start]).collect();
    let types = by
        .iter()
        .map(|column| TYPES[*column].clone())
        .chain([TIMESTAMP, TIMESTAMP]);
    let types: Vec<DataType> = types.chain(calls.iter().map(|call| call.output_type.clone())).collect();
    let rows = subject(partition, true, close, entry_budget);
    let NodeKind::Session(spec) = rows.node.kind else {
        unreachable!("it is a session")
    };
    let spec = SessionSpec {
        groups: Some(SessionGroups { keys, calls }),
        ..spec
    };
    let emits_on_close = close.is_some_and(|close| close.emit_on_close);
    Subject {
        node: node(NodeKind::Session(spec), &types, emits_on_close),
        inputs: rows.inputs,
        keys: rows.keys,
        domains: rows.domains,
        entry_budget,
    }
}

/// What [`grouped`] says of rows with their bounds.
fn groups(rows: &Bag, partition: &[usize], by: &[usize]) -> Bag {
    type Said = ([Option<i64>; 3], BTreeSet<i64>);
    let mut found: BTreeMap<[Row; 2], Said> = BTreeMap::new();
    for (row, weight) in rows {
        let key: Row = by.iter().map(|column| row[*column]).chain([row[4], row[3]]).collect();
        let ([count, sum, min], distinct) = found.entry([partition_of(row, partition), key]).or_default();
        distinct.extend(row[2]);
        *count = Some(count.unwrap_or(0) + weight);
        *sum = row[0].map(|value| value * weight + sum.unwrap_or(0)).or(*sum);
        *min = [*min, row[2]].into_iter().flatten().min();
    }
    let mut bag = Bag::new();
    for ([_, key], (results, distinct)) in found {
        let distinct = Some(distinct.len() as i64);
        add(&mut bag, key.into_iter().chain(results).chain([distinct]).collect(), 1);
    }
    bag
}

fn partition_of(row: &Row, partition: &[usize]) -> Row {
    partition.iter().map(|column| row[*column]).collect()
}

/// Whether a row counts, by its definition, after these rows of its partition.
fn counts(times: &[i64], time: i64, limit: i64) -> bool {
    let previous = times.iter().copied().filter(|other| *other < time).max();
    let next = times.iter().copied().filter(|other| *other >= time).min();
    let within = match (previous, next) {
        (_, Some(next)) if next == time => true,
        (Some(previous), Some(next)) => next - previous < GAP,
        _ => false,
    };
    if within {
        let mut last = time;
        while let Some(next) = times
            .iter()
            .copied()
            .filter(|other| *other > last && *other - last < GAP)
            .max()
        {
            last = next;
        }
        return last + GAP > limit;
    }
    time + GAP > limit && previous.is_none_or(|previous| time - previous >= GAP || previous + GAP > limit)
}

/// All rows that count.
fn counted(history: &[Record], partition: &[usize], lateness: Option<i64>) -> Bag {
    let mut found = Bag::new();
    let mut times: BTreeMap<Row, Vec<i64>> = BTreeMap::new();
    let mut watermark = Watermark::MIN;
    for record in history {
        for (row, weight) in record.inputs[0].iter().flatten() {
            let Some(time) = row[TIME] else { continue };
            let times = times.entry(partition_of(row, partition)).or_default();
            if let (Some(lateness), false) = (lateness, watermark == Watermark::MIN) {
                let limit = watermark - lateness;
                if time < limit && !counts(times, time, limit) {
                    continue;
                }
            }
            times.push(time);
            add(&mut found, row.clone(), *weight);
        }
        watermark = record.watermark;
    }
    found
}

/// The rows with the bounds of their sessions.
fn sessions(rows: &Bag, partition: &[usize]) -> Bag {
    let mut by_partition: BTreeMap<Row, Vec<(i64, &Row, i64)>> = BTreeMap::new();
    for (row, weight) in rows {
        let rows = by_partition.entry(partition_of(row, partition)).or_default();
        rows.push((row[TIME].unwrap(), row, *weight));
    }
    let mut found = Bag::new();
    for rows in by_partition.values_mut() {
        rows.sort();
        for session in rows.chunk_by(|one, other| other.0 - one.0 < GAP) {
            let bounds = [session[0].0, session[session.len() - 1].0 + GAP];
            for (_, row, weight) in session {
                let row = row.iter().copied().chain(bounds.map(Some)).collect();
                add(&mut found, row, *weight);
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn sessions_follow_every_change(
        partition in prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![2, 0]), Just(vec![0, 1, 2])],
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(1, 3, true),
    ) {
        subject(&partition, false, None, entry_budget)
            .run(&acts, |history| sessions(&counted(history, &partition, None), &partition))?;
    }

    #[test]
    fn closed_sessions_come_out_once(
        partition in prop_oneof![Just(vec![]), Just(vec![0])],
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(1, 3, false),
    ) {
        subject(&partition, true, closing(true, 0), entry_budget).run(&acts, |history| {
            let watermark = history.last().map_or(Watermark::MIN, |record| record.watermark);
            let mut all = sessions(&counted(history, &partition, Some(0)), &partition);
            all.retain(|row, _| row[4].is_some_and(|end| end <= watermark));
            all
        })?;
    }

    #[test]
    fn sessions_are_final_after_the_allowed_lateness(
        partition in prop_oneof![Just(vec![]), Just(vec![0])],
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        lateness in 0i64..6,
        acts in acts(1, 3, false),
    ) {
        subject(&partition, true, closing(false, lateness), entry_budget)
            .run(&acts, |history| sessions(&counted(history, &partition, Some(lateness)), &partition))?;
    }

    #[test]
    fn groups_follow_their_sessions(
        (partition, by) in prop_oneof![
            Just((vec![], vec![])),
            Just((vec![], vec![2, 0])),
            Just((vec![0], vec![0])),
            Just((vec![2, 0], vec![0, 2])),
            Just((vec![0], vec![2, 0])),
        ],
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        lateness in prop_oneof![Just(None), (0i64..6).prop_map(Some)],
        acts in acts(1, 3, false),
    ) {
        let close = lateness.and_then(|lateness| closing(false, lateness));
        grouped(&partition, &by, close, entry_budget).run(&acts, |history| {
            groups(&sessions(&counted(history, &partition, lateness), &partition), &partition, &by)
        })?;
    }

    #[test]
    fn groups_of_closed_sessions_come_out_once(
        (partition, by) in prop_oneof![Just((vec![], vec![])), Just((vec![0], vec![0])), Just((vec![0], vec![0, 2]))],
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(1, 3, false),
    ) {
        grouped(&partition, &by, closing(true, 0), entry_budget).run(&acts, |history| {
            let watermark = history.last().map_or(Watermark::MIN, |record| record.watermark);
            let mut all = sessions(&counted(history, &partition, Some(0)), &partition);
            all.retain(|row, _| row[4].is_some_and(|end| end <= watermark));
            groups(&all, &partition, &by)
        })?;
    }
}

#[test]
fn a_session_that_grows_gives_its_group_and_not_its_rows() {
    let subject = grouped(&[0], &[0], None, None);
    let mut session = subject.operator();
    let rows: Vec<(Row, i64)> = (0..100).map(|time| (row(1, time), 1)).collect();
    let group = |end: i64, count: i64| vec![Some(1), Some(end), Some(0), Some(count), Some(count), Some(0), Some(1)];
    let first = subject.step(&mut *session, 0, &[&rows]).unwrap();
    assert_eq!(first, Bag::from([(group(103, 100), 1)]));
    let grown = subject.step(&mut *session, 0, &[&[(row(1, 101), 1)]]).unwrap();
    assert_eq!(grown, Bag::from([(group(103, 100), -1), (group(105, 101), 1)]));
}

fn row(partition: i64, time: i64) -> Row {
    vec![Some(partition), Some(time), Some(0)]
}

fn bounded(partition: i64, time: i64, start: i64, end: i64) -> Row {
    vec![Some(partition), Some(time), Some(0), Some(start), Some(end)]
}

#[test]
fn a_row_can_make_one_session_of_two_and_its_delete_two_of_one() {
    let subject = subject(&[0], false, None, None);
    let mut session = subject.operator();
    let rows = [(row(1, 10), 1), (row(1, 16), 1), (row(2, 13), 1)];
    assert_eq!(
        subject.step(&mut *session, 0, &[&rows]).unwrap(),
        Bag::from([
            (bounded(1, 10, 10, 14), 1),
            (bounded(1, 16, 16, 20), 1),
            (bounded(2, 13, 13, 17), 1)
        ])
    );
    let joined = Bag::from([
        (bounded(1, 10, 10, 14), -1),
        (bounded(1, 16, 16, 20), -1),
        (bounded(1, 10, 10, 20), 1),
        (bounded(1, 13, 10, 20), 1),
        (bounded(1, 16, 10, 20), 1),
    ]);
    assert_eq!(subject.step(&mut *session, 0, &[&[(row(1, 13), 1)]]).unwrap(), joined);
    let cut: Bag = joined.into_iter().map(|(row, weight)| (row, -weight)).collect();
    assert_eq!(subject.step(&mut *session, 0, &[&[(row(1, 13), -1)]]).unwrap(), cut);
}

#[test]
fn late_rows_count_while_their_session_is_open() {
    let subject = subject(&[0], true, closing(true, 0), None);
    let mut session = subject.operator();
    let rows = [(row(1, 10), 1), (row(1, 12), 1), (row(1, 15), 1), (row(2, 11), 1)];
    assert_eq!(
        subject.step(&mut *session, 15, &[&rows]).unwrap(),
        Bag::from([(bounded(2, 11, 11, 15), 1)])
    );
    // The first is in an open session, the second alone would be closed, the third is near a closed one, the
    // last is neither.
    let rows = [(row(1, 11), 1), (row(3, 11), 1), (row(2, 14), 1), (row(3, 14), 1)];
    assert!(subject.step(&mut *session, 15, &[&rows]).unwrap().is_empty());
    let stats = session.stats();
    assert_eq!((stats.late_applied, stats.late_dropped), (1, 2));
    let time = |time| (bounded(1, time, 10, 19), 1);
    assert_eq!(
        subject.step(&mut *session, Watermark::MAX, &[&[]]).unwrap(),
        Bag::from([time(10), time(11), time(12), time(15), (bounded(3, 14, 14, 18), 1)])
    );
}

#[test]
fn a_time_without_room_for_the_gap_is_named() {
    let subject = subject(&[], true, None, None);
    let mut operator = subject.operator();
    let output = subject
        .step(&mut *operator, 0, &[&[(row(1, i64::MAX - GAP), 1)]])
        .unwrap();
    assert!(output.is_empty());
    let faults = operator.take_faults();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].cause.contains("has no session"), "{}", faults[0].cause);
}
