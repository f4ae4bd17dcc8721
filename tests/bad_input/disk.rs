//! A store whose disk can be full.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_state::{Error, Guarded, MemoryStore, Store};

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
