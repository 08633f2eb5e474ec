//! Sending to a datagram socket.
//!
//! A whole burst is one call: `sendmmsg`, whose messages are single frames or, over UDP, runs of equal
//! length that the kernel carries as one packet (`UDP_SEGMENT`). Measured, ns a frame of 64 B and of 1500 B
//! (EPYC family 26, kernel 6.18, to a socket that nobody reads meanwhile):
//!
//! | | unix | UDP, connected | UDP, to an address |
//! |---|---|---|---|
//! | `sendmmsg` | 424, 472 | 888, 1386 | 1013, 1602 |
//! | `send`, `sendto` | 446, 496 | 952, 1445 | 1086, 1654 |
//! | `sendmsg` | 514, 565 | | |
//! | a run, a piece for each frame | | | 51, 98 |
//! | a run, copied together first | | | 29, 123 |
//!
//! Copying pays up to 512 B (61 against 67 ns), not for 1024 (84 against 75). A unix socket that is not
//! connected looks its path up for each datagram: 724 instead of 446 ns.
//!
//! Not every route takes runs: the size must fit the interface, IPsec refuses them, and so do old kernels.
//! What was refused is sent one by one, and remembered for a second, since routes change.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use framewire_shared::counters::{DropReason, QueueCounters};
use framewire_shared::driver::{Batching, DgramOptions};
use framewire_shared::limits::BURST_FRAMES_MAX;
use rustix::io::Errno;

use super::Envelope;
use crate::driver::gather::Gather;
use crate::driver::sink::Outlet;
use crate::frame::{Burst, Frame};
use crate::kernel::{Mailer, Message};

/// Pieces up to this size are copied together: see above.
const PIECE_BYTES_MAX: usize = 512;

/// What a UDP datagram over IPv4 may carry, and so a run, which is one until it is cut.
const RUN_BYTES_MAX: usize = 65_507;

/// How long a refusal counts.
const REFUSAL_NS: u64 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct DgramOutlet<E> {
    descriptors: Arc<[OwnedFd]>,
    batching: Batching,
    envelope: E,
    mailer: Mailer,
    messages: Vec<Message>,
    gather: Gather,
    runs: Runs,
    counters: &'static QueueCounters,
    /// Why nobody takes what is sent, if that has just turned out.
    pub(super) peer_gone: Option<Errno>,
}

/// What the route takes as a run.
#[derive(Debug)]
struct Runs {
    /// Datagrams up to this size.
    datagram_bytes_max: usize,
    /// Until when that is so.
    until_ns: u64,
}

/// What is to be done after a message could not be sent.
enum Verdict {
    /// Wait for room.
    Wait,
    /// Try again, maybe in another way.
    Retry,
    /// Drop this message.
    Drop(DropReason),
    /// Drop all frames there are.
    DropAll(DropReason),
}

impl<E: Envelope> DgramOutlet<E> {
    pub(super) fn new(
        options: &DgramOptions,
        descriptors: Arc<[OwnedFd]>,
        envelope: E,
        counters: &'static QueueCounters,
    ) -> rustix::io::Result<Self> {
        let gather = Gather::new(PIECE_BYTES_MAX, BURST_FRAMES_MAX * envelope.bytes())?;
        Ok(DgramOutlet {
            descriptors,
            batching: options.batching(),
            envelope,
            mailer: Mailer::new(options.remote()),
            messages: Vec::with_capacity(BURST_FRAMES_MAX),
            gather,
            runs: Runs { datagram_bytes_max: RUN_BYTES_MAX, until_ns: 0 },
            counters,
            peer_gone: None,
        })
    }

    /// Whether frames are sent from where they lie, each alone.
    #[inline]
    fn is_plain(&self) -> bool {
        E::IS_BARE && self.batching == Batching::Single
    }

    /// Makes messages of all frames from the one at `from` on.
    #[inline]
    fn compose(&mut self, frames: &Burst, from: usize) {
        self.messages.clear();
        if self.is_plain() {
            let message =
                |frame: &Frame| Message { segments: frame.places(), datagrams: 1, datagram_bytes: 0 };
            self.messages.extend(frames.frames()[from..].iter().map(message));
        } else {
            self.compose_runs(frames, from);
        }
    }

    #[inline]
    fn compose_runs(&mut self, frames: &Burst, from: usize) {
        self.gather.clear();
        let mut left = &frames.frames()[from..];
        let mut number = self.counters.sent_frames.get();
        let envelope_bytes = self.envelope.bytes();
        while !left.is_empty() {
            let count = match self.batching {
                Batching::Single => 1,
                Batching::Udp => self.runs.length(left, envelope_bytes),
            };
            let (run, rest) = left.split_at(count);
            self.gather.begin();
            for frame in run {
                number += 1;
                self.enclose(frames, frame, number);
            }
            let bytes = run[0].len as usize + envelope_bytes;
            let datagram_bytes = if run.len() > 1 { u16::try_from(bytes).unwrap_or(0) } else { 0 };
            let segments = self.gather.pieces().1;
            self.messages.push(Message { segments, datagrams: run.len(), datagram_bytes });
            left = rest;
        }
    }

    /// Gathers a frame in its envelope: the `number`th to be sent.
    #[inline]
    fn enclose(&mut self, frames: &Burst, frame: &Frame, number: u64) {
        if !E::IS_BARE {
            let header = self.envelope.header(number);
            if let Some(whole) = frames.prepend(frame, header) {
                return self.gather.add(whole);
            }
            self.gather.add_bytes(header);
        }
        for piece in frames.segments(frame) {
            self.gather.add(*piece);
        }
    }

    /// Sends messages from the one at `at` on. Returns how many went.
    #[inline]
    fn post(&mut self, frames: &Burst, at: usize) -> Result<usize, Errno> {
        let segments = if self.is_plain() { frames.all_segments() } else { self.gather.pieces().0 };
        self.mailer.send(self.descriptors[0].as_fd(), &self.messages[at..], segments)
    }

    #[inline]
    fn count(&self, frames: &[Frame]) {
        self.counters.sent_frames.add(frames.len() as u64);
        self.counters.sent_bytes.add(frames.iter().map(|frame| u64::from(frame.len)).sum());
    }

    /// `first`: this is the first time that this message fails.
    #[cold]
    fn judge(&mut self, errno: Errno, message: usize, first: bool, now_ns: u64) -> Verdict {
        let run_bytes = usize::from(self.messages[message].datagram_bytes);
        match (errno, self.batching) {
            (Errno::AGAIN | Errno::NOBUFS, _) => Verdict::Wait,
            (Errno::INTR, _) if first => Verdict::Retry,
            (Errno::INVAL | Errno::MSGSIZE | Errno::IO | Errno::OPNOTSUPP, _) if run_bytes > 0 => {
                self.runs.refuse(run_bytes, errno, now_ns);
                Verdict::Retry
            }
            (Errno::MSGSIZE, _) => Verdict::Drop(DropReason::TooLong),
            (
                Errno::CONNREFUSED | Errno::CONNRESET | Errno::NOTCONN | Errno::NOENT | Errno::PIPE,
                Batching::Single,
            ) => {
                self.peer_gone = Some(errno);
                Verdict::DropAll(DropReason::Refused)
            }
            // A UDP socket says so about a frame that was sent before; this one has not been tried.
            (_, Batching::Udp) if first => Verdict::Retry,
            (_, Batching::Single | Batching::Udp) => Verdict::Drop(DropReason::Refused),
        }
    }
}

impl Runs {
    /// How many of these frames make a run: of one length, but the last may be shorter.
    #[inline]
    fn length(&self, frames: &[Frame], envelope_bytes: usize) -> usize {
        let each = frames[0].len;
        let bytes = each as usize + envelope_bytes;
        let fits = RUN_BYTES_MAX.checked_div(bytes).unwrap_or(1).clamp(1, BURST_FRAMES_MAX);
        if bytes > self.datagram_bytes_max {
            return 1;
        }
        let frames = &frames[..frames.len().min(fits)];
        let equal = frames.iter().take_while(|frame| frame.len == each).count();
        equal + usize::from(frames.get(equal).is_some_and(|frame| frame.len < each))
    }

    /// Too long for the route, or (`EIO`) not over this route at all.
    fn refuse(&mut self, run_bytes: usize, errno: Errno, now_ns: u64) {
        self.datagram_bytes_max = if errno == Errno::IO { 0 } else { run_bytes - 1 };
        self.until_ns = now_ns + REFUSAL_NS;
    }

    #[inline]
    fn forget_refusal(&mut self, now_ns: u64) {
        if now_ns >= self.until_ns {
            self.datagram_bytes_max = RUN_BYTES_MAX;
        }
    }
}

impl<E: Envelope> Outlet for DgramOutlet<E> {
    fn carries_offloads(&self) -> bool {
        false
    }

    fn put(&mut self, frames: &Burst, from: usize, now_ns: u64) -> usize {
        self.runs.forget_refusal(now_ns);
        let (mut next, mut first) = (from, true);
        self.compose(frames, next);
        let mut message = 0;
        while message < self.messages.len() {
            match self.post(frames, message) {
                Ok(messages) => {
                    let went =
                        self.messages[message..message + messages].iter().map(|m| m.datagrams).sum::<usize>();
                    self.counters.calls.add(1);
                    self.count(&frames.frames()[next..next + went]);
                    (message, next, first) = (message + messages, next + went, true);
                }
                Err(errno) => match self.judge(errno, message, first, now_ns) {
                    Verdict::Wait => return next,
                    Verdict::Retry => {
                        self.compose(frames, next);
                        (message, first) = (0, false);
                    }
                    Verdict::Drop(reason) => {
                        let dropped = self.messages[message].datagrams;
                        self.counters.drop_frames(reason, dropped as u64);
                        (message, next, first) = (message + 1, next + dropped, true);
                        if !E::IS_BARE {
                            // Those behind it move up: what was not sent takes no number.
                            self.compose(frames, next);
                            message = 0;
                        }
                    }
                    Verdict::DropAll(reason) => {
                        self.counters.drop_frames(reason, (frames.len() - next) as u64);
                        return frames.len();
                    }
                },
            }
        }
        frames.len()
    }
}
