//! A connection that a character device must have before it can be said to be there.
//!
//! QEMU waits for it, and everybody with QEMU: for two minutes, if a host does not answer. Here whoever asked for the
//! device waits alone. It is looked at every few milliseconds instead of being watched: there are seldom any, and
//! most are there at once. How long it may take is the kernel's affair.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::held::{Connection, Held, in_words};
use crate::host::stream_socket::{self, Endpoint, Started};
use crate::host::words;
use crate::qmp::types::socket_address::SocketAddress;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// See the module's text.
#[derive(Debug)]
pub struct Attempt {
    place: SocketAddress,
    sends_at_once: bool,
    /// The endpoint that is being tried.
    underway: Option<OwnedFd>,
    /// Those that are tried if it fails.
    left: VecDeque<Endpoint>,
    /// Why the last one failed.
    last: Errno,
    due: Instant,
}

impl Attempt {
    /// To the first of these endpoints of a place that answers.
    #[must_use]
    pub fn begin(place: SocketAddress, endpoints: Vec<Endpoint>, sends_at_once: bool) -> Self {
        let (left, last) = (endpoints.into(), Errno::ADDRNOTAVAIL);
        Attempt { place, sends_at_once, underway: None, left, last, due: Instant::now() }
    }

    /// When [`look`](Self::look) is to be called.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Goes on. What came of it, once it has ended: an error in QEMU's words.
    pub fn look(&mut self) -> Option<Result<Held, String>> {
        self.wait_no_longer_than(Duration::ZERO)
    }

    /// Waits for the end, at the start of the process, when nobody else has to.
    ///
    /// # Errors
    /// In QEMU's words.
    pub fn wait(mut self, at_most: Duration) -> Result<Held, String> {
        let end = Instant::now() + at_most;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if let Some(ended) = self.wait_no_longer_than(left) {
                return ended;
            }
            if left.is_zero() {
                return Err(self.failure(Errno::TIMEDOUT));
            }
        }
    }

    fn wait_no_longer_than(&mut self, at_most: Duration) -> Option<Result<Held, String>> {
        self.due = Instant::now() + LOOK;
        loop {
            let Some(socket) = self.underway.take() else {
                let Some(endpoint) = self.left.pop_front() else { return Some(Err(self.failure(self.last))) };
                match stream_socket::connect(&endpoint) {
                    Ok(Started::Connected(socket)) => return Some(Ok(self.reached(socket))),
                    Ok(Started::Underway(socket)) => self.underway = Some(socket),
                    Err(errno) => self.last = errno,
                }
                continue;
            };
            if !is_decided(&socket, at_most) {
                self.underway = Some(socket);
                return None;
            }
            match stream_socket::finish(&socket) {
                Ok(()) => return Some(Ok(self.reached(socket))),
                Err(errno) => self.last = errno,
            }
        }
    }

    fn reached(&self, socket: OwnedFd) -> Held {
        // What the data is like is the business of whoever uses it, and it expects a socket that waits.
        let _ = rustix::io::ioctl_fionbio(&socket, false);
        if self.sends_at_once {
            stream_socket::send_at_once(&socket);
        }
        Held::Connection(Connection { socket, place: self.place.clone() })
    }

    fn failure(&self, errno: Errno) -> String {
        format!("Failed to connect to '{}': {}", in_words(&self.place), words(errno))
    }
}

/// Whether a connection is there, or will not be.
fn is_decided(socket: &OwnedFd, at_most: Duration) -> bool {
    let at_most = Timespec::try_from(at_most).ok();
    let mut polled = [PollFd::new(socket, PollFlags::OUT)];
    rustix::event::poll(&mut polled, at_most.as_ref()).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod test {
    use std::net::{SocketAddr, TcpListener};

    use super::*;
    use crate::connection::{Whereabouts, whereabouts};
    use crate::qmp::types::socket_address::InetSocketAddress;

    fn to(addresses: &[SocketAddr]) -> Attempt {
        let place = |address: &SocketAddr| {
            let (host, port) = (address.ip().to_string(), address.port().to_string());
            SocketAddress::Inet(InetSocketAddress { host, port, ..InetSocketAddress::default() })
        };
        let places: Vec<SocketAddress> = addresses.iter().map(place).collect();
        let endpoints = places.iter().flat_map(|place| match whereabouts(place, false).unwrap() {
            Whereabouts::Known(endpoints) => endpoints,
            Whereabouts::Ask(question) => panic!("{question:?}"),
        });
        Attempt::begin(places[0].clone(), endpoints.collect(), true)
    }

    #[test]
    fn the_next_address_is_tried_and_the_last_failure_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        // Bound, so that nobody else can listen there, and not listening.
        let nobody =
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)
                .unwrap();
        rustix::net::bind(&nobody, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
        let not_there = SocketAddr::try_from(rustix::net::getsockname(&nobody).unwrap()).unwrap();
        let patience = Duration::from_secs(30);
        assert!(to(&[not_there, there]).wait(patience).is_ok());
        let why = to(&[not_there]).wait(patience).unwrap_err();
        assert_eq!(why, format!("Failed to connect to '{not_there}': Connection refused"));
    }

    #[test]
    fn one_without_an_answer_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let full = listener.local_addr().unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        // The queue of clients takes one; of the others the kernel hears nothing.
        let mut attempts: Vec<Attempt> = std::iter::repeat_with(|| to(&[full])).take(4).collect();
        let ended = attempts.iter_mut().filter_map(Attempt::look).count();
        assert!(ended < 4, "all of them are connected");
        let last = attempts.pop().unwrap().wait(Duration::from_millis(1)).unwrap_err();
        assert!(last.ends_with("Connection timed out"), "{last}");
    }
}
