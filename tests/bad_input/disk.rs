//! Stores whose disk can be full, or out of reach.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_state::{Error, Guarded, Keyspace, MemoryStore, Reader, Result, Scan, Store, WriteBatch};

/// A store that refuses commits as RocksDB does on a full disk, while it is told to be one.
pub struct FullDisk {
    pub store: Arc<dyn Store>,
    pub is_full: Arc<AtomicBool>,
}

impl FullDisk {
    /// With room to begin with.
    pub fn new() -> FullDisk {
        let is_full = Arc::new(AtomicBool::new(false));
        let full = is_full.clone();
        let store = Guarded::new(Arc::new(MemoryStore::new()), move |store, batch| {
            if full.load(Ordering::Acquire) {
                return Err(Error::DiskFull {
                    path: PathBuf::from("the test's disk"),
                    detail: "no space left on device".to_string(),
                });
            }
            store.commit(batch)
        });
        FullDisk {
            store: Arc::new(store),
            is_full,
        }
    }
}

/// A store of which nothing can be read or written while it is told to be out of reach.
pub struct OutOfReach {
    beneath: MemoryStore,
    is_away: Arc<AtomicBool>,
}

impl OutOfReach {
    /// The store, at hand to begin with, and what takes it away.
    pub fn store() -> (Arc<dyn Store>, Arc<AtomicBool>) {
        let is_away = Arc::new(AtomicBool::new(false));
        let store = OutOfReach {
            beneath: MemoryStore::new(),
            is_away: is_away.clone(),
        };
        (Arc::new(store), is_away)
    }

    fn reach(&self, what: &str) -> Result<&MemoryStore> {
        match self.is_away.load(Ordering::Acquire) {
            false => Ok(&self.beneath),
            true => Err(Error::Store {
                path: PathBuf::from("the test's disk"),
                detail: format!("it can't be {what}"),
            }),
        }
    }
}

impl Reader for OutOfReach {
    fn get(&self, ks: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.reach("read")?.get(ks, key)
    }

    fn multi_get(&self, ks: Keyspace, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.reach("read")?.multi_get(ks, keys)
    }

    fn scan(&self, ks: Keyspace, start: &[u8], end: Option<&[u8]>) -> Scan<'_> {
        match self.reach("read") {
            Ok(store) => store.scan(ks, start, end),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }
}

impl Store for OutOfReach {
    fn commit(&self, batch: WriteBatch) -> Result<()> {
        self.reach("written")?.commit(batch)
    }

    fn snapshot(&self) -> Arc<dyn Reader> {
        self.beneath.snapshot()
    }

    fn approximate_bytes(&self, ks: Keyspace, start: &[u8], end: &[u8]) -> u64 {
        self.beneath.approximate_bytes(ks, start, end)
    }

    fn flush(&self) -> Result<()> {
        self.reach("written")?.flush()
    }

    fn close(&self) {}
}
