//! Ports of the host that lead to the guest.
//!
//! A connection that somebody makes there is asked of the guest. Of datagrams, the socket that is bound there is also the
//! guest's own for its port, as in libslirp: whoever has spoken is answered from where it was spoken to.
//!
//! **Whom the guest sees** is the peer itself, if the guest could answer it: else the router, with the peer's port. The
//! guest's answers go back to whoever was shown so, which is remembered for the last few; nobody else can be reached
//! through a forward, so answers of a restricted guest may pass, too.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use framewire_shared::driver::user::{FORWARDS_MAX, Forward};

use super::flow::{Flow, Key, Kind, Reference, Sent, Udp};
use super::packet::protocol;
use super::{LISTENERS, User, arp, calls, icmp, ndp};
use crate::driver::user::header::{Path, TTL_MAX, mac_of6};

/// Peers of one forward that are remembered.
const PEERS_MAX: usize = 16;
/// Flows that go on as soon as a guest is found.
const WAITING_MAX: usize = 64;
/// Connections that are accepted at once.
const ACCEPTED_MAX: usize = 16;
/// How long a guest is given to say where it is, before it is asked again.
pub(super) const ASK_AGAIN_NS: u64 = 1_000_000_000;
/// Ports that are shown for peers that have none.
const PORTLESS: std::ops::Range<u16> = 49_152..65_535;

/// What is known of the forwards besides their options.
#[derive(Debug)]
pub(super) struct Forwards {
    /// Of those that carry datagrams.
    open: Vec<Open>,
    /// Flows to guests of whom nobody knows where they are.
    waiting: Vec<Reference>,
    /// The port that was shown last for a peer without one.
    last_port: u16,
}

/// A forward of datagrams.
#[derive(Debug)]
struct Open {
    number: u32,
    /// Where it leads.
    guest: SocketAddr,
    flow: Reference,
    /// As they are shown, and as they are; the oldest is at `next`.
    peers: [Option<(SocketAddr, SocketAddr)>; PEERS_MAX],
    next: usize,
}

impl Forwards {
    /// None yet.
    pub(super) fn new() -> Self {
        let waiting = Vec::with_capacity(WAITING_MAX);
        Forwards { open: Vec::with_capacity(FORWARDS_MAX), waiting, last_port: PORTLESS.start }
    }

    /// Whether the flow of this serial number is one of them.
    pub(super) fn has_flow(&self, serial: u32) -> bool {
        self.open.iter().any(|open| open.flow.serial() == serial)
    }

    /// Whether this flow is one that never ends by itself.
    pub(super) fn has(&self, flow: Reference) -> bool {
        self.open.iter().any(|open| open.flow == flow)
    }

    /// A peer has spoken, and is shown so. Who was shown so before is meant no more.
    pub(super) fn heard(&mut self, flow: Reference, shown: SocketAddr, peer: SocketAddr) {
        let Some(place) = self.open.iter().position(|open| open.flow == flow) else { return };
        let peer = Some((shown, peer));
        if self.open[place].peers.contains(&peer) {
            return;
        }
        let guest = self.open[place].guest;
        for known in self.open.iter_mut().filter(|open| open.guest == guest).flat_map(|open| &mut open.peers)
        {
            *known = known.filter(|(other, _peer)| *other != shown);
        }
        let open = &mut self.open[place];
        open.peers[open.next] = peer;
        open.next = (open.next + 1) % PEERS_MAX;
    }

    /// Whom a guest means that answers to whoever was shown so, and the flow by which it was spoken to.
    pub(super) fn peer(&self, guest: SocketAddr, shown: SocketAddr) -> Option<(Reference, SocketAddr)> {
        let here = self.open.iter().filter(|open| open.guest == guest);
        let peers = here.flat_map(|open| open.peers.iter().flatten().map(|peer| (open.flow, peer)));
        peers.into_iter().find(|(_flow, peer)| peer.0 == shown).map(|(flow, peer)| (flow, peer.1))
    }
}

impl User {
    /// Watches what listens, and opens what carries datagrams.
    ///
    /// # Errors
    /// As the kernel's.
    pub(super) fn begin_forwards(&mut self) -> rustix::io::Result<()> {
        for place in 0..self.translator.options.forwards().len() {
            let forward = self.translator.options.forwards()[place];
            let socket = &self.descriptors[self.translator.options.forwards_at() + place];
            if forward.is_udp == 0 {
                self.flows.watcher.watch(socket.as_fd(), LISTENERS + u64::from(forward.number))?;
            } else if !self.forwards.open.iter().any(|open| open.number == forward.number) {
                let socket = rustix::io::fcntl_dupfd_cloexec(socket, 0)?;
                self.open_datagrams(forward, socket);
            }
        }
        Ok(())
    }

    /// Stops watching what listens. Datagrams go on.
    pub(super) fn leave_listeners(&mut self) {
        let options = &self.translator.options;
        for (forward, socket) in options.forwards().iter().zip(&self.descriptors[options.forwards_at()..]) {
            if forward.is_udp == 0 {
                self.flows.watcher.leave(socket.as_fd());
            }
        }
    }

    /// Ends forwards of datagrams that are no more among the options.
    pub(super) fn end_forwards(&mut self) {
        let (options, flows) = (&self.translator.options, &mut self.flows);
        self.forwards.open.retain(|open| {
            let stays = options.forwards().iter().any(|forward| forward.number == open.number);
            if !stays && let Some(flow) = flows.table.get_mut(open.flow) {
                // Others may have the socket still, and the kernel would go on telling of it.
                flows.watcher.leave(flow.socket.as_fd());
                flows.end(open.flow);
            }
            stays
        });
    }

    fn open_datagrams(&mut self, forward: Forward, socket: OwnedFd) {
        let guest = forward.guest();
        let own = Key { protocol: protocol::UDP, guest, remote: guest };
        let taken = self.flows.table.find(&own);
        let key = match taken {
            // Another forward leads there: this one is found by its number alone.
            Some(flow) if self.forwards.has(flow) => {
                let number = u16::try_from(forward.number % 65_536).expect("16 bits");
                Key { remote: SocketAddr::new(guest.ip(), number), protocol: 0, ..own }
            }
            Some(flow) => {
                self.flows.end(flow);
                own
            }
            None => own,
        };
        let alias = self.translator.host_alias(guest.is_ipv4());
        let nobody = SocketAddr::new(alias, 0);
        let flow = Flow {
            socket,
            path: self.translator.path([0; 6], alias, guest.ip()),
            ports: [guest.port(), 0],
            is_ready: false,
            due_ns: u64::MAX,
            kind: Kind::Udp(Udp { destination: nobody, host: nobody, sent: Sent::NOTHING }),
        };
        if let Some(flow) = self.flows.begin(key, flow) {
            let number = forward.number;
            let peers = [None; PEERS_MAX];
            self.forwards.open.push(Open { number, guest, flow, peers, next: 0 });
        }
    }

    /// Somebody has learned where a guest is: what waited for that, goes on.
    pub(super) fn learn(&mut self, address: IpAddr, mac: super::Mac) {
        self.neighbours.learn(address, mac);
        for flow in self.forwards.waiting.drain(..) {
            self.flows.wake(flow);
        }
    }

    /// Somebody may have connected to the forward of this number.
    pub(super) fn hear_listener(&mut self, number: u64) {
        let options = &self.translator.options;
        let place = options.forwards().iter().position(|forward| u64::from(forward.number) == number);
        let Some(place) = place else { return };
        let (guest, place_of_socket) = (options.forwards()[place].guest(), options.forwards_at() + place);
        let mut accepted = 0;
        while accepted < ACCEPTED_MAX && self.accept(guest, place_of_socket) {
            accepted += 1;
        }
        if accepted == ACCEPTED_MAX {
            self.flows.watcher.look_again(&self.descriptors[place_of_socket], LISTENERS + number);
        }
    }

    /// Accepts one connection. Whether there may be more.
    fn accept(&mut self, guest: SocketAddr, place: usize) -> bool {
        let Ok((socket, peer)) = calls::accept(self.descriptors[place].as_fd()) else { return false };
        let key = |remote| Key { protocol: protocol::TCP, guest, remote };
        let remote = match peer {
            Some(peer) => self.shown_to(guest, peer),
            None => self.portless(guest),
        };
        if self.flows.table.find(&key(remote)).is_some() {
            return true; // Closed again: the guest could not tell the two apart.
        }
        let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
        self.ask(key(remote), socket, peer.is_none());
        true
    }

    /// Whom a guest sees when a peer speaks to it from outside.
    pub(super) fn shown_to(&self, guest: SocketAddr, peer: SocketAddr) -> SocketAddr {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let is_somewhere = !peer.ip().is_loopback() && !peer.ip().is_unspecified();
        if is_somewhere && peer.is_ipv4() == guest.is_ipv4() {
            peer
        } else {
            SocketAddr::new(self.translator.host_alias(guest.is_ipv4()), peer.port())
        }
    }

    /// The router, with a port that no connection to this guest has.
    fn portless(&mut self, guest: SocketAddr) -> SocketAddr {
        let alias = self.translator.host_alias(guest.is_ipv4());
        for _port in PORTLESS {
            let next = self.forwards.last_port + 1;
            self.forwards.last_port = if PORTLESS.contains(&next) { next } else { PORTLESS.start };
            let remote = SocketAddr::new(alias, self.forwards.last_port);
            if self.flows.table.find(&Key { protocol: protocol::TCP, guest, remote }).is_none() {
                return remote;
            }
        }
        SocketAddr::new(alias, self.forwards.last_port)
    }

    /// Whether the way to the guest is known all the way; if not, the guest is asked.
    pub(super) fn finds_guest(&mut self, reference: Reference) -> bool {
        let Some(flow) = self.flows.table.get_mut(reference) else { return false };
        if flow.path.to != [0; 6] {
            return true;
        }
        if let Some(mac) = self.neighbours.find(flow.path.destination) {
            flow.path.to = mac;
            return true;
        }
        let wanted = flow.path.destination;
        if self.forwards.waiting.len() < WAITING_MAX && !self.forwards.waiting.contains(&reference) {
            // The others ask again in their own time.
            self.forwards.waiting.push(reference);
        }
        match wanted {
            IpAddr::V4(wanted) => {
                let question = arp::request(wanted, &self.translator.options.ipv4);
                if let Some(reply) = self.replies.add(question.len()) {
                    reply.copy_from_slice(&question);
                }
            }
            IpAddr::V6(wanted) => {
                let mut question = [0; ndp::MESSAGE_BYTES_MAX];
                let network = self.translator.neighbourhood();
                if let Some(asked) = ndp::solicitation(wanted, &network, &mut question) {
                    self.say_ndp(asked, &mut question[..asked.bytes], [0xff; 6]);
                }
            }
        }
        false
    }

    /// Says something about neighbours and routers. `to` is who is at the destination, if that is no group.
    pub(super) fn say_ndp(&mut self, reply: ndp::Reply, message: &mut [u8], to: super::Mac) {
        let to = ndp::group_mac(reply.destination).unwrap_or(to);
        let (from, source) = (mac_of6(reply.source), reply.source.into());
        let path = Path { to, from, source, destination: reply.destination.into(), ttl: TTL_MAX, tos: 0 };
        icmp::finish(&path, message);
        self.replies.packet(&path, protocol::ICMP6, &[message]);
    }
}
