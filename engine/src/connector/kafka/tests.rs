//! The Kafka connector against the embedded broker.

use std::time::Instant;

use arrow::array::Array;

use super::admin::{Admin, Offsets, Topic};
use super::mock::EmbeddedBroker;
use super::producer::{Producer, Record};
use super::*;
use crate::connector::conformance::{Contents, read_all, source_conformance};
use crate::connector::{Payload, SplitRead};

mod apache;
mod sinks;

const SOON: Duration = Duration::from_millis(200);
const PATIENT: Duration = Duration::from_secs(20);

fn options(broker: &str, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut options: BTreeMap<String, String> = more.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    options.insert("properties.bootstrap.servers".to_string(), broker.to_string());
    options
}

fn spec(broker: &EmbeddedBroker, more: &[(&str, &str)]) -> ConnectorSpec {
    let options = options(&broker.bootstrap_servers(), more);
    ConnectorSpec {
        connector: "kafka".to_string(),
        options,
    }
}

fn producer(broker: &EmbeddedBroker) -> Producer {
    Producer::new(&Properties::new(&broker.bootstrap_servers())).unwrap()
}

fn id(topic: &str, partition: i32) -> SplitId {
    split(&topic.into(), partition).id
}

/// Writes `count` records, numbered from `first`, in turn over the partitions.
fn produce(broker: &EmbeddedBroker, topic: &str, partitions: i32, first: i64, count: i64) {
    let producer = producer(broker);
    for i in first..first + count {
        let value = format!("{{\"n\":{i}}}");
        let record = Record {
            partition: Some((i % i64::from(partitions)) as i32),
            value: Some(value.as_bytes()),
            timestamp_ms: Some(1_700_000_000_000 + i),
            ..Record::default()
        };
        producer.send(topic, &record).unwrap();
    }
    producer.flush(PATIENT).unwrap();
}

/// Reads until `done`, going on after errors that may pass, which are returned.
fn read_until(
    reader: &mut dyn SourceReader,
    contents: &mut Contents,
    mut done: impl FnMut(&Contents, Option<&SplitRead>, &[Error]) -> bool,
) -> Vec<Error> {
    let deadline = Instant::now() + PATIENT;
    let mut errors = Vec::new();
    loop {
        assert!(
            Instant::now() < deadline,
            "not done in time; errors: {errors:?}, read: {contents:?}"
        );
        match reader.read(1000, SOON) {
            Ok(reads) => {
                for read in &reads {
                    let records = contents.entry(read.split.id.clone()).or_default();
                    let texts = crate::connector::conformance::texts(&read.payload);
                    for (i, text) in texts.into_iter().enumerate() {
                        records.push((read.payload.position(i), text));
                    }
                    if done(contents, Some(read), &errors) {
                        return errors;
                    }
                }
                if reads.is_empty() && done(contents, None, &errors) {
                    return errors;
                }
            }
            Err(error) => {
                assert!(error.may_pass(), "{error}");
                errors.push(error);
                if done(contents, None, &errors) {
                    return errors;
                }
            }
        }
    }
}

fn count(contents: &Contents) -> usize {
    contents.values().map(Vec::len).sum()
}

fn assert_whole(contents: &Contents, splits: i32, each: i64) {
    assert_eq!(contents.len(), splits as usize);
    for (id, records) in contents {
        let positions: Vec<i64> = records.iter().map(|(position, _)| *position).collect();
        assert_eq!(positions, (0..each).collect::<Vec<_>>(), "offsets of '{id}'");
    }
}

#[test]
fn conforms() {
    let broker = EmbeddedBroker::start(2).unwrap();
    broker.create_topic("bids", 4).unwrap();
    produce(&broker, "bids", 3, 0, 300);
    let source = source(&spec(&broker, &[("topic", "bids")])).unwrap();
    assert_eq!(source.splits().unwrap().len(), 4);
    let wanted = Wanted {
        keys: true,
        headers: true,
        columns: None,
    };
    source_conformance(source.as_ref(), None, &wanted);
    let until = source.resolve_bound(&Bound::Latest).unwrap().unwrap();
    assert_eq!(until.values().copied().collect::<Vec<_>>(), [100, 100, 100, 0]);
    source_conformance(source.as_ref(), Some(&until), &wanted);
}

#[test]
fn records_come_with_all_they_have() {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("t", 1).unwrap();
    let producer = producer(&broker);
    let records = [
        Record {
            partition: Some(0),
            key: Some(b"k"),
            value: Some(b"v"),
            timestamp_ms: Some(1234),
            headers: &[("a", Some(b"1")), ("none", None), ("a", Some(b""))],
        },
        Record {
            partition: Some(0),
            key: Some(b"k"),
            timestamp_ms: Some(5),
            ..Record::default()
        },
        Record {
            partition: Some(0),
            value: Some(b""),
            timestamp_ms: Some(6),
            ..Record::default()
        },
    ];
    for record in &records {
        producer.send("t", record).unwrap();
    }
    producer.flush(PATIENT).unwrap();

    let source = source(&spec(&broker, &[("topic", "t")])).unwrap();
    let from = source.resolve(&Start::Earliest).unwrap();
    let until = Positions::from([(id("t", 0), 3)]);
    let read = |wanted: &Wanted| -> Vec<SplitRead> {
        let mut reader = source.open(&from, Some(&until), wanted).unwrap();
        let (mut reads, deadline) = (Vec::<SplitRead>::new(), Instant::now() + PATIENT);
        while !reads.last().is_some_and(|read| read.ended) {
            assert!(Instant::now() < deadline);
            reads.extend(reader.read(100, SOON).unwrap());
        }
        reads
    };
    let reads = read(&Wanted {
        keys: true,
        headers: true,
        columns: None,
    });
    let (mut keys, mut values, mut times, mut headers) = (vec![], vec![], vec![], vec![]);
    for read in &reads {
        assert_eq!((&*read.split.topic, read.split.partition), ("t", 0));
        let Payload::Records(records) = &read.payload else {
            panic!("rows from Kafka")
        };
        let some = |bytes: &arrow::array::BinaryArray, i: usize| bytes.is_valid(i).then(|| bytes.value(i).to_vec());
        for i in 0..records.positions.len() {
            keys.push(some(&records.keys, i));
            values.push(some(&records.values, i));
        }
        times.extend(records.timestamps_ms.clone());
        headers.extend(records.headers.clone().unwrap());
    }
    assert_eq!(keys, [Some(b"k".to_vec()), Some(b"k".to_vec()), None]);
    assert_eq!(values, [Some(b"v".to_vec()), None, Some(Vec::new())]);
    assert_eq!(times, [1234, 5, 6]);
    let named = |name: &str, value: Option<&[u8]>| (name.to_string(), value.map(<[u8]>::to_vec));
    assert_eq!(
        headers[0],
        [named("a", Some(b"1")), named("none", None), named("a", Some(b""))]
    );
    assert!(headers[1].is_empty() && headers[2].is_empty());

    for read in read(&Wanted::default()) {
        let Payload::Records(records) = &read.payload else {
            panic!("rows from Kafka")
        };
        assert_eq!(records.keys.null_count(), records.positions.len());
        assert!(records.headers.is_none());
    }
}

#[test]
fn the_end_is_known_and_left_again() {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("t", 2).unwrap();
    produce(&broker, "t", 1, 0, 10);
    let source = source(&spec(&broker, &[("topic", "t")])).unwrap();
    let from = source.resolve(&Start::Earliest).unwrap();
    let mut reader = source.open(&from, None, &Wanted::default()).unwrap();
    let (mut contents, mut at_end) = (Contents::new(), BTreeMap::new());
    let mut read_to_ends = |contents: &mut Contents, records: usize| {
        read_until(reader.as_mut(), contents, |contents, read, _| {
            if let Some(read) = read {
                at_end.insert(read.split.id.clone(), read.at_end);
            }
            count(contents) == records && at_end.values().filter(|at_end| **at_end).count() == 2
        })
    };
    read_to_ends(&mut contents, 10);
    produce(&broker, "t", 1, 10, 5);
    read_to_ends(&mut contents, 15);
    let ends = Positions::from([(id("t", 0), 15), (id("t", 1), 0)]);
    assert_eq!(reader.ends(), ends);
    assert!(reader.read(10, SOON).unwrap().is_empty(), "an idle source has no news");
}

#[test]
fn starts_and_bounds() {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("t", 2).unwrap();
    produce(&broker, "t", 2, 0, 10);
    let source = source(&spec(&broker, &[("topic", "t"), ("properties.group.id", "g")])).unwrap();
    let at = |a, b| Positions::from([(id("t", 0), a), (id("t", 1), b)]);
    assert_eq!(source.resolve(&Start::Earliest).unwrap(), at(0, 0));
    assert_eq!(source.resolve(&Start::Latest).unwrap(), at(5, 5));
    let one = BTreeMap::from([(id("t", 1), 3)]);
    assert_eq!(source.resolve(&Start::Offsets(one.clone())).unwrap(), at(0, 3));
    assert_eq!(source.resolve_bound(&Bound::Unbounded).unwrap(), None);
    assert_eq!(source.resolve_bound(&Bound::Latest).unwrap(), Some(at(5, 5)));
    assert_eq!(source.resolve_bound(&Bound::Offsets(one.clone())).unwrap(), Some(one));
    let wrong = BTreeMap::from([(id("t", 7), 3)]);
    let error = source.resolve(&Start::Offsets(wrong)).unwrap_err().to_string();
    assert!(error.contains("'t:7'") && error.contains("t:0, t:1"), "{error}");
    let wrong = Positions::from([(SplitId("nonsense".into()), 0)]);
    assert!(source.open(&wrong, None, &Wanted::default()).is_err());
    // The embedded broker finds only the ends by time.
    assert_eq!(source.resolve(&Start::Timestamp(i64::MAX / 2)).unwrap(), at(5, 5));
}

#[test]
fn the_group_learns_what_is_durable() {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("t", 2).unwrap();
    produce(&broker, "t", 2, 0, 10);
    let source = source(&spec(&broker, &[("topic", "t"), ("properties.group.id", "g")])).unwrap();
    assert_eq!(
        source.resolve(&Start::Group).unwrap(),
        source.resolve(&Start::Earliest).unwrap()
    );
    let from = source.resolve(&Start::Earliest).unwrap();
    let mut reader = source.open(&from, None, &Wanted::default()).unwrap();
    read_until(reader.as_mut(), &mut Contents::new(), |contents, _, _| {
        count(contents) == 10
    });
    reader.committed(&Positions::from([(id("t", 0), 4), (id("t", 1), 2)]));
    drop(reader);
    let positions = source.resolve(&Start::Group).unwrap();
    assert_eq!(positions, Positions::from([(id("t", 0), 4), (id("t", 1), 2)]));
}

#[test]
fn patterns_find_topics_also_later_ones() {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("bids-a", 1).unwrap();
    broker.create_topic("other", 1).unwrap();
    let source = source(&spec(
        &broker,
        &[
            ("topic.pattern", "^bids-.*$"),
            ("properties.topic.metadata.refresh.interval.ms", "200"),
        ],
    ))
    .unwrap();
    let names: Vec<String> = source.splits().unwrap().iter().map(|s| s.id.to_string()).collect();
    assert_eq!(names, ["bids-a:0"]);
    let from = source.resolve(&Start::Earliest).unwrap();
    let mut reader = source.open(&from, None, &Wanted::default()).unwrap();
    reader.read(10, SOON).unwrap();
    broker.create_topic("bids-b", 2).unwrap();
    produce(&broker, "bids-b", 2, 0, 20);
    let mut contents = Contents::new();
    read_until(reader.as_mut(), &mut contents, |contents, _, _| count(contents) == 20);
    contents.remove(&id("bids-a", 0));
    assert_whole(&contents, 2, 10);
}

#[test]
fn lists_name_several_topics() {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("a", 1).unwrap();
    broker.create_topic("b", 2).unwrap();
    let source = source(&spec(&broker, &[("topic", "b, a,b")])).unwrap();
    let names: Vec<String> = source.splits().unwrap().iter().map(|s| s.id.to_string()).collect();
    assert_eq!(names, ["a:0", "b:0", "b:1"]);
}

#[test]
fn a_broker_that_is_down_at_start_is_an_error_until_it_is_up() {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("t", 2).unwrap();
    produce(&broker, "t", 2, 0, 100);
    let source = source(&spec(&broker, &[("topic", "t")])).unwrap();
    let from = source.resolve(&Start::Earliest).unwrap();
    broker.take_down(-1).unwrap();
    let begin = Instant::now();
    let error = source.splits().unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    assert!(error.may_pass());
    assert!(error.to_string().contains(&broker.bootstrap_servers()), "{error}");

    let mut reader = source.open(&from, None, &Wanted::default()).unwrap();
    let mut contents = Contents::new();
    let errors = read_until(reader.as_mut(), &mut contents, |_, _, errors| errors.len() == 2);
    assert_eq!(count(&contents), 0);
    let words = errors[1].to_string();
    assert!(!words.contains("no answer in time"), "an event should say why: {words}");
    broker.bring_up(-1).unwrap();
    read_until(reader.as_mut(), &mut contents, |contents, _, _| count(contents) == 100);
    assert_whole(&contents, 2, 50);
}

#[test]
fn a_broker_that_goes_and_comes_back_costs_no_record() {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("t", 2).unwrap();
    produce(&broker, "t", 2, 0, 100);
    let source = source(&spec(&broker, &[("topic", "t")])).unwrap();
    let from = source.resolve(&Start::Earliest).unwrap();
    let mut reader = source.open(&from, None, &Wanted::default()).unwrap();
    let (mut contents, mut at_end) = (Contents::new(), BTreeMap::new());
    read_until(reader.as_mut(), &mut contents, |contents, read, _| {
        at_end.extend(read.map(|read| (read.split.id.clone(), read.at_end)));
        count(contents) == 100 && at_end.values().all(|at_end| *at_end)
    });
    for round in 1..=2 {
        broker.take_down(-1).unwrap();
        let errors = read_until(reader.as_mut(), &mut contents, |_, read, errors| {
            at_end.extend(read.map(|read| (read.split.id.clone(), read.at_end)));
            !errors.is_empty()
        });
        assert!(errors[0].to_string().contains("kafka at "), "{}", errors[0]);
        assert!(
            at_end.values().all(|at_end| !at_end),
            "nothing is at its end while nobody answers"
        );
        broker.bring_up(-1).unwrap();
        // Without a new record: the connection alone brings the ends back.
        read_until(reader.as_mut(), &mut contents, |_, read, _| {
            at_end.extend(read.map(|read| (read.split.id.clone(), read.at_end)));
            at_end.values().all(|at_end| *at_end)
        });
        produce(&broker, "t", 2, 100 * round, 100);
        let all = 100 * (round as usize + 1);
        read_until(reader.as_mut(), &mut contents, |contents, _, _| count(contents) >= all);
        assert_whole(&contents, 2, 50 * (round + 1));
    }
    broker.take_down(-1).unwrap();
    let begin = Instant::now();
    drop(reader);
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "closing took {:?}",
        begin.elapsed()
    );
}

#[test]
fn one_broker_of_two_may_be_away() {
    let broker = EmbeddedBroker::start(2).unwrap();
    broker.create_topic("t", 2).unwrap();
    broker.lead("t", 0, 1).unwrap();
    broker.lead("t", 1, 2).unwrap();
    produce(&broker, "t", 2, 0, 100);
    let source = source(&spec(&broker, &[("topic", "t")])).unwrap();
    let from = source.resolve(&Start::Earliest).unwrap();
    let mut reader = source.open(&from, None, &Wanted::default()).unwrap();
    let mut contents = Contents::new();
    read_until(reader.as_mut(), &mut contents, |contents, _, _| count(contents) == 100);
    broker.take_down(2).unwrap();
    let errors = read_until(reader.as_mut(), &mut contents, |_, _, errors| !errors.is_empty());
    assert!(!errors.is_empty());
    broker.bring_up(2).unwrap();
    produce(&broker, "t", 2, 100, 100);
    read_until(reader.as_mut(), &mut contents, |contents, _, _| count(contents) >= 200);
    assert_whole(&contents, 2, 100);
}

#[test]
fn nobody_listens() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let options = options(&address, &[("topic", "t")]);
    let spec = ConnectorSpec {
        connector: "kafka".to_string(),
        options,
    };
    let begin = Instant::now();
    let error = source(&spec).unwrap().splits().unwrap_err().to_string();
    assert!(error.contains("refused") && error.contains(&address), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}

#[test]
fn unknown_topics_are_named() {
    let broker = EmbeddedBroker::start(1).unwrap();
    let source = source(&spec(&broker, &[("topic", "nope")])).unwrap();
    for error in [
        source.splits().unwrap_err(),
        source.resolve(&Start::Earliest).unwrap_err(),
    ] {
        let error = error.to_string();
        assert!(error.contains("'nope'") && error.contains("no such topic"), "{error}");
    }
}

/// Reads until an error that can't pass; there must be no record before it.
fn fatal_error(reader: &mut dyn SourceReader) -> Error {
    let deadline = Instant::now() + PATIENT;
    loop {
        assert!(Instant::now() < deadline, "no such error in time");
        match reader.read(100, SOON) {
            Ok(reads) => assert!(reads.iter().all(|read| read.payload.is_empty()), "{reads:?}"),
            Err(error) if error.may_pass() => {}
            Err(error) => return error,
        }
    }
}

#[test]
fn records_that_are_gone_end_the_reader() {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("t", 1).unwrap();
    // The embedded broker keeps 5 MiB.
    let (producer, value) = (producer(&broker), vec![b'x'; 100_000]);
    for _ in 0..100 {
        let record = Record {
            partition: Some(0),
            value: Some(&value),
            ..Record::default()
        };
        producer.send("t", &record).unwrap();
        producer.flush(PATIENT).unwrap();
    }
    let first = source(&spec(&broker, &[("topic", "t")]))
        .unwrap()
        .resolve(&Start::Earliest)
        .unwrap();
    let first = first[&id("t", 0)];
    assert!(first > 10, "{first}");
    let from = Positions::from([(id("t", 0), 5)]);
    let open = |more: &[(&str, &str)]| {
        let source = source(&spec(&broker, more)).unwrap();
        source.open(&from, None, &Wanted::default()).unwrap()
    };
    let mut reader = open(&[("topic", "t")]);
    let error = fatal_error(reader.as_mut());
    let words = error.to_string();
    assert!(!error.may_pass());
    assert!(
        words.contains(&format!("offsets 5 to {} are gone", first - 1)),
        "{words}"
    );
    assert_eq!(reader.read(100, SOON).unwrap_err().to_string(), words, "it stays so");

    let mut reader = open(&[("topic", "t"), ("properties.auto.offset.reset", "earliest")]);
    let mut contents = Contents::new();
    read_until(reader.as_mut(), &mut contents, |contents, _, _| {
        count(contents) == 100 - first as usize
    });
    assert_eq!(contents[&id("t", 0)][0].0, first);

    let beyond = Positions::from([(id("t", 0), 1000)]);
    let source = source(&spec(&broker, &[("topic", "t")])).unwrap();
    let mut reader = source.open(&beyond, None, &Wanted::default()).unwrap();
    let error = fatal_error(reader.as_mut()).to_string();
    assert!(error.contains("1000 is beyond its end 100"), "{error}");
}

#[test]
fn options_are_checked() {
    let refused = |options: &[(&str, &str)]| {
        let options = self::options("127.0.0.1:1", options);
        let spec = ConnectorSpec {
            connector: "kafka".to_string(),
            options,
        };
        let error = source(&spec).err().expect("an error");
        assert!(matches!(error, Error::Config(_)), "{error:?}");
        error.to_string()
    };
    let words = refused(&[("topic", "t"), ("tpoic", "t")]);
    assert!(words.contains("'tpoic'") && words.contains("topic.pattern"), "{words}");
    let words = refused(&[("topic", "t"), ("properties.no.such.thing", "1")]);
    assert!(
        words.contains("No such configuration property") && words.contains("no.such.thing"),
        "{words}"
    );
    let words = refused(&[("topic", "t"), ("properties.fetch.min.bytes", "many")]);
    assert!(words.contains("properties.fetch.min.bytes"), "{words}");
    assert!(refused(&[]).contains("topic = "));
    assert!(refused(&[("topic", " , ")]).contains("no topic"));
    assert!(refused(&[("topic", "t"), ("topic.pattern", "t")]).contains("not both"));
    assert!(refused(&[("topic.pattern", "(")]).contains("no regular expression"));
    assert!(refused(&[("topic", "t"), ("properties.enable.auto.commit", "true")]).contains("checkpoint"));
    let none = ConnectorSpec {
        connector: "kafka".to_string(),
        options: BTreeMap::new(),
    };
    assert!(
        source(&none)
            .err()
            .unwrap()
            .to_string()
            .contains("properties.bootstrap.servers")
    );
}

#[test]
fn topics_are_looked_at() {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("b", 2).unwrap();
    broker.create_topic("a", 1).unwrap();
    produce(&broker, "b", 2, 0, 7);
    let admin = Admin::new(&Properties::new(&broker.bootstrap_servers())).unwrap();
    let topic = |name: &str, partitions| Topic {
        name: name.to_string(),
        partitions,
    };
    assert_eq!(admin.topics().unwrap(), [topic("a", 1), topic("b", 2)]);
    let offsets = admin.offsets("b").unwrap();
    assert_eq!(offsets[&0], Offsets { first: 0, next: 4 });
    assert_eq!(offsets[&1], Offsets { first: 0, next: 3 });
    assert_eq!(admin.partitions("nope").unwrap(), None);
    assert!(admin.offsets("nope").unwrap_err().to_string().contains("no such topic"));
    assert!(!admin.create_topic("a", Some(3), &[]).unwrap(), "it is there already");
}
