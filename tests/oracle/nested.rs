//! Subqueries within subqueries that look out over both, and rows that are looked for in others.

use super::joins::COMPARISONS;
use super::*;

/// Which columns are compared: of the rows and the innermost relation, and of the two relations.
pub struct Links {
    pub outer: (u8, u8),
    pub middle: Option<(u8, u8)>,
}

/// A subquery over `other` with one over `third` in it, which names columns of the rows.
pub fn nested(query: Query, other: &Known, third: &Known, form: u8, columns: (u8, u8), links: &Links) -> Query {
    let mut kinds = query.kinds.clone();
    let a = usize::from(links.outer.0) % kinds.len();
    let Some(x) = tied(&third.kinds, links.outer.1, kinds[a]) else {
        return query;
    };
    let compare = pick(&COMPARISONS, form / 16);
    let mut inner = format!("i.c{x} {compare} q.c{a}");
    if let Some((z, y)) = links.middle {
        let z = usize::from(z) % other.kinds.len();
        if let Some(y) = tied(&third.kinds, y, other.kinds[z]) {
            inner = format!("{inner} AND i.c{y} = o.c{z}");
        }
    }
    let b = usize::from(columns.0) % other.kinds.len();
    let not = ["", "NOT "][usize::from(columns.1 / 16 % 2)];
    let there = format!("{not}EXISTS (SELECT 1 FROM {} i WHERE {inner})", third.name);
    let counted = format!("(SELECT count(*) FROM {} i WHERE {inner})", third.name);
    let all = super::columns("q.", kinds.len());
    let from = format!("(\n{}\n) q", indented(&query.sql));
    let (next, wide) = (kinds.len(), kinds.len() >= WIDE);
    let o = &other.name;
    let sql = match form % 8 {
        0 => format!("SELECT {all} FROM {from} WHERE EXISTS (SELECT 1 FROM {o} o WHERE {there})"),
        1 => format!(
            "SELECT {all} FROM {from} WHERE NOT EXISTS (SELECT 1 FROM {o} o WHERE o.c{b} IS NOT NULL AND {there})"
        ),
        2 => {
            let Some(of_rows) = tied(&kinds, columns.1, other.kinds[b]) else {
                return query;
            };
            format!("SELECT {all} FROM {from} WHERE q.c{of_rows} {not}IN (SELECT o.c{b} FROM {o} o WHERE {there})")
        }
        _ if wide => return query,
        3 => {
            kinds.push(Kind::Int);
            format!("SELECT {all}, (SELECT count(*) FROM {o} o WHERE {counted} > 1) AS c{next} FROM {from}")
        }
        4 => {
            kinds.push(Kind::Int);
            format!("SELECT {all}, (SELECT max({counted}) FROM {o} o) AS c{next} FROM {from}")
        }
        5 => {
            kinds.push(other.kinds[b]);
            format!(
                "SELECT {all}, l.m AS c{next} FROM {from} LEFT JOIN LATERAL (SELECT o.c{b} AS m FROM {o} o WHERE {there}) l ON true"
            )
        }
        6 => {
            kinds.push(Kind::Int);
            let inmost = format!("LATERAL (SELECT count(*) AS n FROM {} i WHERE {inner}) l", third.name);
            format!("SELECT {all}, m.n AS c{next} FROM {from}, LATERAL (SELECT l.n FROM {o} o, {inmost}) m")
        }
        _ => {
            kinds.push(Kind::Int);
            let seen = format!("EXISTS (SELECT 1 FROM {o} o WHERE {counted} = 1)");
            format!("SELECT {all}, CASE WHEN {seen} THEN 1 ELSE 0 END AS c{next} FROM {from}")
        }
    };
    let names = super::columns("", kinds.len());
    Query {
        sql: format!("SELECT {names} FROM (\n{}\n) s", indented(&sql)),
        kinds,
    }
}

/// Two columns of the rows, and what they are compared with.
pub struct Pair {
    pub first: (u8, u8),
    pub second: (u8, u8),
}

/// Rows of two values, compared or looked for. Elsewhere than here it is written with the values alone.
pub fn rows(
    query: Query,
    other: &Known,
    form: u8,
    pair: &Pair,
    correlated: Option<(u8, u8)>,
    negated: bool,
    speech: Speech,
) -> Query {
    let mut kinds = query.kinds.clone();
    let place = |number: u8| usize::from(number) % query.kinds.len();
    let (a, c) = (place(pair.first.0), place(pair.second.0));
    let not = if negated { "NOT " } else { "" };
    let ours = speech == Speech::Weir;
    let row = format!("(q.c{a}, q.c{c})");
    let equal = |x: &str, y: &str| format!("(q.c{a} = {x} AND q.c{c} = {y})");
    let values = |numbers: (u8, u8)| (literal(kinds[a], numbers.0, false), literal(kinds[c], numbers.1, false));
    let of_other = || {
        let of = |column: usize, number: u8| tied(&other.kinds, number, query.kinds[column]);
        Some((of(a, pair.first.1)?, of(c, pair.second.1)?))
    };
    let condition = match form % 6 {
        0..=2 => {
            let Some((b, d)) = of_other() else { return query };
            let correlation = correlated.and_then(|(outer, inner)| {
                let outer = place(outer);
                let inner = tied(&other.kinds, inner, query.kinds[outer])?;
                Some(format!("o.c{inner} = q.c{outer}"))
            });
            let correlation = correlation.unwrap_or_else(|| "true".to_string());
            let from = format!("FROM {} o WHERE {correlation}", other.name);
            let equal = equal(&format!("o.c{b}"), &format!("o.c{d}"));
            match ours {
                true => format!("{row} {not}IN (SELECT o.c{b}, o.c{d} AS d {from})"),
                false => format!(
                    "{not}CASE WHEN EXISTS (SELECT 1 {from} AND {equal}) THEN true WHEN EXISTS (SELECT 1 {from} AND {equal} IS \
                     NULL) THEN NULL ELSE false END"
                ),
            }
        }
        3 => {
            let (one, two) = (values(pair.first), values(pair.second));
            match ours {
                true => format!("{row} {not}IN (({}, {}), ({}, {}))", one.0, one.1, two.0, two.1),
                false => format!("{not}({} OR {})", equal(&one.0, &one.1), equal(&two.0, &two.1)),
            }
        }
        4 => {
            let (x, y) = values(pair.first);
            let (before, op) = [("<", "<"), ("<", "<="), (">", ">"), (">", ">=")][usize::from(form / 6 % 4)];
            match ours {
                true => format!("{not}({row} {op} ({x}, {y}))"),
                false => format!("{not}(q.c{a} {before} {x} OR (q.c{a} = {x} AND q.c{c} {op} {y}))"),
            }
        }
        _ => {
            let (x, y) = values(pair.second);
            let (op, by) = match form / 6 % 3 {
                0 => ("<>", "OR"),
                1 => ("IS DISTINCT FROM", "OR"),
                _ => ("IS NOT DISTINCT FROM", "AND"),
            };
            match ours {
                true => format!("{not}({row} {op} ({x}, {y}))"),
                false => format!("{not}(q.c{a} {op} {x} {by} q.c{c} {op} {y})"),
            }
        }
    };
    let all = super::columns("q.", kinds.len());
    let from = format!("(\n{}\n) q", indented(&query.sql));
    let sql = match form / 24 % 3 {
        1 => format!("SELECT {all} FROM {from} WHERE {condition} OR q.c{a} IS NULL"),
        2 if kinds.len() < WIDE => {
            let next = kinds.len();
            kinds.push(Kind::Int);
            format!(
                "SELECT {all}, CASE WHEN {condition} THEN 1 WHEN NOT ({condition}) THEN 0 END AS c{next} FROM {from}"
            )
        }
        _ => format!("SELECT {all} FROM {from} WHERE {condition}"),
    };
    let names = super::columns("", kinds.len());
    Query {
        sql: format!("SELECT {names} FROM (\n{}\n) s", indented(&sql)),
        kinds,
    }
}
