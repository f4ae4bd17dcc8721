//! The server: an instance, its sessions and its protocols.
//!
//! An [`Instance`] is a catalog and an engine over one data directory. A [`Session`] plans and
//! runs statements in it. Protocols and the shell are clients of sessions and know nothing of what
//! is below.

mod answer;
pub mod broker;
mod cells;
mod ddl;
mod embedded;
mod error;
pub mod flight;
mod http;
mod instance;
mod journal;
mod memory;
mod plan;
mod push;
mod read;
mod serve;
mod session;
mod settings;
mod show;
mod stack;
mod system;
#[cfg(test)]
mod tests;
mod transaction;
mod write;

pub use answer::{
    Answer, Body, EPOCH_COLUMN, ORDER_METADATA, PUSH_METADATA, Prepared, PreparedKind, PushKind, RowStream,
    WEIGHT_COLUMN,
};
pub use embedded::embedded;
pub use error::{Error, ErrorKind, Result};
pub use instance::{Instance, InstanceOptions};
pub use serve::{BoundAddresses, ServeOptions, serve};
pub use session::Session;
pub use weir_engine::format;
pub use weir_engine::pipeline::EngineOptions;
pub use weir_sql::split;
