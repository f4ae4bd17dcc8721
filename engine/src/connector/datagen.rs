//! datagen: a source that makes its rows.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::{ConnectorSpec, SourceConnector};
use crate::{Error, Result};

/// Makes the source connector of `spec` for the `declared` columns.
pub fn source(spec: &ConnectorSpec, declared: &SchemaRef) -> Result<Arc<dyn SourceConnector>> {
    let _ = (spec, declared);
    Err(Error::Config("connector 'datagen' is not there yet".to_owned()))
}
