//! UDP: one socket of the host for each port of a guest, whatever it sends to, and whoever answers.
//!
//! So a guest that asks one server about its address and tells another is found there: games, calls and discovery depend
//! on it. A socket that was connected to one destination would be faster for errors and wrong for these.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use framewire_shared::counters::DropReason;
use framewire_shared::driver::user::Stock;
use rustix::io::Errno;

use super::calls;
use super::flow::{Flow, Key, Kind, Reference, Sent, Udp};
use super::forward;
use super::fragment;
use super::header::{MTU, PATH_BYTES_MAX, Path, udp_header};
use super::icmp::Unreachable;
use super::packet::{self, Ip, Malformed, UDP_BYTES, protocol};
use super::translate::Lead;
use super::{Heard, Spoken, User};
use crate::driver::arrive;
use crate::frame::checksum::Sum;
use crate::frame::offload::{GSO_UDP, NEEDS_CHECKSUM};
use crate::frame::{Burst, Cursor, HEADROOM_BYTES, Offload, Segment};
use crate::turn::Turn;

/// How long a flow is kept without datagrams,
const IDLE_NS: u64 = 240_000_000_000;
/// and one that was a question about a name, after the answer.
const ANSWERED_NS: u64 = 10_000_000_000;
const DNS_PORT: u16 = 53;
/// The largest datagram.
pub(super) const PAYLOAD_BYTES_MAX: usize = 65_535 - 20 - UDP_BYTES;
/// Pieces of one datagram; frames in more are nobody's earnest.
const PIECES_MAX: usize = 64;

impl User {
    /// Hears a datagram.
    pub(super) fn hear_udp(&mut self, ip: &Ip, heard: Heard<'_>) -> Result<(), Malformed> {
        let udp = packet::udp(ip, heard.head)?;
        if self.serve(ip, &udp, heard)? {
            return Ok(());
        }
        let offload = heard.frame.offload;
        if !offload.is_good() && !self.is_sound(ip, &udp, heard) {
            return Err(Malformed);
        }
        // Whoever was spoken to from outside answers by the same way.
        let peer = self.forwards.peer(udp.source, udp.destination);
        let lead =
            peer.map_or_else(|| self.translator.lead(udp.destination, true), |peer| Lead::Host(peer.1));
        let host = match lead {
            Lead::Host(host) => host,
            Lead::Nowhere => {
                self.complain(ip, heard, Unreachable::Network);
                return Ok(());
            }
            Lead::Forbidden => return Ok(()),
            Lead::Dropped => return Err(Malformed),
        };
        if ip.ttl <= 1 {
            self.complain(ip, heard, Unreachable::Expired);
            return Ok(());
        }
        let known = peer.map(|peer| peer.0);
        let Some(reference) = self.udp_flow(ip, &udp, (host, heard.id(ip)), known) else {
            self.counters.drop_frames(DropReason::NoRoom, 1);
            return Ok(());
        };
        let each = if offload.gso_type == GSO_UDP { usize::from(offload.gso_bytes) } else { 0 };
        if self.send_datagrams(reference, &udp, heard, each).is_err() {
            self.complain(ip, heard, Unreachable::Network);
        }
        Ok(())
    }

    /// Nothing was said for long, or a guest was not found.
    pub(super) fn udp_overdue(&mut self, reference: Reference) {
        if self.forwards.has(reference) {
            self.flows.expect(reference, u64::MAX);
            self.flows.wake(reference);
        } else {
            self.flows.end(reference);
        }
    }

    /// Whether a datagram's checksum is right, or missing where it may be.
    pub(super) fn is_sound(&self, ip: &Ip, udp: &packet::Udp, heard: Heard<'_>) -> bool {
        if udp.checksum == 0 {
            return ip.source.is_ipv4();
        }
        self.adds_up(ip, UDP_BYTES + udp.bytes, heard)
    }

    /// The flow of a guest's port, made if there is none, or another that is known to be meant.
    fn udp_flow(
        &mut self,
        ip: &Ip,
        udp: &packet::Udp,
        (host, id): (SocketAddr, u16),
        known: Option<Reference>,
    ) -> Option<Reference> {
        let key = Key { protocol: protocol::UDP, guest: udp.source, remote: udp.source };
        let ttl = ip.ttl - 1;
        let reference = match known.or_else(|| self.flows.table.find(&key)) {
            Some(reference) => reference,
            None => {
                let stock = if ip.source.is_ipv4() { Stock::Udp4 } else { Stock::Udp6 };
                let kind = Kind::Udp(Udp { destination: udp.destination, host, sent: Sent::NOTHING });
                let ports = [udp.source.port(), udp.destination.port()];
                self.begin_datagrams(ip, key, stock, ports, kind)?
            }
        };
        if !self.forwards.has(reference) {
            self.flows.expect(reference, self.now_ns + IDLE_NS);
        }
        let flow = self.flows.table.get_mut(reference)?;
        flow.path.to = ip.from;
        if let Kind::Udp(state) = &mut flow.kind {
            if state.sent.ttl != ttl {
                calls::set_ttl(flow.socket.as_fd(), host.is_ipv4(), ttl);
            }
            *state = Udp { destination: udp.destination, host, sent: Sent { ttl, id } };
        }
        Some(reference)
    }

    /// A flow whose socket takes datagrams or echoes, and tells of their errors.
    pub(super) fn begin_datagrams(
        &mut self,
        ip: &Ip,
        key: Key,
        stock: Stock,
        ports: [u16; 2],
        kind: Kind,
    ) -> Option<Reference> {
        let socket = self.stocks.take(stock)?;
        calls::want_errors(socket.as_fd(), ip.source.is_ipv4());
        let path = self.translator.back(ip);
        self.flows.begin(key, Flow { socket, path, ports, is_ready: false, due_ns: u64::MAX, kind })
    }

    /// Sends a datagram, or those that a large frame is to be cut into, `each` bytes at a time.
    fn send_datagrams(
        &mut self,
        reference: Reference,
        udp: &packet::Udp,
        heard: Heard<'_>,
        each: usize,
    ) -> Result<(), Errno> {
        let Some(flow) = self.flows.table.get_mut(reference) else { return Ok(()) };
        let Kind::Udp(Udp { host, .. }) = flow.kind else { return Ok(()) };
        let mut cursor = Cursor::new(heard.segments);
        cursor.pass(udp.at);
        let mut left = udp.bytes;
        loop {
            let bytes = if each == 0 { left } else { left.min(each) };
            self.pieces.clear();
            for piece in cursor.parts(bytes).take(PIECES_MAX) {
                self.pieces.add(piece);
            }
            self.counters.calls.add(1);
            let send = || calls::send(&flow.socket, self.pieces.all(), Some(host));
            // The first failure may be the news of an earlier one, of which the error queue tells more.
            match send().or_else(|_earlier| send()) {
                // The host has no room: lost, as on any wire.
                Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS) => {}
                Err(errno) => {
                    self.pieces.clear();
                    return Err(errno);
                }
            }
            self.pieces.clear();
            left -= bytes;
            if left == 0 {
                return Ok(());
            }
        }
    }

    /// Gives the guest one datagram that has come for it.
    pub(super) fn speak_udp(&mut self, reference: Reference, burst: &mut Burst, turn: &mut Turn) -> Spoken {
        let now_ns = self.now_ns;
        let is_forward = self.forwards.has(reference);
        if is_forward && !self.finds_guest(reference) {
            self.flows.expect(reference, now_ns + forward::ASK_AGAIN_NS);
            return Spoken::All;
        }
        let Some(flow) = self.flows.table.get_mut(reference) else { return Spoken::All };
        let Kind::Udp(state) = flow.kind else { return Spoken::All };
        let head_bytes = flow.path.header_bytes() + UDP_BYTES;
        let landing = if burst.has_room(1) { turn.strip.room(head_bytes + PAYLOAD_BYTES_MAX) } else { None };
        let Some(landing) = landing else { return Spoken::NoRoom };
        let payload = landing.segment().part(head_bytes, PAYLOAD_BYTES_MAX);
        let (bytes, from) = match calls::receive_from(flow.socket.as_fd(), payload) {
            Ok((bytes, Some(from))) => (bytes, from),
            Err(Errno::AGAIN) => return Spoken::All,
            // What was too long, or an error that the error queue tells more of.
            Ok((_, None)) | Err(_) => return Spoken::Some,
        };
        self.counters.calls.add(1);
        let (to, guest) = (flow.path.to, SocketAddr::new(flow.path.destination, flow.ports[0]));
        let shown = if is_forward {
            let shown = self.shown_to(guest, from);
            self.forwards.heard(reference, shown, from);
            shown
        } else {
            self.translator.shown(from, state.destination, state.host)
        };
        let path = self.translator.path(to, shown.ip(), guest.ip());
        let ports = [shown.port(), guest.port()];
        if !is_forward && state.destination.port() == DNS_PORT {
            self.flows.expect(reference, now_ns + ANSWERED_NS);
        }
        let mut header = udp_header(ports, bytes);
        let pseudo = path.pseudo_sum(protocol::UDP, UDP_BYTES + bytes);
        let (at, total) = (path.header_bytes(), UDP_BYTES + bytes);
        if at - 14 + total > MTU {
            let sum = pseudo.then(Sum::of(&header)).then(payload.part(0, bytes).sum());
            header[6..].copy_from_slice(&sum.checksum());
            let datagram = landing.segment().part(at, total);
            datagram.write(0, &header);
            self.cut(&path, protocol::UDP, datagram);
            return Spoken::Some;
        }
        header[6..].copy_from_slice(&pseudo.checksum().map(|byte| !byte));
        let mut head = [0; PATH_BYTES_MAX + UDP_BYTES];
        path.write(&mut head, protocol::UDP, total, [self.replies.next_id(), 0]);
        head[at..at + UDP_BYTES].copy_from_slice(&header);
        let frame = landing.segment().part(0, at + total);
        frame.write(0, &head[..head_bytes]);
        arrive(frame, checksum_at(at), HEADROOM_BYTES, burst, self.counters);
        turn.strip.keep(frame.len());
        Spoken::Some
    }

    /// Gives the guest a datagram in pieces. Over IPv6 only the host of a packet cuts it, and none of ours does.
    pub(super) fn cut(&mut self, path: &Path, protocol: u8, datagram: Segment) {
        if !path.source.is_ipv4() {
            return self.counters.drop_frames(DropReason::TooLong, 1);
        }
        let id = self.replies.next_id();
        for cut in fragment::cuts(datagram.len(), MTU) {
            let part = datagram.part(cut.offset, cut.length);
            let units = u16::try_from(cut.offset / 8).expect("a packet has less than 65536 bytes");
            let bits = [id, units | if cut.has_more { 0x2000 } else { 0 }];
            let at = path.header_bytes();
            let Some(frame) = self.replies.add(at + part.len()) else { return };
            path.write(frame, protocol, part.len(), bits);
            part.read(0, &mut frame[at..]);
        }
    }
}

/// What is to be completed of a datagram whose header is at `at`.
fn checksum_at(at: usize) -> Offload {
    let csum_start = u16::try_from(at).expect("headers are short");
    Offload { flags: NEEDS_CHECKSUM, csum_start, csum_offset: 6, ..Offload::default() }
}
