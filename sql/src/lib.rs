//! Weir's SQL: the dialect, the catalog and planning.
//!
//! Text becomes a [`statement::Statement`] ([`parse`]), a query becomes a DataFusion logical plan
//! and then a streaming [`weir_engine::graph::Graph`] ([`plan`]). It never touches RocksDB, Kafka
//! clients or threads.

pub mod catalog;
pub mod error;
pub mod explain;
pub mod parse;
pub mod plan;
pub mod split;
pub mod statement;

pub use error::{Error, Result};
