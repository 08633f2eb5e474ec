//! Counters: one writer each, read by anybody, never reset by the reader.
//!
//! A queue's counters fill lines of cache of their own, so that no two workers ever write one line. The
//! worker that owns the queue adds with a plain load and store (0.3 ns; a locked add costs 5), which is
//! enough since nobody else writes. The control plane reads at any moment and may see one counter newer
//! than another: sums of different counters agree only on a quiet queue.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a frame went no further. The number is the index of its counter.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// The port's own link, or that of the port it faces, is down.
    LinkDown = 0,
    /// Nothing is at the other end.
    NoPeer = 1,
    /// A listener of a hub had no room. (Cables hold back instead.)
    NoRoom = 2,
    /// Longer than the sink can carry.
    TooLong = 3,
    /// Shorter than an Ethernet header, or cut off on the way in.
    Runt = 4,
    /// A virtio-net header that contradicts its frame.
    BadHeader = 5,
    /// A protocol's own header was wrong: foreign session, prefix.
    Foreign = 6,
    /// The kernel refused to take the frame.
    Refused = 7,
    /// The guest's driver does not take frames: it has not started, has stopped, or has broken its ring.
    NotReady = 8,
    /// A tunnel's cookie was wrong: somebody guesses, or both ends were configured differently.
    WrongCookie = 9,
    /// The guest has said that it does not want such frames.
    Filtered = 10,
}

/// How many reasons there are.
pub const DROP_REASONS: usize = 11;

impl DropReason {
    /// All of them, in the order of their counters.
    pub const ALL: [DropReason; DROP_REASONS] = [
        DropReason::LinkDown,
        DropReason::NoPeer,
        DropReason::NoRoom,
        DropReason::TooLong,
        DropReason::Runt,
        DropReason::BadHeader,
        DropReason::Foreign,
        DropReason::Refused,
        DropReason::NotReady,
        DropReason::WrongCookie,
        DropReason::Filtered,
    ];

    /// The name in reports and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DropReason::LinkDown => "link-down",
            DropReason::NoPeer => "no-peer",
            DropReason::NoRoom => "no-room",
            DropReason::TooLong => "too-long",
            DropReason::Runt => "runt",
            DropReason::BadHeader => "bad-header",
            DropReason::Foreign => "foreign",
            DropReason::Refused => "refused",
            DropReason::NotReady => "not-ready",
            DropReason::WrongCookie => "wrong-cookie",
            DropReason::Filtered => "filtered",
        }
    }
}

/// A number that one thread adds to and anybody reads.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds, for the one writer.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Sets, for the one writer.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one queue has done. writer: the worker that owns the queue (before that, the foreman, to clear it)
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct QueueCounters {
    /// Frames that came in from the outside.
    pub received_frames: Counter,
    /// Their bytes, without any header of ours or the kernel's.
    pub received_bytes: Counter,
    /// Frames that went out.
    pub sent_frames: Counter,
    /// Their bytes.
    pub sent_bytes: Counter,
    /// Frames that went no further, by [`DropReason`].
    pub dropped: [Counter; DROP_REASONS],
    /// System calls that moved frames: how many frames one carries tells what batching gains.
    pub calls: Counter,
    /// Times that a sink had no room and its source was held back.
    pub held_back: Counter,
    /// Times that a guest broke its rings' rules, which ended them.
    pub guest_faults: Counter,
}

const _: () = assert!(size_of::<QueueCounters>() == 256);

impl QueueCounters {
    /// Counts frames that go no further.
    #[inline]
    pub fn drop_frames(&self, reason: DropReason, frames: u64) {
        self.dropped[reason as usize].add(frames);
    }

    /// Back to zero, when the slot is given to a new queue.
    pub fn clear(&self) {
        let QueueCounters {
            received_frames,
            received_bytes,
            sent_frames,
            sent_bytes,
            dropped,
            calls,
            held_back,
            guest_faults,
        } = self;
        let single =
            [received_frames, received_bytes, sent_frames, sent_bytes, calls, held_back, guest_faults];
        single.into_iter().chain(dropped).for_each(|counter| counter.set(0));
    }
}

/// What one worker has done. writer: that worker
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Rounds of the loop.
    pub turns: Counter,
    /// Rounds that moved at least one frame.
    pub busy_turns: Counter,
    /// Nanoseconds spent looking for frames where there were none.
    pub spinning_ns: Counter,
    /// Nanoseconds asleep in io_uring, up to the last time that it woke.
    pub sleeping_ns: Counter,
    /// When it fell asleep, by `CLOCK_MONOTONIC`, which both processes share; 0 while it is awake.
    pub asleep_since_ns: Counter,
    /// Times that it went to sleep.
    pub sleeps: Counter,
    /// Plans adopted.
    pub adoptions: Counter,
    /// Queues in its care.
    pub queues: Counter,
    /// Of these, the ones that are being polled (the rest doze until the kernel tells).
    pub queues_awake: Counter,
}

const _: () = assert!(size_of::<WorkerCounters>() == 128);

impl WorkerCounters {
    /// Nanoseconds asleep up to now, the present sleep included.
    #[must_use]
    pub fn slept_ns(&self) -> u64 {
        let present = match self.asleep_since_ns.get() {
            0 => 0,
            since => monotonic_ns().saturating_sub(since),
        };
        self.sleeping_ns.get().saturating_add(present)
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The clock counts from the machine's start, so neither number is negative or large.
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
