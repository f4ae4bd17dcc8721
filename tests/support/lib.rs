//! What the end-to-end tests and benchmarks share.

pub mod mortal;
pub mod nexmark;
pub mod process;
pub mod program;
pub mod random;
pub mod rig;
pub mod rows;
pub mod script;
pub mod server;
pub mod stepped;
