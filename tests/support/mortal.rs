//! A store that dies: after so many commits every later one is refused, as by a process that was
//! killed at that moment.
//!
//! What was committed before lies in the store beneath, whole, and the next life begins from it.
//! Because a death falls exactly between two commits, a test that dies after each of them in turn
//! has seen every state in which a crash can leave a data directory.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use weir_state::{Error, Keyspace, Reader, Result, Scan, Store, WriteBatch};

/// A store over another one that refuses commits from some point on.
pub struct MortalStore {
    beneath: Arc<dyn Store>,
    /// Commits until death; `None`: as many as come. Held during a commit, so that [`kill`] is a
    /// clean cut.
    ///
    /// [`kill`]: MortalStore::kill
    left: Mutex<Option<u64>>,
    dead: AtomicBool,
    commits: AtomicU64,
}

impl MortalStore {
    /// A store that lives for so many commits.
    pub fn new(beneath: Arc<dyn Store>, commits: Option<u64>) -> Arc<MortalStore> {
        Arc::new(MortalStore {
            beneath,
            left: Mutex::new(commits),
            dead: AtomicBool::new(false),
            commits: AtomicU64::new(0),
        })
    }

    /// Whether it refuses commits by now.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Nothing is committed after this returns.
    pub fn kill(&self) {
        let _commit = self.left();
        self.dead.store(true, Ordering::Release);
    }

    fn left(&self) -> MutexGuard<'_, Option<u64>> {
        self.left.lock().expect("no commit panics")
    }

    /// Commits in this life.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }
}

impl Reader for MortalStore {
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

impl Store for MortalStore {
    fn commit(&self, batch: WriteBatch) -> Result<()> {
        let mut left = self.left();
        if self.is_dead() {
            return Err(Error::Io {
                doing: "write to",
                path: PathBuf::from("a store that died"),
                source: io::Error::other("the test's crash"),
            });
        }
        self.beneath.commit(batch)?;
        self.commits.fetch_add(1, Ordering::AcqRel);
        if let Some(left) = left.as_mut() {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.dead.store(true, Ordering::Release);
            }
        }
        Ok(())
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
}
