//! The instance's store as an engine sees it: it can be closed, and then takes nothing more.
//!
//! That is how a crash is made within a process: whatever the engine's threads still do, the store
//! stays as it is.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use weir_state::{Error, Guarded, Store};

/// Closes the store that it came with.
pub struct Closer {
    /// Held by those who write.
    closed: Arc<RwLock<bool>>,
}

impl Closer {
    /// Returns when no commit is under way; none that comes later is made.
    pub fn close(&self) {
        *self.closed.write() = true;
    }
}

/// A store over another one that can be closed.
pub fn closable(store: Arc<dyn Store>) -> (Arc<dyn Store>, Closer) {
    let closed = Arc::new(RwLock::new(false));
    let closer = Closer { closed: closed.clone() };
    let guarded = Guarded::new(store, move |store, batch| {
        let closed = closed.read();
        if *closed {
            return Err(Error::Store {
                path: PathBuf::from("this instance"),
                detail: "the engine has stopped".to_string(),
            });
        }
        store.commit(batch)
    });
    (Arc::new(guarded), closer)
}
