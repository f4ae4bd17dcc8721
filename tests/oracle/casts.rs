//! Something computed of a column: arithmetic, functions and casts, among the types that there are.

use super::super::case::Kind;
use super::super::values::sql_type;

/// An expression over a column of a kind, and its kind.
pub fn computed(kind: Kind, name: &str, how: u8) -> (String, Kind) {
    let same = |expr: String| (expr, kind);
    let as_kind = |to: Kind| (format!("CAST({name} AS {})", sql_type(to)), to);
    match (kind, how % 8) {
        // As text and back, and as text.
        (Kind::List | Kind::Struct | Kind::Json | Kind::Text, 6 | 7) => parts(kind, name, how / 8),
        (_, 6) => same(format!("CAST(CAST({name} AS TEXT) AS {})", sql_type(kind))),
        (_, 7) => as_kind(Kind::Text),
        (_, 0) => same(name.to_string()),
        (Kind::Int, 1) => same(format!("{name} + 1")),
        (Kind::Int, 2) => same(format!("CASE WHEN {name} > 1 THEN {name} END")),
        (Kind::Int, 3) => same(format!("coalesce({name}, 0)")),
        (Kind::Int, 4) => {
            as_kind([Kind::Text, Kind::Decimal, Kind::Real, Kind::Short, Kind::Float][usize::from(how / 8 % 5)])
        }
        (Kind::Int, 5) => match how / 8 % 5 {
            2 => (format!("CAST([{name}, 1] AS BIGINT[])"), Kind::List),
            3 => (
                format!("named_struct('a', {name}, 'b', CAST({name} AS TEXT))"),
                Kind::Struct,
            ),
            0 => (format!("{name} > 1"), Kind::Bool),
            1 => (format!("json_build_array({name}, 'x')"), Kind::Json),
            _ => (format!("INTERVAL '90 minutes' * {name}"), Kind::Span),
        },
        (Kind::Small, 1 | 2) => (format!("CAST({name} AS BIGINT) * 2"), Kind::Int),
        (Kind::Small, 3) => same(format!("-{name}")),
        (Kind::Short, 1 | 2) => as_kind(Kind::Int),
        (Kind::Short, 3) => as_kind(Kind::Small),
        (Kind::Unsigned, 1 | 2) => (format!("CAST({name} AS BIGINT) - 2"), Kind::Int),
        (Kind::Unsigned, 3) => as_kind(Kind::Decimal),
        (Kind::Text, 1) => same(format!("{name} || 'x'")),
        (Kind::Text, 2) => same(format!("upper({name})")),
        (Kind::Text, 3) => same(format!("coalesce({name}, 'none')")),
        (Kind::Text, 4) => (format!("CAST(length({name}) AS BIGINT)"), Kind::Int),
        (Kind::Decimal, 1) => (format!("CAST({name} * 2 AS DECIMAL(12, 2))"), Kind::Decimal),
        (Kind::Decimal, 2) => as_kind(Kind::Float),
        (Kind::Decimal, 3) => as_kind(Kind::Int),
        (Kind::Decimal, 4) => as_kind(Kind::Real),
        (Kind::Float, 1) | (Kind::Real, 1) => same(format!("-{name}")),
        (Kind::Float, 2) => same(format!("{name} - 1")),
        (Kind::Float, 3) => as_kind(Kind::Real),
        (Kind::Real, 2 | 3) => as_kind(Kind::Float),
        (Kind::Bool, 1) => same(format!("NOT {name}")),
        (Kind::Bool, 2) => same(format!("{name} IS TRUE")),
        (Kind::Bool, 3) => (format!("CAST({name} AS INT)"), Kind::Small),
        (Kind::Date, 1) => as_kind(Kind::Time),
        (Kind::Date, 2) => as_kind(Kind::Moment),
        (Kind::Date, 3) => same(format!("{name} + INTERVAL '1 day'")),
        (Kind::Date, 4) => (format!("CAST({name} - DATE '2024-01-01' AS BIGINT)"), Kind::Int),
        (Kind::Time, 1) => same(format!("{name} + INTERVAL '1' HOUR")),
        (Kind::Time, 2) => same(format!("date_trunc('hour', {name})")),
        (Kind::Time, 3) => as_kind([Kind::Date, Kind::Clock][usize::from(how / 8 % 2)]),
        (Kind::Time, 4) => (format!("{name} AT TIME ZONE 'Europe/Berlin'"), Kind::Moment),
        (Kind::Time, 5) => (format!("{name} - TIMESTAMP '2024-01-01 00:00:00'"), Kind::Span),
        (Kind::Moment, 1 | 2) => (format!("{name} AT TIME ZONE 'Europe/Berlin'"), Kind::Time),
        (Kind::Moment, 3) => as_kind([Kind::Date, Kind::Time][usize::from(how / 8 % 2)]),
        (Kind::Moment, 4) => same(format!("{name} + INTERVAL '1 month'")),
        (Kind::Clock, 1) => same(format!("{name} + INTERVAL '20 minutes'")),
        (Kind::Span, 1) => (format!("TIMESTAMP '2024-01-01 00:00:00' + {name}"), Kind::Time),
        (Kind::Span, 2) => same(format!("{name} * 2")),
        (Kind::Span, 3) => same(format!("{name} - INTERVAL '1 day'")),
        (Kind::Span, 4) => (format!("CAST(extract(hour FROM {name}) AS BIGINT)"), Kind::Int),
        (Kind::Bytes, 1 | 2) => (format!("encode({name}, 'hex')"), Kind::Text),
        (Kind::Json | Kind::List | Kind::Struct, how) => parts(kind, name, how),
        _ => same(name.to_string()),
    }
}

/// A part of what has parts.
fn parts(kind: Kind, name: &str, how: u8) -> (String, Kind) {
    if kind == Kind::Json {
        return json_part(name, how);
    }
    match (kind, how % 6) {
        (Kind::List, 0) => (format!("{name}[1]"), Kind::Int),
        (Kind::List, 1) => (format!("CAST(array_length({name}) AS BIGINT)"), Kind::Int),
        (Kind::List, 2) => (format!("array_append({name}, 1)"), Kind::List),
        (Kind::List, 3) => (format!("array_to_string({name}, '-', 'none')"), Kind::Text),
        (Kind::List, 4) => (format!("{name}[2:]"), Kind::List),
        (Kind::List, 5) => (format!("2 = ANY ({name})"), Kind::Bool),
        (Kind::Struct, 0 | 1) => (format!("{name}['a']"), Kind::Int),
        (Kind::Struct, 2 | 3) => (format!("{name}['b']"), Kind::Text),
        (Kind::Text, 0 | 1) => (format!("CAST(CAST({name} AS BYTEA) AS TEXT)"), Kind::Text),
        (Kind::Text, 2) => (format!("string_to_array({name}, 'b')[1]"), Kind::Text),
        _ => (name.to_string(), kind),
    }
}

/// What JSON's operators say.
fn json_part(name: &str, how: u8) -> (String, Kind) {
    // Of some kinds of JSON only these have parts that can be taken away.
    let of_object = |expr: &str| {
        let sql = format!("CASE WHEN json_typeof({name}) = 'object' THEN {expr} END");
        (sql, Kind::Json)
    };
    match how % 20 {
        0 | 1 => (format!("{name} ->> 'a'"), Kind::Text),
        2 => (format!("{name} ->> 0"), Kind::Text),
        3 => (format!("{name} -> 'b'"), Kind::Json),
        4 => (format!("{name} -> 'b' ->> 'a'"), Kind::Text),
        5 => (format!("{name} #> '{{b,a}}'"), Kind::Json),
        6 => (format!("{name} #>> '{{b,a}}'"), Kind::Text),
        7 => (format!("{name} @> '{{\"a\": 1}}'"), Kind::Bool),
        8 => (format!("'[2]' <@ {name}"), Kind::Bool),
        9 => (format!("{name} ? 'a'"), Kind::Bool),
        10 => (format!("{name} ?| ARRAY['b', 'c']"), Kind::Bool),
        11 => of_object(&format!("{name} - 'a'")),
        12 => of_object(&format!("{name} #- '{{b,a}}'")),
        13 => of_object(&format!("jsonb_set({name}, '{{b}}', '[9]')")),
        14 => (format!("{name} || '{{\"c\": [3]}}'"), Kind::Json),
        15 => (format!("json_typeof({name})"), Kind::Text),
        16 => (format!("json_build_object('k', {name}, 'n', 1)"), Kind::Json),
        17 => (format!("json_strip_nulls({name})"), Kind::Json),
        _ => (name.to_string(), Kind::Json),
    }
}
