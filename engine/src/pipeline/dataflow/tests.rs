//! Views of which a checkpoint can't be written.

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use weir_state::{Keyspace, MemoryStore, Reader, Store};

use super::*;
use crate::graph::{Exchange, Input, InputSpec, Node, ValuesSpec};
use crate::operator::Step;
use crate::relation::{Storage, ViewOptions};

type Fails = fn() -> Result<()>;

/// Passes nothing on, and fails when it is to write its state, behind some of it.
struct Unwritable(Fails);

impl Operator for Unwritable {
    fn step(&mut self, _: &Step, _: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        Ok(Vec::new())
    }

    fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        batch.put(Keyspace::State, b"half", b"of it");
        (self.0)()
    }
}

fn view(relation: u32, kind: NodeKind, rows: &RecordBatch) -> ViewSpec {
    let mut graph = Graph::default();
    let mut push = |kind: NodeKind, inputs: Vec<Input>| {
        graph.push(Node {
            kind,
            inputs,
            schema: rows.schema(),
            append_only: true,
            key: None,
            has_watermark: false,
            state_bound: None,
        })
    };
    let first = push(kind, Vec::new());
    // What is read locally, so that there is an operator in each view.
    push(
        NodeKind::Union,
        vec![Input {
            node: first,
            exchange: Exchange::Local,
        }],
    );
    ViewSpec {
        relation: RelationId(relation),
        name: format!("v{relation}"),
        graph: Arc::new(graph),
        storage: Storage::Bag,
        options: ViewOptions::default(),
    }
}

/// A view of rows, one that can't be written, and one that rests on that.
fn dataflow(store: &Arc<MemoryStore>, tasks: usize, fails: Fails) -> Dataflow {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let rows = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![1, 2]))]).unwrap();
    let values = || NodeKind::Values(ValuesSpec { rows: rows.clone() });
    let reads_2 = NodeKind::Input(InputSpec {
        relation: RelationId(2),
        name: "v2".to_string(),
        columns: vec![0],
        with_watermark: false,
        timeout_us: None,
    });
    let mut dataflow = Dataflow::new(tasks, store.clone() as Arc<dyn Store>, None);
    for spec in [
        view(1, values(), &rows),
        view(2, values(), &rows),
        view(3, reads_2, &rows),
    ] {
        dataflow.add(spec).unwrap();
    }
    dataflow.plan(&Projections::new()).unwrap();
    let at = NodeRef {
        view: RelationId(2),
        node: NodeId(0),
    };
    let last = dataflow.tasks.last_mut().unwrap();
    last.operators.insert(at, Box::new(Unwritable(fails)));
    dataflow
}

#[test]
fn a_view_that_cannot_be_written_is_named_and_keeps_no_other_from_it() {
    let failures: [(Fails, &str); 2] = [
        (|| Err(Error::Data("no room".to_string())), "writing Values 0: no room"),
        (|| panic!("lost"), "Values 0 panicked: lost"),
    ];
    for (tasks, (fails, says)) in [(1, failures[0]), (2, failures[1])] {
        let store = Arc::new(MemoryStore::new());
        let mut dataflow = dataflow(&store, tasks, fails);
        let moment = Moment { now_us: 0, seed: 0 };
        let failed = dataflow.step(moment, HashMap::new(), BTreeMap::new());
        assert!(failed.is_empty(), "{failed:?}");
        let all = BTreeSet::from([1, 2, 3].map(RelationId));
        let written = dataflow.checkpoint(Epoch(1), &all, &all).unwrap();
        let cause = written.failed[&RelationId(2)].as_ref().unwrap().to_string();
        assert!(cause.contains(says), "{cause}");
        // It rests on that one.
        assert!(written.failed[&RelationId(3)].is_none());
        assert_eq!(written.failed.len(), 2);
        assert_eq!(written.changes.keys().collect::<Vec<_>>(), [&RelationId(1)]);
        store.commit(written.batch).unwrap();
        assert_eq!(store.get(Keyspace::State, b"half").unwrap(), None);
        let changelog = |view: u32| {
            let entries = weir_state::changelog::read(store.as_ref(), RelationId(view), Epoch::ZERO, Epoch(1));
            entries.unwrap().count()
        };
        assert_eq!([1, 2, 3].map(changelog).map(|chunks| chunks > 0), [true, false, false]);
    }
}
