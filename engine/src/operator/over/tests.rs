//! Window functions against computing each of them naively from its partition.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::{count::count_udaf, sum::sum_udaf};
use datafusion::functions_window::{lead_lag, ntile, rank, row_number};
use datafusion::logical_expr::{
    WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition as Definition,
};
use datafusion::physical_expr::expressions::{Column, lit};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::windows::create_window_expr;
use proptest::prelude::*;
use weir_state::MemoryStore;

use super::*;
use crate::graph::{CloseSpec, NodeKind, OrderKey, OverCall};
use crate::operator::Watermark;
use crate::operator::trial::{Act, Bag, Domain, Record, Row, Subject, TIMESTAMP, acts, add, context, input, node, sum};

/// Partition, value, order, time.
const TYPES: [DataType; 4] = [DataType::Int64, DataType::Int64, DataType::Int64, TIMESTAMP];
const VALUE: usize = 1;
const ORDER: usize = 2;
const TIME: usize = 3;

/// The functions that are tried.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Function {
    RowNumber,
    Rank,
    Ntile,
    Lag(i64),
    /// A sum of `ROWS BETWEEN a PRECEDING AND b FOLLOWING`; `None`: UNBOUNDED.
    Sum(Option<u64>, Option<u64>),
    /// A count up to the row and its peers.
    Count,
    /// A sum of `RANGE` (or `GROUPS`) `BETWEEN a PRECEDING AND b FOLLOWING`; `None`: CURRENT ROW.
    Near(bool, Option<u64>, Option<u64>),
}

impl Function {
    fn call(self, order: &[OrderKey]) -> OverCall {
        let column = |column: usize| Arc::new(Column::new(&format!("c{column}"), column)) as Arc<dyn PhysicalExpr>;
        let frame = |units, start, end| {
            WindowFrame::new_bounds(
                units,
                WindowFrameBound::Preceding(start),
                WindowFrameBound::Following(end),
            )
        };
        let bound = |rows: Option<u64>| ScalarValue::UInt64(rows);
        if let Function::Near(ranges, before, behind) = self {
            return self.near(ranges, before, behind, order);
        }
        let (function, args, frame, reach) = match self {
            Function::Near(..) => unreachable!("it has been made above"),
            Function::RowNumber => (
                Definition::WindowUDF(row_number::row_number_udwf()),
                vec![],
                None,
                (None, Some(0)),
            ),
            Function::Rank => (Definition::WindowUDF(rank::rank_udwf()), vec![], None, (None, Some(0))),
            Function::Ntile => (
                Definition::WindowUDF(ntile::ntile_udwf()),
                vec![lit(2i64)],
                None,
                (None, None),
            ),
            Function::Lag(rows) => {
                let far = |rows: i64| usize::try_from(rows.max(0)).ok();
                let args = vec![column(VALUE), lit(rows), lit(-1i64)];
                (
                    Definition::WindowUDF(lead_lag::lag_udwf()),
                    args,
                    None,
                    (far(rows), far(-rows)),
                )
            }
            Function::Sum(before, behind) => {
                let frame = frame(WindowFrameUnits::Rows, bound(before), bound(behind));
                let far = |rows: Option<u64>| rows.map(|rows| rows as usize);
                let function = Definition::AggregateUDF(sum_udaf());
                (function, vec![column(VALUE)], Some(frame), (far(before), far(behind)))
            }
            Function::Count => (
                Definition::AggregateUDF(count_udaf()),
                vec![column(VALUE)],
                None,
                (None, None),
            ),
        };
        let frame = frame.unwrap_or_else(|| WindowFrame::new((!order.is_empty()).then_some(false)));
        let reach = Reach {
            before: reach.0.map(Far::rows),
            behind: match self {
                Function::Count => Some(Far::groups(0)),
                _ => reach.1.map(Far::rows),
            },
        };
        self.made(&function, &args, frame, order, reach)
    }

    fn near(self, ranges: bool, before: Option<u64>, behind: Option<u64>, order: &[OrderKey]) -> OverCall {
        let units = match ranges {
            true => WindowFrameUnits::Range,
            false => WindowFrameUnits::Groups,
        };
        let distance = |far: u64| match (ranges, order[0].column) {
            (true, TIME) => ScalarValue::new_interval_mdn(0, 0, 1000 * far as i64),
            (true, _) => ScalarValue::Int64(Some(far as i64)),
            (false, _) => ScalarValue::UInt64(Some(far)),
        };
        let start = before.map_or(WindowFrameBound::CurrentRow, |far| {
            WindowFrameBound::Preceding(distance(far))
        });
        let end = behind.map_or(WindowFrameBound::CurrentRow, |far| {
            WindowFrameBound::Following(distance(far))
        });
        let far = |far: Option<u64>| {
            Some(match far {
                Some(far) if ranges => Far::range(distance(far)),
                far => Far::groups(far.unwrap_or(0) as usize),
            })
        };
        let reach = Reach {
            before: far(before),
            behind: far(behind),
        };
        let value = Arc::new(Column::new(&format!("c{VALUE}"), VALUE)) as Arc<dyn PhysicalExpr>;
        let frame = WindowFrame::new_bounds(units, start, end);
        self.made(&Definition::AggregateUDF(sum_udaf()), &[value], frame, order, reach)
    }

    fn made(
        self,
        function: &Definition,
        args: &[Arc<dyn PhysicalExpr>],
        frame: WindowFrame,
        order: &[OrderKey],
        reach: Reach,
    ) -> OverCall {
        let column = |column: usize| Arc::new(Column::new(&format!("c{column}"), column)) as Arc<dyn PhysicalExpr>;
        let sort = |key: &OrderKey| PhysicalSortExpr {
            expr: column(key.column),
            options: SortOptions {
                descending: key.descending,
                nulls_first: key.nulls_first,
            },
        };
        let sorts: Vec<PhysicalSortExpr> = order.iter().map(sort).collect();
        let schema: Arc<Schema> = input(&TYPES, true).schema;
        let name = format!("{self:?}");
        let frame = Arc::new(frame);
        let function = create_window_expr(
            function,
            name.clone(),
            args,
            &[],
            &sorts,
            frame,
            schema,
            false,
            false,
            None,
        )
        .unwrap();
        OverCall {
            text: name,
            output_type: function.field().unwrap().data_type().clone(),
            function,
            reach,
        }
    }

    /// Its value for row `at` of a partition in order.
    fn value(self, rows: &[Row], at: usize, order: &[OrderKey]) -> Option<i64> {
        let key = |row: &Row| -> Row { order.iter().map(|key| row[key.column]).collect() };
        let peer = |row: &&Row| key(row) == key(&rows[at]);
        match self {
            Function::RowNumber => Some(at as i64 + 1),
            Function::Rank => rows.iter().position(|row| peer(&row)).map(|first| first as i64 + 1),
            Function::Ntile => Some(if at < rows.len().div_ceil(2) { 1 } else { 2 }),
            Function::Lag(by) => match usize::try_from(at as i64 - by).ok().and_then(|at| rows.get(at)) {
                Some(row) => row[VALUE],
                None => Some(-1),
            },
            Function::Sum(before, behind) => {
                let begin = before.map_or(0, |rows| at.saturating_sub(rows as usize));
                let end = behind.map_or(rows.len(), |behind| (at + behind as usize + 1).min(rows.len()));
                rows[begin..end]
                    .iter()
                    .filter_map(|row| row[VALUE])
                    .reduce(|a, b| a + b)
            }
            Function::Near(ranges, before, behind) => {
                let (before, behind) = (before.unwrap_or(0) as i64, behind.unwrap_or(0) as i64);
                let place = |row: &Row| row[order[0].column];
                // Where it lies behind this row, by the order.
                let distance = |row: &Row| -> Option<i64> {
                    if !ranges {
                        let groups = |from: &Row, to: &Row| {
                            let between = rows.iter().filter(|row| {
                                compare_keys(order, from, row).is_lt() && compare_keys(order, row, to).is_le()
                            });
                            between.map(place).collect::<std::collections::BTreeSet<_>>().len() as i64
                        };
                        return Some(groups(&rows[at], row) - groups(row, &rows[at]));
                    }
                    match (place(&rows[at]), place(row)) {
                        (None, None) => Some(0),
                        (one, other) if order[0].descending => Some(one? - other?),
                        (one, other) => Some(other? - one?),
                    }
                };
                let within = |row: &&Row| distance(row).is_some_and(|far| (-before..=behind).contains(&far));
                rows.iter()
                    .filter(within)
                    .filter_map(|row| row[VALUE])
                    .reduce(|a, b| a + b)
            }
            Function::Count => {
                let end = rows.iter().rposition(|row| peer(&row)).unwrap() + 1;
                Some(rows[..end].iter().filter(|row| row[VALUE].is_some()).count() as i64)
            }
        }
    }
}

impl Function {
    /// One like it that looks at no later rows.
    fn looking_back(self) -> Self {
        match self {
            Function::Near(ranges, before, _) => Function::Near(ranges, before, None),
            Function::Lag(rows) => Function::Lag(rows.abs()),
            Function::Sum(before, _) => Function::Sum(before, Some(0)),
            other => other.with_an_end(),
        }
    }

    /// One like it that looks at so many later rows.
    fn with_an_end(self) -> Self {
        match self {
            Function::Ntile => Function::Rank,
            Function::Sum(before, None) => Function::Sum(before, Some(3)),
            other => other,
        }
    }

    /// Whether its value for row `at` of a partition in order of time is what it will be for ever.
    fn is_final(self, rows: &[Row], at: usize, watermark: Watermark) -> bool {
        let behind = rows.len() - 1 - at;
        match self {
            Function::Lag(by) => behind as i64 >= -by,
            Function::Sum(_, Some(far)) => behind as u64 >= far,
            Function::Near(true, _, Some(far)) => rows[at][TIME].unwrap() + (far as i64) < watermark,
            Function::Near(false, _, Some(far)) => {
                let later = rows.iter().map(|row| row[TIME]).filter(|time| *time > rows[at][TIME]);
                later.collect::<std::collections::BTreeSet<_>>().len() as u64 >= far
            }
            _ => true,
        }
    }
}

fn subject(spec: &OverSpec, append_only: bool, entry_budget: Option<usize>) -> Subject {
    let values: Vec<DataType> = spec.calls.iter().map(|call| call.output_type.clone()).collect();
    Subject {
        node: node(
            NodeKind::Over(spec.clone()),
            &[&TYPES[..], &values].concat(),
            spec.in_order,
        ),
        inputs: vec![input(&TYPES, append_only)],
        keys: vec![spec.partition.clone()],
        domains: vec![Domain::new(&[3, 4, 4, 12], true)],
        entry_budget,
    }
}

fn compare_keys(order: &[OrderKey], one: &Row, other: &Row) -> Ordering {
    let key = |row: &Row| -> Row {
        let of_order =
            |(column, value): (usize, &Option<i64>)| value.filter(|_| order.iter().any(|key| key.column == column));
        row.iter().enumerate().map(of_order).collect()
    };
    compare(order, &key(one), &key(other))
}

fn compare(order: &[OrderKey], one: &Row, other: &Row) -> Ordering {
    let rest = (0..TYPES.len()).map(|column| OrderKey {
        column,
        descending: false,
        nulls_first: false,
    });
    for key in order.iter().copied().chain(rest) {
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
    Ordering::Equal
}

fn model(functions: &[Function], partition: &[usize], order: &[OrderKey], bag: &Bag) -> Bag {
    model_of(functions, partition, order, bag, |_, _| true)
}

/// Only of those rows, by their places in their partition.
fn model_of(
    functions: &[Function],
    partition: &[usize],
    order: &[OrderKey],
    bag: &Bag,
    is_there: impl Fn(&[Row], usize) -> bool,
) -> Bag {
    let mut partitions: Vec<(Row, Vec<Row>)> = Vec::new();
    for (row, weight) in bag {
        let key: Row = partition.iter().map(|column| row[*column]).collect();
        let copies = std::iter::repeat_n(row.clone(), *weight as usize);
        match partitions.iter_mut().find(|(other, _)| *other == key) {
            Some((_, rows)) => rows.extend(copies),
            None => partitions.push((key, copies.collect())),
        }
    }
    let mut output = Bag::new();
    for (_, mut rows) in partitions {
        rows.sort_by(|one, other| compare(order, one, other));
        for (at, row) in rows.iter().enumerate().filter(|(at, _)| is_there(&rows, *at)) {
            let values = functions.iter().map(|function| function.value(&rows, at, order));
            add(&mut output, row.iter().copied().chain(values).collect(), 1);
        }
    }
    output
}

fn functions() -> impl Strategy<Value = Vec<Function>> {
    let far = || prop_oneof![2 => (0u64..3).prop_map(Some), 1 => Just(None)];
    let function = prop_oneof![
        1 => Just(Function::RowNumber),
        1 => Just(Function::Rank),
        1 => Just(Function::Ntile),
        1 => Just(Function::Count),
        2 => (-2i64..3).prop_map(Function::Lag),
        3 => (far(), far()).prop_map(|(before, behind)| Function::Sum(before, behind)),
    ];
    prop::collection::vec(function, 1..3)
}

fn near_functions() -> impl Strategy<Value = Function> {
    let far = || prop_oneof![3 => (0u64..4).prop_map(Some), 1 => Just(None)];
    prop_oneof![
        4 => (any::<bool>(), far(), far()).prop_map(|(ranges, before, behind)| Function::Near(ranges, before, behind)),
        1 => (0i64..3).prop_map(Function::Lag),
    ]
}

fn spec(functions: &[Function], partition: &[usize], order: &[OrderKey]) -> OverSpec {
    OverSpec {
        partition: partition.to_vec(),
        order: order.to_vec(),
        calls: functions.iter().map(|function| function.call(order)).collect(),
        close: None,
        in_order: false,
    }
}

fn orders() -> impl Strategy<Value = Vec<OrderKey>> {
    let key = (1usize..3, any::<bool>(), any::<bool>()).prop_map(|(column, descending, nulls_first)| OrderKey {
        column,
        descending,
        nulls_first,
    });
    prop::collection::vec(key, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_sum_of_changes_is_the_function_of_the_sum(
        functions in functions(),
        partition in prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![2, 0])],
        order in orders(),
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(1, 4, true),
    ) {
        let spec = spec(&functions, &partition, &order);
        subject(&spec, false, entry_budget).run(&acts, |history| {
            model(&functions, &partition, &order, &sum(history, 0))
        })?;
    }

    #[test]
    fn frames_of_what_is_near(
        functions in prop::collection::vec(near_functions(), 1..3),
        (descending, nulls_first) in any::<(bool, bool)>(),
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(1, 4, true),
    ) {
        let order = [OrderKey { column: ORDER, descending, nulls_first }];
        let subject = Subject {
            domains: vec![Domain::new(&[2, 4, 9, 3], true)],
            ..subject(&spec(&functions, &[0], &order), false, entry_budget)
        };
        subject.run(&acts, |history| model(&functions, &[0], &order, &sum(history, 0)))?;
    }

    #[test]
    fn closed_partitions_take_no_more_rows(
        functions in functions(),
        order in orders(),
        lateness_us in 0i64..3,
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(1, 4, true),
    ) {
        let mut spec = spec(&functions, &[0, TIME], &order);
        spec.close = Some(CloseSpec { column: TIME, emit_on_close: false, lateness_us });
        subject(&spec, false, entry_budget).run(&acts, |history| {
            model(&functions, &[0, TIME], &order, &on_time(history, lateness_us))
        })?;
    }

    /// Rows whose time is that of the step that brings them, which rises.
    #[test]
    fn rows_in_order_have_their_values_at_once(
        functions in prop_oneof![functions(), prop::collection::vec(near_functions(), 1..3)],
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(1, 4, false),
    ) {
        let functions: Vec<Function> = functions.iter().map(|function| function.looking_back()).collect();
        let (acts, _) = in_order(acts);
        in_order_of_time(&functions, entry_budget).run(&acts, |history| {
            model(&functions, &[0], &[BY_TIME], &sum(history, 0))
        })?;
    }

    /// The same, but for rows that wait for those behind them: in the end all have come.
    #[test]
    fn rows_in_order_wait_for_what_they_look_at(
        functions in prop_oneof![functions(), prop::collection::vec(near_functions(), 1..3)],
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(1, 4, false),
    ) {
        let functions: Vec<Function> = functions.iter().map(|function| function.with_an_end()).collect();
        let (mut acts, last) = in_order(acts);
        acts.push(Act::Step { rise: Watermark::MAX - last, backwards: false });
        in_order_of_time(&functions, entry_budget).run(&acts, |history| {
            let watermark = history.last().map_or(Watermark::MIN, |record| record.watermark);
            model_of(&functions, &[0], &[BY_TIME], &sum(history, 0), |rows, at| {
                let is_final = |function: &Function| function.is_final(rows, at, watermark);
                watermark == Watermark::MAX || functions.iter().all(is_final)
            })
        })?;
    }
}

/// Gives rows the time that the watermark has come to, so that they are in order; also gives where it is in the end.
fn in_order(acts: Vec<Act>) -> (Vec<Act>, i64) {
    let mut time = 0;
    let acts = acts.into_iter().map(|act| match act {
        Act::Insert {
            input,
            mut values,
            weight,
        } => {
            values[TIME] = time;
            Act::Insert { input, values, weight }
        }
        Act::Step { rise, backwards } => {
            let rise = 1 + rise % 2;
            time += rise as u8;
            Act::Step { rise, backwards }
        }
        other => other,
    });
    (acts.collect(), i64::from(time))
}

fn in_order_of_time(functions: &[Function], entry_budget: Option<usize>) -> Subject {
    let mut spec = spec(functions, &[0], &[BY_TIME]);
    spec.in_order = true;
    Subject {
        domains: vec![Domain::new(&[3, 4, 4, 255], false)],
        ..subject(&spec, true, entry_budget)
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

const BY_TIME: OrderKey = OrderKey {
    column: TIME,
    descending: false,
    nulls_first: false,
};

const BY_ORDER: OrderKey = OrderKey {
    column: ORDER,
    descending: false,
    nulls_first: false,
};

fn row(order: i64, value: i64) -> Row {
    vec![Some(0), Some(value), Some(order), None]
}

#[test]
fn only_rows_within_reach_change() {
    let functions = [Function::Sum(Some(1), Some(0))];
    let subject = subject(&spec(&functions, &[0], &[BY_ORDER]), false, None);
    let mut over = subject.operator();
    let rows: Vec<(Row, i64)> = (0..1000).map(|order| (row(order * 2, 1), 1)).collect();
    assert_eq!(subject.step(&mut *over, 0, &[&rows]).unwrap().len(), 1000);
    // Between 500 and 502: itself, and the one behind it, whose sum is another.
    let output = subject.step(&mut *over, 0, &[&[(row(501, 5), 1)]]).unwrap();
    let with = |mut row: Row, value: i64| {
        row.push(Some(value));
        row
    };
    let expected = Bag::from([
        (with(row(501, 5), 6), 1),
        (with(row(502, 1), 2), -1),
        (with(row(502, 1), 6), 1),
    ]);
    assert_eq!(output, expected);
}

#[test]
fn in_order_only_what_is_reached_is_kept() {
    let mut spec = spec(&[Function::Lag(2)], &[0], &[BY_ORDER]);
    spec.in_order = true;
    let subject = subject(&spec, true, None);
    let mut over = subject.operator();
    for round in 0..50 {
        let rows: Vec<(Row, i64)> = (0..1000).map(|order| (row(round * 1000 + order, 1), 1)).collect();
        subject.step(&mut *over, 0, &[&rows]).unwrap();
        let mut batch = WriteBatch::new();
        over.checkpoint(&mut batch).unwrap();
        assert!(batch.bytes() < 500, "{}", batch.bytes());
        over.committed().unwrap();
    }
    assert!(over.stats().state_bytes < 600_000, "{}", over.stats().state_bytes);
}

#[test]
fn of_a_large_partition_only_what_is_reached_is_computed() {
    let near = |ranges| Function::Near(ranges, Some(4), Some(2));
    // Orders 0, 2, 4 and so on, each twice; then two rows come at 501.
    let all: Vec<(Row, i64)> = (0..1000).map(|nth| (row(nth / 2 * 2, nth % 2), 1)).collect();
    for (functions, core, around) in [
        // From 499 to 505; from 496 to 506.
        (vec![near(true)], 2 + 2 + 4, 4 + 2 + 2 + 4 + 2),
        // From two groups before to four behind; from four more before to two more behind.
        (vec![near(false)], 4 + 2 + 8, 8 + 4 + 2 + 8 + 4),
        // The wider of the two, and a row.
        (
            vec![near(false), near(true), Function::Lag(1)],
            4 + 2 + 8,
            8 + 4 + 2 + 8 + 4,
        ),
    ] {
        let spec = spec(&functions, &[0], &[BY_ORDER]);
        let subject = subject(&spec, false, None);
        let context = context(&Arc::new(MemoryStore::new()), 0, 1);
        let mut over = Over::new(&spec, &subject.node, &subject.inputs[0], &context).unwrap();
        subject.step(&mut over, 0, &[&all]).unwrap();
        let before = over.rows_of(Slot(0)).unwrap();
        let come = [(row(501, 5), 1), (row(501, 6), 1)];
        subject.step(&mut over, 0, &[&come]).unwrap();
        let change = over.change(Slot(0), before, over.rows_of(Slot(0)).unwrap()).unwrap();
        assert_eq!((change.after.core.len(), change.after.around.len()), (core, around));
        assert_eq!(change.before.core.len(), core - 2);
    }
}

#[test]
fn in_order_only_what_is_near_is_kept() {
    for (function, kept) in [
        (Function::Near(true, Some(10), None), 11),
        (Function::Near(false, Some(3), None), 3),
        (Function::Near(false, None, None), 0),
    ] {
        let mut spec = spec(&[function], &[0], &[BY_ORDER]);
        spec.in_order = true;
        let subject = subject(&spec, true, None);
        let context = context(&Arc::new(MemoryStore::new()), 0, 1);
        let mut over = Over::new(&spec, &subject.node, &subject.inputs[0], &context).unwrap();
        for order in 0..100 {
            subject.step(&mut over, 0, &[&[(row(order, 1), 1)]]).unwrap();
        }
        assert_eq!(over.rows_of(Slot(0)).unwrap().len(), kept);
    }
}

#[test]
fn what_waits_is_out_at_a_watermark_or_waits_on() {
    for (functions, open_until) in [
        (vec![Function::Near(true, None, Some(10))], Some(29 + 10 + 1)),
        (
            vec![
                Function::Near(true, None, Some(10)),
                Function::Near(false, None, Some(2)),
            ],
            Some(27 + 10 + 1),
        ),
        (
            vec![Function::Lag(-1), Function::Near(true, None, Some(10))],
            Some(28 + 10 + 1),
        ),
        (vec![Function::Lag(-1)], None),
        (vec![Function::Lag(1)], None),
    ] {
        let subject = in_order_of_time(&functions, None);
        let mut over = subject.operator();
        let at = |time: i64| vec![Some(0), Some(1), Some(0), Some(time)];
        let rows: Vec<(Row, i64)> = (20..30).map(|time| (at(time), 1)).collect();
        subject.step(&mut *over, 30, &[&rows]).unwrap();
        assert_eq!(over.open_until(), open_until, "{functions:?}");
        if let Some(until) = open_until {
            let early = subject.step(&mut *over, until - 1, &[&[]]).unwrap();
            assert!(!early.keys().any(|row| row[TIME] == Some(until - 11)), "{functions:?}");
            let output = subject.step(&mut *over, until, &[&[]]).unwrap();
            assert!(output.keys().any(|row| row[TIME] == Some(until - 11)), "{functions:?}");
            assert_eq!(over.open_until(), None, "{functions:?}");
        }
    }
}

#[test]
fn in_order_only_what_waits_and_what_it_looks_at_is_kept() {
    for (functions, kept) in [
        (vec![Function::Lag(-2)], 2),
        (vec![Function::Sum(Some(3), Some(2))], 5),
        (vec![Function::Near(true, None, Some(10))], 10),
        (vec![Function::Near(true, Some(5), Some(10))], 15),
        (vec![Function::Near(false, None, Some(3)), Function::Lag(1)], 4),
    ] {
        let subject = in_order_of_time(&functions, None);
        let NodeKind::Over(spec) = &subject.node.kind else {
            unreachable!("it is one")
        };
        let context = context(&Arc::new(MemoryStore::new()), 0, 1);
        let mut over = Over::new(spec, &subject.node, &subject.inputs[0], &context).unwrap();
        for time in 0..100 {
            let row = vec![Some(0), Some(1), Some(0), Some(time)];
            subject.step(&mut over, time + 1, &[&[(row, 1)]]).unwrap();
        }
        assert_eq!(over.rows_of(Slot(0)).unwrap().len(), kept, "{functions:?}");
    }
}
