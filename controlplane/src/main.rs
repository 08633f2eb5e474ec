//! `framewire`: the program that operators run. All of it is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    controlplane::cli::main(std::env::args_os())
}
