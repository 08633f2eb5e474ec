//! The main loop: one thread, one poll, everything in turn.
//!
//! Each round looks after the data plane, hears what it has told, executes at most one request, and tells clients
//! what has happened. A round is short (the longest wait in it is a transaction, which is bounded), so nobody is kept
//! waiting by anybody else.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use framewire_shared::happenings::{Happening, HappeningKind};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;

use crate::execute::Server;
use crate::host::signals::{Asked, Signals};
use crate::host::words;
use crate::network::News;
use crate::qmp::types::event::{Event, XDataplaneDied, XDataplaneStarted, XNetdevFailed};
use crate::qmp::types::machine::ShutdownCause;

const SIGNALS: Token = Token(0);
const DOORBELL: Token = Token(1);
const PROCESS: Token = Token(2);
const HANDOVER: Token = Token(3);
const CONNECTIONS: Token = Token(4);
const FOLDERS: Token = Token(5);
const WELLS: Token = Token(6);
const NAME_SERVERS: Token = Token(7);
/// The first token of the monitors.
pub const MONITORS: Token = Token(16);

/// The loop.
#[derive(Debug)]
pub struct Loop {
    server: Server,
    signals: Signals,
    poll: Poll,
    /// Which data plane is watched.
    watched: Option<u64>,
}

impl Loop {
    /// Watches everything there is.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new(mut server: Server, signals: Signals) -> io::Result<Self> {
        let poll = Poll::new()?;
        server.monitors.register(poll.registry())?;
        // What happened before anybody was served is no news to the first client.
        drop(server.network.take_news());
        watch(&poll, signals.as_fd(), SIGNALS)?;
        watch(&poll, server.network.supervisor().equipment().doorbell().as_fd(), DOORBELL)?;
        watch(&poll, server.connections.as_fd(), CONNECTIONS)?;
        watch(&poll, server.folders.as_fd(), FOLDERS)?;
        watch(&poll, server.wells.as_fd(), WELLS)?;
        watch(&poll, server.name_servers.as_fd(), NAME_SERVERS)?;
        Ok(Loop { server, signals, poll, watched: None })
    }

    /// Serves until somebody asks for the end.
    ///
    /// # Errors
    /// If the kernel refuses to let us wait.
    pub fn run(mut self) -> io::Result<Server> {
        let mut events = Events::with_capacity(64);
        while !self.server.is_ending {
            self.watch_data_plane()?;
            match self.poll.poll(&mut events, self.patience()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Ok(()) | Err(_) => {}
            }
            for event in &events {
                self.server.monitors.ready(event);
            }
            self.round();
        }
        Ok(self.server)
    }

    fn round(&mut self) {
        self.hear_signals();
        self.server.network.look_after();
        self.server.network.supervisor().equipment().hush();
        for happening in self.server.network.take_happenings() {
            self.server.hear(happening);
        }
        if let Some(request) = self.server.monitors.next_request() {
            self.server.serve(request);
        }
        self.server.reach.try_due(self.server.network.vault());
        self.server.folders.attend(self.server.network.vault());
        self.server.wells.attend(&mut self.server.network);
        self.server.name_servers.attend(&mut self.server.network);
        // After the answer: what a command began is told when it has happened.
        self.server.attend_connections();
        // After connections: they answer the doorbell that those who look names up ring.
        self.server.attend_waiting();
        self.server.attend_plugs();
        self.server.attend_nics();
        // After everything that may have taken a port away: what it had been lent is free again.
        let inventory = self.server.network.inventory();
        self.server.chardevs.look_after(|port| inventory.port(port).is_some());
        self.server.tell_news();
    }

    /// How long there is nothing to do, unless something happens.
    fn patience(&self) -> Option<Duration> {
        if self.server.monitors.is_busy() || self.server.folders.is_busy() {
            return Some(Duration::ZERO);
        }
        let next = self.server.due()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn hear_signals(&mut self) {
        while let Some(asked) = self.signals.take() {
            if asked == Asked::End && !self.server.is_ending {
                // Says so to all clients; never fails.
                let _ = self.server.quit(ShutdownCause::HostSignal);
            }
        }
    }

    /// A data plane that was started meanwhile is watched instead of the one before, whose descriptors the
    /// kernel stopped watching when they were closed.
    fn watch_data_plane(&mut self) -> io::Result<()> {
        let Some((incarnation, attached)) = self.server.network.supervisor().watched() else { return Ok(()) };
        if self.watched != Some(incarnation) {
            watch(&self.poll, attached.process.pidfd.as_fd(), PROCESS)?;
            watch(&self.poll, attached.socket().as_fd(), HANDOVER)?;
            self.watched = Some(incarnation);
        }
        Ok(())
    }
}

fn watch(poll: &Poll, descriptor: BorrowedFd<'_>, token: Token) -> io::Result<()> {
    poll.registry().register(&mut SourceFd(&descriptor.as_raw_fd()), token, Interest::READABLE)
}

/// Why a queue stopped, in words. Only numbers that the kernel knows as errors are made into words.
fn reason(detail: u64) -> String {
    match i32::try_from(detail) {
        Ok(0) => "the peer ended the connection".to_owned(),
        Ok(errno @ 1..4096) => words(Errno::from_raw_os_error(errno)),
        Ok(_) | Err(_) => "for no known reason".to_owned(),
    }
}

impl Server {
    /// When something is to be done though nothing happens.
    fn due(&self) -> Option<Instant> {
        let Server { monitors, network, reach, plugs, connections, chardevs, announcements, leaving, .. } =
            self;
        let outside =
            [monitors.deadline(), network.supervisor().due(), reach.due(), plugs.due(), connections.due()];
        outside
            .into_iter()
            .chain([chardevs.due(), announcements.due(), leaving.due(), self.waiting.due(), self.wells.due()])
            .flatten()
            .min()
    }

    /// Takes note of what the data plane has told. It may tell anything: keys are looked up.
    fn hear(&mut self, happening: Happening) {
        match happening.kind {
            HappeningKind::PeerGone => self.reach.hurry(happening.queue),
            HappeningKind::QueueFailed => self.queue_failed(happening),
            HappeningKind::GuestFault => self.guest_fault(happening),
            HappeningKind::SessionFeatures => self.session_features(happening),
            HappeningKind::SessionEnded => self.session_ended(happening),
            HappeningKind::SessionPairs => self.session_pairs(happening),
            HappeningKind::FilterChanged => self.filter_changed(happening),
        }
    }

    fn queue_failed(&mut self, happening: Happening) {
        let Some(port) = self.network.inventory().port_of_queue(happening.queue) else { return };
        let reason = reason(happening.detail);
        if self.connections.has(port.number) {
            return self.connections.lost(port.number, &reason);
        }
        log::error!("port '{}': a queue has stopped: {reason}", port.id);
        let event = Event::XNetdevFailed(XNetdevFailed { netdev_id: port.id.clone(), reason });
        self.monitors.broadcast(&event);
    }

    /// Tells all clients what happened to the network by itself.
    fn tell_news(&mut self) {
        for news in self.network.take_news() {
            let event = match news {
                News::Died { pid, why } => {
                    Event::XDataplaneDied(XDataplaneDied { pid: pid.into(), reason: why })
                }
                News::Started { pid, queues } => {
                    Event::XDataplaneStarted(XDataplaneStarted { pid: pid.into(), queues: queues as u64 })
                }
                News::Lost(port) => {
                    self.connections.end(port.number);
                    let reason = "a new data plane could not take it; it is gone".to_owned();
                    Event::XNetdevFailed(XNetdevFailed { netdev_id: port.id, reason })
                }
            };
            self.monitors.broadcast(&event);
        }
    }
}
