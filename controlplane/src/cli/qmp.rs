//! `framewire qmp`: says something to a running Framewire.

use std::ffi::OsString;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value as Word, ValueExt};
use serde_json::{Map, Value, json};

use super::client::Client;
use super::{Failure, print};
use crate::host::runtime_dir;

/// The text of `framewire qmp --help`.
pub const HELP: &str = "\
framewire qmp: send commands to a running Framewire

  framewire qmp [OPTIONS] '{\"execute\": …}'…      requests as JSON, sent one after the other
  framewire qmp [OPTIONS] COMMAND [KEY=VALUE]…   one command; `a.b=1` sets a member of a member
  framewire qmp [OPTIONS]                        requests from standard input, one JSON object a line

Options:
  --socket PATH        the monitor's socket (default: RUNTIME_DIR/qmp.sock)
  --runtime-dir DIR    where `framewire run` runs (default: /run/framewire, or under $XDG_RUNTIME_DIR)
  --wait-event NAME    afterwards, wait until this event has come, printing all events

Each answer is printed on a line. The exit status is 1 if a command failed.

Examples:
  framewire qmp netdev_add type=tap id=n0 ifname=vm0 queues=2
  framewire qmp set_link name=n0 up=false
  framewire qmp '{\"execute\": \"query-status\"}'
";

#[derive(Debug, Default)]
struct Options {
    socket: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    wait_event: Option<String>,
    words: Vec<String>,
}

/// Runs the subcommand with the words that follow it. Whether every command succeeded.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn run(words: Vec<OsString>) -> Result<bool, Failure> {
    let Some(options) = parse(words)? else {
        return print(HELP).map(|()| true);
    };
    let socket = options.socket.unwrap_or_else(|| {
        runtime_dir::monitor_path(&options.runtime_dir.unwrap_or_else(runtime_dir::default_path))
    });
    let requests = requests(&options.words)?;
    let mut client = Client::connect(&socket)?;
    let mut all_succeeded = true;
    for request in requests {
        let reply = client.send(&request?)?;
        all_succeeded &= reply.get("error").is_none();
        for event in client.kept_events().collect::<Vec<_>>() {
            print(&format!("{event}\n"))?;
        }
        print(&format!("{reply}\n"))?;
    }
    if let Some(name) = options.wait_event {
        wait_event(&mut client, &name)?;
    }
    Ok(all_succeeded)
}

fn parse(words: Vec<OsString>) -> Result<Option<Options>, Failure> {
    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(word) = parser.next()? {
        match word {
            Long("socket") => options.socket = Some(parser.value()?.into()),
            Long("runtime-dir") => options.runtime_dir = Some(parser.value()?.into()),
            Long("wait-event") => options.wait_event = Some(parser.value()?.string()?),
            Word(word) => options.words.push(word.string()?),
            Short('h') | Long("help") => return Ok(None),
            Short(_) | Long(_) => return Err(word.unexpected().into()),
        }
    }
    Ok(Some(options))
}

type Requests<'a> = Box<dyn Iterator<Item = Result<Value, Failure>> + 'a>;

/// What was typed, or what standard input says, as requests.
fn requests(words: &[String]) -> Result<Requests<'_>, Failure> {
    match words {
        [] if std::io::stdin().is_terminal() => {
            Err(Failure::new("nothing to send; see `framewire qmp --help`"))
        }
        [] => Ok(Box::new(std::io::stdin().lock().lines().filter_map(|line| match line {
            Ok(line) if line.trim().is_empty() => None,
            Ok(line) => Some(request(&line)),
            Err(error) => Some(Err(Failure::new(format!("standard input: {error}")))),
        }))),
        [first, ..] if first.trim_start().starts_with('{') => {
            Ok(Box::new(words.iter().map(|word| request(word))))
        }
        [command, members @ ..] => {
            let request = short_form(command, members)?;
            Ok(Box::new(std::iter::once(Ok(request))))
        }
    }
}

fn request(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::new(format!("this is not JSON: {text}: {error}")))
}

/// `netdev_add type=tap id=n0 queues=2`: values that are JSON (numbers, booleans) are taken as such.
fn short_form(command: &str, members: &[String]) -> Result<Value, Failure> {
    let mut arguments = json!({});
    for member in members {
        let Some((path, text)) = member.split_once('=') else {
            return Err(Failure::new(format!("'{member}' is not KEY=VALUE; see `framewire qmp --help`")));
        };
        let value = serde_json::from_str(text).unwrap_or_else(|_not_json| Value::String(text.to_owned()));
        let at = path.split('.').fold(&mut arguments, |object, key| {
            if !object.is_object() {
                *object = Value::Object(Map::new());
            }
            &mut object[key]
        });
        *at = value;
    }
    Ok(json!({"execute": command, "arguments": arguments}))
}

fn wait_event(client: &mut Client, name: &str) -> Result<(), Failure> {
    loop {
        let event = client.event()?;
        print(&format!("{event}\n"))?;
        if event["event"] == name {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(words: &[&str]) -> Result<Value, Failure> {
        let members: Vec<_> = words[1..].iter().map(|word| (*word).to_owned()).collect();
        short_form(words[0], &members)
    }

    #[test]
    fn short_form_makes_numbers_booleans_and_members_of_members() {
        let words = ["netdev_add", "id=n0", "queues=2", "server=true", "addr.type=unix", "addr.path=/a=b"];
        let expected =
            json!({"id": "n0", "queues": 2, "server": true, "addr": {"type": "unix", "path": "/a=b"}});
        assert_eq!(short(&words).unwrap(), json!({"execute": "netdev_add", "arguments": expected}));
    }

    #[test]
    fn word_without_equals_sign_is_explained() {
        assert!(short(&["netdev_add", "n0"]).unwrap_err().to_string().contains("not KEY=VALUE"));
    }
}
