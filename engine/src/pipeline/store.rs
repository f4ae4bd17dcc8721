//! The instance's store as an engine sees it: it can be closed, and then takes nothing more.
//!
//! That is how a crash is made within a process: whatever the engine's threads still do, the store
//! stays as it is.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use weir_state::{Keyspace, Reader, Result, Scan, Store, WriteBatch};

/// A store that can be closed.
pub struct EngineStore {
    store: Arc<dyn Store>,
    /// Held by those who write.
    closed: RwLock<bool>,
}

impl EngineStore {
    /// Over the instance's store.
    pub fn new(store: Arc<dyn Store>) -> EngineStore {
        EngineStore {
            store,
            closed: RwLock::new(false),
        }
    }

    /// Returns when no commit is under way; none that comes later is made.
    pub fn close(&self) {
        *self.closed.write() = true;
    }
}

impl Reader for EngineStore {
    fn get(&self, ks: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.store.get(ks, key)
    }

    fn multi_get(&self, ks: Keyspace, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.store.multi_get(ks, keys)
    }

    fn scan(&self, ks: Keyspace, start: &[u8], end: Option<&[u8]>) -> Scan<'_> {
        self.store.scan(ks, start, end)
    }
}

impl Store for EngineStore {
    fn commit(&self, batch: WriteBatch) -> Result<()> {
        let closed = self.closed.read();
        if *closed {
            return Err(weir_state::Error::Store {
                path: PathBuf::from("this instance"),
                detail: "the engine has stopped".to_string(),
            });
        }
        self.store.commit(batch)
    }

    fn snapshot(&self) -> Arc<dyn Reader> {
        self.store.snapshot()
    }

    fn approximate_bytes(&self, ks: Keyspace, start: &[u8], end: &[u8]) -> u64 {
        self.store.approximate_bytes(ks, start, end)
    }

    fn flush(&self) -> Result<()> {
        self.store.flush()
    }
}
