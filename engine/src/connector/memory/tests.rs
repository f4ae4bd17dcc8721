//! The memory source keeps what every source keeps, and says what was lost.

use std::time::{Duration, Instant};

use super::*;
use crate::connector::conformance::{read_all, source_conformance};

fn spec(topic: &str) -> ConnectorSpec {
    ConnectorSpec {
        connector: "memory".to_string(),
        options: BTreeMap::from([("topic".to_string(), topic.to_string())]),
    }
}

fn id(partition: usize) -> SplitId {
    SplitId(partition.to_string().into())
}

/// Two partitions of 40 and 25 records, the first 5 of the second one deleted.
fn filled(topic: &str) -> Arc<dyn SourceConnector> {
    create(topic, 2);
    for (partition, count) in [(0, 40), (1, 25)] {
        for number in 0..count {
            let record = Record {
                key: (number % 3 != 0).then(|| format!("k{number}").into_bytes()),
                value: (number % 7 != 0).then(|| format!("{partition}/{number}").into_bytes()),
                headers: vec![("n".to_string(), Some(vec![number]))],
                timestamp_ms: 1000 + i64::from(number),
            };
            append_all(topic, partition, [record]);
        }
    }
    delete_before(topic, 1, 5);
    source(&spec(topic)).unwrap()
}

#[test]
fn it_conforms() {
    let source = filled("conforms");
    let wanted = Wanted {
        keys: true,
        headers: true,
        columns: None,
    };
    source_conformance(source.as_ref(), None, &wanted);
    end("conforms");
    source_conformance(source.as_ref(), None, &Wanted::default());
}

#[test]
fn starts_and_bounds_are_offsets() {
    let source = filled("starts");
    let at = |zero, one| Positions::from([(id(0), zero), (id(1), one)]);
    assert_eq!(source.resolve(&Start::Earliest).unwrap(), at(0, 5));
    assert_eq!(source.resolve(&Start::Latest).unwrap(), at(40, 25));
    assert_eq!(source.resolve(&Start::Timestamp(1010)).unwrap(), at(10, 10));
    let named = Positions::from([(id(0), 7)]);
    assert_eq!(source.resolve(&Start::Offsets(named)).unwrap(), at(7, 5));
    assert_eq!(source.resolve_bound(&Bound::Latest).unwrap(), Some(at(40, 25)));
    assert_eq!(source.resolve_bound(&Bound::Timestamp(9999)).unwrap(), Some(at(40, 25)));
    assert!(source.resolve(&Start::Group).is_err());
    let strange = Positions::from([(id(2), 0)]);
    let error = source.resolve(&Start::Offsets(strange)).unwrap_err();
    assert!(error.to_string().contains("no partition '2'"), "{error}");
}

#[test]
fn what_was_deleted_unread_is_an_error() {
    let source = filled("deleted");
    let from = Positions::from([(id(0), 0), (id(1), 4)]);
    let mut reader = source.open(&from, None, &Wanted::default()).unwrap();
    let error = reader.read(100, Duration::ZERO).unwrap_err();
    assert!(error.to_string().contains("offsets 4 to 4 are gone"), "{error}");
    assert!(!error.may_pass());
}

#[test]
fn a_topic_that_is_away_or_missing_may_come_back() {
    let source = filled("away");
    set_away("away", true);
    assert!(source.splits().unwrap_err().may_pass());
    set_away("away", false);
    let from = source.resolve(&Start::Earliest).unwrap();
    let mut reader = source.open(&from, None, &Wanted::default()).unwrap();
    set_away("away", true);
    assert!(reader.read(10, Duration::ZERO).unwrap_err().may_pass());
    set_away("away", false);
    assert_eq!(reader.read(10, Duration::ZERO).unwrap()[0].payload.len(), 10);
    let missing = super::source(&spec("missing")).unwrap();
    assert!(missing.splits().unwrap_err().to_string().contains("no such topic"));
}

#[test]
fn a_reader_sleeps_until_something_is_appended() {
    create("sleeps", 1);
    let source = source(&spec("sleeps")).unwrap();
    let from = source.resolve(&Start::Earliest).unwrap();
    let mut reader = source.open(&from, None, &Wanted::default()).unwrap();
    let first = reader.read(10, Duration::ZERO).unwrap();
    assert!(first[0].payload.is_empty() && first[0].at_end, "{first:?}");
    assert!(reader.read(10, Duration::from_millis(5)).unwrap().is_empty());
    let appending = std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(20));
        append("sleeps", 0, None, Some(b"x"), 0)
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    let reads = reader.read(10, Duration::from_secs(30)).unwrap();
    assert!(Instant::now() < deadline, "it was not woken");
    assert_eq!((reads[0].payload.len(), reads[0].next, reads[0].ended), (1, 1, false));
    assert_eq!(appending.join().unwrap(), 0);
    end("sleeps");
    assert!(reader.read(10, Duration::ZERO).unwrap()[0].ended);
    let all = read_all(source.as_ref(), &from, None, &Wanted::default(), 10);
    assert_eq!(all[&id(0)].len(), 1);
}
