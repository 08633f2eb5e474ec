//! The numbers of one TCP connection with the guest, and what follows from each segment: a pure function, without
//! sockets, clocks or memory.
//!
//! There is no TCP stack here, only half of one. What the guest sends is in order or it is not taken; the host's kernel
//! keeps what it has accepted. What the guest is sent stays in the host's receive queue until the guest has
//! acknowledged it, so to send again is to look there again. Nothing is lost between us and a guest but by a guest
//! without buffers, so there is no congestion control, only the guest's window.

use super::segment::{Segment, flag};

/// How far our windows are shifted, if the guest shifts as well.
pub(in super::super) const SCALE: u8 = 8;
/// Segments that the guest may have on their way. A tap's queue holds a thousand frames and loses what comes then; and
/// since nothing early is kept here, a guest that has lost much sends all of it again, waiting longer each time.
const SEGMENTS_MAX: u32 = 512;
/// What the guest may send before it was told more.
pub(in super::super) const FIRST_WINDOW: u32 = 64 << 10;
/// What a guest that does not say takes.
const MSS_DEFAULT: u16 = 536;
/// No guest needs to be sent less at once; a smaller number would be an attack on us.
const MSS_MIN: u16 = 64;
/// Times that something is sent again before the guest is given up.
const RETRIES_MAX: u8 = 12;
/// The first wait for an answer, and the longest.
const WAIT_FIRST_NS: u64 = 200_000_000;
const WAIT_MAX_NS: u64 = 12_000_000_000;
/// The first wait for the answer to a beginning: who is to give it may have to be found yet.
const WAIT_BEGINNING_NS: u64 = 1_000_000_000;

/// Where a connection is in its life. Events and not states: each is told once and stays true.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Events {
    /// The host's end is connected, and the guest was told.
    pub(in super::super) is_open: bool,
    /// The guest has acknowledged that.
    pub(in super::super) is_established: bool,
    /// The guest has said its last byte, and the host has it.
    pub(in super::super) guest_has_ended: bool,
    /// The host has said its last byte, and the guest was told.
    pub(in super::super) end_was_sent: bool,
    /// The guest has acknowledged that.
    pub(in super::super) end_was_heard: bool,
}

/// See the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Connection {
    pub(in super::super) events: Events,
    /// Our first number.
    first: u32,
    /// The guest has acknowledged all before this one,
    acked: u32,
    /// this one is sent next,
    next: u32,
    /// and this one was never sent.
    highest: u32,
    /// How much the guest takes beyond `acked`.
    window: u32,
    guest_scale: u8,
    our_scale: u8,
    /// The next number that we want from the guest.
    wanted: u32,
    /// The most that one segment of the guest's has carried.
    longest: u32,
    /// The guest was told that it may send up to here.
    edge: u32,
    /// The largest segment that the guest takes.
    pub(in super::super) mss: u16,
    duplicates: u8,
    retries: u8,
    /// Acknowledged bytes that are still in the host's receive queue.
    untruncated: u32,
    /// The guest has acknowledged more than was sent again.
    has_jumped: bool,
}

/// What is to be done about a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Verdict {
    /// Nothing.
    Ignore,
    /// The guest is told again where we are.
    Answer,
    /// The same, for each such segment: something before it is missing.
    Early,
    /// The guest has broken off.
    Broken,
    /// The guest makes no sense: it is told so, and the connection ends.
    Reset,
    /// The host is given these bytes of the payload, if there are any.
    Take(Taken),
}

/// What is good of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Taken {
    /// So many bytes of the payload are known already,
    pub(in super::super) skip: u32,
    /// and so many are wanted.
    pub(in super::super) bytes: u32,
    /// The guest's stream ends behind them.
    pub(in super::super) ends: bool,
    /// The segment was more than an acknowledgement, so it is acknowledged.
    pub(in super::super) is_to_be_answered: bool,
}

/// What is to be done when the guest has not answered for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Overdue {
    /// Nothing was to be answered.
    Nothing,
    /// It is sent again.
    Again,
    /// The guest is asked for its window.
    Probe,
    /// It is gone.
    GiveUp,
}

impl Connection {
    /// One that the guest's `segment` asks for. `first` is our first number.
    pub(in super::super) fn asked_for(segment: &Segment, first: u32, mss_max: u16) -> Self {
        let wanted = segment.seq.wrapping_add(1);
        let mut it = Connection::new(first, mss_max);
        (it.wanted, it.edge) = (wanted, wanted.wrapping_add(FIRST_WINDOW));
        it.learn(segment, mss_max);
        it.window = u32::from(segment.window);
        it
    }

    /// One that we ask the guest for: nothing is known of it yet.
    pub(in super::super) fn asking(first: u32, mss_max: u16) -> Self {
        Connection::new(first, mss_max)
    }

    fn new(first: u32, mss: u16) -> Self {
        Connection {
            events: Events::default(),
            first,
            acked: first,
            next: first,
            highest: first,
            window: 0,
            guest_scale: 0,
            our_scale: 0,
            wanted: 0,
            longest: u32::from(mss),
            edge: 0,
            mss,
            duplicates: 0,
            retries: 0,
            untruncated: 0,
            has_jumped: false,
        }
    }

    fn learn(&mut self, segment: &Segment, mss_max: u16) {
        self.mss = segment.mss.unwrap_or(MSS_DEFAULT).clamp(MSS_MIN, mss_max);
        if let Some(scale) = segment.scale {
            (self.guest_scale, self.our_scale) = (scale, SCALE);
        }
    }

    /// The guest's answer to our asking: whether it is one.
    pub(in super::super) fn answered(&mut self, segment: &Segment) -> bool {
        let is_answer = segment.has(flag::SYN)
            && segment.has(flag::ACK)
            && segment.ack == self.first.wrapping_add(1)
            && !self.events.is_established;
        if is_answer {
            self.learn(segment, self.mss);
            self.wanted = segment.seq.wrapping_add(1);
            self.edge = self.wanted.wrapping_add(FIRST_WINDOW);
            self.window = u32::from(segment.window);
            self.open();
            self.events.is_established = true;
            (self.acked, self.retries) = (segment.ack, 0);
        }
        is_answer
    }

    /// The host's end is connected, and the guest is told by a segment that takes a number.
    pub(in super::super) fn open(&mut self) {
        self.events.is_open = true;
        self.next = self.first.wrapping_add(1);
        self.highest = self.next;
    }

    /// Hears a segment of a connection that is open.
    pub(in super::super) fn hear(&mut self, segment: &Segment) -> Verdict {
        if segment.has(flag::RST) {
            return self.hear_reset(segment);
        }
        if segment.has(flag::SYN) || !segment.has(flag::ACK) {
            return if segment.has(flag::SYN) { Verdict::Answer } else { Verdict::Ignore };
        }
        if is_after(segment.ack, self.highest) {
            return if self.events.is_established { Verdict::Answer } else { Verdict::Reset };
        }
        if !self.events.is_established {
            if segment.ack != self.highest {
                return Verdict::Reset;
            }
            self.events.is_established = true;
        }
        self.hear_acknowledgement(segment);
        self.longest = self.longest.max(segment.bytes);
        self.hear_payload(segment)
    }

    /// Only one that hits the next number is believed at once: others may be guesses (RFC 5961).
    fn hear_reset(&self, segment: &Segment) -> Verdict {
        if segment.seq == self.wanted {
            Verdict::Broken
        } else if is_after(segment.seq, self.wanted) && !is_after(segment.seq, self.edge) {
            Verdict::Answer
        } else {
            Verdict::Ignore
        }
    }

    fn hear_acknowledgement(&mut self, segment: &Segment) {
        let newly = segment.ack.wrapping_sub(self.acked);
        if is_after(self.acked, segment.ack) {
            return;
        }
        let window = u32::from(segment.window) << self.guest_scale;
        if newly > 0 {
            self.acknowledge(segment.ack, newly);
        } else if segment.len() == 0 && window == self.window && self.next != self.acked {
            self.duplicates = self.duplicates.saturating_add(1);
        }
        self.window = window;
    }

    fn acknowledge(&mut self, ack: u32, newly: u32) {
        let was_first = self.acked == self.first;
        let is_last = self.events.end_was_sent && ack == self.highest;
        self.events.end_was_heard |= is_last;
        let data = newly - u32::from(was_first) - u32::from(is_last).min(newly - u32::from(was_first));
        self.untruncated += data;
        self.acked = ack;
        if is_after(ack, self.next) {
            self.next = ack;
            self.has_jumped = true;
        }
        (self.duplicates, self.retries) = (0, 0);
    }

    fn hear_payload(&self, segment: &Segment) -> Verdict {
        let known = self.wanted.wrapping_sub(segment.seq);
        if segment.len() == 0 {
            // A guest that asks whether we are alive does so with a number that we know.
            let nothing = Taken { skip: 0, bytes: 0, ends: false, is_to_be_answered: false };
            return if known == 0 { Verdict::Take(nothing) } else { Verdict::Answer };
        }
        let is_early = is_after(segment.seq, self.wanted);
        if is_early && !self.events.guest_has_ended {
            return Verdict::Early;
        }
        if self.events.guest_has_ended || known > segment.bytes {
            return Verdict::Answer;
        }
        let room = self.edge.wrapping_sub(self.wanted);
        let bytes = (segment.bytes - known).min(room);
        let ends = segment.has(flag::FIN) && bytes == segment.bytes - known;
        if bytes == 0 && !ends {
            return Verdict::Answer;
        }
        Verdict::Take(Taken { skip: known, bytes, ends, is_to_be_answered: true })
    }

    /// The host has taken so many bytes.
    pub(in super::super) fn accept(&mut self, bytes: u32) {
        self.wanted = self.wanted.wrapping_add(bytes);
    }

    /// The host has not taken so many bytes after all.
    pub(in super::super) fn take_back(&mut self, bytes: u32) {
        self.wanted = self.wanted.wrapping_sub(bytes);
    }

    /// The guest's stream has ended, and the host knows.
    pub(in super::super) fn end_of_guest(&mut self) {
        self.wanted = self.wanted.wrapping_add(1);
        self.events.guest_has_ended = true;
    }

    /// The host has room for so many bytes. The promise never shrinks. Whether it has grown so much that the guest
    /// should be told.
    pub(in super::super) fn promise(&mut self, room: usize) -> bool {
        let most = if self.our_scale > 0 { u32::from(u16::MAX) << SCALE } else { u32::from(u16::MAX) };
        let most = most.min(SEGMENTS_MAX * self.longest);
        // Only what the scaled field can say.
        let room = u32::try_from(room).unwrap_or(u32::MAX).min(most) >> self.our_scale << self.our_scale;
        let edge = self.wanted.wrapping_add(room);
        let before = self.edge.wrapping_sub(self.wanted);
        if is_after(edge, self.edge) {
            self.edge = edge;
            // A guest that has not answered yet cannot be told: there is no number to acknowledge.
            return self.events.is_established
                && room - before >= (2 * u32::from(self.mss)).min(before.max(1));
        }
        false
    }

    /// What the guest may still send.
    pub(in super::super) fn promised(&self) -> u32 {
        self.edge.wrapping_sub(self.wanted)
    }

    /// How many bytes the guest takes now.
    pub(in super::super) fn room(&self) -> u32 {
        let on_the_way = self.next.wrapping_sub(self.acked);
        let is_speaking = self.events.is_established && !self.events.end_was_heard;
        if is_speaking { self.window.saturating_sub(on_the_way) } else { 0 }
    }

    /// What the guest has been sent and has not acknowledged.
    pub(in super::super) fn on_the_way(&self) -> u32 {
        self.next.wrapping_sub(self.acked)
    }

    /// How far into the host's receive queue the next byte to be sent is.
    pub(in super::super) fn offset(&self) -> u32 {
        self.untruncated + self.next.wrapping_sub(self.acked)
    }

    /// So many bytes are on their way to the guest.
    pub(in super::super) fn sent(&mut self, bytes: u32) {
        self.next = self.next.wrapping_add(bytes);
        if is_after(self.next, self.highest) {
            self.highest = self.next;
        }
    }

    /// The host's stream has ended; that takes a number.
    pub(in super::super) fn sent_end(&mut self) {
        self.sent(1);
        self.events.end_was_sent = true;
    }

    /// Whether everything, the end of the host's stream included, is on its way.
    pub(in super::super) fn has_sent_end(&self) -> bool {
        self.events.end_was_sent && self.next == self.highest
    }

    /// Acknowledged bytes, to be taken off the host's receive queue: only many at once, or when nothing else is left.
    pub(in super::super) fn truncate(&mut self, at_least: u32) -> u32 {
        let is_quiet = self.next == self.acked;
        if self.untruncated >= at_least || is_quiet { std::mem::take(&mut self.untruncated) } else { 0 }
    }

    /// Whether what is sent next is not what follows on what was sent last: the guest has lost something, as it has
    /// said three times, or has more than it seemed to.
    pub(in super::super) fn has_moved(&mut self) -> bool {
        let has_lost = self.duplicates >= 3;
        if has_lost {
            self.rewind();
        }
        std::mem::take(&mut self.has_jumped) || has_lost
    }

    /// What the guest has not acknowledged is sent next.
    pub(in super::super) fn rewind(&mut self) {
        self.next = self.acked;
        self.duplicates = 0;
    }

    /// Whether the guest owes us an answer, or room.
    pub(in super::super) fn is_waiting(&self, has_data: bool) -> bool {
        self.next != self.acked || (has_data && self.room() == 0)
    }

    /// The guest has not answered in time.
    pub(in super::super) fn overdue(&mut self, has_data: bool) -> Overdue {
        if !self.is_waiting(has_data) {
            return Overdue::Nothing;
        }
        // A guest that answers without giving room is alive, and may take its time.
        let is_probe = self.events.is_established && self.next == self.acked;
        if is_probe {
            self.retries = (self.retries + 1).min(RETRIES_MAX);
            return Overdue::Probe;
        }
        if self.retries == RETRIES_MAX {
            return Overdue::GiveUp;
        }
        self.retries += 1;
        if self.events.is_established {
            self.rewind();
        }
        Overdue::Again
    }

    /// How long an answer is waited for.
    pub(in super::super) fn patience_ns(&self) -> u64 {
        let first_ns = if self.events.is_established { WAIT_FIRST_NS } else { WAIT_BEGINNING_NS };
        (first_ns << self.retries.min(7)).min(WAIT_MAX_NS)
    }

    /// Whether both streams have ended and everybody knows.
    pub(in super::super) fn is_over(&self) -> bool {
        self.events.guest_has_ended && self.events.end_was_heard
    }

    /// A segment from us: with the next number, acknowledging what the host has.
    pub(in super::super) fn segment(&self, flags: u8) -> Segment {
        let is_first = flags & flag::SYN != 0;
        let scale = if is_first { 0 } else { self.our_scale };
        let window = u16::try_from(self.promised() >> scale).unwrap_or(u16::MAX);
        let seq = if is_first { self.first } else { self.next };
        let scale = (is_first && self.our_scale > 0).then_some(self.our_scale);
        Segment { seq, ack: self.wanted, flags, window, scale, ..Segment::default() }
    }

    /// A segment that makes the guest tell its window: with a number that it knows.
    pub(in super::super) fn probe(&self) -> Segment {
        Segment { seq: self.acked.wrapping_sub(1), ..self.segment(flag::ACK) }
    }
}

/// Whether a number is after another, within half of all numbers.
fn is_after(one: u32, other: u32) -> bool {
    other.wrapping_sub(one).cast_signed() < 0
}

#[cfg(test)]
mod test;
