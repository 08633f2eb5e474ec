//! One `--qmp`: listens or connects, and has at most one client at a time.
//!
//! While a client is served the listening socket is left alone: the next client's `connect` succeeds, and it is
//! greeted when the one before it has gone.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;

use super::endpoint::{Address, Endpoint};
use super::names::Names;
use super::session::Session;
use super::socket::{Attempt, Error, Inherited, Listener, Stream, inherit};

/// Where the clients of a monitor come from.
#[derive(Debug)]
enum Source {
    /// They connect to us.
    Listener {
        listener: Listener,
        /// Nobody looked since it last said that one waits.
        someone_waits: bool,
        /// One waits and could not be taken: when to look again.
        again_at: Option<Instant>,
    },
    /// We connect, and try again after the time given unless it is zero.
    Outward { address: Address, again_after: Duration, attempt: Option<Attempt>, again_at: Option<Instant> },
    /// A connection that we were started with; there will be no other.
    Given,
}

/// After so long a client that could not be taken is tried again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);

/// A listener on which somebody may be waiting already.
fn waiting_at(listener: Listener) -> Source {
    Source::Listener { listener, someone_waits: true, again_at: None }
}

fn is_due(now: bool, at: Option<Instant>) -> bool {
    now || at.is_some_and(|at| at <= Instant::now())
}

/// One monitor.
#[derive(Debug)]
pub(super) struct Monitor {
    source: Source,
    /// Nothing is served before it has a client.
    waits: bool,
    tokens: [Token; 2],
    /// The descriptors that its clients named.
    pub(super) names: Names,
    /// The client that is served.
    pub(super) session: Option<Session>,
    /// Clients until now, by which a request of an earlier one is known.
    pub(super) sessions: u64,
}

impl Monitor {
    /// Makes the socket. A monitor that connects has done so when this returns, unless it is to try again later.
    pub(super) fn open(
        endpoint: Endpoint,
        tokens: [Token; 2],
        interruption: BorrowedFd<'_>,
    ) -> Result<Self, Error> {
        let mut given = None;
        let source = match endpoint.address {
            Address::Inherited(number) => match inherit(number)? {
                Inherited::Listener(listener) => waiting_at(listener),
                Inherited::Stream(stream) => {
                    given = Some(stream);
                    Source::Given
                }
            },
            Address::Unix(_) | Address::Abstract { .. } | Address::Tcp { .. } if endpoint.server => {
                waiting_at(Listener::open(&endpoint.address)?)
            }
            Address::Unix(_) | Address::Abstract { .. } | Address::Tcp { .. } => {
                if endpoint.reconnect.is_zero() {
                    given = Some(connect_now(&endpoint.address, interruption)?);
                }
                let again_at = given.is_none().then(Instant::now);
                Source::Outward {
                    address: endpoint.address,
                    again_after: endpoint.reconnect,
                    attempt: None,
                    again_at,
                }
            }
        };
        let (names, waits) = (Names::default(), endpoint.wait);
        let mut monitor = Self { source, waits, tokens, names, session: None, sessions: 0 };
        if let Some(stream) = given {
            monitor.begin(stream, None);
        }
        Ok(monitor)
    }

    /// Registers what there is.
    pub(super) fn register(&self, registry: &Registry) -> std::io::Result<()> {
        if let Source::Listener { listener, .. } = &self.source {
            watch(registry, listener, self.tokens[0])?;
        }
        match &self.session {
            Some(session) => watch(registry, session, self.tokens[1]),
            None => Ok(()),
        }
    }

    /// An event of one of the two tokens.
    pub(super) fn ready(&mut self, token: Token, event: &mio::event::Event, registry: Option<&Registry>) {
        if token == self.tokens[1] {
            if let Some(session) = &mut self.session {
                session.ready(event);
            }
            return;
        }
        match &mut self.source {
            Source::Listener { someone_waits, .. } => *someone_waits = true,
            Source::Outward { .. } => self.finish_attempt(registry),
            Source::Given => {}
        }
        self.next_client(registry);
    }

    /// Serves the next client if none is served: one that waits, or by connecting again when it is time.
    pub(super) fn next_client(&mut self, registry: Option<&Registry>) {
        if self.session.is_some() {
            return;
        }
        match &mut self.source {
            Source::Listener { listener, someone_waits, again_at } if is_due(*someone_waits, *again_at) => {
                *again_at = None;
                match listener.accept() {
                    Ok(Some(stream)) => self.begin(stream, registry),
                    Ok(None) => *someone_waits = false,
                    Err(error) => {
                        // Out of descriptors, most likely; and the socket tells of a client only once.
                        log::warn!("cannot accept a QMP client: {error}; trying again");
                        *someone_waits = false;
                        *again_at = Some(Instant::now() + ACCEPT_AGAIN);
                    }
                }
            }
            Source::Outward { again_at, .. } if is_due(false, *again_at) => {
                *again_at = None;
                self.begin_attempt(registry);
            }
            Source::Listener { .. } | Source::Outward { .. } | Source::Given => {}
        }
    }

    /// The client has gone.
    pub(super) fn end_session(&mut self, registry: Option<&Registry>) {
        let Some(session) = self.session.take() else { return };
        unwatch(registry, &session);
        session.finish(Instant::now());
        if let Source::Outward { again_after, again_at, .. } = &mut self.source {
            *again_at = (!again_after.is_zero()).then(|| Instant::now() + *again_after);
        }
    }

    /// When [`next_client`](Self::next_client) should be called though nothing happened.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.source {
            Source::Outward { again_at, .. } => *again_at,
            // While a client is served, nobody else is looked for.
            Source::Listener { again_at, .. } => again_at.filter(|_at| self.session.is_none()),
            Source::Given => None,
        }
    }

    /// There is something to do without being woken.
    pub(super) fn has_work(&self) -> bool {
        match &self.session {
            Some(session) => session.has_work(),
            None => match &self.source {
                Source::Listener { someone_waits, again_at, .. } => is_due(*someone_waits, *again_at),
                Source::Outward { again_at, .. } => is_due(false, *again_at),
                Source::Given => false,
            },
        }
    }

    fn begin(&mut self, stream: Stream, registry: Option<&Registry>) {
        self.sessions += 1;
        let session = Session::begin(stream);
        if let Some(registry) = registry
            && let Err(error) = watch(registry, &session, self.tokens[1])
        {
            log::warn!("cannot serve a QMP client: {error}");
            return;
        }
        self.session = Some(session);
    }

    fn begin_attempt(&mut self, registry: Option<&Registry>) {
        let Source::Outward { address, attempt, .. } = &mut self.source else { return };
        let begun =
            Attempt::begin(address).map_err(|error| error.to_string()).and_then(|begun| match registry {
                Some(registry) => {
                    watch(registry, &begun, self.tokens[0]).map(|()| begun).map_err(|e| e.to_string())
                }
                None => Ok(begun),
            });
        match begun {
            Ok(begun) => *attempt = Some(begun),
            Err(error) => self.attempt_failed(&error),
        }
    }

    /// The socket that connects said that it is done with it.
    fn finish_attempt(&mut self, registry: Option<&Registry>) {
        let Source::Outward { attempt, .. } = &mut self.source else { return };
        let Some(attempt) = attempt.take() else { return };
        unwatch(registry, &attempt);
        match attempt.finish() {
            Ok(stream) => self.begin(stream, registry),
            Err(error) => self.attempt_failed(&error.to_string()),
        }
    }

    fn attempt_failed(&mut self, error: &str) {
        log::debug!("QMP client not reached: {error}");
        if let Source::Outward { again_after, again_at, .. } = &mut self.source {
            *again_at = Some(Instant::now() + *again_after);
        }
    }

    /// Sleeps until a client has connected, if the monitor was asked to (`wait=on`), or somebody interrupts.
    pub(super) fn wait_for_client(&self, interruption: BorrowedFd<'_>) {
        let Source::Listener { listener, .. } = &self.source else { return };
        if !self.waits {
            return;
        }
        log::info!("waiting for a QMP client");
        let mut polled = [PollFd::new(listener, PollFlags::IN), PollFd::new(&interruption, PollFlags::IN)];
        // Whoever connects, or interrupts, is heard by the loop.
        let _ = retry_on_intr(|| poll(&mut polled, None));
    }
}

/// Connects and waits for it, at the start; a host that says nothing would be waited for for minutes.
fn connect_now(address: &Address, interruption: BorrowedFd<'_>) -> Result<Stream, Error> {
    let attempt = Attempt::begin(address)?;
    let failed =
        |source| Error::Refused { doing: "Failed to connect to", what: format!("{address:?}"), source };
    let mut polled = [PollFd::new(&attempt, PollFlags::OUT), PollFd::new(&interruption, PollFlags::IN)];
    retry_on_intr(|| poll(&mut polled, None)).map_err(|error| failed(error.into()))?;
    if polled[0].revents().is_empty() {
        return Err(failed(std::io::ErrorKind::Interrupted.into()));
    }
    attempt.finish().map_err(failed)
}

fn watch(registry: &Registry, source: &impl AsFd, token: Token) -> std::io::Result<()> {
    let number = source.as_fd().as_raw_fd();
    registry.register(&mut SourceFd(&number), token, Interest::READABLE | Interest::WRITABLE)
}

fn unwatch(registry: Option<&Registry>, source: &impl AsFd) {
    let number = source.as_fd().as_raw_fd();
    if let Some(registry) = registry
        && let Err(error) = registry.deregister(&mut SourceFd(&number))
    {
        log::debug!("descriptor {number} was not watched: {error}");
    }
}
