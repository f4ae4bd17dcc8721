//! Reading JSON text (RFC 8259) token by token, strictly, without building anything.
//!
//! The reader stands on a text that is known to be UTF-8. Strings are scanned eight bytes at a
//! time; numbers are checked against the grammar and handed on as text, so that each type can
//! read them exactly.

use std::fmt;

/// Objects and arrays within each other, at most. Deeper text is refused, not overrun.
pub(crate) const MAX_DEPTH: u32 = 128;

/// What is wrong with a text, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Path of the field, `a.b[2]`; empty for the text itself.
    path: String,
    /// Byte in the text, from 0.
    at: usize,
    cause: String,
}

impl Fault {
    pub(crate) fn new(at: usize, cause: impl Into<String>) -> Box<Fault> {
        Box::new(Fault {
            path: String::new(),
            at,
            cause: cause.into(),
        })
    }

    /// Says in which field it happened.
    pub(crate) fn in_field(mut self: Box<Self>, name: &str) -> Box<Fault> {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }

    /// Says in which element of an array it happened.
    pub(crate) fn in_element(mut self: Box<Self>, index: usize) -> Box<Fault> {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("[{index}]{dot}{}", self.path);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "field '{}', ", self.path)?;
        }
        write!(f, "byte {}: {}", self.at, self.cause)
    }
}

pub(crate) type Scan<T> = Result<T, Box<Fault>>;

/// A text and a place in it.
pub(crate) struct Reader<'a> {
    text: &'a str,
    pub(crate) at: usize,
}

/// A string's text between its quotes, as it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quoted<'a> {
    pub(crate) raw: &'a str,
    pub(crate) escaped: bool,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// A high bit at the first byte of `word` that ends a run of plain string bytes: a quote, a
/// backslash or a control character. Bits above the first may be wrong (a borrow passes them).
#[inline]
fn special_bytes(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (zero(quote) | zero(backslash) | control) & HIGHS
}

/// The first place from `from` on that is no plain string byte, or the end.
#[inline]
pub(crate) fn plain_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let special = special_bytes(word);
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            break;
        }
        at += 1;
    }
    at
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Reader<'a> {
        Reader { text, at: 0 }
    }

    /// The byte here; 0, which is valid nowhere, at the end.
    #[inline]
    pub(crate) fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// The text from `from` to here. Both are at token boundaries, which are ASCII.
    pub(crate) fn since(&self, from: usize) -> &'a str {
        &self.text[from..self.at]
    }

    /// The bytes from here on.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    /// Passes white space.
    #[inline]
    pub(crate) fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
    }

    /// Passes `byte` if it stands here.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.at += usize::from(found);
        found
    }

    /// A fault here: something else was expected.
    #[cold]
    pub(crate) fn expected(&self, what: &str) -> Box<Fault> {
        let found = match self.text[self.at..].chars().next() {
            None => "the end".to_owned(),
            Some(c) => format!("'{}'", c.escape_debug()),
        };
        Fault::new(self.at, format!("expected {what}, found {found}"))
    }

    /// After a value nothing but white space may come.
    #[inline]
    pub(crate) fn finish(&mut self) -> Scan<()> {
        self.space();
        if self.at < self.text.len() {
            Err(self.expected("nothing after the value"))
        } else {
            Ok(())
        }
    }

    /// Passes a word: `null`, `true`, `false`.
    #[inline]
    pub(crate) fn word(&mut self, word: &str) -> Scan<()> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.expected("a JSON value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Passes a string whose opening quote is already passed.
    #[inline]
    pub(crate) fn string(&mut self) -> Scan<Quoted<'a>> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = plain_end(bytes, self.at);
            match bytes.get(self.at) {
                Some(b'"') => {
                    let raw = self.since(start);
                    self.at += 1;
                    return Ok(Quoted { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => {
                    return Err(Fault::new(self.at, "a control character in a string must be escaped"));
                }
                None => {
                    return Err(Fault::new(start - 1, "the string beginning here has no end"));
                }
            }
        }
    }

    /// Passes one escape, checking its form.
    fn escape(&mut self) -> Scan<()> {
        self.at += match self.rest() {
            [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [_, b'u', digits @ ..] if digits.len() >= 4 && digits[..4].iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return Err(Fault::new(self.at, "bad escape in a string")),
        };
        Ok(())
    }

    /// Passes a plain integer of at most 18 digits and gives its value. Stays here and gives
    /// nothing where it is any other number.
    #[inline]
    pub(crate) fn small_integer(&mut self) -> Option<i64> {
        let rest = self.rest();
        let negative = rest.first() == Some(&b'-');
        let digits = &rest[usize::from(negative)..];
        let (mut value, mut count) = (0i64, 0);
        loop {
            let digit = digits.get(count).map_or(255, |byte| byte.wrapping_sub(b'0'));
            if digit > 9 {
                break;
            }
            if count == 18 {
                return None;
            }
            value = value * 10 + i64::from(digit);
            count += 1;
        }
        let leading_zero = count > 1 && digits[0] == b'0';
        if count == 0 || leading_zero || matches!(digits.get(count), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        self.at += count + usize::from(negative);
        Some(if negative { -value } else { value })
    }

    /// Passes a number and gives its text.
    pub(crate) fn number(&mut self) -> Scan<&'a str> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        Ok(self.since(start))
    }

    fn digits(&mut self) -> Scan<()> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start {
            Err(self.expected("a digit"))
        } else {
            Ok(())
        }
    }

    /// Passes any value, checking its form; the reader stands on its first byte.
    pub(crate) fn skip(&mut self, depth: u32) -> Scan<()> {
        match self.peek() {
            b'"' => {
                self.at += 1;
                self.string().map(drop)
            }
            b'-' | b'0'..=b'9' => match self.small_integer() {
                Some(_) => Ok(()),
                None => self.number().map(drop),
            },
            b'{' => self.members(depth, |reader, _| reader.skip(depth + 1)),
            b'[' => self.elements(depth, |reader, _| reader.skip(depth + 1)),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => Err(self.expected("a JSON value")),
        }
    }

    /// Passes an array, calling `each` at the first byte of every element with its index.
    pub(crate) fn elements(&mut self, depth: u32, mut each: impl FnMut(&mut Self, usize) -> Scan<()>) -> Scan<()> {
        self.open(depth)?;
        if self.take(b']') {
            return Ok(());
        }
        for index in 0.. {
            each(self, index)?;
            self.space();
            if self.take(b']') {
                break;
            }
            if !self.take(b',') {
                return Err(self.expected("',' or ']'"));
            }
            self.space();
        }
        Ok(())
    }

    /// Passes an object, calling `each` at the first byte of every value with its key.
    pub(crate) fn members(&mut self, depth: u32, mut each: impl FnMut(&mut Self, Quoted<'a>) -> Scan<()>) -> Scan<()> {
        self.open(depth)?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.quote()?;
            let key = self.string()?;
            self.colon()?;
            each(self, key)?;
            if !self.more_members()? {
                return Ok(());
            }
        }
    }

    /// Passes the bracket that opens an array or object, and the space after it.
    #[inline]
    pub(crate) fn open(&mut self, depth: u32) -> Scan<()> {
        if depth >= MAX_DEPTH {
            return Err(Fault::new(
                self.at,
                format!("more than {MAX_DEPTH} objects and arrays within each other"),
            ));
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    /// Passes the quote that opens a key.
    #[inline]
    pub(crate) fn quote(&mut self) -> Scan<()> {
        if self.take(b'"') {
            Ok(())
        } else {
            Err(self.expected("a field name in quotes"))
        }
    }

    /// Passes the colon after a key, and the space around it.
    #[inline]
    pub(crate) fn colon(&mut self) -> Scan<()> {
        self.space();
        if !self.take(b':') {
            return Err(self.expected("':'"));
        }
        self.space();
        Ok(())
    }

    /// After a member: passes a comma and is true, or the closing brace and is false.
    #[inline]
    pub(crate) fn more_members(&mut self) -> Scan<bool> {
        self.space();
        if self.take(b',') {
            self.space();
            return Ok(true);
        }
        if self.take(b'}') {
            Ok(false)
        } else {
            Err(self.expected("',' or '}'"))
        }
    }
}

/// Appends the value of a string whose form [`Reader::string`] has checked. `at` is where its raw
/// text begins, for the error about a `\u` escape that is half of a surrogate pair.
pub(crate) fn unescape(raw: &str, at: usize, out: &mut Vec<u8>) -> Scan<()> {
    let bytes = raw.as_bytes();
    let mut from = 0;
    loop {
        let end = plain_end(bytes, from);
        out.extend_from_slice(&bytes[from..end]);
        let [_, letter, rest @ ..] = &bytes[end..] else {
            return Ok(());
        };
        from = end + 2;
        out.push(match letter {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let Some((character, length)) = code_point(rest) else {
                    return Err(Fault::new(at + end, "a \\u escape is half of a surrogate pair"));
                };
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                from += length;
                continue;
            }
            other => *other,
        });
    }
}

/// Reads what follows `\u`: the character and how many bytes it took.
fn code_point(text: &[u8]) -> Option<(char, usize)> {
    let first = hex(text)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, 4));
    }
    let second = hex(text.get(4..)?.strip_prefix(b"\\u")?)?;
    if !(0xdc00..0xe000).contains(&second) {
        return None;
    }
    Some((
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))?,
        10,
    ))
}

fn hex(text: &[u8]) -> Option<u32> {
    text.get(..4)?
        .iter()
        .try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn skipped(text: &str) -> Result<(), String> {
        let mut reader = Reader::new(text);
        reader.space();
        reader
            .skip(0)
            .and_then(|()| reader.finish())
            .map_err(|fault| fault.to_string())
    }

    #[test]
    fn only_json_passes() {
        for good in [
            "0",
            "-0",
            "1.5e+3",
            "1E5",
            "\"\"",
            "\"a\\u00e9\\\\\"",
            "[]",
            "[1, [2], {}]",
            " {\"a\" : {\"b\":null}} ",
            "123456789012345678901234567890",
            "true",
            "\"é\"",
        ] {
            assert_eq!(skipped(good), Ok(()), "{good}");
            assert!(serde_json::from_str::<serde_json::Value>(good).is_ok());
        }
        for bad in [
            "",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "tru",
            "nulll",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "[1,]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":1",
            "[",
            "1 2",
            "'a'",
            "NaN",
            "\"\\",
            "\u{feff}1",
        ] {
            assert!(skipped(bad).is_err(), "{bad}");
            assert!(serde_json::from_str::<serde_json::Value>(bad).is_err());
        }
    }

    #[test]
    fn faults_say_where() {
        assert_eq!(
            skipped("{\"a\": tru}"),
            Err("byte 6: expected a JSON value, found 't'".to_owned())
        );
        assert_eq!(
            skipped("[1, \"ab"),
            Err("byte 4: the string beginning here has no end".to_owned())
        );
        assert_eq!(
            skipped("{} x"),
            Err("byte 3: expected nothing after the value, found 'x'".to_owned())
        );
        let deep = "[".repeat(1_000_000);
        assert!(skipped(&deep).unwrap_err().starts_with("byte 128: more than 128"));
    }

    #[test]
    fn escapes() {
        let value = |raw: &str| {
            let mut out = Vec::new();
            unescape(raw, 0, &mut out)
                .map(|()| String::from_utf8(out).unwrap())
                .map_err(|fault| fault.to_string())
        };
        assert_eq!(value(r#"a\"\\\/\b\f\n\r\tz"#), Ok("a\"\\/\u{8}\u{c}\n\r\tz".to_owned()));
        assert_eq!(value(r"\u00e9\ud83d\ude00\u0041"), Ok("é😀A".to_owned()));
        for lone in [r"xx\ud83d", r"xx\ud83dxxxxxx", r"xx\ud83d\u0041", r"xx\ude00"] {
            assert_eq!(
                value(lone),
                Err("byte 2: a \\u escape is half of a surrogate pair".to_owned())
            );
        }
    }

    proptest! {
        #[test]
        fn plain_runs_end_where_they_should(bytes: Vec<u8>, from in 0usize..20) {
            let from = from.min(bytes.len());
            let end = bytes[from..].iter().position(|b| matches!(b, b'"' | b'\\') || *b < 0x20);
            prop_assert_eq!(plain_end(&bytes, from), end.map_or(bytes.len(), |end| from + end));
        }

        #[test]
        fn verdict_is_that_of_serde_json(text in "[\\[\\]{}\",:0-9.eE+\\- atrufalsn\\\\é]{0,24}") {
            // serde_json reads numbers into 64 bits here and refuses those that don't fit.
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(skipped(&text).is_ok(), theirs, "{}", text);
        }

        #[test]
        fn strings_read_back(value: String) {
            let text = serde_json::to_string(&value).unwrap();
            let mut reader = Reader::new(&text);
            reader.quote().unwrap();
            let quoted = reader.string().unwrap();
            reader.finish().unwrap();
            let mut out = Vec::new();
            unescape(quoted.raw, 1, &mut out).unwrap();
            prop_assert_eq!(out, value.as_bytes());
        }
    }
}
