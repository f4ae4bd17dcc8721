//! The engine's errors: whose fault it is, where, and what to do.

use std::any::Any;
use std::fmt;

use crate::format::sql_words;

/// Shorthand for results of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong while a pipeline runs.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A record that can't be turned into a row; the source's error policy is `fail`.
    #[error("{0}")]
    Record(Box<BadRecord>),
    /// A row of a view that can't be computed; the view's error policy is `fail`.
    #[error("{0}")]
    Row(Box<BadRow>),
    /// A value that SQL forbids: overflow, division by zero, a bad cast, a broken constraint.
    #[error("{0}")]
    Data(String),
    /// An external system refused or failed: broker, file, registry. May pass with time.
    #[error("{place}: {cause}")]
    Connector {
        /// What was talked to: `kafka topic 'bids'`, `file 'a.ndjson'`.
        place: String,
        /// What it answered, and what to do.
        cause: String,
    },
    /// The configuration can't work: an unknown option, a missing one, a wrong value.
    #[error("{0}")]
    Config(String),
    /// The data directory failed.
    #[error("state: {0}")]
    State(String),
    /// A promise inside Weir was broken. Never the user's fault.
    #[error("internal error (please report): {0}")]
    Internal(String),
}

/// A record that could not be decoded, with all that is needed to find it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// Name of the source.
    pub source: String,
    /// Kafka topic or file path.
    pub topic: String,
    /// Kafka partition, 0 for files.
    pub partition: i32,
    /// Kafka offset, or byte offset in a file.
    pub offset: i64,
    /// Why, in words for the person who owns the data.
    pub cause: String,
    /// The original bytes of the value, cut to [`BadRecord::MAX_BYTES`].
    pub value: Vec<u8>,
}

impl BadRecord {
    /// How many of a bad record's bytes are kept.
    pub const MAX_BYTES: usize = 1024;
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "source '{}': bad record at {}:{}@{}: {}; fix the producer, or set on_error = 'skip' on the source",
            self.source, self.topic, self.partition, self.offset, self.cause
        )
    }
}

/// A row that an operator of a view can't compute something of, with all that is needed to find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The view's name.
    pub view: String,
    /// The operator, and its number in EXPLAIN: `Map 2`.
    pub operator: String,
    /// What can't be computed, and why.
    pub cause: String,
    /// The row's values in words, cut.
    pub row: String,
    /// The record that it is, where it comes straight from a source.
    pub record: Option<RecordPlace>,
    /// How many more rows of the view there are for which something can't be computed.
    pub more: usize,
}

/// Where a record stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordPlace {
    /// Name of the source.
    pub source: String,
    /// Kafka topic or file path.
    pub topic: String,
    /// Kafka partition, 0 for files.
    pub partition: i32,
    /// Kafka offset, or byte offset in a file.
    pub offset: i64,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, of the row ({})", self.cause, self.row)?;
        if let Some(record) = &self.record {
            write!(f, " at {}:{}@{}", record.topic, record.partition, record.offset)?;
        }
        write!(f, " in {}", self.operator)?;
        if self.more > 0 {
            write!(f, ", and of {} more", self.more)?;
        }
        match &self.record {
            Some(_) => write!(f, "; filter such rows out, or create the view with on_error = 'skip'"),
            None => write!(
                f,
                "; correct it and RESUME the view, or create the view with on_error = 'skip'"
            ),
        }
    }
}

impl Error {
    /// An internal error from anything printable.
    pub fn internal(message: impl fmt::Display) -> Self {
        Error::Internal(message.to_string())
    }

    /// What is left of a panic that was caught: who panicked, and why. The log says where.
    pub fn panicked(who: &str, panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Error::Internal(format!("{who} panicked: {}", text.unwrap_or("unknown")))
    }

    /// The error with what was being done.
    pub fn within(self, what: &str) -> Self {
        let within = |cause: String| format!("{what}: {cause}");
        match self {
            Error::Data(cause) => Error::Data(within(cause)),
            Error::State(cause) => Error::State(within(cause)),
            Error::Internal(cause) => Error::Internal(within(cause)),
            named => named,
        }
    }

    /// True where trying again without a change may help.
    pub fn may_pass(&self) -> bool {
        matches!(self, Error::Connector { .. } | Error::State(_))
    }
}

impl From<weir_state::Error> for Error {
    fn from(error: weir_state::Error) -> Self {
        match error {
            weir_state::Error::TooLarge { .. } => Error::Data(error.to_string()),
            _ => Error::State(error.to_string()),
        }
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Error::Data(sql_words(&error.to_string()))
    }
}

impl From<datafusion::error::DataFusionError> for Error {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        Error::Data(sql_words(&error.strip_backtrace()))
    }
}
