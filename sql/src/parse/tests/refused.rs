//! What is refused, and what the error says works instead.

use super::refuse;

#[test]
fn clauses_that_are_not_there_yet() {
    refuse("SELECT * FROM v ¦WAIT FOR 'topic:0@5'", "WAIT FOR is not there yet");
}

#[test]
fn joins_as_of_a_time() {
    for query in [
        "SELECT * FROM o JOIN r ¦FOR SYSTEM_TIME o.ts ON o.c = r.c",
        "SELECT * FROM o JOIN r ¦FOR SYSTEM_TIME AS OF",
        "SELECT * FROM o JOIN r ¦FOR SYSTEM_TIME AS OF PROCTIME(3) ON true",
    ] {
        refuse(query, "behind the right relation of a JOIN");
    }
    refuse(
        "SELECT * FROM o, r ¦FOR SYSTEM_TIME AS OF o.ts WHERE o.c = r.c",
        "one for the whole statement",
    );
    refuse(
        "SELECT * FROM o JOIN r FOR SYSTEM_TIME AS OF o.ts ¦USING c",
        "expected columns in parentheses",
    );
    refuse(
        "SELECT * FROM a ¦ASOF LEFT JOIN b ON a.k = b.k",
        "needs a MATCH_CONDITION",
    );
    refuse("SELECT * FROM a ¦ASOF JOIN b", "needs a MATCH_CONDITION");
    refuse(
        "SELECT * FROM a ASOF JOIN b ¦MATCH_CONDITION a.t >= b.t",
        "in parentheses",
    );
    refuse(
        "SELECT * FROM a ASOF JOIN b MATCH_CONDITION (a.t >= b.t) ¦USING ()",
        "expected columns in parentheses",
    );
    refuse("SELECT * FROM a ¦ASOF FULL JOIN b", "ASOF LEFT JOIN");
}

#[test]
fn clauses_of_other_databases() {
    refuse("SELECT a FROM t ¦FOR UPDATE", "rows are not locked");
    refuse("SELECT a FROM t ¦TABLESAMPLE (10)", "TABLESAMPLE is not there");
    refuse(
        "SELECT a FROM t ¦TABLESAMPLE BERNOULLI (10)",
        "TABLESAMPLE is not there",
    );
    refuse("SELECT a INTO ¦u FROM t", "SELECT INTO is not there");
    refuse("SELECT TOP ¦3 a FROM t", "found 3");
    refuse(
        "SELECT a FROM t LATERAL VIEW explode(b) x AS c"
            .replace("LATERAL", "¦LATERAL")
            .as_str(),
        "write UNNEST",
    );
    refuse("SELECT ¦ARRAY(SELECT 1)", "aggregate with array_agg");
    refuse("SELECT a FROM ¦t WITH (NOLOCK)", "takes no WITH (…)");
    refuse("SELECT a FROM f(1) AS x(¦a INT)", "take no types");
    refuse("WITH x AS (¦DELETE FROM t) SELECT 1", "");
    refuse("SELECT a FROM t ¦PIVOT (sum(a) FOR b IN (1))", "PIVOT is not there");
    refuse("SELECT ¦FROM t", "found FROM");
}

#[test]
fn statements_that_do_not_exist() {
    refuse("¦START ENGINE", "START TRANSACTION");
    refuse("¦SAVEPOINT a", "commits or is rolled back as a whole");
    refuse("BEGIN ¦ISOLATION LEVEL SERIALIZABLE", "a transaction has no options");
    refuse("¦TRUNCATE t", "write DELETE FROM table");
    refuse("¦COPY t FROM 'x'", "COPY is not there");
    refuse("¦FROM t", "a query begins with SELECT");
    refuse("¦TABLE t", "write SELECT * FROM");
    refuse(
        "¦VACUUM",
        "there is no statement that begins with VACUUM; those that exist: SELECT, CREATE",
    );
    refuse("¦42", "expected a statement (SELECT, CREATE");
    refuse("¦\"select\" 1", "");
}

#[test]
fn mistakes_in_queries_have_places() {
    refuse(
        "SELECT a\nFROM t\nWHERE ¦GROUP BY a",
        "expected an expression, found GROUP",
    );
    refuse("SELECT a, ¦FROM t", "found FROM");
    refuse(
        "SELECT a FROM t WHERE a =¦",
        "expected an expression, found the end of the statement",
    );
    refuse(
        "SELECT a FROM t ¦ORDER a",
        "expected the end of the statement, found ORDER",
    );
    refuse("SELECT a FROM t LIMIT¦", "found the end of the statement");
    refuse("SELECT count(a ¦b) FROM t", "found b");
    refuse("SELECT a b ¦c FROM t", "expected the end of the statement, found c");
    refuse("SELECT a FROM t JOIN¦", "found the end of the statement");
    refuse("SELECT CAST(a ¦INT) FROM t", "expected AS, found INT");
    refuse("SELECT CASE WHEN a ¦END FROM t", "expected THEN, found END");
}

#[test]
fn mistakes_in_queries_in_parentheses_have_their_own_places() {
    refuse("SELECT a FROM (SELECT a b ¦c FROM t) x", "found c");
    refuse(
        "SELECT a FROM (\n  SELECT a FROM t WHERE ¦) x",
        "expected an expression, found )",
    );
    refuse("SELECT a FROM t WHERE a IN (SELECT a FORM ¦t)", "found t");
    refuse(
        "WITH x AS (SELECT a FROM t WHERE a = ¦) SELECT a FROM x",
        "expected an expression, found )",
    );
    refuse("SELECT (SELECT max(a ¦b) FROM t)", "found b");
}

#[test]
fn long_tokens_are_cut_in_messages() {
    let long = "x".repeat(500);
    let error = super::parse(&format!("FLUSH '{long}'")).unwrap_err();
    assert!(error.message.chars().count() < 120, "{}", error.message);
}
