//! What the guest says goes to the host's socket, straight from the frames that it came in.
//!
//! Segments of one connection mostly follow each other in a burst, so what they carry is gathered and sent by one call.
//! The guest is promised what the socket's buffer has room for: more would have to be thrown away, and everything that
//! is on its way behind it (which is where others of our kind stall). When the buffer is nearly full, the kernel tells
//! when there is room again.

use rustix::io::Errno;
use rustix::net::Shutdown;

use super::super::calls;
use super::super::flow::{Kind, Reference};
use super::super::{Heard, User};
use super::connection::{Taken, Verdict};
use super::segment::{Segment, flag};
use crate::frame::{Cursor, SegmentList};

/// Pieces that one call takes.
const PIECES_MAX: usize = 1024;
/// Bytes that are taken off the host's receive queue at once.
const TRUNCATED_AT_ONCE: u32 = 64 << 10;
/// Acknowledgements of one number that a guest is given in a turn. It sends again what is missing when it has heard the same
/// one four times (RFC 5681, 3.2), and one to say that the window has changed does not count. Those that it is not
/// given would have it wait for its clock instead, each time longer.
const DUPLICATES_MAX: u8 = 5;
/// How long a guest may leave its end of a connection open when it was told that the other is not.
const HALF_OPEN_NS: u64 = 60_000_000_000;

/// What one connection of the guest's has said and the host has not been given.
#[derive(Debug)]
pub(in super::super) struct Outgoing {
    whose: Option<Reference>,
    pieces: SegmentList,
    bytes: u32,
}

impl Outgoing {
    /// Nothing.
    pub(in super::super) fn new() -> Self {
        Outgoing { whose: None, pieces: SegmentList::with_capacity(PIECES_MAX), bytes: 0 }
    }
}

impl User {
    /// Hears a segment of a connection that there is.
    pub(super) fn hear_segment(&mut self, reference: Reference, segment: &Segment, heard: Heard<'_>) {
        let Some(flow) = self.flows.table.get_mut(reference) else { return };
        let path = flow.path;
        let Kind::Tcp(tcp) = &mut flow.kind else { return };
        let events = tcp.connection.events;
        if !events.is_open || (tcp.is_from_host && !events.is_established) {
            return self.hear_early(reference, segment);
        }
        match tcp.connection.hear(segment) {
            Verdict::Ignore => {}
            Verdict::Answer => {
                tcp.owes_beginning |= segment.has(flag::SYN) && !events.is_established;
                tcp.owes_answer = true;
                self.heed(reference);
            }
            Verdict::Early => {
                tcp.owes_answer = true;
                tcp.duplicates = (tcp.duplicates + 1).min(DUPLICATES_MAX);
                self.heed(reference);
            }
            Verdict::Broken => self.abandon(reference),
            Verdict::Reset => {
                self.refuse(&path, segment);
                self.abandon(reference);
            }
            Verdict::Take(taken) => {
                tcp.owes_answer |= taken.is_to_be_answered;
                self.take(reference, segment, taken, heard);
                self.heed(reference);
            }
        }
    }

    /// A segment of a connection that is not there yet.
    fn hear_early(&mut self, reference: Reference, segment: &Segment) {
        let Some(flow) = self.flows.table.get_mut(reference) else { return };
        let Kind::Tcp(tcp) = &mut flow.kind else { return };
        if !tcp.is_from_host {
            // The guest may think better of it; else it only asks again, and the host has not answered yet.
            if tcp.connection.hear(segment) == Verdict::Broken {
                self.abandon(reference);
            }
        } else if tcp.connection.answered(segment) {
            tcp.owes_beginning = false;
            tcp.owes_answer = true;
            tcp.has_data = true;
            tcp.connection.promise(calls::send_room(&flow.socket, tcp.is_unix).0);
            self.heed(reference);
        } else if segment.has(flag::RST)
            && tcp.connection.segment(flag::SYN).seq.wrapping_add(1) == segment.ack
        {
            self.abandon(reference);
        }
    }

    /// Takes what is good of a segment.
    fn take(&mut self, reference: Reference, segment: &Segment, taken: Taken, heard: Heard<'_>) {
        if self.outgoing.whose != Some(reference) {
            self.flush();
        }
        let mut cursor = Cursor::new(heard.segments);
        cursor.pass(segment.at + taken.skip as usize);
        // A frame has at most as many pieces as a call takes.
        if !self.outgoing.pieces.has_room(cursor.pieces(taken.bytes as usize)) {
            self.flush();
        }
        let Some(flow) = self.flows.table.get_mut(reference) else { return };
        let Kind::Tcp(tcp) = &mut flow.kind else { return };
        if taken.bytes > 0 {
            for piece in cursor.parts(taken.bytes as usize) {
                self.outgoing.pieces.add(piece);
            }
            self.outgoing.whose = Some(reference);
            self.outgoing.bytes += taken.bytes;
            tcp.connection.accept(taken.bytes);
        }
        if taken.ends {
            let wanted = tcp.connection.segment(0).ack;
            self.flush();
            self.end_of_guest(reference, wanted);
        }
    }

    /// The guest's stream ends at this number, if the host has all before it.
    fn end_of_guest(&mut self, reference: Reference, wanted: u32) {
        let Some(flow) = self.flows.table.get_mut(reference) else { return };
        let Kind::Tcp(tcp) = &mut flow.kind else { return };
        if tcp.connection.segment(0).ack == wanted {
            let _ = rustix::net::shutdown(&flow.socket, Shutdown::Write);
            tcp.connection.end_of_guest();
        }
    }

    /// Gives the host what was gathered.
    pub(in super::super) fn flush(&mut self) {
        let Some(reference) = self.outgoing.whose.take() else { return };
        let bytes = std::mem::take(&mut self.outgoing.bytes);
        let Some(flow) = self.flows.table.get_mut(reference) else { return self.outgoing.pieces.clear() };
        let Kind::Tcp(tcp) = &mut flow.kind else { return };
        let sent = calls::send(&flow.socket, self.outgoing.pieces.all(), None);
        self.outgoing.pieces.clear();
        let sent = match sent {
            Ok(sent) => u32::try_from(sent).unwrap_or(bytes),
            Err(Errno::AGAIN) => 0,
            Err(_gone) => return self.break_off(reference),
        };
        self.counters.calls.add(1);
        tcp.connection.take_back(bytes.saturating_sub(sent));
        let (room, is_low) = calls::send_room(&flow.socket, tcp.is_unix);
        tcp.connection.promise(room);
        if is_low {
            self.flows.watcher.look_again(&flow.socket, reference.to_bits());
        }
    }

    /// What follows from what was heard: bytes that the host may forget, others that are sent again, the end.
    fn heed(&mut self, reference: Reference) {
        let now_ns = self.now_ns;
        let Some(flow) = self.flows.table.get_mut(reference) else { return };
        let Kind::Tcp(tcp) = &mut flow.kind else { return };
        if tcp.connection.has_moved() {
            (tcp.must_seek, tcp.has_data) = (true, true);
        }
        let forgotten = tcp.connection.truncate(TRUNCATED_AT_ONCE);
        if forgotten > 0 {
            calls::forget(&flow.socket, forgotten as usize, tcp.is_unix);
        }
        let has_data = tcp.has_data;
        let events = tcp.connection.events;
        let due_ns = if tcp.connection.is_waiting(has_data) {
            now_ns + tcp.connection.patience_ns()
        } else if events.end_was_heard && !events.guest_has_ended {
            now_ns + HALF_OPEN_NS
        } else {
            u64::MAX
        };
        let must_speak = tcp.owes_answer || tcp.owes_beginning;
        let may_speak = has_data && tcp.connection.room() > 0;
        if must_speak || may_speak || tcp.connection.is_over() {
            self.flows.wake(reference);
        }
        self.flows.expect(reference, due_ns);
    }
}
