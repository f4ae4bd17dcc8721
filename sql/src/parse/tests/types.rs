//! Types as written, and their one form.

use super::created::table;
use super::refuse;

#[test]
fn types_have_one_form() {
    let cases = [
        ("BOOL", "BOOLEAN"),
        ("INT4", "INT"),
        ("INTEGER", "INT"),
        ("INT8", "BIGINT"),
        ("FLOAT", "DOUBLE PRECISION"),
        ("FLOAT(24)", "REAL"),
        ("DOUBLE", "DOUBLE PRECISION"),
        ("FLOAT4", "REAL"),
        ("NUMERIC", "DECIMAL(38,10)"),
        ("DECIMAL(5)", "DECIMAL(5,0)"),
        ("VARCHAR", "TEXT"),
        ("CHARACTER VARYING", "TEXT"),
        ("STRING", "TEXT"),
        ("JSONB", "JSONB"),
        ("BYTES", "BYTEA"),
        ("TIMESTAMP", "TIMESTAMP(6)"),
        ("TIMESTAMP WITHOUT TIME ZONE", "TIMESTAMP(6)"),
        ("TIMESTAMPTZ", "TIMESTAMP(6) WITH TIME ZONE"),
        ("TIMESTAMP(6) WITH TIME ZONE", "TIMESTAMP(6) WITH TIME ZONE"),
        ("TIME", "TIME"),
        ("INTERVAL", "INTERVAL"),
        ("INT[]", "INT[]"),
        ("ARRAY<TIMESTAMP>", "TIMESTAMP(6)[]"),
        (
            "STRUCT<a TIMESTAMP, b ARRAY<JSON>>",
            "STRUCT<a TIMESTAMP(6), b JSONB[]>",
        ),
        ("MAP<TEXT, TIMESTAMP>", "Map(TEXT, TIMESTAMP(6))"),
    ];
    for (written, expected) in cases {
        let created = table(&format!("CREATE TABLE t (a {written} NOT NULL)"));
        assert_eq!(created.columns[0].1.to_string(), expected, "{written}");
    }
}

#[test]
fn types_that_would_not_be_kept_are_refused() {
    let cases = [
        ("VARCHAR(20)", "write TEXT"),
        ("CHAR(3)", "write TEXT"),
        ("CHAR", "write TEXT"),
        ("TIMESTAMP(3)", "timestamps hold microseconds"),
        ("TIMESTAMP_LTZ(3)", "write TIMESTAMPTZ"),
        ("DATETIME", "write TIMESTAMP"),
        ("TIME(3)", "write TIME"),
        ("TIMETZ", "write TIMESTAMPTZ or TIME"),
        ("INT(11)", "whole numbers take no width"),
        ("MEDIUMINT UNSIGNED", "the types are"),
        ("BLOB", "write BYTEA"),
        ("DECIMAL(0)", "DECIMAL has 1 to 38 digits, not 0"),
        ("DECIMAL(5, 7)", "has 0 to 5 digits after the point, not 7"),
        ("INTERVAL YEAR TO MONTH", "write INTERVAL"),
        ("STRUCT<INT>", "a field of a STRUCT needs a name"),
        ("ENUM('a')", "the types are"),
        ("money", "there is no type money"),
    ];
    for (written, message) in cases {
        refuse(&format!("CREATE TABLE t (a ¦{written})"), message);
    }
    refuse("SELECT CAST(a + 1 AS ¦VARCHAR(3)) FROM t", "write TEXT");
    refuse("SELECT (a + 1)::¦TIMESTAMP(3) FROM t", "timestamps hold microseconds");
    refuse("SELECT TIMESTAMP(3) ¦'2026-01-01'", "timestamps hold microseconds");
}
