//! CREATE, DROP, PAUSE, RESUME, ALTER and COMMENT.

use super::rig::Rig;
use crate::ErrorKind;

const SHOP: &str = "
    CREATE TABLE items (id INT PRIMARY KEY, name TEXT, price INT);
    CREATE VIEW cheap AS SELECT * FROM items WHERE price < 10;
    CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n, sum(price) AS total FROM cheap;
    CREATE MATERIALIZED VIEW doubled AS SELECT n * 2 AS n FROM totals;
    CREATE SINK counted FROM totals WITH (connector = 'blackhole');
    ";

#[test]
fn what_exists_is_neither_made_again_nor_lost() {
    let rig = Rig::new();
    rig.all(SHOP);
    let error = rig.error("CREATE TABLE items (x INT)");
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert_eq!(
        error.message,
        "table 'items' exists already; choose another name, or DROP it first\n  CREATE TABLE items (x INT)\n  \
         \u{20}            ^"
    );
    assert!(
        rig.error("CREATE VIEW cheap AS SELECT 1 AS a")
            .message
            .contains("CREATE OR REPLACE VIEW")
    );
    for (kind, rest) in [
        ("TABLE items", "(x INT)"),
        ("VIEW cheap", "AS SELECT 1 AS x"),
        ("MATERIALIZED VIEW totals", "AS SELECT 1 AS x FROM items"),
        ("SINK counted", "FROM totals WITH (connector = 'blackhole')"),
    ] {
        let (words, name) = kind.rsplit_once(' ').unwrap();
        let notices = rig.notices(&format!("CREATE {words} IF NOT EXISTS {name} {rest}"));
        assert_eq!(notices.len(), 1, "{kind}");
        assert!(
            notices[0].contains("exists already, and was left as it is"),
            "{notices:?}"
        );
    }
    // Another kind of that name is no reason to be content.
    let error = rig.error("CREATE VIEW IF NOT EXISTS items AS SELECT 1 AS x");
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(
        rig.error("CREATE TABLE weir.t (x INT)")
            .message
            .contains("leave out 'weir.'")
    );
}

#[test]
fn what_others_read_stays_without_cascade() {
    let rig = Rig::new();
    rig.all(SHOP);
    let error = rig.error("DROP TABLE items");
    assert_eq!(error.kind, ErrorKind::Conflict);
    for name in [
        "view 'cheap'",
        "materialized view 'totals'",
        "'doubled'",
        "sink 'counted'",
    ] {
        assert!(error.message.contains(name), "{}", error.message);
    }
    assert!(rig.error("DROP VIEW cheap").message.contains("write CASCADE"));
    assert!(
        rig.error("DROP TABLE totals")
            .message
            .contains("write MATERIALIZED VIEW instead")
    );
    assert_eq!(rig.error("DROP TABLE nothing").kind, ErrorKind::NotFound);
    assert!(rig.notices("DROP TABLE IF EXISTS nothing")[0].contains("nothing to drop"));
    assert!(rig.error("DROP VIEW weir.lag").message.contains("system relation"));

    assert_eq!(rig.done("DROP SINK counted"), "DROP SINK");
    let notices = rig.notices("DROP TABLE items CASCADE");
    assert!(
        notices[0].contains("view 'cheap', materialized view 'totals'"),
        "{notices:?}"
    );
    assert!(rig.rows("SHOW TABLES").is_empty() && rig.rows("SHOW PIPELINES").is_empty());
    assert!(rig.error("SELECT * FROM totals").message.contains("does not exist"));
    // The name is free, and nothing of the old one is left.
    rig.all("CREATE TABLE items (id INT PRIMARY KEY, name TEXT);\n");
    assert!(rig.rows("SELECT * FROM items").is_empty());
}

#[test]
fn a_plain_view_is_replaced_unless_something_runs_by_it() {
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE t (a INT PRIMARY KEY, b INT);
         CREATE VIEW v AS SELECT a FROM t;
         CREATE VIEW w AS SELECT a + 1 AS c FROM v;
         INSERT INTO t VALUES (1, 10), (2, 20);
         CREATE OR REPLACE VIEW v AS SELECT a * 100 AS a FROM t WHERE b > 10;\n",
    );
    assert_eq!(rig.rows("SELECT c FROM w"), ["201"]);
    // A younger relation may be read by an older view.
    rig.all("CREATE TABLE late (a INT);\n INSERT INTO late VALUES (7);\n");
    rig.done("CREATE OR REPLACE VIEW v AS SELECT a FROM late");
    let rig = rig.restart();
    assert_eq!(rig.rows("SELECT c FROM w"), ["8"]);

    let broken = rig.error("CREATE OR REPLACE VIEW v AS SELECT 1 AS other");
    assert!(
        broken.message.contains("view 'w' would no longer work"),
        "{}",
        broken.message
    );
    let circle = rig.error("CREATE OR REPLACE VIEW v AS SELECT c AS a FROM w");
    assert!(circle.message.contains("would read itself"), "{}", circle.message);
    rig.done("CREATE MATERIALIZED VIEW m AS SELECT c FROM w");
    let running = rig.error("CREATE OR REPLACE VIEW v AS SELECT 1 AS a");
    assert!(running.message.contains("materialized view 'm'"), "{}", running.message);
    assert_eq!(rig.rows("SELECT c FROM w"), ["8"]);
}

#[test]
fn a_paused_view_stays_at_its_epoch_over_a_restart() {
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE t (a INT);
         CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t;
         CREATE MATERIALIZED VIEW above AS SELECT n FROM m;
         INSERT INTO t VALUES (1), (2);\n",
    );
    assert_eq!(rig.rows("SELECT n FROM above"), ["2"]);
    let notices = rig.notices("PAUSE m");
    assert!(notices[0].contains("'above'"), "{notices:?}");
    assert!(rig.notices("PAUSE m")[0].contains("paused already"));
    rig.elsewhere("INSERT INTO t VALUES (3)");
    let answer = rig.run("SELECT n FROM m");
    assert!(answer.notices[0].contains("view 'm' is paused"), "{:?}", answer.notices);
    assert_eq!(rig.rows("SELECT n FROM m"), ["2"]);
    assert!(rig.notices("SELECT n FROM above")[0].contains("waits for 'm'"));

    let rig = rig.restart();
    assert_eq!(
        rig.rows("SELECT name, state FROM weir.pipelines WHERE name = 'm'"),
        ["m|PAUSED"]
    );
    assert_eq!(rig.rows("SELECT n FROM m"), ["2"]);
    assert_eq!(rig.done("RESUME m"), "RESUME");
    rig.until("SELECT n FROM above", &["3"]);
    assert!(rig.notices("RESUME m")[0].contains("is not paused: it runs"));
    assert!(
        rig.error("PAUSE t")
            .message
            .contains("only materialized views and sinks run")
    );
}

#[test]
fn names_and_comments_change_and_stay() {
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE t (a INT PRIMARY KEY);
         CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t;
         INSERT INTO t VALUES (1);
         COMMENT ON TABLE t IS 'it''s a table';
         COMMENT ON MATERIALIZED VIEW m IS 'counts';
         COMMENT ON MATERIALIZED VIEW m IS NULL;
         ALTER MATERIALIZED VIEW m RENAME TO \"M 2\";\n",
    );
    let error = rig.error("ALTER TABLE t RENAME TO u");
    assert!(error.message.contains("materialized view 'M 2'"), "{}", error.message);
    assert!(
        rig.error("COMMENT ON VIEW t IS 'x'")
            .message
            .contains("write TABLE instead")
    );
    let rig = rig.restart();
    rig.until("SELECT n FROM \"M 2\"", &["1"]);
    assert_eq!(rig.rows("SHOW TABLES"), ["t|a|it's a table"]);
    assert_eq!(
        rig.rows("SHOW CREATE \"M 2\""),
        ["CREATE MATERIALIZED VIEW \"M 2\" AS SELECT count(*) AS n FROM t"]
    );
    rig.done("DROP MATERIALIZED VIEW \"M 2\"");
    rig.done("ALTER TABLE t RENAME TO u");
    let duplicate = rig.error("INSERT INTO u VALUES (1)");
    assert!(duplicate.message.contains("'u'"), "{}", duplicate.message);
}

#[test]
fn a_source_whose_start_cannot_be_fixed_is_not_created() {
    let rig = Rig::new();
    let error = rig.error(
        "CREATE SOURCE s (a INT) WITH (connector = 'memory', topic = 'never made', scan.startup.mode = 'latest')",
    );
    assert!(error.message.contains("never made"), "{}", error.message);
    assert!(rig.rows("SHOW SOURCES").is_empty());
    let rig = rig.restart();
    assert!(rig.rows("SHOW SOURCES").is_empty());
}
