//! As much of a QMP client as the figures need: one command at a time, events passed over.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{Doing as _, Error, Result};

/// Longer than any command should take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a monitor, past its negotiation.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
    greeting: Value,
}

impl Qmp {
    /// Connects, reads the greeting and negotiates.
    ///
    /// # Errors
    /// If nobody listens, or what answers is no monitor.
    pub fn connect(socket: &Path) -> Result<Qmp> {
        let stream = UnixStream::connect(socket).doing(format!("connecting to {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE)).doing("setting a time limit")?;
        let mut qmp = Qmp { stream: BufReader::new(stream), greeting: Value::Null };
        qmp.greeting = qmp.read()?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// What the greeting says of the version.
    pub fn version(&self) -> &Value {
        &self.greeting["QMP"]["version"]
    }

    /// Runs a command; returns what it returns.
    ///
    /// # Errors
    /// If it is refused, or the monitor goes away.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes()).doing(format!("sending {command}"))?;
        loop {
            let answer = self.read()?;
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = answer.get("error") {
                let answer = error["desc"].as_str().unwrap_or("an error without a description").to_owned();
                return Err(Error::Refused { command: command.to_owned(), answer });
            }
        }
    }

    /// Spinning time of all of Framewire's workers; `None` if it does not tell.
    pub fn spun(&mut self) -> Option<Duration> {
        let status = self.execute("x-query-status", &json!({})).ok()?;
        let workers = status.get("workers")?.as_array()?;
        let spun: Option<Vec<u64>> =
            workers.iter().map(|worker| worker.get("spinning-ns")?.as_u64()).collect();
        Some(Duration::from_nanos(spun?.iter().sum()))
    }

    /// Frames and bytes that Framewire's ports have received so far; `None` if it does not tell.
    pub fn received(&mut self) -> Option<(u64, u64)> {
        let status = self.execute("x-query-status", &json!({})).ok()?;
        let ports = status.get("ports")?.as_array()?;
        let sum = |counter| ports.iter().filter_map(|port: &Value| port.get(counter)?.as_u64()).sum();
        Some((sum("received-frames"), sum("received-bytes")))
    }

    /// What Framewire's ports have dropped, by port and reason; `None` if it does not tell.
    pub fn drops(&mut self) -> Option<Value> {
        let status = self.execute("x-query-status", &json!({})).ok()?;
        let ports = status.get("ports")?.as_array()?;
        let dropped = ports.iter().filter_map(|port| {
            let reasons = port.get("dropped")?.as_object().filter(|reasons| !reasons.is_empty())?;
            Some((port.get("id")?.as_str()?.to_owned(), Value::Object(reasons.clone())))
        });
        Some(Value::Object(dropped.collect()))
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        let len = self.stream.read_line(&mut line).doing("waiting for the monitor")?;
        if len == 0 {
            return Err(Error::Program { program: "the monitor".into(), reason: "went away".into() });
        }
        serde_json::from_str(&line).map_err(|error| Error::Program {
            program: "the monitor".into(),
            reason: format!("said {line:?}: {error}"),
        })
    }
}
