//! What a view keeps of its past: as much as its `history` says, and no more.

use std::sync::Arc;

use weir_engine::pipeline::Clock;
use weir_state::{Keyspace, MemoryStore, RelationId, Store, history, keys};

use super::rig::Rig;
use crate::Body;

const MINUTE_US: i64 = 60_000_000;

#[test]
fn what_is_older_than_the_history_is_given_up_and_the_rest_is_not() {
    let clock = Clock::fixed(0);
    let store = Arc::new(MemoryStore::new());
    let rig = Rig::on(store.clone(), |options| options.clock = clock.clone());
    rig.all(
        "CREATE TABLE t (id INT PRIMARY KEY);
         CREATE MATERIALIZED VIEW v WITH (history = '1 hour') AS SELECT count(*) AS n FROM t;\n",
    );
    rig.until("SELECT n FROM v", &["0"]);
    for minute in 1..=100 {
        clock.set(minute * MINUTE_US);
        rig.done(&format!("INSERT INTO t VALUES ({minute})"));
        rig.until("SELECT n FROM v", &[&minute.to_string()]);
    }
    let as_of = |minute: i64| format!("SELECT n FROM v FOR SYSTEM_TIME AS OF to_timestamp({})", minute * 60);
    let is_known = |minute: i64| match rig.run(&as_of(minute)).body {
        Body::Rows(rows) => rig.wait_for(rows.collect()).is_ok(),
        other => panic!("{other:?}"),
    };
    while is_known(30) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let gone = rig.error(&as_of(30)).message;
    assert!(
        gone.contains("the history of 'v' begins at 1970-01-01 00:40:00"),
        "{gone}"
    );
    for minute in 40..=100 {
        assert_eq!(rig.rows(&as_of(minute)), [minute.to_string()]);
    }
    // What nobody can ask for any more is not stored either.
    let view = RelationId(2);
    let entries = |store: &dyn Store| {
        let range = keys::view_range(view);
        store.scan(Keyspace::Log, &range.start, Some(&range.end)).count()
    };
    while entries(&*store) > 61 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(entries(&*store) >= 60);
    assert!(
        history::next(&*store, view, 0)
            .unwrap()
            .is_some_and(|(at_us, _)| at_us >= 40 * MINUTE_US)
    );
    rig.all("DROP MATERIALIZED VIEW v;\n");
    assert_eq!(entries(&*store), 0);
    assert_eq!(history::begins(&*store, view).unwrap(), None);
}
