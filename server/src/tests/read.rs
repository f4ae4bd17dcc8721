//! SELECT over tables, views and sources.

use super::rig::Rig;
use weir_engine::connector::memory;

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
            .contains("verflow")
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
