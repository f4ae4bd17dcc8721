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

use weir_state::{Error, Guarded, Result, Store, WriteBatch};

/// A store over another one that refuses commits from some point on.
pub struct MortalStore {
    store: Arc<dyn Store>,
    life: Arc<Life>,
}

struct Life {
    /// Commits until death; `None`: as many as come. Held during a commit, so that
    /// [`MortalStore::kill`] is a clean cut.
    left: Mutex<Option<u64>>,
    dead: AtomicBool,
    commits: AtomicU64,
}

impl MortalStore {
    /// A store that lives for so many commits.
    pub fn new(beneath: Arc<dyn Store>, commits: Option<u64>) -> MortalStore {
        let life = Arc::new(Life {
            left: Mutex::new(commits),
            dead: AtomicBool::new(false),
            commits: AtomicU64::new(0),
        });
        let living = life.clone();
        let store = Guarded::new(beneath, move |beneath, batch| living.commit(beneath, batch));
        MortalStore {
            store: Arc::new(store),
            life,
        }
    }

    /// The store to work on.
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Whether it refuses commits by now.
    pub fn is_dead(&self) -> bool {
        self.life.dead.load(Ordering::Acquire)
    }

    /// Nothing is committed after this returns.
    pub fn kill(&self) {
        let _commit = self.life.left();
        self.life.dead.store(true, Ordering::Release);
    }

    /// Commits in this life.
    pub fn commits(&self) -> u64 {
        self.life.commits.load(Ordering::Acquire)
    }
}

impl Life {
    fn left(&self) -> MutexGuard<'_, Option<u64>> {
        self.left.lock().expect("no commit panics")
    }

    fn commit(&self, beneath: &dyn Store, batch: WriteBatch) -> Result<()> {
        let mut left = self.left();
        if self.dead.load(Ordering::Acquire) {
            return Err(Error::Io {
                doing: "write to",
                path: PathBuf::from("a store that died"),
                source: io::Error::other("the test's crash"),
            });
        }
        beneath.commit(batch)?;
        self.commits.fetch_add(1, Ordering::AcqRel);
        if let Some(left) = left.as_mut() {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.dead.store(true, Ordering::Release);
            }
        }
        Ok(())
    }
}
