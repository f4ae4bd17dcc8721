//! INSERT, UPDATE and DELETE.

use arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;

use crate::database::{Database, values};

fn database() -> Database {
    let database = Database::of(&[
        "CREATE TABLE rates (currency TEXT PRIMARY KEY, rate DECIMAL(30, 10) NOT NULL, since TIMESTAMP, days INT DEFAULT 2 + 3)",
        "CREATE TABLE seats (line INT, place TEXT, taken BOOLEAN NOT NULL DEFAULT false, PRIMARY KEY (line, place))",
        "CREATE TABLE lines (a INT, b TEXT, c DOUBLE PRECISION)",
        "CREATE TABLE kinds (i SMALLINT, t TIMESTAMP, d DATE, z TIMESTAMPTZ, y BYTEA, l INT[], f REAL, b BOOLEAN)",
        "CREATE MATERIALIZED VIEW twice AS SELECT currency, rate * 2 AS rate FROM rates",
    ]);
    database
        .change("INSERT INTO rates (currency, rate) VALUES ('EUR', 1), ('USD', 1.08)")
        .unwrap();
    database
}

const RATES: &str = "SELECT currency, rate, days FROM rates";

#[test]
fn rows_are_inserted() {
    let database = database();
    assert_eq!(database.sorted(RATES), ["EUR 1.0000000000 5", "USD 1.0800000000 5"]);
    let count =
        database.change("INSERT INTO rates SELECT 'x' || currency, rate * 2, NULL, 7 FROM rates WHERE rate > 1");
    assert_eq!(count.unwrap(), 1);
    assert_eq!(database.sorted(RATES)[2], "xUSD 2.1600000000 7");
    // Digits that a floating point number would lose.
    database
        .change("INSERT INTO rates (rate, currency) VALUES (-12345678901234567890.0123456789, 'A')")
        .unwrap();
    assert_eq!(database.sorted(RATES)[0], "A -12345678901234567890.0123456789 5");
    let count = database.change("INSERT INTO lines VALUES (1, 'x', 0.5), (1, 'x', 0.5), (NULL, NULL, NULL)");
    assert_eq!(count.unwrap(), 3);
    assert_eq!(
        database.sorted("SELECT * FROM lines"),
        ["1 x 0.5", "1 x 0.5", "NULL NULL NULL"]
    );
    let count = database.change("INSERT INTO lines (b, a) VALUES ((SELECT max(currency) FROM rates), 1 + 1), ('y', 3)");
    assert_eq!(count.unwrap(), 2);
    assert_eq!(
        database.sorted("SELECT a, b, c FROM lines WHERE a > 1"),
        ["2 xUSD NULL", "3 y NULL"]
    );
    assert_eq!(
        database
            .change("INSERT INTO lines SELECT * FROM lines WHERE a > 100")
            .unwrap(),
        0
    );
    database.change("INSERT INTO seats VALUES (1, 'a', true)").unwrap();
    database
        .change("INSERT INTO seats (place, line) VALUES ('b', 1)")
        .unwrap();
    assert_eq!(database.sorted("SELECT * FROM seats"), ["1 a true", "1 b false"]);
}

#[test]
fn values_are_made_to_fit() {
    let database = database();
    database
        .change(
            "INSERT INTO kinds VALUES
             ('12', '2024-01-02 03:04:05.5', '2024-01-02', '2024-01-02 03:04:05+02:00', 'ab', ARRAY[1, 2], 1, 'true'),
             (3.0, DATE '2024-01-02', NULL, NULL, NULL, NULL, 2.5, false)",
        )
        .unwrap();
    let lines = database.sorted("SELECT i, t, d, z, y, l, f, b FROM kinds");
    assert_eq!(
        lines,
        [
            "12 2024-01-02 03:04:05.500 2024-01-02 2024-01-02 01:04:05+00:00 6162 [1, 2] 1.0 true",
            "3 2024-01-02 00:00:00 NULL NULL NULL NULL 2.5 false"
        ]
    );
    database
        .change("INSERT INTO lines SELECT CAST(7 AS BIGINT), 8, 9")
        .unwrap();
    assert_eq!(database.sorted("SELECT * FROM lines"), ["7 8 9.0"]);
}

#[test]
fn values_that_do_not_fit_are_refused_where_they_stand() {
    let database = database();
    assert_eq!(
        database.refused("INSERT INTO lines VALUES (1, 'x', 2), ('many', 'x', 3)"),
        "column 'a' of table 'lines' is INT, and 'many' doesn't fit\n  \
         INSERT INTO lines VALUES (1, 'x', 2), ('many', 'x', 3)\n                                         ^"
    );
    for (statement, message) in [
        (
            "INSERT INTO lines (a) VALUES (3000000000)",
            "column 'a' of table 'lines' is INT, and 3000000000 doesn't fit",
        ),
        (
            "INSERT INTO lines (a) VALUES (1.5)",
            "column 'a' of table 'lines' is INT, and 1.5 doesn't fit",
        ),
        (
            "INSERT INTO lines (a) SELECT 1.5",
            "column 'a' of table 'lines' is INT, and 1.5 doesn't fit",
        ),
        ("INSERT INTO lines (a) SELECT b FROM lines", "nothing"),
        (
            "INSERT INTO lines (a) VALUES (true)",
            "column 'a' of table 'lines' is INT, and the value is BOOLEAN; write CAST(… AS INT) where that makes sense",
        ),
        (
            "UPDATE lines SET c = DATE '2024-01-01'",
            "column 'c' of table 'lines' is DOUBLE, and the value is DATE; write CAST(… AS DOUBLE) where that makes sense",
        ),
        (
            "INSERT INTO kinds (t) VALUES ('soon')",
            "column 't' of table 'kinds' is TIMESTAMP, and 'soon' doesn't fit",
        ),
        (
            "INSERT INTO lines (a) VALUES (\"b\")",
            "column 'b' does not exist: there are no columns here; text stands in single quotes, 'b'",
        ),
        (
            "INSERT INTO lines (a, b) VALUES (1)",
            "row 1 has 1 values, and INSERT INTO 'lines' wants 2: a, b",
        ),
        (
            "INSERT INTO lines SELECT 1, 'x'",
            "the query gives 2 columns, and INSERT INTO 'lines' wants 3: a, b, c",
        ),
        ("INSERT INTO lines (a, a) VALUES (1, 2)", "column 'a' is listed twice"),
        (
            "INSERT INTO lines (aa) VALUES (1)",
            "column 'aa' is not in table 'lines'; did you mean 'a'?",
        ),
        ("UPDATE lines SET a = 1, a = 2", "column 'a' is assigned twice"),
        (
            "UPDATE lines SET d = 1",
            "column 'd' is not in table 'lines'; did you mean 'a'?",
        ),
        (
            "INSERT INTO line VALUES (1)",
            "relation 'line' does not exist; did you mean 'lines'?",
        ),
        (
            "DELETE FROM twice",
            "'twice' is no table: INSERT, UPDATE and DELETE change tables only",
        ),
        (
            "DELETE FROM lines WHERE aa = 1",
            "column 'aa' does not exist; did you mean 'a'?",
        ),
    ] {
        if message == "nothing" {
            assert_eq!(database.change(statement).unwrap(), 0);
            continue;
        }
        let error = database.refused(statement);
        assert_eq!(error.lines().next(), Some(message), "{statement}");
    }
    database.change("INSERT INTO lines VALUES (1, 'text', 1)").unwrap();
    assert_eq!(
        database.refused("INSERT INTO lines (a) SELECT b FROM lines"),
        "column 'a' of table 'lines' is INT, and 'text' doesn't fit"
    );
    assert_eq!(database.sorted("SELECT count(*) FROM lines"), ["1"]);
}

#[test]
fn keys_stay_unique() {
    let database = database();
    assert_eq!(
        database.refused("INSERT INTO rates (currency, rate) VALUES ('GBP', 1), ('USD', 2)"),
        "key (currency) = ('USD') exists already in table 'rates'; UPDATE changes its row, and so does ON CONFLICT"
    );
    assert_eq!(
        database.refused("INSERT INTO rates (currency, rate) VALUES ('GBP', 1), ('GBP', 2)"),
        "two rows of the statement have the key (currency) = ('GBP') of table 'rates'"
    );
    database
        .change("INSERT INTO seats VALUES (1, 'a', true), (1, 'b', false), (2, 'a', false)")
        .unwrap();
    assert_eq!(
        database.refused("INSERT INTO seats VALUES (2, 'a', true)"),
        "key (line, place) = (2, 'a') exists already in table 'seats'; UPDATE changes its row, and so does ON CONFLICT"
    );
    assert_eq!(
        database.refused("UPDATE seats SET place = 'b' WHERE taken"),
        "the UPDATE would give a second row the key (line, place) = (1, 'b') of table 'seats'"
    );
    assert_eq!(
        database.refused("UPDATE seats SET line = 1, place = 'c'"),
        "two rows of the statement have the key (line, place) = (1, 'c') of table 'seats'"
    );
    // Rows may swap keys, and move on to those of others that move too.
    let count = database.change("UPDATE seats SET place = CASE place WHEN 'a' THEN 'b' ELSE 'a' END");
    assert_eq!(count.unwrap(), 3);
    assert_eq!(
        database.sorted("SELECT * FROM seats"),
        ["1 a false", "1 b true", "2 b false"]
    );
    assert_eq!(database.change("UPDATE seats SET line = line + 1").unwrap(), 3);
    assert_eq!(database.sorted("SELECT line, place FROM seats"), ["2 a", "2 b", "3 b"]);
    // A key set to itself is no conflict.
    assert_eq!(
        database.change("UPDATE seats SET line = line, taken = true").unwrap(),
        3
    );
    assert_eq!(database.sorted("SELECT count(*) FROM seats WHERE taken"), ["3"]);
}

#[test]
fn not_null_holds() {
    let database = database();
    for (statement, message) in [
        (
            "INSERT INTO rates (currency) VALUES ('GBP')",
            "column 'rate' of table 'rates' is NOT NULL, and row 1 of the INSERT would have NULL there",
        ),
        (
            "INSERT INTO rates (rate, currency) VALUES (1, 'GBP'), (1, NULL)",
            "column 'currency' of table 'rates' is NOT NULL, and row 2 of the INSERT would have NULL there",
        ),
        (
            "UPDATE rates SET rate = NULL WHERE currency = 'EUR'",
            "column 'rate' of table 'rates' is NOT NULL, and row 1 of the UPDATE would have NULL there",
        ),
    ] {
        assert_eq!(database.refused(statement), message);
    }
    assert_eq!(database.sorted("SELECT count(*) FROM rates"), ["2"]);
}

#[test]
fn rows_are_updated_and_deleted() {
    let database = database();
    let count = database.change("UPDATE rates AS r SET rate = r.rate * 1.5, days = days + 1 WHERE r.currency <> 'EUR'");
    assert_eq!(count.unwrap(), 1);
    assert_eq!(database.sorted(RATES), ["EUR 1.0000000000 5", "USD 1.6200000000 6"]);
    database
        .change("UPDATE rates SET rate = (SELECT max(rate) FROM rates), since = '2024-01-01' WHERE currency IN (SELECT 'EUR')")
        .unwrap();
    assert_eq!(
        database.sorted("SELECT since FROM rates WHERE rate = 1.62"),
        ["2024-01-01 00:00:00", "NULL"]
    );
    assert_eq!(
        database
            .change("UPDATE rates SET days = 0 WHERE currency = 'XYZ'")
            .unwrap(),
        0
    );
    assert_eq!(
        database.change("DELETE FROM rates AS r WHERE r.since IS NULL").unwrap(),
        1
    );
    assert_eq!(database.sorted("SELECT currency FROM rates"), ["EUR"]);
    database
        .change("INSERT INTO lines VALUES (1, 'x', 0), (1, 'x', 0), (2, 'y', 0)")
        .unwrap();
    assert_eq!(
        database.change("UPDATE lines SET c = a + 0.5 WHERE b = 'x'").unwrap(),
        2
    );
    assert_eq!(
        database.sorted("SELECT * FROM lines"),
        ["1 x 1.5", "1 x 1.5", "2 y 0.0"]
    );
    assert_eq!(database.change("DELETE FROM lines WHERE a = 1").unwrap(), 2);
    assert_eq!(database.change("DELETE FROM lines").unwrap(), 1);
    assert_eq!(database.sorted("SELECT * FROM lines"), Vec::<String>::new());
}

#[test]
fn parameters_have_the_columns_types() {
    let database = database();
    let insert = database
        .plan_change("INSERT INTO rates (currency, rate, since) VALUES ($1, $2, $3), ('X', 1, $3)")
        .unwrap();
    let kinds =
        |kinds: Vec<arrow::datatypes::Field>| kinds.iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
    let timestamp = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
    assert_eq!(
        kinds(insert.parameters().unwrap()),
        [DataType::Utf8, DataType::Decimal128(30, 10), timestamp.clone()]
    );
    let bound = insert
        .bind(values(["GBP".into(), "0.85".into(), "2024-01-01 00:00:00".into()]))
        .unwrap();
    assert_eq!(database.apply(&bound).unwrap(), 2);
    assert_eq!(
        database.sorted("SELECT currency, rate, since FROM rates WHERE since IS NOT NULL"),
        [
            "GBP 0.8500000000 2024-01-01 00:00:00",
            "X 1.0000000000 2024-01-01 00:00:00"
        ]
    );
    let update = database
        .plan_change("UPDATE rates SET since = ?, days = ? + days WHERE currency = ?")
        .unwrap();
    assert_eq!(
        kinds(update.parameters().unwrap()),
        [timestamp, DataType::Int32, DataType::Utf8]
    );
    let bound = update
        .bind(values(["2025-01-01".into(), ScalarValue::Int32(Some(2)), "X".into()]))
        .unwrap();
    assert_eq!(database.apply(&bound).unwrap(), 1);
    assert_eq!(
        database.sorted("SELECT since, days FROM rates WHERE currency = 'X'"),
        ["2025-01-01 00:00:00 7"]
    );
    let delete = database.plan_change("DELETE FROM rates WHERE rate > $1").unwrap();
    assert_eq!(kinds(delete.parameters().unwrap()), [DataType::Decimal128(30, 10)]);
    assert!(delete.bind(vec![]).is_err());
    let rates = database.catalog().find("rates").unwrap().id;
    assert_eq!((delete.reads(), insert.reads()), (vec![rates], vec![]));
}
