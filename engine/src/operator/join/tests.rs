//! Joins against all pairs of the inputs' sums.

use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use proptest::prelude::*;

use super::*;
use crate::graph::NodeKind;
use crate::operator::trial::{Act, Bag, Domain, Record, Row, Subject, TIMESTAMP, acts, add, input, node, sum};

/// Left: key, second key, value. Right: value, key, second key, value.
const LEFT: [DataType; 3] = [DataType::Int64, DataType::Utf8, DataType::Int64];
const RIGHT: [DataType; 4] = [DataType::Utf8, DataType::Int64, DataType::Utf8, DataType::Int64];
const LEFT_VALUE: usize = 2;
const RIGHT_VALUE: usize = 3;

fn smaller(left: usize, right: usize) -> Arc<dyn PhysicalExpr> {
    let column = |place: usize| Arc::new(Column::new(&format!("c{place}"), place)) as Arc<dyn PhysicalExpr>;
    Arc::new(BinaryExpr::new(column(left), Op::Lt, column(right)))
}

fn spec(kind: JoinKind, keys: usize, null_equals_null: bool, has_residual: bool) -> JoinSpec {
    JoinSpec {
        kind,
        left_keys: (0..keys).collect(),
        right_keys: (1..1 + keys).collect(),
        null_equals_null,
        residual: has_residual.then(|| smaller(LEFT_VALUE, LEFT.len() + RIGHT_VALUE)),
        close: None,
    }
}

fn subject(spec: &JoinSpec, left: &[DataType], right: &[DataType], entry_budget: Option<usize>) -> Subject {
    Subject {
        node: node(NodeKind::Join(spec.clone()), &[left, right].concat(), false),
        inputs: vec![input(left, false), input(right, false)],
        keys: vec![spec.left_keys.clone(), spec.right_keys.clone()],
        domains: vec![Domain::new(&[4, 3, 4], true), Domain::new(&[3, 4, 3, 4], true)],
        entry_budget,
    }
}

/// The join of two bags.
fn joined(spec: &JoinSpec, left: &Bag, right: &Bag, width: usize, values: (usize, usize)) -> Bag {
    let mut output = Bag::new();
    for (one, weight) in left {
        let mut partners = 0;
        for (other, other_weight) in right {
            let keys_meet =
                spec.left_keys.iter().zip(&spec.right_keys).all(|(left, right)| {
                    one[*left] == other[*right] && (spec.null_equals_null || one[*left].is_some())
                });
            let passes = spec.residual.is_none()
                || matches!((one[values.0], other[values.1]), (Some(one), Some(other)) if one < other);
            if keys_meet && passes {
                partners += other_weight;
                add(
                    &mut output,
                    [one.clone(), other.clone()].concat(),
                    weight * other_weight,
                );
            }
        }
        if spec.kind == JoinKind::Left && partners == 0 {
            add(&mut output, [one.clone(), vec![None; width]].concat(), *weight);
        }
    }
    output
}

fn kinds() -> impl Strategy<Value = JoinKind> {
    prop_oneof![Just(JoinKind::Inner), Just(JoinKind::Left)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_sum_of_changes_is_the_join_of_the_sums(
        kind in kinds(),
        keys in 0usize..3,
        null_equals_null in any::<bool>(),
        has_residual in any::<bool>(),
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(2, 4, true),
    ) {
        let spec = spec(kind, keys, null_equals_null, has_residual);
        subject(&spec, &LEFT, &RIGHT, entry_budget).run(&acts, |history| {
            joined(&spec, &sum(history, 0), &sum(history, 1), RIGHT.len(), (LEFT_VALUE, RIGHT_VALUE))
        })?;
    }

    /// Few keys with many rows each: rows are found in order, chunks are merged.
    #[test]
    fn keys_with_many_rows(
        kind in kinds(),
        has_residual in any::<bool>(),
        acts in acts(2, 4, true),
        more in acts(2, 4, true),
    ) {
        let spec = spec(kind, 1, false, has_residual);
        let subject = Subject {
            domains: vec![Domain::new(&[2, 200, 7], false), Domain::new(&[200, 2, 3, 7], false)],
            ..subject(&spec, &LEFT, &RIGHT, Some(1))
        };
        let acts: Vec<Act> = acts.iter().cycle().take(3 * acts.len()).chain(&more).cloned().collect();
        subject.run(&acts, |history| {
            joined(&spec, &sum(history, 0), &sum(history, 1), RIGHT.len(), (LEFT_VALUE, RIGHT_VALUE))
        })?;
    }

    /// A window join: rows of windows that had closed before the step are late, state goes.
    #[test]
    fn windows_close(
        kind in kinds(),
        lateness_us in 0i64..3,
        has_residual in any::<bool>(),
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(2, 3, true),
    ) {
        let types = [DataType::Int64, TIMESTAMP, DataType::Int64];
        let spec = JoinSpec {
            kind,
            left_keys: vec![1, 0],
            right_keys: vec![1, 0],
            null_equals_null: false,
            residual: has_residual.then(|| smaller(2, 5)),
            close: Some(CloseSpec { column: 0, emit_on_close: false, lateness_us }),
        };
        let subject = Subject {
            domains: vec![Domain::new(&[3, 20, 4], true), Domain::new(&[3, 20, 4], true)],
            ..subject(&spec, &types, &types, entry_budget)
        };
        subject.run(&acts, |history| {
            let accepted = |input| on_time(history, input, lateness_us);
            joined(&spec, &accepted(0), &accepted(1), 3, (2, 2))
        })?;
    }
}

/// The sum of an input's changes that came before their time (column 1) had closed.
fn on_time(history: &[Record], input: usize, lateness_us: i64) -> Bag {
    let mut bag = Bag::new();
    let mut watermark = Watermark::MIN;
    for record in history {
        for (row, weight) in record.inputs[input].iter().flatten() {
            let is_late = row[1].is_some_and(|time| watermark != Watermark::MIN && time + lateness_us <= watermark);
            if !is_late {
                add(&mut bag, row.clone(), *weight);
            }
        }
        watermark = record.watermark;
    }
    bag
}

fn row(values: &[i64]) -> Row {
    values.iter().map(|value| Some(*value)).collect()
}

const PLAIN: [DataType; 2] = [DataType::Int64, DataType::Int64];

fn plain(kind: JoinKind, has_residual: bool) -> Subject {
    let spec = JoinSpec {
        residual: has_residual.then(|| smaller(1, 3)),
        ..JoinSpec {
            right_keys: vec![0],
            ..spec(kind, 1, false, false)
        }
    };
    subject(&spec, &PLAIN, &PLAIN, None)
}

#[test]
fn a_partner_that_changes_never_shows_as_nulls() {
    for has_residual in [false, true] {
        let subject = plain(JoinKind::Left, has_residual);
        let mut join = subject.operator();
        let left = (row(&[1, 10]), 1);
        subject
            .step(&mut *join, 0, &[std::slice::from_ref(&left), &[(row(&[1, 20]), 1)]])
            .unwrap();
        // All that is emitted, not its sum.
        let change = [(row(&[1, 20]), -1), (row(&[1, 30]), 1)];
        let batch = crate::operator::trial::batch(&subject.inputs[1].schema, &change);
        let step = Step {
            now_us: 0,
            watermark: 0,
        };
        for batch in join.step(&step, vec![vec![], vec![batch]]).unwrap() {
            assert_eq!(batch.column(2).null_count(), 0, "NULLs in between");
        }
        // Both sides at once: the left row comes together with its partner.
        let at_once = [&[(row(&[2, 10]), 1)][..], &[(row(&[2, 20]), 1)][..]];
        let output = subject.step(&mut *join, 0, &at_once).unwrap();
        assert_eq!(output, Bag::from([(row(&[2, 10, 2, 20]), 1)]));
    }
}

#[test]
fn a_row_deleted_too_often_is_an_internal_error() {
    let subject = plain(JoinKind::Inner, false);
    let mut join = subject.operator();
    subject.step(&mut *join, 0, &[&[(row(&[1, 10]), 1)], &[]]).unwrap();
    let error = subject.step(&mut *join, 0, &[&[(row(&[1, 11]), -1)], &[]]).unwrap_err();
    assert!(matches!(error, Error::Internal(_)), "{error:?}");
}

#[test]
fn late_rows_are_counted() {
    let types = [TIMESTAMP];
    let spec = JoinSpec {
        right_keys: vec![0],
        close: Some(CloseSpec {
            column: 0,
            emit_on_close: false,
            lateness_us: 5,
        }),
        ..spec(JoinKind::Inner, 1, false, false)
    };
    let subject = subject(&spec, &types, &types, None);
    let mut join = subject.operator();
    let at = |time| [(row(&[time]), 1)];
    subject.step(&mut *join, 20, &[&at(10), &at(10)]).unwrap();
    let output = subject.step(&mut *join, 20, &[&at(15), &at(16)]).unwrap();
    assert!(output.is_empty());
    assert_eq!(join.stats().late_dropped, 1);
    let output = subject.step(&mut *join, 21, &[&at(16), &[]]).unwrap();
    assert_eq!(output.len(), 1);
    assert_eq!(join.stats().state_entries, 0);
}

#[test]
fn floats_are_joined_as_they_are_equal() {
    let types = [DataType::Float64, DataType::Float64];
    let spec = JoinSpec {
        right_keys: vec![0],
        ..spec(JoinKind::Inner, 1, false, false)
    };
    let subject = subject(&spec, &types, &types, None);
    let batch = |zero: f64, nan: f64| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(arrow::array::Float64Array::from(vec![zero, nan])),
            Arc::new(arrow::array::Float64Array::from(vec![zero, nan])),
        ];
        ChangeBatch::inserts(RecordBatch::try_new(subject.inputs[0].schema.clone(), columns).unwrap())
    };
    let odd_nan = f64::from_bits(f64::NAN.to_bits() | 5);
    let step = Step {
        now_us: 0,
        watermark: 0,
    };
    // Whichever side comes last, the bits that come out are the same.
    for left_first in [true, false] {
        let mut join = subject.operator();
        let (left, right) = (batch(-0.0, odd_nan), batch(0.0, -f64::NAN));
        let (one, other) = match left_first {
            true => (vec![vec![left], vec![]], vec![vec![], vec![right]]),
            false => (vec![vec![], vec![right]], vec![vec![left], vec![]]),
        };
        join.step(&step, one).unwrap();
        let output = join.step(&step, other).unwrap();
        assert_eq!(output.iter().map(ChangeBatch::num_rows).sum::<usize>(), 2);
        for column in output.iter().flat_map(|batch| batch.rows().columns()) {
            let bits: Vec<u64> = column
                .as_primitive::<arrow::datatypes::Float64Type>()
                .values()
                .iter()
                .map(|value| value.to_bits())
                .collect();
            assert_eq!(bits, [0, f64::NAN.to_bits()]);
        }
    }
}

#[test]
fn a_hot_key_costs_what_changes() {
    let subject = plain(JoinKind::Left, false);
    let mut join = subject.operator();
    let rows: Vec<(Row, i64)> = (0..100_000).map(|value| (row(&[1, value]), 1)).collect();
    subject.step(&mut *join, 0, &[&rows, &[]]).unwrap();
    let begun = std::time::Instant::now();
    for value in 0..2000 {
        let change = [(row(&[1, value]), -1), (row(&[1, 100_000 + value]), 1)];
        subject.step(&mut *join, 0, &[&change, &[]]).unwrap();
    }
    // Each step over all rows would take some milliseconds.
    assert!(begun.elapsed().as_millis() < 1000, "{:?}", begun.elapsed());
}
