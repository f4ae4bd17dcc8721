//! What a record of a sink means: PLAIN or UPSERT.

use super::EnvelopeWriter;
use crate::connector::SinkSpec;
use crate::{Error, Result};

/// Makes the envelope writer of a sink.
pub fn writer(spec: &SinkSpec) -> Result<Box<dyn EnvelopeWriter>> {
    Err(Error::Config(format!("the envelope of sink '{}' is being written", spec.name)))
}
