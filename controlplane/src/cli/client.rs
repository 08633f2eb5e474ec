//! A QMP client that waits: connects, negotiates, sends a command, returns its answer.
//!
//! Events that come meanwhile are kept until somebody asks for them.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

/// Longer than any command takes; a server that says nothing for this long is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens there.
    #[error("cannot reach a monitor at {}: {source}; is `framewire run` running, with this --runtime-dir or --qmp?", path.display())]
    Connect {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The conversation broke.
    #[error("the monitor at the other end: {0}")]
    Conversation(#[from] std::io::Error),
    /// It was no QMP.
    #[error("the other end does not speak QMP: {0}")]
    Foreign(#[from] serde_json::Error),
    /// The other end closed the connection.
    #[error("the monitor closed the connection")]
    Closed,
    /// The command failed.
    #[error("{class}: {text}")]
    Refused {
        /// QEMU's class of error.
        class: String,
        /// QEMU's words.
        text: String,
    },
}

/// A negotiated connection.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<UnixStream>,
    events: VecDeque<Value>,
}

impl Client {
    /// Connects and negotiates.
    ///
    /// # Errors
    /// [`Error`], `Refused` aside.
    pub fn connect(path: &Path) -> Result<Self, Error> {
        let stream =
            UnixStream::connect(path).map_err(|source| Error::Connect { path: path.to_owned(), source })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Client { reader: BufReader::new(stream), events: VecDeque::new() };
        client.line()?; // the greeting
        client.call("qmp_capabilities", &json!({}))?;
        Ok(client)
    }

    /// Sends a command and returns what it returned.
    ///
    /// # Errors
    /// [`Error`].
    pub fn call(&mut self, command: &str, arguments: &Value) -> Result<Value, Error> {
        let reply = self.send(&json!({"execute": command, "arguments": arguments}))?;
        if let Some(error) = reply.get("error") {
            let member = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            return Err(Error::Refused { class: member("class"), text: member("desc") });
        }
        Ok(reply.get("return").cloned().unwrap_or_default())
    }

    /// Sends any request and returns the whole reply, error or not.
    ///
    /// # Errors
    /// [`Error`], `Refused` aside.
    pub fn send(&mut self, request: &Value) -> Result<Value, Error> {
        self.reader.get_mut().write_all(format!("{request}\n").as_bytes())?;
        loop {
            let line = self.line()?;
            if line.get("event").is_none() {
                return Ok(line);
            }
            self.events.push_back(line);
        }
    }

    /// The next event, of those kept or the next to come.
    ///
    /// # Errors
    /// [`Error`], `Refused` aside.
    pub fn event(&mut self) -> Result<Value, Error> {
        if let Some(event) = self.events.pop_front() {
            return Ok(event);
        }
        self.reader.get_ref().set_read_timeout(None)?;
        self.line()
    }

    /// Events that came with answers.
    pub fn kept_events(&mut self) -> impl Iterator<Item = Value> {
        self.events.drain(..)
    }

    fn line(&mut self) -> Result<Value, Error> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(Error::Closed);
        }
        Ok(serde_json::from_str(&line)?)
    }
}
