//! The blackhole sink.

use super::{SinkConnector, SinkSpec};
use crate::{Error, Result};

/// Makes a blackhole sink.
pub fn sink(spec: &SinkSpec) -> Result<Box<dyn SinkConnector>> {
    Err(Error::Config(format!("connector '{}' is being written", spec.connector.connector)))
}
