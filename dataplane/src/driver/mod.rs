//! The drivers: what a queue is, and the table of those there are.
//!
//! A driver moves frames between one kernel object (or nothing) and a burst. It opens nothing: its
//! descriptors were handed over. One enum holds them all, so that a new driver is one file and two lines
//! here, and the compiler finds every place that must know it.
//!
//! ```text
//! sink.room() ─► source.receive() ─► sink.send() ─► source.settle()       a pass
//! arm() ─► the kernel watches ─► disarm()                                 between passes, when idle
//! ```
//!
//! Every sink is done with a frame, sent or copied, when its `send` returns. So that is when a source may
//! have its memory back, and it needs no loan or completion to tell it: `settle` says how many frames went.
//! What did not go stays where it is if the source can leave it there (a guest's ring can), and is dropped
//! and counted if not.

mod dgram;
mod gather;
pub mod guest;
pub mod l2tpv3;
mod null;
mod sink;
mod stream;
mod tap;
pub mod user;
mod xdp;

use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use framewire_shared::counters::{DropReason, QueueCounters};
use framewire_shared::driver::DriverOptions;
use framewire_shared::limits::BURST_FRAMES_MAX;
use rustix::io::Errno;

use crate::errand::Task;

pub use dgram::{Bare, Dgram, Envelope};
pub use guest::Guest;
pub use l2tpv3::Tunnel;
pub use null::Null;
pub use stream::Stream;
pub use tap::Tap;
pub use user::User;
pub use xdp::Xdp;

use crate::frame::{Burst, Offload, Segment};
use crate::kernel;
use crate::turn::Turn;
use crate::uring::Readiness;
use crate::xsk;

/// System calls that drivers make, for the data plane's filter.
pub const SYSTEM_CALLS: [&[libc::c_long]; 5] = [
    kernel::SYSTEM_CALLS,
    stream::SYSTEM_CALLS,
    xsk::SYSTEM_CALLS,
    user::SYSTEM_CALLS,
    user::FILE_SYSTEM_CALLS,
];

/// This process may have so many descriptors. Some drivers would take all of them if a guest liked.
pub fn share_descriptors(all: usize) {
    user::share_descriptors(all);
}

/// What comes before the payload of any frame. What is shorter is no frame.
const ETHERNET_HEADER_BYTES: usize = 14;

/// Builds a queue, which will call itself `key` when it reports something. Descriptors beyond those that its
/// options need are only kept, for the next control plane to have back.
///
/// # Errors
/// `EINVAL` if there are fewer than the options need, or others; `ENOMEM` if there is no memory for it.
pub fn build(
    key: u64,
    options: &DriverOptions,
    descriptors: &Arc<[OwnedFd]>,
    counters: &'static QueueCounters,
) -> Result<AnyQueue, Errno> {
    if descriptors.len() < options.descriptors() {
        return Err(Errno::INVAL);
    }
    match options {
        DriverOptions::Null => Ok(AnyQueue::Null(Null::new(counters))),
        DriverOptions::Tap(options) => {
            Ok(AnyQueue::Tap(Tap::new(options, Arc::clone(descriptors), counters)?))
        }
        DriverOptions::Dgram(options) => {
            let bare = [Bare, Bare];
            Ok(AnyQueue::Dgram(Dgram::new(key, options, Arc::clone(descriptors), bare, counters)?))
        }
        DriverOptions::L2tpv3(options) => {
            let envelopes = [Tunnel::new(options), Tunnel::new(options)];
            let dgram = options.dgram();
            Ok(AnyQueue::L2tpv3(Dgram::new(key, dgram, Arc::clone(descriptors), envelopes, counters)?))
        }
        DriverOptions::Stream => Ok(AnyQueue::Stream(Stream::new(descriptors, counters)?)),
        DriverOptions::Guest => Ok(AnyQueue::Guest(Guest::absent(key, counters))),
        DriverOptions::Xdp(options) => {
            Ok(AnyQueue::Xdp(Xdp::new(options, Arc::clone(descriptors), counters)?))
        }
        DriverOptions::User(options) => {
            Ok(AnyQueue::User(Box::new(User::new(options, Arc::clone(descriptors), counters)?)))
        }
    }
}

/// Adds a frame that has come in to the burst, and counts it. One too short is dropped. Returns whether it
/// was added.
#[inline]
fn arrive(
    frame: Segment,
    offload: Offload,
    headroom: usize,
    burst: &mut Burst,
    counters: &QueueCounters,
) -> bool {
    if frame.len() < ETHERNET_HEADER_BYTES {
        counters.drop_frames(DropReason::Runt, 1);
        return false;
    }
    counters.received_frames.add(1);
    counters.received_bytes.add(frame.len() as u64);
    burst.push(&[frame], offload, headroom);
    true
}

/// What became of a queue's attempt to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It took what there was, or as much as fits.
    Frames,
    /// There was nothing (and `burst` is empty).
    Nothing,
    /// Its descriptor failed for good (errno); the queue must not be polled any more.
    Failed(i32),
}

impl Received {
    /// What filling a burst came to, if nothing failed.
    #[inline]
    fn of(burst: &Burst) -> Self {
        if burst.is_empty() { Received::Nothing } else { Received::Frames }
    }
}

/// One queue of a port, owned by one worker. *Receive* is into the data plane, *send* is out of it.
pub trait Queue {
    /// Brings frames in until the burst or the strip is full or nothing is there; their bytes land in
    /// `turn.strip`.
    fn receive(&mut self, burst: &mut Burst, turn: &mut Turn) -> Received;

    /// What became of the frames received last: the first `taken` have gone, and nobody looks at them any
    /// more. The others have not; whoever cannot leave them where they came from drops and counts them.
    fn settle(&mut self, burst: &Burst, taken: usize, turn: &mut Turn) {
        let _ = turn;
        if taken < burst.len() {
            self.counters().drop_frames(DropReason::NoRoom, (burst.len() - taken) as u64);
        }
    }

    /// Takes frames out, oldest first, and returns how many of them need no further attention. Called only
    /// while there is room. A queue may keep what the outside has no room for right now (a copy, in memory of
    /// its own) and say so by [`Queue::room`]; what can never go is dropped and counted. Both count as taken.
    fn send(&mut self, burst: &Burst, turn: &mut Turn) -> usize;

    /// How many frames it would take now, as far as it can know.
    fn room(&mut self) -> usize {
        BURST_FRAMES_MAX
    }

    /// Whether room comes to be seen by asking [`Queue::room`] again, since the outside shares memory with
    /// us. Otherwise only the kernel tells.
    fn room_is_seen(&self) -> bool {
        false
    }

    /// Whether what it was sent has made it have frames to give, though nothing came from outside. Asked after
    /// each pass, so that it is not left dozing.
    fn has_frames(&self) -> bool {
        false
    }

    /// Tries again to get rid of what was kept, after the outside has told that it has room.
    fn drain(&mut self, turn: &mut Turn) {
        let _ = turn;
    }

    /// Asks the outside to tell when there is something to receive, or room to send. Returns whether that
    /// is so already; then there is nothing to wait for.
    fn arm(&mut self, readiness: Readiness) -> bool {
        let _ = readiness;
        false
    }

    /// The outside has told, or need not any more.
    fn disarm(&mut self, readiness: Readiness) {
        let _ = readiness;
    }

    /// Its descriptor, if it has one that the kernel can tell about.
    fn descriptor(&self) -> Option<RawFd>;

    /// What to watch, and for what, while the queue waits; none if nothing ever comes from there.
    fn watched(&self, readiness: Readiness) -> Option<(RawFd, Readiness)> {
        Some((self.descriptor()?, readiness))
    }

    /// Its line of counters.
    fn counters(&self) -> &'static QueueCounters;
}

/// Any driver's queue.
#[derive(Debug)]
pub enum AnyQueue {
    /// Takes and discards.
    Null(Null),
    /// A tap interface's queue.
    Tap(Tap),
    /// A datagram socket.
    Dgram(Dgram<Bare>),
    /// A tunnel over one.
    L2tpv3(Dgram<Tunnel>),
    /// A stream socket.
    Stream(Stream),
    /// A virtual machine's NIC.
    Guest(Guest),
    /// An AF_XDP socket.
    Xdp(Xdp),
    /// A made-up network. Much larger than the others, which would otherwise grow with it.
    User(Box<User>),
}

impl AnyQueue {
    /// Does what is asked of it between two turns. Most drivers can do none of that.
    ///
    /// # Errors
    /// `EINVAL` if it is none of a queue of this kind; otherwise as the kernel's.
    pub fn perform(&mut self, task: &mut Task) -> Result<(), Errno> {
        match self {
            AnyQueue::User(network) => network.perform(task),
            AnyQueue::Null(_)
            | AnyQueue::Tap(_)
            | AnyQueue::Dgram(_)
            | AnyQueue::L2tpv3(_)
            | AnyQueue::Stream(_)
            | AnyQueue::Guest(_)
            | AnyQueue::Xdp(_) => Err(Errno::INVAL),
        }
    }
}

macro_rules! each {
    ($any:expr, $queue:ident => $do:expr) => {
        match $any {
            AnyQueue::Null($queue) => $do,
            AnyQueue::Tap($queue) => $do,
            AnyQueue::Dgram($queue) => $do,
            AnyQueue::L2tpv3($queue) => $do,
            AnyQueue::Stream($queue) => $do,
            AnyQueue::Guest($queue) => $do,
            AnyQueue::Xdp($queue) => $do,
            AnyQueue::User($queue) => $do,
        }
    };
}

impl Queue for AnyQueue {
    #[inline]
    fn receive(&mut self, burst: &mut Burst, turn: &mut Turn) -> Received {
        each!(self, queue => queue.receive(burst, turn))
    }
    #[inline]
    fn settle(&mut self, burst: &Burst, taken: usize, turn: &mut Turn) {
        each!(self, queue => queue.settle(burst, taken, turn));
    }
    #[inline]
    fn send(&mut self, burst: &Burst, turn: &mut Turn) -> usize {
        each!(self, queue => queue.send(burst, turn))
    }
    #[inline]
    fn room(&mut self) -> usize {
        each!(self, queue => queue.room())
    }
    #[inline]
    fn room_is_seen(&self) -> bool {
        each!(self, queue => queue.room_is_seen())
    }
    #[inline]
    fn has_frames(&self) -> bool {
        each!(self, queue => queue.has_frames())
    }
    fn drain(&mut self, turn: &mut Turn) {
        each!(self, queue => queue.drain(turn));
    }
    fn arm(&mut self, readiness: Readiness) -> bool {
        each!(self, queue => queue.arm(readiness))
    }
    fn disarm(&mut self, readiness: Readiness) {
        each!(self, queue => queue.disarm(readiness));
    }
    fn descriptor(&self) -> Option<RawFd> {
        each!(self, queue => queue.descriptor())
    }
    fn watched(&self, readiness: Readiness) -> Option<(RawFd, Readiness)> {
        each!(self, queue => queue.watched(readiness))
    }
    fn counters(&self) -> &'static QueueCounters {
        each!(self, queue => queue.counters())
    }
}
