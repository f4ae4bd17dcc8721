//! What counters must do, alone, under snapshots and beside put values.

use super::{Subject, entries, keys};
use crate::store::Keyspace::View;
use crate::store::{Reader, decode_counter, encode_counter};

pub(super) fn counters_sum(mut subject: Subject) {
    let mut sum = 0_i64;
    for n in 1..=300_i64 {
        let delta = n * n * if n % 3 == 0 { -1 } else { 1 };
        sum += delta;
        subject.commit(|batch| {
            batch.add(View, b"count", delta - 1);
            batch.add(View, b"other", 2);
            batch.add(View, b"count", 1);
        });
        if n % 100 == 0 {
            subject.pause();
        }
        assert_eq!(subject.counter(b"count"), Some(sum));
    }
    assert_eq!(subject.counter(b"other"), Some(600));
    let found = entries(subject.store(), View, b"", None);
    assert_eq!(
        found,
        [
            (b"count".to_vec(), encode_counter(sum).to_vec()),
            (b"other".to_vec(), encode_counter(600).to_vec())
        ]
    );
    // Sums wrap, so that they don't depend on the order in which they are formed.
    subject.commit(|batch| batch.add(View, b"edge", i64::MAX));
    subject.pause();
    subject.commit(|batch| batch.add(View, b"edge", 2));
    assert_eq!(subject.counter(b"edge"), Some(i64::MIN + 1));
    subject.commit(|batch| batch.add(View, b"edge", -2));
    subject.pause();
    assert_eq!(subject.counter(b"edge"), Some(i64::MAX));
}

pub(super) fn counters_at_zero_are_absent(mut subject: Subject) {
    let absent = |subject: &Subject| {
        assert_eq!(subject.get(View, b"n"), None);
        assert_eq!(subject.store().multi_get(View, &[b"n"]).unwrap(), [None]);
        assert_eq!(keys(subject.store(), View, b"", None), [b"m", b"o"]);
    };
    subject.commit(|batch| {
        batch.add(View, b"m", 1);
        batch.add(View, b"o", 1);
        batch.add(View, b"n", 0);
    });
    absent(&subject);
    subject.commit(|batch| {
        batch.add(View, b"n", 4);
        batch.add(View, b"n", -4);
    });
    absent(&subject);
    subject.commit(|batch| batch.add(View, b"n", 4));
    subject.pause();
    assert_eq!(subject.counter(b"n"), Some(4));
    subject.commit(|batch| batch.add(View, b"n", -4));
    absent(&subject);
    subject.pause();
    absent(&subject);
    subject.pause();
    absent(&subject);
    // From zero it goes on, and from a delete it begins anew.
    subject.commit(|batch| batch.add(View, b"n", -1));
    assert_eq!(subject.counter(b"n"), Some(-1));
    subject.commit(|batch| batch.delete(View, b"n"));
    subject.pause();
    absent(&subject);
    subject.commit(|batch| batch.add(View, b"n", 5));
    subject.commit(|batch| batch.delete_range(View, b"n", b"o"));
    subject.commit(|batch| batch.add(View, b"n", 7));
    subject.pause();
    assert_eq!(subject.counter(b"n"), Some(7));
}

pub(super) fn counters_under_snapshots(mut subject: Subject) {
    let mut snapshots = Vec::new();
    for delta in [3, -3, 5, -1, -4, 2] {
        snapshots.push(subject.store().snapshot());
        subject.commit(|batch| batch.add(View, b"n", delta));
        subject.settle();
    }
    let seen = |reader: &dyn Reader| {
        let value = reader.get(View, b"n").unwrap();
        let scanned = entries(reader, View, b"", None);
        assert_eq!(scanned.first().map(|(_, value)| value), value.as_ref());
        value.map_or(0, |value| decode_counter(&value).unwrap())
    };
    let sums: Vec<i64> = snapshots.iter().map(|snapshot| seen(&**snapshot)).collect();
    assert_eq!(sums, [0, 3, 0, 5, 4, 0]);
    drop(snapshots);
    subject.pause();
    assert_eq!(subject.counter(b"n"), Some(2));
}

pub(super) fn counters_beside_puts(mut subject: Subject) {
    for round in 0..50_i64 {
        subject.commit(|batch| {
            batch.put(View, b"a", &encode_counter(0));
            batch.add(View, b"b", 1);
            batch.put(View, b"c", format!("{round}").as_bytes());
            batch.add(View, b"d", if round % 2 == 0 { 1 } else { -1 });
            batch.put(View, b"e", b"");
        });
        if round % 10 == 9 {
            subject.pause();
        }
    }
    let found = entries(subject.store(), View, b"", None);
    let expected: [(&[u8], &[u8]); 4] = [
        (b"a", &encode_counter(0)),
        (b"b", &encode_counter(50)),
        (b"c", b"49"),
        (b"e", b""),
    ];
    let expected = expected.map(|(key, value)| (key.to_vec(), value.to_vec()));
    assert_eq!(found, expected);
}

pub(super) fn counters_meet_puts_on_one_key(mut subject: Subject) {
    subject.commit(|batch| batch.put(View, b"k", b"put"));
    subject.pause();
    subject.commit(|batch| batch.add(View, b"k", 3));
    subject.pause();
    assert_eq!(subject.get(View, b"k").as_deref(), Some(&b"put"[..]));
    subject.commit(|batch| {
        batch.delete(View, b"k");
        batch.add(View, b"k", 3);
    });
    subject.pause();
    assert_eq!(subject.counter(b"k"), Some(3));
    subject.commit(|batch| batch.put(View, b"k", b"again"));
    subject.pause();
    assert_eq!(subject.get(View, b"k").as_deref(), Some(&b"again"[..]));
}
