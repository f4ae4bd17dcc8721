//! The server's errors: what a client is told, and what kind of thing it is.

use std::fmt;

/// Shorthand for results of the server.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Whose fault it is, so that protocols can choose their code.
    pub kind: ErrorKind,
    /// What the user reads: what is wrong, where and what to do. Where a place in the statement is
    /// known, the line and a caret stand below.
    pub message: String,
}

/// Kinds of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The statement or its arguments make no sense.
    Invalid,
    /// It names something that isn't there.
    NotFound,
    /// It exists already, or something else needs it.
    Conflict,
    /// A value that SQL forbids: an overflow, a key that exists, a null where none may be.
    Data,
    /// Something that is needed isn't running or doesn't answer: a view, a broker, a disk.
    Unavailable,
    /// A promise inside Weir was broken.
    Internal,
    /// The client went away.
    Cancelled,
}

impl Error {
    /// An error of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::NotFound, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Conflict, message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Unavailable, message)
    }

    pub(crate) fn internal(message: impl fmt::Display) -> Error {
        Error::new(
            ErrorKind::Internal,
            format!("internal error (please report): {message}"),
        )
    }

    /// An error of a statement whose text is `sql`.
    pub(crate) fn of_sql(error: &weir_sql::Error, sql: &str) -> Error {
        Error::invalid(error.render(sql))
    }

    /// An error at a name in a statement whose text is `sql`.
    pub(crate) fn at(kind: ErrorKind, message: impl Into<String>, place: (u64, u64), sql: &str) -> Error {
        Error::new(kind, weir_sql::Error::at(message, place.0, place.1).render(sql))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<weir_engine::Error> for Error {
    fn from(error: weir_engine::Error) -> Error {
        use weir_engine::Error as Engine;
        let kind = match &error {
            Engine::Record(_) | Engine::Row(_) | Engine::Data(_) => ErrorKind::Data,
            Engine::Connector { .. } | Engine::State(_) => ErrorKind::Unavailable,
            Engine::Config(_) => ErrorKind::Invalid,
            Engine::Internal(_) => ErrorKind::Internal,
        };
        Error::new(kind, error.to_string())
    }
}

impl From<weir_state::Error> for Error {
    fn from(error: weir_state::Error) -> Error {
        Error::unavailable(error.to_string())
    }
}
