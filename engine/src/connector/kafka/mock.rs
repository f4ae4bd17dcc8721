//! An embedded broker for the demo and for quick tests: librdkafka's mock cluster.
//!
//! It speaks Kafka's protocol on loopback, in this process. It keeps everything in memory and only
//! the newest 5 MiB of a partition, knows no transactions (aborted records stay visible) and no
//! administration, and finds no offsets by time.

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::client::words;
use crate::{Error, Result};

/// Brokers inside this process; they stop when this is dropped.
pub struct EmbeddedBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

// SAFETY: librdkafka's mock cluster runs on a thread of its own; all calls are handed to it under
// its lock.
unsafe impl Send for EmbeddedBroker {}
// SAFETY: as above.
unsafe impl Sync for EmbeddedBroker {}

impl EmbeddedBroker {
    /// Starts so many brokers, on free ports of loopback; their ids count from 1.
    ///
    /// # Errors
    /// If they can't listen.
    pub fn start(brokers: i32) -> Result<Self> {
        Ok(Self {
            cluster: MockCluster::new(brokers).map_err(broker_error)?,
        })
    }

    /// Where clients find it: `127.0.0.1:port`, several with commas.
    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// If it is there already.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        self.cluster.create_topic(name, partitions, 1).map_err(broker_error)
    }

    /// Cuts a broker's connections and takes no new ones; -1 stands for all brokers.
    ///
    /// # Errors
    /// If there is no such broker.
    pub fn take_down(&self, broker: i32) -> Result<()> {
        self.cluster.broker_down(broker).map_err(broker_error)
    }

    /// Lets a broker take connections again; -1 stands for all brokers.
    ///
    /// # Errors
    /// If there is no such broker.
    pub fn bring_up(&self, broker: i32) -> Result<()> {
        self.cluster.broker_up(broker).map_err(broker_error)
    }

    /// Makes a broker the leader of a partition.
    ///
    /// # Errors
    /// If the topic can't be made.
    pub fn lead(&self, topic: &str, partition: i32, broker: i32) -> Result<()> {
        self.cluster
            .partition_leader(topic, partition, Some(broker))
            .map_err(broker_error)
    }
}

fn broker_error(error: KafkaError) -> Error {
    let cause = words(&error);
    Error::Connector {
        place: "embedded broker".to_string(),
        cause,
    }
}
