//! Weir's SQL: the dialect, the catalog and planning.
//!
//! Text becomes a [`statement::Statement`] ([`parse`]), a query becomes a DataFusion logical plan
//! and then a streaming [`weir_engine::graph::Graph`] ([`plan`]); one that is read once, and INSERT,
//! UPDATE and DELETE, run in DataFusion over rows that the server gives ([`read`], [`dml`]). It never
//! touches RocksDB, Kafka clients or threads.

pub mod catalog;
pub mod dml;
pub mod error;
pub mod explain;
pub mod opaque;
pub mod parse;
pub mod plan;
pub mod read;
pub mod secrets;
pub mod split;
pub mod statement;
mod walk;

pub use error::{Error, Result};
