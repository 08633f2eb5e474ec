//! One client and its socket: moves bytes between the socket and the [`Connection`] that knows what they mean.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::ancillary::Ancillary;
use super::answer::Outcome;
use super::connection::{Connection, Turn};
use super::socket::Stream;

/// Bytes that are looked at for one request while descriptors are on their way. What is behind the request is
/// looked at again for the next, so this is small.
const CAREFUL_BYTES: usize = 4096;

/// One client of one monitor.
#[derive(Debug)]
pub(super) struct Session {
    stream: Stream,
    connection: Connection,
    pending: Ancillary<OwnedFd>,
    /// What the socket said last. Readiness is told only when it changes, so it must be remembered.
    readable: bool,
    writable: bool,
    /// The client closed its end, so that nobody will read an answer.
    hung_up: bool,
    over: bool,
}

impl Session {
    /// Greets a client that just connected.
    pub(super) fn begin(stream: Stream) -> Self {
        let mut session = Self {
            stream,
            connection: Connection::open(),
            pending: Ancillary::default(),
            readable: true,
            writable: true,
            hung_up: false,
            over: false,
        };
        session.flush();
        session
    }

    /// The socket changed.
    pub(super) fn ready(&mut self, event: &mio::event::Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_error();
        self.hung_up |= event.is_write_closed() && event.is_read_closed();
        self.flush();
    }

    /// The client has gone, or has to.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// A [`step`](Self::step) would do something.
    pub(super) fn has_work(&self) -> bool {
        self.over
            || self.is_abandoned()
            || self.connection.has_work()
            || (self.readable && self.connection.wants_input())
    }

    /// Nobody waits for the request that is being executed, and as long as it is nothing is read, so that the end
    /// of the client's bytes would not be seen either.
    fn is_abandoned(&self) -> bool {
        self.hung_up && self.connection.is_executing()
    }

    /// Reads a block if one is wanted, and looks at one message.
    pub(super) fn step(&mut self, block: &mut [u8]) -> Turn {
        self.over |= self.is_abandoned();
        if self.readable && self.connection.wants_input() && !self.over {
            self.read(block);
        }
        if self.over {
            return Turn::Idle;
        }
        let turn = self.connection.turn();
        match &turn {
            Turn::Asked(asked) => self.pending.settle(asked.end),
            Turn::Answered => self.flush(),
            Turn::Idle => {}
        }
        turn
    }

    /// Sends the answer to a request of this session.
    pub(super) fn answer(&mut self, oob: bool, id: Option<Value>, outcome: Outcome) {
        self.connection.answer(oob, id, outcome);
        self.flush();
    }

    /// Tells the client of an event. A client that leaves too many unread is given up.
    pub(super) fn event(&mut self, line: &str) {
        if self.connection.event(line).is_err() {
            log::warn!("a QMP client reads no events: disconnected");
            self.over = true;
        }
        self.flush();
    }

    /// The connection is to be torn off.
    pub(super) fn hang_up(&mut self) {
        self.over = true;
    }

    /// The descriptor that came with, or before, the request that ends at `end`.
    pub(super) fn take_descriptor(&mut self, end: u64) -> Option<OwnedFd> {
        self.pending.take(end)
    }

    /// Sends all that is left, but no longer than until the deadline, and closes.
    pub(super) fn finish(mut self, deadline: Instant) {
        self.flush();
        while !self.over && !self.connection.is_flushed() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !wait_writable(self.stream.as_fd(), left) {
                log::warn!("a QMP client did not read its last replies");
                break;
            }
            self.writable = true;
            self.flush();
        }
        self.stream.close();
    }

    fn read(&mut self, block: &mut [u8]) {
        match self.read_some(block) {
            Ok(0) => self.over = true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            Err(_) => self.over = true,
        }
    }

    /// Moves bytes from the socket to the connection. How many there were; 0 at the end.
    fn read_some(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let seen = self.stream.peek(block)?;
        if seen.descriptors {
            self.read_request(&mut block[..seen.bytes.min(CAREFUL_BYTES)])?;
        } else {
            let block = &mut block[..seen.bytes];
            self.stream.take(block)?;
            self.connection.receive(block);
        }
        Ok(seen.bytes)
    }

    /// Takes of the bytes that were seen those of one request, and the descriptors that came with them.
    fn read_request(&mut self, seen: &mut [u8]) -> io::Result<()> {
        let position = self.connection.received();
        let wanted_until = self.connection.outstanding_until();
        // None at all if the first byte only shows that the message before it is complete.
        let length = self.connection.receive_message(seen);
        let descriptors = self.stream.take(&mut seen[..length])?;
        if !descriptors.is_empty() {
            self.pending.arrive(position, descriptors, wanted_until);
        }
        Ok(())
    }

    fn flush(&mut self) {
        while self.writable && !self.over && !self.connection.is_flushed() {
            match self.stream.send(&self.connection.output()) {
                Ok(bytes) => self.connection.sent(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(_) => self.over = true,
            }
        }
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn wait_writable(socket: BorrowedFd<'_>, at_most: Duration) -> bool {
    let timeout = Timespec::try_from(at_most).ok();
    let mut polled = [PollFd::new(&socket, PollFlags::OUT)];
    poll(&mut polled, timeout.as_ref()).is_ok_and(|ready| ready > 0)
}
