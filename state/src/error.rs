//! What can go wrong with stored state, told apart by who can do something about it.
//!
//! The machine ([`Error::DiskFull`], [`Error::Closed`], [`Error::Io`]), the user who chose the directory
//! ([`Error::Locked`], [`Error::ForeignDirectory`], [`Error::FormatVersion`]), the data
//! ([`Error::Corrupt`]), the caller's request ([`Error::TooLarge`], [`Error::Trimmed`],
//! [`Error::IdsExhausted`]), or the store itself ([`Error::Store`]).

use std::io;
use std::path::{Path, PathBuf};

use crate::store::Keyspace;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A write found no room. Nothing of its batch is visible. Once there is room again (for half
    /// the write buffers), commits succeed within some seconds, without a restart.
    #[error("disk full while writing to {path}: {detail}; free some space (64 MB will do), and it goes on by itself; nothing of this commit was kept", path = .path.display())]
    DiskFull { path: PathBuf, detail: String },

    /// A write failed in a way after which RocksDB takes no other: what is in its log of commits is not
    /// known until it is opened anew. What is committed can be read.
    #[error("can't write to {path} any more: {detail}; see to the disk, and then start Weir again: all that is committed is kept, and what failed now is there whole or not at all", path = .path.display())]
    Closed { path: PathBuf, detail: String },

    /// The operating system refused to read or write.
    #[error("can't {doing} {path}: {source}", path = .path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },

    /// Stored bytes are not what was once written. Nothing is guessed: restore a copy.
    #[error("{what} is damaged: {detail}; restore a copy of the data directory")]
    Corrupt { what: String, detail: String },

    /// Another process works on this data directory.
    #[error("data directory {directory} is in use by another process{pid}; stop that one first, or connect to it", directory = .directory.display(), pid = shown_pid(*.pid))]
    Locked { directory: PathBuf, pid: Option<u32> },

    /// A directory that holds something, but nothing of Weir's.
    #[error("{directory} is not a Weir data directory, and not empty: it contains {found}; name an empty or a new directory", directory = .directory.display())]
    ForeignDirectory { directory: PathBuf, found: String },

    /// Written by a Weir with another stored format.
    #[error("{what} has format {found}, and this Weir reads format {supported}; open it with the Weir that wrote it")]
    FormatVersion { what: String, found: u64, supported: u64 },

    /// One entry of a batch exceeds [`crate::MAX_ENTRY_BYTES`].
    #[error(
        "an entry of {bytes} bytes for keyspace {keyspace} exceeds the limit of {limit} bytes; nothing of this commit was kept"
    )]
    TooLarge {
        keyspace: Keyspace,
        bytes: usize,
        limit: usize,
    },

    /// A log was asked for what it no longer keeps singly: its start was trimmed away, or the
    /// asked position lies inside a consolidated span. Reading on would skip or repeat changes.
    #[error(
        "{log} no longer keeps the changes after {asked} (those up to {kept_after} are gone or were consolidated); begin anew from a snapshot"
    )]
    Trimmed { log: String, asked: u64, kept_after: u64 },

    /// All 2³² numbers of a kind of id were given out.
    #[error("no {kind} ids are left in this data directory")]
    IdsExhausted { kind: &'static str },

    /// RocksDB refused for a reason of its own.
    #[error("the store in {path} failed: {detail}", path = .path.display())]
    Store { path: PathBuf, detail: String },
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Error {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull {
                path,
                detail: source.to_string(),
            },
            _ => Error::Io { doing, path, source },
        }
    }

    pub(crate) fn corrupt(what: impl Into<String>, detail: impl ToString) -> Error {
        Error::Corrupt {
            what: what.into(),
            detail: detail.to_string(),
        }
    }
}

fn shown_pid(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}
