//! Tests of sessions over instances in memory: statements in, answers out.

mod ddl;
mod dml;
mod edges;
mod failures;
mod history;
mod loading;
mod look;
mod push;
mod read;
mod restart;
mod rig;
mod sinks;
