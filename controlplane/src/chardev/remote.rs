//! A character device that connects, and connects again whenever its peer has gone.
//!
//! Nobody waits for it: each look costs some system calls and never blocks. Whether the peer is still there is asked
//! once a second. The kernel could tell at once, but then each such device would be one more thing that the main loop has
//! to keep in step with its poll, for a difference that nobody notices as long as nobody uses the device.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::connection::{Lookup, Whereabouts, endpoints, whereabouts};
use crate::host::stream_socket::{self, Endpoint, Started};
use crate::qmp::types::socket_address::SocketAddress;

/// How often a connection that is under way is looked at, and for how long.
const UNDERWAY: Duration = Duration::from_millis(20);
const UNDERWAY_MAX: Duration = Duration::from_secs(10);
/// How often a peer is asked for that was there.
const THERE: Duration = Duration::from_secs(1);

/// See the module's text.
#[derive(Debug)]
pub struct Remote {
    address: SocketAddress,
    endpoints: Vec<Endpoint>,
    /// Which of them is tried next.
    next: usize,
    again_after: Duration,
    sends_at_once: bool,
    state: State,
    /// When to look again.
    due: Instant,
}

#[derive(Debug)]
enum State {
    Waiting,
    LookingUp(Lookup),
    Underway { socket: OwnedFd, until: Instant },
    Connected(OwnedFd),
}

impl Remote {
    /// Tries for the first time.
    #[must_use]
    pub fn begin(address: SocketAddress, again_after: Duration, sends_at_once: bool) -> Self {
        let mut remote = Remote::resting(address, again_after, sends_at_once);
        remote.look();
        remote
    }

    /// One that has not tried yet.
    #[must_use]
    pub fn resting(address: SocketAddress, again_after: Duration, sends_at_once: bool) -> Self {
        // That there can be no such place is found again and again, as in QEMU, and told to nobody.
        let endpoints = match whereabouts(&address, false) {
            Ok(Whereabouts::Known(endpoints)) => endpoints,
            Ok(Whereabouts::Ask(_)) | Err(_) => Vec::new(),
        };
        let (state, due) = (State::Waiting, Instant::now());
        Remote { address, endpoints, next: 0, again_after, sends_at_once, state, due }
    }

    /// Somebody else has the connection, and makes the next, until this is looked at again.
    pub fn release(&mut self) {
        (self.state, self.due) = (State::Waiting, Instant::now() + self.again_after);
    }

    /// Where it leads, as given.
    #[must_use]
    pub fn address(&self) -> &SocketAddress {
        &self.address
    }

    /// The connection, if there is one.
    #[must_use]
    pub fn connection(&self) -> Option<&OwnedFd> {
        match &self.state {
            State::Connected(socket) => Some(socket),
            State::Waiting | State::LookingUp(_) | State::Underway { .. } => None,
        }
    }

    /// When [`look`](Self::look) is to be called.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Does what is due.
    pub fn look(&mut self) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        let state = std::mem::replace(&mut self.state, State::Waiting);
        (self.state, self.due) = match state {
            State::Waiting if self.endpoints.is_empty() => self.look_up(now),
            State::Waiting => self.attempt(now),
            State::LookingUp(lookup) => self.hear(lookup, now),
            State::Underway { socket, until } => {
                if is(&socket, PollFlags::OUT) {
                    let reached = stream_socket::finish(&socket).is_ok();
                    if reached { self.reached(socket, now) } else { self.failed(now) }
                } else if now < until {
                    (State::Underway { socket, until }, now + UNDERWAY)
                } else {
                    self.failed(now)
                }
            }
            State::Connected(socket) if is(&socket, PollFlags::RDHUP) => self.failed(now),
            State::Connected(socket) => (State::Connected(socket), now + THERE),
        };
    }

    /// Asks who knows the name; once it is known, it is not asked for again.
    fn look_up(&self, now: Instant) -> (State, Instant) {
        let Ok(Whereabouts::Ask(question)) = whereabouts(&self.address, false) else {
            return self.failed(now);
        };
        match Lookup::begin(question, None) {
            Ok(lookup) => (State::LookingUp(lookup), now + UNDERWAY),
            Err(_no_thread) => self.failed(now),
        }
    }

    fn hear(&mut self, lookup: Lookup, now: Instant) -> (State, Instant) {
        let Some(answer) = lookup.take() else { return (State::LookingUp(lookup), now + UNDERWAY) };
        if let (Ok(addresses), SocketAddress::Inet(inet)) = (answer, &self.address) {
            self.endpoints = endpoints(inet, addresses);
        }
        if self.endpoints.is_empty() { self.failed(now) } else { self.attempt(now) }
    }

    fn attempt(&mut self, now: Instant) -> (State, Instant) {
        let Some(endpoint) = self.endpoints.get(self.next % self.endpoints.len().max(1)) else {
            return self.failed(now);
        };
        self.next = self.next.wrapping_add(1);
        match stream_socket::connect(endpoint) {
            Ok(Started::Connected(socket)) => self.reached(socket, now),
            Ok(Started::Underway(socket)) => {
                (State::Underway { socket, until: now + UNDERWAY_MAX }, now + UNDERWAY)
            }
            Err(_not_there) => self.failed(now),
        }
    }

    fn reached(&self, socket: OwnedFd, now: Instant) -> (State, Instant) {
        if self.sends_at_once {
            stream_socket::send_at_once(&socket);
        }
        (State::Connected(socket), now + THERE)
    }

    fn failed(&self, now: Instant) -> (State, Instant) {
        (State::Waiting, now + self.again_after)
    }
}

/// Whether a socket is in such a state; a failure is one of its own kind.
fn is(socket: &OwnedFd, flags: PollFlags) -> bool {
    let mut polled = [PollFd::new(socket, flags)];
    let polls = rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    polls.is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod test {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::qmp::types::socket_address::UnixSocketAddress;

    /// Looks until it is as wanted.
    fn look_until(remote: &mut Remote, wanted: impl Fn(&Remote) -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !wanted(remote) {
            assert!(Instant::now() < end, "{remote:?}");
            std::thread::sleep(Duration::from_millis(5));
            remote.look();
        }
    }

    #[test]
    fn a_peer_that_comes_late_or_again_is_found() {
        let path = std::env::temp_dir().join(format!("framewire-remote-{}", std::process::id()));
        let text = path.to_string_lossy().into_owned();
        let unix = UnixSocketAddress { path: text, is_abstract: None, tight: None };
        let mut remote = Remote::begin(SocketAddress::Unix(unix), Duration::from_millis(10), true);
        assert!(remote.connection().is_none());
        for _time in 0..2 {
            let listener = UnixListener::bind(&path).unwrap();
            look_until(&mut remote, |remote| remote.connection().is_some());
            let (client, _name) = listener.accept().unwrap();
            std::fs::remove_file(&path).unwrap();
            drop((client, listener));
            look_until(&mut remote, |remote| remote.connection().is_none());
        }
    }
}
