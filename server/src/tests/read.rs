//! SELECT over tables, views and sources.

use std::sync::Arc;

use weir_engine::connector::memory;

use super::rig::Rig;
use crate::Body;

fn record(topic: &str, partition: usize, json: &str) {
    memory::append(topic, partition, None, Some(json.as_bytes()), 0);
}

#[test]
fn a_view_is_first_read_when_it_has_caught_up() {
    let topic = "read: catch up";
    memory::create(topic, 2);
    for n in 0..10_000 {
        record(topic, n % 2, &format!("{{\"n\": {n}}}"));
    }
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE s (n BIGINT) WITH (connector = 'memory', topic = '{topic}');
         CREATE MATERIALIZED VIEW m AS SELECT count(*) AS c, sum(n) AS s FROM s;
         CREATE MATERIALIZED VIEW above AS SELECT c FROM m;
         CREATE MATERIALIZED VIEW apart WITH (pipeline = 'apart') AS SELECT c FROM m;\n"
    ));
    assert_eq!(rig.rows("SELECT c FROM apart"), ["10000"]);
    assert_eq!(rig.rows("SELECT c, s FROM m"), ["10000|49995000"]);
    assert_eq!(rig.rows("SELECT c FROM above"), ["10000"]);
    record(topic, 0, "{\"n\": 1}");
    rig.until("SELECT c FROM above", &["10001"]);
    rig.until("SELECT c FROM apart", &["10001"]);
}

#[test]
fn a_source_is_read_to_the_end_of_now() {
    let topic = "read: source";
    memory::create(topic, 1);
    for n in 0..100 {
        record(topic, 0, &format!("{{\"n\": {n}, \"half\": {}}}", n / 2));
    }
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE s (n BIGINT, half BIGINT, place BIGINT METADATA FROM 'offset')
         WITH (connector = 'memory', topic = '{topic}');
         CREATE TABLE t (n BIGINT PRIMARY KEY, word TEXT);
         INSERT INTO t VALUES (98, 'near the end');\n"
    ));
    assert_eq!(
        rig.rows("SELECT count(*), max(place), sum(half) FROM s"),
        ["100|99|2450"]
    );
    assert_eq!(
        rig.rows("SELECT half, word FROM s JOIN t ON s.n = t.n"),
        ["49|near the end"]
    );
    rig.done("INSERT INTO t SELECT n, 'from the source' FROM s WHERE n < 3");
    assert_eq!(rig.rows("SELECT count(*) FROM t"), ["4"]);
}

#[test]
fn all_of_sql_is_there_for_what_is_kept() {
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE t (id INT PRIMARY KEY, g TEXT, n INT);
         INSERT INTO t VALUES (1, 'a', 10), (2, 'a', 20), (3, 'b', 30);
         CREATE MATERIALIZED VIEW m AS SELECT g, sum(n) AS s FROM t GROUP BY g;\n",
    );
    assert_eq!(
        rig.rows("SELECT g, s FROM m WHERE s > 29 ORDER BY g DESC"),
        ["b|30", "a|30"]
    );
    assert_eq!(
        rig.rows(
            "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 4)
             SELECT sum(n), (SELECT count(*) FROM m) FROM r"
        ),
        ["10|2"]
    );
    assert_eq!(
        rig.rows("SELECT id, sum(n) OVER (PARTITION BY g ORDER BY id) FROM t ORDER BY id"),
        ["1|10", "2|30", "3|30"]
    );
    assert_eq!(
        rig.rows("SELECT t.id FROM t FULL JOIN m ON t.n = m.s + 1 ORDER BY 1"),
        ["1", "2", "3", "NULL", "NULL"]
    );
    assert!(rig.rows("SELECT * FROM t WHERE false").is_empty());
    assert_eq!(rig.rows("SELECT 1 + 1, 'x'"), ["2|x"]);
    // Arithmetic is checked, as in continuous queries.
    assert!(
        rig.error("SELECT id + CAST(2147483647 AS INT) FROM t")
            .message
            .contains("out of range")
    );
}

#[test]
fn an_error_has_its_line_and_a_caret() {
    let rig = Rig::new();
    rig.all("CREATE TABLE things (a INT);\n");
    let error = rig.error("SELECT a\nFROM thing");
    assert!(
        error
            .message
            .starts_with("relation 'thing' does not exist; did you mean 'things'?"),
        "{}",
        error.message
    );
    let error = rig.error("DESCRIBE thing");
    assert_eq!(
        error.message,
        "relation 'thing' does not exist; did you mean 'things'?\n  DESCRIBE thing\n           ^"
    );
    let error = rig.error("SELECT a\nFORM things");
    assert!(error.message.contains("\n  FORM things\n  "), "{}", error.message);
    assert!(
        rig.error("SELECT b FROM things")
            .message
            .contains("column 'b' does not exist")
    );
}

#[test]
fn a_query_ends_when_its_rows_are_dropped() {
    let rig = Rig::new();
    let values: Vec<String> = (0..3000).map(|n| format!("({n})")).collect();
    rig.all("CREATE TABLE t (a INT);\n");
    rig.done(&format!("INSERT INTO t VALUES {}", values.join(", ")));
    let answer = rig.run("SELECT a.a FROM t a, t b, t c");
    drop(answer);
    // Its thread has let go of the snapshot and the instance.
    let weak = std::sync::Arc::downgrade(&rig.instance);
    let rig = rig.restart();
    for _ in 0..1000 {
        if weak.upgrade().is_none() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(weak.upgrade().is_none());
    assert_eq!(rig.rows("SELECT count(*) FROM t"), ["3000"]);
}

/// A query that its client has left ends, even where it compares rows for hours without finding any.
#[test]
fn a_query_ends_with_its_client() {
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE t (n INT);
         INSERT INTO t SELECT unnest(range(0, 20000));\n",
    );
    let before = Arc::strong_count(&rig.instance);
    for sql in [
        "SELECT count(*) FROM t a, t b, t c WHERE a.n + b.n + c.n = -1",
        "SELECT a.n FROM t a JOIN t b ON a.n / 100000 = b.n / 100000 JOIN t c ON b.n < c.n AND a.n + c.n < -1",
        "SELECT count(*) FROM t a JOIN t b ON a.n / 100000 = b.n / 100000 AND a.n + b.n = -1 JOIN t c ON true",
        "SELECT count(*) FROM t a CROSS JOIN t b CROSS JOIN t c",
        "SELECT sum(x) FROM (SELECT unnest(range(0, 100000)) AS x FROM t a, t b)",
    ] {
        drop(rig.run(sql));
        let ended = (0..2000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            Arc::strong_count(&rig.instance) == before
        });
        assert!(ended, "{sql} still runs");
    }
}

/// Bad records that a SELECT passes over are told, with the first of them, when the rows have come.
#[test]
fn a_select_tells_what_it_passed_over() {
    let topic = "read: passed over";
    memory::create(topic, 1);
    for json in ["{\"n\": 1}", "{\"n\": \"much\"}", "{\"n\": 3}", "nothing"] {
        record(topic, 0, json);
    }
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE skips (n BIGINT) WITH (connector = 'memory', topic = '{topic}', on_error = 'skip');
         CREATE SOURCE fails (n BIGINT) WITH (connector = 'memory', topic = '{topic}');
         CREATE TABLE t (n BIGINT);\n"
    ));
    let said = |sql: &str| {
        let answer = rig.run(sql);
        let Body::Rows(rows) = answer.body else {
            panic!("no rows");
        };
        let late = rows.late.clone();
        let count: usize = rig
            .wait_for(rows.collect())
            .unwrap()
            .iter()
            .map(|rows| rows.num_rows())
            .sum();
        (count, late.take())
    };
    let notice = "source 'skips': 2 bad records passed over (on_error = 'skip'), the first at read: passed over:0@1: ";
    for (sql, rows) in [
        ("SELECT n FROM skips", 2),
        ("SELECT a.n FROM skips a JOIN skips b ON a.n = b.n", 2),
    ] {
        let (count, notices) = said(sql);
        assert_eq!((count, notices.len()), (rows, 1), "{notices:?}");
        assert!(
            notices[0].starts_with(notice) && notices[0].contains("'much' is no BIGINT"),
            "{notices:?}"
        );
    }
    assert_eq!(said("SELECT n FROM t"), (0, vec![]));
    let answer = rig.run("INSERT INTO t SELECT n FROM skips");
    assert!(answer.notices[0].starts_with(notice), "{:?}", answer.notices);
    let error = rig.error("SELECT n FROM fails");
    assert!(
        error.message.contains("bad record at read: passed over:0@1"),
        "{}",
        error.message
    );
}
