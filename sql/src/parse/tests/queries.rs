//! Queries: EMIT, windows, types, and PostgreSQL's readings.

use sqlparser::ast::{BinaryOperator, Expr, Query as Tree, SelectItem, SetExpr, TableFactor};
use sqlparser::tokenizer::Location;

use super::{one, query, refuse, sql};
use crate::statement::Emit;

#[test]
fn emit_is_cut_from_the_end() {
    let closes = |timeout_ms| Some(Emit::OnWindowClose { timeout_ms });
    let cases = [
        ("SELECT a FROM t", None),
        ("SELECT a FROM t EMIT CHANGES", Some(Emit::Changes)),
        ("SELECT a FROM t emit on window close", closes(None)),
        ("SELECT a FROM t EMIT FINAL", closes(None)),
        (
            "SELECT a FROM t EMIT ON WINDOW CLOSE WITH TIMEOUT '1s'",
            closes(Some(1000)),
        ),
        (
            "SELECT a FROM t EMIT FINAL WITH TIMEOUT '5 minutes'",
            closes(Some(300_000)),
        ),
        (
            "SELECT a FROM t emit on window close with timeout interval '10' second",
            closes(Some(10_000)),
        ),
        (
            "SELECT a FROM t EMIT ON WINDOW CLOSE WITH TIMEOUT INTERVAL '2 hours'",
            closes(Some(7_200_000)),
        ),
        ("(SELECT a FROM t) EMIT CHANGES", Some(Emit::Changes)),
    ];
    for (text, emit) in cases {
        let query = query(text);
        assert_eq!(query.emit, emit, "{text}");
        assert_eq!(query.text.trim_matches(['(', ')']), "SELECT a FROM t");
        assert_eq!(sql(&query).trim_matches(['(', ')']), "SELECT a FROM t");
    }
}

#[test]
fn limit_may_stand_on_either_side_of_emit() {
    for text in [
        "SELECT a FROM t LIMIT 3 EMIT CHANGES",
        "SELECT a FROM t EMIT CHANGES LIMIT 3",
    ] {
        let query = query(text);
        assert_eq!(query.text, "SELECT a FROM t LIMIT 3");
        assert_eq!(sql(&query), "SELECT a FROM t LIMIT 3");
        assert_eq!(query.emit, Some(Emit::Changes));
    }
    refuse(
        "SELECT a FROM t EMIT CHANGES ¦WHERE a = 1",
        "expected LIMIT or the end of the statement after EMIT",
    );
}

#[test]
fn emit_may_be_a_name() {
    for text in [
        "SELECT emit FROM t",
        "SELECT a, emit FROM t",
        "SELECT t.emit FROM t",
        "SELECT a AS emit FROM t",
        "SELECT a FROM t AS emit",
        "SELECT a FROM t ORDER BY emit",
        "SELECT a FROM t emit WHERE emit.a = 1",
    ] {
        assert_eq!(query(text).emit, None, "{text}");
    }
}

#[test]
fn mistakes_in_emit_have_places() {
    refuse(
        "SELECT a FROM t ¦EMIT",
        "EMIT is followed by CHANGES, ON WINDOW CLOSE or FINAL",
    );
    refuse("SELECT a FROM t ¦EMIT ON CLOSE", "EMIT is followed by");
    refuse("SELECT a FROM t ¦EMIT ON WINDOW OPEN", "EMIT is followed by");
    refuse("SELECT a FROM (SELECT a FROM t ¦EMIT CHANGES) x", "not in parentheses");
    refuse(
        "SELECT a FROM t EMIT CHANGES ¦EMIT FINAL",
        "there is a second EMIT clause",
    );
    refuse(
        "SELECT a FROM t EMIT CHANGES ¦WITH TIMEOUT '1s'",
        "it stands behind EMIT ON WINDOW CLOSE",
    );
    refuse(
        "SELECT a FROM t EMIT ON WINDOW CLOSE WITH ¦TIMEOUT",
        "WITH TIMEOUT is followed by a length of time",
    );
    refuse(
        "SELECT a FROM t EMIT ON WINDOW CLOSE WITH TIMEOUT ¦10",
        "WITH TIMEOUT is followed by a length of time",
    );
    refuse(
        "SELECT a FROM t EMIT ON WINDOW CLOSE WITH TIMEOUT INTERVAL ¦'1' MONTH",
        "is no duration",
    );
    refuse(
        "SELECT a FROM t EMIT ON WINDOW CLOSE WITH TIMEOUT ¦'0s'",
        "a length of time above 0",
    );
    refuse(
        "SELECT a FROM t EMIT ON WINDOW CLOSE ¦LATE ROWS TO late",
        "LATE ROWS TO is not there yet",
    );
    refuse("SELECT a FROM ¦EMIT CHANGES", "expected a name, found EMIT");
}

#[test]
fn tumble_becomes_a_derived_table() {
    let bounds = "SELECT *, weir_window_start(ts, INTERVAL '10' SECOND, INTERVAL '0 seconds') AS window_start, \
         weir_window_end(ts, INTERVAL '10' SECOND, INTERVAL '0 seconds') AS window_end";
    let cases = [
        ("TUMBLE(bids, ts, INTERVAL '10' SECOND)", "bids", "AS bids"),
        ("tumble(bids, ts, INTERVAL '10' SECOND) AS w", "bids", "AS w"),
        ("TUMBLE(bids, ts, INTERVAL '10' SECOND) w", "bids", "w"),
        ("TUMBLE(bids, bids.ts, INTERVAL '10' SECOND)", "bids", "AS bids"),
        ("TUMBLE(bids b, b.ts, INTERVAL '10' SECOND)", "bids AS b", "AS b"),
        ("TUMBLE(bids AS b, ts, INTERVAL '10' SECOND) AS w", "bids AS b", "AS w"),
        ("TUMBLE(bids, w.ts, INTERVAL '10' SECOND) AS w", "bids", "AS w"),
        (
            "TUMBLE(weir.\"Bids\", ts, INTERVAL '10' SECOND)",
            "weir.\"Bids\"",
            "AS \"Bids\"",
        ),
        (
            "TUMBLE((SELECT * FROM bids), ts, INTERVAL '10' SECOND)",
            "(SELECT * FROM bids)",
            "",
        ),
        (
            "TUMBLE((SELECT * FROM bids) b, b.ts, INTERVAL '10' SECOND)",
            "(SELECT * FROM bids) AS b",
            "AS b",
        ),
        (
            "TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))",
            "bids",
            "AS bids",
        ),
        (
            "TABLE(TUMBLE(TABLE bids b, DESCRIPTOR(b.ts), INTERVAL '10' SECOND)) AS w",
            "bids AS b",
            "AS w",
        ),
    ];
    for (window, from, alias) in cases {
        let query = query(&format!("SELECT count(*) FROM {window}"));
        let alias = if alias.is_empty() {
            String::new()
        } else {
            format!(" {alias}")
        };
        assert_eq!(
            sql(&query),
            format!("SELECT count(*) FROM ({bounds} FROM {from} WHERE ts IS NOT NULL){alias}"),
            "{window}"
        );
    }
}

#[test]
fn hop_becomes_a_derived_table() {
    let query =
        query("SELECT * FROM HOP(bids, ts, INTERVAL '2' SECOND, INTERVAL '10' SECOND, INTERVAL '1' SECOND) AS w");
    assert_eq!(
        sql(&query),
        "SELECT * FROM (SELECT *, weir_hop_start(ts, INTERVAL '2' SECOND, INTERVAL '10' SECOND, \
         INTERVAL '1' SECOND) AS window_start, weir_hop_end(ts, INTERVAL '2' SECOND, \
         INTERVAL '10' SECOND, INTERVAL '1' SECOND) AS window_end FROM bids \
         WHERE ts IS NOT NULL) AS w"
    );
}

#[test]
fn cumulate_and_session_become_derived_tables() {
    let day = "INTERVAL '1' DAY";
    assert_eq!(
        sql(&query(&format!(
            "SELECT * FROM CUMULATE(b, ts, {day}, INTERVAL '2' DAY)"
        ))),
        format!(
            "SELECT * FROM (SELECT *, weir_cumulate_start(ts, {day}, INTERVAL '2' DAY, INTERVAL '0 seconds') AS \
             window_start, weir_cumulate_end(ts, {day}, INTERVAL '2' DAY, INTERVAL '0 seconds') AS window_end FROM b \
             WHERE ts IS NOT NULL) AS b"
        )
    );
    let session = |from: &str, keys: &str, alias: &str| {
        format!(
            "SELECT * FROM (SELECT *, weir_session_start(ts, {day}{keys}) AS window_start, weir_session_end(ts, \
             {day}{keys}) AS window_end FROM {from} WHERE ts IS NOT NULL) AS {alias}"
        )
    };
    let cases = [
        ("SESSION(b, ts, ¤)", session("b", "", "b")),
        ("SESSION(b PARTITION BY k, ts, ¤) AS w", session("b", ", k", "w")),
        (
            "SESSION(b x PARTITION BY x.k, l, x.ts, ¤)",
            session("b AS x", ", k, l", "x"),
        ),
        (
            "TABLE(SESSION(TABLE b PARTITION BY (k, l), DESCRIPTOR(ts), ¤)) AS w",
            session("b", ", k, l", "w"),
        ),
        (
            "SESSION((SELECT * FROM c) AS x PARTITION BY k, ts, ¤)",
            session("(SELECT * FROM c) AS x", ", k", "x"),
        ),
    ];
    for (window, expected) in cases {
        let text = format!("SELECT * FROM {}", window.replace('¤', day));
        assert_eq!(sql(&query(&text)), expected, "{window}");
    }
    // A relation may have such a name.
    one("INSERT INTO session (SELECT a FROM t)");
}

#[test]
fn windows_stand_wherever_relations_do() {
    for text in [
        "SELECT * FROM a JOIN TUMBLE(b x, x.ts, INTERVAL '1' DAY) y ON a.k = y.k",
        "SELECT * FROM a, HOP(b, ts, INTERVAL '1' DAY, INTERVAL '2' DAY)",
        "WITH w AS (SELECT * FROM TUMBLE(b, ts, INTERVAL '1' DAY)) SELECT * FROM w",
        "SELECT a FROM b WHERE a IN (SELECT a FROM TUMBLE(c, ts, INTERVAL '1' DAY))",
        "SELECT * FROM TUMBLE((SELECT * FROM TUMBLE(b, ts, INTERVAL '1' DAY)) x, x.ts, INTERVAL '1' DAY)",
        "SELECT * FROM (SELECT * FROM TUMBLE(b, ts, '1 day'::interval)) x",
        "SELECT * FROM TUMBLE(b, ts, INTERVAL '1' DAY, -INTERVAL '1' HOUR)",
    ] {
        let tree = sql(&query(text));
        assert!(tree.contains("weir_"), "{text}\n{tree}");
        assert!(!tree.contains("TUMBLE(") && !tree.contains("HOP("), "{text}\n{tree}");
    }
}

#[test]
fn names_in_windows_keep_their_places() {
    let query = query("SELECT *\nFROM TUMBLE(bids,\n  ts, INTERVAL '10' SECOND)");
    let relation = relation(&query.ast);
    let TableFactor::Derived { subquery, .. } = relation else {
        panic!("{relation:?}");
    };
    let SetExpr::Select(select) = subquery.body.as_ref() else {
        panic!("{subquery:?}");
    };
    let TableFactor::Table { name, .. } = &select.from[0].relation else {
        panic!("{select:?}");
    };
    let bids = name.0[0].as_ident().unwrap();
    assert_eq!(bids.span.start, Location { line: 2, column: 13 });
    let Some(Expr::IsNotNull(time)) = &select.selection else {
        panic!("{select:?}");
    };
    let Expr::Identifier(ts) = time.as_ref() else {
        panic!("{time:?}");
    };
    assert_eq!(ts.span.start, Location { line: 3, column: 3 });
}

fn relation(query: &Tree) -> &TableFactor {
    let SetExpr::Select(select) = query.body.as_ref() else {
        panic!("{query:?}");
    };
    &select.from[0].relation
}

#[test]
fn mistakes_in_windows_have_places() {
    refuse(
        "SELECT * FROM ¦TUMBLE(b, ts)",
        "a window has 3 or 4 arguments, not 2: write TUMBLE(relation, column, size",
    );
    refuse(
        "SELECT * FROM ¦HOP(b, ts, INTERVAL '1' DAY)",
        "a window has 4 or 5 arguments, not 3",
    );
    refuse(
        "SELECT * FROM TUMBLE(¦)",
        "expected a relation's name or a query in parentheses, found )",
    );
    refuse(
        "SELECT * FROM TUMBLE(¦1, ts, INTERVAL '1' DAY)",
        "expected a relation's name",
    );
    refuse(
        "SELECT * FROM TUMBLE(b ¦+ 1, ts, INTERVAL '1' DAY)",
        "expected a comma after the relation, found +",
    );
    refuse(
        "SELECT * FROM TUMBLE(b AS¦, ts, INTERVAL '1' DAY)",
        "expected an alias after AS",
    );
    refuse(
        "SELECT * FROM TUMBLE(b, ¦ts + 1, INTERVAL '1' DAY)",
        "compute it in a query in parentheses",
    );
    refuse(
        "SELECT * FROM TUMBLE(b, ¦c.ts, INTERVAL '1' DAY)",
        "c is not the relation of this window",
    );
    refuse(
        "SELECT * FROM TUMBLE(bids b, ¦bids.ts, INTERVAL '1' DAY)",
        "bids is not the relation of this window",
    );
    refuse(
        "SELECT * FROM TUMBLE(b, ts, ¦'1 day')",
        "a window's lengths are intervals",
    );
    refuse("SELECT * FROM TUMBLE(b, ts, ¦10)", "a window's lengths are intervals");
    refuse(
        "SELECT * FROM ¦TUMBLE(b, ts, size => INTERVAL '1' DAY)",
        "is no argument of a window",
    );
    refuse(
        "SELECT * FROM ¦SESSION(b, k, ts, INTERVAL '1' DAY)",
        "a window has 3 arguments, not 4: write SESSION(relation [PARTITION BY column, …], column, gap)",
    );
    refuse(
        "SELECT * FROM ¦SESSION(b PARTITION BY ts, INTERVAL '1' DAY)",
        "a window has more than 3 arguments, not 3",
    );
    refuse(
        "SELECT * FROM SESSION(b PARTITION BY ¦lower(k), ts, INTERVAL '1' DAY)",
        "a window is over a column",
    );
    refuse(
        "SELECT * FROM SESSION(b ¦PARTITION k, ts, INTERVAL '1' DAY)",
        "expected a comma after the relation, found PARTITION",
    );
    refuse(
        "SELECT * FROM TUMBLE(b ¦PARTITION BY k, ts, INTERVAL '1' DAY)",
        "expected a comma after the relation, found PARTITION",
    );
    refuse(
        "SELECT * FROM TABLE(¦CUMULATE(TABLE b, DESCRIPTOR(ts), INTERVAL '1' DAY))",
        "a window has 4 or 5 arguments, not 3",
    );
    refuse(
        "SELECT * FROM TABLE(TUMBLE(TABLE b, ts, INTERVAL '1' DAY)¦, 1)",
        "expected ) after the window in TABLE(…)",
    );
    refuse(
        "SELECT * FROM TABLE(¦f(1))",
        "TABLE(…) holds TUMBLE(…), HOP(…), CUMULATE(…) or SESSION(…)",
    );
    refuse(
        "SELECT a FROM t GROUP BY ¦TUMBLE(ts, INTERVAL '1' DAY)",
        "a window stands in FROM",
    );
    refuse(
        "SELECT a FROM t ¦WINDOW TUMBLING (SIZE 1 HOUR)",
        "write FROM TUMBLE(relation, column, size)",
    );
    refuse(
        "SELECT * FROM TUMBLE(b, DESCRIPTOR(a, c), INTERVAL '1' DAY)"
            .replace("TUMBLE", "¦TUMBLE")
            .as_str(),
        "DESCRIPTOR holds one column",
    );
}

#[test]
fn operators_bind_as_in_postgresql() {
    let cases = [
        ("SELECT a>-1, b=-1, c<-1", "SELECT a > -1, b = -1, c < -1"),
        ("SELECT 2*-1, a||-1", "SELECT 2 * -1, a || -1"),
        (
            "SELECT top, start, format, sort FROM t start",
            "SELECT top, start, format, sort FROM t start",
        ),
        ("SELECT max(price) top FROM t", "SELECT max(price) AS top FROM t"),
    ];
    for (text, tree) in cases {
        assert_eq!(sql(&query(text)), tree);
    }
    // `||` binds looser than `+`, as PostgreSQL has it.
    let concat = query("SELECT 'n' || 1 + 2");
    let SetExpr::Select(select) = concat.ast.body.as_ref() else {
        panic!();
    };
    let SelectItem::UnnamedExpr(Expr::BinaryOp { op, .. }) = &select.projection[0] else {
        panic!("{select:?}");
    };
    assert_eq!(*op, BinaryOperator::StringConcat);
}

#[test]
fn queries_of_all_kinds_are_read() {
    for text in [
        "SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b",
        "SELECT a, count(*) FILTER (WHERE b > 1) FROM t GROUP BY a HAVING count(*) > 1",
        "SELECT a FROM t UNION ALL SELECT b FROM u EXCEPT SELECT c FROM v",
        "SELECT * EXCLUDE (a) FROM t",
        "SELECT * EXCEPT (a) FROM t",
        "SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b DESC NULLS LAST) AS n FROM t QUALIFY n <= 3",
        "SELECT a, sum(b) FROM t GROUP BY GROUPING SETS ((a), ())",
        "SELECT a, sum(b) FROM t GROUP BY ROLLUP (a)",
        "SELECT x FROM t, UNNEST(t.xs) AS u(x)",
        "SELECT * FROM t, LATERAL (SELECT t.a + 1 AS b) AS l",
        "SELECT a FROM t WHERE ts > now() - INTERVAL '1 hour' AND b BETWEEN 1 AND 2",
        "SELECT $1, a[1], s['x'], (row(1, 2)), ARRAY[1, 2] FROM t",
        "SELECT E'a\\nb', U&'\\0061', $$a'b$$, X'00', 1_000, 1e3",
        "SELECT a::int, TRY_CAST(a AS BIGINT), DATE '2026-01-01', TIMESTAMP '2026-01-01 00:00:00'",
        "SELECT a IS NOT DISTINCT FROM b, a ~ 'x', a !~* 'x', a SIMILAR TO 'x', a ILIKE 'x%'",
        "SELECT first_value(a) OVER w FROM t WINDOW w AS (PARTITION BY b ORDER BY c ROWS BETWEEN 10 PRECEDING AND CURRENT ROW)",
        "SELECT extract(hour FROM ts), ts AT TIME ZONE 'UTC', current_timestamp FROM t",
        "SELECT a FROM t ORDER BY a LIMIT 3 OFFSET 2",
        "VALUES (1, 'a'), (2, 'b')",
        "SELECT interval, date, key, value, offset FROM t",
        "SELECT substring(a FROM 2 FOR 3), position('x' IN a), trim(BOTH 'x' FROM a), overlay(a PLACING 'x' FROM 1)",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r",
        "SELECT a FROM (VALUES (1), (2)) AS v(a)",
        "SELECT count(DISTINCT a), array_agg(a ORDER BY b) FROM t",
        "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a) AND b NOT IN (1, 2)",
    ] {
        query(text);
    }
}

#[test]
fn parameters_are_numbered() {
    let numbered = query("SELECT a FROM t WHERE b = ? AND c IN (?, '?')");
    assert_eq!(sql(&numbered), "SELECT a FROM t WHERE b = $1 AND c IN ($2, '?')");
    assert_eq!(sql(&query("SELECT $2, $1")), "SELECT $2, $1");
    refuse("SELECT ?, ¦$1", "not both in one statement");
    refuse("SELECT $1, ¦?", "not both in one statement");
}

#[test]
fn types_in_queries_have_one_form() {
    let query = query(
        "SELECT CAST(a AS TIMESTAMP), b::json, TIMESTAMP '2026-01-01', c::timestamptz[] FROM t WHERE TRY_CAST(d AS TIMESTAMPTZ) > now()",
    );
    assert_eq!(
        sql(&query),
        "SELECT CAST(a AS TIMESTAMP(6)), b::JSONB, TIMESTAMP(6) '2026-01-01', c::TIMESTAMP(6) WITH TIME ZONE[] \
         FROM t WHERE TRY_CAST(d AS TIMESTAMP(6) WITH TIME ZONE) > now()"
    );
}

#[test]
fn joins_as_of_a_time_become_plain_ones() {
    for (text, expected) in [
        (
            "SELECT * FROM a ASOF JOIN b MATCH_CONDITION (a.t >= b.t) ON a.k = b.k WHERE a.x = 1",
            "SELECT * FROM a JOIN b ON weir_nearest(a.t >= b.t) AND a.k = b.k WHERE a.x = 1",
        ),
        (
            "SELECT * FROM a ASOF LEFT JOIN (SELECT * FROM b WHERE x) AS c MATCH_CONDITION (a.t < (c.t)) JOIN d ON true",
            "SELECT * FROM a LEFT JOIN (SELECT * FROM b WHERE x) AS c ON weir_nearest(a.t < (c.t)) JOIN d ON true",
        ),
        (
            "SELECT * FROM o LEFT JOIN r FOR SYSTEM_TIME AS OF o.ts AS x ON o.c = x.c",
            "SELECT * FROM o LEFT JOIN r AS x ON weir_version(o.ts) AND o.c = x.c",
        ),
        (
            "SELECT * FROM o JOIN r AS x FOR SYSTEM_TIME AS OF (o.ts + o.d) ON o.c = x.c",
            "SELECT * FROM o JOIN r AS x ON weir_version((o.ts + o.d)) AND o.c = x.c",
        ),
        (
            "SELECT * FROM o JOIN r for system_time as of proctime() x ON o.c = x.c",
            "SELECT * FROM o JOIN r x ON weir_at_once() AND o.c = x.c",
        ),
    ] {
        assert_eq!(sql(&query(text)), expected);
        assert_eq!(query(text).text, text);
    }
    // Words like any others elsewhere.
    for text in ["SELECT asof FROM t", "SELECT t.match_condition FROM t"] {
        assert_eq!(sql(&query(text)), text);
    }
}
