//! Restarts and crashes over the same store, and relations that can't be restored.

use serde_json::Value;
use weir_engine::connector::memory;
use weir_state::{Store, WriteBatch, catalog::Catalog as Journal};

use super::rig::Rig;
use crate::ErrorKind;

fn setup(topic: &str) -> Rig {
    memory::create(topic, 1);
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE s (k BIGINT, n BIGINT) WITH (connector = 'memory', topic = '{topic}');
         CREATE TABLE names (k BIGINT PRIMARY KEY, name TEXT);
         CREATE MATERIALIZED VIEW sums AS SELECT k, sum(n) AS n FROM s GROUP BY k;
         CREATE MATERIALIZED VIEW named AS SELECT name, n FROM sums JOIN names ON sums.k = names.k;
         CREATE SINK gone FROM sums WITH (connector = 'blackhole');\n"
    ));
    rig
}

fn append(topic: &str, k: i64, n: i64) {
    memory::append(
        topic,
        0,
        None,
        Some(format!("{{\"k\": {k}, \"n\": {n}}}").as_bytes()),
        0,
    );
}

#[test]
fn everything_is_there_again() {
    let topic = "restart: all";
    let mut rig = setup(topic);
    rig.done("INSERT INTO names VALUES (1, 'one'), (2, 'two')");
    let (mut one, mut two) = (0, 0);
    for round in 1..6 {
        append(topic, 1, round);
        append(topic, 2, -round);
        (one, two) = (one + round, two - round);
        rig.until("SELECT * FROM named", &[&format!("one|{one}"), &format!("two|{two}")]);
        rig = if round % 2 == 0 { rig.restart() } else { rig.crash() };
        // What was committed can't be read a second time.
        memory::delete_before(topic, 0, (round - 1) * 2);
        rig.until("SELECT * FROM named", &[&format!("one|{one}"), &format!("two|{two}")]);
    }
    assert_eq!(rig.rows("SHOW SOURCES")[0].split('|').next(), Some("s"));
    assert_eq!(rig.rows("SHOW SINKS")[0].split('|').next(), Some("gone"));
    rig.all("DROP TABLE names CASCADE;\n DROP SINK gone;\n");
    let rig = rig.restart();
    assert_eq!(rig.rows("SELECT name FROM weir.pipelines"), ["sums"]);
    assert_eq!(rig.sorted("SELECT * FROM sums"), ["1|15", "2|-15"]);
}

/// Changes the catalog document of a relation.
fn edit(store: &dyn Store, name: &str, change: impl FnOnce(&mut Value)) {
    let mut entry = Journal::load(store)
        .unwrap()
        .into_iter()
        .find(|entry| entry.document["name"] == name)
        .unwrap();
    change(&mut entry.document);
    let mut batch = WriteBatch::new();
    Journal::put(&mut batch, entry.id, &entry.document);
    store.commit(batch).unwrap();
}

#[test]
fn what_cannot_be_restored_does_not_take_the_rest_down() {
    let topic = "restart: broken";
    let rig = setup(topic);
    rig.done("INSERT INTO names VALUES (1, 'one')");
    append(topic, 1, 5);
    rig.until("SELECT * FROM named", &["one|5"]);
    rig.done("CREATE MATERIALIZED VIEW counts AS SELECT count(*) AS c FROM s");
    rig.until("SELECT c FROM counts", &["1"]);
    let mut shape = String::new();
    let rig = rig.restart_over(|store| {
        edit(store, "sums", |document| {
            shape = document["shape"].as_str().unwrap().to_string();
            document["shape"] = "of another planner".into();
        });
    });
    // The rest goes on.
    append(topic, 1, 6);
    rig.until("SELECT c FROM counts", &["2"]);
    let states = rig.sorted("SELECT name, state FROM weir.pipelines");
    assert_eq!(states, ["counts|RUNNING", "gone|FAILED", "named|FAILED", "sums|FAILED"]);
    let error = rig.error("SELECT * FROM sums");
    assert!(error.message.contains("planned differently"), "{}", error.message);
    let error = rig.error("SELECT * FROM named");
    assert!(
        error.message.contains("it reads 'sums', which could not be restored"),
        "{}",
        error.message
    );
    assert_eq!(rig.error("RESUME sums").kind, ErrorKind::Unavailable);
    assert_eq!(rig.error("CREATE TABLE sums (a INT)").kind, ErrorKind::Conflict);
    assert!(rig.rows("SHOW CREATE sums")[0].starts_with("CREATE MATERIALIZED VIEW sums"));
    assert!(rig.error("DROP MATERIALIZED VIEW sums").message.contains("'named'"));

    // With the planner that made it, it goes on where it was.
    let rig = rig.restart_over(|store| edit(store, "sums", |document| document["shape"] = shape.into()));
    rig.until("SELECT * FROM named", &["one|11"]);
    let rig = rig.restart_over(|store| {
        edit(store, "sums", |document| {
            document["sql"] = "CREATE MATERIALIZED VIEW sums AS nonsense".into()
        });
    });
    rig.done("DROP MATERIALIZED VIEW sums CASCADE");
    rig.all("CREATE TABLE sums (a INT);\n");
    assert_eq!(rig.rows("SELECT name FROM weir.pipelines"), ["counts"]);
    let rig = rig.restart();
    assert_eq!(rig.rows("SELECT name FROM weir.pipelines"), ["counts"]);
}

/// Each plain view is planned within the one above it, at a restart as when it was made.
#[test]
fn plain_views_stand_upon_each_other_as_deep_as_they_may() {
    let rig = Rig::new();
    rig.all("CREATE TABLE t (a INT);\n CREATE VIEW v1 AS SELECT a + 1 AS a FROM t WHERE a > 0;\n");
    for depth in 2..=64 {
        rig.done(&format!(
            "CREATE VIEW v{depth} AS SELECT a + 1 AS a FROM v{} WHERE a > 0",
            depth - 1
        ));
    }
    let refused = rig.error("CREATE VIEW v65 AS SELECT a FROM v64");
    assert!(refused.message.contains("MATERIALIZED"), "{}", refused.message);
    rig.done("INSERT INTO t VALUES (1)");
    let rig = rig.restart();
    assert_eq!(rig.rows("SELECT a FROM v64"), ["65"]);
}
