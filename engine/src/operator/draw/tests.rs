//! Values that stay with their rows, and go with them.

use std::collections::BTreeSet;

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use weir_state::{Keyspace, MemoryStore, Reader, Store};

use super::*;
use crate::format::uuid;
use crate::graph::NodeKind;
use crate::operator::build;
use crate::operator::trial::{Bag, Row, TIMESTAMP, add_batches, batch, context, input, node};

struct Life {
    values: Vec<Drawn>,
    keeps: bool,
    store: Arc<MemoryStore>,
    operator: Box<dyn Operator>,
}

impl Life {
    fn begin(values: &[Drawn], keeps: bool, store: Arc<MemoryStore>) -> Self {
        let spec = DrawSpec {
            values: values.to_vec(),
            keeps,
            number: 0,
        };
        let types: Vec<DataType> = [DataType::Int64]
            .into_iter()
            .chain(values.iter().map(|value| value.data_type()))
            .collect();
        let node = node(NodeKind::Draw(spec), &types, !keeps);
        let context = TaskContext {
            entry_budget: Some(1),
            ..context(&store, 0, 1)
        };
        let operator = build(&node, &[&input(&[DataType::Int64], !keeps)], &context);
        Life {
            values: values.to_vec(),
            keeps,
            store,
            operator: operator.unwrap().unwrap(),
        }
    }

    fn new(values: &[Drawn], keeps: bool) -> Self {
        Life::begin(values, keeps, Arc::new(MemoryStore::new()))
    }

    fn give(&mut self, now_us: i64, rows: &[(i64, i64)]) -> Vec<ChangeBatch> {
        let schema = input(&[DataType::Int64], !self.keeps).schema;
        let rows: Vec<(Row, i64)> = rows.iter().map(|(id, weight)| (vec![Some(*id)], *weight)).collect();
        let step = Step {
            now_us,
            seed: now_us as u128,
            watermark: 0,
        };
        self.operator.step(&step, vec![vec![batch(&schema, &rows)]]).unwrap()
    }

    fn step(&mut self, now_us: i64, rows: &[(i64, i64)]) -> Bag {
        let mut bag = Bag::new();
        add_batches(&mut bag, &self.give(now_us, rows));
        bag
    }

    /// Commits, and begins anew.
    fn crash(mut self) -> Self {
        let mut written = WriteBatch::new();
        self.operator.checkpoint(&mut written).unwrap();
        self.store.commit(written).unwrap();
        Life::begin(&self.values, self.keeps, self.store)
    }
}

impl Life {
    /// How many rows are remembered, also in the store.
    fn left(self) -> u64 {
        let store = self.crash().store;
        store.scan(Keyspace::State, &[], None).count() as u64
    }
}

fn bag(rows: &[(i64, i64, i64)]) -> Bag {
    let row = |(id, at, weight): &(i64, i64, i64)| (vec![Some(*id), Some(*at)], *weight);
    rows.iter().map(row).collect()
}

#[test]
fn a_delete_takes_the_value_that_its_row_was_given() {
    assert_eq!(Drawn::Now.data_type(), TIMESTAMP);
    let mut life = Life::new(&[Drawn::Now], true);
    assert_eq!(life.step(10, &[(1, 1), (2, 1)]), bag(&[(1, 10, 1), (2, 10, 1)]));
    life = life.crash();
    assert_eq!(life.step(20, &[(1, 2), (3, 1)]), bag(&[(1, 20, 2), (3, 20, 1)]));
    // Of equal rows those that came first go first.
    assert_eq!(life.step(30, &[(1, -2)]), bag(&[(1, 10, -1), (1, 20, -1)]));
    life = life.crash();
    assert_eq!(
        life.step(40, &[(1, -1), (2, -1), (4, 1)]),
        bag(&[(1, 20, -1), (2, 10, -1), (4, 40, 1)])
    );
    life = life.crash();
    assert_eq!(life.step(50, &[(3, -1), (4, -1)]), bag(&[(3, 20, -1), (4, 40, -1)]));
    assert_eq!(life.left(), 0);
}

#[test]
fn a_row_that_comes_again_within_a_step_keeps_its_value() {
    let mut life = Life::new(&[Drawn::Now], true);
    life.step(10, &[(1, 1)]);
    assert_eq!(life.step(20, &[(1, -1), (1, 1)]), Bag::new());
    assert_eq!(life.step(30, &[(1, -1)]), bag(&[(1, 10, -1)]));
}

#[test]
fn a_delete_of_what_is_not_there_is_an_error() {
    let mut life = Life::new(&[Drawn::Now], true);
    life.step(10, &[(1, 1)]);
    let schema = input(&[DataType::Int64], false).schema;
    let twice = batch(&schema, &[(vec![Some(1)], -2)]);
    assert!(life.operator.step(&Step::default(), vec![vec![twice]]).is_err());
}

#[test]
fn what_only_grows_is_not_remembered() {
    let mut life = Life::new(&[Drawn::Now], false);
    assert_eq!(life.step(10, &[(1, 3)]), bag(&[(1, 10, 3)]));
    assert_eq!(life.operator.stats(), OperatorStats::default());
}

#[test]
fn each_of_equal_rows_has_random_numbers_of_its_own() {
    for keeps in [false, true] {
        let mut life = Life::new(&[Drawn::Random, Drawn::Uuid, Drawn::Random], keeps);
        let mut numbers = BTreeSet::new();
        let mut names = BTreeSet::new();
        for now_us in [1, 2] {
            for batch in life.give(now_us, &[(1, 500), (2, 1)]) {
                assert!((0..batch.num_rows()).all(|row| batch.weight(row) == 1));
                for column in [1, 3] {
                    let column = batch.column(column).as_primitive::<Float64Type>();
                    assert!(column.values().iter().all(|number| (0.0..1.0).contains(number)));
                    numbers.extend(column.values().iter().map(|number| number.to_bits()));
                }
                names.extend(batch.column(2).as_fixed_size_binary().iter().flatten().map(uuid::text));
            }
        }
        assert_eq!((numbers.len(), names.len()), (2004, 1002));
        let mean = numbers.iter().map(|bits| f64::from_bits(*bits)).sum::<f64>() / 2004.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        for name in names {
            let is_hex = |(place, digit): (usize, char)| match place {
                8 | 13 | 18 | 23 => digit == '-',
                14 => digit == '4',
                19 => "89ab".contains(digit),
                _ => digit.is_ascii_hexdigit(),
            };
            assert!(name.len() == 36 && name.chars().enumerate().all(is_hex), "{name}");
        }
        if keeps {
            let gone: usize = life
                .give(3, &[(1, -1000), (2, -2)])
                .iter()
                .map(ChangeBatch::num_rows)
                .sum();
            assert_eq!(gone, 1002);
            assert_eq!(life.left(), 0);
        }
    }
}

#[test]
fn a_step_is_a_function_of_what_it_is_given() {
    let draw = || Life::new(&[Drawn::Uuid, Drawn::Random], false).give(5, &[(1, 1), (2, 1)]);
    let rows = |batches: Vec<ChangeBatch>| {
        batches
            .into_iter()
            .map(|batch| batch.into_parts().0)
            .collect::<Vec<_>>()
    };
    assert_eq!(rows(draw()), rows(draw()));
}
