//! The property: after every step the sum of the output is what a recomputation gives.

use std::cmp::Reverse;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::DataType;
use datafusion::functions_aggregate::bit_and_or_xor::{bit_or_udaf, bit_xor_udaf};
use datafusion::functions_aggregate::first_last::{first_value_udaf, last_value_udaf};
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::Column;
use proptest::prelude::*;

use super::rig::{Bag, Rig, add};
use super::{Row, TIME, batch, call, input_schema, nodes};
use crate::change::{ChangeBatch, record_batch};
use crate::graph::{AggregateCall, AggregateFunction::*, AggregateSpec, CloseSpec, FoldRows, FoldSpec, OrderKey};

/// A call, and what it should give for the rows of a group.
struct Checked {
    call: AggregateCall,
    expected: fn(&[&Row]) -> Value,
}

#[derive(Debug, Clone)]
enum Value {
    Integer(Option<i64>),
    Unsigned(Option<u64>),
    Float(Option<f64>),
    Decimal(Option<i128>),
    Text(Option<String>),
    Time(Option<i64>),
}

/// The calls among which each case chooses.
fn calls() -> Vec<Checked> {
    let plain = |function, argument, output_type, expected| Checked {
        call: call(function, argument, output_type),
        expected,
    };
    let distinct = |mut checked: Checked| {
        checked.call.distinct = true;
        checked
    };
    let filtered = |mut checked: Checked| {
        checked.call.filter = Some(6);
        checked
    };
    let int = DataType::Int64;
    let wide = DataType::Decimal128(38, 2);
    let mean = DataType::Decimal128(38, 6);
    vec![
        plain(Count, None, int.clone(), |rows| count(rows.len())),
        filtered(plain(Count, None, int.clone(), |rows| count(passing(rows).len()))),
        plain(Count, Some(1), int.clone(), |rows| count(ints(rows).len())),
        distinct(plain(Count, Some(1), int.clone(), |rows| {
            count(unique(ints(rows)).len())
        })),
        distinct(filtered(plain(Count, Some(5), int.clone(), |rows| {
            count(unique(texts(&passing(rows))).len())
        }))),
        plain(Sum, Some(1), int.clone(), |rows| Value::Integer(sum(ints(rows)))),
        filtered(plain(Sum, Some(1), int.clone(), |rows| {
            Value::Integer(sum(ints(&passing(rows))))
        })),
        distinct(plain(Sum, Some(1), int.clone(), |rows| {
            Value::Integer(sum(unique(ints(rows))))
        })),
        plain(Sum, Some(2), DataType::UInt64, |rows| {
            let values: Vec<u64> = rows.iter().filter_map(|row| row.u).collect();
            Value::Unsigned((!values.is_empty()).then(|| values.iter().sum()))
        }),
        plain(Sum, Some(3), DataType::Float64, |rows| {
            Value::Float(float_sum(&floats(rows)))
        }),
        plain(Avg, Some(3), DataType::Float64, |rows| {
            let values = floats(rows);
            Value::Float(float_sum(&values).map(|sum| sum / values.len() as f64))
        }),
        distinct(plain(Sum, Some(3), DataType::Float64, |rows| {
            let mut values = floats(rows);
            values.sort_by(f64::total_cmp);
            values.dedup_by(|a, b| a == b || (a.is_nan() && b.is_nan()));
            Value::Float(float_sum(&values))
        })),
        plain(Avg, Some(1), DataType::Float64, |rows| {
            let values = ints(rows);
            Value::Float(sum(values.clone()).map(|sum| sum as f64 / values.len() as f64))
        }),
        plain(Sum, Some(4), wide.clone(), |rows| Value::Decimal(decimal_sum(rows))),
        plain(Avg, Some(4), mean, |rows| {
            let count = rows.iter().filter(|row| row.d.is_some()).count() as i128;
            // Half away from zero.
            let rounded = |sum: i128| (sum * 10_000 + sum.signum() * count / 2) / count;
            Value::Decimal(decimal_sum(rows).map(rounded))
        }),
        plain(Min, Some(1), int.clone(), |rows| {
            Value::Integer(ints(rows).into_iter().min())
        }),
        filtered(plain(Max, Some(1), int.clone(), |rows| {
            Value::Integer(ints(&passing(rows)).into_iter().max())
        })),
        distinct(plain(Max, Some(1), int, |rows| {
            Value::Integer(ints(rows).into_iter().max())
        })),
        plain(Min, Some(2), DataType::UInt64, |rows| {
            Value::Unsigned(rows.iter().filter_map(|row| row.u).min())
        }),
        plain(Max, Some(3), DataType::Float64, |rows| {
            Value::Float(floats(rows).into_iter().max_by(sorted))
        }),
        plain(Min, Some(3), DataType::Float64, |rows| {
            Value::Float(floats(rows).into_iter().min_by(sorted))
        }),
        plain(Max, Some(4), wide, |rows| {
            Value::Decimal(rows.iter().filter_map(|row| row.d).max())
        }),
        plain(Min, Some(5), DataType::Utf8, |rows| {
            Value::Text(texts(rows).into_iter().min())
        }),
        plain(Max, Some(5), DataType::Utf8, |rows| {
            Value::Text(texts(rows).into_iter().max())
        }),
        plain(Max, Some(7), TIME, |rows| {
            Value::Time(rows.iter().filter_map(|row| row.w).max())
        }),
        folded(first_value_udaf(), 5, &[(1, true)], FoldRows::First, |rows| {
            let ordered = in_order(rows, |row| (Reverse(last_if_none(row.v)), last_if_none(row.t.clone())));
            Value::Text(ordered.first().and_then(|row| row.t.clone()))
        }),
        folded(last_value_udaf(), 1, &[(2, false)], FoldRows::Last, |rows| {
            let ordered = in_order(rows, |row| (last_if_none(row.u), last_if_none(row.v)));
            Value::Integer(ordered.last().and_then(|row| row.v))
        }),
        filtered(folded(bit_or_udaf(), 1, &[], FoldRows::Once, |rows| {
            Value::Integer(ints(&passing(rows)).into_iter().reduce(|a, b| a | b))
        })),
        folded(bit_xor_udaf(), 1, &[], FoldRows::All, |rows| {
            Value::Integer(ints(rows).into_iter().reduce(|a, b| a ^ b))
        }),
    ]
}

/// A function of one column, given rows in an order.
fn folded(
    function: Arc<AggregateUDF>,
    column: usize,
    order: &[(usize, bool)],
    reads: FoldRows,
    expected: fn(&[&Row]) -> Value,
) -> Checked {
    let schema = Arc::new(input_schema().project(&[column]).unwrap());
    let argument: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(0).name(), 0));
    let function = AggregateExprBuilder::new(function, vec![argument]);
    let function = function.schema(schema).alias("folded").build().unwrap();
    let key = |(column, descending): &(usize, bool)| OrderKey {
        column: *column,
        descending: *descending,
        nulls_first: *descending,
    };
    let output_type = function.field().data_type().clone();
    let fold = FoldSpec {
        columns: vec![column],
        order: order.iter().map(key).collect(),
        function: Arc::new(function),
        reads,
    };
    Checked {
        call: call(Fold(Arc::new(fold)), None, output_type),
        expected,
    }
}

fn in_order<'a, K: Ord>(rows: &[&'a Row], key: impl Fn(&Row) -> K) -> Vec<&'a Row> {
    let mut ordered = rows.to_vec();
    ordered.sort_by_key(|row| key(row));
    ordered
}

fn last_if_none<T>(value: Option<T>) -> (bool, Option<T>) {
    (value.is_none(), value)
}

fn count(rows: usize) -> Value {
    Value::Integer(Some(rows as i64))
}

fn passing<'a>(rows: &[&'a Row]) -> Vec<&'a Row> {
    rows.iter().copied().filter(|row| row.b == Some(true)).collect()
}

fn ints(rows: &[&Row]) -> Vec<i64> {
    rows.iter().filter_map(|row| row.v).collect()
}

/// Without -0.0, which is 0.0.
fn floats(rows: &[&Row]) -> Vec<f64> {
    rows.iter().filter_map(|row| row.f.map(|f| f + 0.0)).collect()
}

fn texts(rows: &[&Row]) -> Vec<String> {
    rows.iter().filter_map(|row| row.t.clone()).collect()
}

fn unique<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort();
    values.dedup();
    values
}

fn sum(values: Vec<i64>) -> Option<i64> {
    (!values.is_empty()).then(|| values.iter().sum())
}

fn decimal_sum(rows: &[&Row]) -> Option<i128> {
    let values: Vec<i128> = rows.iter().filter_map(|row| row.d).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// NaN above all.
fn sorted(a: &f64, b: &f64) -> std::cmp::Ordering {
    a.is_nan()
        .cmp(&b.is_nan())
        .then(a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
}

/// All finite floats here are halves of integers.
fn float_sum(values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let special: f64 = values.iter().filter(|value| !value.is_finite()).sum();
    if special != 0.0 {
        return Some(special);
    }
    let halves: i128 = values.iter().map(|value| (value * 2.0) as i128).sum();
    Some(halves as f64 / 2.0)
}

/// The rows that there should be, as a batch of the aggregation's output.
fn recompute(spec: &AggregateSpec, chosen: &[Checked], rows: &[Row]) -> ChangeBatch {
    let (node, _) = nodes(spec, false);
    let mut groups: Vec<(&Row, Vec<&Row>)> = Vec::new();
    for row in rows {
        let same = |other: &Row| {
            spec.keys.iter().all(|key| match key {
                0 => row.k == other.k,
                5 => row.t == other.t,
                7 => row.w == other.w,
                other => panic!("no key {other}"),
            })
        };
        match groups.iter_mut().find(|(first, _)| same(first)) {
            Some((_, members)) => members.push(row),
            None => groups.push((row, vec![row])),
        }
    }
    let nobody = Row::default();
    if spec.keys.is_empty() && groups.is_empty() {
        groups.push((&nobody, Vec::new()));
    }
    let mut columns: Vec<ArrayRef> = Vec::new();
    for key in &spec.keys {
        let firsts = groups.iter().map(|(first, _)| first);
        columns.push(match key {
            0 => Arc::new(firsts.map(|row| row.k).collect::<Int64Array>()),
            5 => Arc::new(firsts.map(|row| row.t.clone()).collect::<StringArray>()),
            _ => Arc::new(firsts.map(|row| row.w).collect::<TimestampMicrosecondArray>()),
        });
    }
    for checked in chosen {
        let values = groups.iter().map(|(_, members)| (checked.expected)(members)).collect();
        columns.push(column(values, &checked.call.output_type));
    }
    ChangeBatch::inserts(record_batch(node.schema, columns, groups.len()).unwrap())
}

fn column(values: Vec<Value>, data_type: &DataType) -> ArrayRef {
    macro_rules! column {
        ($array:ty, $kind:ident) => {
            values
                .into_iter()
                .map(|value| match value {
                    Value::$kind(value) => value,
                    other => panic!("{other:?} in a column of {data_type}"),
                })
                .collect::<$array>()
        };
    }
    match data_type {
        DataType::Int64 => Arc::new(column!(Int64Array, Integer)),
        DataType::UInt64 => Arc::new(column!(UInt64Array, Unsigned)),
        DataType::Float64 => Arc::new(column!(Float64Array, Float)),
        DataType::Utf8 => Arc::new(column!(StringArray, Text)),
        DataType::Decimal128(precision, scale) => Arc::new(
            column!(Decimal128Array, Decimal)
                .with_precision_and_scale(*precision, *scale)
                .unwrap(),
        ),
        _ => Arc::new(column!(TimestampMicrosecondArray, Time)),
    }
}

#[derive(Debug, Clone)]
enum Action {
    Insert(Row),
    Delete(usize),
    EndBatch,
    /// The watermark moves by this much.
    EndStep(i64),
    Checkpoint,
    Commit,
    /// Begins again with this many tasks, from the last commit.
    Crash(usize),
    Complete(usize),
}

fn small_row() -> impl Strategy<Value = Row> {
    let float = prop_oneof![
        8 => (-6i32..6).prop_map(|halves| f64::from(halves) / 2.0),
        2 => prop_oneof![Just(1e16), Just(-1e16), Just(-0.0)],
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)],
    ];
    (
        prop::option::weighted(0.9, 0i64..4),
        prop::option::weighted(0.8, -3i64..4),
        prop::option::weighted(0.8, prop_oneof![0u64..3, Just(1 << 50)]),
        prop::option::weighted(0.8, float),
        prop::option::weighted(0.8, prop_oneof![-3i128..4, Just(10i128.pow(30))]),
        prop::option::weighted(0.8, "[ab]{0,2}"),
        prop::option::weighted(0.8, any::<bool>()),
        prop::option::weighted(0.9, 1i64..12),
    )
        .prop_map(|(k, v, u, f, d, t, b, w)| Row { k, v, u, f, d, t, b, w })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => small_row().prop_map(Action::Insert),
        8 => any::<usize>().prop_map(Action::Delete),
        3 => Just(Action::EndBatch),
        4 => (0i64..6).prop_map(Action::EndStep),
        3 => Just(Action::Checkpoint),
        3 => Just(Action::Commit),
        1 => (1usize..4).prop_map(Action::Crash),
        1 => (0usize..5).prop_map(Action::Complete),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Closing {
    Never,
    Emits,
    /// With this lateness.
    Forgets(i64),
}

/// What the world should look like between steps.
#[derive(Clone)]
struct Expected {
    /// Rows of groups that may still change.
    open: Vec<Row>,
    /// Rows of groups that are closed.
    closed: Vec<Row>,
    watermark: i64,
    output: Bag,
    /// How many steps of the log there were.
    steps: usize,
}

struct World {
    spec: AggregateSpec,
    chosen: Vec<Checked>,
    closing: Closing,
    append_only: bool,
    rig: Rig,
    now: Expected,
    in_flight: Option<Expected>,
    committed: Expected,
    batches: Vec<Vec<(Row, i64)>>,
    log: Vec<Vec<(Row, i64)>>,
}

impl World {
    fn act(&mut self, action: &Action) {
        match action {
            Action::Insert(row) => {
                let mut row = row.clone();
                row.w = row.w.map(|w| w + self.open_from());
                if self.append_only {
                    // Running sums are exact for small numbers only.
                    row.f = row.f.filter(|f| f.abs() < 1e9);
                }
                self.push((row.clone(), 1));
                self.now.open.push(row);
            }
            Action::Delete(which) if !self.append_only && !self.now.open.is_empty() => {
                let row = self.now.open.swap_remove(which % self.now.open.len());
                self.push((row, -1));
            }
            Action::EndBatch => self.batches.push(Vec::new()),
            Action::EndStep(by) => self.end_step(*by),
            Action::Checkpoint if self.is_between_steps() => {
                self.rig.checkpoint();
                self.in_flight = Some(self.now.clone());
            }
            Action::Commit if self.is_between_steps() => {
                self.rig.commit();
                self.committed = self.in_flight.take().unwrap_or(self.committed.clone());
            }
            Action::Crash(tasks) if self.is_between_steps() => self.crash(*tasks),
            Action::Complete(entries) if self.is_between_steps() => self.rig.complete(*entries),
            _ => {}
        }
    }

    /// Event times above this are open.
    fn open_from(&self) -> i64 {
        let lateness = if let Closing::Forgets(lateness) = self.closing {
            lateness
        } else {
            0
        };
        self.now.watermark - lateness
    }

    fn is_between_steps(&self) -> bool {
        self.batches.iter().all(Vec::is_empty)
    }

    fn push(&mut self, change: (Row, i64)) {
        if self.batches.is_empty() {
            self.batches.push(Vec::new());
        }
        self.batches.last_mut().unwrap().push(change);
    }

    fn end_step(&mut self, by: i64) {
        let batches = std::mem::take(&mut self.batches);
        self.now.watermark += by;
        let changes = batches.iter().map(|rows| batch(rows)).collect();
        let output = self.rig.try_batches(changes, self.now.watermark).unwrap();
        if self.closing == Closing::Emits {
            assert!(output.iter().all(ChangeBatch::is_append_only));
        }
        add(&mut self.now.output, &output).unwrap();
        self.log.push(batches.concat());
        self.now.steps += 1;
        if self.closing != Closing::Never {
            let from = self.open_from();
            let is_closed = |row: &Row| row.w.is_some_and(|w| w <= from);
            let (closed, open) = self.now.open.drain(..).partition(is_closed);
            self.now.open = open;
            self.now.closed.extend::<Vec<Row>>(closed);
        }
        self.check();
    }

    fn check(&self) {
        let rows = match self.closing {
            Closing::Emits => self.now.closed.clone(),
            _ => [&self.now.open[..], &self.now.closed].concat(),
        };
        let mut expected = Bag::new();
        add(&mut expected, &[recompute(&self.spec, &self.chosen, &rows)]).unwrap();
        assert_eq!(self.now.output, expected, "after {} steps", self.now.steps);
    }

    /// Touches all that is left, one by one: shows state that was stored wrongly.
    fn wind_down(&mut self) {
        for which in 0..self.now.open.len() {
            if self.append_only {
                let row = self.now.open[which].clone();
                self.push((row.clone(), 1));
                self.now.open.push(row);
            } else {
                self.act(&Action::Delete(which * 7));
            }
            self.end_step(0);
        }
    }

    /// Goes back to the last commit and takes the rows since then in one step.
    fn crash(&mut self, tasks: usize) {
        self.rig.crash(tasks);
        self.in_flight = None;
        let again = self.log.split_off(self.committed.steps);
        let before = std::mem::replace(&mut self.now, self.committed.clone());
        if !again.is_empty() {
            self.batches = vec![again.concat()];
            self.now.open = before.open;
            self.now.closed = before.closed;
            self.end_step(before.watermark - self.committed.watermark);
        }
    }
}

fn check(
    actions: &[Action],
    keys: Vec<usize>,
    chosen: Vec<usize>,
    closing: Closing,
    append_only: bool,
    entry_budget: Option<usize>,
) {
    let mut all: Vec<_> = calls().into_iter().map(Some).collect();
    let chosen: Vec<Checked> = chosen.iter().filter_map(|call| all[*call].take()).collect();
    let close = match closing {
        Closing::Never => None,
        Closing::Emits => Some((true, 0)),
        Closing::Forgets(lateness_us) => Some((false, lateness_us)),
    };
    let column = keys.iter().position(|key| *key == 7);
    let close = close
        .zip(column)
        .map(|((emit_on_close, lateness_us), column)| CloseSpec {
            column,
            emit_on_close,
            lateness_us,
        });
    let spec = AggregateSpec {
        keys,
        calls: chosen.iter().map(|checked| checked.call.clone()).collect(),
        close,
    };
    let start = Expected {
        open: Vec::new(),
        closed: Vec::new(),
        watermark: 100,
        output: Bag::new(),
        steps: 0,
    };
    let mut world = World {
        rig: Rig::new(spec.clone(), append_only, 1, entry_budget),
        closing: if close.is_some() { closing } else { Closing::Never },
        spec,
        chosen,
        append_only,
        now: start.clone(),
        in_flight: None,
        committed: start,
        batches: Vec::new(),
        log: Vec::new(),
    };
    for action in actions {
        world.act(action);
    }
    world.end_step(1);
    world.act(&Action::Checkpoint);
    world.act(&Action::Commit);
    world.act(&Action::Crash(2));
    world.wind_down();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_output_is_what_a_recomputation_gives(
        actions in prop::collection::vec(action(), 1..120),
        keys in prop_oneof![
            3 => Just(vec![0]), 1 => Just(vec![]), 1 => Just(vec![5, 0]), 2 => Just(vec![0, 7]),
            1 => Just(vec![7]),
        ],
        chosen in prop::sample::subsequence((0..calls().len()).collect::<Vec<_>>(), 0..6),
        closing in prop_oneof![
            Just(Closing::Never), Just(Closing::Emits), (0i64..4).prop_map(Closing::Forgets),
        ],
        append_only in any::<bool>(),
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
    ) {
        check(&actions, keys, chosen, closing, append_only, entry_budget);
    }
}
