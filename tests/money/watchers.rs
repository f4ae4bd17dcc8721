//! Those who look on: subscribers who check every epoch, and a reader of all views at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::sync::{RwLock, RwLockWriteGuard};
use tokio::task::JoinHandle;
use weir_server::{Body, ErrorKind, Session};

use crate::bank::{Bank, numbers};

/// All sums in one statement: both sides of all transfers, the balances, their total, and the
/// numbers of transfers that each side and the count have seen.
const ALL_VIEWS: &str = "SELECT
    (SELECT coalesce(sum(amount), 0) FROM credits), (SELECT coalesce(sum(amount), 0) FROM debits),
    (SELECT sum(balance) FROM balances), (SELECT total FROM total),
    (SELECT coalesce(sum(n), 0) FROM credits), (SELECT coalesce(sum(n), 0) FROM debits),
    (SELECT n FROM transfer_count)";

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub epochs: u64,
    pub selects: u64,
}

/// Watchers of one life of the engine.
pub struct Watchers {
    stop: Arc<AtomicBool>,
    epochs: Arc<AtomicU64>,
    selects: Arc<AtomicU64>,
    /// Held by the reader during a look, and by who stops views meanwhile.
    quiet: Arc<RwLock<()>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Watchers {
    pub fn start(bank: &Bank, counted: Arc<AtomicI64>) -> Watchers {
        let mut watchers = Watchers {
            stop: Arc::default(),
            epochs: Arc::default(),
            selects: Arc::default(),
            quiet: Arc::default(),
            tasks: Vec::new(),
        };
        let (stop, epochs) = (&watchers.stop, &watchers.epochs);
        for view in ["total", "balances"] {
            let session = bank.instance.session();
            watchers
                .tasks
                .push(tokio::spawn(subscribe(session, view, stop.clone(), epochs.clone())));
        }
        let (stop, selects, quiet) = (stop.clone(), watchers.selects.clone(), watchers.quiet.clone());
        watchers
            .tasks
            .push(tokio::spawn(read_all(bank.clone(), quiet, stop, selects, counted)));
        watchers
    }

    /// Waits for the reader to finish its look; it begins no other until this is dropped.
    pub async fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.quiet.write().await
    }

    /// Waits until both kinds of watcher have seen something new.
    pub async fn see_something(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let (epochs, selects) = (
            self.epochs.load(Ordering::Acquire),
            self.selects.load(Ordering::Acquire),
        );
        while self.epochs.load(Ordering::Acquire) == epochs || self.selects.load(Ordering::Acquire) == selects {
            let stuck = self.tasks.iter().any(JoinHandle::is_finished);
            assert!(!stuck, "a watcher ended: see its panic above");
            assert!(
                Instant::now() < deadline,
                "the watchers see nothing: {epochs} epochs, {selects} looks"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Release);
        for task in self.tasks {
            task.await.expect("a watcher");
        }
        Seen {
            epochs: self.epochs.load(Ordering::Acquire),
            selects: self.selects.load(Ordering::Acquire),
        }
    }
}

/// Follows `total`, whose one row must be 0 whenever an epoch has ended, or `balances`, whose rows
/// must then sum up to 0: the client's own sum over all changes.
async fn subscribe(session: Arc<Session>, view: &'static str, stop: Arc<AtomicBool>, epochs: Arc<AtomicU64>) {
    while !stop.load(Ordering::Acquire) {
        let rows = match session
            .run(&format!("SUBSCRIBE TO {view}"))
            .await
            .map(|answer| answer.body)
        {
            Ok(Body::Push(rows, _)) => rows,
            Ok(other) => panic!("a subscription answered {other:?}"),
            Err(error) => {
                tolerate(&error);
                continue;
            }
        };
        let mut stream = rows.stream;
        let (mut sum, mut epoch) = (0, None);
        while !stop.load(Ordering::Acquire) {
            let batch = match tokio::time::timeout(Duration::from_millis(50), stream.next()).await {
                Err(_) => continue,
                Ok(None) => break,
                Ok(Some(Ok(batch))) => batch,
                Ok(Some(Err(error))) => {
                    tolerate(&error);
                    break;
                }
            };
            for row in numbers(&[batch]) {
                let [.., Some(value), Some(at), Some(weight)] = row[..] else {
                    panic!("{view} showed {row:?}");
                };
                if epoch != Some(at) {
                    // The epoch before is whole.
                    assert_eq!(sum, 0, "{view} at epoch {epoch:?}");
                    epochs.fetch_add(1, Ordering::AcqRel);
                    epoch = Some(at);
                }
                sum += value * weight;
                if view == "total" {
                    assert_eq!(value, 0, "{view} at epoch {at}, with weight {weight}");
                }
            }
        }
    }
}

/// Reads all views in one statement, again and again.
async fn read_all(
    bank: Bank,
    quiet: Arc<RwLock<()>>,
    stop: Arc<AtomicBool>,
    selects: Arc<AtomicU64>,
    counted: Arc<AtomicI64>,
) {
    let mut last = counted.load(Ordering::Acquire);
    while !stop.load(Ordering::Acquire) {
        let held = quiet.read().await;
        let rows = match bank.rows(ALL_VIEWS).await {
            Ok(Some(rows)) => numbers(&rows),
            // A view is stopped.
            Ok(None) => continue,
            Err(error) => {
                tolerate(&error);
                continue;
            }
        };
        drop(held);
        let [
            Some(credits),
            Some(debits),
            Some(balances),
            Some(total),
            Some(got),
            Some(given),
            Some(count),
        ] = rows[0][..]
        else {
            panic!("all views showed {rows:?}");
        };
        assert_eq!(credits, debits, "credits and debits: {rows:?}");
        assert_eq!((balances, total), (0, 0), "the balances and their total: {rows:?}");
        assert_eq!((got, given), (count, count), "transfers seen by each side: {rows:?}");
        assert!(count >= last, "{count} transfers were counted after {last}");
        last = count;
        counted.store(count, Ordering::Release);
        selects.fetch_add(1, Ordering::AcqRel);
    }
}

/// A view may be gone for a while, or the engine; that is no wrong answer.
fn tolerate(error: &weir_server::Error) {
    let gone = ["does not exist", "was dropped"]
        .iter()
        .any(|words| error.message.contains(words));
    assert!(gone || error.kind == ErrorKind::Unavailable, "{error:?}");
}
