//! What columns hold: types, values in SQL and in records, and conditions on them.

use super::case::Kind;

/// Numbers that are added up.
pub const NUMBERS: [Kind; 5] = [Kind::Int, Kind::Small, Kind::Unsigned, Kind::Decimal, Kind::Float];

/// A kind's type.
pub fn sql_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Int => "BIGINT",
        Kind::Small => "INT",
        Kind::Unsigned => "BIGINT UNSIGNED",
        Kind::Text => "TEXT",
        Kind::Decimal => "DECIMAL(12, 2)",
        Kind::Float => "DOUBLE",
        Kind::Bool => "BOOLEAN",
        Kind::Date => "DATE",
        Kind::Time => "TIMESTAMP",
        Kind::Span => "INTERVAL",
    }
}

/// A column of one of these kinds, if there is one.
pub fn of_kind(kinds: &[Kind], number: u8, wanted: &[Kind]) -> Option<usize> {
    let mut fit = (0..kinds.len())
        .filter(|column| wanted.contains(&kinds[*column]))
        .cycle();
    fit.nth(usize::from(number))
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
const SPANS: [&str; 5] = ["1 hour", "30 minutes", "0 hours", "2 hours", "90 minutes"];

/// A value of a kind, of few, so that rows meet; NULL among them where it may.
pub fn literal(kind: Kind, number: u8, nullable: bool) -> String {
    let number = number % 6;
    if nullable && number == 5 {
        return "NULL".to_string();
    }
    let few = usize::from(number % 5);
    match kind {
        Kind::Int => format!("{}", i64::from(number % 5) - 1),
        Kind::Small => format!("CAST({} AS INT)", i64::from(number % 5) - 2),
        Kind::Unsigned => format!("CAST({} AS BIGINT UNSIGNED)", number % 5),
        Kind::Text => format!("'{}'", TEXTS[few]),
        Kind::Decimal => format!("CAST({} AS DECIMAL(12, 2))", DECIMALS[few]),
        Kind::Float => format!("CAST({} AS DOUBLE)", FLOATS[few]),
        Kind::Bool => format!("{}", number.is_multiple_of(2)),
        Kind::Date => format!("DATE '2024-01-0{}'", 1 + number % 5),
        Kind::Time => format!("TIMESTAMP '2024-01-01 0{}:{}0:00'", number % 5, number),
        Kind::Span => format!("INTERVAL '{}'", SPANS[few]),
    }
}

/// The same value in a record.
pub fn json(kind: Kind, number: u8) -> String {
    let number = number % 6;
    if number == 5 {
        return "null".to_string();
    }
    let few = usize::from(number);
    match kind {
        Kind::Int => format!("{}", i64::from(number) - 1),
        Kind::Small => format!("{}", i64::from(number) - 2),
        Kind::Unsigned => format!("{number}"),
        Kind::Text => format!("\"{}\"", TEXTS[few]),
        Kind::Decimal => DECIMALS[few].to_string(),
        Kind::Float => FLOATS[few].to_string(),
        Kind::Bool => format!("{}", number.is_multiple_of(2)),
        Kind::Date => format!("\"2024-01-0{}\"", 1 + number),
        Kind::Time => format!("\"2024-01-01 0{number}:{number}0:00\""),
        Kind::Span => format!("\"{}\"", SPANS[few]),
    }
}
