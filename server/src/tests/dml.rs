//! INSERT, UPDATE, DELETE, and who sees them when.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::ScalarValue;
use futures::FutureExt;
use weir_engine::connector::memory;

use super::rig::Rig;
use crate::{Body, ErrorKind};

#[test]
fn statements_tell_how_many_rows_they_changed() {
    let rig = Rig::new();
    rig.all("CREATE TABLE t (id INT PRIMARY KEY, name TEXT NOT NULL, n INT DEFAULT 5);\n");
    assert_eq!(
        rig.done("INSERT INTO t (id, name) VALUES (1, 'a'), (2, 'b')"),
        "INSERT 2"
    );
    assert_eq!(rig.done("INSERT INTO t SELECT id + 10, name, n FROM t"), "INSERT 2");
    assert_eq!(rig.done("UPDATE t SET n = n + id WHERE id < 11"), "UPDATE 2");
    assert_eq!(rig.done("DELETE FROM t WHERE id = 12"), "DELETE 1");
    assert_eq!(rig.done("DELETE FROM t WHERE id = 12"), "DELETE 0");
    assert_eq!(rig.sorted("SELECT * FROM t"), ["11|a|5", "1|a|6", "2|b|7"]);
    let rig = rig.crash();
    assert_eq!(rig.sorted("SELECT * FROM t"), ["11|a|5", "1|a|6", "2|b|7"]);
}

#[test]
fn a_statement_that_breaks_a_rule_changes_nothing() {
    let rig = Rig::new();
    rig.all("CREATE TABLE t (id INT PRIMARY KEY, name TEXT NOT NULL);\n INSERT INTO t VALUES (1, 'a');\n");
    for sql in [
        "INSERT INTO t VALUES (2, 'b'), (1, 'again')",
        "INSERT INTO t VALUES (3, 'c'), (3, 'c')",
        "INSERT INTO t VALUES (4, NULL)",
        "UPDATE t SET name = NULL",
        "INSERT INTO t SELECT 10 / (id - 1), 'x' FROM t",
    ] {
        let error = rig.error(sql);
        assert_eq!(error.kind, ErrorKind::Data, "{sql}: {}", error.message);
    }
    assert_eq!(rig.rows("SELECT * FROM t"), ["1|a"]);
    assert_eq!(rig.error("INSERT INTO nothing VALUES (1)").kind, ErrorKind::Invalid);
}

#[test]
fn a_session_sees_its_own_writes_in_every_view() {
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE t (id INT PRIMARY KEY, n INT);
         CREATE MATERIALIZED VIEW sums AS SELECT sum(n) AS s, count(*) AS c FROM t;
         CREATE MATERIALIZED VIEW above AS SELECT s + c AS x FROM sums;\n",
    );
    let (mut sum, mut count) = (0, 0);
    for n in 1..=20 {
        rig.done(&format!("INSERT INTO t VALUES ({n}, {n})"));
        sum += n;
        count += 1;
        assert_eq!(rig.rows("SELECT s, c FROM sums"), [format!("{sum}|{count}")]);
        assert_eq!(rig.rows("SELECT x FROM above"), [format!("{}", sum + count)]);
        // Tables and views of one statement are of one moment.
        assert_eq!(
            rig.rows("SELECT (SELECT sum(n) FROM t) = s, (SELECT x FROM above) = s + c FROM sums"),
            ["true|true"]
        );
    }
    rig.done("UPDATE t SET n = 0");
    assert_eq!(rig.done("FLUSH"), "FLUSH");
    rig.done("SET wait = 'off'");
    assert_eq!(rig.rows("SELECT s FROM sums"), ["0"]);
}

#[test]
fn tables_and_views_agree_while_others_write() {
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE t (id INT PRIMARY KEY, n INT);
         CREATE MATERIALIZED VIEW sums AS SELECT sum(n) AS s, count(*) AS c FROM t;
         INSERT INTO t VALUES (0, 0);\n",
    );
    let writer = rig.instance.session();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let handle = rig.block_on(async { tokio::runtime::Handle::current() });
    let writing = std::thread::spawn(move || {
        let mut n = 0;
        while stopped.try_recv().is_err() {
            n += 1;
            let sql = format!("INSERT INTO t VALUES ({n}, {n})");
            handle.block_on(writer.run(&sql)).unwrap();
        }
        n
    });
    for _ in 0..50 {
        let answer = rig.rows("SELECT (SELECT sum(n) FROM t) = s, (SELECT count(*) FROM t) = c FROM sums");
        assert_eq!(answer, ["true|true"]);
    }
    stop.send(()).unwrap();
    let written = writing.join().unwrap();
    rig.done("INSERT INTO t VALUES (-1, 0)");
    assert_eq!(rig.rows("SELECT c FROM sums"), [format!("{}", written + 2)]);
}

#[test]
fn a_stopped_view_says_that_it_lacks_what_the_session_wrote() {
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE t (a INT);
         CREATE TABLE other (a INT);
         CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t;\n",
    );
    assert_eq!(rig.rows("SELECT n FROM m"), ["0"]);
    rig.all("PAUSE m;\n INSERT INTO other VALUES (1);\n");
    let notice = "view 'm' is paused: its rows are those of its last epoch";
    assert_eq!(rig.notices("SELECT n FROM m"), [notice]);
    rig.done("INSERT INTO t VALUES (1)");
    assert_eq!(rig.rows("SELECT n FROM m"), ["0"]);
    let lacking = format!("{notice}, which lacks what this session has written");
    assert_eq!(rig.notices("SELECT n FROM m"), [lacking.as_str()]);
    assert_eq!(rig.notices("INSERT INTO other SELECT n FROM m"), [lacking.as_str()]);
    rig.done("RESUME m");
    assert_eq!(rig.rows("SELECT n FROM m"), ["1"]);
}

#[test]
fn a_failed_view_is_read_as_it_was_whatever_the_session_has_written() {
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE t (a INT);
         CREATE MATERIALIZED VIEW m AS SELECT a, 10 / a AS q FROM t;
         INSERT INTO t VALUES (5);\n",
    );
    assert_eq!(rig.rows("SELECT q FROM m"), ["2"]);
    rig.done("INSERT INTO t VALUES (0)");
    let answer = rig.run("SELECT q FROM m");
    let [notice] = &answer.notices[..] else {
        panic!("{:?}", answer.notices);
    };
    assert!(notice.starts_with("view 'm' has failed (division by zero"), "{notice}");
    assert!(
        notice.ends_with("its last epoch, which lacks what this session has written"),
        "{notice}"
    );
    assert_eq!(rig.rows("SELECT q FROM m"), ["2"]);
}

#[test]
fn a_transaction_waits_for_a_view_that_had_no_answer_when_it_began() {
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE t (a INT);
         CREATE TABLE other (a BIGINT);
         INSERT INTO t SELECT a FROM generate_series(1, 1000) AS g (a);
         CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t;
         PAUSE m;
         INSERT INTO t VALUES (0);
         BEGIN;
         INSERT INTO other VALUES (1);\n",
    );
    rig.elsewhere("RESUME m");
    // Its moment comes to lie behind the view's first answer, and the session's own write.
    assert_eq!(rig.rows("SELECT n FROM m"), ["1001"]);
    rig.done("INSERT INTO other SELECT n FROM m");
    rig.elsewhere("INSERT INTO t VALUES (7)");
    rig.elsewhere("FLUSH");
    assert_eq!(rig.rows("SELECT n FROM m"), ["1001"]);
    rig.done("COMMIT");
    assert_eq!(rig.rows("SELECT a FROM other ORDER BY a"), ["1", "1001"]);
    // What another session has written is waited for by that one only.
    rig.until("SELECT n FROM m", &["1002"]);
}

#[test]
fn a_transaction_stays_where_it_is_if_what_it_has_read_has_changed() {
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE t (a INT);
         CREATE TABLE other (a BIGINT);
         CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t;
         PAUSE m;
         INSERT INTO t VALUES (0);
         BEGIN;
         INSERT INTO other VALUES (1);\n",
    );
    assert_eq!(rig.rows("SELECT count(*) FROM t"), ["1"]);
    rig.elsewhere("INSERT INTO t VALUES (1)");
    rig.elsewhere("RESUME m");
    let error = rig.error("SELECT n FROM m");
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(
        error.message.starts_with("view 'm' had no answer yet"),
        "{}",
        error.message
    );
    assert_eq!(rig.rows("SELECT count(*) FROM t"), ["1"]);
    rig.done("ROLLBACK");
    assert_eq!(rig.rows("SELECT n FROM m"), ["2"]);
}

#[test]
fn prepared_statements_take_values() {
    let rig = Rig::new();
    rig.all("CREATE TABLE t (id INT PRIMARY KEY, name TEXT);\n");
    let insert = rig.session.prepare("INSERT INTO t VALUES ($1, $2)").unwrap();
    assert_eq!(insert.parameters().len(), 2);
    for (id, name) in [(1, "a"), (2, "b")] {
        let values = vec![ScalarValue::Int32(Some(id)), ScalarValue::Utf8(Some(name.to_string()))];
        let answer = rig.block_on(rig.session.execute(&insert, values)).unwrap();
        assert!(matches!(answer.body, Body::Changed { rows: 1, .. }));
    }
    let select = rig.session.prepare("SELECT name FROM t WHERE id = ?").unwrap();
    let few = rig.block_on(rig.session.execute(&select, Vec::new())).unwrap_err();
    assert!(few.message.contains("1 parameters, and 0 values"), "{}", few.message);
    // The catalog may change in between.
    rig.all("CREATE TABLE other (a INT);\n");
    let answer = rig
        .block_on(rig.session.execute(&select, vec![ScalarValue::Int64(Some(2))]))
        .unwrap();
    let Body::Rows(rows) = answer.body else { panic!() };
    let batches = rig.block_on(rows.collect()).unwrap();
    assert_eq!(batches.iter().flat_map(super::rig::lines).collect::<Vec<_>>(), ["b"]);
    rig.all("DROP TABLE t;\n CREATE TABLE t (id INT PRIMARY KEY, name INT);\n");
    let changed = rig
        .block_on(rig.session.execute(&select, vec![ScalarValue::Int64(Some(2))]))
        .unwrap_err();
    assert!(changed.message.contains("prepare it anew"), "{}", changed.message);
}

/// Nobody is held up by an open transaction; but what it rests on must still hold when it commits.
#[test]
fn a_transaction_commits_only_over_tables_that_others_left_alone() {
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE a (n INT PRIMARY KEY);
         CREATE TABLE b (n INT PRIMARY KEY);
         CREATE TABLE c (n INT PRIMARY KEY);
         INSERT INTO a VALUES (1);\n",
    );
    // Read only, or written only, it may not change.
    for (own, others) in [
        ("INSERT INTO b SELECT n FROM a", "INSERT INTO a VALUES (2)"),
        ("INSERT INTO b VALUES (3)", "DELETE FROM b"),
    ] {
        rig.elsewhere("INSERT INTO b VALUES (100)");
        rig.done("BEGIN");
        rig.done(own);
        rig.elsewhere(others);
        let error = rig.error("COMMIT");
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(
            error.message.contains("another session has changed table"),
            "{}",
            error.message
        );
        rig.elsewhere("DELETE FROM b");
    }
    rig.done("BEGIN");
    rig.done("INSERT INTO b SELECT n FROM a");
    rig.elsewhere("INSERT INTO c VALUES (1)");
    assert_eq!(rig.sorted("SELECT n FROM b"), ["1", "2"]);
    // It reads what was there when it began.
    assert!(rig.rows("SELECT n FROM c").is_empty());
    rig.done("ROLLBACK");
    rig.done("BEGIN");
    rig.done("INSERT INTO b SELECT n FROM a");
    rig.elsewhere("INSERT INTO c VALUES (2)");
    rig.done("COMMIT");
    assert_eq!(rig.sorted("SELECT n FROM b"), ["1", "2"]);
    rig.done("BEGIN");
    rig.done("INSERT INTO b VALUES (7)");
    rig.elsewhere("DROP TABLE b");
    assert!(rig.error("COMMIT").message.contains("was dropped"));
}

/// Waits until as many hold the instance, which says that statements have begun or ended.
fn until_held(rig: &Rig, fits: impl Fn(usize) -> bool) {
    let came = (0..2000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        fits(Arc::strong_count(&rig.instance))
    });
    assert!(came, "{} hold the instance", Arc::strong_count(&rig.instance));
}

/// Begins a statement that takes hours, and leaves it in the midst of its rows. `before` hold the instance
/// when nothing runs.
fn leave(rig: &Rig, before: usize, sql: &str) {
    let prepared = rig.session.prepare(sql).unwrap();
    let mut running = pin!(rig.session.execute(&prepared, Vec::new()));
    rig.block_on(async { assert!(futures::poll!(running.as_mut()).is_pending()) });
    // Its thread holds it, and the rows that it reads do.
    until_held(rig, |count| count >= before + 2);
    rig.block_on(async { assert!(futures::poll!(running.as_mut()).is_pending()) });
}

#[test]
fn a_change_ends_with_its_client() {
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE t (n INT);
         CREATE TABLE r (n BIGINT);\n",
    );
    let before = Arc::strong_count(&rig.instance);
    rig.done("INSERT INTO t SELECT unnest(range(0, 20000))");
    for hours in [
        "INSERT INTO r SELECT count(*) FROM t a, t b, t c WHERE a.n + b.n + c.n = -1",
        "INSERT INTO r SELECT sum(x) FROM (SELECT unnest(range(0, 100000)) AS x FROM t a, t b)",
        "DELETE FROM t WHERE n = (SELECT count(*) FROM t a CROSS JOIN t b CROSS JOIN t c)",
    ] {
        until_held(&rig, |count| count == before);
        leave(&rig, before, hours);
        // It has let go of the tables.
        rig.elsewhere("INSERT INTO r VALUES (7)");
        until_held(&rig, |count| count == before);
        assert_eq!(rig.rows("SELECT n FROM r"), ["7"], "{hours}");
        rig.done("DELETE FROM r");
    }
    // One that nobody waits for by the time it gets hold of the tables is not made up for later.
    let prepared = rig.session.prepare("INSERT INTO r VALUES (1)").unwrap();
    let held = rig.instance.engine().begin_write();
    let answer = rig.block_on(async { rig.session.execute(&prepared, Vec::new()).now_or_never() });
    assert!(answer.is_none());
    drop(held);
    until_held(&rig, |count| count == before);
    assert!(rig.rows("SELECT n FROM r").is_empty());
}

/// What a source has is read before the tables are held, however long it takes.
#[test]
fn an_insert_of_a_slow_source_holds_no_table() {
    let topic = "dml: slow";
    memory::create(topic, 1);
    let append = |n: i64| {
        memory::append(topic, 0, None, Some(format!("{{\"n\": {n}}}").as_bytes()), 0);
    };
    append(1);
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE s (n BIGINT) WITH (connector = 'memory', topic = '{topic}',
           scan.bounded.mode = 'offsets', scan.bounded.offsets = '0@3');
         CREATE TABLE r (n BIGINT PRIMARY KEY);\n"
    ));
    let before = Arc::strong_count(&rig.instance);
    let prepared = rig.session.prepare("INSERT INTO r SELECT n FROM s").unwrap();
    let mut running = pin!(rig.session.execute(&prepared, Vec::new()));
    rig.block_on(async { assert!(futures::poll!(running.as_mut()).is_pending()) });
    until_held(&rig, |count| count >= before + 2);
    rig.elsewhere("INSERT INTO r VALUES (7)");
    append(2);
    append(3);
    let answer = rig.block_on(running).unwrap();
    assert!(matches!(answer.body, Body::Changed { rows: 3, .. }));
    assert_eq!(rig.rows("SELECT n FROM r ORDER BY n"), ["1", "2", "3", "7"]);
    // The keys are looked at when they are.
    let error = rig.error("INSERT INTO r SELECT n FROM s");
    assert!(error.message.contains("exists already"), "{}", error.message);
}

#[test]
fn a_transaction_whose_change_was_left_can_only_be_rolled_back() {
    let rig = Rig::new();
    rig.done("CREATE TABLE t (n INT)");
    let before = Arc::strong_count(&rig.instance);
    rig.all(
        "INSERT INTO t SELECT unnest(range(0, 20000));
         BEGIN;
         INSERT INTO t VALUES (-1);\n",
    );
    until_held(&rig, |count| count == before);
    leave(
        &rig,
        before,
        "DELETE FROM t WHERE n = (SELECT count(*) FROM t a CROSS JOIN t b CROSS JOIN t c)",
    );
    let error = rig.error("INSERT INTO t VALUES (-2)");
    assert!(
        error.message.contains("all that is left is ROLLBACK"),
        "{}",
        error.message
    );
    rig.done("ROLLBACK");
    assert_eq!(rig.rows("SELECT count(*) FROM t"), ["20000"]);
}
