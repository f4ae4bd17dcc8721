//! Joins against all pairs of the inputs' sums.

use std::collections::BTreeMap;

use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use proptest::prelude::*;

use super::*;
use crate::graph::{IntervalSpec, NodeKind};
use crate::operator::trial::{Act, Bag, Domain, Record, Row, Subject, TIMESTAMP, acts, add, input, node, sum};

/// Left: key, second key, value. Right: value, key, second key, value.
const LEFT: [DataType; 3] = [DataType::Int64, DataType::Utf8, DataType::Int64];
const RIGHT: [DataType; 4] = [DataType::Utf8, DataType::Int64, DataType::Utf8, DataType::Int64];
const WIDTHS: (usize, usize) = (LEFT.len(), RIGHT.len());
const LEFT_VALUE: usize = 2;
const RIGHT_VALUE: usize = 3;

fn smaller(left: usize, right: usize) -> Arc<dyn PhysicalExpr> {
    let column = |place: usize| Arc::new(Column::new(&format!("c{place}"), place)) as Arc<dyn PhysicalExpr>;
    Arc::new(BinaryExpr::new(column(left), Op::Lt, column(right)))
}

fn spec(kind: JoinKind, keys: usize, null_equals_null: &[bool], has_residual: bool) -> JoinSpec {
    JoinSpec {
        kind,
        left_keys: (0..keys).collect(),
        right_keys: (1..1 + keys).collect(),
        null_equals_null: null_equals_null[..keys].to_vec(),
        residual: has_residual.then(|| smaller(LEFT_VALUE, LEFT.len() + RIGHT_VALUE)),
        close: None,
        interval: None,
        at_once: false,
    }
}

fn subject(spec: &JoinSpec, left: &[DataType], right: &[DataType], entry_budget: Option<usize>) -> Subject {
    let output = match spec.kind {
        kind if kind.pairs() => [left, right].concat(),
        JoinKind::Mark => [left, &[DataType::Boolean]].concat(),
        _ => left.to_vec(),
    };
    Subject {
        node: node(NodeKind::Join(spec.clone()), &output, false),
        inputs: vec![input(left, false), input(right, false)],
        keys: vec![spec.left_keys.clone(), spec.right_keys.clone()],
        domains: vec![Domain::new(&[4, 3, 4], true), Domain::new(&[3, 4, 3, 4], true)],
        entry_budget,
    }
}

/// The join of two bags; `widths` of the sides, and which of their columns the residual compares.
fn joined(spec: &JoinSpec, left: &Bag, right: &Bag, widths: (usize, usize), values: (usize, usize)) -> Bag {
    let meet = |one: &Row, other: &Row| {
        let mut keys = spec.left_keys.iter().zip(&spec.right_keys).zip(&spec.null_equals_null);
        let keys_meet =
            keys.all(|((left, right), equal)| one[*left] == other[*right] && (*equal || one[*left].is_some()));
        let passes = spec.residual.is_none()
            || matches!((one[values.0], other[values.1]), (Some(one), Some(other)) if one < other);
        keys_meet && passes
    };
    joined_by(spec, left, right, widths, meet)
}

/// The join of two bags whose rows meet as said.
fn joined_by(
    spec: &JoinSpec,
    left: &Bag,
    right: &Bag,
    widths: (usize, usize),
    meet: impl Fn(&Row, &Row) -> bool,
) -> Bag {
    let mut output = Bag::new();
    for (one, weight) in left {
        for (other, other_weight) in right.iter().filter(|(other, _)| meet(one, other)) {
            if spec.kind.pairs() {
                let pair = [one.clone(), other.clone()].concat();
                add(&mut output, pair, weight * other_weight);
            }
        }
        let has_partner = right.keys().any(|other| meet(one, other));
        match spec.kind {
            JoinKind::Left | JoinKind::Full if !has_partner => {
                add(&mut output, [one.clone(), vec![None; widths.1]].concat(), *weight);
            }
            JoinKind::Semi if has_partner => add(&mut output, one.clone(), *weight),
            JoinKind::Anti if !has_partner => add(&mut output, one.clone(), *weight),
            JoinKind::Mark => {
                let marked = [one.clone(), vec![Some(i64::from(has_partner))]].concat();
                add(&mut output, marked, *weight);
            }
            _ => {}
        }
    }
    for (other, weight) in right {
        if spec.kind == JoinKind::Full && !left.keys().any(|one| meet(one, other)) {
            add(&mut output, [vec![None; widths.0], other.clone()].concat(), *weight);
        }
    }
    output
}

fn kinds() -> impl Strategy<Value = JoinKind> {
    prop_oneof![
        Just(JoinKind::Inner),
        Just(JoinKind::Left),
        Just(JoinKind::Full),
        Just(JoinKind::Semi),
        Just(JoinKind::Anti),
        Just(JoinKind::Mark)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_sum_of_changes_is_the_join_of_the_sums(
        kind in kinds(),
        keys in 0usize..3,
        null_equals_null in any::<[bool; 2]>(),
        has_residual in any::<bool>(),
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(2, 4, true),
    ) {
        let spec = spec(kind, keys, &null_equals_null, has_residual);
        subject(&spec, &LEFT, &RIGHT, entry_budget).run(&acts, |history| {
            joined(&spec, &sum(history, 0), &sum(history, 1), WIDTHS, (LEFT_VALUE, RIGHT_VALUE))
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
        let spec = spec(kind, 1, &[false], has_residual);
        let subject = Subject {
            domains: vec![Domain::new(&[2, 200, 7], false), Domain::new(&[200, 2, 3, 7], false)],
            ..subject(&spec, &LEFT, &RIGHT, Some(1))
        };
        let acts: Vec<Act> = acts.iter().cycle().take(3 * acts.len()).chain(&more).cloned().collect();
        subject.run(&acts, |history| {
            joined(&spec, &sum(history, 0), &sum(history, 1), WIDTHS, (LEFT_VALUE, RIGHT_VALUE))
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
            null_equals_null: vec![false; 2],
            residual: has_residual.then(|| smaller(2, 5)),
            close: Some(CloseSpec { column: 0, emit_on_close: false, lateness_us }),
            interval: None,
            at_once: false,
        };
        let subject = Subject {
            domains: vec![Domain::new(&[3, 20, 4], true), Domain::new(&[3, 20, 4], true)],
            ..subject(&spec, &types, &types, entry_budget)
        };
        subject.run(&acts, |history| {
            let accepted = |input| on_time(history, input, lateness_us);
            joined(&spec, &accepted(0), &accepted(1), (3, 3), (2, 2))
        })?;
    }
}

/// Rows of one step of an interval join: key, how far above the watermark, value.
fn near_rows() -> impl Strategy<Value = Vec<(i64, i64, i64)>> {
    prop::collection::vec((0i64..3, -4i64..9, 0i64..4), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Rows below the watermark that comes with them are late; all others find their partners, and
    /// what nobody can meet any more goes.
    #[test]
    fn intervals_pass(
        kind in kinds(),
        from in -3i64..3,
        length in 0i64..5,
        lateness in 0i64..3,
        steps in prop::collection::vec((0i64..5, near_rows(), near_rows()), 1..25),
    ) {
        const SECOND: i64 = 1_000_000;
        let to = from + length;
        let seen = [DataType::Int64, TIMESTAMP, DataType::Int64];
        let types = [DataType::Int64, TIMESTAMP, DataType::Int64, TIMESTAMP];
        let spec = JoinSpec {
            interval: Some(IntervalSpec {
                left_time: 1,
                right_time: 1,
                from_us: from * SECOND,
                to_us: to * SECOND,
                lateness_us: lateness * SECOND,
            }),
            residual: Some(near(from * SECOND, to * SECOND)),
            right_keys: vec![0],
            ..spec(kind, 1, &[false], false)
        };
        let mut subject = subject(&spec, &seen, &seen, None);
        subject.inputs = vec![input(&types, true), input(&types, true)];
        let mut join = subject.operator();
        let (mut watermark, mut accepted, mut output) = (0, [Bag::new(), Bag::new()], Bag::new());
        for (rise, left, right) in &steps {
            let rows = |rows: &[(i64, i64, i64)], accepted: &mut Bag| -> Vec<(Row, i64)> {
                let row = |(key, above, value): &(i64, i64, i64)| {
                    let time = (watermark + above) * SECOND;
                    if above + lateness >= 0 {
                        add(accepted, row(&[*key, time, *value]), 1);
                    }
                    (row(&[*key, time, *value, watermark * SECOND]), 1)
                };
                rows.iter().map(row).collect()
            };
            let [of_left, of_right] = &mut accepted;
            let (left, right) = (rows(left, of_left), rows(right, of_right));
            watermark += rise;
            for (row, weight) in subject.step(&mut *join, watermark * SECOND, &[&left, &right]).unwrap() {
                add(&mut output, row, weight);
            }
            let expected = joined_near(kind, &accepted, (from * SECOND, to * SECOND));
            prop_assert_eq!(&output, &expected);
        }
        subject.step(&mut *join, Watermark::MAX, &[&[], &[]]).unwrap();
        prop_assert_eq!(join.stats().state_entries, 0);
    }
}

/// `right.time - left.time BETWEEN from AND to`, in terms of times as they are compared.
fn near(from_us: i64, to_us: i64) -> Arc<dyn PhysicalExpr> {
    use datafusion::common::ScalarValue;
    use datafusion::physical_expr::expressions::{CastExpr, Literal};
    let time = |place: usize| {
        let column = Arc::new(Column::new(&format!("c{place}"), place)) as Arc<dyn PhysicalExpr>;
        Arc::new(CastExpr::new(column, DataType::Int64, None)) as Arc<dyn PhysicalExpr>
    };
    let binary = |one, op, other| Arc::new(BinaryExpr::new(one, op, other)) as Arc<dyn PhysicalExpr>;
    let value = |us| Arc::new(Literal::new(ScalarValue::Int64(Some(us)))) as Arc<dyn PhysicalExpr>;
    let apart = binary(time(4), Op::Minus, time(1));
    let above = binary(apart.clone(), Op::GtEq, value(from_us));
    binary(above, Op::And, binary(apart, Op::LtEq, value(to_us)))
}

/// The join of rows of key, time and value, by equal keys and near times.
fn joined_near(kind: JoinKind, [left, right]: &[Bag; 2], (from, to): (i64, i64)) -> Bag {
    let meets = |one: &Row, other: &Row| match (one[1], other[1]) {
        (Some(one_time), Some(other_time)) => one[0] == other[0] && (from..=to).contains(&(other_time - one_time)),
        _ => false,
    };
    let spec = spec(kind, 0, &[], false);
    joined_by(&spec, left, right, (3, 3), meets)
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
            ..spec(kind, 1, &[false], false)
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
            seed: 0,
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
        ..spec(JoinKind::Inner, 1, &[false], false)
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
        ..spec(JoinKind::Inner, 1, &[false], false)
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
        seed: 0,
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

/// What left rows have met, as it is kept: with their weights.
type Met = BTreeMap<Row, BTreeMap<Vec<(Row, i64)>, i64>>;

/// Joins at once, step by step.
fn at_once(spec: &JoinSpec, history: &[Record]) -> Bag {
    let (mut right, mut met, mut output) = (Bag::new(), Met::new(), Bag::new());
    for record in history {
        let changes = |input: usize| {
            let mut bag = Bag::new();
            for (row, weight) in record.inputs[input].iter().flatten() {
                add(&mut bag, row.clone(), *weight);
            }
            bag
        };
        changes(1)
            .into_iter()
            .for_each(|(row, weight)| add(&mut right, row, weight));
        for (row, mut weight) in changes(0) {
            let kept = met.entry(row.clone()).or_default();
            let inner = JoinSpec {
                kind: JoinKind::Inner,
                ..spec.clone()
            };
            let one = Bag::from([(row.clone(), 1)]);
            let mut pairs = |partners: &[(Row, i64)], weight: i64| {
                if partners.is_empty() && spec.kind == JoinKind::Left {
                    add(&mut output, [row.clone(), vec![None; WIDTHS.1]].concat(), weight);
                }
                for (pair, times) in partners {
                    add(&mut output, pair.clone(), weight * times);
                }
            };
            if weight > 0 {
                let partners = joined(&inner, &one, &right, WIDTHS, (LEFT_VALUE, RIGHT_VALUE));
                let partners: Vec<(Row, i64)> = partners.into_iter().collect();
                pairs(&partners, weight);
                *kept.entry(partners).or_default() += weight;
            }
            // Which goes first of those that have met different rows is the operator's choice, so the trial
            // has none of them.
            while weight < 0 {
                let (partners, there) = kept.pop_first().unwrap();
                let taken = there.min(-weight);
                pairs(&partners, -taken);
                weight += taken;
                if taken < there {
                    kept.insert(partners, there - taken);
                }
            }
        }
    }
    output
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// A left row meets what is there when it comes, and takes that away when it goes.
    #[test]
    fn rows_meet_what_is_there(
        kind in prop_oneof![Just(JoinKind::Inner), Just(JoinKind::Left)],
        keys in 0usize..3,
        null_equals_null in any::<[bool; 2]>(),
        has_residual in any::<bool>(),
        deletes in any::<bool>(),
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(2, 4, true),
    ) {
        let spec = JoinSpec { at_once: true, ..spec(kind, keys, &null_equals_null, has_residual) };
        let mut subject = subject(&spec, &LEFT, &RIGHT, entry_budget);
        subject.inputs[0].append_only = !deletes;
        // Left rows come once: of equal ones that have met different rows either may go first.
        let mut come = std::collections::BTreeSet::new();
        let mut acts = acts;
        acts.retain_mut(|act| match act {
            Act::Insert { input: 0, values, weight } => {
                let nth = come.len() as u8;
                values[2] = nth;
                *weight = 1;
                nth < 100 && come.insert(nth)
            }
            Act::Delete { input: 0, .. } => deletes,
            _ => true,
        });
        subject.domains[0] = Domain::new(&[4, 3, 100], true);
        subject.run(&acts, |history| at_once(&spec, history))?;
    }
}
