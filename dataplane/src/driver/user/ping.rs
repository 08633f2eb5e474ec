//! Echoes of hosts beyond the router: one ping socket of the host for each number that a guest's ping has.
//!
//! The kernel gives such a socket a number of its own and takes answers to that alone, so no privilege is needed, and none
//! but what was asked for comes back. Where the host does not allow them (`net.ipv4.ping_group_range`) the well makes none,
//! and guests hear nothing, as behind many a router.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use framewire_shared::counters::DropReason;
use framewire_shared::driver::user::Stock;
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::calls;
use super::errors::portless;
use super::flow::{Key, Kind, Ping, Reference, Sent};
use super::header::{MTU, PATH_BYTES_MAX, TTL_MAX};
use super::icmp::{self, Unreachable};
use super::packet::Ip;
use super::translate::Lead;
use super::udp::PAYLOAD_BYTES_MAX;
use super::{Heard, Spoken, User};
use crate::driver::arrive;
use crate::frame::{Burst, HEADROOM_BYTES, Offload};
use crate::turn::Turn;

/// How long a flow is kept without echoes.
const IDLE_NS: u64 = 60_000_000_000;

impl User {
    /// Hears a request for an echo of somebody else: a message of so many bytes, which were copied.
    pub(super) fn hear_ping(&mut self, ip: &Ip, bytes: usize, heard: Heard<'_>) {
        let host = match self.translator.lead(portless(ip.destination), false) {
            Lead::Host(host) => host,
            Lead::Nowhere => return self.complain(ip, heard, Unreachable::Network),
            Lead::Forbidden => return,
            Lead::Dropped => return self.counters.drop_frames(DropReason::Foreign, 1),
        };
        if ip.ttl <= 1 {
            return self.complain(ip, heard, Unreachable::Expired);
        }
        let Some(reference) = self.ping_flow(ip, host, heard) else {
            return self.counters.drop_frames(DropReason::NoRoom, 1);
        };
        let Some(flow) = self.flows.table.get_mut(reference) else { return };
        let message = &self.copy[..bytes];
        let send = || rustix::net::sendto(&flow.socket, message, SendFlags::DONTWAIT, &host);
        self.counters.calls.add(1);
        // The first failure may be the news of an earlier one.
        match send().or_else(|_earlier| send()) {
            Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS) => {}
            Err(Errno::HOSTUNREACH) => self.complain(ip, heard, Unreachable::Host),
            Err(_errno) => self.complain(ip, heard, Unreachable::Network),
        }
    }

    /// The flow of a guest's ping, made if there is none.
    fn ping_flow(&mut self, ip: &Ip, host: SocketAddr, heard: Heard<'_>) -> Option<Reference> {
        let number = u16::from_be_bytes([self.copy[4], self.copy[5]]);
        let guest = SocketAddr::new(ip.source, number);
        let key = Key { protocol: ip.protocol, guest, remote: guest };
        let reference = match self.flows.table.find(&key) {
            Some(reference) => reference,
            None => {
                let stock = if ip.source.is_ipv4() { Stock::Ping4 } else { Stock::Ping6 };
                let destination = portless(ip.destination);
                let kind = Kind::Ping(Ping { destination, host, sent: Sent::NOTHING });
                self.begin_datagrams(ip, key, stock, [number, 0], kind)?
            }
        };
        self.flows.expect(reference, self.now_ns + IDLE_NS);
        let flow = self.flows.table.get_mut(reference)?;
        flow.path.to = ip.from;
        if let Kind::Ping(ping) = &mut flow.kind {
            let ttl = ip.ttl - 1;
            if ping.sent.ttl != ttl {
                calls::set_ttl(flow.socket.as_fd(), ip.source.is_ipv4(), ttl);
            }
            let sent = Sent { ttl, id: heard.id(ip) };
            *ping = Ping { destination: portless(ip.destination), host, sent };
        }
        Some(reference)
    }

    /// Gives the guest one echo that has come for it.
    pub(super) fn speak_ping(&mut self, reference: Reference, burst: &mut Burst, turn: &mut Turn) -> Spoken {
        let Some(flow) = self.flows.table.get_mut(reference) else { return Spoken::All };
        let Kind::Ping(ping) = flow.kind else { return Spoken::All };
        let at = flow.path.header_bytes();
        let landing = if burst.has_room(1) { turn.strip.room(at + PAYLOAD_BYTES_MAX) } else { None };
        let Some(landing) = landing else { return Spoken::NoRoom };
        let message = landing.segment().part(at, PAYLOAD_BYTES_MAX);
        let (bytes, from) = match calls::receive_from(flow.socket.as_fd(), message) {
            Ok((bytes @ icmp::HEADER_BYTES.., Some(from))) => (bytes, portless(from.ip())),
            Ok(_) => return Spoken::Some,
            Err(Errno::AGAIN) => return Spoken::All,
            // What was too long, or an error that the error queue tells more of.
            Err(_news) => return Spoken::Some,
        };
        self.counters.calls.add(1);
        let shown = self.translator.shown(from, ping.destination, ping.host);
        let mut path = self.translator.path(flow.path.to, shown.ip(), flow.path.destination);
        path.ttl = TTL_MAX;
        let protocol = icmp::number(path.source.is_ipv4());
        let message = message.part(0, bytes);
        let mut header = [0; icmp::HEADER_BYTES];
        message.read(0, &mut header);
        header[2..4].fill(0);
        header[4..6].copy_from_slice(&flow.ports[0].to_be_bytes());
        message.write(0, &header);
        let sum = match path.source {
            IpAddr::V4(_) => message.sum(),
            IpAddr::V6(_) => path.pseudo_sum(protocol, bytes).then(message.sum()),
        };
        message.write(2, &sum.checksum());
        if at - 14 + bytes > MTU {
            self.cut(&path, protocol, message);
            return Spoken::Some;
        }
        let mut head = [0; PATH_BYTES_MAX];
        path.write(&mut head, protocol, bytes, [self.replies.next_id(), 0]);
        let frame = landing.segment().part(0, at + bytes);
        frame.write(0, &head[..at]);
        arrive(frame, Offload::default(), HEADROOM_BYTES, burst, self.counters);
        turn.strip.keep(frame.len());
        Spoken::Some
    }
}
