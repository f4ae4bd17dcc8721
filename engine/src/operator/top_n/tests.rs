//! Top-N against sorting each partition anew.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::graph::{CloseSpec, NodeKind, OrderKey};
use crate::operator::Watermark;
use crate::operator::trial::{Bag, Domain, Record, Row, Subject, TIMESTAMP, acts, add, context, input, node, sum};

/// Value, partition, value, time.
const TYPES: [DataType; 4] = [DataType::Utf8, DataType::Int64, DataType::Int64, TIMESTAMP];
const TIME: usize = 3;

fn subject(spec: &TopNSpec, append_only: bool, entry_budget: Option<usize>) -> Subject {
    let number = spec.number.as_slice();
    let closes = spec.close.is_some_and(|close| close.emit_on_close);
    Subject {
        node: node(NodeKind::TopN(spec.clone()), &[&TYPES[..], number].concat(), closes),
        inputs: vec![input(&TYPES, append_only)],
        keys: vec![spec.partition.clone()],
        domains: vec![Domain::new(&[4, 3, 5, 12], true)],
        entry_budget,
    }
}

/// The rows of each partition in order, each as often as its weight says.
fn partitions(spec: &TopNSpec, bag: &Bag) -> Vec<Vec<Row>> {
    let mut found: Vec<(Row, Vec<Row>)> = Vec::new();
    for (row, weight) in bag {
        let key: Row = spec.partition.iter().map(|column| row[*column]).collect();
        let copies = std::iter::repeat_n(row.clone(), *weight as usize);
        match found.iter_mut().find(|(other, _)| *other == key) {
            Some((_, rows)) => rows.extend(copies),
            None => found.push((key, copies.collect())),
        }
    }
    for (_, rows) in &mut found {
        rows.sort_by(|one, other| compare(spec, one, other));
    }
    found.into_iter().map(|(_, rows)| rows).collect()
}

fn compare(spec: &TopNSpec, one: &Row, other: &Row) -> std::cmp::Ordering {
    let rest = (0..TYPES.len()).map(|column| OrderKey {
        column,
        descending: false,
        nulls_first: false,
    });
    for key in spec.order.iter().copied().chain(rest) {
        let order = match (one[key.column], other[key.column]) {
            (Some(one), Some(other)) if key.descending => other.cmp(&one),
            (Some(one), Some(other)) => one.cmp(&other),
            (one, other) if key.nulls_first => one.is_some().cmp(&other.is_some()),
            (one, other) => other.is_some().cmp(&one.is_some()),
        };
        if order.is_ne() {
            return order;
        }
    }
    std::cmp::Ordering::Equal
}

fn top(spec: &TopNSpec, bag: &Bag) -> Bag {
    let mut output = Bag::new();
    if spec.limit == 0 {
        return output;
    }
    let end = spec.offset.saturating_add(spec.limit);
    for rows in partitions(spec, bag) {
        let (mut rank, mut dense) = (0, 0);
        let mut last: Option<Row> = None;
        for (place, mut row) in rows.into_iter().enumerate() {
            let order: Row = spec.order.iter().map(|key| row[key.column]).collect();
            if last.as_ref() != Some(&order) {
                (rank, dense) = (place as u64 + 1, dense + 1);
                last = Some(order);
            }
            let number = match spec.ranking {
                Ranking::RowNumber => place as u64 + 1,
                Ranking::Rank => rank,
                Ranking::DenseRank => dense,
            };
            if number > end || (place as u64) < spec.offset {
                continue;
            }
            if spec.number.is_some() {
                row.push(Some(number as i64));
            }
            add(&mut output, row, 1);
        }
    }
    output
}

fn specs() -> impl Strategy<Value = TopNSpec> {
    let key = (0usize..3, any::<bool>(), any::<bool>()).prop_map(|(column, descending, nulls_first)| OrderKey {
        column,
        descending,
        nulls_first,
    });
    (
        prop_oneof![Just(vec![]), Just(vec![1]), Just(vec![2, 1])],
        prop::collection::vec(key, 0..3),
        prop_oneof![3 => Just(0u64), 1 => 1u64..4],
        prop_oneof![8 => 0u64..5, 1 => Just(u64::MAX)],
        prop_oneof![Just(None), Just(Some(DataType::Int64)), Just(Some(DataType::UInt64))],
        prop_oneof![2 => Just(Ranking::RowNumber), 1 => Just(Ranking::Rank), 1 => Just(Ranking::DenseRank)],
    )
        .prop_map(|(partition, order, offset, limit, number, ranking)| TopNSpec {
            partition,
            order,
            offset,
            limit,
            number,
            ranking,
            close: None,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_sum_of_changes_is_the_top_of_the_sum(
        spec in specs(),
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(1, 4, true),
    ) {
        subject(&spec, false, entry_budget).run(&acts, |history| top(&spec, &sum(history, 0)))?;
    }

    #[test]
    fn appended_rows_behind_the_head_are_not_missed(
        spec in specs(),
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(1, 4, false),
    ) {
        subject(&spec, true, entry_budget).run(&acts, |history| top(&spec, &sum(history, 0)))?;
    }

    #[test]
    fn partitions_close(
        spec in specs(),
        emit_on_close in any::<bool>(),
        lateness_us in 0i64..3,
        append_only in any::<bool>(),
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in (any::<bool>(), acts(1, 4, true), acts(1, 4, false)),
    ) {
        let acts = if append_only { acts.2 } else { acts.1 };
        let mut spec = spec;
        spec.partition.push(TIME);
        spec.close = Some(CloseSpec { column: TIME, emit_on_close, lateness_us });
        let lateness_us = if emit_on_close { 0 } else { lateness_us };
        subject(&spec, append_only, entry_budget).run(&acts, |history| {
            let mut rows = on_time(history, lateness_us);
            if emit_on_close {
                let watermark = history.last().map_or(Watermark::MIN, |record| record.watermark);
                rows.retain(|row, _| row[TIME].is_some_and(|time| time <= watermark));
            }
            top(&spec, &rows)
        })?;
    }
}

fn on_time(history: &[Record], lateness_us: i64) -> Bag {
    let mut bag = Bag::new();
    let mut watermark = Watermark::MIN;
    for record in history {
        for (row, weight) in record.inputs[0].iter().flatten() {
            let is_late = row[TIME].is_some_and(|time| watermark != Watermark::MIN && time + lateness_us <= watermark);
            if !is_late {
                add(&mut bag, row.clone(), *weight);
            }
        }
        watermark = record.watermark;
    }
    bag
}

fn row(value: i64, time: Option<i64>) -> Row {
    vec![Some(0), Some(0), Some(value), time]
}

fn first_two(close: Option<CloseSpec>) -> TopNSpec {
    TopNSpec {
        partition: vec![1, TIME],
        order: vec![OrderKey {
            column: 2,
            descending: true,
            nulls_first: false,
        }],
        offset: 0,
        limit: 2,
        number: None,
        ranking: Ranking::RowNumber,
        close,
    }
}

#[test]
fn what_is_appended_behind_the_head_is_not_kept() {
    let subject = subject(&first_two(None), true, None);
    let mut top_n = subject.operator();
    for round in 0..50 {
        let rows: Vec<(Row, i64)> = (0..1000).map(|value| (row(value + round, None), 1)).collect();
        subject.step(&mut *top_n, 0, &[&rows]).unwrap();
        let mut batch = WriteBatch::new();
        top_n.checkpoint(&mut batch).unwrap();
        assert!(batch.bytes() < 500, "{}", batch.bytes());
        top_n.committed().unwrap();
    }
    assert!(top_n.stats().state_bytes < 600_000, "{}", top_n.stats().state_bytes);
}

#[test]
fn late_and_timeless_rows_are_counted() {
    let close = CloseSpec {
        column: TIME,
        emit_on_close: true,
        lateness_us: 0,
    };
    let subject = subject(&first_two(Some(close)), false, None);
    let mut top_n = subject.operator();
    let output = subject
        .step(&mut *top_n, 10, &[&[(row(1, Some(10)), 1), (row(1, None), 1)]])
        .unwrap();
    assert_eq!(output, Bag::from([(row(1, Some(10)), 1)]));
    let output = subject
        .step(&mut *top_n, 10, &[&[(row(2, Some(10)), 1), (row(2, Some(11)), 1)]])
        .unwrap();
    assert!(output.is_empty());
    let stats = top_n.stats();
    assert_eq!(
        (stats.late_dropped, stats.without_event_time, stats.state_entries),
        (1, 1, 1)
    );
    let output = subject.step(&mut *top_n, Watermark::MAX, &[&[]]).unwrap();
    assert_eq!(output, Bag::from([(row(2, Some(11)), 1)]));
    assert_eq!(top_n.stats().state_entries, 0);
}

#[test]
fn a_closing_column_outside_the_partition_is_refused() {
    let close = Some(CloseSpec {
        column: 0,
        emit_on_close: true,
        lateness_us: 0,
    });
    let subject = subject(
        &TopNSpec {
            close,
            ..first_two(None)
        },
        false,
        None,
    );
    let context = context(&Arc::default(), 0, 1);
    let inputs: Vec<&Node> = subject.inputs.iter().collect();
    assert!(crate::operator::build(&subject.node, &inputs, &context).is_err());
}
