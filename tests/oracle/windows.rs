//! Windows in FROM: in Weir's words, and in those of SQL that has none.

use super::super::case::Kind;
use super::{Known, Query, WIDE, columns, indented};

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
    Session { gap: u8, by: Option<usize> },
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
        4 => Windows::Session { gap: size, by: None },
        _ => Windows::Session {
            gap: size,
            by: Some(by),
        },
    };
    let offset = [0, 40, -60][usize::from(slide / 6 % 3)];
    let all = columns("q.", kinds.len());
    let from = indented(&query.sql);
    let call = match speech {
        Speech::Weir => in_weir(&format!("(\n{from}\n) q"), column, &windows, offset),
        Speech::DuckDb => format!("(\n{}\n) q", indented(&in_plain_sql(&from, column, &windows, offset))),
    };
    kinds.push(Kind::Time);
    Query {
        sql: format!("SELECT {all}, {bound} AS c{} FROM {call}", kinds.len() - 1),
        kinds,
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
        Windows::Session { gap, by: None } => format!("SESSION({from}, q.c{column}, INTERVAL '{gap}' HOUR)"),
        Windows::Session { gap, by: Some(by) } => {
            format!("SESSION({from} PARTITION BY q.c{by}, q.c{column}, INTERVAL '{gap}' HOUR)")
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
            let partition = by.map_or(String::new(), |by| format!("PARTITION BY p.c{by} "));
            let of_session = match by {
                Some(by) => format!("PARTITION BY p.c{by}, p.session"),
                None => "PARTITION BY p.session".to_string(),
            };
            let gap = hours(&gap.to_string());
            format!(
                "SELECT p.*, min({at}) OVER ({of_session}) AS window_start, max({at}) OVER ({of_session}) + {gap} AS \
                 window_end\nFROM (\n  SELECT p.*, sum(p.begins) OVER ({partition}ORDER BY {at} RANGE UNBOUNDED \
                 PRECEDING) AS session\n  FROM (\n    SELECT p.*, CASE WHEN {at} - lag({at}) OVER ({partition}ORDER BY \
                 {at}) < {gap} THEN 0 ELSE 1 END AS begins\n    FROM (\n{from}\n    ) p\n    WHERE {at} IS NOT NULL\n  ) \
                 p\n) p"
            )
        }
    }
}

/// Groups of windows over a source's event time, closed by its watermark: each once when it has
/// passed, or final a while later.
pub fn closing(source: &Known, event_time: usize, number: u8) -> (Query, &'static str, &'static str) {
    let size = 1 + number / 2 % 3;
    let (name, at) = (&source.name, format!("c{event_time}"));
    let call = match number / 6 % 3 {
        0 => format!("TUMBLE({name}, {at}, INTERVAL '{size}' HOUR)"),
        1 => format!("HOP({name}, {at}, INTERVAL '30' MINUTE, INTERVAL '{size}' HOUR)"),
        _ => format!("CUMULATE({name}, {at}, INTERVAL '1' HOUR, INTERVAL '{size}' HOUR)"),
    };
    let key = usize::from(number / 18) % source.kinds.len();
    let kinds = vec![Kind::Time, Kind::Time, source.kinds[key], Kind::Int];
    let sql = format!(
        "SELECT window_start AS c0, window_end AS c1, c{key} AS c2, count(*) AS c3 FROM {call}\nGROUP BY window_start, \
         window_end, c{key}"
    );
    let (emit, with) = match number % 2 {
        0 => ("\nEMIT ON WINDOW CLOSE", ""),
        _ => ("", " WITH (allowed_lateness = '1 hour')"),
    };
    (Query { sql, kinds }, emit, with)
}

/// A step that puts rows in windows, where there is a time.
pub fn step(query: Query, column: Option<usize>, size: u8, slide: u8, speech: Speech) -> Query {
    match column {
        Some(column) if query.kinds.len() < WIDE => window(query, column, size, slide, speech),
        _ => query,
    }
}
