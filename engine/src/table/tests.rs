//! A table against a plain map: whatever the budget, the commits and the crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use weir_state::{Keyspace, MemoryStore, Reader, RelationId, Store, TableId, WriteBatch, keys};

use super::*;
use crate::shard::hash_rows;

/// Each slot holds a set of numbers; a delta is what was put in (+) or taken out (-).
#[derive(Default)]
struct Sets {
    sets: Vec<BTreeSet<i32>>,
    changes: Vec<Vec<i32>>,
    loads: usize,
}

impl Sets {
    fn toggle(&mut self, slot: Slot, number: i32) {
        let set = &mut self.sets[slot.index()];
        let signed = if set.remove(&number) {
            -number
        } else {
            set.insert(number);
            number
        };
        self.changes[slot.index()].push(signed);
    }
}

impl Slots for Sets {
    fn reset(&mut self, slot: Slot) {
        if slot.index() == self.sets.len() {
            self.sets.push(BTreeSet::new());
            self.changes.push(Vec::new());
        }
        self.sets[slot.index()].clear();
        self.changes[slot.index()].clear();
    }

    fn load(&mut self, slot: Slot, bytes: &[u8]) -> Result<()> {
        self.loads += 1;
        for number in bytes.chunks_exact(4) {
            let number = i32::from_le_bytes(number.try_into().unwrap());
            let set = &mut self.sets[slot.index()];
            let changed = if number < 0 {
                set.remove(&-number)
            } else {
                set.insert(number)
            };
            assert!(changed, "a chunk was loaded out of order");
        }
        Ok(())
    }

    fn save(&mut self, slot: Slot, save: Save, out: &mut Vec<u8>) -> Result<()> {
        let changes = std::mem::take(&mut self.changes[slot.index()]);
        let numbers = match save {
            Save::Whole => self.sets[slot.index()].iter().copied().collect(),
            Save::Delta => changes,
        };
        out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        Ok(())
    }

    fn is_empty(&self, slot: Slot) -> bool {
        self.sets[slot.index()].is_empty()
    }
}

const TABLE: TableId = TableId {
    relation: RelationId(7),
    ordinal: 3,
};

fn options(store: &Arc<MemoryStore>, layout: Layout) -> TableOptions {
    TableOptions {
        id: TABLE,
        layout,
        shards: 0..256,
        store: store.clone(),
        entry_budget: None,
        bucketed: false,
    }
}

/// A table, its contents and its store.
struct Rig {
    options: TableOptions,
    store: Arc<MemoryStore>,
    table: KeyedTable,
    sets: Sets,
    in_flight: Vec<WriteBatch>,
}

impl Rig {
    fn new(store: &Arc<MemoryStore>, options: TableOptions) -> Self {
        Self {
            table: KeyedTable::open(options.clone()).unwrap(),
            options,
            store: store.clone(),
            sets: Sets::default(),
            in_flight: Vec::new(),
        }
    }

    fn rows(names: &[u8]) -> (Rows, Vec<u64>) {
        let mut rows = Rows::new();
        for name in names {
            rows.push(&[*name; 3]);
        }
        let hashes = hash_rows(&rows);
        (rows, hashes)
    }

    /// The bucket of a key: some have none.
    fn bucket(name: u8) -> i64 {
        if name.is_multiple_of(7) {
            NEVER
        } else {
            i64::from(name / 4)
        }
    }

    fn buckets(&self, names: &[u8]) -> Vec<i64> {
        match self.options.bucketed {
            true => names.iter().map(|name| Self::bucket(*name)).collect(),
            false => Vec::new(),
        }
    }

    fn toggle(&mut self, names: &[u8], number: i32) -> Result<()> {
        let (rows, hashes) = Self::rows(names);
        let keys = Keys {
            rows: &rows,
            hashes: &hashes,
            buckets: &self.buckets(names),
        };
        let mut slots = Vec::new();
        self.table.resolve(keys, &mut self.sets, &mut slots)?;
        for (name, slot) in names.iter().zip(&slots) {
            assert_eq!(self.table.key(*slot), [*name; 3]);
            self.sets.toggle(*slot, number);
            self.table.mark_dirty(*slot);
        }
        Ok(())
    }

    fn look_up(&mut self, names: &[u8]) -> Vec<Option<BTreeSet<i32>>> {
        let (rows, hashes) = Self::rows(names);
        let keys = Keys {
            rows: &rows,
            hashes: &hashes,
            buckets: &self.buckets(names),
        };
        let mut slots = Vec::new();
        self.table.lookup(keys, &mut self.sets, &mut slots).unwrap();
        let set = |slot: &Slot| self.sets.sets[slot.index()].clone();
        slots
            .iter()
            .map(|slot| slot.as_ref().map(set).filter(|set| !set.is_empty()))
            .collect()
    }

    fn checkpoint(&mut self) {
        let mut batch = WriteBatch::new();
        self.table.checkpoint(&mut self.sets, &mut batch).unwrap();
        self.in_flight.push(batch);
    }

    fn commit(&mut self) {
        for batch in self.in_flight.drain(..) {
            self.store.commit(batch).unwrap();
        }
        self.table.committed(&mut self.sets);
    }

    fn crash(&mut self) {
        *self = Rig::new(&self.store, self.options.clone());
    }

    fn stored(&self) -> usize {
        let range = keys::state_range(TABLE);
        self.store.scan(Keyspace::State, &range.start, Some(&range.end)).count()
    }
}

#[derive(Debug, Clone)]
enum Action {
    Toggle(Vec<u8>, i32),
    LookUp(Vec<u8>),
    Checkpoint,
    Commit,
    Crash,
    Complete(usize),
    Close(i64),
}

fn action() -> impl Strategy<Value = Action> {
    let names = || prop::collection::vec(1u8..24, 1..6);
    prop_oneof![
        6 => (names(), 1..4i32).prop_map(|(names, number)| Action::Toggle(names, number)),
        4 => names().prop_map(Action::LookUp),
        3 => Just(Action::Checkpoint),
        2 => Just(Action::Commit),
        1 => Just(Action::Crash),
        2 => (0usize..6).prop_map(Action::Complete),
        1 => (0i64..3).prop_map(Action::Close),
    ]
}

type Model = BTreeMap<u8, BTreeSet<i32>>;

fn check_against_a_map(
    actions: &[Action],
    layout: Layout,
    entry_budget: Option<usize>,
    bucketed: bool,
) -> Result<(), TestCaseError> {
    let store = Arc::new(MemoryStore::new());
    let options = TableOptions {
        entry_budget,
        bucketed,
        ..options(&store, layout)
    };
    let mut rig = Rig::new(&store, options);
    let mut model = (Model::new(), i64::MIN);
    let mut in_flight = Vec::new();
    let mut committed = model.clone();
    for action in actions {
        match action {
            Action::Toggle(names, number) => {
                let open = |name: &&u8| !bucketed || Rig::bucket(**name) > model.1;
                let mut names: Vec<u8> = names.iter().filter(open).copied().collect();
                names.sort_unstable();
                names.dedup();
                rig.toggle(&names, *number).unwrap();
                for name in names {
                    let set = model.0.entry(name).or_default();
                    if !set.remove(number) {
                        set.insert(*number);
                    }
                }
                model.0.retain(|_, set| !set.is_empty());
            }
            Action::LookUp(names) => {
                let expected: Vec<_> = names.iter().map(|name| model.0.get(name).cloned()).collect();
                prop_assert_eq!(rig.look_up(names), expected);
            }
            Action::Checkpoint => {
                rig.checkpoint();
                in_flight.push(model.clone());
                prop_assert!(!rig.table.is_dirty());
            }
            Action::Commit => {
                rig.commit();
                committed = in_flight.pop().unwrap_or(committed);
                in_flight.clear();
            }
            Action::Crash => {
                rig.crash();
                in_flight.clear();
                model = committed.clone();
            }
            Action::Complete(entries) => {
                rig.table.complete(*entries, &mut rig.sets).unwrap();
            }
            Action::Close(step) if bucketed => {
                model.1 = (model.1.max(-1) + step).max(model.1);
                close(&mut rig, &mut model)?;
            }
            Action::Close(_) => {}
        }
    }
    let all: Vec<u8> = (0..24).collect();
    let expected: Vec<_> = all.iter().map(|name| model.0.get(name).cloned()).collect();
    prop_assert_eq!(rig.look_up(&all), expected);
    rig.checkpoint();
    rig.commit();
    if let Some(budget) = entry_budget {
        prop_assert!(rig.table.entries() <= budget);
    }
    rig.crash();
    while !rig.table.complete(3, &mut rig.sets).unwrap() {}
    if entry_budget.is_none() {
        prop_assert_eq!(rig.table.entries(), model.0.len());
    }
    prop_assert_eq!(
        rig.look_up(&all),
        all.iter().map(|name| model.0.get(name).cloned()).collect::<Vec<_>>()
    );
    Ok(())
}

/// Closes the table through the model's time, having looked at what each bucket held.
fn close(rig: &mut Rig, model: &mut (Model, i64)) -> Result<(), TestCaseError> {
    let mut slots = Vec::new();
    let mut found = Model::new();
    while let Some(bucket) = rig.table.first_bucket(model.1) {
        rig.table.load_bucket(bucket, &mut rig.sets, &mut slots).unwrap();
        for slot in &slots {
            let name = rig.table.key(*slot)[0];
            prop_assert_eq!(Rig::bucket(name), bucket);
            prop_assert!(found.insert(name, rig.sets.sets[slot.index()].clone()).is_none());
        }
        rig.table.close_through(bucket, &mut rig.sets);
    }
    rig.table.close_through(model.1, &mut rig.sets);
    let mut expected = Model::new();
    for name in 0..24 {
        if Rig::bucket(name) <= model.1 {
            expected.extend(model.0.remove_entry(&name));
        }
    }
    prop_assert_eq!(found, expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_table_is_a_map(
        actions in prop::collection::vec(action(), 1..80),
        is_deltas in any::<bool>(),
        budget in prop_oneof![Just(None), (0usize..12).prop_map(Some)],
        bucketed in any::<bool>(),
    ) {
        let layout = if is_deltas { Layout::Deltas } else { Layout::Value };
        check_against_a_map(&actions, layout, budget, bucketed)?;
    }
}

#[test]
fn what_is_born_and_dies_between_checkpoints_is_never_written() {
    let store = Arc::new(MemoryStore::new());
    let mut rig = Rig::new(&store, options(&store, Layout::Value));
    rig.toggle(&[1, 2], 5).unwrap();
    rig.toggle(&[1], 5).unwrap();
    let mut batch = WriteBatch::new();
    rig.table.checkpoint(&mut rig.sets, &mut batch).unwrap();
    assert_eq!(batch.len(), 1);
    assert_eq!(rig.table.entries(), 1);
}

#[test]
fn a_deleted_entry_is_not_read_back_before_its_delete_is_committed() {
    let store = Arc::new(MemoryStore::new());
    let mut rig = Rig::new(&store, options(&store, Layout::Value));
    rig.toggle(&[1], 5).unwrap();
    rig.checkpoint();
    rig.commit();
    rig.crash();
    rig.toggle(&[1], 5).unwrap();
    assert_eq!(rig.look_up(&[1]), [None]);
    rig.checkpoint();
    assert_eq!(rig.look_up(&[1]), [None]);
    assert_eq!(rig.stored(), 1);
    rig.commit();
    assert_eq!((rig.stored(), rig.table.entries()), (0, 0));
    assert_eq!(rig.look_up(&[1]), [None]);
}

#[test]
fn a_new_table_never_reads_the_store_and_a_completed_one_no_more() {
    let store = Arc::new(MemoryStore::new());
    let mut rig = Rig::new(&store, options(&store, Layout::Value));
    let names: Vec<u8> = (0..200).collect();
    rig.toggle(&names, 1).unwrap();
    assert_eq!(rig.sets.loads, 0);
    rig.checkpoint();
    rig.commit();
    rig.crash();
    let mut rounds = 0;
    while !rig.table.complete(30, &mut rig.sets).unwrap() {
        rounds += 1;
    }
    assert!((6..=7).contains(&rounds), "{rounds} rounds of 30 for 200 entries");
    assert_eq!((rig.table.entries(), rig.sets.loads), (200, 200));
    assert!(rig.look_up(&names).iter().all(Option::is_some));
    assert_eq!(rig.sets.loads, 200);
}

#[test]
fn chunks_are_merged_when_they_get_many_but_not_for_a_little_change_to_much() {
    let store = Arc::new(MemoryStore::new());
    let mut rig = Rig::new(&store, options(&store, Layout::Deltas));
    for number in 1..=20 {
        rig.toggle(&[1], number).unwrap();
        rig.checkpoint();
        rig.commit();
        assert!(rig.stored() <= 8, "{} chunks", rig.stored());
    }
    for number in 1000..1500 {
        rig.toggle(&[2], number).unwrap();
    }
    rig.checkpoint();
    rig.commit();
    let before = rig.stored();
    for number in 1..=20 {
        rig.toggle(&[2], number).unwrap();
        rig.checkpoint();
        rig.commit();
    }
    assert_eq!(rig.stored(), before + 20);
    rig.crash();
    let found = rig.look_up(&[1, 2]);
    let lengths: Vec<_> = found.iter().flatten().map(BTreeSet::len).collect();
    assert_eq!(lengths, [20, 520]);
}

#[test]
fn closing_a_bucket_is_one_range_delete_or_none() {
    let store = Arc::new(MemoryStore::new());
    let options = TableOptions {
        bucketed: true,
        ..options(&store, Layout::Value)
    };
    let mut rig = Rig::new(&store, options.clone());
    let mut rows = Rows::new();
    let mut buckets = Vec::new();
    for number in 0..3000u32 {
        rows.push(&number.to_be_bytes());
        buckets.push(i64::from(number / 1000));
    }
    let hashes = hash_rows(&rows);
    let keys = Keys {
        rows: &rows,
        hashes: &hashes,
        buckets: &buckets,
    };
    let mut slots = Vec::new();
    rig.table.resolve(keys, &mut rig.sets, &mut slots).unwrap();
    for slot in &slots {
        rig.sets.toggle(*slot, 1);
        rig.table.mark_dirty(*slot);
    }
    // Bucket 0 is never written.
    rig.table.close_through(0, &mut rig.sets);
    assert_eq!(rig.table.entries(), 2000);
    rig.checkpoint();
    rig.commit();
    // A chunk for each shard of each bucket.
    let stored = rig.stored();
    assert!((2 * 200..=2 * 256).contains(&stored), "{stored} chunks");

    rig.table.close_through(1, &mut rig.sets);
    let mut batch = WriteBatch::new();
    rig.table.checkpoint(&mut rig.sets, &mut batch).unwrap();
    assert_eq!(batch.len(), 1);
    store.commit(batch).unwrap();
    rig.table.committed(&mut rig.sets);
    assert!((200..=256).contains(&rig.stored()), "{} chunks are left", rig.stored());

    // What is only stored is closed without being loaded.
    let mut rig = Rig::new(&store, options);
    assert_eq!(rig.table.first_bucket(5), Some(2));
    rig.table.close_through(5, &mut rig.sets);
    rig.checkpoint();
    rig.commit();
    assert_eq!((rig.stored(), rig.sets.loads), (0, 0));
    assert!(rig.toggle(&[9], 1).is_err(), "bucket 2 is closed");
}

#[test]
fn a_key_of_another_task_is_refused_and_the_empty_key_is_task_0s() {
    let store = Arc::new(MemoryStore::new());
    let first = TableOptions {
        shards: 0..1,
        ..options(&store, Layout::Value)
    };
    let mut table = KeyedTable::open(first).unwrap();
    let mut sets = Sets::default();
    let mut slots = Vec::new();
    let (rows, hashes) = Rig::rows(&[1, 2, 3, 4]);
    let error = table
        .resolve(Keys::new(&rows, &hashes), &mut sets, &mut slots)
        .unwrap_err();
    assert!(matches!(error, Error::Internal(_)), "{error}");

    let mut rows = Rows::new();
    rows.push(&[]);
    let hashes = hash_rows(&rows);
    table.resolve(Keys::new(&rows, &hashes), &mut sets, &mut slots).unwrap();
    assert_eq!(slots.len(), 1);
}

#[test]
fn what_is_evicted_while_its_part_is_being_loaded_is_loaded_again() {
    let store = Arc::new(MemoryStore::new());
    let options = TableOptions {
        bucketed: true,
        ..options(&store, Layout::Value)
    };
    let mut rig = Rig::new(
        &store,
        TableOptions {
            entry_budget: Some(4),
            ..options
        },
    );
    rig.toggle(&[1, 2, 3], 1).unwrap();
    rig.checkpoint();
    rig.commit();
    rig.crash();
    rig.table.complete(1, &mut rig.sets).unwrap();
    assert_eq!(rig.sets.loads, 1);
    // Four more push it out, and leave.
    for _ in 0..2 {
        rig.toggle(&[8, 9, 10, 11], 1).unwrap();
        rig.checkpoint();
        rig.commit();
    }
    assert_eq!(rig.table.entries(), 0);
    while !rig.table.complete(1, &mut rig.sets).unwrap() {}
    assert!(rig.look_up(&[1, 2, 3]).iter().all(Option::is_some));
}

#[test]
fn a_bucket_is_written_anew_when_most_of_it_is_worthless() {
    for layout in [Layout::Value, Layout::Deltas] {
        let store = Arc::new(MemoryStore::new());
        let options = TableOptions {
            bucketed: true,
            ..options(&store, layout)
        };
        let mut rig = Rig::new(&store, options);
        // What is stored is bounded by what there is, not by how often it changes.
        let mut most = 0;
        for round in 0..300 {
            for number in 1..=500 {
                rig.toggle(&[8, 9, 10], number + round % 2 * 1000).unwrap();
            }
            rig.checkpoint();
            rig.commit();
            let range = keys::state_range(TABLE);
            let stored = store.scan(Keyspace::State, &range.start, Some(&range.end));
            most = most.max(stored.map(|stored| stored.unwrap().1.len()).sum::<usize>());
        }
        assert!(most < 400_000, "{layout:?}: {most} bytes");
        let expected = rig.look_up(&[8, 9, 10]);
        rig.crash();
        assert_eq!(rig.look_up(&[8, 9, 10]), expected);
    }
}
