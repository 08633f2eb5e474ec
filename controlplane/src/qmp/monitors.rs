//! All monitors of the process, as the main loop sees them.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

use mio::{Registry, Token};
use serde_json::Value;

use super::answer::{Outcome, QmpError};
use super::command::{Command, Entry};
use super::connection::Turn;
use super::endpoint::Endpoint;
use super::event;
use super::fdset::Fdsets;
use super::monitor::Monitor;
use super::names::Names;
use super::socket::Error;
use super::types::descriptor::AddFdInfo;
use super::types::event::Event;

/// Bytes read at once from a client. Large enough that the cost of a system call does not matter, small enough
/// that no client keeps others waiting.
const BLOCK_BYTES: usize = 64 << 10;

/// How long clients may take at the end to read their last replies.
const FAREWELL: Duration = Duration::from_secs(1);

/// Which monitor, in the order of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MonitorId(usize);

/// A request to be executed, and then answered with [`Monitors::answer`].
#[derive(Debug)]
pub struct Request {
    /// Whose names and descriptors it may use.
    pub monitor: MonitorId,
    /// The command's name as sent: it may not exist.
    pub name: String,
    /// Always an object; None where none was sent.
    pub arguments: Option<Value>,
    /// What the reply has to repeat.
    pub id: Option<Value>,
    /// Sent with `exec-oob`, which few commands support.
    pub oob: bool,
    session: u64,
    end: u64,
}

impl Request {
    /// The command with its arguments.
    ///
    /// # Errors
    /// There is none of this name, it cannot be executed out of band, or its arguments are wrong.
    pub fn command(&self) -> Result<Command, QmpError> {
        let entry = Entry::find(&self.name)?;
        if self.oob && !entry.allow_oob {
            return Err(QmpError::no_oob(&self.name));
        }
        entry.read(self.arguments.as_ref())
    }
}

/// All monitors of the process.
#[derive(Debug)]
pub struct Monitors {
    monitors: Vec<Monitor>,
    first_token: usize,
    registry: Option<Registry>,
    next: usize,
    block: Box<[u8]>,
    /// The descriptor sets, which all monitors share.
    pub fdsets: Fdsets,
}

impl Monitors {
    /// Opens all of them. They use the tokens from `first_token` on, [`tokens`](Self::tokens) of them.
    ///
    /// # Errors
    /// The first that cannot be opened, or was not before `interruption` was readable; those before it are closed again.
    pub fn open(
        endpoints: impl IntoIterator<Item = Endpoint>,
        first_token: Token,
        interruption: BorrowedFd<'_>,
    ) -> Result<Self, Error> {
        let open = |(i, endpoint)| {
            let token = first_token.0 + 2 * i;
            Monitor::open(endpoint, [Token(token), Token(token + 1)], interruption)
        };
        let monitors = endpoints.into_iter().enumerate().map(open).collect::<Result<_, _>>()?;
        Ok(Self {
            monitors,
            first_token: first_token.0,
            registry: None,
            next: 0,
            block: vec![0; BLOCK_BYTES].into_boxed_slice(),
            fdsets: Fdsets::default(),
        })
    }

    /// How many tokens are used.
    #[must_use]
    pub fn tokens(&self) -> usize {
        2 * self.monitors.len()
    }

    /// Whether a monitor has a client now.
    #[must_use]
    pub fn has_client(&self, number: usize) -> bool {
        self.monitors.get(number).is_some_and(|monitor| monitor.session.is_some())
    }

    /// Sleeps until each monitor that was asked to has a client, or `interruption` is readable.
    pub fn wait_for_clients(&self, interruption: BorrowedFd<'_>) {
        self.monitors.iter().for_each(|monitor| monitor.wait_for_client(interruption));
    }

    /// Has all sockets watched, those of later clients too.
    ///
    /// # Errors
    /// The kernel refuses to watch.
    pub fn register(&mut self, registry: &Registry) -> io::Result<()> {
        for monitor in &self.monitors {
            monitor.register(registry)?;
        }
        self.registry = Some(registry.try_clone()?);
        Ok(())
    }

    /// Takes an event of the loop. False if its token is not ours.
    pub fn ready(&mut self, event: &mio::event::Event) -> bool {
        let Some(offset) = event.token().0.checked_sub(self.first_token) else { return false };
        let Some(monitor) = self.monitors.get_mut(offset / 2) else { return false };
        monitor.ready(event.token(), event, self.registry.as_ref());
        true
    }

    /// The next request. Each call visits each monitor at most once, beginning behind the one that was served last,
    /// and reads at most one block from each; so None does not mean that there is nothing more:
    /// [`is_busy`](Self::is_busy) says.
    pub fn next_request(&mut self) -> Option<Request> {
        for _ in 0..self.monitors.len() {
            let at = self.next;
            self.next = (at + 1) % self.monitors.len();
            if let Some(request) = self.visit(at) {
                return Some(request);
            }
        }
        None
    }

    /// There is something to do at once: the loop must not sleep.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.monitors.iter().any(Monitor::has_work)
    }

    /// When the loop must wake up at the latest (to connect again) and call [`next_request`](Self::next_request).
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.monitors.iter().filter_map(Monitor::deadline).min()
    }

    /// Answers a request. If its client has gone in the meantime, nobody is told.
    pub fn answer(&mut self, request: Request, outcome: Outcome) {
        let monitor = &mut self.monitors[request.monitor.0];
        if let Some(session) = monitor.session.as_mut().filter(|_| monitor.sessions == request.session) {
            session.answer(request.oob, request.id, outcome);
        }
    }

    /// Whether the client that sent a request is still there.
    #[must_use]
    pub fn is_waited_for(&self, request: &Request) -> bool {
        let monitor = &self.monitors[request.monitor.0];
        monitor.session.is_some() && monitor.sessions == request.session
    }

    /// Tells all clients that have negotiated.
    pub fn broadcast(&mut self, event: &Event) {
        let line = event::line(event, SystemTime::now());
        for monitor in &mut self.monitors {
            if let Some(session) = &mut monitor.session {
                session.event(&line);
            }
        }
    }

    /// Ends the session of a monitor's client, if it has one, once what was said is on its way.
    pub fn hang_up(&mut self, number: usize) {
        if let Some(session) = self.monitors.get_mut(number).and_then(|monitor| monitor.session.as_mut()) {
            session.hang_up();
        }
    }

    /// The names that clients of a monitor gave to descriptors.
    pub fn names(&mut self, monitor: MonitorId) -> &mut Names {
        &mut self.monitors[monitor.0].names
    }

    /// Takes the descriptor that was sent with or before a request. To be called only when the request's arguments
    /// are known to be right: one that is refused for its form leaves the descriptor to the next.
    ///
    /// # Errors
    /// None was sent.
    pub fn take_descriptor(&mut self, request: &Request) -> Result<OwnedFd, QmpError> {
        let monitor = &mut self.monitors[request.monitor.0];
        let session = monitor.session.as_mut().filter(|_| monitor.sessions == request.session);
        session
            .and_then(|session| session.take_descriptor(request.end))
            .ok_or_else(|| QmpError::generic("No file descriptor supplied via SCM_RIGHTS"))
    }

    /// The command `getfd`.
    ///
    /// # Errors
    /// No descriptor was sent, or the name cannot be one.
    pub fn getfd(&mut self, request: &Request, fdname: &str) -> Result<(), QmpError> {
        let descriptor = self.take_descriptor(request)?;
        self.names(request.monitor).insert(fdname, descriptor)
    }

    /// The command `add-fd`.
    ///
    /// # Errors
    /// No descriptor was sent, or the set's id is negative.
    pub fn add_fd(
        &mut self,
        request: &Request,
        set: Option<i64>,
        opaque: Option<String>,
    ) -> Result<AddFdInfo, QmpError> {
        let descriptor = self.take_descriptor(request)?;
        self.fdsets.add(descriptor, set, opaque)
    }

    /// Ends all sessions after their last replies were read, or after a second. Paths are removed.
    pub fn shutdown(mut self) {
        let deadline = Instant::now() + FAREWELL;
        for session in self.monitors.iter_mut().filter_map(|monitor| monitor.session.take()) {
            session.finish(deadline);
        }
    }

    fn visit(&mut self, at: usize) -> Option<Request> {
        let monitor = &mut self.monitors[at];
        monitor.next_client(self.registry.as_ref());
        let turn = monitor.session.as_mut()?.step(&mut self.block);
        if monitor.session.as_ref().is_some_and(|session| session.is_over()) {
            self.end_session(at);
            return None;
        }
        let Turn::Asked(asked) = turn else { return None };
        Some(Request {
            monitor: MonitorId(at),
            name: asked.name,
            arguments: asked.arguments,
            id: asked.id,
            oob: asked.oob,
            session: self.monitors[at].sessions,
            end: asked.end,
        })
    }

    fn end_session(&mut self, at: usize) {
        self.monitors[at].end_session(self.registry.as_ref());
        if self.monitors.iter().all(|monitor| monitor.session.is_none()) {
            self.fdsets.clients_gone();
        }
        self.monitors[at].next_client(self.registry.as_ref());
    }
}

#[cfg(test)]
mod test;
