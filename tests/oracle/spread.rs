//! Steps that make rows of rows: arrays as rows, and recursions; the rows that are there now; and values that
//! are made once for each row.

use super::super::case::Kind;
use super::super::values::of_kind;
use super::{Query, WIDE, columns, indented};

/// A row for each element of an array of columns.
pub fn unnest(query: Query, chosen: &[u8], form: u8) -> Query {
    let mut kinds = query.kinds.clone();
    if kinds.len() + 2 > WIDE {
        return query;
    }
    let kind = kinds[usize::from(chosen[0]) % kinds.len()];
    let elements: Vec<String> = chosen
        .iter()
        .filter_map(|number| of_kind(&kinds, *number, &[kind]))
        .map(|column| format!("q.c{column}"))
        .collect();
    let all = columns("q.", kinds.len());
    let (from, array) = (indented(&query.sql), format!("[{}]", elements.join(", ")));
    let next = kinds.len();
    let array = match form / 4 % 3 {
        0 => array,
        // Some rows have none.
        1 => format!("CASE WHEN q.c0 IS NOT NULL THEN {array} END"),
        _ => format!("array_remove({array}, q.c{})", usize::from(chosen[0]) % next),
    };
    kinds.push(kind);
    let sql = match form % 4 {
        0 => format!("SELECT {all}, u.x AS c{next} FROM (\n{from}\n) q CROSS JOIN UNNEST({array}) AS u(x)"),
        1 => format!("SELECT {all}, u.x AS c{next} FROM (\n{from}\n) q LEFT JOIN UNNEST({array}) AS u(x) ON true"),
        2 => {
            kinds.push(Kind::Int);
            let ordinal = format!("CAST(u.n AS BIGINT) AS c{}", next + 1);
            format!(
                "SELECT {all}, u.x AS c{next}, {ordinal} FROM (\n{from}\n) q, UNNEST({array}) WITH ORDINALITY AS u(x, n)"
            )
        }
        _ => beside(&all, &from, (&array, usize::from(chosen[0]) % next), next, form / 12),
    };
    Query { sql, kinds }
}

/// The elements in the SELECT list, or in a query beside the row.
fn beside(all: &str, from: &str, (array, first): (&str, usize), next: usize, form: u8) -> String {
    let query = match form % 5 {
        0 => return format!("SELECT {all}, unnest({array}) AS c{next} FROM (\n{from}\n) q"),
        1 => format!("SELECT u.x AS m FROM UNNEST({array}) AS u(x) WHERE u.x IS NOT NULL"),
        2 => format!("SELECT max(u.x) AS m FROM UNNEST({array}) AS u(x)"),
        3 => format!("SELECT u.x AS m FROM UNNEST({array}) AS u(x) ORDER BY u.x DESC LIMIT 1"),
        _ => format!("SELECT DISTINCT u.x AS m FROM UNNEST({array}) AS u(x) WHERE u.x <> q.c{first}"),
    };
    let (join, on) = if (form / 5).is_multiple_of(2) {
        ("LEFT JOIN", " ON true")
    } else {
        ("CROSS JOIN", "")
    };
    format!("SELECT {all}, l.m AS c{next} FROM (\n{from}\n) q {join} LATERAL ({query}) l{on}")
}

/// What can be reached over the rows as edges between two columns of a kind.
pub fn recursive(query: Query, ends: (u8, u8), form: u8) -> Query {
    let kinds = &query.kinds;
    if query.sql.contains("WITH RECURSIVE") {
        return query;
    }
    let a = usize::from(ends.0) % kinds.len();
    let Some(b) = of_kind(kinds, ends.1, &[kinds[a]]) else {
        return query;
    };
    // Circles end where rows are kept once; without that they have to be counted.
    let (seed, next, union) = match form % 4 {
        0 => (format!("c{a} AS x, c{b} AS y"), format!("r.x, e.c{b}"), "UNION"),
        1 => (format!("c{a} AS x, c{a} AS y"), format!("e.c{b}, r.y"), "UNION"),
        _ => (
            format!("c{a} AS x, c{b} AS y, 0 AS n"),
            format!("r.x, e.c{b}, r.n + 1"),
            "UNION ALL",
        ),
    };
    let counted = form % 4 > 1;
    let (names, more) = match counted {
        true => ("x, y, n", " AND r.n < 2"),
        false => ("x, y", ""),
    };
    let tie = match form % 4 {
        1 => format!("e.c{a} = r.x"),
        _ => format!("e.c{a} = r.y"),
    };
    let mut result = vec![kinds[a], kinds[b]];
    let mut shown = "x AS c0, y AS c1".to_string();
    if counted {
        result.push(Kind::Int);
        shown.push_str(", CAST(n AS BIGINT) AS c2");
    }
    let edges = indented(&query.sql);
    Query {
        sql: format!(
            "WITH RECURSIVE e AS (\n{edges}\n), r ({names}) AS (\n  SELECT {seed} FROM e\n  {union}\n  SELECT {next} FROM r \
             JOIN e ON {tie}{more}\n)\nSELECT {shown} FROM r"
        ),
        kinds: result,
    }
}

/// The rows whose time it is.
pub fn now(query: Query, column: Option<usize>, form: u8) -> Query {
    let Some(column) = column else { return query };
    let at = format!("q.c{column}");
    let hours = 1 + form / 5 % 3;
    let condition = match form % 5 {
        0 => format!("{at} > now() - INTERVAL '{hours} hours'"),
        1 => format!("{at} <= now()"),
        2 => format!("{at} BETWEEN now() - INTERVAL '{hours} hours' AND now()"),
        3 => format!("{at} + INTERVAL '{hours} hours' < now()"),
        _ => format!("now() <= {at} + INTERVAL '{hours} hours' AND q.c0 IS NOT NULL"),
    };
    let all = columns("q.", query.kinds.len());
    Query {
        sql: format!("SELECT {all} FROM (\n{}\n) q WHERE {condition}", indented(&query.sql)),
        kinds: query.kinds,
    }
}

/// A column, or a condition, that is the same whatever was drawn.
pub fn drawn(from: &str, mut kinds: Vec<Kind>, form: u8) -> Query {
    let all = columns("q.", kinds.len());
    let column = match form % 4 {
        0 => "CASE WHEN random() < 2 THEN length(CAST(uuid() AS TEXT)) ELSE 0 END",
        1 => "CASE WHEN now() > TIMESTAMP '2000-01-01 00:00:00' THEN length(CAST(uuid() AS TEXT)) ELSE 0 END",
        2 => "CASE WHEN current_date > DATE '2000-01-01' AND random() <> random() THEN 36 ELSE 0 END",
        _ => {
            return Query {
                sql: format!("SELECT {all} FROM {from} WHERE random() < 2"),
                kinds,
            };
        }
    };
    kinds.push(Kind::Int);
    Query {
        sql: format!(
            "SELECT {all}, CAST({column} AS BIGINT) AS c{} FROM {from}",
            kinds.len() - 1
        ),
        kinds,
    }
}
