//! One session of one client, without its socket: bytes in, requests out; answers in, lines out.
//!
//! Everything that QEMU decides about a session is here, so that it can be tested, and fuzzed, without a
//! socket: negotiation, the order of replies, when input is suspended, what is executed out of band. The
//! alternative, to let the reading of the socket drive all this (as QEMU does, a byte at a time), makes order a
//! matter of timing.
//!
//! The rules, from QEMU's behaviour:
//! - Without OOB a request is not even read before the reply to the one before it has been made.
//! - With OOB up to [`QUEUE_MAX`] requests are read ahead; one out of band is executed before those, and nothing is
//!   read until it has been.
//! - What is wrong with a message takes its turn in the queue like a request.
//!
//! And one of ours: nothing is read while the client leaves too many replies unread, or while the requests read
//! ahead are large, so that what a client can make us hold is bounded.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem;

use serde_json::Value;

use super::answer::{self, Outcome, QmpError, nothing};
use super::greeting;
use super::json::{Message, Reader, TOKEN_TEXT_MAX_BYTES, print_line};
use super::output::{Flooded, Output};
use super::request::{self, Form};

/// Requests that are read ahead with OOB.
pub const QUEUE_MAX: usize = 8;

/// Text of the requests read ahead beyond which no more are read: what one message may have.
const QUEUE_MAX_BYTES: u64 = TOKEN_TEXT_MAX_BYTES as u64;

/// A request for somebody else to execute.
#[derive(Debug, PartialEq)]
pub struct Asked {
    /// The command's name, unchecked.
    pub name: String,
    /// An object, where given.
    pub arguments: Option<Value>,
    /// Whatever the client wants to see again.
    pub id: Option<Value>,
    /// To be executed only if the command supports it.
    pub oob: bool,
    /// Where in the client's bytes the request ends.
    pub end: u64,
}

/// What one step of a session came to.
#[derive(Debug, PartialEq)]
pub enum Turn {
    /// A request; the session waits for its answer.
    Asked(Asked),
    /// Something that needed nobody else; there are lines to send.
    Answered,
    /// There is nothing to do, or an answer is awaited.
    Idle,
}

/// What was read and not looked at yet.
#[derive(Debug)]
struct Queued {
    message: Message,
    text_bytes: u64,
    /// Position of the byte behind it.
    end: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Negotiating,
    Commands { oob: bool },
}

/// One session.
#[derive(Debug)]
pub struct Connection {
    mode: Mode,
    reader: Reader,
    /// Bytes that came; those from `unread_at` on may not be read yet.
    unread: Vec<u8>,
    unread_at: usize,
    /// Bytes that were read since the session began.
    position: u64,
    /// The position at which the last message ended.
    last_end: u64,
    urgent: Option<Queued>,
    queue: VecDeque<Queued>,
    /// An in-band request is being executed.
    in_progress: bool,
    output: Output,
}

impl Default for Connection {
    fn default() -> Self {
        Self::open()
    }
}

impl Connection {
    /// A session whose client just connected; the greeting is ready to be sent.
    #[must_use]
    pub fn open() -> Self {
        let mut output = Output::default();
        output.reply(print_line(&greeting::greeting()));
        Self {
            mode: Mode::Negotiating,
            reader: Reader::default(),
            unread: Vec::new(),
            unread_at: 0,
            position: 0,
            last_end: 0,
            urgent: None,
            queue: VecDeque::new(),
            in_progress: false,
            output,
        }
    }

    /// Whether more bytes may be given to [`receive`](Self::receive).
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.unread.is_empty() && !self.is_suspended()
    }

    /// Takes bytes of the client. Those that may not be read yet are kept, so the caller should ask
    /// [`wants_input`](Self::wants_input) before and give one block at a time.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.unread.is_empty() {
            let read = self.read(bytes);
            self.unread.extend_from_slice(&bytes[read..]);
        } else {
            self.unread.extend_from_slice(bytes);
        }
    }

    /// Takes bytes of the client, but not beyond the end of a message. How many were taken; all of them are read.
    /// Only for a connection that [`wants_input`](Self::wants_input).
    pub fn receive_message(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        self.read_message(&mut rest);
        bytes.len() - rest.len()
    }

    /// Where the next byte that is received stands in the client's bytes.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.position + as_u64(self.unread.len() - self.unread_at)
    }

    /// Where the last request ended that was read, unless all were answered.
    #[must_use]
    pub fn outstanding_until(&self) -> Option<u64> {
        let outstanding = self.in_progress || self.urgent.is_some() || !self.queue.is_empty();
        outstanding.then_some(self.last_end)
    }

    /// There is something that [`turn`](Self::turn) would do.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.urgent.is_some() || (!self.in_progress && !self.queue.is_empty())
    }

    /// An in-band request is with somebody else.
    #[must_use]
    pub fn is_executing(&self) -> bool {
        self.in_progress
    }

    /// Does one step: at most one message is looked at.
    pub fn turn(&mut self) -> Turn {
        let next = match self.urgent.take() {
            None if self.in_progress => None,
            None => self.queue.pop_front(),
            urgent => urgent,
        };
        let Some(queued) = next else { return Turn::Idle };
        let turn = self.look_at(queued);
        if let Turn::Asked(asked) = &turn {
            self.in_progress |= !asked.oob;
        }
        self.read_on();
        turn
    }

    /// The answer to a request that [`turn`](Self::turn) gave out.
    pub fn answer(&mut self, oob: bool, id: Option<Value>, outcome: Outcome) {
        self.reply(outcome, id);
        self.in_progress &= oob;
        self.read_on();
    }

    /// Tells the client of an event, unless it has not negotiated yet.
    ///
    /// # Errors
    /// The client reads too little and has to go.
    pub fn event(&mut self, line: &str) -> Result<(), Flooded> {
        match self.mode {
            Mode::Negotiating => Ok(()),
            Mode::Commands { .. } => self.output.event(line),
        }
    }

    /// There is nothing to send.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// What to send next.
    #[must_use]
    pub fn output(&self) -> Vec<IoSlice<'_>> {
        self.output.slices()
    }

    /// So many bytes of [`output`](Self::output) were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.output.sent(bytes);
        self.read_on();
    }

    fn is_suspended(&self) -> bool {
        let ahead = match self.mode {
            Mode::Commands { oob: true } => {
                let text: u64 = self.queue.iter().map(|queued| queued.text_bytes).sum();
                self.queue.len() >= QUEUE_MAX || text > QUEUE_MAX_BYTES
            }
            Mode::Negotiating | Mode::Commands { oob: false } => self.in_progress || !self.queue.is_empty(),
        };
        ahead || self.urgent.is_some() || self.output.is_full()
    }

    /// Reads what was kept, as far as now is allowed.
    fn read_on(&mut self) {
        if self.unread.is_empty() || self.is_suspended() {
            return;
        }
        let unread = mem::take(&mut self.unread);
        self.unread_at += self.read(&unread[self.unread_at..]);
        if self.unread_at < unread.len() {
            self.unread = unread;
        } else {
            self.unread_at = 0;
        }
    }

    /// Reads messages until suspended or out of bytes. How many bytes were read.
    fn read(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_suspended() {
            self.read_message(&mut rest);
        }
        bytes.len() - rest.len()
    }

    /// Reads until the end of a message or of the bytes.
    fn read_message(&mut self, bytes: &mut &[u8]) {
        let before = bytes.len();
        let message = self.reader.next(bytes);
        self.position += as_u64(before - bytes.len());
        let Some(message) = message else { return };
        let text_bytes = self.position - self.last_end;
        self.last_end = self.position;
        let queued = Queued { message, text_bytes, end: self.position };
        if queued.message.as_ref().is_ok_and(request::is_out_of_band) {
            self.urgent = Some(queued);
        } else {
            self.queue.push_back(queued);
        }
    }

    fn look_at(&mut self, queued: Queued) -> Turn {
        let end = queued.end;
        let mut message = match queued.message {
            Ok(message) => message,
            Err(error) => return self.reply(Err(QmpError::generic(error)), None),
        };
        let id = request::take_id(&mut message);
        let oob_enabled = self.mode == Mode::Commands { oob: true };
        match request::check(message, oob_enabled) {
            Err(error) => self.reply(Err(error), id),
            Ok(form) if form.name == "qmp_capabilities" => {
                let outcome = self.negotiate(&form);
                self.reply(outcome, id)
            }
            Ok(_) if self.mode == Mode::Negotiating => self.reply(Err(greeting::not_negotiated()), id),
            Ok(Form { name, arguments, oob }) => Turn::Asked(Asked { name, arguments, id, oob, end }),
        }
    }

    fn negotiate(&mut self, form: &Form) -> Outcome {
        if form.oob {
            return Err(QmpError::no_oob(&form.name));
        }
        let oob = greeting::wants_oob(form.arguments.as_ref())?;
        if self.mode != Mode::Negotiating {
            return Err(greeting::already_negotiated());
        }
        self.mode = Mode::Commands { oob };
        Ok(nothing())
    }

    fn reply(&mut self, outcome: Outcome, id: Option<Value>) -> Turn {
        self.output.reply(print_line(&answer::message(outcome, id)));
        Turn::Answered
    }
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).expect("usize has at most 64 bits")
}

#[cfg(test)]
mod test;
