//! What every store must do, run for the store in memory and the one on disk.
//!
//! A check works on a [`Subject`] and calls [`Subject::pause`] where a store might lose or change
//! something: on disk the store is then left alone, reopened, or written out and compacted,
//! depending on the run.

use std::sync::Arc;

use tempfile::TempDir;

use super::{
    Keyspace, MAX_ENTRY_BYTES, MemoryStore, Reader, RocksOptions, RocksStore, Store, WriteBatch, decode_counter,
    encode_counter,
};
use crate::error::Error;
use Keyspace::{Catalog, Dml, Log, Meta, State, View};
use counters::*;

mod counters;
mod model;

enum Subject {
    Memory(MemoryStore),
    Disk {
        /// Empty only while it is reopened.
        store: Option<RocksStore>,
        pause: Pause,
        directory: TempDir,
    },
}

#[derive(Clone, Copy, Debug)]
enum Pause {
    None,
    Reopen,
    Compact,
}

impl Subject {
    fn memory() -> Subject {
        Subject::Memory(MemoryStore::new())
    }

    fn disk(pause: Pause) -> Subject {
        let directory = tempfile::tempdir().unwrap();
        let store = RocksStore::open(directory.path(), RocksOptions::default()).unwrap();
        Subject::Disk {
            store: Some(store),
            pause,
            directory,
        }
    }

    fn store(&self) -> &dyn Store {
        match self {
            Subject::Memory(store) => store,
            Subject::Disk { store, .. } => store.as_ref().unwrap(),
        }
    }

    /// No snapshot may be alive.
    fn pause(&mut self) {
        if let Subject::Disk {
            store,
            pause: Pause::Reopen,
            directory,
        } = self
        {
            *store = None;
            let options = RocksOptions::default();
            *store = Some(RocksStore::open_existing(directory.path(), options).unwrap());
        }
        self.settle();
    }

    /// As far as it goes with the store open.
    fn settle(&self) {
        if let Subject::Disk {
            store: Some(store),
            pause: Pause::Compact,
            ..
        } = self
        {
            store.flush().unwrap();
            store.compact();
        }
    }

    fn commit(&self, fill: impl FnOnce(&mut WriteBatch)) {
        let mut batch = WriteBatch::new();
        fill(&mut batch);
        self.store().commit(batch).unwrap();
    }

    fn get(&self, ks: Keyspace, key: &[u8]) -> Option<Vec<u8>> {
        self.store().get(ks, key).unwrap()
    }

    fn counter(&self, key: &[u8]) -> Option<i64> {
        let value = self.get(View, key)?;
        Some(decode_counter(&value).unwrap())
    }
}

fn entries(reader: &dyn Reader, ks: Keyspace, start: &[u8], end: Option<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let found: Result<_, _> = reader.scan(ks, start, end).collect();
    found.unwrap()
}

fn keys(reader: &dyn Reader, ks: Keyspace, start: &[u8], end: Option<&[u8]>) -> Vec<Vec<u8>> {
    let found = entries(reader, ks, start, end);
    found.into_iter().map(|(key, _)| key).collect()
}

macro_rules! conformance {
    ($($check:ident)*) => {
        mod memory {
            $(#[test] fn $check() { super::$check(super::Subject::memory()); })*
        }
        mod disk {
            use super::{Pause, Subject};
            $(#[test] fn $check() { super::$check(Subject::disk(Pause::None)); })*
        }
        mod disk_reopened {
            use super::{Pause, Subject};
            $(#[test] fn $check() { super::$check(Subject::disk(Pause::Reopen)); })*
        }
        mod disk_compacted {
            use super::{Pause, Subject};
            $(#[test] fn $check() { super::$check(Subject::disk(Pause::Compact)); })*
        }
    };
}

conformance! {
    a_batch_spans_keyspaces_and_keeps_them_apart
    later_operations_see_earlier_ones
    an_appended_batch_comes_after
    a_refused_batch_leaves_nothing
    scans_are_ascending_and_half_open
    a_scan_sees_the_time_of_its_call
    long_scans_miss_nothing
    ranges_are_deleted_to_the_edge
    multi_get_answers_every_key_in_order
    empty_and_odd_keys_and_values
    large_values
    snapshots_stay
    counters_sum
    counters_at_zero_are_absent
    counters_under_snapshots
    counters_beside_puts
    counters_meet_puts_on_one_key
    sizes_grow_with_content
    concurrent_commits_are_each_whole
}

fn a_batch_spans_keyspaces_and_keeps_them_apart(mut subject: Subject) {
    subject.commit(|batch| {
        for ks in Keyspace::ALL {
            batch.put(ks, b"same key", ks.name().as_bytes());
        }
    });
    subject.pause();
    for ks in Keyspace::ALL {
        assert_eq!(subject.get(ks, b"same key").as_deref(), Some(ks.name().as_bytes()));
        assert_eq!(keys(subject.store(), ks, b"", None), [b"same key"]);
    }
    subject.commit(|batch| {
        batch.delete(State, b"same key");
        batch.delete_range(Log, b"", b"z");
    });
    subject.pause();
    let left: Vec<_> = Keyspace::ALL
        .into_iter()
        .filter(|ks| subject.get(*ks, b"same key").is_some())
        .collect();
    assert_eq!(left, [Meta, Catalog, View, Dml]);
}

fn later_operations_see_earlier_ones(mut subject: Subject) {
    subject.commit(|batch| {
        batch.put(State, b"a", b"1");
        batch.put(State, b"a", b"2");
        batch.put(State, b"b", b"1");
        batch.delete(State, b"b");
        batch.delete(State, b"c");
        batch.put(State, b"c", b"1");
        batch.put(State, b"d", b"1");
        batch.delete_range(State, b"d", b"f");
        batch.put(State, b"e", b"1");
    });
    subject.pause();
    let found = entries(subject.store(), State, b"", None);
    let pair = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
    assert_eq!(found, [pair("a", "2"), pair("c", "1"), pair("e", "1")]);
}

fn an_appended_batch_comes_after(mut subject: Subject) {
    let mut first = WriteBatch::new();
    first.put(State, b"a", b"first");
    first.put(State, b"b", b"first");
    let mut second = WriteBatch::new();
    second.put(State, b"a", b"second");
    second.delete(State, b"b");
    second.add(View, b"n", 3);
    let mut all = WriteBatch::new();
    all.append(first);
    all.append(second);
    all.append(WriteBatch::new());
    assert_eq!(all.len(), 5);
    assert!(all.bytes() > 20);
    subject.store().commit(all).unwrap();
    subject.pause();
    assert_eq!(subject.get(State, b"a").as_deref(), Some(&b"second"[..]));
    assert_eq!(subject.get(State, b"b"), None);
    assert_eq!(subject.counter(b"n"), Some(3));
}

fn a_refused_batch_leaves_nothing(mut subject: Subject) {
    subject.commit(|batch| batch.put(State, b"old", b"1"));
    // Never read, so the system needn't find the memory.
    let too_large = vec![0; MAX_ENTRY_BYTES];
    let mut batch = WriteBatch::new();
    batch.put(State, b"before", b"1");
    batch.delete(State, b"old");
    batch.put(Log, b"k", &too_large);
    batch.put(State, b"after", b"1");
    let mut outer = WriteBatch::new();
    outer.append(batch);
    assert!(!outer.is_empty());
    let error = subject.store().commit(outer).unwrap_err();
    let bytes = MAX_ENTRY_BYTES + 1;
    assert!(
        matches!(error, Error::TooLarge { keyspace: Log, bytes: found, .. } if found == bytes),
        "{error}"
    );
    subject.pause();
    assert_eq!(keys(subject.store(), State, b"", None), [b"old"]);
    assert_eq!(keys(subject.store(), Log, b"", None), [b""; 0]);
}

fn scans_are_ascending_and_half_open(mut subject: Subject) {
    let mut written = [&b"b"[..], b"a", b"ab", b"\xff\xff", b"\0", b"a\0", b"\xff", b"c"];
    subject.commit(|batch| {
        for key in written {
            batch.put(State, key, b"");
        }
    });
    subject.pause();
    written.sort();
    let store = subject.store();
    assert_eq!(keys(store, State, b"", None), written);
    assert_eq!(keys(store, State, b"a", Some(b"b")), [&b"a"[..], b"a\0", b"ab"]);
    assert_eq!(keys(store, State, b"a\0", Some(b"c")), [&b"a\0"[..], b"ab", b"b"]);
    assert_eq!(keys(store, State, b"aa", Some(b"aaa")), [b""; 0]);
    assert_eq!(keys(store, State, b"\xff", None), [&b"\xff"[..], b"\xff\xff"]);
    for (start, end) in [("b", "b"), ("c", "a"), ("a", "")] {
        let found = keys(store, State, start.as_bytes(), Some(end.as_bytes()));
        assert_eq!(found, [b""; 0], "{start}..{end}");
    }
}

fn a_scan_sees_the_time_of_its_call(subject: Subject) {
    subject.commit(|batch| {
        for n in 0..300_u32 {
            batch.put(State, &n.to_be_bytes(), b"old");
        }
    });
    let mut scan = subject.store().scan(State, b"", None);
    assert!(scan.next().is_some());
    subject.commit(|batch| {
        batch.delete_range(State, &100_u32.to_be_bytes(), &200_u32.to_be_bytes());
        batch.put(State, &250_u32.to_be_bytes(), b"new");
        batch.put(State, &400_u32.to_be_bytes(), b"new");
    });
    subject.settle();
    let rest: Vec<_> = scan.map(|entry| entry.unwrap().1).collect();
    assert_eq!(rest, vec![b"old"; 299]);
}

fn long_scans_miss_nothing(mut subject: Subject) {
    let count = 1_000_u32;
    for part in 0..4 {
        subject.commit(|batch| {
            for n in (part..count).step_by(4) {
                batch.put(Log, &n.to_be_bytes(), &n.to_le_bytes());
            }
        });
        subject.pause();
    }
    for (from, upto) in [(0_u32, count), (1, 129), (127, 128), (500, 756), (990, 2_000)] {
        let found = entries(subject.store(), Log, &from.to_be_bytes(), Some(&upto.to_be_bytes()));
        let expected: Vec<_> = (from..upto.min(count))
            .map(|n| (n.to_be_bytes().to_vec(), n.to_le_bytes().to_vec()))
            .collect();
        assert_eq!(found, expected, "{from}..{upto}");
    }
}

fn ranges_are_deleted_to_the_edge(mut subject: Subject) {
    let all: [&[u8]; 6] = [b"a", b"b", b"b\0", b"c", b"c\0", b"d"];
    for (start, end, left) in [
        (&b"b"[..], &b"c"[..], &[&b"a"[..], b"c", b"c\0", b"d"][..]),
        (b"b", b"c\0", &[b"a", b"c\0", b"d"]),
        (b"b\0", b"b\0", &all),
        (b"c", b"a", &all),
        (b"", b"a", &all),
        (b"", b"b", &all[1..]),
        (b"", b"\xff", &[]),
        (b"bb", b"bbb", &all),
    ] {
        subject.commit(|batch| {
            for key in all {
                batch.put(State, key, b"v");
            }
        });
        subject.pause();
        subject.commit(|batch| batch.delete_range(State, start, end));
        assert_eq!(keys(subject.store(), State, b"", None), left);
        subject.pause();
        assert_eq!(keys(subject.store(), State, b"", None), left);
    }
    // What is put after a range was deleted is there, also in the same batch.
    subject.commit(|batch| {
        batch.delete_range(State, b"a", b"z");
        batch.put(State, b"m", b"new");
    });
    subject.pause();
    assert_eq!(keys(subject.store(), State, b"", None), [b"m"]);
    // Ranges that overlap, one after the other.
    for end in 0..600_u32 {
        subject.commit(|batch| {
            batch.put(Log, &(end + 10).to_be_bytes(), b"v");
            batch.delete_range(Log, b"", &end.to_be_bytes());
        });
    }
    subject.pause();
    assert_eq!(keys(subject.store(), Log, b"", None).len(), 11);
}

fn multi_get_answers_every_key_in_order(mut subject: Subject) {
    subject.commit(|batch| {
        for n in 0..200_u32 {
            batch.put(State, &n.to_be_bytes(), &n.to_le_bytes());
            batch.add(View, &n.to_be_bytes(), i64::from(n) - 5);
        }
        batch.delete(State, &7_u32.to_be_bytes());
    });
    subject.pause();
    let asked = [199_u32, 3, 1_000, 7, 3, 0, 198, 5];
    let asked_bytes = asked.map(u32::to_be_bytes);
    let asked_keys: Vec<&[u8]> = asked_bytes.iter().map(|key| &key[..]).collect();
    let there = |n: u32| n < 200 && n != 7;
    let values = asked.map(|n| there(n).then(|| n.to_le_bytes().to_vec()));
    assert_eq!(subject.store().multi_get(State, &asked_keys).unwrap(), values);
    let counts = |n: u32| (n < 200 && n != 5).then(|| encode_counter(i64::from(n) - 5).to_vec());
    assert_eq!(subject.store().multi_get(View, &asked_keys).unwrap(), asked.map(counts));
    assert_eq!(
        subject.store().snapshot().multi_get(State, &asked_keys).unwrap(),
        values
    );
    assert!(subject.store().multi_get(State, &[]).unwrap().is_empty());
    let sorted: Vec<[u8; 4]> = (0..1_000_u32).map(u32::to_be_bytes).collect();
    let sorted: Vec<&[u8]> = sorted.iter().map(|key| &key[..]).collect();
    let found = subject.store().multi_get(State, &sorted).unwrap();
    assert_eq!(found.iter().flatten().count(), 199);
}

fn empty_and_odd_keys_and_values(mut subject: Subject) {
    for ks in Keyspace::ALL {
        subject.commit(|batch| {
            batch.put(ks, b"", b"value of the empty key");
            batch.put(ks, b"empty value", b"");
            batch.put(ks, &[0xFF; 40], &[0; 9]);
            // Looks like a stored counter at zero.
            batch.put(ks, b"looks like a counter", &[1, 0, 0, 0, 0, 0, 0, 0, 0]);
        });
        subject.pause();
        assert_eq!(subject.get(ks, b"").as_deref(), Some(&b"value of the empty key"[..]));
        assert_eq!(subject.get(ks, b"empty value").as_deref(), Some(&b""[..]));
        assert_eq!(subject.get(ks, &[0xFF; 40]).as_deref(), Some(&[0; 9][..]));
        assert_eq!(
            subject.get(ks, b"looks like a counter").as_deref(),
            Some(&[1, 0, 0, 0, 0, 0, 0, 0, 0][..])
        );
        assert_eq!(keys(subject.store(), ks, b"", None).len(), 4);
        subject.commit(|batch| batch.delete(ks, b""));
        assert_eq!(subject.get(ks, b""), None);
    }
}

fn large_values(mut subject: Subject) {
    let large: Vec<u8> = (0..20 << 20).map(|n: u32| ((n * n) >> 7) as u8).collect();
    subject.commit(|batch| {
        for ks in [State, View, Log] {
            batch.put(ks, b"large", &large);
        }
        batch.put(Dml, &large[..100_000], b"under a large key");
    });
    subject.pause();
    for ks in [State, View, Log] {
        assert!(subject.get(ks, b"large").as_ref() == Some(&large));
    }
    assert_eq!(
        subject.get(Dml, &large[..100_000]).as_deref(),
        Some(&b"under a large key"[..])
    );
}

fn snapshots_stay(mut subject: Subject) {
    subject.commit(|batch| {
        batch.put(State, b"changed", b"old");
        batch.put(State, b"deleted", b"old");
        batch.put(State, b"in range", b"old");
    });
    let before = subject.store().snapshot();
    subject.commit(|batch| {
        batch.put(State, b"changed", b"new");
        batch.delete(State, b"deleted");
        batch.delete_range(State, b"i", b"j");
        batch.put(State, b"new", b"new");
    });
    subject.settle();
    let after = subject.store().snapshot();
    subject.commit(|batch| batch.delete_range(State, b"", b"z"));
    subject.settle();

    let names = [&b"changed"[..], b"deleted", b"in range", b"new"];
    let value = |text: &[u8]| Some(text.to_vec());
    assert_eq!(
        before.multi_get(State, &names).unwrap(),
        [value(b"old"), value(b"old"), value(b"old"), None]
    );
    assert_eq!(
        after.multi_get(State, &names).unwrap(),
        [value(b"new"), None, None, value(b"new")]
    );
    assert_eq!(keys(&*before, State, b"", None), names[..3]);
    assert_eq!(keys(&*after, State, b"", None), [names[0], names[3]]);
    assert_eq!(before.get(State, b"deleted").unwrap(), value(b"old"));
    assert_eq!(keys(subject.store(), State, b"", None), [b""; 0]);
    drop((before, after));
    subject.pause();
    assert_eq!(keys(subject.store(), State, b"", None), [b""; 0]);

    // A snapshot is readable from another thread, after its store is gone.
    subject.commit(|batch| batch.put(State, b"k", b"v"));
    let last: Arc<dyn Reader> = subject.store().snapshot();
    drop(subject);
    let read = std::thread::spawn(move || last.get(State, b"k").unwrap());
    assert_eq!(read.join().unwrap(), value(b"v"));
}

fn sizes_grow_with_content(subject: Subject) {
    let size = |from: u32, upto: u32| {
        let (from, upto) = (from.to_be_bytes(), upto.to_be_bytes());
        subject.store().approximate_bytes(State, &from, &upto)
    };
    assert_eq!(size(0, 1_000), 0);
    subject.commit(|batch| {
        for n in 0..1_000_u32 {
            let noise: Vec<u8> = (0..1_000_u32).map(|i| ((i * n * 31) >> 3) as u8).collect();
            batch.put(State, &n.to_be_bytes(), &noise);
        }
    });
    subject.store().flush().unwrap();
    let (all, half, none) = (size(0, 1_000), size(0, 500), size(2_000, 3_000));
    assert!((100_000..3_000_000).contains(&all), "{all}");
    assert!(all > half && half > all / 4, "{half} of {all}");
    assert_eq!(none, 0);
    assert_eq!(size(700, 300), 0);
}

fn concurrent_commits_are_each_whole(mut subject: Subject) {
    let threads = 4;
    let rounds = 50_u64;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let store = subject.store();
            scope.spawn(move || {
                for round in 1..=rounds {
                    let mut batch = WriteBatch::new();
                    for ks in [State, Log] {
                        batch.put(ks, &[thread], &round.to_be_bytes());
                    }
                    batch.add(View, b"commits", 1);
                    store.commit(batch).unwrap();
                    let seen = store.snapshot();
                    assert_eq!(seen.get(State, &[thread]).unwrap().unwrap(), round.to_be_bytes());
                }
            });
        }
        let store = subject.store();
        scope.spawn(move || {
            for _ in 0..200 {
                let seen = store.snapshot();
                assert_eq!(entries(&*seen, State, b"", None), entries(&*seen, Log, b"", None));
            }
        });
    });
    subject.pause();
    assert_eq!(subject.counter(b"commits"), Some(i64::from(threads) * rounds as i64));
}
