//! Errors of SQL text: what is wrong, where in the text, and what works instead.

use std::fmt;

use crate::secrets;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error in a statement, with the place where it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What is wrong and what to do, without the place.
    pub message: String,
    /// 1-based line and column of the token at fault, in the statement's text.
    pub place: Option<(u64, u64)>,
}

impl Error {
    /// An error without a place.
    pub fn new(message: impl Into<String>) -> Self {
        Error {
            message: message.into(),
            place: None,
        }
    }

    /// An error at a place.
    pub fn at(message: impl Into<String>, line: u64, column: u64) -> Self {
        Error {
            message: message.into(),
            place: Some((line, column)),
        }
    }

    /// The message, the line of `text` at fault and a caret under the token. Secrets are hidden.
    pub fn render(&self, text: &str) -> String {
        let Some(at) = self.place.and_then(|(line, column)| offset(text, line, column)) else {
            return self.message.clone();
        };
        let (text, at) = secrets::hidden_before(text, at);
        let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let source = text[start..].lines().next().unwrap_or_default();
        let pad: String = text[start..at]
            .chars()
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        format!("{}\n  {source}\n  {pad}^", self.message)
    }
}

/// The byte at a 1-based line and column; the end of the line where that is shorter.
fn offset(text: &str, line: u64, column: u64) -> Option<usize> {
    let source = text.lines().nth(line.saturating_sub(1) as usize)?;
    let chars = source.char_indices().nth(column.saturating_sub(1) as usize);
    let start = source.as_ptr() as usize - text.as_ptr() as usize;
    Some(start + chars.map_or(source.len(), |(at, _)| at))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{} (line {line}, column {column})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}

impl From<weir_engine::Error> for Error {
    fn from(error: weir_engine::Error) -> Self {
        Error::new(error.to_string())
    }
}
