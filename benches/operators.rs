//! Operators: rows/s of one task, state in memory, checkpoints apart.
//!
//! Each measurement drives an operator through steps of 16 Ki rows. Where state grows, it begins
//! anew, unmeasured, before it outgrows what it began with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{binary, col, lit};
use weir_engine::change::ChangeBatch;
use weir_engine::graph::{
    AggregateCall, AggregateFunction, AggregateSpec, JoinKind, JoinSpec, MapSpec, Node, NodeId, NodeKind, OrderKey,
    Ranking, TopNSpec, WindowSpec,
};
use weir_engine::operator::{Operator, Step, TaskContext, build};
use weir_state::{MemoryStore, RelationId, WriteBatch};

const ROWS: usize = 16 * 1024;
const STEP: Step = Step {
    now_us: 0,
    seed: 0,
    watermark: 0,
};

fn spread(n: usize) -> i64 {
    ((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16) as i64
}

fn node(kind: NodeKind, types: &[DataType], append_only: bool) -> Node {
    let field = |(n, data_type): (usize, &DataType)| Field::new(format!("c{n}"), data_type.clone(), true);
    Node {
        kind,
        inputs: Vec::new(),
        schema: Arc::new(Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>())),
        append_only,
        key: None,
        has_watermark: true,
        state_bound: None,
    }
}

fn input(types: &[DataType], append_only: bool) -> Node {
    node(NodeKind::Union, types, append_only)
}

fn operator(node: &Node, inputs: &[&Node]) -> Box<dyn Operator> {
    let context = TaskContext {
        relation: RelationId(1),
        node: NodeId(1),
        task: 0,
        tasks: 1,
        shards: 0..256,
        store: Arc::new(MemoryStore::new()),
        entry_budget: None,
    };
    build(node, inputs, &context)
        .expect("a plan that fits")
        .expect("an operator")
}

fn numbers(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn batch(node: &Node, columns: Vec<ArrayRef>) -> ChangeBatch {
    let rows = RecordBatch::try_new(node.schema.clone(), columns);
    ChangeBatch::inserts(rows.expect("columns of the schema"))
}

/// Measures steps: `begin` makes an operator in its first state, `change` the `n`th step's input;
/// after `steps` steps it begins anew. With `checkpoint` each step is followed by one.
fn measure(
    criterion: &mut Criterion,
    name: &str,
    steps: usize,
    checkpoint: bool,
    begin: impl Fn() -> Box<dyn Operator>,
    change: impl Fn(usize) -> Vec<Vec<ChangeBatch>>,
) {
    let changes: Vec<_> = (0..steps).map(&change).collect();
    let rows = |step: &Vec<Vec<ChangeBatch>>| -> usize { step.iter().flatten().map(ChangeBatch::num_rows).sum() };
    let mut group = criterion.benchmark_group("operators");
    group.throughput(Throughput::Elements(rows(&changes[0]) as u64));
    group.sample_size(20);
    group.bench_function(name, |bencher| {
        let mut operator = begin();
        let mut done = 0;
        bencher.iter_custom(|iterations| {
            let mut taken = Duration::ZERO;
            for _ in 0..iterations {
                if done == steps {
                    operator = begin();
                    done = 0;
                }
                let inputs = changes[done].clone();
                done += 1;
                let begun = Instant::now();
                let output = operator.step(&STEP, inputs).expect("a step");
                if checkpoint {
                    let mut batch = WriteBatch::new();
                    operator.checkpoint(&mut batch).expect("a checkpoint");
                    operator.committed().expect("a commit");
                }
                taken += begun.elapsed();
                drop(output);
            }
            taken
        });
    });
    group.finish();
}

const NUMBER: DataType = DataType::Int64;
const TEXT: DataType = DataType::Utf8;

/// Left rows meet one right row each, of a million.
fn joins(criterion: &mut Criterion) {
    const KEYS: usize = 1 << 20;
    let plain = [NUMBER, NUMBER];
    let wide = [NUMBER, NUMBER, TEXT, TEXT, NUMBER];
    let smaller = |left: usize, right: usize, schema: &Schema| {
        let column = |n: usize| col(&format!("c{n}"), schema).expect("a column");
        binary(column(left), Op::Lt, column(right), schema).expect("a condition")
    };
    let cases: [(&str, &[DataType], JoinKind, bool, bool); 5] = [
        ("join one to one", &plain, JoinKind::Inner, false, false),
        ("join one to one, checkpoints", &plain, JoinKind::Inner, false, true),
        ("join one to one, wide rows", &wide, JoinKind::Inner, false, false),
        ("left join", &plain, JoinKind::Left, false, false),
        ("left join with a condition", &plain, JoinKind::Left, true, false),
    ];
    for (name, types, kind, has_residual, checkpoint) in cases {
        let side = input(types, true);
        let both = [types, types].concat();
        let schema = node(NodeKind::Union, &both, false).schema;
        let residual = has_residual.then(|| smaller(1, types.len() + 1, &schema));
        let spec = JoinSpec {
            kind,
            left_keys: vec![0],
            right_keys: vec![0],
            null_equals_null: vec![false],
            residual,
            close: None,
            interval: None,
            at_once: false,
        };
        let join = node(NodeKind::Join(spec), &both, false);
        let rows = |range: std::ops::Range<usize>| {
            let columns = types.iter().map(|data_type| match data_type {
                DataType::Utf8 => Arc::new(StringArray::from_iter_values(
                    range.clone().map(|n| format!("some text {}", n % 1000)),
                )) as ArrayRef,
                _ => numbers(range.clone().map(|n| spread(n % KEYS))),
            });
            batch(&side, columns.collect())
        };
        let begin = || {
            let mut operator = operator(&join, &[&side, &side]);
            for from in (0..KEYS).step_by(ROWS) {
                let inputs = vec![Vec::new(), vec![rows(from..from + ROWS)]];
                operator.step(&STEP, inputs).expect("a step");
            }
            operator.checkpoint(&mut WriteBatch::new()).expect("a checkpoint");
            operator
        };
        measure(criterion, name, 64, checkpoint, begin, |step| {
            vec![vec![rows(step * ROWS..(step + 1) * ROWS)], Vec::new()]
        });
    }
}

fn top_ns(criterion: &mut Criterion) {
    let types = [NUMBER, NUMBER, NUMBER];
    let key = OrderKey {
        column: 1,
        descending: true,
        nulls_first: true,
    };
    let top_n = |limit| {
        let spec = TopNSpec {
            partition: vec![0],
            order: vec![key],
            offset: 0,
            limit,
            ranking: Ranking::RowNumber,
            number: None,
            close: None,
        };
        node(NodeKind::TopN(spec), &types, false)
    };
    let appended = input(&types, true);
    measure(
        criterion,
        "top 10 of 1000 partitions, appended",
        64,
        false,
        || operator(&top_n(10), &[&appended]),
        |step| {
            let rows = step * ROWS..(step + 1) * ROWS;
            let columns = vec![
                numbers(rows.clone().map(|n| spread(n) % 1000)),
                numbers(rows.clone().map(|n| spread(n) % 1_000_000)),
                numbers(rows.map(|n| n as i64)),
            ];
            vec![vec![batch(&appended, columns)]]
        },
    );
    // As over counts: each row is taken back and comes again with one more.
    let updated = input(&types, false);
    const GROUPS: usize = 1 << 17;
    let counts = |from: usize, count: i64| {
        let groups = from..from + ROWS / 2;
        let columns = vec![
            numbers(groups.clone().map(|n| (n % GROUPS) as i64 % 100)),
            numbers(groups.clone().map(|n| spread(n % GROUPS) % 50 + count)),
            numbers(groups.map(|n| (n % GROUPS) as i64)),
        ];
        batch(&updated, columns)
    };
    let begin = || {
        let mut operator = operator(&top_n(1), &[&updated]);
        for from in (0..GROUPS).step_by(ROWS / 2) {
            let inputs = vec![vec![counts(from, 0)]];
            operator.step(&STEP, inputs).expect("a step");
        }
        operator.checkpoint(&mut WriteBatch::new()).expect("a checkpoint");
        operator
    };
    let steps_per_round = GROUPS / (ROWS / 2);
    measure(criterion, "top 1 of 100 partitions, updated", 64, true, begin, |step| {
        let (from, count) = (step * (ROWS / 2), (step / steps_per_round) as i64);
        vec![vec![counts(from, count).negate(), counts(from, count + 1)]]
    });
}

fn aggregates(criterion: &mut Criterion) {
    let types = [NUMBER, NUMBER];
    let call = |function, argument| AggregateCall {
        function,
        argument,
        distinct: false,
        filter: None,
        output_type: NUMBER,
    };
    let spec = AggregateSpec {
        keys: vec![0],
        calls: vec![
            call(AggregateFunction::Count, None),
            call(AggregateFunction::Sum, Some(1)),
        ],
        close: None,
    };
    let aggregate = node(NodeKind::Aggregate(spec), &[NUMBER, NUMBER, NUMBER], false);
    for (name, groups) in [
        ("count and sum, 1000 groups", 1000),
        ("count and sum, 1 M groups", 1 << 20),
    ] {
        let rows = input(&types, true);
        measure(
            criterion,
            name,
            64,
            false,
            || operator(&aggregate, &[&rows]),
            |step| {
                let range = step * ROWS..(step + 1) * ROWS;
                let columns = vec![
                    numbers(range.clone().map(|n| spread(n) % groups)),
                    numbers(range.map(|n| n as i64)),
                ];
                vec![vec![batch(&rows, columns)]]
            },
        );
    }
}

fn stateless(criterion: &mut Criterion) {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let types = [NUMBER, TEXT, time.clone()];
    let rows = input(&types, true);
    let change = |step: usize| {
        let range = step * ROWS..(step + 1) * ROWS;
        let times = range.clone().map(|n| n as i64 * 1000 + spread(n) % 100_000);
        let texts = range.clone().map(|n| format!("some text {n}"));
        let columns: Vec<ArrayRef> = vec![
            numbers(range.map(spread)),
            Arc::new(StringArray::from_iter_values(texts)),
            Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
        ];
        vec![vec![batch(&rows, columns)]]
    };
    for (name, slide_us) in [("tumble", 10_000_000), ("hop, five windows", 2_000_000)] {
        let spec = WindowSpec {
            time: 2,
            size_us: 10_000_000,
            slide_us,
            step_us: 10_000_000,
            offset_us: 0,
            watermark: None,
            drop_late_after_us: None,
        };
        let types = [&types[..], &[time.clone(), time.clone()]].concat();
        let window = node(NodeKind::Window(spec), &types, true);
        measure(criterion, name, 8, false, || operator(&window, &[&rows]), change);
    }
    let column = |n: usize| col(&format!("c{n}"), &rows.schema).expect("a column");
    let half = |expr: Arc<dyn PhysicalExpr>| binary(expr, Op::Lt, lit(1i64 << 47), &rows.schema).expect("a condition");
    let spec = MapSpec {
        filter: Some(half(column(0))),
        exprs: vec![column(1), column(0)],
    };
    let map = node(NodeKind::Map(spec), &[TEXT, NUMBER], true);
    measure(
        criterion,
        "map with a filter",
        8,
        false,
        || operator(&map, &[&rows]),
        change,
    );
}

criterion_group!(benches, joins, top_ns, aggregates, stateless);
criterion_main!(benches);
