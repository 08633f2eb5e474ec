//! Receiving from a datagram socket.
//!
//! A unix socket gives one datagram a call. (`recvmmsg` gains nothing: 392 ns a frame for both, 64 B, ten
//! at a time.) A UDP socket with `UDP_GRO` gives a run of up to 64 KiB: 8 ns a frame of 64 B in a full run,
//! and 344 where the peer sends each alone. For the latter, `recv` would take 261, but cannot tell where
//! one datagram of a run ends.
//!
//! A run may have more frames than the burst has room for. The rest is copied aside, and is all that the
//! next pass gets. Whoever sends runs sends many of one size, so the last run tells when to stop before
//! that happens.

use std::os::fd::BorrowedFd;

use framewire_shared::counters::{DropReason, QueueCounters};
use framewire_shared::driver::Batching;
use framewire_shared::limits::{BURST_FRAMES_MAX, FRAME_BYTES_MAX};
use rustix::io::Errno;

use super::Envelope;
use crate::driver::{Received, arrive};
use crate::frame::{Burst, HEADROOM_BYTES, Landing, Offload, Segment, Strip};
use crate::kernel::{self, Run};

#[derive(Debug)]
pub(super) struct Inlet<E> {
    batching: Batching,
    envelope: E,
    rest: Rest,
    /// How many datagrams the last run had.
    run_datagrams: usize,
    counters: &'static QueueCounters,
}

/// What a burst had no room for.
#[derive(Debug)]
struct Rest {
    memory: Strip,
    passed_bytes: usize,
    bytes: usize,
    datagram_bytes: usize,
}

impl<E: Envelope> Inlet<E> {
    pub(super) fn new(
        batching: Batching,
        envelope: E,
        counters: &'static QueueCounters,
    ) -> rustix::io::Result<Self> {
        let memory = Strip::new(FRAME_BYTES_MAX)?;
        let rest = Rest { memory, passed_bytes: 0, bytes: 0, datagram_bytes: 1 };
        Ok(Inlet { batching, envelope, rest, run_datagrams: 1, counters })
    }

    /// See [`crate::driver::Queue::receive`].
    #[inline]
    pub(super) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        burst: &mut Burst,
        strip: &mut Strip,
    ) -> Received {
        // A new rest would overwrite the frames of this one.
        if self.rest.bytes > 0 {
            self.rest.pour(&self.envelope, burst, self.counters);
            return Received::of(burst);
        }
        for _call in 0..BURST_FRAMES_MAX {
            if !burst.has_room(1) || BURST_FRAMES_MAX - burst.len() < self.run_datagrams {
                break;
            }
            let Some(landing) = strip.landing() else { break };
            match self.take(socket, landing, burst, strip) {
                Ok(()) => self.counters.calls.add(1),
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(errno) if is_about_the_past(errno) => {}
                Err(errno) if burst.is_empty() => return Received::Failed(errno.raw_os_error()),
                Err(_failed) => break,
            }
        }
        Received::of(burst)
    }

    /// Receives a datagram or a run.
    #[inline]
    fn take(
        &mut self,
        socket: BorrowedFd<'_>,
        landing: Landing,
        burst: &mut Burst,
        strip: &mut Strip,
    ) -> Result<(), Errno> {
        let segment = landing.segment();
        match self.batching {
            Batching::Single => {
                let len = kernel::receive(socket, segment)?;
                if len > segment.len() {
                    self.counters.drop_frames(DropReason::TooLong, 1);
                } else if open(&self.envelope, segment.part(0, len), HEADROOM_BYTES, burst, self.counters) {
                    strip.keep(len);
                }
            }
            Batching::Udp => {
                let run = kernel::receive_run(socket, segment)?;
                if run.is_cut_off {
                    self.counters.drop_frames(DropReason::TooLong, 1);
                } else {
                    strip.keep(run.bytes);
                    self.take_run(run, segment, burst);
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn take_run(&mut self, run: Run, segment: Segment, burst: &mut Burst) {
        let whole = segment.part(0, run.bytes);
        self.run_datagrams = run.bytes.div_ceil(run.datagram_bytes).clamp(1, BURST_FRAMES_MAX);
        let mut headroom = HEADROOM_BYTES;
        let mut passed_bytes = 0;
        loop {
            let datagram = whole.part(passed_bytes, run.datagram_bytes);
            open(&self.envelope, datagram, headroom, burst, self.counters);
            passed_bytes += datagram.len();
            // Before the others lie bytes of the one before, which a hub may show to somebody else yet.
            headroom = 0;
            if passed_bytes >= run.bytes {
                return;
            }
            if !burst.has_room(1) {
                return self.rest.keep(whole.part(passed_bytes, run.bytes), run.datagram_bytes);
            }
        }
    }
}

impl Rest {
    #[cold]
    fn keep(&mut self, bytes: Segment, datagram_bytes: usize) {
        let place = self.memory.room(FRAME_BYTES_MAX).expect("it was made this large").segment();
        bytes.copy_to(&place, 0);
        (self.passed_bytes, self.bytes, self.datagram_bytes) = (0, bytes.len(), datagram_bytes);
    }

    fn pour<E: Envelope>(&mut self, envelope: &E, burst: &mut Burst, counters: &QueueCounters) {
        let place = self.memory.room(FRAME_BYTES_MAX).expect("it was made this large").segment();
        while self.bytes > 0 && burst.has_room(1) {
            let datagram = place.part(self.passed_bytes, self.datagram_bytes.min(self.bytes));
            open(envelope, datagram, 0, burst, counters);
            self.passed_bytes += datagram.len();
            self.bytes -= datagram.len();
        }
    }
}

/// Adds the frame of a datagram to the burst. Returns whether it was added. What was before the frame is of no more
/// use, so a sink may write there.
#[inline]
fn open<E: Envelope>(
    envelope: &E,
    datagram: Segment,
    headroom: usize,
    burst: &mut Burst,
    counters: &QueueCounters,
) -> bool {
    match envelope.frame_at(datagram) {
        Ok(at) => {
            let frame = datagram.part(at, datagram.len());
            arrive(frame, Offload::default(), headroom + at, burst, counters)
        }
        Err(reason) => {
            counters.drop_frames(reason, 1);
            false
        }
    }
}

/// Errors that a socket reports once, about what was sent before or what a peer has done; it goes on.
fn is_about_the_past(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::CONNREFUSED
            | Errno::CONNRESET
            | Errno::HOSTUNREACH
            | Errno::HOSTDOWN
            | Errno::NETUNREACH
            | Errno::NETDOWN
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::MSGSIZE
            | Errno::ACCESS
            | Errno::TIMEDOUT
            | Errno::NOMEM
            | Errno::NOBUFS
    )
}
