//! `framewire run`: from arguments to a server, and its end.

mod arguments;
mod config;
mod start;

use std::process::ExitCode;

use self::arguments::{Arguments, Asked};
use super::{Failure, log, print_help};
use crate::host::signals::Signals;
use crate::host::{descriptors, notify};
use crate::serve::Loop;

/// `framewire run`.
pub(super) fn main(parser: lexopt::Parser) -> Result<ExitCode, Failure> {
    let arguments = match arguments::read(parser)? {
        Asked::Help => return print_help("run"),
        Asked::Run(arguments) => *arguments,
    };
    log::begin(arguments.log);
    descriptors::keep_from_children();
    descriptors::raise_limits();
    let signals = Signals::collect().map_err(Failure::new)?;
    serve(arguments, signals)
}

fn serve(arguments: Arguments, signals: Signals) -> Result<ExitCode, Failure> {
    let (server, directory) = start::start(&arguments)?;
    let serving = Loop::new(server, signals).map_err(Failure::new)?;
    notify::ready();
    let server = serving.run().map_err(Failure::new)?;
    notify::stopping();
    start::end(server, &directory);
    Ok(ExitCode::SUCCESS)
}
