//! Upserts against a map of last rows, through steps, checkpoints, crashes and budgets.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;
use weir_state::{MemoryStore, Store};

use super::*;
use crate::graph::NodeKind;
use crate::operator::trial::context;

/// Key, value; no value for a tombstone.
type Record = (i64, Option<&'static str>);

struct Rig {
    store: Arc<MemoryStore>,
    entry_budget: Option<usize>,
    upsert: Upsert,
    in_flight: Option<WriteBatch>,
}

fn node(columns: &[(&str, DataType)]) -> Node {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, of)| Field::new(*name, of.clone(), true))
        .collect();
    Node {
        kind: NodeKind::Union,
        inputs: Vec::new(),
        schema: Arc::new(Schema::new(fields)),
        append_only: true,
        key: None,
        has_watermark: false,
        state_bound: None,
    }
}

fn records(records: &[Record]) -> ChangeBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(records.iter().map(|(_, value)| *value).collect::<StringArray>()),
        Arc::new(records.iter().map(|(key, _)| Some(*key)).collect::<Int64Array>()),
        Arc::new(
            records
                .iter()
                .map(|(_, value)| Some(value.is_none()))
                .collect::<BooleanArray>(),
        ),
    ];
    ChangeBatch::inserts(record_batch(input().schema, columns, records.len()).unwrap())
}

fn input() -> Node {
    node(&[
        ("v", DataType::Utf8),
        ("k", DataType::Int64),
        ("gone", DataType::Boolean),
    ])
}

impl Rig {
    fn new(entry_budget: Option<usize>) -> Self {
        let store = Arc::new(MemoryStore::new());
        let upsert = Self::build(&store, entry_budget);
        Self {
            store,
            entry_budget,
            upsert,
            in_flight: None,
        }
    }

    fn build(store: &Arc<MemoryStore>, entry_budget: Option<usize>) -> Upsert {
        let context = TaskContext {
            entry_budget,
            ..context(store, 0, 1)
        };
        let output = node(&[("v", DataType::Utf8), ("k", DataType::Int64)]);
        Upsert::new(&UpsertSpec { keys: vec![1] }, &output, &input(), &context).unwrap()
    }

    fn step(&mut self, batches: Vec<ChangeBatch>) -> Vec<String> {
        let step = Step {
            now_us: 0,
            seed: 0,
            watermark: i64::MIN,
        };
        let output = self.upsert.step(&step, vec![batches]).unwrap();
        let words = |batch: &ChangeBatch, row| {
            let text = |column| array_value_to_string(batch.column(column), row).unwrap();
            format!("{:+} {}={}", batch.weight(row), text(1), text(0))
        };
        output
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).map(|row| words(batch, row)).collect::<Vec<_>>())
            .collect()
    }

    fn checkpoint(&mut self) {
        let mut batch = self.in_flight.take().unwrap_or_default();
        self.upsert.checkpoint(&mut batch).unwrap();
        self.in_flight = Some(batch);
    }

    fn commit(&mut self) {
        self.store.commit(self.in_flight.take().unwrap_or_default()).unwrap();
        self.upsert.committed().unwrap();
    }

    fn crash(&mut self) {
        self.in_flight = None;
        self.upsert = Self::build(&self.store, self.entry_budget);
    }
}

#[test]
fn the_last_record_of_a_key_counts_and_only_what_changed_is_given() {
    let mut rig = Rig::new(None);
    let first = [(1, Some("a")), (2, Some("b")), (1, Some("c")), (3, None)];
    assert_eq!(rig.step(vec![records(&first)]), ["+1 1=c", "+1 2=b"]);
    assert_eq!(rig.step(vec![records(&[(1, Some("c"))])]), [""; 0]);
    let two_batches = vec![records(&[(1, None)]), records(&[(1, Some("d")), (2, None)])];
    assert_eq!(rig.step(two_batches), ["-1 1=c", "+1 1=d", "-1 2=b"]);
    assert_eq!(rig.step(vec![records(&[(2, Some("e")), (2, None)])]), [""; 0]);
}

#[test]
fn records_cannot_be_taken_back() {
    let mut rig = Rig::new(None);
    let step = Step {
        now_us: 0,
        seed: 0,
        watermark: i64::MIN,
    };
    let deletes = records(&[(1, Some("a"))]).negate();
    let error = rig.upsert.step(&step, vec![vec![deletes]]).unwrap_err();
    assert!(matches!(error, Error::Internal(_)), "{error}");
}

#[derive(Debug, Clone)]
enum Action {
    Records(Vec<Vec<Record>>),
    Checkpoint,
    Commit,
    Crash,
    Complete(usize),
}

fn action() -> impl Strategy<Value = Action> {
    let value = prop::option::weighted(0.7, prop::sample::select(vec!["a", "b", ""]));
    let records = prop::collection::vec((0i64..12, value), 0..6);
    prop_oneof![
        6 => prop::collection::vec(records, 0..3).prop_map(Action::Records),
        2 => Just(Action::Checkpoint),
        2 => Just(Action::Commit),
        1 => Just(Action::Crash),
        1 => (0usize..5).prop_map(Action::Complete),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_upsert_relation_is_a_map(
        actions in prop::collection::vec(action(), 1..60),
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
    ) {
        let mut rig = Rig::new(entry_budget);
        let mut now = BTreeMap::new();
        let (mut in_flight, mut committed) = (None, now.clone());
        for action in actions {
            match action {
                Action::Records(batches) => {
                    let before = now.clone();
                    for (key, value) in batches.concat() {
                        now.remove(&key);
                        now.extend(value.map(|value| (key, value)));
                    }
                    let given = rig.step(batches.iter().map(|rows| records(rows)).collect());
                    let mut expected = changes(&before, &now);
                    let mut given = given.clone();
                    expected.sort();
                    given.sort();
                    prop_assert_eq!(given, expected);
                }
                Action::Checkpoint => {
                    rig.checkpoint();
                    in_flight = Some(now.clone());
                }
                Action::Commit => {
                    rig.commit();
                    committed = in_flight.take().unwrap_or(committed);
                }
                Action::Crash => {
                    rig.crash();
                    in_flight = None;
                    now = committed.clone();
                }
                Action::Complete(entries) => {
                    rig.upsert.complete(entries).unwrap();
                }
            }
        }
    }
}

fn changes(before: &BTreeMap<i64, &str>, after: &BTreeMap<i64, &str>) -> Vec<String> {
    let not_in = |rows: &BTreeMap<i64, &str>, others: &BTreeMap<i64, &str>, sign: &str| {
        let differs = |(key, value): &(&i64, &&str)| others.get(key) != Some(value);
        let rows = rows.iter().filter(differs);
        rows.map(|(key, value)| format!("{sign}1 {key}={value}"))
            .collect::<Vec<_>>()
    };
    [not_in(before, after, "-"), not_in(after, before, "+")].concat()
}
