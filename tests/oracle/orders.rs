//! What rests on an order of rows: DISTINCT ON, the first rows, window functions.

use super::super::case::{Kind, Over};
use super::super::values::{of_kind, predicate};
use super::{Query, Speech, WIDE, columns, indented};

/// DISTINCT ON, by what else there is as far as the order leaves ties.
pub fn first_on(from: &str, kinds: Vec<Kind>, on: &[u8], order: &[(u8, bool, bool)]) -> Query {
    let column = |number: u8| usize::from(number) % kinds.len();
    let mut keys: Vec<usize> = Vec::new();
    on.iter().map(|number| column(*number)).for_each(|key| {
        if !keys.contains(&key) {
            keys.push(key);
        }
    });
    let mut by: Vec<(usize, bool, bool)> = keys.iter().map(|key| (*key, false, false)).collect();
    by.extend(
        order
            .iter()
            .map(|(number, desc, nulls)| (column(*number), *desc, *nulls)),
    );
    by.extend((0..kinds.len()).map(|column| (column, false, false)));
    let on: Vec<String> = keys.iter().map(|key| format!("c{key}")).collect();
    let sql = format!(
        "SELECT DISTINCT ON ({}) {} FROM {from} ORDER BY {}",
        on.join(", "),
        columns("", kinds.len()),
        order_text(&by)
    );
    Query {
        sql: format!("SELECT {} FROM (\n{}\n) d", columns("", kinds.len()), indented(&sql)),
        kinds,
    }
}

fn order_text(order: &[(usize, bool, bool)]) -> String {
    let parts: Vec<String> = order
        .iter()
        .map(|(column, descending, nulls_first)| {
            let direction = if *descending { "DESC" } else { "ASC" };
            let nulls = if *nulls_first { "FIRST" } else { "LAST" };
            format!("c{column} {direction} NULLS {nulls}")
        })
        .collect();
    parts.join(", ")
}

/// `PARTITION BY …` and `ORDER BY …`, or nothing of either.
pub struct Sorted {
    partition: Option<String>,
    order: Option<String>,
    /// Kinds of what it is ordered by.
    by: Vec<Kind>,
}

impl Sorted {
    fn over(&self) -> String {
        let parts = [&self.partition, &self.order].into_iter().flatten();
        parts.cloned().collect::<Vec<_>>().join(" ")
    }
}

pub fn sorted(kinds: &[Kind], partition: &[u8], order: &[(u8, bool, bool)], is_total: bool) -> Sorted {
    let any = |number: u8| usize::from(number) % kinds.len();
    let partition: Vec<String> = partition.iter().map(|column| format!("c{}", any(*column))).collect();
    let mut order: Vec<(usize, bool, bool)> = order
        .iter()
        .map(|(column, descending, nulls_first)| (any(*column), *descending, *nulls_first))
        .collect();
    if is_total {
        order.extend((0..kinds.len()).map(|column| (column, false, false)));
    }
    let keys = order_text(&order);
    Sorted {
        partition: (!partition.is_empty()).then(|| format!("PARTITION BY {}", partition.join(", "))),
        order: (!keys.is_empty()).then(|| format!("ORDER BY {keys}")),
        by: order.iter().map(|(column, ..)| kinds[*column]).collect(),
    }
}

/// The first rows of all, or of each partition; or the first ranks.
pub fn first(from: &str, mut kinds: Vec<Kind>, sorted: &Sorted, rows: u8, number: bool, by: u8) -> Query {
    let all = columns("", kinds.len());
    if sorted.partition.is_none() && !number && by % 4 < 2 {
        let order = sorted.order.clone().unwrap_or_default();
        let offset = if by % 2 == 1 { " OFFSET 1" } else { "" };
        return Query {
            sql: format!("SELECT {all} FROM {from} {order} LIMIT {rows}{offset}"),
            kinds,
        };
    }
    let is_tied = sorted.partition.is_none() && !number && by / 4 == 1;
    if let (true, 2 | 3, Some(order)) = (is_tied, by % 4, &sorted.order) {
        return Query {
            sql: format!("SELECT {all} FROM {from} {order} FETCH FIRST {rows} ROWS WITH TIES"),
            kinds,
        };
    }
    let ranking = match by % 4 {
        2 => "RANK",
        3 => "DENSE_RANK",
        _ => "ROW_NUMBER",
    };
    let inner = format!("SELECT {all}, {ranking}() OVER ({}) AS n FROM {from}", sorted.over());
    let shown = if number && kinds.len() < WIDE {
        kinds.push(Kind::Int);
        format!("{all}, CAST(n AS BIGINT) AS c{}", kinds.len() - 1)
    } else {
        all
    };
    Query {
        sql: format!("SELECT {shown} FROM (\n{}\n) r WHERE n <= {rows}", indented(&inner)),
        kinds,
    }
}

/// Window functions over the rows, and maybe a filter on them.
pub fn over(
    from: &str,
    mut kinds: Vec<Kind>,
    calls: &[Over],
    sorted: &Sorted,
    filter: Option<(u8, u8, u8)>,
    speech: Speech,
) -> Query {
    let mut parts = vec![columns("", kinds.len())];
    let below = kinds.clone();
    for call in calls.iter().take(WIDE.saturating_sub(kinds.len())) {
        let (function, kind, framed) = window_function(&below, call, speech);
        let mut within = sorted.over();
        if let Some(frame) = framed.then(|| frame(call, sorted)).flatten() {
            within = format!("{within} {frame}");
        }
        let value = format!("{function} OVER ({})", within.trim());
        parts.push(match kind {
            Kind::Int => format!("CAST({value} AS BIGINT) AS c{}", kinds.len()),
            Kind::Text if function.starts_with("STRING_AGG") => format!("CAST({value} AS TEXT) AS c{}", kinds.len()),
            _ => format!("{value} AS c{}", kinds.len()),
        });
        kinds.push(kind);
    }
    let sql = format!("SELECT {} FROM {from}", parts.join(", "));
    let Some((column, test, value)) = filter else {
        return Query { sql, kinds };
    };
    let condition = predicate("", &kinds, column, test, value);
    // QUALIFY is for what a window function gives.
    if usize::from(column) % kinds.len() >= below.len() {
        return Query {
            sql: format!("{sql} QUALIFY {condition}"),
            kinds,
        };
    }
    Query {
        sql: format!(
            "SELECT {} FROM (\n{}\n) o WHERE {condition}",
            columns("", kinds.len()),
            indented(&sql)
        ),
        kinds,
    }
}

/// A window function, what it gives, and whether it has a frame.
fn window_function(kinds: &[Kind], call: &Over, speech: Speech) -> (String, Kind, bool) {
    let any = usize::from(call.column) % kinds.len();
    let number = of_kind(kinds, call.column, &[Kind::Int, Kind::Decimal, Kind::Float]);
    let text = of_kind(kinds, call.column, &[Kind::Text]);
    let (nulls, nulls_within) = match (call.nulls, speech) {
        (false, _) => ("", ""),
        (true, Speech::Weir) => (" IGNORE NULLS", ""),
        (true, Speech::DuckDb) => ("", " IGNORE NULLS"),
    };
    let far = call.bounds.0 % 3;
    match (call.function % 20, number) {
        (1, _) => ("RANK()".to_string(), Kind::Int, false),
        (2, _) => ("DENSE_RANK()".to_string(), Kind::Int, false),
        (3, _) => ("PERCENT_RANK()".to_string(), Kind::Float, false),
        (4, _) => ("CUME_DIST()".to_string(), Kind::Float, false),
        (5, _) => (format!("NTILE({})", 1 + far), Kind::Int, false),
        (6, _) => (format!("LAG(c{any}, {far}{nulls_within}){nulls}"), kinds[any], false),
        (7, _) => (format!("LEAD(c{any}, {far}{nulls_within}){nulls}"), kinds[any], false),
        (8, _) => (format!("FIRST_VALUE(c{any}{nulls_within}){nulls}"), kinds[any], true),
        (9, _) => (format!("LAST_VALUE(c{any}{nulls_within}){nulls}"), kinds[any], true),
        (10, _) => (format!("NTH_VALUE(c{any}, {})", 1 + far), kinds[any], true),
        (11, Some(column)) => (format!("SUM(c{column})"), kinds[column], true),
        (12, _) => (format!("COUNT(c{any})"), Kind::Int, true),
        (13, _) => (format!("MIN(c{any})"), kinds[any], true),
        (14, _) => (format!("MAX(c{any})"), kinds[any], true),
        (15, _) => ("COUNT(*)".to_string(), Kind::Int, true),
        (16, Some(column)) if kinds[column] != Kind::Decimal => (format!("AVG(c{column})"), Kind::Float, true),
        (17, Some(column)) => {
            let filter = predicate("", kinds, call.bounds.0, call.bounds.1, call.frame);
            (format!("SUM(c{column}) FILTER (WHERE {filter})"), kinds[column], true)
        }
        (18, _) => {
            let test = predicate("", kinds, call.column, call.bounds.1, call.bounds.0);
            (format!("BOOL_OR({test})"), Kind::Bool, false)
        }
        // Nothing can be taken out of it, so it has the usual frame.
        (19, _) if text.is_some() => (
            format!("STRING_AGG(c{}, '+')", text.unwrap_or_default()),
            Kind::Text,
            false,
        ),
        _ => ("ROW_NUMBER()".to_string(), Kind::Int, false),
    }
}

/// A frame. Where it is measured in what the rows are ordered by, that is one number or time.
fn frame(call: &Over, sorted: &Sorted) -> Option<String> {
    let unit = match &sorted.by[..] {
        [Kind::Int | Kind::Small | Kind::Decimal | Kind::Float] => Some(""),
        [Kind::Time] => Some(" hours"),
        _ => None,
    };
    let (units, measured) = match call.frame % 4 {
        0 => return None,
        1 => ("ROWS", true),
        2 => ("RANGE", unit.is_some()),
        // GROUPS counts groups of an order.
        _ if sorted.order.is_some() => ("GROUPS", true),
        _ => return None,
    };
    let far = |number: u8| match (units, unit) {
        ("RANGE", Some(" hours")) => format!("INTERVAL '{} hours'", number % 3),
        _ => format!("{}", number % 3),
    };
    let (first, last) = call.bounds;
    let start = match first % 4 {
        0 => "UNBOUNDED PRECEDING".to_string(),
        1 if measured => format!("{} PRECEDING", far(last)),
        _ => "CURRENT ROW".to_string(),
    };
    let end = match last % 4 {
        0 => "UNBOUNDED FOLLOWING".to_string(),
        1 if measured => format!("{} FOLLOWING", far(first)),
        _ => "CURRENT ROW".to_string(),
    };
    Some(format!("{units} BETWEEN {start} AND {end}"))
}
