//! What the host's socket has goes to the guest, read straight into the frame that carries it.
//!
//! It is looked at and left where it is until the guest has acknowledged it: the kernel's receive queue is what would be
//! sent again. A frame carries up to 64 KiB with one header, to be cut by whoever cannot take it so, which is mostly
//! nobody: so the MTU hardly matters.

use framewire_shared::limits::FRAME_BYTES_MAX;
use rustix::io::Errno;

use super::super::calls;
use super::super::flow::{Kind, Reference};
use super::super::header::PATH_BYTES_MAX;
use super::super::packet::protocol;
use super::super::{Spoken, User};
use super::connection::Overdue;
use super::open::mss_max;
use super::segment::{self, HEADER_BYTES, Segment, flag};
use crate::driver::arrive;
use crate::frame::checksum::Sum;
use crate::frame::offload::{GSO_NONE, GSO_TCP4, GSO_TCP6, NEEDS_CHECKSUM};
use crate::frame::{Burst, HEADROOM_BYTES, Offload};
use crate::turn::Turn;

/// Payload of the largest packet that IP can describe.
const PAYLOAD_BYTES_MAX: usize = 65_535 - 20 - HEADER_BYTES;

const _: () = assert!(PATH_BYTES_MAX + HEADER_BYTES + PAYLOAD_BYTES_MAX <= FRAME_BYTES_MAX);

impl User {
    /// Lets a connection say what it has to say: one frame at most.
    pub(in super::super) fn speak_tcp(
        &mut self,
        reference: Reference,
        burst: &mut Burst,
        turn: &mut Turn,
    ) -> Spoken {
        let Some(flow) = self.flows.table.get_mut(reference) else { return Spoken::All };
        let Kind::Tcp(tcp) = &mut flow.kind else { return Spoken::All };
        if tcp.owes_beginning {
            self.begin_stream(reference);
            return Spoken::All;
        }
        let may_speak = tcp.has_data && !tcp.connection.has_sent_end() && tcp.connection.room() > 0;
        let spoken = if may_speak { self.speak_data(reference, burst, turn) } else { Spoken::All };
        if spoken != Spoken::NoRoom {
            self.speak_rest(reference);
        }
        spoken
    }

    /// Tells the guest that the connection is open, or asks it for one.
    fn begin_stream(&mut self, reference: Reference) {
        if !self.finds_guest(reference) {
            return;
        }
        let Some(flow) = self.flows.table.get_mut(reference) else { return };
        let Kind::Tcp(tcp) = &mut flow.kind else { return };
        (tcp.owes_beginning, tcp.owes_answer) = (false, false);
        let (path, [guest, remote]) = (flow.path, flow.ports);
        let mss = Some(mss_max(path.source.is_ipv4()));
        let mut segment =
            tcp.connection.segment(if tcp.is_from_host { flag::SYN } else { flag::SYN | flag::ACK });
        if tcp.is_from_host {
            // Whether the guest shifts its windows is not known yet; that we could is offered.
            (segment.ack, segment.scale) = (0, Some(super::connection::SCALE));
        }
        self.say(&path, &Segment { ports: [remote, guest], mss, ..segment });
    }

    /// An end, or an acknowledgement, if one is owed; and farewell if that was all.
    fn speak_rest(&mut self, reference: Reference) {
        let Some(flow) = self.flows.table.get_mut(reference) else { return };
        let Kind::Tcp(tcp) = &mut flow.kind else { return };
        let (path, [guest, remote]) = (flow.path, flow.ports);
        let ends = tcp.at_end && !tcp.has_data && !tcp.connection.has_sent_end();
        if ends && tcp.connection.events.is_established {
            let segment = tcp.connection.segment(flag::FIN | flag::ACK);
            tcp.connection.sent_end();
            (tcp.owes_answer, tcp.duplicates) = (false, 0);
            let due_ns = self.now_ns + tcp.connection.patience_ns();
            self.say(&path, &Segment { ports: [remote, guest], ..segment });
            self.flows.expect(reference, due_ns);
        } else if std::mem::take(&mut tcp.owes_answer) {
            let segment = tcp.connection.segment(flag::ACK);
            let is_over = tcp.connection.is_over();
            for _time in 0..std::mem::take(&mut tcp.duplicates).max(1) {
                self.say(&path, &Segment { ports: [remote, guest], ..segment });
            }
            if is_over {
                self.flows.end(reference);
            }
        } else if tcp.connection.is_over() {
            self.flows.end(reference);
        }
    }

    /// Fills one frame.
    fn speak_data(&mut self, reference: Reference, burst: &mut Burst, turn: &mut Turn) -> Spoken {
        let Some(flow) = self.flows.table.get_mut(reference) else { return Spoken::All };
        let Kind::Tcp(tcp) = &mut flow.kind else { return Spoken::All };
        let mss = usize::from(tcp.connection.mss);
        let most = PAYLOAD_BYTES_MAX / mss * mss;
        let wanted = most.min(tcp.connection.room() as usize);
        let head_bytes = flow.path.header_bytes() + HEADER_BYTES;
        let landing = if burst.has_room(1) { turn.strip.room(head_bytes + wanted) } else { None };
        let Some(landing) = landing else { return Spoken::NoRoom };
        if tcp.must_seek {
            let _ = calls::seek(&flow.socket, tcp.connection.offset());
            tcp.must_seek = false;
        }
        let peeked = match calls::peek(&flow.socket, landing.segment().part(head_bytes, wanted)) {
            Ok(0) => {
                (tcp.at_end, tcp.has_data) = (true, false);
                return Spoken::All;
            }
            Ok(bytes) => bytes,
            Err(Errno::AGAIN | Errno::INTR) => {
                tcp.has_data = false;
                return Spoken::All;
            }
            Err(_broken) => {
                self.break_off(reference);
                return Spoken::All;
            }
        };
        let mut head = [0; PATH_BYTES_MAX + HEADER_BYTES + 8];
        let (path, [guest, remote]) = (flow.path, flow.ports);
        let flags = if peeked < wanted { flag::ACK | flag::PSH } else { flag::ACK };
        let said = Segment { ports: [remote, guest], ..tcp.connection.segment(flags) };
        let bits = [self.replies.next_id(), 0];
        let at = path.write(&mut head, protocol::TCP, HEADER_BYTES + peeked, bits);
        let mut header = [0; HEADER_BYTES + 8];
        segment::write(&said, &mut header);
        // Whoever completes the checksum begins with the pseudo header's sum in its place.
        let pseudo = path.pseudo_sum(protocol::TCP, HEADER_BYTES + peeked).then(Sum::default());
        header[16..18].copy_from_slice(&pseudo.checksum().map(|byte| !byte));
        head[at..at + HEADER_BYTES].copy_from_slice(&header[..HEADER_BYTES]);
        let frame = landing.segment().part(0, head_bytes + peeked);
        frame.write(0, &head[..head_bytes]);
        arrive(frame, offload(at, mss, peeked, path.source.is_ipv4()), HEADROOM_BYTES, burst, self.counters);
        turn.strip.keep(frame.len());
        self.spoken.push((burst.len(), reference));
        // Only those without data count as duplicates.
        tcp.owes_answer = tcp.duplicates > 0;
        tcp.connection.sent(u32::try_from(peeked).expect("64 KiB at most"));
        let due_ns = self.now_ns + tcp.connection.patience_ns();
        if flow.due_ns == u64::MAX {
            self.flows.expect(reference, due_ns);
        }
        Spoken::Some
    }

    /// Frames that nobody took are sent again.
    pub(in super::super) fn unsay(&mut self, taken: usize) {
        while let Some((place, reference)) = self.spoken.pop() {
            if place > taken
                && let Some(flow) = self.flows.table.get_mut(reference)
                && let Kind::Tcp(tcp) = &mut flow.kind
            {
                tcp.connection.rewind();
                (tcp.must_seek, tcp.has_data) = (true, true);
                self.flows.wake(reference);
            }
        }
    }

    /// The guest has not answered in time.
    pub(in super::super) fn tcp_overdue(&mut self, reference: Reference) {
        let Some(flow) = self.flows.table.get_mut(reference) else { return };
        let (path, [guest, remote]) = (flow.path, flow.ports);
        let Kind::Tcp(tcp) = &mut flow.kind else { return };
        let events = tcp.connection.events;
        match tcp.connection.overdue(tcp.has_data) {
            Overdue::Nothing if events.end_was_heard && !events.guest_has_ended => {
                return self.break_off(reference);
            }
            Overdue::Nothing => return self.flows.expect(reference, u64::MAX),
            Overdue::GiveUp => return self.break_off(reference),
            Overdue::Probe => {
                let probe = Segment { ports: [remote, guest], ..tcp.connection.probe() };
                let due_ns = self.now_ns + tcp.connection.patience_ns();
                self.say(&path, &probe);
                return self.flows.expect(reference, due_ns);
            }
            Overdue::Again if events.is_established => {
                (tcp.must_seek, tcp.has_data) = (true, true);
            }
            Overdue::Again => tcp.owes_beginning = true,
        }
        let due_ns = self.now_ns + tcp.connection.patience_ns();
        self.flows.expect(reference, due_ns);
        self.flows.wake(reference);
    }
}

/// What is still to be done to a frame with `bytes` bytes of payload, whose TCP header is at `at`.
fn offload(at: usize, mss: usize, bytes: usize, is_ipv4: bool) -> Offload {
    let small = |number: usize| u16::try_from(number).expect("headers and segments are short");
    let gso_type = if is_ipv4 { GSO_TCP4 } else { GSO_TCP6 };
    let is_large = bytes > mss;
    Offload {
        flags: NEEDS_CHECKSUM,
        gso_type: if is_large { gso_type } else { GSO_NONE },
        header_bytes: small(at + HEADER_BYTES),
        gso_bytes: if is_large { small(mss) } else { 0 },
        csum_start: small(at),
        csum_offset: 16,
    }
}
