//! SELECT, read once.

use std::sync::Arc;

use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;
use weir_engine::format::sql_type;

use weir_sql::read::ReadPlan;

use crate::database::{Database, values};

/// What a query's columns are called.
fn column_names(plan: &ReadPlan) -> Vec<String> {
    let schema = plan.schema();
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// Airports, flights between them, and the hours they left.
fn database() -> Database {
    let database = Database::of(&[
        "CREATE TABLE airports (code TEXT PRIMARY KEY, city TEXT, lanes INT)",
        "CREATE TABLE flights (id BIGINT, leg SMALLINT, origin TEXT, dest TEXT, delay INT, left_at TIMESTAMP,
         PRIMARY KEY (id, leg))",
        "CREATE TABLE notes (id INT, text TEXT)",
        "CREATE VIEW late (flight, minutes) AS SELECT id, delay FROM flights WHERE delay > 10",
        "CREATE VIEW later AS SELECT flight FROM late WHERE minutes > 20",
    ]);
    for statement in [
        "INSERT INTO airports VALUES ('JFK', 'New York', 4), ('LGA', 'New York', 2), ('BOS', 'Boston', 6), ('ZZZ', NULL, NULL)",
        "INSERT INTO flights VALUES
         (1, 1, 'JFK', 'BOS', 5, '2024-01-01 10:00:00'), (1, 2, 'BOS', 'LGA', 15, '2024-01-01 10:00:07'),
         (2, 1, 'LGA', 'BOS', 25, '2024-01-01 10:00:12'), (3, 1, 'BOS', 'SFO', NULL, NULL)",
    ] {
        database.change(statement).expect("rows can be inserted");
    }
    database.reads();
    database
}

#[test]
fn rows_come_in_all_of_sql() {
    let database = database();
    let lines = database.query("SELECT code FROM airports WHERE lanes > 2 ORDER BY lanes DESC");
    assert_eq!(lines.unwrap(), ["BOS", "JFK"]);
    let lines = database.sorted(
        "SELECT f.id, a.city, b.city FROM flights f JOIN airports a ON f.origin = a.code FULL JOIN airports b ON f.dest = b.code",
    );
    assert_eq!(
        lines,
        [
            "1 Boston New York",
            "1 New York Boston",
            "2 New York Boston",
            "3 Boston NULL",
            "NULL NULL NULL",
            "NULL NULL New York"
        ]
    );
    let lines =
        database.sorted("SELECT city FROM airports WHERE code IN (SELECT origin FROM flights WHERE delay > 20)");
    assert_eq!(lines, ["New York"]);
    let lines = database.sorted(
        "SELECT a.code FROM airports a WHERE NOT EXISTS (SELECT 1 FROM flights f WHERE f.dest = a.code OR f.origin = a.code)",
    );
    assert_eq!(lines, ["ZZZ"]);
    let lines = database.query(
        "SELECT id, leg, sum(delay) OVER (ORDER BY id, leg ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM flights ORDER BY id, leg",
    );
    assert_eq!(lines.unwrap(), ["1 1 5", "1 2 20", "2 1 40", "3 1 25"]);
    let lines = database
        .query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4) SELECT sum(i) FROM n");
    assert_eq!(lines.unwrap(), ["10"]);
    let lines = database.query("SELECT count(*) FROM flights WHERE left_at < now()");
    assert_eq!(lines.unwrap(), ["3"]);
    let lines = database.sorted("SELECT a FROM (VALUES (1), (2)) AS v (a) EXCEPT SELECT 2");
    assert_eq!(lines, ["1"]);
    assert_eq!(
        database.sorted("SELECT generate_series FROM generate_series(1, 2)"),
        ["1", "2"]
    );
    assert_eq!(database.query("SELECT text FROM notes").unwrap(), Vec::<String>::new());
}

#[test]
fn windows_are_relations_here_too() {
    let database = database();
    let lines = database.sorted(
        "SELECT window_start, window_end, count(*) FROM TUMBLE(flights, left_at, INTERVAL '10' SECOND)
         WHERE window_start IS NOT NULL GROUP BY window_start, window_end",
    );
    assert_eq!(
        lines,
        [
            "2024-01-01 10:00:00 2024-01-01 10:00:10 2",
            "2024-01-01 10:00:10 2024-01-01 10:00:20 1"
        ]
    );
    let lines = database.sorted(
        "SELECT id, leg, window_start FROM HOP(flights, left_at, INTERVAL '5' SECOND, INTERVAL '10' SECOND) WHERE id = 2",
    );
    assert_eq!(lines, ["2 1 2024-01-01 10:00:05", "2 1 2024-01-01 10:00:10"]);
}

#[test]
fn views_give_their_own_names() {
    let database = database();
    assert_eq!(database.sorted("SELECT * FROM late"), ["1 15", "2 25"]);
    assert_eq!(
        database.sorted("SELECT l.flight FROM late AS l WHERE l.minutes < 20"),
        ["1"]
    );
    assert_eq!(database.sorted("SELECT flight FROM later"), ["2"]);
    let plan = database.plan_query("SELECT * FROM late").unwrap();
    assert_eq!(column_names(&plan), ["flight", "minutes"]);
    let flights = database.catalog().find("flights").unwrap().id;
    let late = database.catalog().find("late").unwrap().clone();
    let later = database.catalog().find("later").unwrap();
    assert_eq!(plan.reads(), [flights]);
    assert_eq!(late.depends_on, [flights]);
    assert_eq!(later.depends_on, [flights, late.id]);
}

/// What stands in a view's WITH is no relation of the catalog, even if it is called like the view.
#[test]
fn a_view_may_name_a_query_like_itself() {
    let mut database = database();
    database
        .create("CREATE VIEW n AS WITH n AS (SELECT 7 AS seven) SELECT seven FROM n")
        .unwrap();
    assert_eq!(database.sorted("SELECT seven FROM n"), ["7"]);
}

#[test]
fn only_the_columns_needed_are_read() {
    let database = database();
    database.sorted("SELECT city FROM airports WHERE lanes > 1");
    assert_eq!(database.reads(), [Some(vec![1, 2])]);
    assert_eq!(database.sorted("SELECT count(*) FROM airports"), ["4"]);
    assert_eq!(database.reads(), [Some(vec![])]);
}

#[test]
fn a_full_key_is_looked_up() {
    let database = database();
    let lines = database.sorted("SELECT city FROM airports WHERE code = 'BOS' AND lanes > 1");
    assert_eq!((lines, database.reads()), (vec!["Boston".to_string()], vec![None]));
    let lines = database.sorted("SELECT code FROM airports WHERE code IN ('BOS', 'JFK', 'AAA', 'BBB', 'CCC', 'BOS')");
    assert_eq!(lines, ["BOS", "JFK"]);
    assert_eq!(database.reads(), [None]);
    let lines = database.sorted("SELECT leg, delay FROM flights WHERE id = 1 AND leg = 2");
    assert_eq!((lines, database.reads()), (vec!["2 15".to_string()], vec![None]));
    let lines = database.sorted("SELECT leg FROM flights WHERE id IN (1, 2) AND leg IN (1, 2)");
    assert_eq!(lines, ["1", "1", "2"]);
    assert_eq!(database.reads(), [None]);
    // Half a key, or less than equality, is no key.
    database.sorted("SELECT leg FROM flights WHERE id = 1");
    database.sorted("SELECT city FROM airports WHERE code = 'BOS' OR lanes = 2");
    database.sorted("SELECT city FROM airports WHERE code <> 'BOS'");
    assert!(database.reads().iter().all(Option::is_some));
    assert_eq!(
        database.sorted("SELECT city FROM airports WHERE code = NULL"),
        Vec::<String>::new()
    );
    // A parameter is a value like any other.
    let plan = database
        .plan_query("SELECT city FROM airports WHERE code = $1")
        .unwrap();
    let bound = plan.bind(values([ScalarValue::from("LGA")])).unwrap();
    assert_eq!(database.rows(&bound).unwrap(), [["New York"]]);
    assert_eq!(database.reads().last(), Some(&None));
}

#[test]
fn arithmetic_is_checked() {
    let mut database = database();
    database.create("CREATE TABLE n (x BIGINT, d DECIMAL(38, 0))").unwrap();
    database
        .change("INSERT INTO n VALUES (9223372036854775807, 99999999999999999999999999999999999999), (1, 1)")
        .unwrap();
    for query in [
        "SELECT x + 1 FROM n",
        "SELECT x * x FROM n",
        "SELECT x - -1 FROM n",
        "SELECT -(-x - 1) FROM n",
        "SELECT 9223372036854775807 + 1",
        "SELECT x FROM n WHERE x + x > 0",
        "SELECT count(*) FROM n GROUP BY x + 5",
        "SELECT x FROM n ORDER BY x * 2",
        "SELECT sum(x + 1) FROM n",
        "SELECT d * 10 FROM n",
        "SELECT (SELECT max(x) FROM n) + 1",
        "SELECT lag(x) OVER (ORDER BY x + 1) FROM n",
    ] {
        let error = database.query_error(query).to_lowercase();
        let is_range = error.contains("out of range") || error.contains("more than the 38 digits");
        assert!(is_range, "{query}: {error}");
    }
    for query in [
        "SELECT sum(x) FROM n",
        "SELECT sum(d) FROM n",
        "SELECT sum(x) OVER (ORDER BY x) FROM n",
    ] {
        let error = database.query_error(query);
        assert!(
            error.contains("out of range; cast the argument to a wider type"),
            "{query}: {error}"
        );
    }
    assert_eq!(
        database.sorted("SELECT x + 0, -x, x - 1 FROM n WHERE x = 1"),
        ["1 -1 0"]
    );
    assert_eq!(
        database.sorted("SELECT 0.5 + 0.25, 2 * 3, DATE '2024-01-01' + INTERVAL '1' DAY"),
        ["0.75 6 2024-01-02"]
    );
}

#[test]
fn sums_and_means_are_exact() {
    let mut database = Database::of(&["CREATE TABLE n (g INT, x BIGINT, d DECIMAL(6, 2), f DOUBLE PRECISION)"]);
    database
        .change(
            "INSERT INTO n VALUES (1, 9007199254740993, 1.10, 0.5), (1, 9007199254740993, 2.20, 0.25), (2, NULL, 0.01, NULL)",
        )
        .unwrap();
    let lines = database.sorted("SELECT g, sum(x), avg(x), sum(d), avg(d), sum(f), avg(f) FROM n GROUP BY g");
    assert_eq!(
        lines,
        [
            "1 18014398509481986 9007199254740992.0 3.30 1.6500000000000000 0.75 0.375",
            "2 NULL NULL 0.01 0.0100000000000000 NULL NULL"
        ]
    );
    let lines = database
        .sorted("SELECT sum(DISTINCT x), avg(DISTINCT d), count(DISTINCT x), sum(x) FILTER (WHERE g = 2) FROM n");
    assert_eq!(lines, ["9007199254740993 1.1033333333333333 1 NULL"]);
    let kinds = database
        .plan_query("SELECT sum(g), avg(g), sum(d), avg(d) FROM n")
        .unwrap();
    let kinds: Vec<DataType> = kinds
        .schema()
        .fields()
        .iter()
        .map(|field| field.data_type().clone())
        .collect();
    let decimal = DataType::Decimal128;
    assert_eq!(
        kinds,
        [DataType::Int64, DataType::Float64, decimal(16, 2), decimal(20, 16)]
    );
    assert!(
        database
            .query_error("SELECT avg('a')")
            .contains("avg() takes numbers and intervals, not TEXT")
    );
    database.create("CREATE TABLE m (x BIGINT)").unwrap();
    assert_eq!(
        database.sorted("SELECT sum(x), avg(x), count(x) FROM m"),
        ["NULL NULL 0"]
    );
}

#[test]
fn columns_are_called_as_they_are_written() {
    let database = database();
    let plan = database
        .plan_query("SELECT COUNT(*), sum(delay) * 2, max(f.delay) AS most, 'a', \"id\" FROM flights f GROUP BY id")
        .unwrap();
    assert_eq!(column_names(&plan), ["count(*)", "sum(delay) * 2", "most", "'a'", "id"]);
}

#[test]
fn a_name_may_come_twice() {
    let database = database();
    let plan = database
        .plan_query("SELECT code, code, lanes AS code, 1, 1, count(*), count(*) FROM airports WHERE code = 'BOS' GROUP BY code, lanes")
        .unwrap();
    assert_eq!(
        column_names(&plan),
        ["code", "code", "code", "1", "1", "count(*)", "count(*)"]
    );
    assert_eq!(database.rows(&plan).unwrap(), [["BOS", "BOS", "6", "1", "1", "1", "1"]]);
    let lines =
        database.query("SELECT a.code, b.code FROM airports a, airports b WHERE a.lanes = b.lanes ORDER BY b.code");
    assert_eq!(lines.unwrap(), ["BOS BOS", "JFK JFK", "LGA LGA"]);
    let plan = database
        .plan_query("SELECT * FROM airports a JOIN airports b ON a.code = b.code")
        .unwrap();
    assert_eq!(plan.schema().fields().len(), 6);
}

#[test]
fn parameters_have_types_and_values() {
    let database = database();
    let plan = database
        .plan_query("SELECT code, $3 FROM airports WHERE lanes > $1 AND city = $2 ORDER BY code LIMIT $4")
        .unwrap();
    let kinds: Vec<_> = plan
        .parameters()
        .unwrap()
        .iter()
        .map(|field| field.data_type().clone())
        .collect();
    assert_eq!(
        kinds,
        [DataType::Int32, DataType::Utf8, DataType::Utf8, DataType::Int64]
    );
    let one = ScalarValue::Int64(Some(1));
    let bound = plan
        .bind(values([one.clone(), "New York".into(), "x".into(), one.clone()]))
        .unwrap();
    assert_eq!(database.rows(&bound).unwrap(), [["JFK", "x"]]);
    let short = plan.bind(values([one.clone()])).unwrap_err();
    assert_eq!(short.message, "the statement has 4 parameters, and 1 values were given");
    let wrong = plan
        .bind(values(["many".into(), "x".into(), "x".into(), one]))
        .unwrap_err();
    assert_eq!(wrong.message, "parameter $1 is INT, and many can't be read as one");
    let missing = database.rows(&plan).unwrap_err();
    assert_eq!(
        missing.message,
        "the statement has parameters, and no values were given for them"
    );
    let marks = database
        .plan_query("SELECT code FROM airports WHERE code = ? OR code = ? ORDER BY 1")
        .unwrap();
    let bound = marks.bind(values(["BOS".into(), "LGA".into()])).unwrap();
    assert_eq!(database.rows(&bound).unwrap(), [["BOS"], ["LGA"]]);
    // The same plan takes other values.
    let bound = marks.bind(values(["JFK".into(), ScalarValue::Utf8(None)])).unwrap();
    assert_eq!(database.rows(&bound).unwrap(), [["JFK"]]);
}

#[test]
fn errors_have_a_place() {
    let database = database();
    assert_eq!(
        database.query_error("SELECT 1\nFROM airport"),
        "relation 'airport' does not exist; did you mean 'airports'?\n  FROM airport\n       ^"
    );
    assert_eq!(
        database.query_error("SELECT code, lane FROM airports"),
        "column 'lane' does not exist; did you mean 'lanes'?\n  SELECT code, lane FROM airports\n               ^"
    );
    assert_eq!(
        database.query_error("SELECT a.id FROM airports a"),
        "column 'a.id' does not exist; there are: a.code, a.city, a.lanes\n  SELECT a.id FROM airports a\n         ^"
    );
    let error = database.query_error("SELECT code FROM airports EMIT CHANGES");
    assert!(error.starts_with("a query with EMIT runs on"), "{error}");
    let error = database.query_error("SELECT 10 / lanes - 10 / (lanes - lanes) FROM airports");
    assert!(error.to_lowercase().contains("division by zero"), "{error}");
    let error = database.query_error("SELECT CAST(city AS INT) FROM airports");
    assert!(error.contains("New York"), "{error}");
}

#[test]
fn columns_have_the_types_declared() {
    let mut database = database();
    database
        .create(
            "CREATE SOURCE e (id BIGINT, tags TEXT[], place STRUCT<x INT, y DOUBLE PRECISION>, at TIMESTAMPTZ)
             INCLUDE headers AS heads
             WITH (connector = 'kafka', topic = 'e', properties.bootstrap.servers = 'localhost:9092') ENCODE JSON",
        )
        .unwrap();
    let schema = database.catalog().find("e").unwrap().schema.clone();
    let kinds: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| sql_type(field.data_type()))
        .collect();
    assert_eq!(
        kinds,
        [
            "BIGINT",
            "TEXT[]",
            "STRUCT(x INT, y DOUBLE)",
            "TIMESTAMPTZ",
            "MAP(TEXT, BYTEA)"
        ]
    );
}

/// A source is read like a table, and so is what is kept of it.
#[test]
fn sources_and_views_are_read_like_tables() {
    let mut database = Database::of(&[
        "CREATE SOURCE events (id BIGINT, at TIMESTAMP, kind TEXT, WATERMARK FOR at AS at) WITH (connector = 'datagen')",
    ]);
    database.put(
        "events",
        vec![
            Arc::new(Int64Array::from(vec![1, 2])),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(0), None])),
            Arc::new(StringArray::from(vec!["a", "b"])),
        ],
    );
    assert_eq!(database.sorted("SELECT id, kind FROM events"), ["1 a", "2 b"]);
    database
        .create("CREATE MATERIALIZED VIEW kinds AS SELECT kind, count(*) AS n FROM events GROUP BY kind")
        .unwrap();
    assert_eq!(database.sorted("SELECT * FROM kinds"), Vec::<String>::new());
}
