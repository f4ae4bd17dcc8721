//! The Kafka sink: a relation's changes as records of one topic, at least once.
//!
//! A delivery is one flush: it returns when every record is acknowledged by all in-sync replicas,
//! or fails as a whole and is repeated by its caller. With an upsert envelope the repeat writes the
//! same last states again, which changes nothing for who reads the topic by key.

use std::time::Duration;

use super::admin::Admin;
use super::producer::{Producer, Record};
use super::properties::Properties;
use crate::change::ChangeBatch;
use crate::connector::{SinkConnector, SinkSpec};
use crate::format::{EnvelopeWriter, OutRecord, envelope};
use crate::{Error, Result};

/// Longer than librdkafka gives a record by default, so that its own words come first.
const PATIENCE: Duration = Duration::from_secs(60);

/// A sink into one topic.
pub(super) struct KafkaSink {
    topic: String,
    partitions: Option<i32>,
    properties: Properties,
    writer: Box<dyn EnvelopeWriter>,
    producer: Option<Producer>,
    records: Vec<OutRecord>,
    rows: u64,
    dropped: u64,
}

impl KafkaSink {
    pub(super) fn new(spec: &SinkSpec) -> Result<Self> {
        let options = &spec.connector.options;
        let topic = options
            .get("topic")
            .filter(|topic| !topic.is_empty())
            .ok_or_else(|| Error::Config("a kafka sink needs topic = '…'".to_string()))?;
        let partitions = match options.get("create.partitions") {
            None => None,
            Some(text) => match text.parse::<i32>() {
                Ok(count) if count > 0 => Some(count),
                _ => {
                    return Err(Error::Config(format!(
                        "create.partitions = '{text}' is no number above zero"
                    )));
                }
            },
        };
        match options.get("delivery").map(String::as_str) {
            None | Some("at_least_once") => {}
            Some("exactly_once") => {
                return Err(Error::Config(
                    "delivery = 'exactly_once' is not supported yet; use 'at_least_once'".to_string(),
                ));
            }
            Some(other) => {
                return Err(Error::Config(format!(
                    "delivery = '{other}' is unknown; use 'at_least_once'"
                )));
            }
        }
        let properties = Properties::from_options(options)?;
        properties.check()?;
        Ok(Self {
            topic: topic.clone(),
            partitions,
            properties,
            writer: envelope::writer(spec)?,
            producer: None,
            records: Vec::new(),
            rows: 0,
            dropped: 0,
        })
    }

    /// The producer, made together with the topic where either is missing.
    fn producer(&mut self) -> Result<&Producer> {
        if self.producer.as_ref().is_some_and(Producer::is_dead) {
            self.producer = None;
        }
        if self.producer.is_none() {
            Admin::new(&self.properties)?.create_topic(&self.topic, self.partitions, &[])?;
            self.producer = Some(Producer::new(&self.properties)?);
        }
        self.producer
            .as_ref()
            .ok_or_else(|| Error::internal("a producer that was just made"))
    }

    fn produce(&mut self) -> Result<()> {
        let records = std::mem::take(&mut self.records);
        let topic = self.topic.clone();
        let producer = self.producer()?;
        let sent = records.iter().try_for_each(|record| {
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            producer.send(
                &topic,
                &Record {
                    key,
                    value,
                    ..Record::default()
                },
            )
        });
        // Also after a refusal: nothing may be under way when the caller repeats.
        let flushed = producer.flush(PATIENCE);
        self.records = records;
        sent.and(flushed)
    }
}

impl SinkConnector for KafkaSink {
    fn deliver(&mut self, _epoch: u64, changes: &[ChangeBatch]) -> Result<()> {
        self.records.clear();
        self.writer.write(changes, &mut self.records)?;
        if !self.records.is_empty() {
            self.produce()?;
        }
        self.rows += self.records.len() as u64;
        self.dropped += self.writer.deletes_dropped();
        // One large delivery shall not hold its memory for ever.
        self.records = Vec::new();
        Ok(())
    }

    fn rows_delivered(&self) -> u64 {
        self.rows
    }

    fn deletes_dropped(&self) -> u64 {
        self.dropped
    }
}
