//! Windows in FROM: in Weir's words, and in those of SQL that has none.

use super::super::aggregates::{Grouping, group};
use super::super::case::{Kind, Sessions};
use super::super::values::{of_kind, predicate};
use super::{Query, WIDE, columns, indented};

/// Whose SQL is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speech {
    Weir,
    DuckDb,
}

/// Where the windows begin: at the epoch, which is a multiple of all sizes before this day, and later
/// by an offset.
const DAY: &str = "TIMESTAMP '2024-01-01 00:00:00'";

/// A kind of window and its lengths, in hours.
enum Windows {
    Tumble { size: u8 },
    Hop { slide: u8, size: u8 },
    Cumulate { size: u8 },
    Session { gap: u8, by: Vec<usize> },
}

/// The rows in windows over a time, and one end of these.
pub fn window(query: Query, column: usize, size: u8, slide: u8, speech: Speech) -> Query {
    let mut kinds = query.kinds.clone();
    let bound = if size.is_multiple_of(2) {
        "window_start"
    } else {
        "window_end"
    };
    let size = 1 + size % 3;
    let by = usize::from(slide / 6) % kinds.len();
    let windows = match slide % 6 {
        0 => Windows::Tumble { size },
        1 => Windows::Hop { slide: 2, size },
        2 => Windows::Hop { slide: 1, size },
        3 => Windows::Cumulate { size },
        4 => Windows::Session { gap: size, by: vec![] },
        _ => Windows::Session {
            gap: size,
            by: vec![by],
        },
    };
    let offset = [0, 40, -60][usize::from(slide / 6 % 3)];
    let all = columns("q.", kinds.len());
    let call = spoken(&query, column, &windows, offset, speech);
    kinds.push(Kind::Time);
    Query {
        sql: format!("SELECT {all}, {bound} AS c{} FROM {call}", kinds.len() - 1),
        kinds,
    }
}

/// Windows over a query, called q.
fn spoken(query: &Query, column: usize, windows: &Windows, offset: i32, speech: Speech) -> String {
    let from = indented(&query.sql);
    match speech {
        Speech::Weir => in_weir(&format!("(\n{from}\n) q"), column, windows, offset),
        Speech::DuckDb => format!("(\n{}\n) q", indented(&in_plain_sql(&from, column, windows, offset))),
    }
}

/// Groups of sessions: whole ones, of which results are kept where rows only come, and others.
pub fn sessions(query: Query, step: &Sessions, last: bool, speech: Speech) -> Query {
    let width = query.kinds.len();
    let column = of_kind(&query.kinds, step.column, &[Kind::Time]).filter(|_| width < WIDE);
    let Some(column) = column else { return query };
    let mut by: Vec<usize> = step
        .partition
        .iter()
        .map(|number| usize::from(*number) % width)
        .collect();
    by.dedup();
    let bounds = match step.keys % 4 {
        0 => vec![width],
        1 => vec![width + 1],
        _ => vec![width, width + 1],
    };
    let mut keys = [by.clone(), bounds].concat();
    match step.keys / 4 % 8 {
        0 => keys.push(usize::from(step.gap / 3) % width),
        1 => drop(keys.remove(0)),
        _ => {}
    }
    let keys: Vec<u8> = keys.into_iter().map(|key| key as u8).collect();
    let kinds = [&query.kinds[..], &[Kind::Time, Kind::Time]].concat();
    let (place, filter) = match step.filter {
        Some((place, column, test, value)) => (Some(place % 3), (column, test, value)),
        None => (None, (0, 0, 0)),
    };
    let below = match place {
        Some(0) => kept(query, filter),
        _ => query,
    };
    let gap = 1 + step.gap % 3;
    let call = spoken(&below, column, &Windows::Session { gap, by }, 0, speech);
    let rows = Query {
        sql: format!(
            "SELECT {}, window_start AS c{width}, window_end AS c{} FROM {call}",
            columns("q.", width),
            width + 1
        ),
        kinds,
    };
    let rows = match place {
        Some(1) => kept(rows, filter),
        _ => rows,
    };
    let grouping = Grouping {
        keys: &keys,
        sets: None,
        calls: &step.calls,
        having: step.having,
        speech,
    };
    let from = format!("(\n{}\n) q", indented(&rows.sql));
    match place {
        Some(2) => kept(group(&from, &rows.kinds, &grouping, false), filter),
        _ => group(&from, &rows.kinds, &grouping, last),
    }
}

/// The rows that meet a condition.
fn kept(query: Query, (column, test, value): (u8, u8, u8)) -> Query {
    Query {
        sql: format!(
            "SELECT {} FROM (\n{}\n) f WHERE {}",
            columns("", query.kinds.len()),
            indented(&query.sql),
            predicate("", &query.kinds, column, test, value)
        ),
        kinds: query.kinds,
    }
}

fn in_weir(from: &str, column: usize, windows: &Windows, offset: i32) -> String {
    let offset = match offset {
        0 => String::new(),
        minutes if minutes < 0 => format!(", -INTERVAL '{}' MINUTE", -minutes),
        minutes => format!(", INTERVAL '{minutes}' MINUTE"),
    };
    match windows {
        Windows::Tumble { size } => format!("TUMBLE({from}, q.c{column}, INTERVAL '{size}' HOUR{offset})"),
        Windows::Hop { slide, size } => {
            format!("HOP({from}, q.c{column}, INTERVAL '{slide}' HOUR, INTERVAL '{size}' HOUR{offset})")
        }
        Windows::Cumulate { size } => {
            format!("CUMULATE({from}, q.c{column}, INTERVAL '1' HOUR, INTERVAL '{size}' HOUR{offset})")
        }
        Windows::Session { gap, by } => {
            let by = partition("q", by, &[]);
            format!("SESSION({from} {by}, q.c{column}, INTERVAL '{gap}' HOUR)")
        }
    }
}

/// Fixed windows by arithmetic; sessions as islands between gaps.
fn in_plain_sql(from: &str, column: usize, windows: &Windows, offset: i32) -> String {
    let at = format!("p.c{column}");
    let hours = |hours: &str| format!("INTERVAL '1 hour' * ({hours})");
    let bucket =
        |size: u8| format!("time_bucket(INTERVAL '{size} hours', {at}, {DAY} + INTERVAL '1 minute' * ({offset}))");
    let fixed = |first: String, last: String, count: u8| {
        format!(
            "SELECT w.* FROM (\n  SELECT p.*, {first} AS window_start, {last} AS window_end\n  FROM (\n{from}\n  ) p, \
             generate_series(0, {}) AS k (k)\n  WHERE {at} IS NOT NULL\n) w\nWHERE w.c{column} >= w.window_start AND \
             w.c{column} < w.window_end",
            count - 1
        )
    };
    match windows {
        Windows::Tumble { size } => fixed(
            bucket(*size),
            format!("{} + {}", bucket(*size), hours(&size.to_string())),
            1,
        ),
        Windows::Hop { slide, size } => {
            let first = format!("{} - {}", bucket(*slide), hours(&format!("k.k * {slide}")));
            fixed(
                first.clone(),
                format!("{first} + {}", hours(&size.to_string())),
                size.div_ceil(*slide),
            )
        }
        Windows::Cumulate { size } => fixed(
            bucket(*size),
            format!("{} + {}", bucket(*size), hours("k.k + 1")),
            *size,
        ),
        Windows::Session { gap, by } => {
            let of_session = partition("p", by, &["p.session"]);
            let partition = partition("p", by, &[]);
            let gap = hours(&gap.to_string());
            format!(
                "SELECT p.*, min({at}) OVER ({of_session}) AS window_start, max({at}) OVER ({of_session}) + {gap} AS \
                 window_end\nFROM (\n  SELECT p.*, sum(p.begins) OVER ({partition} ORDER BY {at} RANGE UNBOUNDED \
                 PRECEDING) AS session\n  FROM (\n    SELECT p.*, CASE WHEN {at} - lag({at}) OVER ({partition} ORDER BY \
                 {at}) < {gap} THEN 0 ELSE 1 END AS begins\n    FROM (\n{from}\n    ) p\n    WHERE {at} IS NOT NULL\n  ) \
                 p\n) p"
            )
        }
    }
}

/// PARTITION BY columns, and more.
fn partition(side: &str, by: &[usize], more: &[&str]) -> String {
    let by = by.iter().map(|by| format!("{side}.c{by}"));
    let by: Vec<String> = by.chain(more.iter().map(ToString::to_string)).collect();
    match by.is_empty() {
        true => String::new(),
        false => format!("PARTITION BY {}", by.join(", ")),
    }
}

/// A step that puts rows in windows, where there is a time.
pub fn step(query: Query, column: Option<usize>, size: u8, slide: u8, speech: Speech) -> Query {
    match column {
        Some(column) if query.kinds.len() < WIDE => window(query, column, size, slide, speech),
        _ => query,
    }
}
