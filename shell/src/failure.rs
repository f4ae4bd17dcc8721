//! Why the shell stops what it is doing, and the exit code that says so.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// What ended a statement, a script or the program.
#[derive(Debug)]
pub enum Failure {
    /// The text is for the user, with line and caret where a place is known.
    Message(String),
    /// Ctrl-C.
    Cancelled,
    /// Standard output can't be written; mostly because whoever read it has stopped.
    Output(io::Error),
}

impl Failure {
    /// The exit code of a program that ends with this: what a Unix shell makes of the signals
    /// SIGINT (130) and SIGPIPE (141), 1 for errors.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Cancelled => ExitCode::from(130),
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(141),
            Failure::Message(_) | Failure::Output(_) => ExitCode::FAILURE,
        }
    }

    /// Whether there is something to say: not about what the user did.
    pub fn is_told(&self) -> bool {
        match self {
            Failure::Message(_) => true,
            Failure::Cancelled => false,
            Failure::Output(error) => error.kind() != io::ErrorKind::BrokenPipe,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Message(message) => f.write_str(message),
            Failure::Cancelled => f.write_str("cancelled"),
            Failure::Output(error) => write!(f, "can't write to standard output: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Failure::Message(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_stops_is_no_error() {
        let closed = Failure::Output(io::ErrorKind::BrokenPipe.into());
        assert!(!closed.is_told());
        assert_eq!(closed.exit_code(), ExitCode::from(141));
        let full = Failure::Output(io::ErrorKind::StorageFull.into());
        assert!(full.is_told());
        assert_eq!(full.exit_code(), ExitCode::FAILURE);
        assert_eq!(Failure::Cancelled.exit_code(), ExitCode::from(130));
    }
}
