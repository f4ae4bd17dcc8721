//! How a file is known again: by the last bytes before the place up to which it was read.
//!
//! A file that is followed may only grow. One that was truncated and has grown again since, or was written over, would
//! be read on from the middle of some other record, so the bytes are looked at before what stands behind them counts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::connector::{Mark, Position};
use crate::shard::hash_key;

/// How many bytes are looked at.
const BYTES: usize = 64;

/// The last bytes before an offset, fewer where the file begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    /// The bytes before `at` as the file has them now.
    ///
    /// # Errors
    /// If they can't be read, as where the file is shorter.
    pub(super) fn read(file: &File, at: u64) -> io::Result<Tail> {
        let from = at.saturating_sub(BYTES as u64);
        let mut bytes = vec![0; (at - from) as usize];
        file.read_exact_at(&mut bytes, from)?;
        Ok(Tail(bytes))
    }

    /// Goes on behind `bytes`.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(BYTES)..];
        let over = (self.0.len() + bytes.len()).saturating_sub(BYTES);
        self.0.drain(..over);
        self.0.extend_from_slice(bytes);
    }

    /// Whether a line may begin behind it.
    pub(super) fn ends_line(&self) -> bool {
        self.0.last().is_none_or(|last| *last == b'\n')
    }

    /// What is stored of it where it ends at `at`.
    pub(super) fn mark(&self, at: Position) -> Mark {
        let hash = hash_key(&self.0);
        Mark { at, hash }
    }
}
