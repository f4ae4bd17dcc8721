//! `WITH (key = value, …)` and `FORMAT … ENCODE … KEY ENCODE …`.

use std::collections::BTreeMap;

use sqlparser::tokenizer::Token;
use weir_engine::connector::is_secret;
use weir_engine::format::{Encoding, EncodingKind, Envelope};

use super::cursor::{Cursor, string_value};
use super::source::{is_word, shown};
use crate::error::{Error, Result};

/// Options by key; keys are lower case unless quoted.
pub(super) type Options = BTreeMap<String, String>;

/// `WITH (…)` if it is next.
pub(super) fn with_options(cursor: &mut Cursor) -> Result<Options> {
    if cursor.take(&["WITH"]) {
        options(cursor)
    } else {
        Ok(Options::new())
    }
}

/// `(key = value, …)`.
pub(super) fn options(cursor: &mut Cursor) -> Result<Options> {
    let mut options = Options::new();
    cursor.list(|cursor| {
        let place = cursor.place();
        let key = key(cursor)?;
        cursor.expect_token(&Token::Eq)?;
        let value = value(cursor, &key)?;
        if options.contains_key(&key) {
            let message = format!("the option {key} is given twice");
            return Err(Error::at(message, place.0, place.1));
        }
        cursor.option_places.add(&key, place);
        options.insert(key, value);
        Ok(())
    })?;
    Ok(options)
}

/// Words joined by points (`properties.bootstrap.servers`), or one in quotes of either kind.
fn key(cursor: &mut Cursor) -> Result<String> {
    let mut key = String::new();
    loop {
        match cursor.peek().map(|token| &token.token) {
            Some(Token::Word(word)) if word.quote_style.is_none() => {
                key.push_str(&word.value.to_ascii_lowercase());
            }
            Some(Token::Word(word)) => key.push_str(&word.value),
            Some(Token::SingleQuotedString(quoted)) if key.is_empty() => {
                let quoted = quoted.clone();
                cursor.advance();
                return Ok(quoted);
            }
            _ => return Err(cursor.expected("an option's name, such as connector")),
        }
        cursor.advance();
        if !cursor.take_token(&Token::Period) {
            break;
        }
        key.push('.');
    }
    if cursor.is_token(&Token::Minus) {
        return Err(cursor.here(format!(
            "expected = after the option's name {key}, found -: put a name with a hyphen in quotes"
        )));
    }
    Ok(key)
}

/// A string, a number, TRUE or FALSE, as text.
fn value(cursor: &mut Cursor, key: &str) -> Result<String> {
    let sign = if cursor.take_token(&Token::Minus) { "-" } else { "" };
    let what = format!("a value in quotes or a number for {key}");
    let Some(token) = cursor.peek() else {
        return Err(cursor.expected(&what));
    };
    let value = match &token.token {
        Token::Number(number, _) => format!("{sign}{number}"),
        token if !sign.is_empty() => {
            return Err(cursor.here(format!("expected a number after -, found {}", shown(token))));
        }
        token if is_word(token, "TRUE") => "true".into(),
        token if is_word(token, "FALSE") => "false".into(),
        Token::Word(word) => {
            let word = word.value.replace('\'', "''");
            return Err(cursor.here(format!(
                "the value of {key} needs quotes: '{}'",
                shown_value(key, &word)
            )));
        }
        token => match string_value(token) {
            Some(value) => value,
            None => return Err(cursor.expected(&what)),
        },
    };
    cursor.advance();
    if matches!(token.token, Token::Number(..))
        && let Some(Token::Word(unit)) = cursor.peek().map(|next| &next.token)
    {
        let value = format!("{value}{}", unit.value);
        return Err(cursor.here(format!(
            "the value of {key} needs quotes: '{}'",
            shown_value(key, &value)
        )));
    }
    Ok(value)
}

/// A value as it may stand in an error.
fn shown_value<'a>(key: &str, value: &'a str) -> &'a str {
    if is_secret(key) { "…" } else { value }
}

/// How records are written and read.
pub(super) struct Format {
    pub(super) envelope: Envelope,
    pub(super) value: Encoding,
    pub(super) key: Option<Encoding>,
}

/// `[FORMAT …] [ENCODE …] [KEY ENCODE …]`; PLAIN and JSON where not given.
pub(super) fn format(cursor: &mut Cursor) -> Result<Format> {
    let envelope = if cursor.take(&["FORMAT"]) {
        envelope(cursor)?
    } else {
        Envelope::Plain
    };
    let value = if cursor.take(&["ENCODE"]) {
        encoding(cursor)?
    } else {
        Encoding {
            kind: EncodingKind::Json,
            options: Options::new(),
        }
    };
    let key = if cursor.take(&["KEY", "ENCODE"]) {
        Some(encoding(cursor)?)
    } else {
        None
    };
    Ok(Format { envelope, value, key })
}

fn envelope(cursor: &mut Cursor) -> Result<Envelope> {
    let envelope = if cursor.is("PLAIN") {
        Envelope::Plain
    } else if cursor.is("UPSERT") {
        Envelope::Upsert
    } else if cursor.is("DEBEZIUM") {
        return Err(cursor.here("FORMAT DEBEZIUM is not there yet: FORMAT PLAIN and FORMAT UPSERT are"));
    } else {
        return Err(cursor.expected("PLAIN or UPSERT after FORMAT"));
    };
    cursor.advance();
    Ok(envelope)
}

fn encoding(cursor: &mut Cursor) -> Result<Encoding> {
    const KINDS: &[(&str, EncodingKind)] = &[
        ("JSON", EncodingKind::Json),
        ("CSV", EncodingKind::Csv),
        ("TEXT", EncodingKind::Text),
        ("BYTES", EncodingKind::Bytes),
    ];
    const LATER: &[&str] = &["AVRO", "PROTOBUF", "PARQUET"];
    if let Some(later) = LATER.iter().find(|later| cursor.is(later)) {
        return Err(cursor.here(format!(
            "ENCODE {later} is not there yet: JSON, CSV, TEXT and BYTES are"
        )));
    }
    let Some(&(_, kind)) = KINDS.iter().find(|(word, _)| cursor.is(word)) else {
        return Err(cursor.expected("JSON, CSV, TEXT or BYTES after ENCODE"));
    };
    cursor.advance();
    let options = if cursor.is_token(&Token::LParen) {
        options(cursor)?
    } else {
        Options::new()
    };
    Ok(Encoding { kind, options })
}

/// The longest duration: its microseconds are an `i64`.
const LONGEST_MS: u64 = i64::MAX as u64 / 1000;

/// `30s`, `5 minutes`, `1h`, `250ms`: milliseconds, at most [`LONGEST_MS`].
pub(crate) fn duration_ms(option: &str, text: &str) -> Result<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_lowercase().as_str() {
        "ms" | "millisecond" | "milliseconds" => 1,
        "s" | "second" | "seconds" => 1000,
        "min" | "m" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => 0,
    };
    if factor == 0 || number.is_empty() {
        return Err(Error::new(format!(
            "{option} = '{text}' is no duration; write for example '30s' or '5 minutes'"
        )));
    }
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    ms.filter(|ms| *ms <= LONGEST_MS).ok_or_else(|| {
        Error::new(format!(
            "{option} = '{text}' is too long; '100000000 days' is as good as for ever"
        ))
    })
}
