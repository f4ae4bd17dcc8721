//! A part of a JSON text, found without building the rest: a member of an object, an element of an
//! array, as they stand in the text.

use super::scan::{Reader, Scan, unescape};

/// The member of an object that is called `name`, the last of that name; `None` where there is none,
/// or the text is no object.
///
/// # Errors
/// If the text is no JSON.
pub fn member<'a>(text: &'a str, name: &str) -> Result<Option<&'a str>, String> {
    part(text, |reader, found| {
        if reader.peek() != b'{' {
            return reader.skip(0);
        }
        reader.members(0, |reader, key| {
            let start = reader.at;
            let is_it = match key.escaped {
                false => key.raw == name,
                true => {
                    let mut plain = Vec::new();
                    unescape(key.raw, start, &mut plain)?;
                    plain == name.as_bytes()
                }
            };
            reader.skip(1)?;
            if is_it {
                *found = Some(reader.since(start));
            }
            Ok(())
        })
    })
}

/// The element of an array at `index`, from 0, or from -1 backwards; `None` where there is none, or
/// the text is no array.
///
/// # Errors
/// If the text is no JSON.
pub fn element(text: &str, index: i64) -> Result<Option<&str>, String> {
    let mut count = 0;
    let walk = |wanted: i64, count: &mut i64| {
        part(text, |reader, found| {
            if reader.peek() != b'[' {
                return reader.skip(0);
            }
            reader.elements(0, |reader, at| {
                let start = reader.at;
                reader.skip(1)?;
                if at as i64 == wanted {
                    *found = Some(reader.since(start));
                }
                *count += 1;
                Ok(())
            })
        })
    };
    let found = walk(index, &mut count)?;
    match index < 0 && index >= -count {
        true => walk(index + count, &mut 0),
        false => Ok(found),
    }
}

/// A part as text: what a string spells, `None` for `null`, all else as it stands.
///
/// # Errors
/// If a string has half of a surrogate pair, which is no text.
pub fn plain(part: &str) -> Result<Option<String>, String> {
    if part == "null" {
        return Ok(None);
    }
    let Some(raw) = part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Ok(Some(part.to_string()));
    };
    let mut text = Vec::with_capacity(raw.len());
    unescape(raw, 0, &mut text).map_err(|fault| fault.to_string())?;
    String::from_utf8(text).map(Some).map_err(|error| error.to_string())
}

fn part<'a>(
    text: &'a str,
    walk: impl FnOnce(&mut Reader<'a>, &mut Option<&'a str>) -> Scan<()>,
) -> Result<Option<&'a str>, String> {
    let mut reader = Reader::new(text);
    reader.space();
    let mut found = None;
    walk(&mut reader, &mut found)
        .and_then(|()| reader.finish())
        .map_err(|fault| fault.to_string())?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_elements_are_as_they_stand() {
        let text = r#" {"a": {"b": [1, 2.50, "x\n"]}, "n": null, "a\u0062": 12345678901234567890123, "d": 1, "d": 2} "#;
        let a = member(text, "a").unwrap().unwrap();
        assert_eq!(a, r#"{"b": [1, 2.50, "x\n"]}"#);
        let b = member(a, "b").unwrap().unwrap();
        assert_eq!(element(b, 1), Ok(Some("2.50")));
        assert_eq!(element(b, -1), Ok(Some(r#""x\n""#)));
        assert_eq!((element(b, 3), element(b, -4)), (Ok(None), Ok(None)));
        assert_eq!(member(text, "ab"), Ok(Some("12345678901234567890123")));
        assert_eq!(member(text, "d"), Ok(Some("2")));
        assert_eq!(
            (member(text, "none"), member(b, "a"), element(text, 0)),
            (Ok(None), Ok(None), Ok(None))
        );
        assert!(member("{\"a\": 1", "a").is_err() && member("{\"a\": 1} x", "a").is_err() && element("", 0).is_err());
    }

    #[test]
    fn strings_become_what_they_spell() {
        assert_eq!(plain(r#""x\n\u00fc""#), Ok(Some("x\nü".to_string())));
        assert_eq!(plain("null"), Ok(None));
        assert_eq!(plain("2.50"), Ok(Some("2.50".to_string())));
        assert_eq!(plain("[1, 2]"), Ok(Some("[1, 2]".to_string())));
    }
}
