//! Durable keyed state of a Weir instance: the store, the data directory and what is kept in it.
//!
//! Everything an instance remembers lies in one ordered byte store ([`Store`]) of six keyspaces,
//! and whatever an epoch changes goes into it as one [`WriteBatch`]: state, input positions and
//! output can't disagree, because there is no moment at which only some of them are written.
//! This crate deals in bytes and numbers; it knows neither rows nor SQL nor Kafka, starts no
//! threads of its own and reads no clock.
//!
//! [`keys`] is the map of the store: every key that is ever written is laid out there.

pub mod catalog;
pub mod changelog;
pub mod dml;
mod document;
mod error;
pub mod history;
mod ids;
mod instance;
pub mod keys;
mod log_entry;
pub mod pipelines;
mod sequence;
mod store;
pub mod unborn;

pub use error::{Error, Result};
pub use ids::{DmlCommit, Epoch, ParseIdError, PipelineId, RelationId, Shard, TableId};
pub use instance::{DataDir, Instance};
pub use sequence::{Numbered, PipelineIds, RelationIds, Sequence};
pub use store::{
    Guarded, Keyspace, MAX_ENTRY_BYTES, MemoryStore, Op, Reader, RocksOptions, RocksStore, Scan, Store, WriteBatch,
    decode_counter, encode_counter,
};
