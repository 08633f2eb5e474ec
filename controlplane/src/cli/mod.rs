//! The command line: one file for each subcommand, and the client that those use which talk to a running one.

pub mod client;
pub mod completions;
pub mod log;
pub mod qmp;
pub mod run;
pub mod status;
pub mod table;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use lexopt::prelude::{Long, Short, Value as Word, ValueExt};

/// What ends a subcommand early: a sentence for the person who typed it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    /// With this sentence.
    #[must_use]
    pub fn new(sentence: impl std::fmt::Display) -> Self {
        Failure(sentence.to_string())
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

/// What a newcomer reads first.
const HELP: &str = "\
framewire: QEMU's network backends, out of process

A control plane that speaks QMP, as QEMU does, and a data plane that moves Ethernet frames.

  framewire run            start it, and serve QMP until told to quit
  framewire status         show what a running one carries
  framewire qmp            send commands to a running one
  framewire completions    print completions for a shell

`framewire COMMAND --help` tells more, with examples. --version prints the version.

To try it, as root:

  framewire run --netdev tap,id=n0,ifname=n0,script=no,downscript=no &
  framewire status
  framewire qmp quit
";

/// Runs the program with its arguments.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    dispatch(arguments).unwrap_or_else(|failure| {
        // Nobody is left to tell if this fails.
        let _ = writeln!(std::io::stderr(), "framewire: {failure}");
        ExitCode::FAILURE
    })
}

fn dispatch(arguments: impl IntoIterator<Item = OsString>) -> Result<ExitCode, Failure> {
    let mut parser = lexopt::Parser::from_iter(arguments);
    match parser.next()? {
        None | Some(Short('h') | Long("help")) => print(HELP)?,
        Some(Short('V') | Long("version")) => print(concat!("framewire ", env!("CARGO_PKG_VERSION"), "\n"))?,
        Some(Word(name)) => return subcommand(&name.string()?, parser.raw_args()?.collect()),
        Some(other @ (Short(_) | Long(_))) => return Err(other.unexpected().into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn subcommand(name: &str, words: Vec<OsString>) -> Result<ExitCode, Failure> {
    match name {
        "run" => run::run(words)?,
        "qmp" => {
            let all_succeeded = qmp::run(words)?;
            return Ok(if all_succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        "status" => status::run(words)?,
        "completions" => completions::run(&words)?,
        "help" => print(HELP)?,
        unknown => {
            let sentence = format!("'{unknown}' is no command of framewire; `framewire --help` lists them");
            return Err(Failure(sentence));
        }
    }
    Ok(ExitCode::SUCCESS)
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

/// A number that an option expects.
fn number<T: std::str::FromStr>(option: &str, value: &str, expected: &str) -> Result<T, Failure> {
    let wrong = |_not_a_number| Failure(format!("--{option} {value}: {expected} is expected"));
    value.parse().map_err(wrong)
}
