//! An instance's durable side: its identity, its store, and its one counter of epochs.
//!
//! Epoch numbers must only rise, over restarts too, and taking one must cost nothing. So numbers
//! are given out in memory, and the store is told a bound that no number exceeds: whenever a
//! commit comes after the bound was passed, the batch itself carries a new one, some thousand
//! numbers on. An epoch is thereby never durable without a bound above it, and the next start
//! goes on from the bound. That leaves a gap, which is allowed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::document::decode_number;
use crate::error::{Error, Result};
use crate::ids::Epoch;
use crate::keys;
use crate::store::{Guarded, Keyspace, MemoryStore, RocksOptions, RocksStore, Store, WriteBatch};

mod directory;
#[cfg(test)]
mod tests;

use directory::{Directory, Lock};

/// How far a new bound lies above the last number.
const EPOCH_MARGIN: u64 = 4096;

/// A data directory: a marker file that says what it is, a lock, and the store.
pub struct DataDir;

impl DataDir {
    /// Opens the instance in `path`, which is made if it is new or empty. One process at a time
    /// has a directory; it is given back when the instance and its store are dropped.
    ///
    /// Fails with [`Error::ForeignDirectory`] (nothing is touched), [`Error::Locked`],
    /// [`Error::FormatVersion`], or what the machine says.
    pub fn open(path: &Path, options: RocksOptions) -> Result<Arc<Instance>> {
        let directory = Directory::open(path)?;
        let store_path = directory.store_path();
        let store = if directory.is_ready() {
            RocksStore::open_existing(&store_path, options)
        } else {
            RocksStore::open(&store_path, options)
        };
        let store = store.map_err(|error| match error {
            Error::Locked { pid, .. } => Error::Locked {
                directory: path.to_owned(),
                pid,
            },
            other => other,
        })?;
        let id = directory.id();
        match stored_id(&store)? {
            Some(found) if found == id => {}
            None if !directory.is_ready() => write_id(&store, id)?,
            found => {
                let found = found.map_or("nobody".to_owned(), |found| found.to_string());
                return Err(Error::corrupt(
                    format!("data directory {}", path.display()),
                    format_args!("it is that of {id}, and its store belongs to {found}"),
                ));
            }
        }
        let lock = directory.make_ready()?;
        Instance::assemble(id, Arc::new(store), Some(lock))
    }
}

/// What one running Weir works on.
pub struct Instance {
    /// The same as [`Instance::store`].
    pub store: Arc<dyn Store>,
    id: Uuid,
    epochs: Arc<Epochs>,
}

impl Instance {
    /// A new instance that keeps nothing beyond the process.
    pub fn memory() -> Arc<Instance> {
        Instance::on(Arc::new(MemoryStore::new())).expect("an empty memory store can be read")
    }

    /// The instance that lives in `store`, made new if there is none: with the same memory store
    /// as before, a restart without a disk.
    pub fn on(store: Arc<dyn Store>) -> Result<Arc<Instance>> {
        let id = match stored_id(&*store)? {
            Some(id) => id,
            None => {
                let id = Uuid::new_v4();
                write_id(&*store, id)?;
                id
            }
        };
        Instance::assemble(id, store, None)
    }

    fn assemble(id: Uuid, store: Arc<dyn Store>, lock: Option<Lock>) -> Result<Arc<Instance>> {
        let bound = match store.get(Keyspace::Meta, keys::EPOCH_BOUND)? {
            None => 0,
            Some(bound) => decode_number(&bound, "the bound of epoch numbers")?,
        };
        let epochs = Arc::new(Epochs {
            last: AtomicU64::new(bound),
            bound: AtomicU64::new(bound),
            raising: Mutex::new(()),
        });
        let committing = epochs.clone();
        let store = Arc::new(Guarded::new(store, move |store, batch| {
            // The directory stays locked for as long as its store can be written.
            let _locked = &lock;
            committing.commit(store, batch)
        }));
        Ok(Arc::new(Instance { store, id, epochs }))
    }

    /// Names this data directory for ever, also outside: progress that someone keeps for another
    /// id is none. A copy of the directory has the same id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Commits and reads go through this one: it is what keeps the epoch counter durable.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The last number given out. After a restart, the bound below which all earlier ones lie; how
    /// far a pipeline really came is in its [`crate::pipelines::PipelineRecord`].
    pub fn last_epoch(&self) -> Epoch {
        Epoch(self.epochs.last.load(Ordering::Acquire))
    }

    /// A number above all earlier ones of this data directory, from 1. Costs nothing; it is used
    /// up even if nothing is committed under it.
    pub fn next_epoch(&self) -> Epoch {
        Epoch(self.epochs.last.fetch_add(1, Ordering::AcqRel) + 1)
    }
}

struct Epochs {
    last: AtomicU64,
    /// What the store holds, so no less than any number that a committed batch can know.
    bound: AtomicU64,
    raising: Mutex<()>,
}

impl Epochs {
    /// Commits a batch, and with it a new bound where the last one was passed.
    fn commit(&self, store: &dyn Store, mut batch: WriteBatch) -> Result<()> {
        let passed = || self.last.load(Ordering::Acquire) > self.bound.load(Ordering::Acquire);
        if !passed() {
            return store.commit(batch);
        }
        // One at a time, so that of two bounds the lower can't be written last.
        let raising = self.raising.lock();
        if !passed() {
            drop(raising);
            return store.commit(batch);
        }
        let bound = self.last.load(Ordering::Acquire) + EPOCH_MARGIN;
        batch.put(Keyspace::Meta, keys::EPOCH_BOUND, &bound.to_le_bytes());
        store.commit(batch)?;
        self.bound.store(bound, Ordering::Release);
        Ok(())
    }
}

fn stored_id(store: &dyn Store) -> Result<Option<Uuid>> {
    let Some(bytes) = store.get(Keyspace::Meta, keys::INSTANCE_ID)? else {
        return Ok(None);
    };
    let id = Uuid::from_slice(&bytes);
    id.map(Some)
        .map_err(|error| Error::corrupt("the id of the data directory", error))
}

fn write_id(store: &dyn Store, id: Uuid) -> Result<()> {
    let mut batch = WriteBatch::new();
    batch.put(Keyspace::Meta, keys::INSTANCE_ID, id.as_bytes());
    store.commit(batch)
}
