//! What looks into JSON: parts by name, number and path, what is contained in what, and lists of members.

use weir_engine::format::json::part;
use weir_engine::format::json::value::Json;

use super::calls::{Call, Given, Gives, Made, Takes};

type Run = Result<Option<Made>, String>;

/// A function that takes just these arguments.
pub(super) const fn plain(
    name: &'static str,
    takes: &'static [Takes],
    gives: Gives,
    run: fn(&Given<'_>) -> Run,
    told: (&'static str, &'static str),
) -> Call {
    Call {
        name,
        aliases: &[],
        takes,
        optional: 0,
        many: false,
        gives,
        run,
        told,
    }
}

/// The functions.
pub const CALLS: &[Call] = &[
    plain(
        "json_get",
        &[Takes::Json, Takes::Key],
        Gives::Json,
        |given| get(given).map(|found| found.map(|part| Made::Text(part.to_string()))),
        ("json -> (name or number)", "A member or element of JSON, as JSON."),
    ),
    plain(
        "json_get_text",
        &[Takes::Json, Takes::Key],
        Gives::Text,
        |given| get(given).and_then(text_of),
        ("json ->> (name or number)", "A member or element of JSON, as text."),
    ),
    plain(
        "json_get_path",
        &[Takes::Json, Takes::Path],
        Gives::Json,
        |given| at_path(given).map(|found| found.map(|part| Made::Text(part.to_string()))),
        ("json #> '{name, number, …}'", "The part of JSON at a path, as JSON."),
    ),
    plain(
        "json_get_path_text",
        &[Takes::Json, Takes::Path],
        Gives::Text,
        |given| at_path(given).and_then(text_of),
        ("json #>> '{name, number, …}'", "The part of JSON at a path, as text."),
    ),
    Call {
        aliases: &["jsonb_extract_path"],
        many: true,
        ..plain(
            "json_extract_path",
            &[Takes::Json, Takes::Text],
            Gives::Json,
            |given| extracted(given).map(|found| found.map(|part| Made::Text(part.to_string()))),
            (
                "json_extract_path(json, name, …)",
                "The part of JSON at a path, as JSON.",
            ),
        )
    },
    Call {
        aliases: &["jsonb_extract_path_text"],
        many: true,
        ..plain(
            "json_extract_path_text",
            &[Takes::Json, Takes::Text],
            Gives::Text,
            |given| extracted(given).and_then(text_of),
            (
                "json_extract_path_text(json, name, …)",
                "The part of JSON at a path, as text.",
            ),
        )
    },
    plain(
        "jsonb_contains",
        &[Takes::Json, Takes::Json],
        Gives::Truth,
        |given| Ok(Some(Made::Truth(contains(&given.json(0)?, &given.json(1)?)))),
        (
            "jsonb_contains(json, part)",
            "Whether JSON contains other JSON, as json @> part says.",
        ),
    ),
    plain(
        "jsonb_exists",
        &[Takes::Json, Takes::Text],
        Gives::Truth,
        |given| Ok(Some(Made::Truth(has(&given.json(0)?, given.text(1))))),
        (
            "jsonb_exists(json, name)",
            "Whether an object has a member, or an array a text, as json ? name says.",
        ),
    ),
    plain(
        "jsonb_exists_any",
        &[Takes::Json, Takes::Path],
        Gives::Truth,
        |given| {
            let (json, names) = (given.json(0)?, given.texts(1)?);
            Ok(Some(Made::Truth(names.iter().flatten().any(|name| has(&json, name)))))
        },
        (
            "jsonb_exists_any(json, names)",
            "Whether there is one of several names, as json ?| names says.",
        ),
    ),
    plain(
        "jsonb_exists_all",
        &[Takes::Json, Takes::Path],
        Gives::Truth,
        |given| {
            let (json, names) = (given.json(0)?, given.texts(1)?);
            Ok(Some(Made::Truth(names.iter().flatten().all(|name| has(&json, name)))))
        },
        (
            "jsonb_exists_all(json, names)",
            "Whether there are all of several names, as json ?& names says.",
        ),
    ),
    Call {
        aliases: &["jsonb_typeof"],
        ..plain(
            "json_typeof",
            &[Takes::Json],
            Gives::Text,
            |given| Ok(Some(Made::Text(given.json(0)?.kind().to_string()))),
            ("json_typeof(json)", "object, array, string, number, boolean or null."),
        )
    },
    Call {
        aliases: &["jsonb_array_length"],
        ..plain(
            "json_array_length",
            &[Takes::Json],
            Gives::Count,
            |given| {
                let elements = elements(given, "json_array_length")?;
                Ok(Some(Made::Count(i32::try_from(elements.len()).unwrap_or(i32::MAX))))
            },
            ("json_array_length(json)", "How many elements an array has."),
        )
    },
    plain(
        "weir_json_elements",
        &[Takes::Json],
        Gives::Documents,
        |given| {
            let elements = elements(given, "json_array_elements")?;
            Ok(Some(Made::Texts(
                elements.iter().map(|element| Some(element.text())).collect(),
            )))
        },
        ("json_array_elements(json)", "The elements of an array, as rows."),
    ),
    plain(
        "weir_json_element_texts",
        &[Takes::Json],
        Gives::Texts,
        |given| {
            let elements = elements(given, "json_array_elements_text")?;
            Ok(Some(Made::Texts(elements.iter().map(plain_text).collect())))
        },
        (
            "json_array_elements_text(json)",
            "The elements of an array as texts, as rows.",
        ),
    ),
    plain(
        "weir_json_keys",
        &[Takes::Json],
        Gives::Texts,
        |given| {
            let names = members(given, "json_object_keys")?
                .into_iter()
                .map(|(name, _)| Some(name));
            Ok(Some(Made::Texts(names.collect())))
        },
        ("json_object_keys(json)", "The names of an object's members, as rows."),
    ),
    plain(
        "weir_json_values",
        &[Takes::Json],
        Gives::Documents,
        |given| {
            let members = members(given, "json_each")?;
            Ok(Some(Made::Texts(
                members.iter().map(|(_, value)| Some(value.text())).collect(),
            )))
        },
        ("json_each(json)", "The members of an object, as rows."),
    ),
    plain(
        "weir_json_value_texts",
        &[Takes::Json],
        Gives::Texts,
        |given| {
            let members = members(given, "json_each_text")?;
            Ok(Some(Made::Texts(
                members.iter().map(|(_, value)| plain_text(value)).collect(),
            )))
        },
        ("json_each_text(json)", "The members of an object as texts, as rows."),
    ),
];

fn get<'a>(given: &Given<'a>) -> Result<Option<&'a str>, String> {
    match given.number(1) {
        Some(index) => part::element(given.text(0), index),
        None => part::member(given.text(0), given.text(1)),
    }
}

fn text_of(found: Option<&str>) -> Run {
    Ok(match found {
        Some(found) => part::plain(found)?.map(Made::Text),
        None => None,
    })
}

/// JSON as text: what a string spells, none for `null`.
pub fn plain_text(value: &Json) -> Option<String> {
    match value {
        Json::Null => None,
        Json::Text(text) => Some(text.clone()),
        other => Some(other.text()),
    }
}

fn at_path<'a>(given: &Given<'a>) -> Result<Option<&'a str>, String> {
    let path = given.texts(1)?;
    down(given.text(0), path.iter().map(Option::as_deref))
}

fn extracted<'a>(given: &Given<'a>) -> Result<Option<&'a str>, String> {
    down(given.text(0), (1..given.len()).map(|place| Some(given.text(place))))
}

/// What stands at a path.
fn down<'a, 'p>(mut json: &'a str, path: impl Iterator<Item = Option<&'p str>>) -> Result<Option<&'a str>, String> {
    for step in path {
        let found = match step {
            Some(step) if json.starts_with('[') => match step.trim().parse::<i64>() {
                Ok(index) => part::element(json, index)?,
                Err(_) => None,
            },
            Some(step) => part::member(json, step)?,
            None => None,
        };
        match found {
            Some(found) => json = found,
            None => return Ok(None),
        }
    }
    Ok(Some(json))
}

/// Whether an object has a member, or an array a text, of that name, or whether it is that text.
fn has(json: &Json, name: &str) -> bool {
    let is_it = |value: &Json| matches!(value, Json::Text(text) if text == name);
    match json {
        Json::Object(_) => json.member(name).is_some(),
        Json::Array(elements) => elements.iter().any(is_it),
        other => is_it(other),
    }
}

/// Whether a part is in JSON, in the same place. An array has what is in it in any order and however often, and also a
/// single value.
fn contains(json: &Json, part: &Json) -> bool {
    match (json, part) {
        (Json::Array(_), Json::Object(_)) => false,
        (Json::Array(elements), single) if !matches!(single, Json::Array(_)) => {
            elements.iter().any(|element| is_equal(element, single))
        }
        _ => within(json, part),
    }
}

fn within(json: &Json, part: &Json) -> bool {
    match (json, part) {
        (Json::Object(_), Json::Object(members)) => members
            .iter()
            .all(|(name, value)| json.member(name).is_some_and(|found| within(found, value))),
        (Json::Array(elements), Json::Array(wanted)) => wanted
            .iter()
            .all(|wanted| elements.iter().any(|element| within(element, wanted))),
        _ => is_equal(json, part),
    }
}

/// Whether two values are the same, numbers by what they are worth.
fn is_equal(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(one), Json::Number(other)) => worth(one) == worth(other),
        _ => one == other,
    }
}

fn worth(digits: &str) -> &str {
    match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => digits,
    }
}

fn elements(given: &Given<'_>, function: &str) -> Result<Vec<Json>, String> {
    match given.json(0)? {
        Json::Array(elements) => Ok(elements),
        other => Err(format!(
            "{function}() takes JSON's arrays, and this is {}",
            shown(&other)
        )),
    }
}

fn members(given: &Given<'_>, function: &str) -> Result<Vec<(String, Json)>, String> {
    match given.json(0)? {
        Json::Object(members) => Ok(members),
        other => Err(format!(
            "{function}() takes JSON's objects, and this is {}",
            shown(&other)
        )),
    }
}

/// A value with its kind, cut where it is long.
fn shown(value: &Json) -> String {
    let text: String = value.text().chars().take(100).collect();
    match value {
        Json::Null => text,
        _ => format!("the {} {text}", value.kind()),
    }
}

#[cfg(test)]
mod tests {
    use weir_engine::format::json::value;

    use super::*;

    #[test]
    fn contained_is_as_in_postgres() {
        let is_in = |json: &str, part: &str| contains(&value::parse(json).unwrap(), &value::parse(part).unwrap());
        for (json, part) in [
            (r#"{"a": 1, "b": {"c": [1, 2, 3]}}"#, r#"{"b": {"c": [3, 1]}}"#),
            ("[1, 2, [1, 3]]", "[[1]]"),
            ("[1, 2]", "[2, 2, 1]"),
            (r#"["foo", "bar"]"#, r#""bar""#),
            ("1.0", "1"),
            ("{}", "{}"),
        ] {
            assert!(is_in(json, part), "{json} @> {part}");
        }
        for (json, part) in [
            (r#""bar""#, r#"["bar"]"#),
            (r#"{"a": {"b": 1}}"#, r#"{"b": 1}"#),
            ("[1]", "[1, 2]"),
            ("[1, 2, [1, 3]]", "[1, 3]"),
            (r#"[{"a": 1}]"#, r#"{"a": 1}"#),
        ] {
            assert!(!is_in(json, part), "{json} @> {part}");
        }
    }
}
