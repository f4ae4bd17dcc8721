//! Groupings of a drawn case as SQL: every aggregate function, with DISTINCT, FILTER and ORDER BY inside,
//! GROUPING SETS, HAVING, and expressions over aggregates.

use std::fmt::Write;

use super::case::{Call, Kind, Sets};
use super::render::{Query, indented};
use super::values::{NUMBERS, of_kind, predicate};

/// A grouping; `last` if nothing is done to its rows within the same query.
pub fn group(from: &str, kinds: &[Kind], grouping: &Grouping<'_>, last: bool) -> Query {
    let mut grouped: Vec<usize> = Vec::new();
    for key in grouping.keys {
        let column = usize::from(*key) % kinds.len();
        if !grouped.contains(&column) {
            grouped.push(column);
        }
    }
    let mut parts: Vec<String> = Vec::new();
    let mut result: Vec<Kind> = Vec::new();
    for column in &grouped {
        parts.push(format!("c{column} AS k{}", parts.len()));
        result.push(kinds[*column]);
    }
    let names: Vec<String> = grouped.iter().map(|column| format!("c{column}")).collect();
    let mut by = names.join(", ");
    if let (Some(sets), false) = (grouping.sets, names.is_empty()) {
        by = sets_of(sets, &names);
        if result.len() < 3 {
            parts.push(format!("CAST(GROUPING({}) AS BIGINT) AS k{}", names[0], parts.len()));
            result.push(Kind::Int);
        }
    }
    for call in grouping.calls {
        let (sql, kind) = aggregate(kinds, call, last);
        parts.push(format!("{sql} AS k{}", parts.len()));
        result.push(kind);
    }
    let mut sql = format!("SELECT {} FROM {from}", parts.join(", "));
    if !by.is_empty() {
        let _ = write!(sql, " GROUP BY {by}");
    }
    if let Some(number) = grouping.having {
        let _ = write!(sql, " HAVING {}", having(kinds, number));
    }
    let renamed: Vec<String> = (0..result.len()).map(|c| format!("k{c} AS c{c}")).collect();
    Query {
        sql: format!("SELECT {} FROM (\n{}\n) g", renamed.join(", "), indented(&sql)),
        kinds: result,
    }
}

/// What a grouping is drawn as.
pub struct Grouping<'a> {
    pub keys: &'a [u8],
    pub sets: Option<Sets>,
    pub calls: &'a [Call],
    pub having: Option<u8>,
}

fn sets_of(sets: Sets, names: &[String]) -> String {
    let all = names.join(", ");
    match sets {
        Sets::Rollup => format!("ROLLUP ({all})"),
        Sets::Cube => format!("CUBE ({all})"),
        Sets::Listed => format!(
            "GROUPING SETS (({all}), ({}), ({}), ())",
            names[0],
            names[names.len() - 1]
        ),
        Sets::Mixed => format!("{}, ROLLUP ({})", names[0], names[names.len() - 1]),
    }
}

fn having(kinds: &[Kind], number: u8) -> String {
    let least = number % 3;
    let column = usize::from(number / 3) % kinds.len();
    match number % 4 {
        0 => format!("max(c{column}) IS NOT NULL"),
        1 => format!("count(DISTINCT c{column}) > {least} OR count(*) = 1"),
        _ => format!("count(*) > {least}"),
    }
}

/// A call, and what it gives. Functions whose answer may differ in the last digits, as rows come in
/// another order, are drawn only where nothing else is done to it.
fn aggregate(kinds: &[Kind], call: &Call, last: bool) -> (String, Kind) {
    match call.function % 32 {
        chosen @ 0..12 => simple(kinds, call, chosen % 6),
        chosen @ 12..20 => ordered(kinds, call, chosen),
        chosen @ 20..26 => folded(kinds, call, chosen),
        chosen if last => inexact(kinds, call, chosen),
        chosen => simple(kinds, call, chosen % 6),
    }
}

/// Whether DuckDB has the function under the same name, with the same answer, whatever the columns are.
pub fn duckdb_knows(call: &Call) -> bool {
    matches!(call.function % 32, 0..12 | 23)
}

/// Its FILTER, if it has one.
fn filter(kinds: &[Kind], call: &Call) -> String {
    match call.filter {
        Some((column, test)) => format!(" FILTER (WHERE {})", predicate("", kinds, column, test, test / 6)),
        None => String::new(),
    }
}

fn distinct(call: &Call) -> &'static str {
    if call.distinct { "DISTINCT " } else { "" }
}

fn simple(kinds: &[Kind], call: &Call, chosen: u8) -> (String, Kind) {
    let (distinct, filter) = (distinct(call), filter(kinds, call));
    let any = usize::from(call.column) % kinds.len();
    let number = of_kind(kinds, call.column, &NUMBERS);
    let (sql, kind) = match (chosen, number) {
        (1, _) => (format!("count({distinct}c{any})"), Kind::Int),
        (2, Some(column)) if matches!(kinds[column], Kind::Small | Kind::Unsigned) => {
            let sql = format!("CAST(sum({distinct}c{column}){filter} AS BIGINT)");
            return (sql, Kind::Int);
        }
        (2, Some(column)) => (format!("sum({distinct}c{column})"), kinds[column]),
        (3, Some(column)) if kinds[column] == Kind::Decimal => (format!("avg({distinct}c{column})"), Kind::Decimal),
        (3, Some(column)) => (format!("avg({distinct}c{column})"), Kind::Float),
        (4, _) => (format!("min({distinct}c{any})"), kinds[any]),
        (5, _) => (format!("max({distinct}c{any})"), kinds[any]),
        _ => ("count(*)".to_string(), Kind::Int),
    };
    (format!("{sql}{filter}"), kind)
}

/// What depends on the order of its rows.
fn ordered(kinds: &[Kind], call: &Call, chosen: u8) -> (String, Kind) {
    let filter = filter(kinds, call);
    let any = usize::from(call.column) % kinds.len();
    let by = order(kinds, call, any);
    let listed = of_kind(kinds, call.column, &[Kind::Int, Kind::Text]);
    let text = of_kind(kinds, call.column, &[Kind::Text]);
    match (chosen, listed, text) {
        (12, _, Some(column)) => {
            let by = order(kinds, call, column);
            (
                format!("string_agg({}c{column}, '+'{by}){filter}", distinct(call)),
                Kind::Text,
            )
        }
        (13 | 12, Some(column), _) => {
            let by = order(kinds, call, column);
            let list = format!("array_agg({}c{column}{by}){filter}", distinct(call));
            (format!("array_to_string({list}, ',', 'none')"), Kind::Text)
        }
        (14, ..) => (format!("last_value(c{any}{by}){filter}"), kinds[any]),
        (15, ..) => (format!("nth_value(c{any}, 2{by}){filter}"), kinds[any]),
        (16, ..) => (format!("any_value(c{any}){filter}"), kinds[any]),
        (17, ..) => (format!("first_value(c{any}{by}){filter} IGNORE NULLS"), kinds[any]),
        _ => (format!("first_value(c{any}{by}){filter}"), kinds[any]),
    }
}

/// ORDER BY inside a call over a column; with DISTINCT only by that.
fn order(kinds: &[Kind], call: &Call, argument: usize) -> String {
    let by = match call.distinct {
        true => argument,
        false => usize::from(call.other / 4) % kinds.len(),
    };
    match call.other % 4 {
        0 => String::new(),
        1 => format!(" ORDER BY c{by}"),
        2 => format!(" ORDER BY c{by} DESC NULLS LAST"),
        _ => format!(" ORDER BY c{by} DESC"),
    }
}

/// What needs all rows, in any order.
fn folded(kinds: &[Kind], call: &Call, chosen: u8) -> (String, Kind) {
    let filter = filter(kinds, call);
    let any = usize::from(call.column) % kinds.len();
    let other = usize::from(call.other) % kinds.len();
    let test = predicate("", kinds, call.column, call.other, call.other / 6);
    let number = of_kind(kinds, call.column, &NUMBERS);
    let whole = of_kind(kinds, call.column, &[Kind::Int]);
    match (chosen, number, whole) {
        (20, Some(column), _) => (
            format!("CAST(median({}c{column}){filter} AS DOUBLE)", distinct(call)),
            Kind::Float,
        ),
        (21, Some(column), _) => {
            let way = if call.other.is_multiple_of(2) { "" } else { " DESC" };
            let parts = call.other % 5;
            let within = format!("WITHIN GROUP (ORDER BY CAST(c{column} AS DOUBLE){way})");
            (format!("percentile_cont(0.{parts}) {within}{filter}"), Kind::Float)
        }
        (22, _, Some(column)) => {
            let name = ["bit_and", "bit_or", "bit_xor"][usize::from(call.other % 3)];
            (format!("{name}({}c{column}){filter}", distinct(call)), Kind::Int)
        }
        (23, ..) => {
            let name = ["bool_and", "bool_or"][usize::from(call.other % 2)];
            (format!("CAST({name}({test}){filter} AS BIGINT)"), Kind::Int)
        }
        (24, ..) if [Kind::Int, Kind::Text].contains(&kinds[any]) => {
            (format!("CAST(approx_distinct(c{any}){filter} AS BIGINT)"), Kind::Int)
        }
        (_, _, Some(column)) => {
            let (low, high) = (format!("min(c{column}){filter}"), format!("max(c{column}){filter}"));
            (format!("coalesce({high} - {low}, -1) + count(*)"), Kind::Int)
        }
        _ => (format!("count(DISTINCT c{any}, c{other}){filter}"), Kind::Int),
    }
}

fn inexact(kinds: &[Kind], call: &Call, chosen: u8) -> (String, Kind) {
    let filter = filter(kinds, call);
    let Some(a) = of_kind(kinds, call.column, &NUMBERS) else {
        return simple(kinds, call, 1);
    };
    let b = of_kind(kinds, call.other, &NUMBERS).unwrap_or(a);
    const OF_ONE: [&str; 5] = ["stddev", "stddev_pop", "var_samp", "var_pop", "approx_median"];
    const OF_TWO: [&str; 8] = [
        "corr",
        "covar_samp",
        "covar_pop",
        "regr_slope",
        "regr_intercept",
        "regr_sxx",
        "regr_sxy",
        "regr_avgx",
    ];
    let sql = match chosen {
        26..29 => format!(
            "{}({}c{a})",
            OF_ONE[usize::from(call.other) % OF_ONE.len()],
            distinct(call)
        ),
        _ => format!("{}(c{a}, c{b})", OF_TWO[usize::from(call.other) % OF_TWO.len()]),
    };
    (format!("CAST({sql}{filter} AS DOUBLE)"), Kind::Float)
}
