//! The client's errors: the server's words as they are, and what to do when there is no server.

use std::error::Error;
use std::fmt;

use arrow_flight::error::FlightError;
use tonic::{Code, Status};

/// An error as the user reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientError {
    /// What is wrong and what to do; with line and caret where a place in the statement is known.
    pub message: String,
}

impl ClientError {
    /// An error with a message.
    pub fn new(message: impl Into<String>) -> ClientError {
        ClientError {
            message: message.into(),
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ClientError {}

/// Where the server is.
#[derive(Debug, Clone)]
pub enum Place {
    /// In this process.
    Embedded,
    /// At this URL.
    Server(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Embedded => f.write_str("the engine of this process"),
            Place::Server(url) => write!(f, "the server at {url}"),
        }
    }
}

impl Place {
    /// Nobody answered.
    pub fn unreachable(&self, error: &tonic::transport::Error) -> ClientError {
        ClientError::new(format!(
            "{self} can't be reached ({}); is `weir serve` running there?",
            root(error)
        ))
    }

    /// Somebody answered, but not as a Weir server.
    pub fn stranger(&self, error: &FlightError) -> ClientError {
        ClientError::new(format!(
            "{self} is not Weir's ({}); give the address that `weir serve` prints for gRPC",
            cause(error)
        ))
    }

    /// A statement failed, or the way to the server.
    pub fn error(&self, error: FlightError) -> ClientError {
        match error {
            FlightError::Tonic(status) if from_server(&status) => ClientError::new(status.message()),
            FlightError::Tonic(status) if status.code() == Code::Cancelled => ClientError::new("cancelled"),
            FlightError::Tonic(_) => ClientError::new(format!(
                "the connection to {self} was lost ({}); what was running has ended, and the session's settings are gone",
                cause(&error)
            )),
            other => ClientError::new(format!("{self} sent what can't be understood: {other}")),
        }
    }
}

/// Whether a status is the server's own: the ones that tonic makes from a failure have a source.
fn from_server(status: &Status) -> bool {
    status.source().is_none()
}

fn cause(error: &FlightError) -> String {
    match error {
        FlightError::Tonic(status) if from_server(status) => status.message().to_string(),
        FlightError::Tonic(status) => root(status.as_ref()),
        other => other.to_string(),
    }
}

/// The innermost cause, which says most.
fn root(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
