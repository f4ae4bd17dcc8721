//! Steps that make rows of rows: arrays as rows, and recursions; the rows that are there now; and values that
//! are made once for each row.

use super::super::case::Kind;
use super::super::values::of_kind;
use super::{Query, Speech, WIDE, columns, indented};

/// A row for each element of an array of columns.
pub fn unnest(query: Query, chosen: &[u8], form: u8, speech: Speech) -> Query {
    let mut kinds = query.kinds.clone();
    if kinds.len() + 2 > WIDE {
        return query;
    }
    if let Some(doc) = of_kind(&kinds, chosen[0], &[Kind::Json]).filter(|_| form % 8 < 5) {
        return parts_of(query, doc, form);
    }
    let kind = kinds[usize::from(chosen[0]) % kinds.len()];
    let elements: Vec<String> = chosen
        .iter()
        .filter_map(|number| of_kind(&kinds, *number, &[kind]))
        .map(|column| format!("q.c{column}"))
        .collect();
    if form >= 208 {
        return rows_beside(query, &elements, kind, form, speech);
    }
    let all = columns("q.", kinds.len());
    let (from, array) = (indented(&query.sql), format!("[{}]", elements.join(", ")));
    let next = kinds.len();
    let listed = of_kind(&kinds, chosen[0], &[Kind::List]).filter(|_| form / 12 % 2 == 1);
    let (array, kind) = match listed {
        Some(column) => (format!("q.c{column}"), Kind::Int),
        None => (array, kind),
    };
    let array = match form / 4 % 3 {
        0 => array,
        2 if listed.is_some() => array,
        // Some rows have none.
        1 => format!("CASE WHEN q.c0 IS NOT NULL THEN {array} END"),
        _ => {
            let gone = format!("q.c{}", usize::from(chosen[0]) % next);
            match speech {
                Speech::Weir => format!("array_remove({array}, {gone})"),
                Speech::DuckDb => format!("list_filter({array}, lambda v: v IS DISTINCT FROM {gone})"),
            }
        }
    };
    // Who has no UNNEST in FROM has it in a SELECT list.
    let rows = match speech {
        Speech::Weir => format!("UNNEST({array}) AS u(x)"),
        Speech::DuckDb => format!("LATERAL (SELECT unnest({array}) AS x) AS u(x)"),
    };
    let numbered = match speech {
        Speech::Weir => format!("UNNEST({array}) WITH ORDINALITY AS u(x, n)"),
        Speech::DuckDb => {
            format!("LATERAL (SELECT unnest({array}) AS x, generate_subscripts({array}, 1) AS n) AS u(x, n)")
        }
    };
    kinds.push(kind);
    let sql = match form % 4 {
        0 => format!("SELECT {all}, u.x AS c{next} FROM (\n{from}\n) q CROSS JOIN {rows}"),
        1 => format!("SELECT {all}, u.x AS c{next} FROM (\n{from}\n) q LEFT JOIN {rows} ON true"),
        2 => {
            kinds.push(Kind::Int);
            let ordinal = format!("CAST(u.n AS BIGINT) AS c{}", next + 1);
            format!("SELECT {all}, u.x AS c{next}, {ordinal} FROM (\n{from}\n) q, {numbered}")
        }
        _ if listed.is_some() => beside(&all, &from, (&array, 0), next, (form / 24 % 4, speech)),
        _ => beside(
            &all,
            &from,
            (&array, usize::from(chosen[0]) % next),
            next,
            (form / 12, speech),
        ),
    };
    Query { sql, kinds }
}

/// Rows of the row beside them that come from no array.
fn rows_beside(query: Query, elements: &[String], kind: Kind, form: u8, speech: Speech) -> Query {
    let mut kinds = query.kinds.clone();
    let (all, next, from) = (columns("q.", kinds.len()), kinds.len(), indented(&query.sql));
    let number = of_kind(&kinds, form, &[Kind::Int]);
    let (rows, kind) = match (form % 2, number) {
        (0, Some(last)) => {
            let series = format!("generate_series(0, CAST(least(q.c{last}, 3) AS BIGINT))");
            let series = match speech {
                Speech::Weir => format!("{series} AS v(x)"),
                Speech::DuckDb => format!("LATERAL (SELECT unnest({series})) AS v(x)"),
            };
            (series, Kind::Int)
        }
        _ => {
            let values: Vec<String> = elements.iter().map(|element| format!("({element})")).collect();
            (format!("LATERAL (VALUES {}) AS v(x)", values.join(", ")), kind)
        }
    };
    kinds.push(kind);
    Query {
        sql: format!("SELECT {all}, v.x AS c{next} FROM (\n{from}\n) q CROSS JOIN {rows}"),
        kinds,
    }
}

/// A row for each part of a JSON value.
fn parts_of(query: Query, doc: usize, form: u8) -> Query {
    let mut kinds = query.kinds.clone();
    let (all, next, from) = (columns("q.", kinds.len()), kinds.len(), indented(&query.sql));
    let of = |kind: &str| format!("CASE WHEN json_typeof(q.c{doc}) = '{kind}' THEN q.c{doc} END");
    let (function, found) = match form % 8 {
        0 => (format!("json_array_elements({})", of("array")), vec![Kind::Json]),
        1 => (format!("json_array_elements_text({})", of("array")), vec![Kind::Text]),
        2 => (format!("json_object_keys({})", of("object")), vec![Kind::Text]),
        3 => (format!("json_each({})", of("object")), vec![Kind::Text, Kind::Json]),
        _ => (
            format!("json_each_text({})", of("object")),
            vec![Kind::Text, Kind::Text],
        ),
    };
    let (names, shown) = match found.len() {
        1 => ("x", format!("u.x AS c{next}")),
        _ => ("x, y", format!("u.x AS c{next}, u.y AS c{}", next + 1)),
    };
    let (join, on) = match form / 8 % 3 {
        0 => ("CROSS JOIN", ""),
        1 => ("LEFT JOIN", " ON true"),
        _ => ("CROSS JOIN LATERAL", ""),
    };
    kinds.extend(found);
    Query {
        sql: format!("SELECT {all}, {shown} FROM (\n{from}\n) q {join} {function} AS u({names}){on}"),
        kinds,
    }
}

/// The elements in the SELECT list, or in a query beside the row.
fn beside(all: &str, from: &str, (array, first): (&str, usize), next: usize, (form, speech): (u8, Speech)) -> String {
    let rows = match speech {
        Speech::Weir => format!("UNNEST({array}) AS u(x)"),
        Speech::DuckDb => format!("(SELECT unnest({array}) AS x) AS u(x)"),
    };
    let query = match form % 5 {
        0 => return format!("SELECT {all}, unnest({array}) AS c{next} FROM (\n{from}\n) q"),
        1 => format!("SELECT u.x AS m FROM {rows} WHERE u.x IS NOT NULL"),
        2 => format!("SELECT max(u.x) AS m FROM {rows}"),
        3 => format!("SELECT u.x AS m FROM {rows} ORDER BY u.x DESC LIMIT 1"),
        _ => format!("SELECT DISTINCT u.x AS m FROM {rows} WHERE u.x <> q.c{first}"),
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
