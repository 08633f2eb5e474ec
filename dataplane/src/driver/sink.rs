//! What drivers share that send into something which may have no room.
//!
//! **Problem.** A kernel object says that it is full only when it is given a frame. The frames behind that one were
//! received already; to drop them would make a cable lossy, and to hold the strip until there is room would stop
//! all other ports of the worker.
//!
//! **Chosen.** The sink copies what did not go into a backlog of its own, and says that it has no room until that
//! has been sent. So a burst is copied only when the outside has just become full, and a queue that never blocks
//! touches no page of its backlog. Frames are kept as they came, with what is still to be done to them: a large one
//! may be sent in part, and its segments would take more memory than it does.

use framewire_shared::counters::{DropReason, QueueCounters};
use framewire_shared::limits::BURST_FRAMES_MAX;

use crate::frame::{Burst, Cursor, HEADROOM_BYTES, Offload, Progress, Strip, lower, lower_large};
use crate::turn::{STRIP_BYTES, Turn};

/// A backlog is laid out like the strip that its frames come from, so a whole strip of them fits; only
/// datagrams that came as one run lay closer there, without headroom and alignment. A guest's frames may be
/// more: those that do not fit, the guest keeps.
const BACKLOG_BYTES: usize = STRIP_BYTES + BURST_FRAMES_MAX * 2 * HEADROOM_BYTES;

/// How a driver hands frames to the kernel.
pub(super) trait Outlet {
    /// Whether a frame's [`crate::frame::Offload`] travels with it.
    fn carries_offloads(&self) -> bool;

    /// Whether of that at least the checksums do.
    fn completes_checksums(&self) -> bool {
        self.carries_offloads()
    }

    /// Sends frames from the one at `from` on, and counts them, until there is no room. Returns the first
    /// that has to wait, or how many there are. What can never go is dropped and counted.
    fn put(&mut self, frames: &Burst, from: usize, now_ns: u64) -> usize;
}

/// An outlet with a backlog.
#[derive(Debug)]
pub(super) struct Sink<O> {
    pub(super) outlet: O,
    counters: &'static QueueCounters,
    memory: Strip,
    frames: Burst,
    /// How far `frames` have been sent.
    sent: Progress,
}

impl<O: Outlet> Sink<O> {
    pub(super) fn new(outlet: O, counters: &'static QueueCounters) -> rustix::io::Result<Self> {
        let (memory, frames) = (Strip::new(BACKLOG_BYTES)?, Burst::default());
        Ok(Sink { outlet, counters, memory, frames, sent: Progress::default() })
    }

    /// See [`super::Queue::room`].
    #[inline]
    pub(super) fn room(&self) -> usize {
        if self.frames.is_empty() { BURST_FRAMES_MAX } else { 0 }
    }

    /// See [`super::Queue::send`].
    #[inline]
    pub(super) fn send(&mut self, burst: &Burst, turn: &mut Turn) -> usize {
        if self.room() == 0 {
            return 0;
        }
        let sent = deliver(&mut self.outlet, self.counters, burst, Progress::default(), turn);
        if sent.frames < burst.len() { self.keep(burst, sent) } else { burst.len() }
    }

    /// See [`super::Queue::drain`].
    pub(super) fn drain(&mut self, turn: &mut Turn) {
        self.sent = deliver(&mut self.outlet, self.counters, &self.frames, self.sent, turn);
        if self.sent.frames == self.frames.len() {
            self.sent = Progress::default();
            self.frames.clear();
            self.memory.clear();
        }
    }

    /// Copies what comes after `sent`. Returns how many frames are sent or copied.
    #[cold]
    fn keep(&mut self, burst: &Burst, sent: Progress) -> usize {
        for frame in &burst.frames()[sent.frames..] {
            let len = frame.len as usize;
            let Some(landing) = self.memory.room(len) else { break };
            Cursor::new(burst.segments(frame)).copy_to(&landing.segment());
            self.memory.keep(len);
            self.frames.push(&[landing.segment()], frame.offload, HEADROOM_BYTES);
        }
        self.sent = Progress { frames: 0, cuts: sent.cuts };
        sent.frames + self.frames.len()
    }
}

/// Sends `burst` from `from` on, lowered if need be. Returns how far it came.
#[inline]
fn deliver<O: Outlet>(
    outlet: &mut O,
    counters: &QueueCounters,
    burst: &Burst,
    from: Progress,
    turn: &mut Turn,
) -> Progress {
    let frames = &burst.frames()[from.frames..];
    let completes_checksums = outlet.completes_checksums();
    let is_lacking =
        |offload: &Offload| if completes_checksums { offload.is_large() } else { offload.is_pending() };
    if outlet.carries_offloads() || !frames.iter().any(|frame| is_lacking(&frame.offload)) {
        return Progress { frames: outlet.put(burst, from.frames, turn.now_ns), cuts: 0 };
    }
    let mut progress = from;
    while progress.frames < burst.len() {
        let lower = if completes_checksums { lower_large } else { lower };
        let batch = lower(burst, progress, &mut turn.lowered, &mut turn.scratch);
        let sent = outlet.put(&turn.lowered, 0, turn.now_ns);
        let (passed, bad) = batch.passed(sent);
        counters.drop_frames(DropReason::BadHeader, bad);
        progress = passed;
        if sent < turn.lowered.len() {
            break;
        }
    }
    progress
}
