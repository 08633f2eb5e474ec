//! How connections begin and end.
//!
//! The guest's SYN is answered when the host's end is connected, so a guest never believes in a connection that is
//! refused. A connection that begins at the host is asked of the guest with the peer's own address, if that means
//! anything to it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use framewire_shared::counters::DropReason;
use framewire_shared::driver::user::Stock;
use rustix::io::Errno;

use super::super::calls::{self, Event};
use super::super::flow::{Flow, Key, Kind, Reference, Tcp};
use super::super::header::{MTU, Path};
use super::super::icmp::Unreachable;
use super::super::packet::{Ip, Malformed, protocol};
use super::super::translate::Lead;
use super::super::{Heard, User};
use super::connection::Connection;
use super::segment::{self, HEADER_BYTES, Segment, flag};
use crate::frame::checksum::Sum;

/// Bytes of the largest segment over a family.
pub(super) fn mss_max(is_ipv4: bool) -> u16 {
    u16::try_from(MTU - HEADER_BYTES - if is_ipv4 { 20 } else { 40 }).expect("less than the MTU")
}

impl User {
    /// Hears a TCP packet.
    pub(in super::super) fn hear_tcp(&mut self, ip: &Ip, heard: Heard<'_>) -> Result<(), Malformed> {
        let segment = segment::parse(ip, heard.head)?;
        if !heard.frame.offload.is_good() && !self.adds_up(ip, ip.bytes, heard) {
            return Err(Malformed);
        }
        let [guest, remote] = segment.ports;
        let key = Key {
            protocol: protocol::TCP,
            guest: SocketAddr::new(ip.source, guest),
            remote: SocketAddr::new(ip.destination, remote),
        };
        match self.flows.table.find(&key) {
            Some(reference) => self.hear_segment(reference, &segment, heard),
            None if segment.flags & (flag::SYN | flag::ACK | flag::RST | flag::FIN) == flag::SYN => {
                self.open(key, ip, &segment, heard);
            }
            None => self.refuse(&self.translator.back(ip), &segment),
        }
        Ok(())
    }

    /// The guest asks for a connection.
    fn open(&mut self, key: Key, ip: &Ip, segment: &Segment, heard: Heard<'_>) {
        let back = self.translator.back(ip);
        let host = match self.translator.lead(key.remote, false) {
            Lead::Host(host) => host,
            Lead::Nowhere => return self.complain(ip, heard, Unreachable::Network),
            Lead::Forbidden => return self.refuse(&back, segment),
            Lead::Dropped => return self.counters.drop_frames(DropReason::Foreign, 1),
        };
        let stock = if host.is_ipv4() { Stock::Tcp4 } else { Stock::Tcp6 };
        if !self.flows.has_room() {
            return self.counters.drop_frames(DropReason::NoRoom, 1);
        }
        // Without a socket there is silence, and the guest asks again.
        let Some(socket) = self.stocks.take(stock) else {
            return self.counters.drop_frames(DropReason::NoRoom, 1);
        };
        match calls::connect(&socket, host) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(Errno::CONNREFUSED) => return self.refuse(&back, segment),
            Err(Errno::HOSTUNREACH) => return self.complain(ip, heard, Unreachable::Host),
            Err(_errno) => return self.complain(ip, heard, Unreachable::Network),
        }
        let connection =
            Connection::asked_for(segment, self.first_number(&key), mss_max(ip.source.is_ipv4()));
        let flow = Flow {
            socket,
            path: Path { tos: ip.tos & 0xfc, ..back },
            ports: segment.ports,
            is_ready: false,
            due_ns: u64::MAX,
            kind: Kind::Tcp(Tcp::new(connection, false)),
        };
        // The watch tells of a connection that is there already, too.
        self.flows.begin(key, flow);
    }

    /// A number to begin with that nobody can guess (RFC 6528): a secret for each pair of ends, and a clock.
    fn first_number(&self, key: &Key) -> u32 {
        const STEP_NS: u64 = 4_000;
        let sum = self.flows.table.secret(key).wrapping_add(self.now_ns / STEP_NS);
        u32::try_from(sum & 0xffff_ffff).expect("32 bits")
    }

    /// Asks the guest for a connection.
    pub(in super::super) fn ask(&mut self, key: Key, socket: OwnedFd, is_unix: bool) {
        let is_ipv4 = key.guest.is_ipv4();
        let mut connection = Connection::asking(self.first_number(&key), mss_max(is_ipv4));
        connection.open();
        let to = self.neighbours.find(key.guest.ip()).unwrap_or_default();
        let _ = calls::seek(&socket, 0);
        let flow = Flow {
            socket,
            path: self.translator.path(to, key.remote.ip(), key.guest.ip()),
            ports: [key.guest.port(), key.remote.port()],
            is_ready: false,
            due_ns: u64::MAX,
            kind: Kind::Tcp(Tcp { owes_beginning: true, is_unix, ..Tcp::new(connection, true) }),
        };
        if let Some(reference) = self.flows.begin(key, flow) {
            self.flows.expect(reference, self.now_ns + connection.patience_ns());
            self.flows.wake(reference);
        }
    }

    /// Something has happened to a connection's socket.
    pub(in super::super) fn tcp_event(&mut self, reference: Reference, event: Event) {
        let Some(flow) = self.flows.table.get_mut(reference) else { return };
        let Kind::Tcp(tcp) = &mut flow.kind else { return };
        let failure = if event.has_failed {
            rustix::net::sockopt::socket_error(&flow.socket).ok().and_then(Result::err)
        } else {
            None
        };
        if failure.is_some() {
            return self.break_off(reference);
        }
        tcp.has_data |= event.can_receive;
        if !tcp.connection.events.is_open {
            if !event.can_send {
                return;
            }
            tcp.connection.open();
            tcp.owes_beginning = true;
            let _ = calls::seek(&flow.socket, 0);
            tcp.connection.promise(calls::send_room(&flow.socket, tcp.is_unix).0);
            let due_ns = self.now_ns + tcp.connection.patience_ns();
            self.flows.expect(reference, due_ns);
        } else if !tcp.connection.events.is_established {
            return; // A guest that has not answered cannot be told anything, and is asked again in its own time.
        } else if event.can_send {
            let (room, _is_low) = calls::send_room(&flow.socket, tcp.is_unix);
            tcp.owes_answer |= tcp.connection.promise(room);
        }
        self.flows.wake(reference);
    }

    /// The host's end is gone: so is the guest's.
    pub(super) fn break_off(&mut self, reference: Reference) {
        let Some(flow) = self.flows.table.get_mut(reference) else { return };
        let Kind::Tcp(tcp) = &flow.kind else { return };
        let (path, [guest, remote]) = (flow.path, flow.ports);
        let mut segment = tcp.connection.segment(flag::RST | flag::ACK);
        if !tcp.connection.events.is_open {
            segment.seq = 0;
        }
        segment.ports = [remote, guest];
        calls::make_abortive(&flow.socket);
        self.flows.end(reference);
        self.say(&path, &segment);
    }

    /// Ends a connection without a word to the guest; the host's peer sees that it was broken off.
    pub(super) fn abandon(&mut self, reference: Reference) {
        if let Some(flow) = self.flows.table.get_mut(reference) {
            calls::make_abortive(&flow.socket);
        }
        self.flows.end(reference);
    }

    /// Answers a segment of no connection. A reset is never answered.
    pub(super) fn refuse(&mut self, back: &Path, segment: &Segment) {
        if segment.has(flag::RST) {
            return;
        }
        let [guest, remote] = segment.ports;
        let mut reset = Segment { ports: [remote, guest], flags: flag::RST, ..Segment::default() };
        if segment.has(flag::ACK) {
            reset.seq = segment.ack;
        } else {
            reset.flags |= flag::ACK;
            reset.ack = segment.seq.wrapping_add(segment.len());
        }
        self.say(back, &reset);
    }

    /// Says a segment without payload.
    pub(super) fn say(&mut self, path: &Path, segment: &Segment) {
        let mut header = [0; HEADER_BYTES + 8];
        let len = segment::write(segment, &mut header);
        let sum = path.pseudo_sum(protocol::TCP, len).then(Sum::of(&header[..len]));
        header[16..18].copy_from_slice(&sum.checksum());
        self.replies.packet(path, protocol::TCP, &[&header[..len]]);
    }
}
