//! Functions of other systems, and what says the same here.

/// Names that other systems have for a function, and what to write instead.
const INSTEAD: [(&[&str], &str); 33] = [
    (
        &["max_by", "maxby", "arg_max", "argmax"],
        "first_value(x ORDER BY y DESC NULLS LAST)",
    ),
    (&["min_by", "minby", "arg_min", "argmin"], "first_value(x ORDER BY y)"),
    (&["first", "earliest"], "first_value(x ORDER BY y)"),
    (&["last", "latest"], "last_value(x ORDER BY y)"),
    (
        &["group_concat", "listagg", "wm_concat"],
        "string_agg(x, ',' ORDER BY x)",
    ),
    (&["collect", "collect_list", "grouparray"], "array_agg(x)"),
    (&["collect_set", "groupuniqarray"], "array_agg(DISTINCT x)"),
    (&["count_if", "countif"], "count(*) FILTER (WHERE condition)"),
    (&["sum_if", "sumif"], "sum(x) FILTER (WHERE condition)"),
    (
        &["uniq", "uniqexact", "count_distinct", "countdistinct"],
        "count(DISTINCT x)",
    ),
    (
        &["percentile", "quantile"],
        "percentile_cont(0.5) WITHIN GROUP (ORDER BY x)",
    ),
    (&["if", "iff", "iif"], "CASE WHEN condition THEN x ELSE y END"),
    (&["isnull"], "x IS NULL"),
    (&["mod"], "x % y"),
    (&["len"], "length(text)"),
    (&["lcase"], "lower(text)"),
    (&["ucase"], "upper(text)"),
    (&["charindex", "locate"], "strpos(text, part)"),
    (&["regexp_extract"], "(regexp_match(text, pattern))[1]"),
    (&["getdate", "sysdate", "systimestamp", "proctime"], "now()"),
    (&["curdate"], "current_date"),
    (
        &["date_add", "dateadd", "adddate", "timestampadd", "timestamp_add"],
        "ts + INTERVAL '1 day'",
    ),
    (&["date_sub", "subdate", "timestamp_sub"], "ts - INTERVAL '1 day'"),
    (
        &["date_diff", "datediff", "timestampdiff", "timestamp_diff"],
        "extract(epoch FROM later - earlier), which is in seconds",
    ),
    (&["unix_timestamp", "to_unix_timestamp"], "extract(epoch FROM ts)"),
    (
        &["year", "quarter", "month", "week", "day", "hour", "minute", "second"],
        "extract(year FROM ts), and likewise of its other parts",
    ),
    (&["time_bucket"], "date_bin(INTERVAL '5 minutes', ts)"),
    (
        &["str_to_date", "date_parse", "parse_timestamp"],
        "to_timestamp(text, 'YYYY-MM-DD HH24:MI:SS')",
    ),
    (
        &[
            "get_json_object",
            "json_extract",
            "json_extract_scalar",
            "json_query",
            "json_value",
        ],
        "doc -> 'name' or, as text, doc ->> 'name'",
    ),
    (&["json_parse", "parse_json"], "CAST(text AS JSONB)"),
    (&["explode"], "UNNEST(array)"),
    (&["sequence"], "generate_series(first, last)"),
    (&["newid", "uuid_generate_v4"], "gen_random_uuid()"),
];

/// What to write instead of a function that other systems have.
pub fn instead_of(name: &str) -> Option<&'static str> {
    let found = INSTEAD.iter().find(|(names, _)| names.contains(&name));
    found.map(|(_, instead)| *instead)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::functions;

    /// What is there needs no other, and what is named is there.
    #[test]
    fn only_what_is_missing_is_replaced() {
        let known: BTreeSet<String> = functions::all().into_iter().map(|function| function.name).collect();
        for (names, instead) in INSTEAD {
            for name in names {
                assert!(!known.contains(*name), "{name}() exists");
            }
            let call = instead.trim_start_matches('(').split_once('(').map(|(name, _)| name);
            let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if let Some(name) = call.filter(is_name) {
                assert!(known.contains(name), "{name}() of '{instead}' does not exist");
            }
        }
    }
}
