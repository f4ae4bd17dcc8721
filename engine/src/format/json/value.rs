//! JSON as values: what JSONB columns hold, and the one text of each value.
//!
//! A value has one text, PostgreSQL's of JSONB: `{"a": 1, "bc": [true, null]}`. Members are ordered by the
//! length of their names and then by these, of equal names the last counts, and numbers are
//! written without exponent, with the digits that they were given. So values are equal where their texts are,
//! but that 1.0 is not 1. A part of such a text is such a text.

use std::cmp::Ordering;

use arrow::datatypes::DataType;

use super::encode::push_string;
use super::scan::{Fault, Quoted, Reader, Scan, unescape};

/// The type of JSON, which no other value has. It holds the one text.
pub const JSON: DataType = DataType::LargeUtf8;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean(bool),
    /// A number, by its digits.
    Number(String),
    /// A string, as what it spells.
    Text(String),
    /// `[…]`
    Array(Vec<Json>),
    /// `{…}`, members in order, each name once.
    Object(Vec<(String, Json)>),
}

/// Reads a value.
///
/// # Errors
/// If the text is no JSON, with the place and what was expected.
pub fn parse(text: &str) -> Result<Json, String> {
    let mut reader = Reader::new(text);
    reader.space();
    let read = value(&mut reader, 0).and_then(|value| reader.finish().map(|()| value));
    read.map_err(|fault| fault.to_string())
}

/// The one text of the value that a text spells.
///
/// # Errors
/// If the text is no JSON.
pub fn canonical(text: &str) -> Result<String, String> {
    parse(text).map(|value| value.text())
}

fn value(reader: &mut Reader<'_>, depth: u32) -> Scan<Json> {
    Ok(match reader.peek() {
        b'"' => {
            reader.at += 1;
            let at = reader.at;
            let quoted = reader.string()?;
            Json::Text(spelled(quoted, at)?)
        }
        b'-' | b'0'..=b'9' => {
            let at = reader.at;
            let digits = reader.number()?;
            Json::Number(number(digits).ok_or_else(|| Fault::new(at, "a number has too many digits"))?)
        }
        b'{' => {
            let mut members = Vec::new();
            reader.members(depth, |reader, name| {
                let at = reader.at;
                members.push((spelled(name, at)?, value(reader, depth + 1)?));
                Ok(())
            })?;
            Json::object(members)
        }
        b'[' => {
            let mut elements = Vec::new();
            reader.elements(depth, |reader, _| {
                elements.push(value(reader, depth + 1)?);
                Ok(())
            })?;
            Json::Array(elements)
        }
        b't' => reader.word("true").map(|()| Json::Boolean(true))?,
        b'f' => reader.word("false").map(|()| Json::Boolean(false))?,
        b'n' => reader.word("null").map(|()| Json::Null)?,
        _ => return Err(reader.expected("a JSON value")),
    })
}

fn spelled(quoted: Quoted<'_>, at: usize) -> Scan<String> {
    if !quoted.escaped {
        return Ok(quoted.raw.to_string());
    }
    let mut bytes = Vec::with_capacity(quoted.raw.len());
    unescape(quoted.raw, at, &mut bytes)?;
    String::from_utf8(bytes).map_err(|error| Fault::new(at, error.to_string()))
}

/// Digits that a number may have on either side of its point, as in PostgreSQL.
const MOST_DIGITS: (i64, i64) = (131_072, 16_383);

/// A number without exponent, all its digits kept; none if it has too many.
pub fn number(text: &str) -> Option<String> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let zero = mantissa.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    let digits = format!("{whole}{fraction}");
    let moved: i64 = exponent.trim_start_matches('+').parse().ok()?;
    // Where the point stands among the digits.
    let point = i64::try_from(whole.len()).ok()?.checked_add(moved)?;
    let behind = (i64::try_from(digits.len()).ok()? - point).max(0);
    if (point > MOST_DIGITS.0 && !zero) || behind > MOST_DIGITS.1 {
        return None;
    }
    let behind = behind as usize;
    if zero {
        return Some(match behind {
            0 => "0".to_string(),
            _ => format!("0.{}", "0".repeat(behind)),
        });
    }
    let padded = match usize::try_from(point) {
        Ok(point) if point >= digits.len() => format!("{digits}{}", "0".repeat(point - digits.len())),
        Ok(_) => digits,
        Err(_) => format!("{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
    };
    let (whole, fraction) = padded.split_at(padded.len() - behind);
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let dot = if behind > 0 { "." } else { "" };
    Some(format!("{sign}{whole}{dot}{fraction}"))
}

/// The order of members: the shorter name first.
pub fn by_name(one: &str, other: &str) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

impl Json {
    /// An object of members in any order; of equal names the last counts.
    pub fn object(mut members: Vec<(String, Json)>) -> Json {
        members.reverse();
        members.sort_by(|(one, _), (other, _)| by_name(one, other));
        members.dedup_by(|(later, _), (first, _)| later == first);
        Json::Object(members)
    }

    /// The member of an object.
    pub fn member(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => {
                let found = members.binary_search_by(|(member, _)| by_name(member, name));
                found.ok().map(|at| &members[at].1)
            }
            _ => None,
        }
    }

    /// What kind of value it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Boolean(_) => "boolean",
            Json::Number(_) => "number",
            Json::Text(_) => "string",
            Json::Array(_) => "array",
            Json::Object(_) => "object",
        }
    }

    /// Its one text.
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out, None);
        String::from_utf8(out).expect("JSON is written as UTF-8")
    }

    /// Its text over several lines, as `jsonb_pretty` gives it.
    pub fn pretty(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out, Some(0));
        String::from_utf8(out).expect("JSON is written as UTF-8")
    }

    /// Appends the text; with `indent` each member on a line of its own.
    fn write(&self, out: &mut Vec<u8>, indent: Option<usize>) {
        let inner = indent.map(|indent| indent + 4);
        let line = |out: &mut Vec<u8>, indent: Option<usize>| {
            if let Some(indent) = indent {
                out.push(b'\n');
                out.resize(out.len() + indent, b' ');
            }
        };
        let comma: &[u8] = if indent.is_some() { b"," } else { b", " };
        match self {
            Json::Null => out.extend_from_slice(b"null"),
            Json::Boolean(true) => out.extend_from_slice(b"true"),
            Json::Boolean(false) => out.extend_from_slice(b"false"),
            Json::Number(digits) => out.extend_from_slice(digits.as_bytes()),
            Json::Text(text) => push_string(text.as_bytes(), out),
            Json::Array(elements) => {
                out.push(b'[');
                for (place, element) in elements.iter().enumerate() {
                    if place > 0 {
                        out.extend_from_slice(comma);
                    }
                    line(out, inner);
                    element.write(out, inner);
                }
                line(out, indent);
                out.push(b']');
            }
            Json::Object(members) => {
                out.push(b'{');
                for (place, (name, member)) in members.iter().enumerate() {
                    if place > 0 {
                        out.extend_from_slice(comma);
                    }
                    line(out, inner);
                    push_string(name.as_bytes(), out);
                    out.extend_from_slice(b": ");
                    member.write(out, inner);
                }
                line(out, indent);
                out.push(b'}');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_text() {
        let cases = [
            (
                r#" {"bc":1,"a" : [ true,null , "x\u00fc\n"],"a2":{},"bc":2} "#,
                r#"{"a": [true, null, "xü\n"], "a2": {}, "bc": 2}"#,
            ),
            (
                "[1e3, 1.50, -0.0, 1E-3, -12.5e1, 0e9, 100]",
                "[1000, 1.50, 0.0, 0.001, -125, 0, 100]",
            ),
            ("[]", "[]"),
            (r#""a\"\\\/""#, r#""a\"\\/""#),
        ];
        for (given, text) in cases {
            assert_eq!(canonical(given).as_deref(), Ok(text), "{given}");
            assert_eq!(canonical(text).as_deref(), Ok(text));
        }
        for bad in [
            "",
            "{",
            "[1,]",
            "{a: 1}",
            "1 2",
            "nul",
            "1e999999999",
            "1e-999999",
            "01",
        ] {
            assert!(canonical(bad).is_err(), "{bad}");
        }
        assert_eq!(number("1e-16383").map(|text| text.len()), Some(16_385));
    }

    #[test]
    fn members_are_found_by_name() {
        let value = parse(r#"{"b": 1, "aa": 2, "a": 3}"#).unwrap();
        assert_eq!(value.member("a"), Some(&Json::Number("3".to_string())));
        assert_eq!(value.member("aa"), Some(&Json::Number("2".to_string())));
        assert_eq!(value.member("c"), None);
        assert_eq!(value.pretty(), "{\n    \"a\": 3,\n    \"b\": 1,\n    \"aa\": 2\n}");
    }
}
