//! Groupings of a drawn case as SQL: every aggregate function, with DISTINCT, FILTER and ORDER BY inside,
//! GROUPING SETS, HAVING, and expressions over aggregates.

use std::fmt::Write;

use super::case::{Call, Kind, Sets};
use super::render::{Query, Speech, indented};
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
        let (sql, kind) = aggregate(kinds, call, last, grouping.speech);
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
    pub speech: Speech,
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
pub fn aggregate(kinds: &[Kind], call: &Call, last: bool, speech: Speech) -> (String, Kind) {
    match call.function % 36 {
        chosen @ 0..12 => simple(kinds, call, chosen % 6),
        chosen @ 12..20 => ordered(kinds, call, chosen, speech),
        chosen @ 20..26 => folded(kinds, call, chosen, speech),
        32 => of_places(kinds, call, true),
        33 => of_places(kinds, call, false),
        34 => json_of(kinds, call, true),
        35 => json_of(kinds, call, false),
        chosen if last => inexact(kinds, call, chosen),
        chosen => simple(kinds, call, chosen % 6),
    }
}

/// Whether DuckDB has the function, under whichever name, with the same answer, whatever the columns are: it breaks
/// ties of `mode` as it happens, approximates otherwise, and takes any line for one with `regr_r2` 1.
pub fn duckdb_knows(call: &Call) -> bool {
    match call.function % 36 {
        26..29 => OF_ONE[usize::from(call.other) % OF_ONE.len()] != "approx_median",
        29..32 => OF_TWO[usize::from(call.other) % OF_TWO.len()] != "regr_r2",
        function => function != 19 && function < 33,
    }
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
        (2, Some(column)) if matches!(kinds[column], Kind::Small | Kind::Short | Kind::Unsigned) => {
            let sql = format!("CAST(sum({distinct}c{column}){filter} AS BIGINT)");
            return (sql, Kind::Int);
        }
        (2 | 3, Some(column)) if kinds[column] == Kind::Real => {
            let name = ["sum", "avg"][usize::from(chosen - 2)];
            return (
                format!("CAST({name}({distinct}c{column}){filter} AS DOUBLE)"),
                Kind::Float,
            );
        }
        (2 | 3, _) if call.other.is_multiple_of(2) && kinds.contains(&Kind::Span) => {
            let span = of_kind(kinds, call.column, &[Kind::Span]).unwrap_or_default();
            (format!("sum({distinct}c{span})"), Kind::Span)
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
fn ordered(kinds: &[Kind], call: &Call, chosen: u8, speech: Speech) -> (String, Kind) {
    let filter = filter(kinds, call);
    let any = usize::from(call.column) % kinds.len();
    let by = order(kinds, call, any, speech);
    let listed = of_kind(kinds, call.column, &[Kind::Int, Kind::Text]);
    let text = of_kind(kinds, call.column, &[Kind::Text]);
    let name = |ours: &'static str, theirs: &'static str| match speech {
        Speech::Weir => ours,
        Speech::DuckDb => theirs,
    };
    match (chosen, listed, text) {
        (12, _, Some(column)) => {
            let by = order(kinds, call, column, speech);
            (
                format!("CAST(string_agg({}c{column}, '+'{by}){filter} AS TEXT)", distinct(call)),
                Kind::Text,
            )
        }
        (13 | 12, Some(column), _) => {
            let by = order(kinds, call, column, speech);
            let list = format!("array_agg({}c{column}{by}){filter}", distinct(call));
            let joined = match speech {
                Speech::Weir => format!("array_to_string({list}, ',', 'none')"),
                Speech::DuckDb => {
                    format!("array_to_string(list_transform({list}, lambda v: coalesce(CAST(v AS TEXT), 'none')), ',')")
                }
            };
            (joined, Kind::Text)
        }
        (14, ..) => (
            format!("{}(c{any}{by}){filter}", name("last_value", "last")),
            kinds[any],
        ),
        (15, ..) => match speech {
            Speech::Weir => (format!("nth_value(c{any}, 2{by}){filter}"), kinds[any]),
            Speech::DuckDb => (format!("(array_agg(c{any}{by}){filter})[2]"), kinds[any]),
        },
        (16, ..) => (format!("{}(c{any}){filter}", name("any_value", "min")), kinds[any]),
        (17, ..) => match speech {
            Speech::Weir => (format!("first_value(c{any}{by}){filter} IGNORE NULLS"), kinds[any]),
            Speech::DuckDb => {
                let known = format!("c{any} IS NOT NULL");
                let also = call
                    .filter
                    .map(|(column, test)| predicate("", kinds, column, test, test / 6));
                let kept = also.map_or(known.clone(), |also| format!("{known} AND {also}"));
                (format!("first(c{any}{by}) FILTER (WHERE {kept})"), kinds[any])
            }
        },
        (18, ..) => {
            let list = format!("array_agg({}c{any}{by}){filter}", distinct(call));
            (format!("({list})[{}]", 1 + call.other / 4 % 2), kinds[any])
        }
        (19, Some(column), _) if kinds[column] == Kind::Int => {
            let by = order(kinds, call, column, speech);
            (
                format!("array_agg({}c{column}{by}){filter}", distinct(call)),
                Kind::List,
            )
        }
        _ => (
            format!("{}(c{any}{by}){filter}", name("first_value", "first")),
            kinds[any],
        ),
    }
}

/// ORDER BY inside a call over a column; with DISTINCT only by that. That ties are ordered by the value itself is
/// said to others.
fn order(kinds: &[Kind], call: &Call, argument: usize, speech: Speech) -> String {
    let by = match call.distinct {
        true => argument,
        false => usize::from(call.other / 4) % kinds.len(),
    };
    let (way, way_in_full) = match call.other % 4 {
        0 => (None, ""),
        1 => (Some(""), " ASC NULLS LAST"),
        2 => (Some(" DESC NULLS LAST"), " DESC NULLS LAST"),
        _ => (Some(" DESC"), " DESC NULLS FIRST"),
    };
    match (speech, way) {
        (Speech::Weir, None) => String::new(),
        (Speech::Weir, Some(way)) => format!(" ORDER BY c{by}{way}"),
        (Speech::DuckDb, None) => format!(" ORDER BY c{argument} ASC NULLS LAST"),
        (Speech::DuckDb, Some(_)) if by == argument => format!(" ORDER BY c{by}{way_in_full}"),
        (Speech::DuckDb, Some(_)) => format!(" ORDER BY c{by}{way_in_full}, c{argument} ASC NULLS LAST"),
    }
}

/// The value at a place of the order, or the most frequent one.
fn of_places(kinds: &[Kind], call: &Call, at_part: bool) -> (String, Kind) {
    let any = usize::from(call.column) % kinds.len();
    let way = if call.other.is_multiple_of(2) { "" } else { " DESC" };
    let name = match at_part {
        true => format!(
            "percentile_disc({})",
            ["0", "0.25", "0.5", "1"][usize::from(call.other / 2 % 4)]
        ),
        false => "mode()".to_string(),
    };
    let within = format!("WITHIN GROUP (ORDER BY c{any}{way}){}", filter(kinds, call));
    (format!("{name} {within}"), kinds[any])
}

/// All values as a JSON array, or as an object by a name, of which the last counts.
fn json_of(kinds: &[Kind], call: &Call, listed: bool) -> (String, Kind) {
    const SPELLED: [Kind; 6] = [Kind::Int, Kind::Text, Kind::Bool, Kind::Json, Kind::Date, Kind::Decimal];
    let Some(column) = of_kind(kinds, call.column, &SPELLED) else {
        return simple(kinds, call, 1);
    };
    let (by, filter) = (order(kinds, call, column, Speech::Weir), filter(kinds, call));
    let sql = match (listed, of_kind(kinds, call.other, &[Kind::Text, Kind::Int])) {
        (false, Some(name)) => format!(
            "json_object_agg(coalesce(CAST(c{name} AS TEXT), 'none'), c{column} ORDER BY {}){filter}",
            every(kinds)
        ),
        _ => format!("json_agg({}c{column}{by}){filter}", distinct(call)),
    };
    (sql, Kind::Json)
}

/// An order by all columns.
fn every(kinds: &[Kind]) -> String {
    let all: Vec<String> = (0..kinds.len()).map(|column| format!("c{column}")).collect();
    all.join(", ")
}

/// What needs all rows, in any order.
fn folded(kinds: &[Kind], call: &Call, chosen: u8, speech: Speech) -> (String, Kind) {
    let ours = speech == Speech::Weir;
    let filter = filter(kinds, call);
    let any = usize::from(call.column) % kinds.len();
    let other = usize::from(call.other) % kinds.len();
    let test = predicate("", kinds, call.column, call.other, call.other / 6);
    let number = of_kind(kinds, call.column, &NUMBERS);
    let whole = of_kind(kinds, call.column, &[Kind::Int]);
    let bits = of_kind(
        kinds,
        call.column,
        &[Kind::Int, Kind::Small, Kind::Short, Kind::Unsigned],
    );
    match (chosen, number, whole) {
        (20, Some(column), _) => {
            let value = match ours {
                true => format!("c{column}"),
                false => format!("CAST(c{column} AS DOUBLE)"),
            };
            (
                format!("CAST(median({}{value}){filter} AS DOUBLE)", distinct(call)),
                Kind::Float,
            )
        }
        (21, Some(column), _) => {
            let way = if call.other.is_multiple_of(2) { "" } else { " DESC" };
            let parts = call.other % 5;
            let within = format!("WITHIN GROUP (ORDER BY CAST(c{column} AS DOUBLE){way})");
            (format!("percentile_cont(0.{parts}) {within}{filter}"), Kind::Float)
        }
        (22, ..) if bits.is_some() => {
            let name = ["bit_and", "bit_or", "bit_xor"][usize::from(call.other % 3)];
            let bits = format!("{name}({}c{}){filter}", distinct(call), bits.unwrap_or_default());
            (format!("CAST({bits} AS BIGINT)"), Kind::Int)
        }
        (23, ..) => {
            let name = ["bool_and", "bool_or"][usize::from(call.other % 2)];
            (format!("CAST({name}({test}){filter} AS BIGINT)"), Kind::Int)
        }
        (24, ..) if [Kind::Int, Kind::Text, Kind::Bytes, Kind::Date, Kind::Time].contains(&kinds[any]) => {
            // Of so few it is exact.
            let count = match ours {
                true => format!("approx_distinct(c{any})"),
                false => format!("count(DISTINCT c{any})"),
            };
            (format!("CAST({count}{filter} AS BIGINT)"), Kind::Int)
        }
        (_, _, Some(column)) => {
            let (low, high) = (format!("min(c{column}){filter}"), format!("max(c{column}){filter}"));
            (format!("coalesce({high} - {low}, -1) + count(*)"), Kind::Int)
        }
        _ if ours => (format!("count(DISTINCT c{any}, c{other}){filter}"), Kind::Int),
        _ => {
            let pair = format!("CASE WHEN c{any} IS NOT NULL AND c{other} IS NOT NULL THEN (c{any}, c{other}) END");
            (format!("count(DISTINCT {pair}){filter}"), Kind::Int)
        }
    }
}

const OF_ONE: [&str; 5] = ["stddev", "stddev_pop", "var_samp", "var_pop", "approx_median"];
const OF_TWO: [&str; 12] = [
    "corr",
    "covar_samp",
    "covar_pop",
    "regr_slope",
    "regr_intercept",
    "regr_sxx",
    "regr_sxy",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_syy",
    "regr_r2",
];

fn inexact(kinds: &[Kind], call: &Call, chosen: u8) -> (String, Kind) {
    let filter = filter(kinds, call);
    let Some(a) = of_kind(kinds, call.column, &NUMBERS) else {
        return simple(kinds, call, 1);
    };
    let b = of_kind(kinds, call.other, &NUMBERS).unwrap_or(a);
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
