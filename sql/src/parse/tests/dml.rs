//! INSERT, UPDATE and DELETE.

use super::{one, refuse};
use crate::statement::Statement;

#[test]
fn dml_is_plain() {
    for text in [
        "INSERT INTO t VALUES (1, 'a'), (2, NULL)",
        "INSERT INTO t (a, b) SELECT a, b FROM u",
        "INSERT INTO t (a) WITH x AS (SELECT 1 AS a) SELECT a FROM x",
        "UPDATE t SET a = a + 1, b = DATE '2026-01-01' WHERE c IN (SELECT c FROM u)",
        "UPDATE t AS x SET a = 1",
        "DELETE FROM t",
        "DELETE FROM t AS x WHERE x.a > 3",
        "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
        "INSERT INTO t SELECT a FROM u ON CONFLICT(a) DO UPDATE SET b = t.b + excluded.b WHERE excluded.b > 1",
        "UPDATE t SET a = u.a FROM u WHERE t.b = u.b",
        "DELETE FROM t USING u JOIN v USING(a) WHERE t.a = u.a",
        "INSERT INTO session (a) VALUES (1)",
        "INSERT INTO hop (a, b) VALUES (1, 2)",
    ] {
        let Statement::Dml(statement) = one(text) else {
            panic!("{text}");
        };
        assert_eq!(statement.to_string(), text);
    }
    let Statement::Dml(cast) = one("INSERT INTO t SELECT a::timestamp FROM TUMBLE(u, x, INTERVAL '1' DAY)") else {
        panic!();
    };
    assert!(
        cast.to_string()
            .contains("a::TIMESTAMP(6) FROM (SELECT *, weir_window_start(x"),
        "{cast}"
    );
}

#[test]
fn what_dml_has_not_is_refused() {
    refuse(
        "¦INSERT INTO t VALUES (1) ON CONFLICT ON CONSTRAINT c DO NOTHING",
        "constraints have no names",
    );
    refuse(
        "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET (¦a, b) = (1, 2)",
        "assign one column at a time",
    );
    refuse(
        "INSERT INTO t VALUES (1) ¦ON DUPLICATE KEY UPDATE a = 1",
        "write ON CONFLICT (key) DO UPDATE",
    );
    refuse("INSERT INTO t VALUES (1) ¦RETURNING a", "RETURNING is not there yet");
    refuse(
        "INSERT INTO t VALUES (1, coalesce(¦DEFAULT, 2))",
        "DEFAULT stands for a whole value only",
    );
    refuse(
        "UPDATE t SET a = 1 WHERE b = ¦DEFAULT",
        "DEFAULT stands for a whole value only",
    );
    refuse("¦INSERT t VALUES (1)", "write INSERT INTO table");
    refuse("¦INSERT INTO t DEFAULT VALUES", "INSERT needs VALUES (…) or a SELECT");
    refuse("INSERT INTO t SELECT 1 ¦EMIT CHANGES", "runs once, without EMIT");
    refuse("¦UPDATE t FROM u SET a = 1 WHERE t.a = u.a", "FROM stands behind SET");
    refuse("UPDATE t SET (¦a, b) = (1, 2)", "assign one column at a time");
    refuse("¦UPDATE t JOIN u ON t.a = u.a SET a = 1", "write UPDATE table SET");
    refuse("¦DELETE FROM t, u", "write DELETE FROM table");
    refuse("¦DELETE FROM t WHERE a = 1 LIMIT 3", "no LIMIT");
    refuse(
        "DELETE FROM t ¦WHER a = 1".replace("¦WHER a", "WHER ¦a").as_str(),
        "found a",
    );
}
