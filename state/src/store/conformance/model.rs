//! Any history of batches leaves in a store what it leaves in the plainest model of one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Pause, Subject, entries};
use crate::store::Keyspace::{Log, State, View};
use crate::store::{Keyspace, Reader, WriteBatch, encode_counter};

/// What a store should hold, in the plainest form.
#[derive(Clone, Default)]
struct Model(BTreeMap<(Keyspace, Vec<u8>), Held>);

#[derive(Clone, PartialEq, Debug)]
enum Held {
    Value(Vec<u8>),
    Sum(i64),
}

#[derive(Clone, Debug)]
enum Step {
    Put(Keyspace, Vec<u8>, Vec<u8>),
    Delete(Keyspace, Vec<u8>),
    DeleteRange(Keyspace, Vec<u8>, Vec<u8>),
    Add(Vec<u8>, i64),
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step.clone() {
            Step::Put(ks, key, value) => {
                self.0.insert((ks, key), Held::Value(value));
            }
            Step::Delete(ks, key) => {
                self.0.remove(&(ks, key));
            }
            Step::DeleteRange(ks, start, end) => self
                .0
                .retain(|(held_ks, key), _| *held_ks != ks || *key < start || *key >= end),
            Step::Add(key, delta) => {
                let held = self.0.entry((View, key)).or_insert(Held::Sum(0));
                if let Held::Sum(sum) = held {
                    *sum = sum.wrapping_add(delta);
                }
            }
        }
    }

    fn entries(&self, ks: Keyspace) -> Vec<(Vec<u8>, Vec<u8>)> {
        let held = self.0.iter().filter(|((held_ks, _), _)| *held_ks == ks);
        held.filter_map(|((_, key), held)| match held {
            Held::Value(value) => Some((key.clone(), value.clone())),
            Held::Sum(0) => None,
            Held::Sum(sum) => Some((key.clone(), encode_counter(*sum).to_vec())),
        })
        .collect()
    }
}

impl Step {
    fn write(&self, batch: &mut WriteBatch) {
        match self {
            Step::Put(ks, key, value) => batch.put(*ks, key, value),
            Step::Delete(ks, key) => batch.delete(*ks, key),
            Step::DeleteRange(ks, start, end) => batch.delete_range(*ks, start, end),
            Step::Add(key, delta) => batch.add(View, key, *delta),
        }
    }
}

/// Few keys, so that steps meet; some share a prefix.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0_u8), Just(7), Just(255)], 0..3)
}

fn keyspace() -> impl Strategy<Value = Keyspace> {
    prop_oneof![Just(State), Just(View), Just(View), Just(Log)]
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop::collection::vec(any::<u8>(), 0..12);
    prop_oneof![
        4 => (keyspace(), key(), value).prop_map(|(ks, key, value)| Step::Put(ks, key, value)),
        2 => (keyspace(), key()).prop_map(|(ks, key)| Step::Delete(ks, key)),
        1 => (keyspace(), key(), key()).prop_map(|(ks, a, b)| Step::DeleteRange(ks, a, b)),
        6 => (key(), -2..3_i64).prop_map(|(key, delta)| Step::Add(key, delta)),
    ]
}

fn check(reader: &dyn Reader, model: &Model, probe: &[u8]) {
    for ks in [State, View, Log] {
        let expected = model.entries(ks);
        assert_eq!(entries(reader, ks, b"", None), expected, "{ks}");
        let below = expected.partition_point(|(key, _)| &key[..] < probe);
        let above = &expected[below..];
        assert_eq!(entries(reader, ks, probe, None), above, "{ks} from {probe:?}");
        let keys: Vec<&[u8]> = expected.iter().map(|(key, _)| &key[..]).collect();
        let values: Vec<_> = expected.iter().map(|(_, value)| Some(value.clone())).collect();
        assert_eq!(reader.multi_get(ks, &keys).unwrap(), values, "{ks}");
        let there = expected.iter().find(|(key, _)| key == probe);
        assert_eq!(reader.get(ks, probe).unwrap(), there.map(|(_, value)| value.clone()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn the_store_in_memory_is_the_model(batches in history(), probe in key()) {
        run(Subject::memory(), &batches, &probe);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_store_on_disk_is_the_model(batches in history(), probe in key()) {
        for pause in [Pause::None, Pause::Reopen, Pause::Compact] {
            run(Subject::disk(pause), &batches, &probe);
        }
    }
}

fn history() -> impl Strategy<Value = Vec<Vec<Step>>> {
    prop::collection::vec(prop::collection::vec(step(), 1..12), 1..10)
}

fn run(mut subject: Subject, batches: &[Vec<Step>], probe: &[u8]) {
    let mut model = Model::default();
    for batch in batches {
        let before = (subject.store().snapshot(), model.clone());
        subject.commit(|out| batch.iter().for_each(|step| step.write(out)));
        batch.iter().for_each(|step| model.apply(step));
        check(subject.store(), &model, probe);
        subject.settle();
        check(&*before.0, &before.1, probe);
        drop(before);
        subject.pause();
        check(subject.store(), &model, probe);
    }
}
