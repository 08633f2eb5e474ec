//! The `user` driver: a network that is made up for a guest, with a router, name server and more in it, and the host's
//! sockets behind them.
//!
//! ```text
//! send ──► packet ─┬► arp, icmp, ndp, services ──► replies ─┬► receive
//!                  └► tcp, udp ◄──► sockets ────────────────┘
//! ```
//!
//! **What the guest says is heard in `send`, what it is told is given in `receive`.** Whatever a frame asks for that can
//! be answered at once becomes a reply that waits for the next time that the queue is asked.
//!
//! **Sockets are never opened here.** They come from a well ([`stock`]), so a network without one leads nowhere.
//!
//! **Guests are hostile.** Their bytes are parsed in one place (`packet`), from a copy; everything behind it works with
//! values that were checked. Each table has a fixed size, and each turn a bounded amount of work.

mod amend;
mod arp;
mod assembly;
mod calls;
pub mod dhcp;
pub mod dhcpv6;
mod errors;
mod files;
mod flow;
mod forward;
pub mod fragment;
mod header;
mod icmp;
pub mod ndp;
mod neighbours;
mod packet;
mod ping;
#[cfg(test)]
mod recorded;
mod replies;
mod services;
mod stock;
mod tcp;
pub mod tftp;
mod translate;
mod udp;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;

use framewire_shared::counters::{DropReason, QueueCounters, monotonic_ns};
use framewire_shared::driver::UserOptions;
use framewire_shared::limits::BURST_FRAMES_MAX;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

pub(in crate::driver) use self::calls::SYSTEM_CALLS;
pub(in crate::driver) use self::files::SYSTEM_CALLS as FILE_SYSTEM_CALLS;
pub(in crate::driver) use self::flow::share_descriptors;

use self::assembly::Assembly;
use self::calls::Event;
use self::flow::{Flows, Kind, Reference};
use self::forward::Forwards;
use self::header::{MTU, TTL_MAX};
use self::icmp::Unreachable;
use self::neighbours::Neighbours;
use self::packet::{Arp, HEAD_BYTES, Ip, Malformed, Packet, protocol};
use self::replies::Replies;
use self::services::Services;
use self::stock::Stocks;
use self::tcp::Outgoing;
use self::translate::Translator;
use super::{Queue, Received};
use crate::frame::offload::GSO_NONE;
use crate::frame::{Burst, Cursor, Frame, SEGMENTS_MAX, Segment, SegmentList};
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
    /// Where sockets come from, then those that listen at ports which lead to the guest.
    descriptors: Arc<[OwnedFd]>,
    stocks: Stocks,
    flows: Flows,
    forwards: Forwards,
    /// What a connection of the guest's has said in this burst.
    outgoing: Outgoing,
    /// Pieces of a datagram.
    pieces: SegmentList,
    /// Which frames of this burst, by their number in it, are of which connection.
    spoken: Vec<(usize, Reference)>,
    timer: OwnedFd,
    now_ns: u64,
    /// When the router will say of itself that it is there.
    advertise_ns: u64,
    /// Nobody has looked at the sockets since somebody may have been waiting.
    is_stirred: bool,
}

/// What came of asking a flow for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    /// It has nothing more.
    All,
    /// It may have more.
    Some,
    /// It has more, and there is no room.
    NoRoom,
}

/// Flows that are asked in one turn.
const ASKED_MAX: usize = 128;
/// Timers that are heard in one turn.
const TIMERS_MAX: usize = 64;

/// The timer's number among what is watched; listening sockets have those above, by their place.
const TIMER: u64 = u64::MAX;
/// The socket on which files come.
const FILES: u64 = u64::MAX - 1;
const LISTENERS: u64 = u64::MAX << 32;

/// A frame that is being heard.
#[derive(Debug, Clone, Copy)]
struct Heard<'a> {
    frame: &'a Frame,
    segments: &'a [Segment],
    head: &'a [u8],
}

impl Heard<'_> {
    /// The packet's number, if it is of IPv4.
    fn id(&self, ip: &Ip) -> u16 {
        let at = ip.header_at + 4;
        match self.head.get(at..at + 2) {
            Some(&[high, low]) if ip.source.is_ipv4() => u16::from_be_bytes([high, low]),
            Some(_) | None => 0,
        }
    }
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
    ) -> rustix::io::Result<Self> {
        let now_ns = monotonic_ns();
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        // Numbers of packets begin where nobody can guess.
        let [a, b, random @ .., _, _] = RandomState::new().hash_one(0).to_ne_bytes();
        let mut user = User {
            translator: Translator { options: *options },
            neighbours: Neighbours::default(),
            replies: Replies::new(u16::from_ne_bytes([a, b]), counters),
            services: Services::new(u32::from_ne_bytes(random)),
            assembly: Some(Box::new(Assembly::new()?)),
            copy: Box::new([0; COPY_BYTES]),
            counters,
            stocks: Stocks::new(Arc::clone(&descriptors), options.has_stocks()),
            descriptors,
            flows: Flows::new(now_ns)?,
            forwards: Forwards::new(),
            outgoing: Outgoing::new(),
            pieces: SegmentList::with_capacity(SEGMENTS_MAX),
            spoken: Vec::with_capacity(BURST_FRAMES_MAX),
            timer,
            now_ns,
            advertise_ns: 0,
            is_stirred: true,
        };
        user.plan_advertisement();
        user.flows.watcher.watch(user.timer.as_fd(), TIMER)?;
        user.begin_forwards()?;
        if let Some(files) = user.files_socket() {
            user.flows.watcher.watch(files, FILES)?;
        }
        Ok(user)
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
            self.learn(request.sender.into(), request.sender_mac);
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
        let packet_bytes = ip.at - ip.header_at + ip.bytes;
        if !is_ipv4 && packet_bytes > MTU && heard.frame.offload.gso_type == GSO_NONE {
            // No router cuts what is of IPv6.
            self.complain(ip, heard, Unreachable::TooBig(u32::try_from(MTU).expect("it is small")));
            return Ok(());
        }
        match ip.protocol {
            protocol::ICMP if is_ipv4 => self.hear_icmp(ip, heard),
            protocol::ICMP6 if !is_ipv4 => self.hear_icmp(ip, heard),
            protocol::UDP => self.hear_udp(ip, heard),
            protocol::TCP => self.hear_tcp(ip, heard),
            _unknown => Ok(()),
        }
    }

    /// Whether the checksum of a packet adds up: of `bytes` bytes behind the IP header, and the pseudo header.
    fn adds_up(&self, ip: &Ip, bytes: usize, heard: Heard<'_>) -> bool {
        let mut cursor = Cursor::new(heard.segments);
        cursor.pass(ip.at);
        let pseudo = self.translator.back(ip).pseudo_sum(ip.protocol, bytes);
        pseudo.then(cursor.sum(bytes)).checksum() == [0xff, 0xff]
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
        if !icmp::is_echo_request(is_ipv4, message) {
            return Ok(());
        }
        if self.translator.alias(ip.destination).is_none() {
            let bytes = message.len();
            self.hear_ping(ip, bytes, heard);
        } else {
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
        let answer = ndp::answer(&message, &network, &mut reply);
        if ndp::teaches(&message) {
            self.learn(ip.source, ip.from);
        }
        if let Some(answer) = answer {
            self.say_ndp(answer, &mut reply[..answer.bytes], ip.from);
        }
    }

    /// The router says to everybody that it is there, asked by nobody.
    fn advertise(&mut self) {
        let mut message = [0; ndp::MESSAGE_BYTES_MAX];
        if let Some(said) = ndp::advertisement(&self.translator.neighbourhood(), &mut message) {
            self.say_ndp(said, &mut message[..said.bytes], [0xff; 6]);
        }
        self.plan_advertisement();
    }

    /// The next time is when nobody can guess, so that many routers do not speak at once.
    fn plan_advertisement(&mut self) {
        const SECOND_NS: u64 = 1_000_000_000;
        let wait_s = 200 + RandomState::new().hash_one(self.now_ns) % 400;
        let is_wanted = self.translator.has_family(false);
        self.advertise_ns = if is_wanted { self.now_ns + wait_s * SECOND_NS } else { u64::MAX };
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
        let is_ipv4 = ip.source.is_ipv4();
        let header = icmp::error(&path, what.header(is_ipv4), &[quoted]);
        self.replies.packet(&path, icmp::number(is_ipv4), &[&header, quoted]);
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

impl User {
    /// Looks what has happened to sockets, and what is overdue.
    fn look(&mut self) {
        for place in 0..self.flows.watcher.look() {
            let event = self.flows.watcher.event(place);
            match event.number {
                TIMER => {}
                FILES => self.services.tftp.look(),
                number if number >= LISTENERS => self.hear_listener(number - LISTENERS),
                number => self.hear_event(Reference::from_bits(number), event),
            }
        }
        if self.advertise_ns <= self.now_ns {
            self.advertise();
        }
        for _timer in 0..TIMERS_MAX {
            let Some(reference) = self.flows.overdue(self.now_ns) else { break };
            match self.flows.table.get_mut(reference).map(|flow| &flow.kind) {
                Some(Kind::Tcp(_)) => self.tcp_overdue(reference),
                Some(Kind::Udp(_)) => self.udp_overdue(reference),
                Some(Kind::Ping(_)) => self.flows.end(reference),
                None => {}
            }
        }
    }

    fn hear_event(&mut self, reference: Reference, event: Event) {
        match self.flows.table.get_mut(reference).map(|flow| &flow.kind) {
            Some(Kind::Tcp(_)) => self.tcp_event(reference, event),
            Some(Kind::Udp(_) | Kind::Ping(_)) => {
                if event.has_failed {
                    self.hear_errors(reference);
                }
                if event.can_receive || event.has_failed {
                    self.flows.wake(reference);
                }
            }
            None => {}
        }
    }

    /// Asks flows that may have something, each for one frame, round and round.
    fn ask_flows(&mut self, burst: &mut Burst, turn: &mut Turn) {
        for _flow in 0..ASKED_MAX {
            let Some(reference) = self.flows.ready.pop_front() else { return };
            let Some(flow) = self.flows.table.get_mut(reference) else { continue };
            flow.is_ready = false;
            let spoken = match flow.kind {
                Kind::Tcp(_) => self.speak_tcp(reference, burst, turn),
                Kind::Udp(_) => self.speak_udp(reference, burst, turn),
                Kind::Ping(_) => self.speak_ping(reference, burst, turn),
            };
            match spoken {
                Spoken::All => {}
                Spoken::Some => self.flows.wake(reference),
                Spoken::NoRoom => return self.flows.wake(reference),
            }
        }
    }

    /// Has the timer fire when something will be due.
    fn set_timer(&self) {
        let zero = Timespec::default();
        let next_ns = self.flows.wheel.next_ns().into_iter().chain([self.advertise_ns]).min();
        let it_value = next_ns.filter(|next_ns| *next_ns != u64::MAX).map_or(zero, |due_ns| Timespec {
            tv_sec: i64::try_from(due_ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(due_ns % 1_000_000_000).unwrap_or(0),
        });
        let setting = Itimerspec { it_interval: zero, it_value };
        let _ = rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &setting);
    }
}

impl Queue for User {
    fn receive(&mut self, burst: &mut Burst, turn: &mut Turn) -> Received {
        self.now_ns = monotonic_ns();
        self.spoken.clear();
        self.is_stirred = false;
        self.look();
        if self.services.tftp.is_waiting() {
            self.take_files();
        }
        self.replies.give(burst, turn);
        self.ask_flows(burst, turn);
        self.replies.give(burst, turn);
        Received::of(burst)
    }

    fn settle(&mut self, burst: &Burst, taken: usize, _turn: &mut Turn) {
        if taken < burst.len() {
            self.counters.drop_frames(DropReason::NoRoom, (burst.len() - taken) as u64);
            self.unsay(taken);
        }
    }

    fn send(&mut self, burst: &Burst, _turn: &mut Turn) -> usize {
        self.now_ns = monotonic_ns();
        for frame in burst.frames() {
            self.counters.sent_frames.add(1);
            self.counters.sent_bytes.add(u64::from(frame.len));
            if self.hear(frame, burst.segments(frame)) == Err(Malformed) {
                self.counters.drop_frames(DropReason::Foreign, 1);
            }
        }
        self.flush();
        self.is_stirred = true;
        burst.len()
    }

    fn has_frames(&self) -> bool {
        // What was heard may have been heard by somebody on this host who answers at once, or have begun a timer.
        self.is_stirred || !self.replies.is_empty() || !self.flows.ready.is_empty()
    }

    fn arm(&mut self, readiness: Readiness) -> bool {
        if readiness == Readiness::Send {
            return false;
        }
        self.set_timer();
        self.has_frames()
    }

    fn descriptor(&self) -> Option<RawFd> {
        Some(self.flows.watcher.descriptor())
    }

    fn counters(&self) -> &'static QueueCounters {
        self.counters
    }
}
