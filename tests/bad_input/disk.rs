//! A store whose disk can be full.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_state::{Error, Keyspace, MemoryStore, Reader, Result, Scan, Store, WriteBatch};

/// A store that refuses commits as RocksDB does on a full disk, while it is told to be one.
#[derive(Clone)]
pub struct FullDisk {
    store: Arc<MemoryStore>,
    pub is_full: Arc<AtomicBool>,
}

impl FullDisk {
    /// With room to begin with.
    pub fn new() -> FullDisk {
        FullDisk {
            store: Arc::new(MemoryStore::new()),
            is_full: Arc::default(),
        }
    }
}

impl Reader for FullDisk {
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

impl Store for FullDisk {
    fn commit(&self, batch: WriteBatch) -> Result<()> {
        if self.is_full.load(Ordering::Acquire) {
            return Err(Error::DiskFull {
                path: PathBuf::from("the test's disk"),
                detail: "no space left on device".to_string(),
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
