//! Text as arrays and arrays as text, as PostgreSQL spells them: `{1,NULL,"a b"}`, arrays in arrays in braces of
//! their own.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanBufferBuilder, ListArray, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;

use super::casts::{STRICT, column_as, is_ours, misfit};

type Why = &'static str;

const NO_BRACES: Why = "an array is written in braces, as {1,2}";
const UNCLOSED: Why = "its braces or quotes are never closed";
const NO_COMMA: Why = "commas stand between an array's elements";
const EMPTY: Why = "an element is missing; the empty text is \"\"";
const NESTED: Why = "it holds arrays, and the type is that of single values; write for example INT[][]";

/// Whether text is read as this type: an array whose elements can be read.
pub fn is_read(kind: &DataType) -> bool {
    match kind {
        DataType::List(field) => match field.data_type() {
            inner if inner.is_nested() => is_read(inner),
            inner => is_ours(&DataType::Utf8, inner) || can_cast_types(&DataType::Utf8, inner),
        },
        _ => false,
    }
}

/// Whether an array has a spelling, which that of structs and maps has not.
pub fn is_spelled(kind: &DataType) -> bool {
    match kind {
        DataType::List(field) => is_spelled(field.data_type()),
        kind => !kind.is_nested(),
    }
}

/// Text as arrays of the elements `field`.
///
/// # Errors
/// Names the text that is none.
pub fn read(value: &ArrayRef, field: &FieldRef) -> Result<ArrayRef, ArrowError> {
    let texts = cast_with_options(value, &DataType::Utf8, &STRICT)?;
    let to = DataType::List(field.clone());
    let is_nested = field.data_type().is_nested();
    let mut elements: Vec<Option<String>> = Vec::new();
    let mut lengths = Vec::with_capacity(texts.len());
    let mut valid = BooleanBufferBuilder::new(texts.len());
    for text in texts.as_string::<i32>() {
        let before = elements.len();
        if let Some(text) = text {
            elements.extend(items(text, is_nested).map_err(|why| misfit(text, &to, why))?);
        }
        lengths.push(elements.len() - before);
        valid.append(text.is_some());
    }
    let elements: ArrayRef = Arc::new(StringArray::from(elements));
    let elements = column_as(&elements, field.data_type())?;
    let nulls = NullBuffer::new(valid.finish());
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(
        field.clone(),
        offsets,
        elements,
        Some(nulls),
    )?))
}

/// Arrays as text.
///
/// # Errors
/// Where an element can't be written.
pub fn spelled(value: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let lists = value.as_list::<i32>();
    let elements = lists.values();
    let is_nested = elements.data_type().is_list();
    let texts = match elements.data_type() {
        DataType::Boolean => Arc::new(elements.as_boolean().iter().map(letter).collect::<StringArray>()),
        _ => column_as(elements, &DataType::Utf8)?,
    };
    let texts = texts.as_string::<i32>();
    let spell = |row: usize| {
        let mut text = String::from("{");
        let (from, to) = (lists.value_offsets()[row], lists.value_offsets()[row + 1]);
        for place in from as usize..to as usize {
            if text.len() > 1 {
                text.push(',');
            }
            match texts.is_valid(place) {
                true if is_nested => text.push_str(texts.value(place)),
                true => push(&mut text, texts.value(place)),
                false => text.push_str("NULL"),
            }
        }
        text.push('}');
        text
    };
    let rows = (0..lists.len()).map(|row| lists.is_valid(row).then(|| spell(row)));
    Ok(Arc::new(rows.collect::<StringArray>()))
}

fn letter(value: Option<bool>) -> Option<&'static str> {
    value.map(|value| if value { "t" } else { "f" })
}

/// An element, in quotes where it would be read otherwise without.
fn push(out: &mut String, element: &str) {
    let special = |c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_ascii_whitespace();
    if !element.is_empty() && !element.eq_ignore_ascii_case("null") && !element.contains(special) {
        out.push_str(element);
        return;
    }
    out.push('"');
    for c in element.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// The elements of an array in braces; where they are arrays themselves (`nested`), as they are written.
///
/// # Errors
/// Says what is wrong with the text.
pub fn items(text: &str, nested: bool) -> Result<Vec<Option<String>>, Why> {
    let mut rest = text.trim().strip_prefix('{').ok_or(NO_BRACES)?.trim_start();
    let mut found = Vec::new();
    let mut behind = rest.strip_prefix('}');
    while behind.is_none() {
        let (element, next) = item(rest, nested)?;
        found.push(element);
        let next = next.trim_start();
        behind = next.strip_prefix('}');
        if behind.is_none() {
            let next = next.strip_prefix(',');
            rest = next
                .ok_or(if rest.is_empty() { UNCLOSED } else { NO_COMMA })?
                .trim_start();
        }
    }
    match behind {
        Some("") => Ok(found),
        _ => Err("it goes on behind its last brace"),
    }
}

/// The element at the beginning of a text, and what is behind it.
fn item(text: &str, nested: bool) -> Result<(Option<String>, &str), Why> {
    if text.starts_with('{') {
        let end = end_of_group(text).ok_or(UNCLOSED)?;
        return match nested {
            true => Ok((Some(text[..end].to_string()), &text[end..])),
            false => Err(NESTED),
        };
    }
    let in_quotes = text.starts_with('"');
    let mut element = String::new();
    let mut escaped = in_quotes;
    let mut characters = text.char_indices().skip(usize::from(in_quotes));
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => {
                element.push(characters.next().ok_or(UNCLOSED)?.1);
                escaped = true;
            }
            '"' if in_quotes => return Ok((Some(element), &text[at + 1..])),
            '"' | '{' if !in_quotes => return Err(NO_COMMA),
            ',' | '}' if !in_quotes => {
                let written = element.trim_end();
                return match written {
                    "" if !escaped => Err(EMPTY),
                    null if !escaped && null.eq_ignore_ascii_case("null") => Ok((None, &text[at..])),
                    written => Ok((Some(written.to_string()), &text[at..])),
                };
            }
            c => element.push(c),
        }
    }
    Err(UNCLOSED)
}

/// Where the braces at the beginning of a text are closed.
fn end_of_group(text: &str) -> Option<usize> {
    let (mut depth, mut in_quotes) = (0, false);
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => {
                characters.next();
            }
            '"' => in_quotes = !in_quotes,
            '{' if !in_quotes => depth += 1,
            '}' if !in_quotes => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    fn as_read(text: &str) -> Result<Vec<Option<String>>, Why> {
        items(text, false)
    }

    #[test]
    fn elements_are_read_as_postgres_does() {
        let some = |texts: &[&str]| Ok(texts.iter().map(|text| Some(text.to_string())).collect::<Vec<_>>());
        assert_eq!(as_read("{}"), Ok(Vec::new()));
        assert_eq!(as_read(" { a b , \"c,}\" } "), some(&["a b", "c,}"]));
        assert_eq!(as_read(r#"{"q\"",\\,"","NULL"}"#), some(&["q\"", "\\", "", "NULL"]));
        assert_eq!(as_read("{1,null,NULL}"), Ok(vec![Some("1".to_string()), None, None]));
        assert_eq!(
            items("{{1,\"}\"},NULL}", true),
            Ok(vec![Some("{1,\"}\"}".to_string()), None])
        );
        for bad in [
            "",
            "1,2",
            "{1,2",
            "{1,}",
            "{,1}",
            "{1 \"a\"}",
            "{\"a\" b}",
            "{1}2",
            "{\"a}",
            "{{1}}",
        ] {
            assert!(as_read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_spelled_is_read_again() {
        let list = |of: DataType| DataType::List(Arc::new(Field::new_list_field(of, true)));
        for (text, kind) in [
            ("{1,NULL,3}", list(DataType::Int32)),
            ("{{1,2},{},NULL}", list(list(DataType::Int64))),
            (r#"{a,"b c","NULL","","q\"",NULL}"#, list(DataType::Utf8)),
            ("{t,f}", list(DataType::Boolean)),
        ] {
            let texts: ArrayRef = Arc::new(StringArray::from(vec![Some(text), None]));
            let arrays = column_as(&texts, &kind).unwrap();
            assert_eq!(arrays.data_type(), &kind);
            let again = column_as(&arrays, &DataType::Utf8).unwrap();
            assert_eq!((again.as_string::<i32>().value(0), again.is_null(1)), (text, true));
        }
    }
}
