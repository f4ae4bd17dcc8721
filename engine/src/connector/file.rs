//! The file connector: lines of files as records.

use std::sync::Arc;

use super::{ConnectorSpec, SinkConnector, SinkSpec, SourceConnector};
use crate::{Error, Result};

/// Makes a file source.
pub fn source(spec: &ConnectorSpec) -> Result<Arc<dyn SourceConnector>> {
    Err(Error::Config(format!("connector '{}' is being written", spec.connector)))
}

/// Makes a file sink.
pub fn sink(spec: &SinkSpec) -> Result<Box<dyn SinkConnector>> {
    Err(Error::Config(format!("connector '{}' is being written", spec.connector.connector)))
}
