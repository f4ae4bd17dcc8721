//! Weir's engine: change batches, the operator graph and its operators, pipelines and the epoch
//! loop, connectors and formats.
//!
//! It knows nothing of SQL text, the catalog or gRPC: `sql` hands it graphs, `server` hands it
//! relations to run. Read in this order: [`change`] (data in motion), [`graph`] (a query as data),
//! [`operator`] (what a node does), [`table`] (its live state), [`pipeline`] (who runs it).

pub mod change;
pub mod connector;
pub mod decimal;
pub mod error;
pub mod float;
pub mod format;
pub mod graph;
pub mod near;
pub mod operator;
pub mod pipeline;
pub mod relation;
pub mod row;
pub mod shard;
pub mod table;

pub use error::{Error, Result};
