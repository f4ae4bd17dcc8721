//! Types by the names that SQL has for them: the one home of what messages call a type.
//!
//! Arrow and DataFusion call types and constants by names of their own (`Int64`, `Utf8("a")`), and our
//! functions that stand for a piece of SQL have names too. What they say is brought into SQL's words
//! ([`sql_words`]) before somebody reads it; what they say of values is in [`said`]. What stands in quotes is the
//! user's and stays.

use arrow::datatypes::{DataType, IntervalMonthDayNano};

use super::said;

/// A type as SQL spells it.
pub fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("DECIMAL({precision},{scale})")
        }
        DataType::FixedSizeBinary(16) => "UUID".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMPTZ".to_owned(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("{}[]", sql_type(item.data_type()))
        }
        DataType::Dictionary(_, values) => sql_type(values),
        DataType::Struct(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|f| format!("{} {}", f.name(), sql_type(f.data_type())))
                .collect();
            format!("STRUCT({})", fields.join(", "))
        }
        DataType::Map(entry, _) => match entry.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                format!(
                    "MAP({}, {})",
                    sql_type(pair[0].data_type()),
                    sql_type(pair[1].data_type())
                )
            }
            _ => "MAP".to_owned(),
        },
        other => {
            let name = other.to_string();
            let word = name.split('(').next().unwrap_or_default();
            plain(word).or_else(|| family(word)).map_or(name.clone(), str::to_owned)
        }
    }
}

/// Types that have nothing in parentheses, by Arrow's names.
fn plain(name: &str) -> Option<&'static str> {
    Some(match name {
        "Null" => "NULL",
        "Boolean" => "BOOLEAN",
        "Int8" => "TINYINT",
        "Int16" => "SMALLINT",
        "Int32" => "INT",
        "Int64" => "BIGINT",
        "UInt8" => "TINYINT UNSIGNED",
        "UInt16" => "SMALLINT UNSIGNED",
        "UInt32" => "INT UNSIGNED",
        "UInt64" => "BIGINT UNSIGNED",
        "Float16" | "Float32" => "REAL",
        "Float64" => "DOUBLE",
        "Utf8" | "Utf8View" | "String" => "TEXT",
        "LargeUtf8" => "JSONB",
        "Binary" | "LargeBinary" | "BinaryView" => "BYTEA",
        "Date32" | "Date64" => "DATE",
        "TimestampSecond" | "TimestampMillisecond" | "TimestampMicrosecond" | "TimestampNanosecond" => "TIMESTAMP",
        "IntervalYearMonth" | "IntervalDayTime" | "IntervalMonthDayNano" => "INTERVAL",
        _ => return None,
    })
}

/// Types that say more in parentheses, where that doesn't matter.
fn family(name: &str) -> Option<&'static str> {
    Some(match name {
        "Decimal32" | "Decimal64" | "Decimal128" | "Decimal256" => "DECIMAL",
        "Time32" | "Time64" => "TIME",
        "Interval" | "Duration" => "INTERVAL",
        "FixedSizeBinary" => "BYTEA",
        "Struct" => "STRUCT",
        "Map" => "MAP",
        _ => return None,
    })
}

/// What the libraries put before a message, to say which part of them it is from.
const ORIGINS: [&str; 9] = [
    "Arithmetic overflow: ",
    "Arrow error: ",
    "Cast error: ",
    "Compute error: ",
    "Error during planning: ",
    "Execution error: ",
    "External error: ",
    "Invalid argument error: ",
    "Parser error: ",
];

/// A library's message without the part of the library that it is from.
pub fn without_origin(mut text: &str) -> &str {
    while let Some(rest) = ORIGINS.iter().find_map(|origin| text.strip_prefix(origin)) {
        text = rest;
    }
    text
}

/// A message of a library, or an expression in it, with types, constants and calls as SQL has them.
pub fn sql_words(text: &str) -> String {
    let text = without_origin(text);
    let text = without_empty_groups(&said::reworded(text).unwrap_or_else(|| text.to_string()));
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let inside_word = out.ends_with(is_word);
        let length = if inside_word {
            first.len_utf8()
        } else if let Some(length) = quoted(rest) {
            length
        } else if let Some((said, length)) = word(rest) {
            out.push_str(&said);
            rest = &rest[length..];
            continue;
        } else {
            first.len_utf8()
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of what stands in quotes at the beginning of a text.
fn quoted(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let end = text[1..].find(quote)?;
    Some(end + 2)
}

/// What stands in parentheses at the beginning of a text.
fn in_parentheses(text: &str) -> Option<&str> {
    text.strip_prefix('(')?;
    let mut depth = 0;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            '\'' | '"' => {
                at += quoted(&text[at..]).unwrap_or(1);
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            return Some(&text[1..at]);
        }
        at += c.len_utf8();
    }
    None
}

/// The parts between the commas of a text, those in brackets and quotes left whole.
fn parts(text: &str) -> Vec<&str> {
    let (mut found, mut start, mut at, mut depth) = (Vec::new(), 0, 0, 0);
    while let Some(c) = text[at..].chars().next() {
        let mut length = c.len_utf8();
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '\'' | '"' => length = quoted(&text[at..]).unwrap_or(1),
            ',' if depth == 0 => {
                found.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
        at += length;
    }
    found.push(text[start..].trim());
    found
}

/// The word of a library at the beginning of a text in SQL's words, and how much of the text it is.
fn word(text: &str) -> Option<(String, usize)> {
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let (name, behind) = text.split_at(end);
    let inner = in_parentheses(behind);
    let whole = inner.map_or(end, |inner| end + inner.len() + 2);
    // Arguments of a function, of which only the number is known.
    if let ("Numeric" | "String", Some(Ok(count))) = (name, inner.map(str::parse::<usize>)) {
        let one = if name == "String" { "TEXT" } else { "number" };
        return Some((vec![one; count.min(9)].join(", "), whole));
    }
    if let ("IntervalMonthDayNano", Some(inner)) = (name, inner) {
        return Some((interval(inner), whole));
    }
    if let Some(kind) = plain(name) {
        return Some(match inner {
            Some(value) => (constant(value), whole),
            None => (kind.to_string(), end),
        });
    }
    let Some(inner) = inner else {
        return name
            .starts_with("Decimal")
            .then(|| family(name))
            .flatten()
            .map(|kind| (kind.to_string(), end));
    };
    let said = match name {
        "Timestamp" => match inner.contains(['"', '+']) {
            true => "TIMESTAMPTZ".to_string(),
            false => "TIMESTAMP".to_string(),
        },
        "List" | "LargeList" | "FixedSizeList" => format!("{}[]", element(inner)),
        "Dictionary" => sql_words(parts(inner).last()?),
        "FixedSizeBinary" if inner == "16" => "UUID".to_string(),
        "Decimal128" | "Decimal256" => decimal(inner),
        _ => match family(name) {
            Some(kind) => kind.to_string(),
            None => call(name, inner)?,
        },
    };
    Some((said, whole))
}

/// The element of a list: `Int64`, `nullable Int64`, `Field { "item": nullable Int64 }`, `3 x Int64`.
fn element(inner: &str) -> String {
    let inner = inner.split_once("data_type: ").map_or(inner, |(_, kind)| kind);
    let inner = inner.split_once("\": ").map_or(inner, |(_, kind)| kind);
    let inner = inner.split_once(" x ").map_or(inner, |(_, kind)| kind);
    let inner = inner.trim_start_matches("non-null ").trim_start_matches("nullable ");
    word(inner).map_or_else(|| inner.to_string(), |(said, _)| said)
}

/// A constant's value: `5`, `"text"`, `NULL`.
fn constant(value: &str) -> String {
    match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        Some(text) => format!("'{text}'"),
        None => value.to_string(),
    }
}

/// `"IntervalMonthDayNano { months: 0, days: 1, nanoseconds: 0 }"`
fn interval(inner: &str) -> String {
    let part = |name: &str| {
        let (_, rest) = inner.split_once(name)?;
        rest.trim_end_matches('"')
            .split([',', ' ', '}'])
            .next()?
            .parse::<i64>()
            .ok()
    };
    let parts = (part("months: "), part("days: "), part("nanoseconds: "));
    let (Some(months), Some(days), Some(nanoseconds)) = parts else {
        return constant(inner);
    };
    match (i32::try_from(months), i32::try_from(days)) {
        (Ok(months), Ok(days)) => {
            let value = IntervalMonthDayNano::new(months, days, nanoseconds);
            format!("INTERVAL '{}'", super::interval::text(value))
        }
        _ => constant(inner),
    }
}

/// `10, 2` of a type; `Some(150),10,2` of a constant.
fn decimal(inner: &str) -> String {
    match parts(inner)[..] {
        ["None", ..] => "NULL".to_string(),
        [digits, _, scale] => {
            let digits = digits.trim_start_matches("Some(").trim_end_matches(')');
            let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
            let scale: usize = scale.parse().unwrap_or(0);
            let digits = format!("{digits:0>width$}", width = scale + 1);
            match digits.split_at(digits.len() - scale) {
                (whole, "") => format!("{sign}{whole}"),
                (whole, fraction) => format!("{sign}{whole}.{fraction}"),
            }
        }
        [precision, scale] => format!("DECIMAL({precision},{scale})"),
        _ => "DECIMAL".to_string(),
    }
}

/// A function of ours that stands for a piece of SQL, as that.
fn call(name: &str, inner: &str) -> Option<String> {
    let args: Vec<String> = parts(inner).into_iter().map(sql_words).collect();
    meant(name, &args)
}

/// Functions that stand for an operator of JSON.
const OF_JSON: [(&str, &str); 11] = [
    ("json_get", "->"),
    ("json_get_text", "->>"),
    ("json_get_path", "#>"),
    ("json_get_path_text", "#>>"),
    ("json_without_path", "#-"),
    ("json_without", "-"),
    ("json_concat", "||"),
    ("jsonb_contains", "@>"),
    ("jsonb_exists", "?"),
    ("jsonb_exists_any", "?|"),
    ("jsonb_exists_all", "?&"),
];

/// A side of an operator of JSON, in parentheses where it is an operation of another kind.
fn side(text: &str) -> String {
    let is_one = !text.contains(' ') || text.starts_with('\'') || text.contains("->");
    match is_one {
        true => text.to_string(),
        false => format!("({text})"),
    }
}

/// A column that a planner has named after what it computes, as SQL would write that.
pub fn column_words(name: &str) -> String {
    match name.starts_with("weir_") || name.starts_with("__unnest_placeholder") {
        true => sql_words(name),
        false => name.to_string(),
    }
}

/// A call that stands for a piece of SQL, as that.
pub fn meant(name: &str, args: &[String]) -> Option<String> {
    if let (Some((_, op)), [left, right]) = (OF_JSON.iter().find(|(function, _)| *function == name), args) {
        return Some(format!("{} {op} {}", side(left), side(right)));
    }
    let renamed = |as_written: &str| format!("{as_written}({})", args.join(", "));
    Some(match (name, args) {
        ("weir_json_elements", _) => renamed("json_array_elements"),
        ("weir_json_element_texts", _) => renamed("json_array_elements_text"),
        ("weir_json_keys", _) => renamed("json_object_keys"),
        ("weir_json_values", _) => renamed("json_each"),
        ("weir_json_value_texts", _) => renamed("json_each_text"),
        ("weir_at_part", [values, part]) => format!("percentile_disc({part}) of {values}"),
        ("weir_between_parts", [values, part]) => format!("percentile_cont({part}) of {values}"),
        ("weir_most_frequent", [values]) => format!("mode() of {values}"),
        ("named_struct", args) if is_row(args) => {
            let values: Vec<&str> = args.iter().skip(1).step_by(2).map(String::as_str).collect();
            format!("ROW({})", values.join(", "))
        }
        ("outer_ref", [column]) => column.clone(),
        ("__unnest_placeholder", [array, ..]) => array.clone(),
        ("weir_only_row", _) => "(SELECT …)".to_string(),
        ("weir_any", [value, array, op]) => format!("{value} {} ANY ({array})", op.trim_matches('\'')),
        ("weir_all", [value, array, op]) => format!("{value} {} ALL ({array})", op.trim_matches('\'')),
        ("weir_and", args) => args.join(" AND "),
        ("weir_or", args) => args.join(" OR "),
        ("weir_form" | "weir_cast" | "weir_maybe" | "weir_interval" | "weir_holds" | "weir_holds_or_fails", [only]) => {
            only.clone()
        }
        _ => return None,
    })
}

/// Whether names and values are those of `ROW(…)`.
fn is_row(args: &[String]) -> bool {
    let names = args.iter().step_by(2).zip(1..);
    args.len().is_multiple_of(2) && names.into_iter().all(|(name, place)| *name == format!("'f{place}'"))
}

/// `CASE WHEN __always_true IS NULL THEN … ELSE x END` is what DataFusion makes of a subquery's `x`, for
/// when there is no group.
fn without_empty_groups(text: &str) -> String {
    const MARK: &str = "__always_true IS NULL THEN ";
    let mut text = text.to_string();
    while let Some(mark) = text.find(MARK) {
        let begin = text[..mark].rfind("CASE WHEN ");
        let ends = else_of_case(&text[mark + MARK.len()..]);
        let (Some(begin), Some((from, to))) = (begin, ends) else {
            return text;
        };
        let behind = mark + MARK.len();
        let kept = text[behind + from..behind + to].to_string();
        text.replace_range(begin..behind + to + " END".len(), &kept);
    }
    text
}

/// Where the ELSE of the CASE that a text is the inside of begins and ends.
fn else_of_case(text: &str) -> Option<(usize, usize)> {
    let (mut depth, mut from) = (0, None);
    let mut at = 0;
    for part in text.split_inclusive(' ') {
        match part.trim_matches([' ', '(', ')', ',']) {
            "CASE" => depth += 1,
            "ELSE" if depth == 0 => from = Some(at + part.len()),
            "END" if depth == 0 => return Some((from?, at.checked_sub(1)?)),
            "END" => depth -= 1,
            _ => {}
        }
        at += part.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, TimeUnit};

    use super::*;

    fn types() -> Vec<(DataType, &'static str)> {
        let list = |kind: DataType| DataType::List(Arc::new(Field::new_list_field(kind, true)));
        vec![
            (DataType::Int32, "INT"),
            (DataType::Utf8View, "TEXT"),
            (DataType::Float64, "DOUBLE"),
            (DataType::Decimal128(10, 2), "DECIMAL(10,2)"),
            (DataType::Decimal256(76, 10), "DECIMAL(76,10)"),
            (DataType::Timestamp(TimeUnit::Microsecond, None), "TIMESTAMP"),
            (
                DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
                "TIMESTAMPTZ",
            ),
            (DataType::Duration(TimeUnit::Microsecond), "INTERVAL"),
            (DataType::FixedSizeBinary(16), "UUID"),
            (list(DataType::Utf8), "TEXT[]"),
            (
                list(list(DataType::Timestamp(TimeUnit::Microsecond, None))),
                "TIMESTAMP[][]",
            ),
        ]
    }

    #[test]
    fn a_type_has_one_name_whoever_speaks_of_it() {
        for (kind, name) in types() {
            assert_eq!(sql_type(&kind), name);
            assert_eq!(sql_words(&format!("a {kind} there")), format!("a {name} there"));
            assert_eq!(
                sql_words(&format!("CAST(a AS {kind:?}) + 1")),
                format!("CAST(a AS {name}) + 1")
            );
        }
    }

    #[test]
    fn constants_and_calls_are_as_they_were_written() {
        for (said, meant) in [
            ("Int64(5) + Utf8(\"a(b\")", "5 + 'a(b'"),
            ("Decimal128(Some(-5),3,2)", "-0.05"),
            ("Decimal128(None,3,2)", "NULL"),
            (
                "too large to store in a Decimal128 of precision 4",
                "too large to store in a DECIMAL of precision 4",
            ),
            ("x + weir_only_row(count(*), min(one.x)), of", "x + (SELECT …), of"),
            ("weir_any(a, make_array(Int64(1)), '=')", "a = ANY (make_array(1))"),
            (
                "weir_all(CAST(a AS Int64), [1, 2], <>)",
                "CAST(a AS BIGINT) <> ALL ([1, 2])",
            ),
            (
                "Cannot cast string 'Int64' to value of Int64 type",
                "'Int64' is no BIGINT",
            ),
            ("it can't be Utf8; it isn't", "it can't be TEXT; it isn't"),
            ("my_Int64 or Int64s", "my_Int64 or Int64s"),
            (
                "10 / CAST(b AS Int64) > CAST(id AS Int64)",
                "10 / CAST(b AS BIGINT) > CAST(id AS BIGINT)",
            ),
            (
                "power(Numeric(2)) or lpad(String(1), Int64)",
                "power(number, number) or lpad(TEXT, BIGINT)",
            ),
            (
                "1 / CASE WHEN s.__always_true IS NULL THEN 0 ELSE CASE WHEN a THEN b ELSE c END END + 2",
                "1 / CASE WHEN a THEN b ELSE c END + 2",
            ),
        ] {
            assert_eq!(sql_words(said), meant);
        }
    }
}
