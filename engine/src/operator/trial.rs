//! Trials of operators: random changes, batches, checkpoints, crashes and parallelism, and after
//! every step the sum of all output must be what a naive model says.
//!
//! A trial is a list of [`Act`]s, which proptest makes and shrinks. Deletes take rows that are
//! there, so that inputs stay relations at every step; within a step deletes may come first. A
//! crash builds the operators anew from what was committed, maybe with another number of tasks, and
//! steps since the committed checkpoint are done again.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType, UInt64Type,
};
use proptest::prelude::*;
use weir_state::{MemoryStore, RelationId, Store, WriteBatch};

use crate::change::{ChangeBatch, Weights};
use crate::graph::{Exchange, Input, Node, NodeId, NodeKind};
use crate::operator::{Operator, OperatorStats, Step, TaskContext, Watermark, build};
use crate::row::RowCodec;
use crate::shard::{deal, shards_of};

/// One task of a node over a store, with no bound of its memory.
pub(super) fn context(store: &Arc<MemoryStore>, task: usize, tasks: usize) -> TaskContext {
    TaskContext {
        relation: RelationId(7),
        node: NodeId(3),
        task,
        tasks,
        shards: shards_of(task, tasks),
        store: store.clone(),
        entry_budget: None,
    }
}

pub(super) const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// A row of a model: whatever a column's type, its values are numbers here.
pub(super) type Row = Vec<Option<i64>>;
/// Rows and their weights, none 0.
pub(super) type Bag = BTreeMap<Row, i64>;

/// What happens to the operator.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// A row of these values (see [`Domain`]) is added to an input.
    Insert {
        input: usize,
        values: Vec<u8>,
        weight: i64,
    },
    /// Some row of an input is taken back, as often as it is there or `weight` times.
    Delete {
        input: usize,
        pick: usize,
        weight: i64,
    },
    /// What comes next is in another batch.
    Cut,
    /// The step is over, and the watermark has risen. `backwards`: its last changes come first.
    Step {
        rise: i64,
        backwards: bool,
    },
    Checkpoint,
    Commit,
    Complete {
        entries: usize,
    },
    Crash {
        tasks: usize,
    },
}

/// How many values each column of an input has; the first is NULL if `nulls`.
#[derive(Debug, Clone)]
pub(super) struct Domain {
    pub(super) values: Vec<u8>,
    pub(super) nulls: bool,
}

/// What one step brought.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) inputs: Vec<Vec<Vec<(Row, i64)>>>,
    pub(super) watermark: Watermark,
}

/// What is on trial.
pub(super) struct Subject {
    pub(super) node: Node,
    pub(super) inputs: Vec<Node>,
    /// For each input the columns by which it is dealt to tasks.
    pub(super) keys: Vec<Vec<usize>>,
    pub(super) domains: Vec<Domain>,
    pub(super) entry_budget: Option<usize>,
}

/// Acts for inputs of up to `width` columns; deletes only where `deletes`.
pub(super) fn acts(inputs: usize, width: usize, deletes: bool) -> impl Strategy<Value = Vec<Act>> {
    let weight = prop_oneof![6 => Just(1i64), 1 => 2i64..4];
    let insert = (0..inputs, prop::collection::vec(any::<u8>(), width), weight.clone())
        .prop_map(|(input, values, weight)| Act::Insert { input, values, weight });
    let delete =
        (0..inputs, any::<usize>(), weight).prop_map(|(input, pick, weight)| Act::Delete { input, pick, weight });
    let act = prop_oneof![
        12 => insert,
        if deletes { 8 } else { 0 } => delete,
        2 => Just(Act::Cut),
        4 => (0i64..4, any::<bool>()).prop_map(|(rise, backwards)| Act::Step { rise, backwards }),
        2 => Just(Act::Checkpoint),
        2 => Just(Act::Commit),
        1 => (1usize..6).prop_map(|entries| Act::Complete { entries }),
        1 => (1usize..4).prop_map(|tasks| Act::Crash { tasks }),
    ];
    prop::collection::vec(act, 0..120)
}

/// A node that reads nothing, as an input.
pub(super) fn input(types: &[DataType], append_only: bool) -> Node {
    node(NodeKind::Union, types, append_only)
}

/// A node with nullable columns `c0`, `c1`, ….
pub(super) fn node(kind: NodeKind, types: &[DataType], append_only: bool) -> Node {
    let field = |(nth, data_type): (usize, &DataType)| Field::new(format!("c{nth}"), data_type.clone(), true);
    Node {
        kind,
        inputs: vec![Input {
            node: NodeId(0),
            exchange: Exchange::Local,
        }],
        schema: Arc::new(Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>())),
        append_only,
        key: None,
        has_watermark: true,
        state_bound: None,
    }
}

/// A batch of a model's rows.
pub(super) fn batch(schema: &SchemaRef, rows: &[(Row, i64)]) -> ChangeBatch {
    let columns = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(column, field)| array(field.data_type(), rows.iter().map(|(row, _)| row[column])))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options).unwrap();
    ChangeBatch::new(batch, Weights::Each(rows.iter().map(|(_, weight)| *weight).collect()))
}

/// Text is such that it sorts as the numbers do.
fn array(data_type: &DataType, values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    match data_type {
        DataType::Int64 => Arc::new(Int64Array::from_iter(values)),
        DataType::Float64 => Arc::new(Float64Array::from_iter(values.map(|v| v.map(|v| v as f64 / 4.0)))),
        DataType::Utf8 => Arc::new(StringArray::from_iter(
            values.map(|v| v.map(|v| format!("{:0>9}", v + 1000))),
        )),
        DataType::Timestamp(..) => Arc::new(TimestampMicrosecondArray::from_iter(values)),
        DataType::Boolean => Arc::new(BooleanArray::from_iter(values.map(|v| v.map(|v| v != 0)))),
        other => panic!("no model of {other}"),
    }
}

fn value(array: &ArrayRef, row: usize) -> Option<i64> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row),
        DataType::Boolean => i64::from(array.as_boolean().value(row)),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row) as i64,
        DataType::Float64 => (array.as_primitive::<Float64Type>().value(row) * 4.0) as i64,
        DataType::Utf8 => array.as_string::<i32>().value(row).parse::<i64>().unwrap() - 1000,
        DataType::Timestamp(..) => array.as_primitive::<TimestampMicrosecondType>().value(row),
        other => panic!("no model of {other}"),
    })
}

/// Adds `weight` of a row to a bag.
pub(super) fn add(bag: &mut Bag, row: Row, weight: i64) {
    let sum = bag.get(&row).copied().unwrap_or(0) + weight;
    match sum {
        0 => bag.remove(&row),
        _ => bag.insert(row, sum),
    };
}

/// Adds batches to a bag.
pub(super) fn add_batches(bag: &mut Bag, batches: &[ChangeBatch]) {
    for batch in batches {
        for row in 0..batch.num_rows() {
            let values = batch.rows().columns().iter().map(|column| value(column, row)).collect();
            add(bag, values, batch.weight(row));
        }
    }
}

/// All changes of an input.
pub(super) fn sum(history: &[Record], input: usize) -> Bag {
    let mut bag = Bag::new();
    for (row, weight) in history.iter().flat_map(|record| &record.inputs[input]).flatten() {
        add(&mut bag, row.clone(), *weight);
    }
    bag
}

/// The operators of a node in one life of the process, and the store that outlives it.
struct Life<'a> {
    subject: &'a Subject,
    store: Arc<MemoryStore>,
    operators: Vec<Box<dyn Operator>>,
}

impl<'a> Life<'a> {
    fn begin(subject: &'a Subject, store: Arc<MemoryStore>, tasks: usize, watermark: Watermark) -> Self {
        let operators = (0..tasks)
            .map(|task| {
                let context = TaskContext {
                    entry_budget: subject.entry_budget,
                    ..context(&store, task, tasks)
                };
                let inputs: Vec<&Node> = subject.inputs.iter().collect();
                build(&subject.node, &inputs, &context).unwrap().expect("an operator")
            })
            .collect();
        let mut life = Self {
            subject,
            store,
            operators,
        };
        let nothing = Record {
            inputs: vec![Vec::new(); subject.inputs.len()],
            watermark,
        };
        assert!(life.step(&nothing).is_empty(), "an operator begins with output");
        life
    }

    fn step(&mut self, record: &Record) -> Bag {
        let tasks = self.operators.len();
        let mut dealt: Vec<Vec<Vec<ChangeBatch>>> = vec![vec![Vec::new(); self.subject.inputs.len()]; tasks];
        for (input, batches) in record.inputs.iter().enumerate() {
            let (schema, keys) = (&self.subject.inputs[input].schema, &self.subject.keys[input]);
            let codec = RowCodec::for_schema(&schema.project(keys).unwrap()).unwrap();
            for rows in batches {
                let batch = batch(schema, rows);
                let parts = match keys.is_empty() {
                    true => vec![batch],
                    false => deal(&batch, &codec, keys, tasks).unwrap(),
                };
                for (task, part) in parts.into_iter().enumerate() {
                    dealt[task][input].push(part);
                }
            }
        }
        let mut output = Bag::new();
        let step = Step {
            now_us: 0,
            seed: 0,
            watermark: record.watermark,
        };
        for (operator, inputs) in self.operators.iter_mut().zip(dealt) {
            let batches = operator.step(&step, inputs).unwrap();
            for batch in &batches {
                assert_eq!(batch.schema(), self.subject.node.schema);
                assert!(!self.subject.node.append_only || batch.is_append_only());
            }
            add_batches(&mut output, &batches);
        }
        output
    }

    fn stats(&self) -> Vec<OperatorStats> {
        self.operators.iter().map(|operator| operator.stats()).collect()
    }
}

/// How far a run had come at a checkpoint.
#[derive(Clone, Default)]
struct Mark {
    steps: usize,
    output: Bag,
    watermark: Watermark,
}

impl Subject {
    /// Lets a trial take its course. `model` gives the sum of all output for the steps so far, and
    /// is asked after each.
    pub(super) fn run(&self, acts: &[Act], model: impl Fn(&[Record]) -> Bag) -> Result<(), TestCaseError> {
        let start = Mark {
            watermark: Watermark::MIN,
            ..Mark::default()
        };
        let mut life = Life::begin(self, Arc::new(MemoryStore::new()), 2, Watermark::MIN);
        let mut history: Vec<Record> = Vec::new();
        let mut now = start.clone();
        let (mut committed, mut written): (Mark, Option<(Mark, Vec<WriteBatch>)>) = (start, None);
        let mut present: Vec<Bag> = vec![Bag::new(); self.inputs.len()];
        let mut next: Vec<Vec<Vec<(Row, i64)>>> = vec![vec![Vec::new()]; self.inputs.len()];
        for act in acts {
            match act {
                Act::Insert { input, values, weight } => {
                    let row = self.domains[*input].row(values);
                    add(&mut present[*input], row.clone(), *weight);
                    next[*input].last_mut().unwrap().push((row, *weight));
                }
                Act::Delete { input, pick, weight } => {
                    let bag = &mut present[*input];
                    if bag.is_empty() {
                        continue;
                    }
                    let (row, there) = bag.iter().nth(pick % bag.len()).unwrap();
                    let (row, weight) = (row.clone(), -weight.min(there));
                    add(bag, row.clone(), weight);
                    next[*input].last_mut().unwrap().push((row, weight));
                }
                Act::Cut => next.iter_mut().for_each(|batches| batches.push(Vec::new())),
                Act::Step { rise, backwards } => {
                    let mut inputs = std::mem::replace(&mut next, vec![vec![Vec::new()]; self.inputs.len()]);
                    if *backwards {
                        inputs.iter_mut().for_each(|batches| {
                            batches.reverse();
                            batches.iter_mut().for_each(|batch| batch.reverse());
                        });
                    }
                    // No watermark until it first rises.
                    let watermark = match (now.watermark, rise) {
                        (Watermark::MIN, 0) => Watermark::MIN,
                        (Watermark::MIN, rise) => *rise,
                        (watermark, rise) => watermark + rise,
                    };
                    history.push(Record { inputs, watermark });
                    advance(&mut life, &history, &mut now);
                    prop_assert_eq!(&now.output, &model(&history), "after step {}", now.steps);
                }
                Act::Checkpoint => {
                    let mut batches = written.take().map(|(_, batches)| batches).unwrap_or_default();
                    let mut batch = WriteBatch::new();
                    for operator in &mut life.operators {
                        operator.checkpoint(&mut batch).unwrap();
                    }
                    batches.push(batch);
                    written = Some((now.clone(), batches));
                }
                Act::Commit => {
                    if let Some((mark, batches)) = written.take() {
                        for batch in batches {
                            life.store.commit(batch).unwrap();
                        }
                        committed = mark;
                        for operator in &mut life.operators {
                            operator.committed().unwrap();
                        }
                        for stats in life.stats() {
                            // What a later step touched stays, so there is no strict bound.
                            prop_assert!(stats.state_bytes < 1 << 22);
                        }
                    }
                }
                Act::Complete { entries } => {
                    for operator in &mut life.operators {
                        operator.complete(*entries).unwrap();
                    }
                }
                Act::Crash { tasks } => {
                    life = Life::begin(self, life.store.clone(), *tasks, committed.watermark);
                    written = None;
                    now = committed.clone();
                    while now.steps < history.len() {
                        advance(&mut life, &history, &mut now);
                    }
                    prop_assert_eq!(&now.output, &model(&history), "after a crash");
                }
            }
        }
        Ok(())
    }

    /// One operator over an empty store, to be driven by hand.
    pub(super) fn operator(&self) -> Box<dyn Operator> {
        Life::begin(self, Arc::new(MemoryStore::new()), 1, Watermark::MIN)
            .operators
            .remove(0)
    }

    /// The sum of what a step of `operator` gives.
    pub(super) fn step(
        &self,
        operator: &mut dyn Operator,
        watermark: Watermark,
        inputs: &[&[(Row, i64)]],
    ) -> crate::Result<Bag> {
        let inputs = inputs
            .iter()
            .zip(&self.inputs)
            .map(|(rows, node)| vec![batch(&node.schema, rows)])
            .collect();
        let mut bag = Bag::new();
        add_batches(
            &mut bag,
            &operator.step(
                &Step {
                    now_us: 0,
                    seed: 0,
                    watermark,
                },
                inputs,
            )?,
        );
        Ok(bag)
    }
}

fn advance(life: &mut Life, history: &[Record], now: &mut Mark) {
    let record = &history[now.steps];
    for (row, weight) in life.step(record) {
        add(&mut now.output, row, weight);
    }
    now.steps += 1;
    now.watermark = record.watermark;
}

impl Domain {
    pub(super) fn new(values: &[u8], nulls: bool) -> Self {
        Self {
            values: values.to_vec(),
            nulls,
        }
    }

    fn row(&self, values: &[u8]) -> Row {
        let column = |(count, value): (&u8, &u8)| match value % count {
            0 if self.nulls => None,
            value => Some(i64::from(value)),
        };
        self.values.iter().zip(values).map(column).collect()
    }
}
