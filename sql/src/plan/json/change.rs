//! What makes JSON of JSON: joined, without a part, with another part at a path, without nulls, over several lines.

use weir_engine::format::json::value::Json;

use super::access::plain;
use super::calls::{Call, Given, Gives, Made, Takes};
use super::paths::place;

type Run = Result<Option<Made>, String>;

/// The functions.
pub const CALLS: &[Call] = &[
    plain(
        "json_concat",
        &[Takes::Json, Takes::Json],
        Gives::Json,
        |given| Ok(Some(Made::json(&joined(given.json(0)?, given.json(1)?)))),
        (
            "json || json",
            "Two arrays or objects as one; of equal names the second's member counts.",
        ),
    ),
    plain(
        "json_without",
        &[Takes::Json, Takes::Keys],
        Gives::Json,
        without,
        (
            "json - (name, names or number)",
            "JSON without some members, or without an element.",
        ),
    ),
    plain(
        "json_without_path",
        &[Takes::Json, Takes::Path],
        Gives::Json,
        |given| {
            let (mut json, path) = (given.json(0)?, steps(given)?);
            if let Some(path) = path {
                change(&mut json, &path, &mut |holder, step| remove(holder, step))?;
            }
            Ok(Some(Made::json(&json)))
        },
        ("json #- '{name, number, …}'", "JSON without the part at a path."),
    ),
    Call {
        optional: 1,
        ..plain(
            "jsonb_set",
            &[Takes::Json, Takes::Path, Takes::Json, Takes::Truth],
            Gives::Json,
            |given| {
                let (mut json, new, create) = (given.json(0)?, given.json(2)?, given.truth(3, true));
                if let Some(path) = steps(given)? {
                    change(&mut json, &path, &mut |holder, step| set(holder, step, &new, create))?;
                }
                Ok(Some(Made::json(&json)))
            },
            (
                "jsonb_set(json, path, new[, create_if_missing])",
                "JSON with another part at a path.",
            ),
        )
    },
    Call {
        optional: 1,
        ..plain(
            "jsonb_insert",
            &[Takes::Json, Takes::Path, Takes::Json, Takes::Truth],
            Gives::Json,
            |given| {
                let (mut json, new, after) = (given.json(0)?, given.json(2)?, given.truth(3, false));
                if let Some(path) = steps(given)? {
                    change(&mut json, &path, &mut |holder, step| insert(holder, step, &new, after))?;
                }
                Ok(Some(Made::json(&json)))
            },
            (
                "jsonb_insert(json, path, new[, insert_after])",
                "JSON with one more part, before the element at a path or behind it.",
            ),
        )
    },
    Call {
        aliases: &["json_strip_nulls"],
        ..plain(
            "jsonb_strip_nulls",
            &[Takes::Json],
            Gives::Json,
            |given| Ok(Some(Made::json(&stripped(given.json(0)?)))),
            ("jsonb_strip_nulls(json)", "JSON without the members that are null."),
        )
    },
    plain(
        "jsonb_pretty",
        &[Takes::Json],
        Gives::Text,
        |given| Ok(Some(Made::Text(given.json(0)?.pretty()))),
        ("jsonb_pretty(json)", "JSON as text over several lines."),
    ),
    Call {
        aliases: &["jsonb_object"],
        optional: 1,
        ..plain(
            "json_object",
            &[Takes::Path, Takes::Path],
            Gives::Json,
            object,
            (
                "json_object(names and values) or json_object(names, values)",
                "An object of texts.",
            ),
        )
    },
];

fn joined(one: Json, other: Json) -> Json {
    match (one, other) {
        (Json::Object(mut members), Json::Object(more)) => {
            members.extend(more);
            Json::object(members)
        }
        (one, other) => {
            let elements = |json| match json {
                Json::Array(elements) => elements,
                single => vec![single],
            };
            let mut all = elements(one);
            all.extend(elements(other));
            Json::Array(all)
        }
    }
}

fn without(given: &Given<'_>) -> Run {
    let mut json = given.json(0)?;
    if let Some(index) = given.number(1) {
        match &mut json {
            Json::Array(elements) => {
                if let Some(place) = place(index, elements.len()) {
                    elements.remove(place);
                }
            }
            Json::Object(_) => return Err("an object's members are taken out by name, not by number".to_string()),
            _ => return Err("nothing can be taken out of a single JSON value".to_string()),
        }
        return Ok(Some(Made::json(&json)));
    }
    let names = match given.is_list(1) {
        true => given.texts(1)?,
        false => vec![Some(given.text(1).to_string())],
    };
    let is_named = |name: &str| names.iter().flatten().any(|wanted| wanted == name);
    match &mut json {
        Json::Object(members) => members.retain(|(name, _)| !is_named(name)),
        Json::Array(elements) => elements.retain(|element| !matches!(element, Json::Text(text) if is_named(text))),
        _ => return Err("nothing can be taken out of a single JSON value".to_string()),
    }
    Ok(Some(Made::json(&json)))
}

/// The path of a call; none if it is empty.
fn steps(given: &Given<'_>) -> Result<Option<Vec<String>>, String> {
    let path = given.texts(1)?;
    let steps: Option<Vec<String>> = path.into_iter().collect();
    match steps {
        Some(steps) if steps.is_empty() => Ok(None),
        Some(steps) => Ok(Some(steps)),
        None => Err("a path has no NULL".to_string()),
    }
}

/// Does something to the last step of a path, in what holds it; nothing where the path leads nowhere.
fn change(
    json: &mut Json,
    path: &[String],
    last: &mut dyn FnMut(&mut Json, &str) -> Result<(), String>,
) -> Result<(), String> {
    let [step, rest @ ..] = path else { return Ok(()) };
    if rest.is_empty() {
        return match json {
            Json::Array(_) | Json::Object(_) => last(json, step),
            _ => Ok(()),
        };
    }
    let inner = match json {
        Json::Object(members) => members
            .iter_mut()
            .find(|(name, _)| name == step)
            .map(|(_, value)| value),
        Json::Array(elements) => {
            let at = place(index(step)?, elements.len());
            at.map(|at| &mut elements[at])
        }
        _ => None,
    };
    match inner {
        Some(inner) => change(inner, rest, last),
        None => Ok(()),
    }
}

fn index(step: &str) -> Result<i64, String> {
    let number = step.trim().parse();
    number.map_err(|_| format!("'{step}' in a path stands for an array's element, and is no number"))
}

fn remove(holder: &mut Json, step: &str) -> Result<(), String> {
    match holder {
        Json::Object(members) => members.retain(|(name, _)| name != step),
        Json::Array(elements) => {
            if let Some(at) = place(index(step)?, elements.len()) {
                elements.remove(at);
            }
        }
        _ => {}
    }
    Ok(())
}

fn set(holder: &mut Json, step: &str, new: &Json, create: bool) -> Result<(), String> {
    match holder {
        Json::Object(members) => match members.iter_mut().find(|(name, _)| name == step) {
            Some((_, value)) => *value = new.clone(),
            None if create => with_member(holder, step, new),
            None => {}
        },
        Json::Array(elements) => {
            let index = index(step)?;
            match place(index, elements.len()) {
                Some(at) => elements[at] = new.clone(),
                None if create && index < 0 => elements.insert(0, new.clone()),
                None if create => elements.push(new.clone()),
                None => {}
            }
        }
        _ => {}
    }
    Ok(())
}

fn insert(holder: &mut Json, step: &str, new: &Json, after: bool) -> Result<(), String> {
    match holder {
        Json::Object(members) => match members.iter().any(|(name, _)| name == step) {
            true => return Err(format!("there is a member '{step}' already; jsonb_set() changes it")),
            false => with_member(holder, step, new),
        },
        Json::Array(elements) => {
            let index = index(step)?;
            match place(index, elements.len()) {
                Some(at) => elements.insert(at + usize::from(after), new.clone()),
                None if index < 0 => elements.insert(0, new.clone()),
                None => elements.push(new.clone()),
            }
        }
        _ => {}
    }
    Ok(())
}

fn with_member(holder: &mut Json, name: &str, new: &Json) {
    if let Json::Object(members) = holder {
        members.push((name.to_string(), new.clone()));
        *holder = Json::object(std::mem::take(members));
    }
}

fn stripped(json: Json) -> Json {
    match json {
        Json::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| *value != Json::Null);
            Json::Object(kept.map(|(name, value)| (name, stripped(value))).collect())
        }
        Json::Array(elements) => Json::Array(elements.into_iter().map(stripped).collect()),
        single => single,
    }
}

fn object(given: &Given<'_>) -> Run {
    let (names, values): (Vec<_>, Vec<_>) = match given.len() {
        1 => {
            let all = given.texts(0)?;
            if all.len() % 2 == 1 {
                return Err("json_object() of one array takes a value behind each name".to_string());
            }
            all.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).unzip()
        }
        _ => (given.texts(0)?, given.texts(1)?),
    };
    if names.len() != values.len() {
        return Err("json_object() takes as many values as names".to_string());
    }
    let member = |(name, value): (Option<String>, Option<String>)| match name {
        Some(name) => Ok((name, value.map_or(Json::Null, Json::Text))),
        None => Err("NULL is no name of a member".to_string()),
    };
    let members = names.into_iter().zip(values).map(member);
    Ok(Some(Made::json(&Json::object(members.collect::<Result<_, _>>()?))))
}
