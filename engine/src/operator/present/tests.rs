//! Rows that enter and leave by the step's clock.

use std::sync::Arc;

use weir_state::{MemoryStore, Store};

use super::*;
use crate::graph::NodeKind;
use crate::operator::build;
use crate::operator::trial::{Bag, Row, TIMESTAMP, add_batches, batch, context, input, node};

const TYPES: [DataType; 3] = [DataType::Int64, TIMESTAMP, TIMESTAMP];

struct Life {
    spec: PresentSpec,
    store: Arc<MemoryStore>,
    operator: Box<dyn Operator>,
}

impl Life {
    fn begin(spec: PresentSpec, store: Arc<MemoryStore>) -> Self {
        let node = node(NodeKind::Present(spec), &TYPES, false);
        let context = TaskContext {
            entry_budget: Some(2),
            ..context(&store, 0, 1)
        };
        let operator = build(&node, &[&input(&TYPES, false)], &context).unwrap().unwrap();
        Life { spec, store, operator }
    }

    fn step(&mut self, now_us: i64, rows: &[(Row, i64)]) -> Bag {
        let step = Step {
            now_us,
            ..Step::default()
        };
        let schema = input(&TYPES, false).schema;
        let output = self.operator.step(&step, vec![vec![batch(&schema, rows)]]).unwrap();
        let mut bag = Bag::new();
        add_batches(&mut bag, &output);
        bag
    }

    /// Commits, and begins anew.
    fn crash(mut self) -> Self {
        let mut written = WriteBatch::new();
        self.operator.checkpoint(&mut written).unwrap();
        self.store.commit(written).unwrap();
        Life::begin(self.spec, self.store)
    }
}

fn row(id: i64, enters: i64, leaves: i64) -> Row {
    vec![Some(id), Some(enters), Some(leaves)]
}

const BOTH: PresentSpec = PresentSpec {
    enters: Some(1),
    leaves: Some(2),
};

#[test]
fn rows_enter_and_leave_when_it_is_time() {
    let mut life = Life::begin(BOTH, Arc::new(MemoryStore::new()));
    let rows = [
        (row(1, 10, 20), 1),
        (row(2, 0, 15), 2),
        (row(3, 0, 5), 1),
        (vec![Some(4), None, Some(99)], 1),
    ];
    assert_eq!(life.step(5, &rows), Bag::from([(row(2, 0, 15), 2)]));
    assert_eq!(life.operator.due_us(), Some(10));
    let mut life = life.crash();
    assert_eq!(life.operator.due_us(), Some(10));
    assert!(life.step(9, &[]).is_empty());
    assert_eq!(life.step(12, &[]), Bag::from([(row(1, 10, 20), 1)]));
    let mut life = life.crash();
    assert_eq!(life.step(15, &[]), Bag::from([(row(2, 0, 15), -2)]));
    assert_eq!(life.step(30, &[]), Bag::from([(row(1, 10, 20), -1)]));
    assert_eq!((life.operator.due_us(), life.operator.stats().state_entries), (None, 0));
}

#[test]
fn a_deleted_row_is_taken_from_where_it_is() {
    let mut life = Life::begin(BOTH, Arc::new(MemoryStore::new()));
    let rows = [(row(1, 10, 20), 2), (row(2, 0, 15), 1), (row(3, 0, 8), 1)];
    life.step(5, &rows);
    let mut life = life.crash();
    // One of two that wait, one that is there.
    let output = life.step(6, &[(row(1, 10, 20), -1), (row(2, 0, 15), -1)]);
    assert_eq!(output, Bag::from([(row(2, 0, 15), -1)]));
    // In the step in which it enters; and one that has left before.
    let output = life.step(10, &[(row(1, 10, 20), -1), (row(3, 0, 8), -1)]);
    assert_eq!(output, Bag::from([(row(3, 0, 8), -1)]));
    let mut life = life.crash();
    assert!(life.step(100, &[]).is_empty());
}

#[test]
fn the_clock_may_pass_both_times_at_once() {
    let mut life = Life::begin(BOTH, Arc::new(MemoryStore::new()));
    life.step(5, &[(row(1, 10, 20), 1)]);
    assert!(life.step(50, &[(row(2, 10, 20), 1)]).is_empty());
    assert!(life.step(51, &[(row(2, 10, 20), -1), (row(1, 10, 20), -1)]).is_empty());
    // Nor does it go back.
    assert!(life.step(15, &[(row(3, 10, 20), 1)]).is_empty());
}

#[test]
fn what_only_enters_stays() {
    let spec = PresentSpec {
        enters: Some(1),
        leaves: None,
    };
    let mut life = Life::begin(spec, Arc::new(MemoryStore::new()));
    assert_eq!(
        life.step(5, &[(row(1, 10, 0), 1), (row(2, 1, 0), 1)]),
        Bag::from([(row(2, 1, 0), 1)])
    );
    let mut life = life.crash();
    assert_eq!(life.step(10, &[]), Bag::from([(row(1, 10, 0), 1)]));
    assert_eq!(life.step(11, &[(row(1, 10, 0), -1)]), Bag::from([(row(1, 10, 0), -1)]));
}
