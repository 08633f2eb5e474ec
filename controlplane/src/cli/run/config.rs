//! `--config FILE`: QMP commands that are executed at the start, before any client is served.

use std::path::Path;

use crate::cli::Failure;
use crate::execute::{Caller, Server};
use crate::qmp::command::Entry;
use crate::qmp::json;

/// Executes a file's commands, a line each; lines that are empty or begin with `#` are skipped.
///
/// # Errors
/// The first that fails: its line and why.
pub(super) fn replay(server: &mut Server, path: &Path) -> Result<(), Failure> {
    let unreadable = |error| Failure::new(format!("--config {}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        execute(server, line).map_err(|why| Failure::new(format!("{}:{number}: {why}", path.display())))?;
    }
    Ok(())
}

fn execute(server: &mut Server, line: &str) -> Result<(), String> {
    let request = json::from_text(line)?;
    let name = request.get("execute").and_then(|name| name.as_str());
    let name = name.ok_or("QMP input lacks member 'execute'")?;
    if name == "qmp_capabilities" {
        return Ok(()); // A recorded session begins with it.
    }
    let command = Entry::find(name).and_then(|entry| entry.read(request.get("arguments")));
    let done = command.and_then(|command| server.perform(command, Caller::CommandLine));
    done.map(drop).map_err(|error| error.to_string())
}
