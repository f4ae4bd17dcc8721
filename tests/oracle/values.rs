//! What columns hold: types, values in SQL and in records, and conditions on them.

use super::case::Kind;

/// Numbers that are added up.
pub const NUMBERS: [Kind; 7] = [
    Kind::Int,
    Kind::Small,
    Kind::Short,
    Kind::Unsigned,
    Kind::Decimal,
    Kind::Float,
    Kind::Real,
];

/// A kind's type.
pub fn sql_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Int => "BIGINT",
        Kind::Small => "INT",
        Kind::Short => "SMALLINT",
        Kind::Unsigned => "BIGINT UNSIGNED",
        Kind::Text => "TEXT",
        Kind::Decimal => "DECIMAL(12, 2)",
        Kind::Float => "DOUBLE",
        Kind::Real => "REAL",
        Kind::Bool => "BOOLEAN",
        Kind::Date => "DATE",
        Kind::Time => "TIMESTAMP",
        Kind::Moment => "TIMESTAMPTZ",
        Kind::Clock => "TIME",
        Kind::Span => "INTERVAL",
        Kind::Uuid => "UUID",
        Kind::Bytes => "BYTEA",
        Kind::Json => "JSON",
        Kind::List => "BIGINT[]",
        Kind::Struct => "STRUCT<a BIGINT, b TEXT>",
    }
}

/// A column of one of these kinds, if there is one.
pub fn of_kind(kinds: &[Kind], number: u8, wanted: &[Kind]) -> Option<usize> {
    let mut fit = (0..kinds.len())
        .filter(|column| wanted.contains(&kinds[*column]))
        .cycle();
    fit.nth(usize::from(number))
}

/// A column that a subquery holds against one of a kind, if there is one. INTERVALs, of which some are equal in
/// other words, are no keys of it.
pub fn tied(kinds: &[Kind], number: u8, kind: Kind) -> Option<usize> {
    of_kind(kinds, number, &[kind]).filter(|_| kind != Kind::Span)
}

/// A condition on a column; `test` chooses among those that its kind knows.
pub fn predicate(prefix: &str, kinds: &[Kind], column: u8, test: u8, number: u8) -> String {
    let column = usize::from(column) % kinds.len();
    let name = format!("{prefix}c{column}");
    let value = literal(kinds[column], number, false);
    match test % 8 {
        // What is no error only because of the condition beside it, before it or behind.
        6 if kinds[column] == Kind::Int => format!("({name} <> 0 AND 12 % {name} > 1)"),
        7 if kinds[column] == Kind::Int => format!("(12 % {name} > 1 AND {name} <> 0)"),
        0 => format!("{name} = {value}"),
        1 => format!("{name} > {value}"),
        2 => format!("{name} <= {value}"),
        3 => format!("{name} IS NULL"),
        4 => format!("{name} IS NOT NULL"),
        _ => format!("({name} <> {value} OR {name} IS NULL)"),
    }
}

const TEXTS: [&str; 5] = ["a", "", "b", "ab", "ü"];
const DECIMALS: [&str; 5] = ["0", "1.5", "-2.25", "0.01", "100"];
const FLOATS: [&str; 5] = ["0", "0.5", "-0.25", "1024", "3"];
/// Floats that are drawn more rarely.
const ODD_FLOATS: [&str; 5] = ["-0", "NaN", "Infinity", "-Infinity", "0.1"];
const CLOCKS: [&str; 5] = ["10:30:00", "00:00:00", "23:59:59.5", "10:30:00.000001", "12:00:00"];
/// The first two are one.
const MOMENTS: [&str; 5] = [
    "2024-01-01 01:00:00+01:00",
    "2024-01-01 00:00:00+00:00",
    "2024-03-31 01:30:00.5+00:00",
    "2024-01-01 00:00:00-02:00",
    "1969-12-31 23:59:59+00:00",
];
/// Some of them as long as others.
const SPANS: [&str; 7] = [
    "1 hour",
    "30 minutes",
    "0 hours",
    "24 hours",
    "1 day",
    "30 days",
    "1 month",
];
/// The first two are one.
const UUIDS: [&str; 5] = [
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12",
];
/// In SQL, and in a record.
const BYTES: [(&str, &str); 5] = [
    ("X''", ""),
    ("X'00ff'", "AP8="),
    ("X'61'", "YQ=="),
    ("X'6162'", "YWI="),
    ("X'ff'", "/w=="),
];
const JSONS: [&str; 5] = [
    "{\"a\": 1, \"b\": \"x\"}",
    "[1, 2]",
    "{\"a\": null}",
    "{\"b\": {\"a\": 2}}",
    "7",
];
const LISTS: [&str; 5] = ["1, NULL, 2", "", "1", "2, 1", "NULL"];
/// Fields of structs.
const PAIRS: [(&str, &str); 5] = [("1", "'x'"), ("1", "NULL"), ("NULL", "'x'"), ("2", "'x'"), ("1", "'y'")];

fn float(number: u8) -> &'static str {
    let few = usize::from(number % 6 % 5);
    if number / 6 % 4 == 3 {
        ODD_FLOATS[few]
    } else {
        FLOATS[few]
    }
}

/// A value of a kind, of few, so that rows meet; NULL among them where it may.
pub fn literal(kind: Kind, drawn: u8, nullable: bool) -> String {
    let number = drawn % 6;
    if nullable && number == 5 {
        return "NULL".to_string();
    }
    let few = usize::from(number % 5);
    match kind {
        Kind::Int => format!("{}", i64::from(number % 5) - 1),
        Kind::Small => format!("CAST({} AS INT)", i64::from(number % 5) - 2),
        Kind::Short => format!("CAST({} AS SMALLINT)", i64::from(number % 5) - 2),
        Kind::Unsigned => format!("CAST({} AS BIGINT UNSIGNED)", number % 5),
        Kind::Text => format!("'{}'", TEXTS[few]),
        Kind::Decimal => format!("CAST({} AS DECIMAL(12, 2))", DECIMALS[few]),
        Kind::Float => format!("CAST('{}' AS DOUBLE)", float(drawn)),
        Kind::Real => format!("CAST('{}' AS REAL)", float(drawn)),
        Kind::Bool => format!("{}", number.is_multiple_of(2)),
        Kind::Date => format!("DATE '2024-01-0{}'", 1 + number % 5),
        Kind::Time => format!("TIMESTAMP '2024-01-01 0{}:{}0:00'", number % 5, number),
        Kind::Moment => format!("TIMESTAMPTZ '{}'", MOMENTS[few]),
        Kind::Clock => format!("TIME '{}'", CLOCKS[few]),
        Kind::Span => format!("INTERVAL '{}'", span(drawn)),
        Kind::Uuid => format!("CAST('{}' AS UUID)", UUIDS[few]),
        Kind::Bytes => BYTES[few].0.to_string(),
        Kind::Json => format!("'{}'", JSONS[few]),
        Kind::List => format!("CAST([{}] AS BIGINT[])", LISTS[few]),
        Kind::Struct => {
            let (a, b) = PAIRS[few];
            format!("named_struct('a', CAST({a} AS BIGINT), 'b', CAST({b} AS TEXT))")
        }
    }
}

fn span(drawn: u8) -> &'static str {
    SPANS[usize::from(drawn % 6 + drawn / 6 % 2) % SPANS.len()]
}

/// The same value in a record.
pub fn json(kind: Kind, drawn: u8) -> String {
    let number = drawn % 6;
    if number == 5 {
        return "null".to_string();
    }
    let few = usize::from(number);
    match kind {
        Kind::Int => format!("{}", i64::from(number) - 1),
        Kind::Small | Kind::Short => format!("{}", i64::from(number) - 2),
        Kind::Unsigned => format!("{number}"),
        Kind::Text => format!("\"{}\"", TEXTS[few]),
        Kind::Decimal => DECIMALS[few].to_string(),
        Kind::Float | Kind::Real => match float(drawn) {
            odd @ ("NaN" | "Infinity" | "-Infinity") => format!("\"{odd}\""),
            number => number.to_string(),
        },
        Kind::Bool => format!("{}", number.is_multiple_of(2)),
        Kind::Date => format!("\"2024-01-0{}\"", 1 + number),
        Kind::Time => format!("\"2024-01-01 0{number}:{number}0:00\""),
        Kind::Moment => format!("\"{}\"", MOMENTS[few]),
        Kind::Clock => format!("\"{}\"", CLOCKS[few]),
        Kind::Span => format!("\"{}\"", span(drawn)),
        Kind::Uuid => format!("\"{}\"", UUIDS[few]),
        Kind::Bytes => format!("\"{}\"", BYTES[few].1),
        Kind::Json => JSONS[few].to_string(),
        Kind::List => format!("[{}]", LISTS[few].replace("NULL", "null")),
        Kind::Struct => {
            let (a, b) = PAIRS[few];
            format!("{{\"a\": {a}, \"b\": {b}}}")
                .replace("NULL", "null")
                .replace('\'', "\"")
        }
    }
}
