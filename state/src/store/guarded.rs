//! A store whose commits go through a function: to refuse some, to add to them, to count them.
//!
//! Whoever wraps a store changes only how it is written; everything else is forwarded here, once.

use std::sync::Arc;

use super::{Keyspace, Reader, Scan, Store, WriteBatch};
use crate::error::Result;

/// A store over another one, to which commits come by way of a guard.
pub struct Guarded<G> {
    /// Declared, and so dropped, before what the guard holds.
    beneath: Arc<dyn Store>,
    guard: G,
}

impl<G> Guarded<G>
where
    G: Fn(&dyn Store, WriteBatch) -> Result<()> + Send + Sync,
{
    /// `guard` is given the store beneath and each batch, and commits it there, or doesn't.
    pub fn new(beneath: Arc<dyn Store>, guard: G) -> Guarded<G> {
        Guarded { beneath, guard }
    }
}

impl<G: Send + Sync> Reader for Guarded<G> {
    fn get(&self, ks: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.beneath.get(ks, key)
    }

    fn multi_get(&self, ks: Keyspace, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.beneath.multi_get(ks, keys)
    }

    fn scan(&self, ks: Keyspace, start: &[u8], end: Option<&[u8]>) -> Scan<'_> {
        self.beneath.scan(ks, start, end)
    }
}

impl<G> Store for Guarded<G>
where
    G: Fn(&dyn Store, WriteBatch) -> Result<()> + Send + Sync,
{
    fn commit(&self, batch: WriteBatch) -> Result<()> {
        (self.guard)(&*self.beneath, batch)
    }

    fn snapshot(&self) -> Arc<dyn Reader> {
        self.beneath.snapshot()
    }

    fn approximate_bytes(&self, ks: Keyspace, start: &[u8], end: &[u8]) -> u64 {
        self.beneath.approximate_bytes(ks, start, end)
    }

    fn flush(&self) -> Result<()> {
        self.beneath.flush()
    }

    fn close(&self) {
        self.beneath.close();
    }
}
