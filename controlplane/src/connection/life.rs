//! One port's connection, from looking for it to its end, and again.
//!
//! ```text
//! Due ─► LookingUp ─► Connecting ─► Arrived ─► InUse ─► Left ─► Due | Listening | Over
//!            └──────► Listening ──────┘
//! ```
//!
//! *Arrived* and *Left* wait for the data plane to be told; everything else waits for the kernel or the time. What
//! fails goes to *Due* if it is to be tried again, else to *Over*, where nothing happens by itself any more.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::lookup::Lookup;
use super::place::{Whereabouts, endpoints, whereabouts};
use super::{Change, Outcome, POSTPONED, Role, Source, Told, Watch};
use crate::host::stream_socket::{self, Endpoint, Started};
use crate::host::words;
use crate::qmp::types::socket_address::SocketAddress;

/// How long the data plane may take to say that a connection is over, once the kernel says so.
const HANG_UP_MAX: Duration = Duration::from_secs(1);

/// When to try again what the kernel could not do for want of something.
const SHORTAGE: Duration = Duration::from_millis(50);

/// What a port begins with.
#[derive(Debug)]
pub enum Opened {
    /// Nothing: it is looked for at once.
    Nothing,
    /// Nothing, and nothing is to be looked for: this is why.
    Failed(String),
    /// It listens.
    Listener(OwnedFd),
    /// It connects.
    Connecting(OwnedFd),
    /// It is connected.
    Arrived(OwnedFd),
    /// It is connected, and the data plane has it.
    InUse(OwnedFd),
    /// What the data plane has kept for a control plane that took over.
    Recalled {
        /// The connection, if there is one.
        socket: Option<OwnedFd>,
        /// Where it listens, if it does.
        listener: Option<OwnedFd>,
    },
}

#[derive(Debug)]
enum State {
    /// Nothing happens by itself any more.
    Over,
    /// To be looked for then.
    Due(Instant),
    /// A name is being looked up.
    LookingUp(Lookup),
    /// The socket tells when it is connected, or not; then the next.
    Connecting(OwnedFd, VecDeque<Endpoint>),
    /// The listener tells of a client.
    Listening,
    /// There is a connection, and the data plane does not have it yet.
    Arrived(OwnedFd),
    /// The data plane has it. The kernel has called it hung up then.
    InUse(OwnedFd, Option<Instant>),
    /// It is over, and the data plane has it still.
    Left,
}

/// See the module's text.
#[derive(Debug)]
pub struct Connection {
    port: u64,
    source: Source,
    state: State,
    listener: Option<OwnedFd>,
    /// The data plane has the listener too, for a next control plane.
    listener_is_kept: bool,
    /// Changes are not tried before.
    change_due: Instant,
}

impl Connection {
    /// A port begins.
    pub(super) fn begin(port: u64, source: Source, opened: Opened, watch: &Watch) -> Self {
        let now = Instant::now();
        let mut connection = Connection {
            port,
            source,
            state: State::Over,
            listener: None,
            listener_is_kept: true,
            change_due: now,
        };
        match opened {
            Opened::Nothing => connection.state = State::Due(now),
            Opened::Failed(why) => connection.failed(&why, now),
            Opened::Listener(listener) => {
                connection.listener = Some(listener);
                connection.listen(watch);
            }
            Opened::Connecting(socket) => connection.connecting(socket, VecDeque::new(), watch),
            Opened::Arrived(socket) => connection.arrived(socket),
            Opened::InUse(socket) => connection.in_use(socket, watch),
            Opened::Recalled { socket, listener } => {
                connection.listener = listener;
                connection.go_on(socket, now, watch);
            }
        }
        connection
    }

    /// Where another control plane stopped.
    fn go_on(&mut self, socket: Option<OwnedFd>, now: Instant, watch: &Watch) {
        match (socket, self.source.role) {
            (Some(socket), _) => self.in_use(socket, watch),
            (None, Role::Server | Role::Client { retry: Some(_) }) => self.state = State::Due(now),
            (None, Role::Client { retry: None }) => self.state = State::Over,
        }
    }

    /// Where it comes from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether the data plane has a connection of it.
    #[must_use]
    pub(super) fn is_in_use(&self) -> bool {
        matches!(self.state, State::InUse(..))
    }

    /// Where it listens.
    pub(super) fn listener(&self) -> Option<&OwnedFd> {
        self.listener.as_ref()
    }

    /// The connection that the data plane has.
    pub(super) fn socket(&self) -> Option<&OwnedFd> {
        if let State::InUse(socket, _hung_up) = &self.state { Some(socket) } else { None }
    }

    /// The port is gone.
    pub(super) fn end(mut self, watch: &Watch) {
        self.leave_state(watch);
        if let (Some(SocketAddress::Unix(unix)), Some(_listener)) = (&self.source.place, &self.listener)
            && unix.is_abstract != Some(true)
            && !self.source.is_lent
        {
            // Whoever removed it already did what we wanted.
            let _ = rustix::fs::unlink(&*unix.path);
        }
    }

    /// When something is to be done though nothing happens.
    #[must_use]
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Due(then) => Some(*then),
            State::InUse(_socket, hung_up) => hung_up.map(|then| then + HANG_UP_MAX),
            State::Arrived(_) | State::Left => Some(self.change_due),
            State::Listening if !self.listener_is_kept => Some(self.change_due),
            State::Over | State::LookingUp(_) | State::Connecting(..) | State::Listening => None,
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Instant, watch: &Watch) {
        match &self.state {
            State::Due(then) if *then <= now => self.look_for_it(now, watch),
            State::InUse(_socket, Some(then)) if *then + HANG_UP_MAX <= now => self.lost("hung up", watch),
            State::Due(_)
            | State::InUse(..)
            | State::Over
            | State::LookingUp(_)
            | State::Connecting(..)
            | State::Listening
            | State::Arrived(_)
            | State::Left => {}
        }
    }

    /// Its socket has told.
    pub(super) fn ready(&mut self, now: Instant, watch: &Watch) {
        match &mut self.state {
            State::Listening => self.accept(now, watch),
            State::Connecting(..) => self.connected(now, watch),
            State::InUse(_socket, hung_up) => *hung_up = Some(now),
            State::Over | State::Due(_) | State::LookingUp(_) | State::Arrived(_) | State::Left => {}
        }
    }

    /// A lookup has ended, perhaps this one's.
    pub(super) fn hear(&mut self, now: Instant, watch: &Watch) {
        let State::LookingUp(lookup) = &self.state else { return };
        let Some(answer) = lookup.take() else { return };
        match (answer, &self.source.place) {
            (Ok(addresses), Some(SocketAddress::Inet(inet))) => {
                let found = endpoints(inet, addresses);
                self.open(found.into(), now, watch);
            }
            (Ok(_), _) => self.failed("it has no name to look up", now),
            (Err(why), _) => self.failed(&why, now),
        }
    }

    /// The connection is over.
    pub(super) fn lost(&mut self, why: &str, watch: &Watch) {
        if matches!(self.state, State::InUse(..)) {
            log::info!("netdev '{}': disconnected: {why}", self.source.id);
            self.leave_state(watch);
            self.state = State::Left;
            self.change_due = Instant::now();
        }
    }

    /// What the data plane is to be told.
    #[must_use]
    pub(super) fn change(&self, now: Instant) -> Option<Change> {
        if now < self.change_due {
            return None;
        }
        let socket = match &self.state {
            State::Arrived(socket) => Some(socket.try_clone().ok()?),
            State::Left => None,
            State::Listening if !self.listener_is_kept => None,
            State::Over
            | State::Due(_)
            | State::LookingUp(_)
            | State::Connecting(..)
            | State::Listening
            | State::InUse(..) => return None,
        };
        let listener = self.listener.as_ref().map(OwnedFd::try_clone).transpose().ok()?;
        Some(Change { port: self.port, socket, listener })
    }

    /// What became of a change; what is to be told of it.
    pub(super) fn settle(&mut self, outcome: Outcome, now: Instant, watch: &Watch) -> Told {
        if outcome == Outcome::Postponed {
            self.change_due = now + POSTPONED;
            return Told::Nothing;
        }
        self.listener_is_kept = true;
        match std::mem::replace(&mut self.state, State::Over) {
            State::Arrived(socket) if outcome == Outcome::Done => {
                let peer = stream_socket::address_of_peer(&socket, self.source.role == Role::Server);
                self.in_use(socket, watch);
                self.told(Told::Connected(peer))
            }
            State::Arrived(_refused) => {
                self.look_again(now, watch);
                Told::Nothing
            }
            State::Left => {
                self.look_again(now, watch);
                self.told(Told::Disconnected)
            }
            other @ (State::Over
            | State::Due(_)
            | State::LookingUp(_)
            | State::Connecting(..)
            | State::Listening
            | State::InUse(..)) => {
                self.state = other;
                Told::Nothing
            }
        }
    }

    fn told(&self, told: Told) -> Told {
        if self.source.is_announced { told } else { Told::Nothing }
    }

    fn look_for_it(&mut self, now: Instant, watch: &Watch) {
        if self.listener.is_some() {
            return self.listen(watch);
        }
        let Some(place) = &self.source.place else { return self.state = State::Over };
        match whereabouts(place, self.source.role == Role::Server) {
            Ok(Whereabouts::Known(endpoints)) => self.open(endpoints.into(), now, watch),
            Ok(Whereabouts::Ask(question)) => match Lookup::begin(question, Some(&watch.doorbell)) {
                Ok(lookup) => self.state = State::LookingUp(lookup),
                Err(error) => self.failed(&error.to_string(), now),
            },
            Err(why) => self.failed(&why, now),
        }
    }

    /// Tries endpoints, until one works or is under way.
    fn open(&mut self, mut left: VecDeque<Endpoint>, now: Instant, watch: &Watch) {
        let mut why = "it has no address of a family that may be used".to_owned();
        while let Some(endpoint) = left.pop_front() {
            let opened = match self.source.role {
                Role::Server => self.open_listener(&endpoint, watch),
                Role::Client { .. } => self.connect(&endpoint, &mut left, now, watch),
            };
            match opened {
                Ok(()) => return,
                Err(errno) => why = words(errno),
            }
        }
        self.failed(&why, now);
    }

    fn connect(
        &mut self,
        endpoint: &Endpoint,
        left: &mut VecDeque<Endpoint>,
        now: Instant,
        watch: &Watch,
    ) -> Result<(), Errno> {
        match stream_socket::connect(endpoint) {
            Ok(Started::Connected(socket)) => self.arrived(socket),
            Ok(Started::Underway(socket)) => self.connecting(socket, std::mem::take(left), watch),
            // A unix server has as many clients waiting as it wants.
            Err(Errno::AGAIN) => self.state = State::Due(now + SHORTAGE),
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    fn open_listener(&mut self, endpoint: &Endpoint, watch: &Watch) -> Result<(), Errno> {
        self.listener = Some(stream_socket::listen(endpoint)?);
        self.listener_is_kept = false;
        self.change_due = Instant::now();
        self.listen(watch);
        Ok(())
    }

    fn listen(&mut self, watch: &Watch) {
        if let Some(listener) = &self.listener {
            watch.add(self.port, listener, EventFlags::IN);
            self.state = State::Listening;
        }
    }

    fn accept(&mut self, now: Instant, watch: &Watch) {
        let Some(listener) = &self.listener else { return };
        watch.remove(listener);
        match stream_socket::accept(listener) {
            Ok(socket) => self.arrived(socket),
            // It left again before we came.
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => self.listen(watch),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                self.state = State::Over;
                log::warn!("netdev '{}': its descriptor is no listening socket", self.source.id);
            }
            Err(errno) => {
                log::warn!("netdev '{}': accept: {}", self.source.id, words(errno));
                self.state = State::Due(now + SHORTAGE);
            }
        }
    }

    fn connecting(&mut self, socket: OwnedFd, left: VecDeque<Endpoint>, watch: &Watch) {
        watch.add(self.port, &socket, EventFlags::OUT);
        self.state = State::Connecting(socket, left);
    }

    fn connected(&mut self, now: Instant, watch: &Watch) {
        let State::Connecting(socket, left) = std::mem::replace(&mut self.state, State::Over) else { return };
        watch.remove(&socket);
        match stream_socket::finish(&socket) {
            Ok(()) => self.arrived(socket),
            Err(errno) if left.is_empty() => self.failed(&words(errno), now),
            Err(_errno) => self.open(left, now, watch),
        }
    }

    fn arrived(&mut self, socket: OwnedFd) {
        stream_socket::send_at_once(&socket);
        self.state = State::Arrived(socket);
        self.change_due = Instant::now();
    }

    fn in_use(&mut self, socket: OwnedFd, watch: &Watch) {
        watch.add(self.port, &socket, EventFlags::empty());
        self.state = State::InUse(socket, None);
    }

    /// After a connection: the next client, or the next attempt.
    fn look_again(&mut self, now: Instant, watch: &Watch) {
        self.listen(watch);
        if let (Role::Client { retry: Some(retry) }, Some(_place)) = (self.source.role, &self.source.place) {
            self.state = State::Due(now + retry);
        }
    }

    fn failed(&mut self, why: &str, now: Instant) {
        let Source { id, role, .. } = &self.source;
        self.state = match role {
            Role::Client { retry: Some(retry) } if self.source.place.is_some() => {
                log::debug!("netdev '{id}': not connected: {why}");
                State::Due(now + *retry)
            }
            Role::Client { .. } => {
                log::warn!("netdev '{id}': not connected, and not tried again: {why}");
                State::Over
            }
            Role::Server => {
                log::warn!("netdev '{id}': does not listen: {why}");
                State::Over
            }
        };
    }

    /// Before a socket is closed: the kernel would go on watching it, since others have it too.
    fn leave_state(&mut self, watch: &Watch) {
        match &self.state {
            State::Connecting(socket, _) | State::InUse(socket, _) => watch.remove(socket),
            State::Listening => self.listener.iter().for_each(|listener| watch.remove(listener)),
            State::Over | State::Due(_) | State::LookingUp(_) | State::Arrived(_) | State::Left => {}
        }
        self.state = State::Over;
    }
}
