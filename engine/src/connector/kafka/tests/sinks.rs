//! Kafka sinks into the embedded broker.

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::change::{ChangeBatch, Weights};
use crate::format::{Encoding, EncodingKind, Envelope, SinkFormat};

pub(super) fn sink_spec(broker: &EmbeddedBroker, envelope: Envelope, more: &[(&str, &str)]) -> SinkSpec {
    let value = Encoding {
        kind: EncodingKind::Json,
        options: Default::default(),
    };
    SinkSpec {
        name: "s".to_string(),
        connector: spec(broker, more),
        format: SinkFormat {
            envelope,
            value,
            key: None,
        },
        schema: Arc::new(Schema::new(vec![
            Field::new("k", DataType::Utf8, true),
            Field::new("n", DataType::Int64, true),
        ])),
        key: if envelope == Envelope::Upsert { vec![0] } else { vec![] },
    }
}

pub(super) fn changes(rows: &[(&str, i64, i64)]) -> ChangeBatch {
    let keys = StringArray::from_iter_values(rows.iter().map(|(key, _, _)| *key));
    let numbers = Int64Array::from_iter_values(rows.iter().map(|(_, number, _)| *number));
    let schema = Schema::new(vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
    ]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(keys), Arc::new(numbers)]).unwrap();
    ChangeBatch::new(
        batch,
        Weights::Each(rows.iter().map(|(_, _, weight)| *weight).collect()),
    )
}

/// Key and value of everything in a topic, partition by partition.
fn contents_of(broker: &EmbeddedBroker, topic: &str) -> Vec<String> {
    let source = source(&spec(broker, &[("topic", topic)])).unwrap();
    let from = source.resolve(&Start::Earliest).unwrap();
    let until = source.resolve_bound(&Bound::Latest).unwrap();
    let wanted = Wanted {
        keys: true,
        headers: false,
        columns: None,
    };
    let contents = read_all(source.as_ref(), &from, until.as_ref(), &wanted, 1000);
    contents
        .into_values()
        .flatten()
        .map(|(_, text)| text.rsplitn(3, ' ').last().unwrap_or_default().to_string())
        .collect()
}

#[test]
fn an_upsert_sink_writes_the_last_state_of_each_key() {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("out", 1).unwrap();
    let mut sink = sink(&sink_spec(&broker, Envelope::Upsert, &[("topic", "out")])).unwrap();
    sink.deliver(1, &[changes(&[("a", 1, 1), ("b", 1, 1)])]).unwrap();
    sink.deliver(2, &[changes(&[("a", 1, -1), ("a", 2, 1), ("b", 1, -1)])])
        .unwrap();
    sink.deliver(3, &[]).unwrap();
    assert_eq!(sink.rows_delivered(), 4);
    assert_eq!(
        contents_of(&broker, "out"),
        [
            r#"Some("a") Some("{\"k\":\"a\",\"n\":1}")"#,
            r#"Some("b") Some("{\"k\":\"b\",\"n\":1}")"#,
            r#"Some("a") Some("{\"k\":\"a\",\"n\":2}")"#,
            r#"Some("b") None"#,
        ]
    );
}

#[test]
fn a_sink_makes_its_topic_and_survives_the_broker() {
    let broker = EmbeddedBroker::start(1).unwrap();
    let options = [
        ("topic", "made"),
        ("properties.message.timeout.ms", "1500"),
        ("create.partitions", "3"),
    ];
    let mut sink = sink(&sink_spec(&broker, Envelope::Plain, &options)).unwrap();
    sink.deliver(1, &[changes(&[("a", 1, 1)])]).unwrap();
    broker.take_down(-1).unwrap();
    let error = sink.deliver(2, &[changes(&[("b", 2, 1), ("c", 3, 2)])]).unwrap_err();
    assert!(error.may_pass(), "{error}");
    assert_eq!(sink.rows_delivered(), 1);
    broker.bring_up(-1).unwrap();
    let deadline = Instant::now() + PATIENT;
    while let Err(error) = sink.deliver(2, &[changes(&[("b", 2, 1), ("c", 3, 2)])]) {
        assert!(error.may_pass() && Instant::now() < deadline, "{error}");
    }
    assert_eq!(sink.rows_delivered(), 4);
    let mut found = contents_of(&broker, "made");
    found.sort();
    found.dedup();
    let row = |k: &str, n: i64| format!(r#"None Some("{{\"k\":\"{k}\",\"n\":{n}}}")"#);
    assert_eq!(found, [row("a", 1), row("b", 2), row("c", 3)]);
}

#[test]
fn sink_options_are_checked() {
    let broker = EmbeddedBroker::start(1).unwrap();
    let refused = |envelope, options: &[(&str, &str)]| {
        sink(&sink_spec(&broker, envelope, options))
            .err()
            .expect("an error")
            .to_string()
    };
    let words = refused(Envelope::Plain, &[("topic", "t"), ("delivery", "exactly_once")]);
    assert!(words.contains("at_least_once"), "{words}");
    let words = refused(Envelope::Plain, &[("topic", "t"), ("delivrey", "exactly_once")]);
    assert!(
        words.contains("'delivrey'") && words.contains("create.partitions"),
        "{words}"
    );
    assert!(refused(Envelope::Plain, &[]).contains("topic"));
    assert!(refused(Envelope::Plain, &[("topic", "t"), ("create.partitions", "0")]).contains("above zero"));
    let off = ("properties.enable.idempotence", "false");
    assert!(refused(Envelope::Plain, &[("topic", "t"), off]).contains("enable.idempotence"));
}

#[test]
fn a_record_that_is_too_large_is_refused_with_its_size() {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("t", 1).unwrap();
    let producer = producer(&broker);
    let value = vec![b'x'; 2_000_000];
    let error = producer
        .send(
            "t",
            &Record {
                value: Some(&value),
                ..Record::default()
            },
        )
        .unwrap_err();
    let words = error.to_string();
    assert!(
        words.contains("2000000 bytes") && words.contains("message.max.bytes"),
        "{words}"
    );
    producer.flush(PATIENT).unwrap();
}
