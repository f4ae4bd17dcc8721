//! The Kafka connector: topics as sources and sinks, through librdkafka.

use std::sync::Arc;

use super::{ConnectorSpec, SinkConnector, SinkSpec, SourceConnector};
use crate::{Error, Result};

pub mod admin;
pub mod mock;

/// Makes a Kafka source.
pub fn source(spec: &ConnectorSpec) -> Result<Arc<dyn SourceConnector>> {
    Err(Error::Config(format!("connector '{}' is being written", spec.connector)))
}

/// Makes a Kafka sink.
pub fn sink(spec: &SinkSpec) -> Result<Box<dyn SinkConnector>> {
    Err(Error::Config(format!("connector '{}' is being written", spec.connector.connector)))
}
