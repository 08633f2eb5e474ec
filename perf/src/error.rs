//! What can go wrong outside of the loops that move frames: one type, worded for the person at the terminal.

use std::io;

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: String,
        /// What the system answered.
        source: io::Error,
    },
    /// A program that is needed failed.
    #[error("{program}: {reason}")]
    Program {
        /// Its name.
        program: String,
        /// What it said, or how it ended.
        reason: String,
    },
    /// A QMP command was refused.
    #[error("QMP {command}: {answer}")]
    Refused {
        /// The command.
        command: String,
        /// The error that came back.
        answer: String,
    },
    /// The command line makes no sense.
    #[error("{0} (see framewire-perf --help)")]
    Usage(String),
}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Self {
        Error::Usage(error.to_string())
    }
}

/// A result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

/// Says what was being done when the system refused.
pub trait Doing<T> {
    /// Adds what was being done.
    fn doing(self, doing: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::System { doing: doing.into(), source: source.into() })
    }
}
