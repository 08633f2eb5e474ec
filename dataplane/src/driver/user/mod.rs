//! The `user` driver: a network that is made up for a guest, with a router, name server and more in it, and the host's
//! sockets behind them.
//!
//! ```text
//! send ──► packet ──► arp, icmp, ndp, services ──► replies ──► receive
//! ```
//!
//! **What the guest says is heard in `send`, what it is told is given in `receive`.** Whatever a frame asks for that can
//! be answered at once becomes a reply that waits for the next time that the queue is asked.
//!
//! **Guests are hostile.** Their bytes are parsed in one place (`packet`), from a copy; everything behind it works with
//! values that were checked. Each table has a fixed size, and each turn a bounded amount of work.

#[allow(dead_code, reason = "flows and services use the rest")]
mod arp;
mod assembly;
pub mod dhcp;
pub mod dhcpv6;
pub mod fragment;
#[allow(dead_code, reason = "flows and services use the rest")]
mod header;
#[allow(dead_code, reason = "flows and services use the rest")]
mod icmp;
pub mod ndp;
#[allow(dead_code, reason = "flows and services use the rest")]
mod neighbours;
#[allow(dead_code, reason = "flows and services use the rest")]
mod packet;
#[cfg(test)]
mod recorded;
#[allow(dead_code, reason = "flows and services use the rest")]
mod replies;
mod services;
pub mod tftp;
#[allow(dead_code, reason = "flows and services use the rest")]
mod translate;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use framewire_shared::counters::{DropReason, QueueCounters};
use framewire_shared::driver::UserOptions;
use rustix::io::Errno;

use self::assembly::Assembly;
use self::header::{MTU, Path, TTL_MAX, mac_of6};
use self::icmp::Unreachable;
use self::neighbours::Neighbours;
use self::packet::{Arp, HEAD_BYTES, Ip, Malformed, Packet, protocol};
use self::replies::Replies;
use self::services::Services;
use self::translate::Translator;
use super::{Queue, Received};
use crate::frame::{Burst, Cursor, Frame, Segment};
use crate::turn::Turn;
use crate::uring::Readiness;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// What is copied of a packet that is answered here: all that the MTU allows, and the headers around it.
const COPY_BYTES: usize = 14 + MTU;

/// A made-up network.
#[derive(Debug)]
pub struct User {
    translator: Translator,
    neighbours: Neighbours,
    replies: Replies,
    services: Services,
    /// Away only while it hears what it has put together.
    assembly: Option<Box<Assembly>>,
    /// A packet that is being answered.
    copy: Box<[u8; COPY_BYTES]>,
    counters: &'static QueueCounters,
    /// Kept open, for whoever comes after us.
    _descriptors: Arc<[OwnedFd]>,
}

/// A frame that is being heard.
#[derive(Debug, Clone, Copy)]
struct Heard<'a> {
    #[allow(dead_code, reason = "flows look at what is still to be done to it")]
    frame: &'a Frame,
    segments: &'a [Segment],
    head: &'a [u8],
}

impl User {
    /// A network as the options say. The descriptors are those of [`UserOptions::descriptors`].
    ///
    /// # Errors
    /// If there is no memory for it.
    pub(super) fn new(
        options: &UserOptions,
        descriptors: Arc<[OwnedFd]>,
        counters: &'static QueueCounters,
    ) -> Result<Self, Errno> {
        // Numbers of packets begin where nobody can guess.
        let [a, b, ..] = RandomState::new().hash_one(0).to_ne_bytes();
        Ok(User {
            translator: Translator { options: *options },
            neighbours: Neighbours::default(),
            replies: Replies::new(u16::from_ne_bytes([a, b]), counters),
            services: Services::default(),
            assembly: Some(Box::new(Assembly::new()?)),
            copy: Box::new([0; COPY_BYTES]),
            counters,
            _descriptors: descriptors,
        })
    }

    /// Takes one frame of the guest's.
    fn hear(&mut self, frame: &Frame, segments: &[Segment]) -> Result<(), Malformed> {
        let mut head = [0; HEAD_BYTES];
        let head_bytes = Cursor::new(segments).read(&mut head);
        let heard = Heard { frame, segments, head: &head[..head_bytes] };
        match packet::parse(heard.head, frame.len as usize)? {
            Packet::Arp(arp) => self.hear_arp(&arp),
            Packet::Ip(ip) => self.hear_ip(&ip, heard)?,
        }
        Ok(())
    }

    fn hear_arp(&mut self, request: &Arp) {
        let network = &self.translator.options.ipv4;
        if !self.translator.has_family(true) {
            return;
        }
        let answer = arp::answer(request, network, |_address| false);
        if arp::teaches(request, network, answer.is_some()) {
            self.neighbours.learn(request.sender.into(), request.sender_mac);
        }
        if let Some(answer) = answer
            && let Some(reply) = self.replies.add(answer.len())
        {
            reply.copy_from_slice(&answer);
        }
    }

    fn hear_ip(&mut self, ip: &Ip, heard: Heard<'_>) -> Result<(), Malformed> {
        let is_ipv4 = ip.source.is_ipv4();
        if !self.translator.has_family(is_ipv4) {
            return Ok(());
        }
        if ip.ttl == 0 {
            self.complain(ip, heard, Unreachable::Expired);
            return Ok(());
        }
        if ip.fragment.is_some() {
            return self.hear_piece(ip, heard);
        }
        match ip.protocol {
            protocol::ICMP if is_ipv4 => self.hear_icmp(ip, heard),
            protocol::ICMP6 if !is_ipv4 => self.hear_icmp(ip, heard),
            protocol::UDP => self.hear_udp(ip, heard),
            _unknown => Ok(()),
        }
    }

    fn hear_icmp(&mut self, ip: &Ip, heard: Heard<'_>) -> Result<(), Malformed> {
        let mut back = self.translator.back(ip);
        let message = copied(&mut self.copy, heard, ip.at, ip.bytes)?;
        // A checksum of IPv6 covers addresses, in either order.
        if !icmp::is_sound(&back, message) {
            return Err(Malformed);
        }
        let is_ipv4 = ip.source.is_ipv4();
        if !is_ipv4 && ndp::TYPES.contains(&message[0]) {
            let bytes = message.len();
            self.hear_ndp(ip, bytes);
            return Ok(());
        }
        if icmp::is_echo_request(is_ipv4, message) && self.translator.alias(ip.destination).is_some() {
            (back.ttl, back.tos) = (TTL_MAX, ip.tos);
            icmp::make_reply(&back, message);
            self.replies.packet(&back, icmp::number(is_ipv4), &[message]);
        }
        Ok(())
    }

    /// Hears about neighbours and routers: a message of so many bytes, which were copied.
    fn hear_ndp(&mut self, ip: &Ip, bytes: usize) {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (ip.source, ip.destination) else { return };
        let network = self.translator.neighbourhood();
        let bytes = &self.copy[..bytes];
        let mut reply = [0; ndp::MESSAGE_BYTES_MAX];
        let message = ndp::Message { source, destination, hop_limit: ip.ttl, bytes };
        if ndp::teaches(&message) {
            self.neighbours.learn(ip.source, ip.from);
        }
        let Some(answer) = ndp::answer(&message, &network, &mut reply) else { return };
        let reply = &mut reply[..answer.bytes];
        let to = ndp::group_mac(answer.destination).unwrap_or(ip.from);
        let (from, source) = (mac_of6(answer.source), answer.source.into());
        let path = Path { to, from, source, destination: answer.destination.into(), ttl: TTL_MAX, tos: 0 };
        icmp::finish(&path, reply);
        self.replies.packet(&path, protocol::ICMP6, &[reply]);
    }

    fn hear_udp(&mut self, ip: &Ip, heard: Heard<'_>) -> Result<(), Malformed> {
        let udp = packet::udp(ip, heard.head)?;
        if self.serve(ip, &udp, heard)? {
            return Ok(());
        }
        Ok(())
    }

    /// Tells the guest what became of its packet.
    fn complain(&mut self, ip: &Ip, heard: Heard<'_>, what: Unreachable) {
        let first_byte = heard.head.get(ip.at).copied();
        if !icmp::may_be_told(ip, first_byte) {
            return;
        }
        let path = self.translator.complaint(ip);
        let packet_bytes = ip.at - ip.header_at + ip.bytes;
        let quoted = icmp::quoted_bytes(ip.source.is_ipv4(), packet_bytes);
        let Ok(quoted) = copied(&mut self.copy, heard, ip.header_at, quoted) else { return };
        let header = icmp::error(&path, what, quoted);
        self.replies.packet(&path, icmp::number(ip.source.is_ipv4()), &[&header, quoted]);
    }
}

/// Copies `bytes` bytes at `at` of a frame out, if they are no more than a packet may have.
fn copied<'a>(
    copy: &'a mut [u8; COPY_BYTES],
    heard: Heard<'_>,
    at: usize,
    bytes: usize,
) -> Result<&'a mut [u8], Malformed> {
    let copy = copy.get_mut(..bytes).ok_or(Malformed)?;
    let mut cursor = Cursor::new(heard.segments);
    cursor.pass(at);
    if cursor.read(copy) == bytes { Ok(copy) } else { Err(Malformed) }
}

impl Queue for User {
    fn receive(&mut self, burst: &mut Burst, turn: &mut Turn) -> Received {
        self.replies.give(burst, turn);
        Received::of(burst)
    }

    fn send(&mut self, burst: &Burst, _turn: &mut Turn) -> usize {
        for frame in burst.frames() {
            self.counters.sent_frames.add(1);
            self.counters.sent_bytes.add(u64::from(frame.len));
            if self.hear(frame, burst.segments(frame)) == Err(Malformed) {
                self.counters.drop_frames(DropReason::Foreign, 1);
            }
        }
        burst.len()
    }

    fn has_frames(&self) -> bool {
        !self.replies.is_empty()
    }

    fn arm(&mut self, readiness: Readiness) -> bool {
        readiness == Readiness::Receive && self.has_frames()
    }

    fn descriptor(&self) -> Option<RawFd> {
        None
    }

    fn counters(&self) -> &'static QueueCounters {
        self.counters
    }
}
