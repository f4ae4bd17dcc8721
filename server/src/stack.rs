//! Threads with room for deep plans, on which blocking is allowed.
//!
//! Planning and evaluating a query recurse over its tree, and reading the store blocks; neither is
//! for the threads of an asynchronous runtime. A statement gets a thread of its own, whose stack
//! is reserved and not used up until it is needed.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::Builder;

use tokio::sync::{oneshot, watch};

use crate::error::ErrorKind;
use crate::{Error, Result};

const STACK_BYTES: usize = 16 << 20;

fn builder() -> Builder {
    Builder::new().name("statement".to_string()).stack_size(STACK_BYTES)
}

/// Runs `work` on such a thread.
pub fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    builder().spawn(work).map(drop).map_err(Error::internal)
}

/// Runs `work` on such a thread and blocks until it is done.
pub fn wait_for<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = builder().spawn_scoped(scope, work).map_err(Error::internal)?;
        thread.join().unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
    })
}

/// Runs `work` on such a thread and waits until it is done.
pub async fn call<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (send, receive) = oneshot::channel();
    spawn(move || {
        let _ = send.send(guarded(work));
    })?;
    receive
        .await
        .unwrap_or_else(|_| Err(Error::internal("a statement's thread ended without an answer")))
}

/// Runs `work` on such a thread and waits until it is done; `work` can look whether somebody still waits.
pub async fn call_wanted<T: Send + 'static>(work: impl FnOnce(&Wanted) -> Result<T> + Send + 'static) -> Result<T> {
    let (wanted, _waits) = watch::channel(());
    call(move || work(&Wanted(wanted))).await
}

/// Whether somebody still waits for what a thread works on.
#[derive(Clone)]
pub struct Wanted(watch::Sender<()>);

impl Wanted {
    /// Nobody does any more.
    pub fn is_over(&self) -> bool {
        self.0.is_closed()
    }

    /// An error once nobody does any more.
    pub fn check(&self) -> Result<()> {
        match self.is_over() {
            true => Err(gone()),
            false => Ok(()),
        }
    }

    /// What `work` comes to, or an error as soon as nobody waits for it any more.
    pub async fn unless_over<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.0.closed() => Err(gone()),
            outcome = work => Ok(outcome),
        }
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Cancelled, "the client has gone")
}

/// A panic is an error like any other: of one statement, not of the server.
pub fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_string())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    Error::internal(format!("a statement panicked: {}", text.unwrap_or_default()))
}
