//! Joins, subqueries and set operations of a drawn query.

use std::fmt::Write;

use super::*;

/// How two columns of a kind are compared.
pub const COMPARISONS: [&str; 6] = ["=", "=", "IS NOT DISTINCT FROM", "=", "<", ">="];

pub fn join(query: Query, other: &Known, kind: u8, on: (u8, u8), compare: u8, residual: Option<(u8, u8, u8)>) -> Query {
    if query.kinds.len() + other.kinds.len() > WIDE {
        return query;
    }
    // Two columns of a kind; the first columns are both whole numbers.
    let a = usize::from(on.0) % query.kinds.len();
    let Some(b) = of_kind(&other.kinds, on.1, &[query.kinds[a]]) else {
        return query;
    };
    let mut condition = format!("a.c{a} {} b.c{b}", pick(&COMPARISONS, compare));
    let times = (times(&query.kinds, on.0), times(&other.kinds, on.1));
    if let (Some(x), Some(y), true) = (times.0, times.1, (compare / 6).is_multiple_of(3)) {
        // How far the times of the two sides are apart.
        let hours = 1 + compare / 18 % 3;
        let apart = format!("a.c{x} BETWEEN b.c{y} - INTERVAL '{hours}' HOUR AND b.c{y} + INTERVAL '30' MINUTE");
        condition = match compare % 2 {
            0 => format!("{condition} AND {apart}"),
            _ => apart,
        };
    }
    if let Some((column, test, value)) = residual {
        let extra = if test % 2 == 0 {
            predicate("b.", &other.kinds, column, test / 2, value)
        } else {
            predicate("a.", &query.kinds, column, test / 2, value)
        };
        let _ = write!(condition, " AND {extra}");
    }
    let (parts, kinds) = both(&query.kinds, &other.kinds);
    let (word, on) = match kind % 8 {
        0 | 1 => ("JOIN", format!(" ON {condition}")),
        2 | 3 => ("LEFT JOIN", format!(" ON {condition}")),
        4 => ("RIGHT JOIN", format!(" ON {condition}")),
        5 | 6 => ("FULL JOIN", format!(" ON {condition}")),
        _ => ("CROSS JOIN", String::new()),
    };
    Query {
        sql: format!(
            "SELECT {} FROM (\n{}\n) a {word} {} b{on}",
            parts.join(", "),
            indented(&query.sql),
            other.name
        ),
        kinds,
    }
}

fn times(kinds: &[Kind], number: u8) -> Option<usize> {
    of_kind(kinds, number, &[Kind::Time])
}

/// All columns of two sides, and their kinds.
fn both(left: &[Kind], right: &[Kind]) -> (Vec<String>, Vec<Kind>) {
    let sides = [("a", left), ("b", right)];
    let columns = sides
        .iter()
        .flat_map(|(side, kinds)| (0..kinds.len()).map(move |column| (side, column)));
    let parts = columns
        .enumerate()
        .map(|(place, (side, column))| format!("{side}.c{column} AS c{place}"));
    (parts.collect(), [left, right].concat())
}

pub fn as_of(
    query: Query,
    other: &Known,
    on: (u8, u8),
    by: (u8, u8),
    compare: u8,
    outer: bool,
    speech: Speech,
) -> Query {
    if query.kinds.len() + other.kinds.len() > WIDE {
        return query;
    }
    let pair = |numbers: (u8, u8)| {
        let a = usize::from(numbers.0) % query.kinds.len();
        Some((a, of_kind(&other.kinds, numbers.1, &[query.kinds[a]])?))
    };
    let (Some((a, b)), Some((x, y))) = (pair(on), pair(by)) else {
        return query;
    };
    let (parts, kinds) = both(&query.kinds, &other.kinds);
    // Without a key all rows are of one.
    let is_keyed = !compare.is_multiple_of(5);
    let op = pick(&[">=", ">", "<=", "<"], compare);
    let left = if outer { "LEFT " } else { "" };
    let met = match (speech, is_keyed) {
        (Speech::Weir, false) => format!("{} b MATCH_CONDITION (a.c{x} {op} b.c{y})", other.name),
        (Speech::Weir, true) => format!(
            "{} b MATCH_CONDITION (a.c{x} {op} b.c{y}) ON a.c{a} = b.c{b}",
            other.name
        ),
        (Speech::DuckDb, false) => format!("{} b ON a.c{x} {op} b.c{y}", first_of_place(other, &[y])),
        (Speech::DuckDb, true) => format!(
            "{} b ON a.c{a} = b.c{b} AND a.c{x} {op} b.c{y}",
            first_of_place(other, &[b, y])
        ),
    };
    Query {
        sql: format!(
            "SELECT {} FROM (\n{}\n) a ASOF {left}JOIN {met}",
            parts.join(", "),
            indented(&query.sql)
        ),
        kinds,
    }
}

/// Of a relation's rows that are equal in some columns, the first by all.
fn first_of_place(other: &Known, place: &[usize]) -> String {
    let place: Vec<String> = place.iter().map(|column| format!("c{column}")).collect();
    let all: Vec<String> = (0..other.kinds.len()).map(|c| format!("c{c} ASC NULLS LAST")).collect();
    format!(
        "(SELECT * FROM {} QUALIFY ROW_NUMBER() OVER (PARTITION BY {} ORDER BY {}) = 1)",
        other.name,
        place.join(", "),
        all.join(", ")
    )
}

pub fn subquery(
    query: Query,
    other: &Known,
    form: u8,
    columns: (u8, u8),
    correlated: Option<(u8, u8)>,
    negated: bool,
) -> Query {
    let mut kinds = query.kinds.clone();
    let a = usize::from(columns.0) % kinds.len();
    let Some(b) = tied(&other.kinds, columns.1, kinds[a]) else {
        return query;
    };
    let correlation = correlated.and_then(|(outer, inner)| {
        let outer = usize::from(outer) % kinds.len();
        let inner = tied(&other.kinds, inner, kinds[outer])?;
        Some(format!(" WHERE o.c{inner} = q.c{outer}"))
    });
    let rest = format!("FROM {} o{}", other.name, correlation.unwrap_or_default());
    let not = if negated { "NOT " } else { "" };
    let member = format!("q.c{a} {not}IN (SELECT o.c{b} {rest})");
    let exists = format!("{not}EXISTS (SELECT 1 {rest})");
    let from = format!("(\n{}\n) q", indented(&query.sql));
    let all = super::columns("q.", kinds.len());
    let wide = kinds.len() >= WIDE;
    let next = kinds.len();
    let sql = match form % 9 {
        0 | 1 => format!("SELECT {all} FROM {from} WHERE {member}"),
        2 => format!("SELECT {all} FROM {from} WHERE {exists}"),
        3 => format!("SELECT {all} FROM {from} WHERE q.c{a} >= (SELECT max(o.c{b}) {rest})"),
        4 => format!("SELECT {all} FROM {from} WHERE {member} OR q.c{a} IS NULL"),
        5 => {
            let quantified = if negated { "> ANY" } else { "<= ALL" };
            format!("SELECT {all} FROM {from} WHERE q.c{a} {quantified} (SELECT o.c{b} {rest})")
        }
        6 if !wide => {
            kinds.push(Kind::Int);
            format!("SELECT {all}, (SELECT count(*) {rest}) AS c{next} FROM {from}")
        }
        7 if !wide => {
            kinds.push(Kind::Int);
            let seen = if columns.1.is_multiple_of(2) { member } else { exists };
            format!("SELECT {all}, CASE WHEN {seen} THEN 1 WHEN NOT ({seen}) THEN 0 END AS c{next} FROM {from}")
        }
        8 if !wide => {
            kinds.push(kinds[a]);
            let sub = match columns.1 % 2 {
                0 => format!("SELECT min(o.c{b}) AS m {rest}"),
                _ => format!("SELECT o.c{b} AS m {rest}"),
            };
            let (word, on) = if negated {
                ("LEFT JOIN", "true")
            } else {
                ("JOIN", "true")
            };
            format!("SELECT {all}, l.m AS c{next} FROM {from} {word} LATERAL ({sub}) l ON {on}")
        }
        _ => return query,
    };
    let names: Vec<String> = (0..kinds.len()).map(|c| format!("c{c}")).collect();
    Query {
        sql: format!("SELECT {} FROM (\n{}\n) s", names.join(", "), indented(&sql)),
        kinds,
    }
}

pub fn set(query: Query, other: &Known, operator: u8) -> Query {
    let word = ["INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL", "UNION"][usize::from(operator % 5)];
    Query {
        sql: format!(
            "SELECT {} FROM (\n{}\n) u\n{word}\n{}",
            columns("", query.kinds.len()),
            indented(&query.sql),
            like(&query.kinds, other)
        ),
        kinds: query.kinds,
    }
}

/// Some values of a column's kind, which the rows are joined with, or of which they are among.
pub fn constants(query: Query, column: u8, among: bool, values: &[u8]) -> Query {
    let column = usize::from(column) % query.kinds.len();
    let kind = query.kinds[column];
    let all = columns("q.", query.kinds.len());
    let from = indented(&query.sql);
    if among {
        let cells = |value: &u8| {
            let cell = |(place, kind): (usize, &Kind)| match place == column {
                true => literal(*kind, *value, true),
                false => "NULL".to_string(),
            };
            let cells = query.kinds.iter().enumerate().map(cell);
            let cells = cells.zip(&query.kinds);
            let cells: Vec<String> = cells
                .map(|(cell, kind)| format!("CAST({cell} AS {})", sql_type(*kind)))
                .collect();
            format!("({})", cells.join(", "))
        };
        let rows: Vec<String> = values.iter().map(cells).collect();
        return Query {
            sql: format!(
                "SELECT {all} FROM (\n{from}\n) q\nUNION ALL\nVALUES {}",
                rows.join(", ")
            ),
            kinds: query.kinds,
        };
    }
    // A text among VALUES is a TEXT, beside what its column is.
    let cell = |value: &u8| match literal(kind, *value, false) {
        text if kind == Kind::Json => format!("(CAST({text} AS JSON))"),
        text => format!("({text})"),
    };
    let rows: Vec<String> = values.iter().map(cell).collect();
    Query {
        sql: format!(
            "SELECT {all} FROM (\n{from}\n) q JOIN (VALUES {}) AS w (x) ON q.c{column} = w.x",
            rows.join(", ")
        ),
        kinds: query.kinds,
    }
}
