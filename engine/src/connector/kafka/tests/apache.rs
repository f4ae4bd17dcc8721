//! The Kafka connector against Apache Kafka, where the environment's WEIR_KAFKA names one: what the
//! embedded broker doesn't know.

use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use super::sinks::{changes, sink_spec};
use super::*;
use crate::format::Envelope;

/// A topic of its own on a real broker, deleted at the end.
struct RealTopic {
    name: String,
    admin: Admin,
    properties: Properties,
}

impl RealTopic {
    /// None, and a word about it, where there is no broker.
    fn create(purpose: &str, partitions: i32) -> Option<Self> {
        let Some(bootstrap) = std::env::var("WEIR_KAFKA").ok().filter(|name| !name.is_empty()) else {
            eprintln!("skipped: WEIR_KAFKA names no broker");
            return None;
        };
        let properties = Properties::new(&bootstrap);
        let admin = Admin::new(&properties).unwrap();
        let name = format!("weir-test-{purpose}-{}", std::process::id());
        // The records' times are long past.
        let for_ever = [("retention.ms", "-1")];
        assert!(admin.create_topic(&name, Some(partitions), &for_ever).unwrap());
        let deadline = Instant::now() + PATIENT;
        while admin.partitions(&name).unwrap() != Some(partitions as usize) {
            assert!(Instant::now() < deadline, "topic '{name}' does not come up");
        }
        Some(Self {
            name,
            admin,
            properties,
        })
    }

    fn source(&self, more: &[(&str, &str)]) -> Arc<dyn SourceConnector> {
        let mut options = options(self.properties.brokers(), more);
        options.insert("topic".to_string(), self.name.clone());
        source(&ConnectorSpec {
            connector: "kafka".to_string(),
            options,
        })
        .unwrap()
    }

    fn id(&self, partition: i32) -> SplitId {
        id(&self.name, partition)
    }

    /// Writes numbered records into one partition, a second of event time apart.
    fn produce(&self, partition: i32, range: std::ops::Range<i64>) {
        let producer = Producer::new(&self.properties).unwrap();
        for i in range {
            let (key, value) = (format!("k{}", i % 3), format!("v{i}"));
            let record = Record {
                partition: Some(partition),
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                timestamp_ms: Some(1_700_000_000_000 + i * 1000),
                headers: &[],
            };
            producer.send(&self.name, &record).unwrap();
        }
        producer.flush(PATIENT).unwrap();
    }
}

impl Drop for RealTopic {
    fn drop(&mut self) {
        let _ = self.admin.delete_topic(&self.name);
    }
}

#[test]
fn conforms() {
    let Some(topic) = RealTopic::create("conforms", 3) else {
        return;
    };
    topic.produce(0, 0..200);
    topic.produce(1, 0..50);
    let source = topic.source(&[]);
    let wanted = Wanted {
        keys: true,
        headers: true,
        columns: None,
    };
    source_conformance(source.as_ref(), None, &wanted);
    let until = source.resolve_bound(&Bound::Latest).unwrap().unwrap();
    assert_eq!(until.values().copied().collect::<Vec<_>>(), [200, 50, 0]);
    source_conformance(source.as_ref(), Some(&until), &wanted);
    assert!(topic.admin.topics().unwrap().contains(&Topic {
        name: topic.name.clone(),
        partitions: 3
    }));
}

#[test]
fn times_are_found() {
    let Some(topic) = RealTopic::create("times", 2) else {
        return;
    };
    topic.produce(0, 0..10);
    topic.produce(1, 5..10);
    let at = |ms| topic.source(&[]).resolve(&Start::Timestamp(ms)).unwrap();
    let both = |a, b| Positions::from([(topic.id(0), a), (topic.id(1), b)]);
    assert_eq!(at(-1), both(0, 0));
    assert_eq!(at(1_700_000_003_500), both(4, 0));
    assert_eq!(at(1_700_000_007_000), both(7, 2));
    assert_eq!(at(1_800_000_000_000), both(10, 5));
    let bound = topic
        .source(&[])
        .resolve_bound(&Bound::Timestamp(1_700_000_007_000))
        .unwrap();
    assert_eq!(bound, Some(both(7, 2)));
}

/// Writes three records in one transaction and ends it.
fn transaction(topic: &RealTopic, commit: bool) {
    let mut config = topic.properties.producer();
    config.set("transactional.id", format!("{}-writer", topic.name));
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
    producer.init_transactions(PATIENT).unwrap();
    producer.begin_transaction().unwrap();
    for value in ["one", "two", "three"] {
        let record = BaseRecord::<str, str>::to(&topic.name).partition(0).payload(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENT).unwrap();
    if commit {
        producer.commit_transaction(PATIENT)
    } else {
        producer.abort_transaction(PATIENT)
    }
    .unwrap();
}

#[test]
fn aborted_records_and_control_records_are_passed_over() {
    let Some(topic) = RealTopic::create("transactions", 1) else {
        return;
    };
    transaction(&topic, true);
    transaction(&topic, false);
    let source = topic.source(&[]);
    let from = source.resolve(&Start::Earliest).unwrap();
    // Three records and a control record, twice.
    let until = source.resolve_bound(&Bound::Latest).unwrap().unwrap();
    assert_eq!(until, Positions::from([(topic.id(0), 8)]));
    let mut reader = source.open(&from, None, &Wanted::default()).unwrap();
    let (mut contents, mut next) = (Contents::new(), 0);
    read_until(reader.as_mut(), &mut contents, |_, read, _| {
        read.is_some_and(|read| {
            next = read.next;
            read.at_end && read.next == 8
        })
    });
    let positions: Vec<i64> = contents[&topic.id(0)].iter().map(|(position, _)| *position).collect();
    assert_eq!(positions, [0, 1, 2], "aborted records are none");
    assert_eq!(reader.ends(), until, "nothing is left to read");
    drop(reader);

    let contents = read_all(source.as_ref(), &from, Some(&until), &Wanted::default(), 100);
    assert_eq!(count(&contents), 3, "a bound behind control records is reached");
    let rest = Positions::from([(topic.id(0), next)]);
    let mut reader = source.open(&rest, None, &Wanted::default()).unwrap();
    transaction(&topic, true);
    let mut contents = Contents::new();
    read_until(reader.as_mut(), &mut contents, |contents, _, _| count(contents) == 3);
    let uncommitted = topic.source(&[("properties.isolation.level", "read_uncommitted")]);
    let contents = read_all(uncommitted.as_ref(), &from, Some(&until), &Wanted::default(), 100);
    assert_eq!(count(&contents), 6, "who asks for them gets aborted records too");
}

#[test]
fn deleted_records_end_a_reader_that_needs_them() {
    let Some(topic) = RealTopic::create("deleted", 1) else {
        return;
    };
    topic.produce(0, 0..100);
    topic
        .admin
        .delete_records(&topic.name, &BTreeMap::from([(0, 60)]))
        .unwrap();
    assert_eq!(
        topic.admin.offsets(&topic.name).unwrap()[&0],
        Offsets { first: 60, next: 100 }
    );
    let source = topic.source(&[]);
    let open = |at| {
        source
            .open(&Positions::from([(topic.id(0), at)]), None, &Wanted::default())
            .unwrap()
    };
    let mut reader = open(10);
    let error = fatal_error(reader.as_mut()).to_string();
    assert!(error.contains("offsets 10 to 59 are gone"), "{error}");
    let mut contents = Contents::new();
    read_until(open(60).as_mut(), &mut contents, |contents, _, _| count(contents) == 40);
    assert_eq!(source.resolve(&Start::Earliest).unwrap()[&topic.id(0)], 60);
}

#[test]
fn a_sink_makes_its_topic_as_asked() {
    let Some(topic) = RealTopic::create("sink", 1) else {
        return;
    };
    let out = RealTopic {
        name: format!("{}-out", topic.name),
        admin: Admin::new(&topic.properties).unwrap(),
        properties: topic.properties.clone(),
    };
    let mut options = options(topic.properties.brokers(), &[("create.partitions", "5")]);
    options.insert("topic".to_string(), out.name.clone());
    let broker = EmbeddedBroker::start(1).unwrap();
    let mut spec = sink_spec(&broker, Envelope::Upsert, &[]);
    spec.connector.options = options;
    let mut sink = sink(&spec).unwrap();
    let begin = Instant::now();
    sink.deliver(1, &[changes(&[("a", 1, 1), ("b", 2, 1)])]).unwrap();
    assert_eq!(out.admin.partitions(&out.name).unwrap(), Some(5));
    sink.deliver(2, &[changes(&[("a", 1, -1), ("b", 2, -1), ("b", 3, 1)])])
        .unwrap();
    assert!(begin.elapsed() < PATIENT);
    let source = out.source(&[]);
    let from = source.resolve(&Start::Earliest).unwrap();
    let until = source.resolve_bound(&Bound::Latest).unwrap();
    let wanted = Wanted {
        keys: true,
        headers: false,
        columns: None,
    };
    let contents = read_all(source.as_ref(), &from, until.as_ref(), &wanted, 100);
    let of = |key: &str| -> Vec<String> {
        let texts = contents.values().flatten().map(|(_, text)| text.clone());
        texts
            .filter(|text| text.starts_with(&format!("Some(\"{key}\")")))
            .collect()
    };
    assert!(of("a")[1].contains("None"), "{contents:?}");
    assert!(of("b")[1].contains("\\\"n\\\":3"), "{contents:?}");
    assert_eq!(count(&contents), 4);
}
