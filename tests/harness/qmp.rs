//! A QMP client as simple as one can be: blocking, one command after the other.
//!
//! It shares no code with the server: a mistake made on both sides would not show. Events that arrive while a reply is
//! awaited are kept and can be asked for.

use std::collections::VecDeque;
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::{Value, json};

use crate::wait::{PATIENCE, wait_for};

/// Most descriptors that one command takes along.
const DESCRIPTORS_MAX: usize = 16;

/// One connection to a monitor.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    unread: Vec<u8>,
    events: VecDeque<Value>,
    greeting: Value,
}

impl Qmp {
    /// Connects, waiting for the server to come up, and negotiates.
    #[track_caller]
    #[must_use]
    pub fn connect(path: &Path) -> Self {
        let mut qmp = Self::greeted(path);
        qmp.command("qmp_capabilities", json!({}));
        qmp
    }

    /// Connects and reads the greeting only.
    #[track_caller]
    #[must_use]
    pub fn greeted(path: &Path) -> Self {
        let what = format!("a server at {}", path.display());
        let stream = wait_for(&what, PATIENCE, || UnixStream::connect(path).ok());
        let mut qmp = Self { stream, unread: Vec::new(), events: VecDeque::new(), greeting: Value::Null };
        qmp.greeting = qmp.message(PATIENCE).expect("a monitor greets its client");
        assert!(qmp.greeting.get("QMP").is_some(), "that is no greeting: {}", qmp.greeting);
        qmp
    }

    /// What the server said first.
    #[must_use]
    pub fn greeting(&self) -> &Value {
        &self.greeting
    }

    /// Runs a command that must succeed; what it returns.
    #[track_caller]
    pub fn command(&mut self, name: &str, arguments: Value) -> Value {
        match self.try_command(name, arguments) {
            Ok(value) => value,
            Err(error) => panic!("{name} failed: {error}"),
        }
    }

    /// Runs a command that must fail; class and text of the error.
    #[track_caller]
    pub fn refused(&mut self, name: &str, arguments: Value) -> (String, String) {
        match self.try_command(name, arguments) {
            Ok(value) => panic!("{name} should have been refused, but returned {value}"),
            Err(error) => (text(&error, "class"), text(&error, "desc")),
        }
    }

    /// Runs a command; what it returns, or its error object.
    #[track_caller]
    pub fn try_command(&mut self, name: &str, arguments: Value) -> Result<Value, Value> {
        let mut request = json!({ "execute": name });
        request["arguments"] = arguments;
        self.send(&request.to_string(), &[]);
        self.reply(PATIENCE).unwrap_or_else(|| panic!("no reply to {name} within {PATIENCE:?}"))
    }

    /// Gives the monitor a descriptor under a name.
    #[track_caller]
    pub fn getfd(&mut self, name: &str, fd: BorrowedFd<'_>) {
        self.send(&json!({ "execute": "getfd", "arguments": { "fdname": name } }).to_string(), &[fd]);
        let reply = self.reply(PATIENCE).expect("getfd is answered");
        assert_eq!(reply, Ok(json!({})), "getfd {name}");
    }

    /// Sends raw text, with descriptors beside its first byte.
    #[track_caller]
    pub fn send(&mut self, message: &str, fds: &[BorrowedFd<'_>]) {
        let bytes = message.as_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)), "too many descriptors at once");
        }
        let sent =
            rustix::net::sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
        let sent = sent.expect("the monitor listens");
        std::io::Write::write_all(&mut self.stream, &bytes[sent..]).expect("the monitor listens");
    }

    /// The next reply, if it comes in time. Events before it are kept.
    pub fn reply(&mut self, patience: Duration) -> Option<Result<Value, Value>> {
        let end = Instant::now() + patience;
        loop {
            let mut message = self.message(end.saturating_duration_since(Instant::now()))?;
            if message.get("event").is_some() {
                self.events.push_back(message);
            } else if let Some(error) = message.get_mut("error") {
                return Some(Err(error.take()));
            } else {
                return Some(Ok(message["return"].take()));
            }
        }
    }

    /// Waits for an event of this name and returns its data; events before it are dropped.
    #[track_caller]
    pub fn event(&mut self, name: &str) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let known = self.events.pop_front();
            let left = end.saturating_duration_since(Instant::now());
            let Some(mut event) = known.or_else(|| self.message(left)) else {
                panic!("no event {name} within {PATIENCE:?}");
            };
            if event["event"] == name {
                return event["data"].take();
            }
        }
    }

    /// Names of the events that have come by now, and forgets them.
    pub fn events(&mut self) -> Vec<String> {
        self.take_events().iter().map(|event| text(event, "event")).collect()
    }

    /// The events that have come by now, whole.
    pub fn take_events(&mut self) -> Vec<Value> {
        while let Some(message) = self.message(Duration::ZERO) {
            self.events.push_back(message);
        }
        self.events.drain(..).collect()
    }

    /// One message of whatever sort; nothing if none comes in time or the server has closed.
    fn message(&mut self, patience: Duration) -> Option<Value> {
        let end = Instant::now() + patience;
        loop {
            if let Some(length) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=length).collect();
                let parsed = serde_json::from_slice(&line);
                return Some(parsed.unwrap_or_else(|e| panic!("{e} in {}", String::from_utf8_lossy(&line))));
            }
            // A timeout of zero would mean "for ever".
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).expect("a timeout can be set");
            let mut block = [0; 65536];
            match self.stream.read(&mut block) {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.unread.extend(&block[..length]),
            }
        }
    }
}

fn text(object: &Value, member: &str) -> String {
    object[member].as_str().unwrap_or_default().to_owned()
}
