//! Gates against what their definition lets out.

use proptest::prelude::*;

use super::*;
use crate::graph::NodeKind;
use crate::operator::trial::{Bag, Domain, Record, Row, Subject, TIMESTAMP, acts, add, input, node};

const TYPES: [DataType; 3] = [DataType::Int64, TIMESTAMP, DataType::Utf8];
const TIME: usize = 1;

fn subject(append_only: bool, entry_budget: Option<usize>) -> Subject {
    gate(append_only, entry_budget, false)
}

fn gate(append_only: bool, entry_budget: Option<usize>, whole_times: bool) -> Subject {
    let spec = GateSpec {
        column: TIME,
        whole_times,
        watermark: None,
    };
    Subject {
        node: node(NodeKind::Gate(spec), &TYPES, true),
        inputs: vec![input(&TYPES, append_only)],
        keys: vec![vec![TIME]],
        domains: vec![Domain::new(&[3, 25, 2], true)],
        entry_budget,
    }
}

/// What has come out after these steps.
fn let_out(history: &[Record]) -> Bag {
    let mut held = Bag::new();
    let mut output = Bag::new();
    let mut watermark = Watermark::MIN;
    for record in history {
        let mut again = Bag::new();
        for (row, weight) in record.inputs[0].iter().flatten() {
            match row[TIME] {
                None => {}
                Some(time) if time < watermark => {}
                Some(time) if time == watermark => add(&mut again, row.clone(), *weight),
                Some(_) => add(&mut held, row.clone(), *weight),
            }
        }
        watermark = record.watermark;
        for (row, weight) in again {
            if weight > 0 {
                add(&mut output, row, weight);
            }
        }
        let (due, kept): (Bag, Bag) = std::mem::take(&mut held)
            .into_iter()
            .partition(|(row, _)| row[TIME].is_some_and(|time| time <= watermark));
        held = kept;
        for (row, weight) in due {
            add(&mut output, row, weight);
        }
    }
    output
}

/// What has come out of a gate of whole times: rows below the watermark that came in before it had
/// risen above them.
fn let_out_whole(history: &[Record]) -> Bag {
    let mut on_time = Bag::new();
    let mut watermark = Watermark::MIN;
    for record in history {
        for (row, weight) in record.inputs[0].iter().flatten() {
            if row[TIME].is_some_and(|time| time >= watermark) {
                add(&mut on_time, row.clone(), *weight);
            }
        }
        watermark = record.watermark;
    }
    on_time.retain(|row, _| row[TIME].is_some_and(|time| time < watermark));
    on_time
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whole_times_come_out_at_once(
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        append_only in any::<bool>(),
        acts in (acts(1, 3, true), acts(1, 3, false)),
    ) {
        let acts = if append_only { acts.1 } else { acts.0 };
        gate(append_only, entry_budget, true).run(&acts, let_out_whole)?;
    }

    #[test]
    fn what_is_left_comes_out_once(
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(1, 3, true),
    ) {
        subject(false, entry_budget).run(&acts, let_out)?;
    }

    #[test]
    fn appended_rows_come_out_once(
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(1, 3, false),
    ) {
        subject(true, entry_budget).run(&acts, let_out)?;
    }
}

fn row(value: i64, time: Option<i64>) -> Row {
    vec![Some(value), time, Some(0)]
}

#[test]
fn rows_wait_for_their_time() {
    for append_only in [false, true] {
        let subject = subject(append_only, None);
        let mut gate = subject.operator();
        let rows = [(row(1, Some(10)), 2), (row(2, Some(11)), 1), (row(3, None), 1)];
        assert!(subject.step(&mut *gate, 9, &[&rows]).unwrap().is_empty());
        assert_eq!(
            subject.step(&mut *gate, 10, &[&[]]).unwrap(),
            Bag::from([(row(1, Some(10)), 2)])
        );
        // On time still, and late.
        let rows = [(row(4, Some(10)), 1), (row(5, Some(9)), 1)];
        assert_eq!(
            subject.step(&mut *gate, 10, &[&rows]).unwrap(),
            Bag::from([(row(4, Some(10)), 1)])
        );
        assert_eq!(
            subject.step(&mut *gate, Watermark::MAX, &[&[]]).unwrap(),
            Bag::from([(row(2, Some(11)), 1)])
        );
        let stats = gate.stats();
        assert_eq!(
            (stats.late_dropped, stats.without_event_time, stats.state_entries),
            (1, 1, 0)
        );
    }
}

#[test]
fn rows_are_judged_by_the_watermark_that_they_bring() {
    let spec = GateSpec {
        column: TIME,
        whole_times: false,
        watermark: Some(3),
    };
    let subject = Subject {
        node: node(NodeKind::Gate(spec), &TYPES, true),
        inputs: vec![input(&[&TYPES[..], &[TIMESTAMP]].concat(), true)],
        ..subject(true, None)
    };
    let mut gate = subject.operator();
    let judged = |value, time, watermark| {
        let mut row = row(value, Some(time));
        row.push(watermark);
        (row, 1)
    };
    let rows = [judged(1, 10, None), judged(2, 10, Some(10)), judged(3, 10, Some(11))];
    assert_eq!(
        subject.step(&mut *gate, 11, &[&rows]).unwrap(),
        Bag::from([(row(1, Some(10)), 1), (row(2, Some(10)), 1)])
    );
    assert_eq!(gate.stats().late_dropped, 1);
}

#[test]
fn the_ends_of_time_are_times() {
    let subject = subject(false, None);
    let mut gate = subject.operator();
    let rows = [(row(1, Some(i64::MIN)), 1), (row(2, Some(i64::MAX)), 1)];
    assert!(subject.step(&mut *gate, Watermark::MIN, &[&rows]).unwrap().is_empty());
    assert_eq!(
        subject.step(&mut *gate, 0, &[&[]]).unwrap(),
        Bag::from([(row(1, Some(i64::MIN)), 1)])
    );
    assert_eq!(
        subject.step(&mut *gate, Watermark::MAX, &[&[]]).unwrap(),
        Bag::from([(row(2, Some(i64::MAX)), 1)])
    );
}

#[test]
fn a_delete_without_its_insert_is_an_internal_error() {
    let subject = subject(false, None);
    let mut gate = subject.operator();
    let error = subject.step(&mut *gate, 0, &[&[(row(1, Some(10)), -1)]]).unwrap_err();
    assert!(matches!(error, Error::Internal(_)), "{error:?}");
}
