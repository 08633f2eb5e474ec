//! A connection that sends exactly the bytes that it is told to, and reads lines as narrowly as the pickiest client.
//!
//! The harness's own client adds what makes it comfortable; here that would hide what is asked.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use framewire_tests::wait::{PATIENCE, wait_for};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::{Value, json};

/// Go's `bufio.Scanner`, with which Incus and Kata read, gives up on a longer line.
const LINE_MAX_BYTES: usize = 64 << 10;

/// One connection.
pub(crate) struct Wire {
    stream: UnixStream,
    unread: Vec<u8>,
    /// Events that came while a reply was awaited.
    pub(crate) events: Vec<Value>,
}

impl Wire {
    /// Connects; what was said first.
    #[track_caller]
    pub(crate) fn open(path: &Path) -> (Self, Value) {
        let stream = wait_for("the monitor", PATIENCE, || UnixStream::connect(path).ok());
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
        let mut wire = Self { stream, unread: Vec::new(), events: Vec::new() };
        let greeting = wire.line(LINE_MAX_BYTES);
        (wire, greeting)
    }

    /// Sends these bytes and nothing else; the next reply.
    #[track_caller]
    pub(crate) fn ask(&mut self, bytes: &str) -> Value {
        self.stream.write_all(bytes.as_bytes()).expect("the monitor listens");
        self.reply(LINE_MAX_BYTES)
    }

    /// The same where the reply may be as long as it likes.
    #[track_caller]
    pub(crate) fn ask_at_length(&mut self, bytes: &str) -> Value {
        self.stream.write_all(bytes.as_bytes()).expect("the monitor listens");
        self.reply(usize::MAX)
    }

    /// The same with a descriptor beside the first byte.
    #[track_caller]
    pub(crate) fn ask_with(&mut self, bytes: &str, descriptor: BorrowedFd<'_>) -> Value {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "one fits");
        let slices = [IoSlice::new(bytes.as_bytes())];
        let sent = rustix::net::sendmsg(&self.stream, &slices, &mut control, SendFlags::NOSIGNAL);
        assert_eq!(sent, Ok(bytes.len()), "a command fits the socket");
        self.reply(LINE_MAX_BYTES)
    }

    #[track_caller]
    fn reply(&mut self, max_bytes: usize) -> Value {
        loop {
            let message = self.line(max_bytes);
            if message.get("event").is_none() {
                return message;
            }
            self.events.push(message);
        }
    }

    /// The next event of this name, perhaps one that came while a reply was awaited.
    #[track_caller]
    pub(crate) fn event(&mut self, name: &str) -> Value {
        loop {
            if let Some(at) = self.events.iter().position(|event| event["event"] == name) {
                return self.events.remove(at)["data"].take();
            }
            let message = self.line(LINE_MAX_BYTES);
            self.events.push(message);
        }
    }

    /// One line that is one whole message.
    #[track_caller]
    fn line(&mut self, max_bytes: usize) -> Value {
        loop {
            if let Some(length) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=length).collect();
                assert!(line.len() <= max_bytes, "a line of {} bytes", line.len());
                assert!(line.ends_with(b"}\r\n"), "a line is one object: {}", line.escape_ascii());
                return serde_json::from_slice(&line).expect("a line is JSON");
            }
            let mut block = [0; 4096];
            let length = self.stream.read(&mut block).expect("the monitor answers in time");
            assert!(length > 0, "the monitor hung up");
            self.unread.extend(&block[..length]);
        }
    }
}

/// The reply of a command that succeeded with nothing to say.
pub(crate) fn done(id: &Value) -> Value {
    json!({ "return": {}, "id": id })
}

/// The text of an error.
#[track_caller]
pub(crate) fn desc(reply: &Value) -> &str {
    reply["error"]["desc"].as_str().unwrap_or_else(|| panic!("no error: {reply}"))
}
