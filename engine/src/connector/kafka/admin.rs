//! Topics, looked at and changed: for `SHOW TOPICS`, sinks that make their topic, demo and tests.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::client::{Consumer, Context, code_words, describe, words};
use super::properties::{Properties, config_error};
use super::{PATIENCE, UNKNOWN_TOPIC, at_topic};
use crate::{Error, Result};

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: usize,
}

/// Offsets of a partition's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// Of the oldest record still there.
    pub first: i64,
    /// Of the next record to be written.
    pub next: i64,
}

/// Looks at topics and changes them.
pub struct Admin {
    properties: Properties,
    consumer: Consumer,
}

impl Admin {
    /// Connects in the background.
    ///
    /// # Errors
    /// If librdkafka refuses the settings.
    pub fn new(properties: &Properties) -> Result<Self> {
        let consumer = Consumer::new(&properties.consumer(), properties.brokers())?;
        Ok(Self {
            properties: properties.clone(),
            consumer,
        })
    }

    /// All topics by name, without Kafka's own.
    ///
    /// # Errors
    /// If no broker answers.
    pub fn topics(&self) -> Result<Vec<Topic>> {
        let metadata = self.consumer.metadata(None, PATIENCE)?;
        let mut topics: Vec<Topic> = metadata
            .topics()
            .iter()
            .filter(|topic| !topic.name().starts_with("__"))
            .map(|topic| Topic {
                name: topic.name().to_string(),
                partitions: topic.partitions().len(),
            })
            .collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// The topic's number of partitions, none if there is no such topic.
    ///
    /// # Errors
    /// If no broker answers, or it says no.
    pub fn partitions(&self, topic: &str) -> Result<Option<usize>> {
        let metadata = self.consumer.metadata(Some(topic), PATIENCE)?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(None);
        };
        match found.error() {
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => Ok(None),
            Some(code) => Err(at_topic(topic, describe(code))),
            None if found.partitions().is_empty() => Ok(None),
            None => Ok(Some(found.partitions().len())),
        }
    }

    /// Offsets of every partition of a topic.
    ///
    /// # Errors
    /// If no broker answers, or there is no such topic.
    pub fn offsets(&self, topic: &str) -> Result<BTreeMap<i32, Offsets>> {
        let count = self.partitions(topic)?.ok_or_else(|| at_topic(topic, UNKNOWN_TOPIC))?;
        let mut offsets = BTreeMap::new();
        for partition in 0..i32::try_from(count).map_err(Error::internal)? {
            let (first, next) = self.consumer.watermarks(topic, partition, PATIENCE)?;
            offsets.insert(partition, Offsets { first, next });
        }
        Ok(offsets)
    }

    /// Makes a topic, by default with as many partitions as the broker gives new topics. Returns
    /// false where it is there already. The embedded broker knows no administration and makes topics
    /// when they are first written, with four partitions; for it this does nothing.
    ///
    /// # Errors
    /// If no broker answers, or it says no.
    pub fn create_topic(&self, name: &str, partitions: Option<i32>, settings: &[(&str, &str)]) -> Result<bool> {
        if self.partitions(name)?.is_some() || self.consumer.is_embedded() {
            return Ok(false);
        }
        let mut topic = NewTopic::new(name, partitions.unwrap_or(-1), TopicReplication::Fixed(-1));
        for (setting, value) in settings {
            topic = topic.set(setting, value);
        }
        let client = self.client()?;
        let answers = wait(client.create_topics([&topic], &options()));
        for answer in answers.map_err(|error| at_topic(name, words(&error)))? {
            match answer {
                Ok(_) => {}
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => return Ok(false),
                Err((_, code)) => return Err(at_topic(name, format!("creating it: {}", code_words(code)))),
            }
        }
        Ok(true)
    }

    /// Deletes a topic and all its records.
    ///
    /// # Errors
    /// If no broker answers, or it says no.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let client = self.client()?;
        let answers = wait(client.delete_topics(&[name], &options()));
        for answer in answers.map_err(|error| at_topic(name, words(&error)))? {
            answer.map_err(|(_, code)| at_topic(name, format!("deleting it: {}", code_words(code))))?;
        }
        Ok(())
    }

    /// Deletes the records below an offset, for each partition given.
    ///
    /// # Errors
    /// If no broker answers, or it says no.
    pub fn delete_records(&self, topic: &str, before: &BTreeMap<i32, i64>) -> Result<()> {
        let mut list = TopicPartitionList::with_capacity(before.len());
        for (partition, offset) in before {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
                .map_err(|error| at_topic(topic, words(&error)))?;
        }
        let client = self.client()?;
        let answer = wait(client.delete_records(&list, &options())).map_err(|error| at_topic(topic, words(&error)))?;
        for element in answer.elements() {
            element.error().map_err(|error| {
                at_topic(
                    topic,
                    format!("deleting records of {}: {}", element.partition(), words(&error)),
                )
            })?;
        }
        Ok(())
    }

    /// A client for one change. Broken connections are found before, by asking for metadata.
    fn client(&self) -> Result<AdminClient<Context>> {
        self.properties
            .admin()
            .create_with_context(Context::default())
            .map_err(config_error)
    }
}

fn options() -> AdminOptions {
    let timeout = Duration::from_secs(10);
    AdminOptions::new()
        .request_timeout(Some(timeout))
        .operation_timeout(Some(timeout))
}

/// Wakes the thread that waits for a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread. librdkafka bounds its time and completes it from a thread of its
/// own, so that no runtime is needed.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}
