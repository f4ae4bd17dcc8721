//! A Kafka for the demo: one inside this process, or the user's own; topics in it, and records.
//!
//! The embedded one is librdkafka's mock cluster. It speaks Kafka's protocol on loopback, but keeps
//! everything in memory, only the newest 5 MiB of a partition, and knows no transactions.

use std::time::Duration;

use weir_engine::connector::kafka::Properties;
use weir_engine::connector::kafka::admin::Admin;
use weir_engine::connector::kafka::mock::EmbeddedBroker;
use weir_engine::connector::kafka::producer::Producer;

use crate::Result;

pub use weir_engine::connector::kafka::producer::Record;

/// How long written records may be under way.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Kafka. The embedded one ends when this is dropped.
pub struct Broker {
    embedded: Option<EmbeddedBroker>,
    bootstrap: String,
}

impl Broker {
    /// Starts one inside this process, on a free port of loopback.
    ///
    /// # Errors
    /// If it can't listen.
    pub fn embedded() -> Result<Broker> {
        let embedded = EmbeddedBroker::start(1)?;
        Ok(Broker {
            bootstrap: embedded.bootstrap_servers(),
            embedded: Some(embedded),
        })
    }

    /// The user's own. Nobody is asked yet.
    pub fn at(bootstrap: &str) -> Broker {
        Broker {
            embedded: None,
            bootstrap: bootstrap.to_string(),
        }
    }

    /// Where clients find it: `host:port`, several with commas.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Makes a topic. Returns false where it is there already; then it stays as it is.
    ///
    /// # Errors
    /// If no broker answers, or it says no.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<bool> {
        match &self.embedded {
            Some(embedded) => {
                embedded.create_topic(name, partitions)?;
                Ok(true)
            }
            None => Ok(Admin::new(&self.properties())?.create_topic(name, Some(partitions), &[])?),
        }
    }

    /// Who writes records into its topics.
    ///
    /// # Errors
    /// If no client can be made.
    pub fn writer(&self) -> Result<TopicWriter> {
        let producer = Producer::new(&self.properties())?;
        Ok(TopicWriter { producer })
    }

    fn properties(&self) -> Properties {
        Properties::new(&self.bootstrap)
    }
}

/// Writes records into topics.
pub struct TopicWriter {
    producer: Producer,
}

impl TopicWriter {
    /// Queues a record.
    ///
    /// # Errors
    /// If it can't be sent at all.
    pub fn send(&self, topic: &str, record: &Record<'_>) -> Result<()> {
        Ok(self.producer.send(topic, record)?)
    }

    /// Waits until all queued records are in Kafka.
    ///
    /// # Errors
    /// If one of them isn't.
    pub fn flush(&self) -> Result<()> {
        Ok(self.producer.flush(PATIENCE)?)
    }
}
