//! Aggregation against a recomputation: any calls, batches, steps, checkpoints, crashes, budgets
//! and numbers of tasks.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use weir_state::MemoryStore;

use super::*;
use crate::graph::{AggregateCall, AggregateFunction, NodeKind};
use crate::operator::trial::context;

mod model;
mod rig;

use rig::Rig;

pub(super) const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// Columns: `k`, `v` BIGINT; `u` UINT64; `f` DOUBLE; `d` DECIMAL(38, 2); `t` TEXT; `b` BOOLEAN;
/// `w` TIMESTAMP.
pub(super) fn input_schema() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("k", DataType::Int64),
        field("v", DataType::Int64),
        field("u", DataType::UInt64),
        field("f", DataType::Float64),
        field("d", DataType::Decimal128(38, 2)),
        field("t", DataType::Utf8),
        field("b", DataType::Boolean),
        field("w", TIME),
    ]))
}

/// One row of [`input_schema`].
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    pub k: Option<i64>,
    pub v: Option<i64>,
    pub u: Option<u64>,
    pub f: Option<f64>,
    pub d: Option<i128>,
    pub t: Option<String>,
    pub b: Option<bool>,
    pub w: Option<i64>,
}

pub(super) fn batch(rows: &[(Row, i64)]) -> ChangeBatch {
    fn column<A: FromIterator<T> + 'static + Array, T>(rows: &[(Row, i64)], of: impl Fn(&Row) -> T) -> ArrayRef {
        Arc::new(rows.iter().map(|(row, _)| of(row)).collect::<A>())
    }
    let decimals: Decimal128Array = rows.iter().map(|(row, _)| row.d).collect();
    let columns: Vec<ArrayRef> = vec![
        column::<Int64Array, _>(rows, |row| row.k),
        column::<Int64Array, _>(rows, |row| row.v),
        column::<UInt64Array, _>(rows, |row| row.u),
        column::<Float64Array, _>(rows, |row| row.f),
        Arc::new(decimals.with_precision_and_scale(38, 2).unwrap()),
        column::<StringArray, _>(rows, |row| row.t.clone()),
        column::<BooleanArray, _>(rows, |row| row.b),
        column::<TimestampMicrosecondArray, _>(rows, |row| row.w),
    ];
    let weights = rows.iter().map(|(_, weight)| *weight).collect();
    let rows = record_batch(input_schema(), columns, rows.len()).unwrap();
    ChangeBatch::new(rows, Weights::Each(weights))
}

pub(super) fn call(function: AggregateFunction, argument: Option<usize>, output_type: DataType) -> AggregateCall {
    AggregateCall {
        function,
        argument,
        distinct: false,
        filter: None,
        output_type,
    }
}

/// The nodes of an aggregation and its input.
pub(super) fn nodes(spec: &AggregateSpec, append_only: bool) -> (Node, Node) {
    let input = input_schema();
    let node = |kind, schema, append_only| Node {
        kind,
        inputs: Vec::new(),
        schema,
        append_only,
        key: None,
        has_watermark: spec.close.is_some(),
        state_bound: None,
    };
    let keys = spec.keys.iter().map(|key| input.field(*key).clone());
    let calls = spec.calls.iter().enumerate();
    let calls = calls.map(|(n, call)| Field::new(format!("c{n}"), call.output_type.clone(), true));
    let output = Arc::new(Schema::new(keys.chain(calls).collect::<Vec<_>>()));
    (
        node(NodeKind::Aggregate(spec.clone()), output, false),
        node(NodeKind::Union, input, append_only),
    )
}

fn row(k: i64, v: i64) -> Row {
    Row {
        k: Some(k),
        v: Some(v),
        ..Row::default()
    }
}

fn one_call(function: AggregateFunction, argument: usize, output_type: DataType) -> AggregateSpec {
    let calls = vec![call(function, Some(argument), output_type)];
    AggregateSpec {
        keys: vec![0],
        calls,
        close: None,
    }
}

#[test]
fn a_step_gives_one_pair_a_group_and_none_for_what_stays() {
    let calls = vec![call(AggregateFunction::Count, None, DataType::Int64)];
    let mut rig = Rig::new(
        AggregateSpec {
            keys: vec![0],
            calls,
            close: None,
        },
        false,
        1,
        None,
    );
    assert_eq!(
        rig.step(&[(row(1, 0), 1), (row(1, 0), 1), (row(2, 0), 1)]),
        ["+1 1|2", "+1 2|1"]
    );
    let rows = [(row(1, 0), 1), (row(1, 5), 1), (row(2, 1), 1), (row(2, 0), -1)];
    assert_eq!(rig.step(&rows), ["-1 1|2", "+1 1|4"]);
    assert_eq!(rig.step(&[(row(2, 1), -1)]), ["-1 2|1"]);
    assert_eq!(rig.step(&[(row(3, 1), 1), (row(3, 1), -1)]), [""; 0]);
    assert_eq!(rig.step(&[(row(1, 0), 40)]), ["-1 1|4", "+1 1|44"]);
}

#[test]
fn grouping_by_nothing_has_a_row_over_nothing_in_task_0_only() {
    let calls = vec![
        call(AggregateFunction::Count, None, DataType::Int64),
        call(AggregateFunction::Sum, Some(1), DataType::Int64),
        call(AggregateFunction::Max, Some(5), DataType::Utf8),
    ];
    let spec = AggregateSpec {
        keys: vec![],
        calls,
        close: None,
    };
    let mut rig = Rig::new(spec, false, 3, None);
    assert_eq!(rig.step(&[]), ["+1 0||"]);
    assert_eq!(rig.step(&[]), [""; 0]);
    assert_eq!(rig.step(&[(row(1, 7), 1)]), ["-1 0||", "+1 1|7|"]);
    rig.checkpoint();
    rig.commit();
    rig.crash(2);
    assert_eq!(rig.step(&[]), [""; 0]);
    assert_eq!(rig.step(&[(row(1, 7), -1)]), ["-1 1|7|", "+1 0||"]);
    rig.checkpoint();
    rig.commit();
    rig.crash(1);
    assert_eq!(rig.step(&[]), [""; 0]);
}

#[test]
fn grouping_by_nothing_counts_what_comes_with_the_first_step() {
    let calls = vec![call(AggregateFunction::Count, None, DataType::Int64)];
    let mut rig = Rig::new(
        AggregateSpec {
            keys: vec![],
            calls,
            close: None,
        },
        true,
        1,
        None,
    );
    assert_eq!(rig.step(&[(row(1, 1), 1), (row(2, 1), 1)]), ["+1 2"]);
}

#[test]
fn a_sum_may_leave_its_range_on_the_way_but_not_in_the_end() {
    let spec = one_call(AggregateFunction::Sum, 1, DataType::Int64);
    let mut rig = Rig::new(spec.clone(), false, 1, None);
    let back_again = [(row(1, i64::MAX), 1), (row(1, i64::MAX), 1), (row(1, i64::MAX), -1)];
    assert_eq!(rig.step(&back_again), [format!("+1 1|{}", i64::MAX)]);
    let error = rig.try_step(&[(row(1, 1), 1)]).unwrap_err();
    assert!(
        matches!(&error, Error::Data(cause) if cause.starts_with("sum(v): bigint out of range")),
        "{error}"
    );

    let spec = one_call(AggregateFunction::Sum, 2, DataType::UInt64);
    let mut rig = Rig::new(spec, false, 1, None);
    let large = Row {
        k: Some(1),
        u: Some(u64::MAX),
        ..Row::default()
    };
    assert_eq!(rig.step(&[(large.clone(), 1)]), [format!("+1 1|{}", u64::MAX)]);
    let error = rig.try_step(&[(large, 1)]).unwrap_err();
    assert!(
        error.to_string().starts_with("sum(u): unsigned bigint out of range"),
        "{error}"
    );
}

#[test]
fn decimal_sums_pass_128_bits_and_come_back() {
    let spec = one_call(AggregateFunction::Sum, 4, DataType::Decimal128(38, 2));
    let mut rig = Rig::new(spec, false, 1, None);
    let most = 10i128.pow(38) - 1;
    let large = |d: i128| Row {
        k: Some(1),
        d: Some(d),
        ..Row::default()
    };
    // 5 * 10^38 is beyond 2^127; so is each product with 10^12.
    let mut rows = vec![(large(most), 5), (large(most), 1_000_000_000_000)];
    rows.push((large(most), -1_000_000_000_000));
    rows.push((large(most), -4));
    assert_eq!(rig.step(&rows), [format!("+1 1|{}.99", "9".repeat(36))]);
    let error = rig.try_step(&[(large(1), 1)]).unwrap_err();
    assert!(
        error.to_string().starts_with("sum(d): numeric(38, 2) out of range"),
        "{error}"
    );

    // Beyond 128 bits at a checkpoint, and back after a crash.
    let spec = one_call(AggregateFunction::Avg, 4, DataType::Decimal128(38, 6));
    let mut rig = Rig::new(spec, false, 1, None);
    let third = 10i128.pow(33);
    let rows = [(large(third), 1_000_000_000_000), (large(1), 1)];
    assert_eq!(rig.step(&rows).len(), 1);
    rig.checkpoint();
    rig.commit();
    rig.crash(1);
    let rows = [(large(third), -1_000_000_000_000), (large(0), 2)];
    let changes = rig.step(&rows);
    assert_eq!(changes[1], "+1 1|0.003333");
}

#[test]
fn means_of_integers_are_exact_and_rounded_once() {
    let mut rig = Rig::new(one_call(AggregateFunction::Avg, 1, DataType::Float64), false, 1, None);
    let large = 9_007_199_254_740_993;
    assert_eq!(
        rig.step(&[(row(1, large), 1), (row(1, large + 2), 1)]),
        ["+1 1|9007199254740994.0"]
    );
}

#[test]
fn float_sums_over_updates_keep_no_trace_of_what_went() {
    let of = |f: f64| Row {
        k: Some(1),
        f: Some(f),
        ..Row::default()
    };
    let mut rig = Rig::new(one_call(AggregateFunction::Sum, 3, DataType::Float64), false, 1, None);
    assert_eq!(rig.step(&[(of(1e16), 1), (of(1.0), 1), (of(-1e16), 1)]), ["+1 1|1.0"]);
    assert_eq!(rig.step(&[(of(f64::NAN), 1)]), ["-1 1|1.0", "+1 1|NaN"]);
    rig.checkpoint();
    rig.commit();
    rig.crash(1);
    assert_eq!(rig.step(&[(of(f64::NAN), -1), (of(0.1), 1)]), ["-1 1|NaN", "+1 1|1.1"]);
    assert_eq!(rig.step(&[(of(0.1), -1)]), ["-1 1|1.1", "+1 1|1.0"]);
}

#[test]
fn keys_are_equal_as_sql_groups_them() {
    let calls = vec![call(AggregateFunction::Count, None, DataType::Int64)];
    let mut rig = Rig::new(
        AggregateSpec {
            keys: vec![3],
            calls,
            close: None,
        },
        false,
        1,
        None,
    );
    let of = |f: Option<f64>| (Row { f, ..Row::default() }, 1);
    let keys = [0.0, -0.0, f64::NAN, -f64::NAN].map(|f| of(Some(f)));
    let mut changes = rig.step(&[&keys[..], &[of(None), of(None)]].concat());
    changes.sort();
    assert_eq!(changes, ["+1 0.0|2", "+1 NaN|2", "+1 |2"]);
}

#[test]
fn what_cannot_be_kept_up_to_date_is_refused_when_it_is_built() {
    let refused = one_call(AggregateFunction::Sum, 5, DataType::Utf8);
    let (node, input) = nodes(&refused, false);
    let store = Arc::new(MemoryStore::new());
    let error = Aggregate::new(&refused, &node, &input, &context(&store, 0, 1))
        .err()
        .unwrap();
    assert!(error.to_string().contains("sum(t)"), "{error}");
    assert!(error.to_string().contains("cast"), "{error}");
}

#[test]
fn a_delete_of_what_was_never_there_is_a_broken_promise() {
    let calls = vec![call(AggregateFunction::Count, None, DataType::Int64)];
    let mut rig = Rig::new(
        AggregateSpec {
            keys: vec![0],
            calls,
            close: None,
        },
        false,
        1,
        None,
    );
    assert!(matches!(rig.try_step(&[(row(1, 0), -1)]), Err(Error::Internal(_))));
}

fn windows(emit_on_close: bool, lateness_us: i64) -> AggregateSpec {
    let close = CloseSpec {
        column: 1,
        emit_on_close,
        lateness_us,
    };
    let calls = vec![call(AggregateFunction::Count, None, DataType::Int64)];
    AggregateSpec {
        keys: vec![0, 7],
        calls,
        close: Some(close),
    }
}

fn at(k: i64, w: Option<i64>) -> (Row, i64) {
    (
        Row {
            k: Some(k),
            w,
            ..Row::default()
        },
        1,
    )
}

#[test]
fn a_window_gives_its_rows_when_the_watermark_arrives() {
    let mut rig = Rig::new(windows(true, 0), true, 1, None);
    let rows = [at(1, Some(10)), at(1, Some(10)), at(2, Some(20)), at(3, None)];
    assert_eq!(rig.step_to(&rows, 9), [""; 0]);
    rig.checkpoint();
    rig.commit();
    assert_eq!(rig.stored(), 3);
    rig.crash(1);
    assert_eq!(
        rig.step_to(&[at(1, Some(10))], 10),
        ["+1 1|1970-01-01T00:00:00.000010|3"]
    );
    rig.checkpoint();
    rig.commit();
    assert_eq!(rig.stored(), 2);
    // A row for it comes too late.
    assert_eq!(rig.step_to(&[at(9, Some(10))], 10), [""; 0]);
    assert_eq!((rig.late_dropped(), rig.stored()), (1, 2));

    // All input has ended: every window closes, and what has no time stays.
    let mut rig = rig.rebuilt(1);
    assert_eq!(rig.step_to(&[], i64::MAX), ["+1 2|1970-01-01T00:00:00.000020|1"]);
    rig.checkpoint();
    rig.commit();
    assert_eq!(rig.stored(), 1);
}

#[test]
fn with_lateness_results_stay_and_state_goes() {
    let mut rig = Rig::new(windows(false, 5), true, 1, None);
    let first = "1|1970-01-01T00:00:00.000010";
    assert_eq!(rig.step_to(&[at(1, Some(10))], 14), [format!("+1 {first}|1")]);
    rig.checkpoint();
    rig.commit();
    let late = rig.step_to(&[at(1, Some(10))], 15);
    assert_eq!(late, [format!("-1 {first}|1"), format!("+1 {first}|2")]);
    assert_eq!(rig.entries(), 0);
    rig.checkpoint();
    rig.commit();
    assert_eq!(rig.stored(), 0);
}
