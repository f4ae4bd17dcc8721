//! Writing records to topics, idempotently and with every failure reported.
//!
//! librdkafka sends in the background. [`Producer::send`] only queues a record; whether all that
//! was queued is safely in Kafka is what [`Producer::flush`] tells. After it nothing is under way
//! any more, so that a caller who repeats what failed can't be overtaken by an old record.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::Message as _;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};

use super::at_topic;
use super::client::{Context, code_words, unreachable};
use super::properties::{Properties, config_error};
use crate::{Error, Result};

/// A record to write.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record<'a> {
    /// Its partition; by default the key's hash decides.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since the epoch; the time of sending by default.
    pub timestamp_ms: Option<i64>,
    /// Headers in order.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Writes records to topics.
pub struct Producer {
    producer: BaseProducer<Deliveries>,
    brokers: String,
}

/// What became of records since the last flush.
#[derive(Default)]
struct Deliveries {
    events: Context,
    failed: Mutex<Failed>,
}

#[derive(Default)]
struct Failed {
    count: u64,
    first: Option<(String, RDKafkaErrorCode)>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.events.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let mut failed = self.failed.lock();
            failed.count += 1;
            if failed.first.is_none() {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                failed.first = Some((message.topic().to_string(), code));
            }
        }
    }
}

impl Producer {
    /// A producer; connects in the background.
    ///
    /// # Errors
    /// If librdkafka refuses the settings.
    pub fn new(properties: &Properties) -> Result<Self> {
        let config = properties.producer();
        let producer = config
            .create_with_context(Deliveries::default())
            .map_err(config_error)?;
        Ok(Self {
            producer,
            brokers: properties.brokers().to_string(),
        })
    }

    /// Queues a record; waits while the queue is full.
    ///
    /// # Errors
    /// If the record can't be sent at all, such as one that is too large.
    pub fn send(&self, topic: &str, record: &Record<'_>) -> Result<()> {
        let mut queued = BaseRecord::<[u8], [u8]>::to(topic);
        queued.partition = record.partition;
        queued.key = record.key;
        queued.payload = record.value;
        queued.timestamp = record.timestamp_ms;
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            queued.headers = Some(
                record
                    .headers
                    .iter()
                    .fold(headers, |all, (key, value)| all.insert(Header { key, value: *value })),
            );
        }
        loop {
            match self.producer.send(queued) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    queued = again;
                    self.producer.poll(Duration::from_millis(1));
                }
                Err((error, refused)) => {
                    let size = refused.key.map_or(0, <[u8]>::len) + refused.payload.map_or(0, <[u8]>::len);
                    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                    return Err(self.refusal(topic, code, Some(size)));
                }
            }
        }
    }

    /// Waits until every queued record is in Kafka or has failed for good; after `patience` it
    /// takes back what is still under way.
    ///
    /// # Errors
    /// If any record since the last flush has failed.
    pub fn flush(&self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        self.producer.poll(Duration::ZERO);
        let mut purged = false;
        while self.producer.in_flight_count() > 0 {
            if !purged && Instant::now() >= deadline {
                self.producer.purge(PurgeConfig::default().queue().inflight());
                purged = true;
            }
            // This waits for its whole time, so it has to be short.
            self.producer.poll(Duration::from_millis(1));
        }
        let failed = std::mem::take(&mut *self.producer.context().failed.lock());
        match failed.first {
            None => {
                self.producer.context().events.works();
                Ok(())
            }
            Some((topic, code)) => {
                let error = self.refusal(&topic, code, None);
                Err(match error {
                    Error::Connector { place, cause } if failed.count > 1 => Error::Connector {
                        place,
                        cause: format!("{cause} ({} records failed)", failed.count),
                    },
                    other => other,
                })
            }
        }
    }

    /// True if the producer can't be used any more.
    pub(super) fn is_dead(&self) -> bool {
        self.producer.client().fatal_error().is_some()
    }

    fn refusal(&self, topic: &str, code: RDKafkaErrorCode, size: Option<usize>) -> Error {
        if let Some((_, words)) = self.producer.client().fatal_error() {
            return at_topic(topic, words);
        }
        match code {
            RDKafkaErrorCode::MessageSizeTooLarge => {
                let size = size.map_or("a record".to_string(), |size| format!("a record of {size} bytes"));
                at_topic(
                    topic,
                    format!(
                        "{size} is too large; raise properties.message.max.bytes and the topic's max.message.bytes"
                    ),
                )
            }
            RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight => {
                let events = &self.producer.context().events;
                if events.words().is_none() {
                    let words = "it took no record in time; is there such a topic, and does its leader answer?";
                    return at_topic(topic, words);
                }
                let timeout = KafkaError::MessageProduction(RDKafkaErrorCode::OperationTimedOut);
                unreachable(&self.brokers, events, &timeout)
            }
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition => at_topic(topic, "there is no such topic or partition"),
            other => at_topic(topic, code_words(other)),
        }
    }
}
