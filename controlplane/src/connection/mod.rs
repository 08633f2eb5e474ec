//! Ports whose connection comes and goes: listening, connecting, trying again.
//!
//! **Problem.** A `stream` netdev exists before anybody has connected, and after; its descriptor is another each
//! time. Nothing of this may make the main loop wait.
//!
//! **Rejected.** A thread for each, as QEMU has: its outcome would have to be joined with commands that change the
//! same port meanwhile (QEMU dies of a `netdev_del` during a connect).
//!
//! **Chosen.** A port always has a queue in the data plane. While there is no connection that queue's driver is
//! `null`, which takes and discards, and the port's link is down. When a connection has come, the queue is
//! replaced by one that is built from it, on the same line of counters, and the link goes up; when it has gone,
//! back. Each replacement is one transaction like any other change ([`crate::execute`] makes them), and events
//! follow it. This module knows sockets and time: it says which ports have got or lost their connection. All of its
//! sockets are in one epoll descriptor, which is one source in the main loop.
//!
//! **When processes die.** The data plane: the vault keeps the connection and its position
//! (`shared/src/stream_memory.rs`). This one: the data plane keeps the connection, and *the listening socket*, which
//! is handed over as one descriptor more than the queue needs. So clients that wait to be served go on waiting, and
//! the next control plane serves them. What is lost is an attempt to connect that was under way; a client that is
//! to be tried again is, any other is not: neither would QEMU.
//!
//! How the end of a connection is heard: the data plane tells (`QueueFailed`), after everything that came before the
//! end has been carried. Its ring may be full, when a thousand peers leave at once. So the kernel is asked, too: a
//! connection that it calls hung up, and of which the data plane has said nothing for a second, is taken as over.

mod life;
mod lookup;
mod place;

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fs::Timespec;
use rustix::io::Errno;
use rustix::net::Shutdown;

pub use life::{Connection, Opened};
pub use lookup::Lookup;
pub use place::{Whereabouts, endpoints, whereabouts};

use crate::qmp::types::socket_address::SocketAddress;

/// Where a port's connections come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What logs call it.
    pub id: String,
    /// Where it listens or connects to. None if its socket was given: then there is no second.
    pub place: Option<SocketAddress>,
    /// Who begins.
    pub role: Role,
    /// Whether clients are told of its connections.
    pub is_announced: bool,
    /// Whether its socket belongs to somebody who stays when the port goes, and with it the path.
    pub is_lent: bool,
}

/// Who begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The other side; one at a time.
    Server,
    /// We.
    Client {
        /// After how long to try again.
        retry: Option<Duration>,
    },
}

/// A port that has got or lost something.
#[derive(Debug)]
pub struct Change {
    /// Its number.
    pub port: u64,
    /// Its new connection, if it has got one.
    pub socket: Option<OwnedFd>,
    /// Where it listens, for the data plane to keep.
    pub listener: Option<OwnedFd>,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The data plane has it.
    Done,
    /// There is no data plane right now.
    Postponed,
    /// The data plane cannot have it.
    Failed,
}

/// What is to be told to clients.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// A connection is there, with this peer.
    Connected(SocketAddress),
    /// It has gone.
    Disconnected,
}

/// What connections need of the kernel.
#[derive(Debug)]
struct Watch {
    epoll: OwnedFd,
    /// Rung by threads that look names up.
    doorbell: Arc<OwnedFd>,
}

/// The doorbell's place in the epoll set; ports have numbers from 1 on.
const DOORBELL: u64 = 0;

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 64;

/// How long to wait until a change is tried again.
const POSTPONED: Duration = Duration::from_millis(100);

impl Watch {
    fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let doorbell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(&epoll, &*doorbell, epoll::EventData::new_u64(DOORBELL), epoll::EventFlags::IN)?;
        Ok(Watch { epoll, doorbell })
    }

    /// Tells once, when this comes to a socket; of a hang-up in any case.
    fn add(&self, port: u64, socket: impl AsFd, flags: epoll::EventFlags) {
        let flags = flags | epoll::EventFlags::ONESHOT;
        if let Err(errno) = epoll::add(&self.epoll, socket, epoll::EventData::new_u64(port), flags) {
            log::error!("connections: epoll: {errno}");
        }
    }

    fn remove(&self, socket: impl AsFd) {
        // One that is not there needs no removing.
        let _ = epoll::delete(&self.epoll, socket);
    }
}

/// All of them, by the number of their port.
#[derive(Debug)]
pub struct Connections {
    watch: Watch,
    all: BTreeMap<u64, Connection>,
}

impl Connections {
    /// None yet.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new() -> Result<Self, Errno> {
        Ok(Connections { watch: Watch::new()?, all: BTreeMap::new() })
    }

    /// What threads ring that look names up: the main loop wakes.
    #[must_use]
    pub fn doorbell(&self) -> &Arc<OwnedFd> {
        &self.watch.doorbell
    }

    /// A port begins to look for its connection.
    pub fn begin(&mut self, port: u64, source: Source, opened: Opened) {
        self.all.insert(port, Connection::begin(port, source, opened, &self.watch));
    }

    /// A port is gone. What it had opened is closed, and its path removed.
    pub fn end(&mut self, port: u64) {
        if let Some(connection) = self.all.remove(&port) {
            connection.end(&self.watch);
        }
    }

    /// All ports are gone.
    pub fn end_all(&mut self) {
        while let Some((port, _connection)) = self.all.first_key_value() {
            self.end(*port);
        }
    }

    /// Whether this port's connections come and go.
    #[must_use]
    pub fn has(&self, port: u64) -> bool {
        self.all.contains_key(&port)
    }

    /// Ports without which nothing is to be looked for any more.
    pub fn keep_only(&mut self, exists: impl Fn(u64) -> bool) {
        let gone: Vec<u64> = self.all.keys().copied().filter(|port| !exists(*port)).collect();
        gone.into_iter().for_each(|port| self.end(port));
    }

    /// The data plane has told that a port's connection is over.
    pub fn lost(&mut self, port: u64, why: &str) {
        if let Some(connection) = self.all.get_mut(&port) {
            connection.lost(why, &self.watch);
        }
    }

    /// When something is to be done though nothing happens.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.all.values().filter_map(Connection::due).min()
    }

    /// Goes on with whatever has happened or is due.
    pub fn attend(&mut self) {
        let now = Instant::now();
        for port in self.take_events() {
            if port == DOORBELL {
                self.take_answers(now);
            } else if let Some(connection) = self.all.get_mut(&port) {
                connection.ready(now, &self.watch);
            }
        }
        for connection in self.all.values_mut() {
            connection.tick(now, &self.watch);
        }
    }

    /// What has changed and is to be made known to the data plane.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        let now = Instant::now();
        self.all.values().filter_map(|connection| connection.change(now)).collect()
    }

    /// Whether a port has a connection; none if it is a port that needs none.
    #[must_use]
    pub fn is_in_use(&self, port: u64) -> Option<bool> {
        self.all.get(&port).map(Connection::is_in_use)
    }

    /// Where a port listens.
    #[must_use]
    pub fn listener(&self, port: u64) -> Option<&OwnedFd> {
        self.all.get(&port).and_then(Connection::listener)
    }

    /// Tears a port's connection off, if it has one.
    pub fn tear_off(&self, port: u64) {
        if let Some(socket) = self.all.get(&port).and_then(Connection::socket) {
            // One that the peer was faster to close is torn off already.
            let _ = rustix::net::shutdown(socket, Shutdown::Both);
        }
    }

    /// What became of a change. Returns the name of the port, and what is to be told.
    pub fn settle(&mut self, port: u64, outcome: Outcome) -> Option<(String, Told)> {
        let connection = self.all.get_mut(&port)?;
        let told = connection.settle(outcome, Instant::now(), &self.watch);
        Some((connection.source().id.clone(), told))
    }

    /// The ports whose sockets have told something. All of them: the main loop hears only once that there are
    /// some. Each tells once, so there is an end.
    fn take_events(&self) -> Vec<u64> {
        let mut ports = Vec::new();
        let mut space = [MaybeUninit::uninit(); EVENTS_MAX];
        let no_wait = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Nothing is waited for, so nothing interrupts it.
        while let Ok((events, _rest)) = epoll::wait(&self.watch.epoll, &mut space, Some(&no_wait)) {
            ports.extend(events.iter().map(|event| event.data.u64()));
            if events.len() < EVENTS_MAX {
                break;
            }
        }
        ports
    }

    fn take_answers(&mut self, now: Instant) {
        // Empty if somebody else took note.
        let _ = rustix::io::read(&*self.watch.doorbell, &mut [0_u8; 8]);
        for connection in self.all.values_mut() {
            connection.hear(now, &self.watch);
        }
    }
}

impl AsFd for Connections {
    /// Readable when there is something to attend to.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.epoll.as_fd()
    }
}

#[cfg(test)]
mod test;
