//! Text as BYTEA, as PostgreSQL spells it: `\x00ff`, or characters with `\\` and octal `\ooo` among
//! them; and BYTEA as text, in hexadecimal digits.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryBuilder, StringArray};
use arrow::compute::cast_with_options;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::casts::{STRICT, misfit};

/// Text as bytes.
pub fn read(value: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let texts = cast_with_options(value, &DataType::Utf8, &STRICT)?;
    let mut made = BinaryBuilder::new();
    for text in texts.as_string::<i32>() {
        match text {
            Some(text) => {
                let bytes = bytes_of(text).map_err(|why| misfit(text, &DataType::Binary, why))?;
                made.append_value(bytes);
            }
            None => made.append_null(),
        }
    }
    Ok(Arc::new(made.finish()))
}

/// Bytes as text.
pub fn spelled(value: &ArrayRef) -> ArrayRef {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half & 15)]);
    let spell = |bytes: &[u8]| {
        let mut text = String::with_capacity(2 + 2 * bytes.len());
        text.push_str("\\x");
        text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]));
        text
    };
    let texts = value.as_binary::<i32>().iter().map(|bytes| bytes.map(spell));
    Arc::new(texts.collect::<StringArray>())
}

fn bytes_of(text: &str) -> Result<Vec<u8>, &'static str> {
    match text.strip_prefix("\\x") {
        Some(digits) => of_digits(digits),
        None => of_escapes(text.as_bytes()),
    }
}

fn of_digits(text: &str) -> Result<Vec<u8>, &'static str> {
    let digits = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let digits = digits.map(|byte| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
    let digits: Vec<u8> = digits
        .collect::<Option<_>>()
        .ok_or("there is no such hexadecimal digit")?;
    match digits.len() % 2 {
        0 => Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()),
        _ => Err("it has an odd number of hexadecimal digits"),
    }
}

fn of_escapes(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [next, behind @ ..] = rest {
        rest = match (next, behind) {
            (b'\\', [b'\\', behind @ ..]) => {
                bytes.push(b'\\');
                behind
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', behind @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                behind
            }
            (b'\\', _) => return Err("behind a \\ stand another, or three octal digits"),
            (byte, behind) => {
                bytes.push(*byte);
                behind
            }
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_postgres_does() {
        assert_eq!(bytes_of(r"\x00fF 10"), Ok(vec![0, 255, 16]));
        assert_eq!(bytes_of("abc"), Ok(b"abc".to_vec()));
        assert_eq!(bytes_of(r"a\\b\377"), Ok(vec![b'a', b'\\', b'b', 255]));
        assert_eq!(bytes_of(""), Ok(Vec::new()));
        for bad in [r"\x0", r"\xzz", r"a\", r"\400"] {
            assert!(bytes_of(bad).is_err(), "{bad}");
        }
    }
}
