//! What a new view begins with is stored in parts, and seen as a whole or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use parking_lot::Mutex;
use weir_state::{Error, Guarded, Keyspace, MemoryStore, Reader, Store};

use super::rig::Rig;

/// Longest wait for what comes at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store that commits two parts of a view, says so, and commits the next one when it is told to go on.
/// If it is told not to, it commits nothing more.
fn stopping(beneath: Arc<dyn Store>) -> (Arc<dyn Store>, Receiver<()>, Sender<bool>) {
    let (say, hear) = channel();
    let (tell, told) = channel::<bool>();
    let (told, parts, stopped) = (Mutex::new(told), AtomicUsize::new(0), AtomicBool::new(false));
    let store = Guarded::new(beneath, move |store, batch| {
        let by_committer = std::thread::current().name() == Some("committer");
        if by_committer && has_unborn(store) && parts.fetch_add(1, Ordering::Relaxed) == 1 {
            let _ = say.send(());
            stopped.store(told.lock().recv() != Ok(true), Ordering::Release);
        }
        if stopped.load(Ordering::Acquire) {
            return Err(Error::Store {
                path: "the test's store".into(),
                detail: "it was told to stop".to_string(),
            });
        }
        store.commit(batch)
    });
    (Arc::new(store), hear, tell)
}

fn has_unborn(store: &dyn Reader) -> bool {
    store
        .scan(Keyspace::Meta, b"unborn/", Some(b"unborn0"))
        .next()
        .is_some()
}

#[test]
fn a_part_of_a_view_is_not_seen() {
    for goes_on in [true, false] {
        let beneath: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (store, hear, tell) = stopping(beneath.clone());
        let rig = Rig::on(store, |engine| {
            engine.step_rows = 1;
            engine.load_bytes = 1;
        });
        rig.all(
            "CREATE TABLE t (n BIGINT PRIMARY KEY, k BIGINT);
             INSERT INTO t SELECT x, x % 1000 FROM (SELECT unnest(range(0, 60000)) AS x);
             CREATE MATERIALIZED VIEW m AS SELECT k, count(*) AS c, sum(n) AS n FROM t GROUP BY k;\n",
        );
        hear.recv_timeout(PATIENCE).unwrap();
        assert!(has_unborn(beneath.as_ref()));
        rig.done("SET wait = 'off'");
        for sql in ["SELECT count(*) FROM m", "SELECT count(*) FROM m WHERE k = 1"] {
            assert_eq!(rig.rows(sql), ["0"], "{sql}");
        }
        rig.done("SET wait = 'on'");
        tell.send(goes_on).unwrap();
        let rig = match goes_on {
            true => rig,
            false => {
                rig.instance.crash();
                drop(rig);
                assert!(has_unborn(beneath.as_ref()));
                Rig::on(beneath.clone(), |_| {})
            }
        };
        let all = ["1000|60000|1799970000"];
        assert_eq!(rig.rows("SELECT count(*), sum(c), sum(n) FROM m"), all);
        assert_eq!(rig.rows("SELECT c FROM m WHERE k = 1"), ["60"]);
        assert!(!has_unborn(beneath.as_ref()));
        rig.done("DELETE FROM t WHERE n >= 1000");
        assert_eq!(rig.rows("SELECT count(*), sum(c) FROM m"), ["1000|1000"]);
    }
}
