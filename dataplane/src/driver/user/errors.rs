//! What the host has heard about a guest's datagrams: a port that nobody has, a network that nobody knows, a packet that is
//! too large, hops that ran out. The guest is told as if its own packet had met that.
//!
//! The kernel keeps such news in the socket's error queue, with the payload that they are about and whoever has sent
//! them. Headers are written anew as the guest wrote them. Whoever has sent them is who the guest hears them from, so that
//! traceroute works; the host's own loopback is the router to a guest, also here.

use std::net::{IpAddr, SocketAddr};

use super::User;
use super::calls::{self, Origin, QueuedError};
use super::flow::{Kind, Reference};
use super::header::{PATH_BYTES_MAX, Path, TTL_MAX, udp_header};
use super::icmp::{self, Unreachable};
use super::packet::{UDP_BYTES, protocol};
use crate::frame::checksum::Sum;

/// Errors of one socket that are told at once.
const ERRORS_MAX: usize = 16;
/// What is quoted of a payload: no more than an error over IPv6 may have.
const PAYLOAD_BYTES_MAX: usize = 1400;
/// Ethernet's header, which is not quoted.
const ETHERNET_BYTES: usize = 14;

impl User {
    /// Tells the guest what its datagrams have met.
    pub(super) fn hear_errors(&mut self, reference: Reference) {
        for _error in 0..ERRORS_MAX {
            let Some(flow) = self.flows.table.get_mut(reference) else { return };
            let mut payload = [0; PAYLOAD_BYTES_MAX];
            let Ok((error, bytes)) = calls::receive_error(&flow.socket, &mut payload) else { return };
            self.pass_on(reference, &error, &mut payload[..bytes]);
        }
        if let Some(flow) = self.flows.table.get_mut(reference) {
            self.flows.watcher.look_again(&flow.socket, reference.to_bits());
        }
    }

    /// Tells the guest of one error.
    fn pass_on(&mut self, reference: Reference, error: &QueuedError, payload: &mut [u8]) {
        let Some(flow) = self.flows.table.get_mut(reference) else { return };
        let (guest, to) = (flow.path.destination, flow.path.to);
        let is_ipv4 = guest.is_ipv4();
        let Some(header) = header(error, is_ipv4) else { return };
        let (quoted, shown, sent) = match &flow.kind {
            Kind::Udp(udp) => {
                (protocol::UDP, self.translator.shown(error.to, udp.destination, udp.host), udp.sent)
            }
            Kind::Ping(ping) => {
                let shown = self.translator.shown(error.to, ping.destination, ping.host);
                (icmp::number(is_ipv4), shown, ping.sent)
            }
            Kind::Tcp(_) => return,
        };
        if shown.is_ipv4() != is_ipv4 || to == [0; 6] {
            return;
        }
        let ttl = sent.ttl.saturating_add(1);
        let asked = Path { to, from: to, source: guest, destination: shown.ip(), ttl, tos: 0 };
        let mut head = [0; PATH_BYTES_MAX + UDP_BYTES];
        let ports = [flow.ports[0], shown.port()];
        let head_bytes = write_head(&asked, quoted, ports, (&mut head, sent.id), payload);
        let head = &head[ETHERNET_BYTES..head_bytes];
        let most = icmp::quoted_bytes(is_ipv4, head.len() + payload.len()) - head.len();
        let payload = &payload[..most];
        let path = self.path_of_offender(error.offender, &asked);
        let header = icmp::error(&path, header, &[head, payload]);
        self.replies.packet(&path, icmp::number(is_ipv4), &[&header, head, payload]);
    }

    /// The way on which an error goes: from whoever has sent it, if the guest could know them.
    fn path_of_offender(&self, offender: Option<IpAddr>, asked: &Path) -> Path {
        let is_ipv4 = asked.source.is_ipv4();
        let known = offender.filter(|offender| {
            offender.is_ipv4() == is_ipv4 && !offender.is_loopback() && !offender.is_unspecified()
        });
        let source = known.unwrap_or_else(|| self.translator.complainer(is_ipv4));
        let tos = if is_ipv4 { 0xc0 } else { 0 };
        Path { ttl: TTL_MAX, tos, ..self.translator.path(asked.to, source, asked.source) }
    }
}

/// Writes what came before a payload as the guest has sent it; how much that is. An echo's own header is in the payload,
/// and is given the guest's number again.
fn write_head(
    asked: &Path,
    protocol: u8,
    ports: [u16; 2],
    (head, id): (&mut [u8], u16),
    payload: &mut [u8],
) -> usize {
    if protocol == protocol::UDP {
        let total = UDP_BYTES + payload.len();
        let at = asked.write(head, protocol, total, [id, 0]);
        let mut header = udp_header(ports, payload.len());
        let sum = asked.pseudo_sum(protocol, total).then(Sum::of(&header)).then(Sum::of(payload));
        header[6..].copy_from_slice(&sum.checksum());
        head[at..at + UDP_BYTES].copy_from_slice(&header);
        return at + UDP_BYTES;
    }
    let at = asked.write(head, protocol, payload.len(), [id, 0]);
    if payload.len() >= icmp::HEADER_BYTES {
        payload[4..6].copy_from_slice(&ports[0].to_be_bytes());
        icmp::finish(asked, payload);
    }
    at
}

/// Type, code and what belongs to them, as the kernel has them. What only the host itself has met is put into words of the
/// network.
fn header(error: &QueuedError, is_ipv4: bool) -> Option<[u8; icmp::HEADER_BYTES]> {
    let QueuedError { origin, kind_and_code: [kind, code], errno, info, .. } = *error;
    let what = match origin {
        Origin::Icmp if (kind, code) == (3, 4) && is_ipv4 => Unreachable::TooBig(info),
        Origin::Icmp6 if kind == 2 && !is_ipv4 => Unreachable::TooBig(info),
        Origin::Icmp if is_ipv4 => return Some([kind, code, 0, 0, 0, 0, 0, 0]),
        Origin::Icmp6 if !is_ipv4 => return Some([kind, code, 0, 0, 0, 0, 0, 0]),
        Origin::Local if errno == libc::EMSGSIZE.unsigned_abs() => Unreachable::TooBig(info),
        Origin::Local if errno == libc::EHOSTUNREACH.unsigned_abs() => Unreachable::Host,
        Origin::Local => Unreachable::Network,
        Origin::Icmp | Origin::Icmp6 => return None,
    };
    Some(what.header(is_ipv4))
}

/// Where an answer to a port of everybody's is shown to come from, as an address without port.
pub(super) fn portless(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 0)
}
