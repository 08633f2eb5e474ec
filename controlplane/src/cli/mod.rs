//! The command line: one file for each subcommand, and the client that those use which talk to a running one.

pub mod client;
pub mod completions;
pub mod qmp;
pub mod status;
pub mod table;

use std::io::Write;

/// What ends a subcommand early: a sentence for the person who typed it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    /// With this sentence.
    #[must_use]
    pub fn new(sentence: impl Into<String>) -> Self {
        Failure(sentence.into())
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Failure(format!("{error}; see --help"))
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        Failure(error.to_string())
    }
}

/// Prints. A reader that has gone (`| head`) is no failure.
///
/// # Errors
/// If the output cannot be written for another reason.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure(format!("standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
