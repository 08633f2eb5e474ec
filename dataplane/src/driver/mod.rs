//! The drivers: what a queue is, and the table of those there are.
//!
//! A driver moves frames between one kernel object (or nothing) and a burst. It opens nothing: its descriptors
//! were handed over. One enum holds them all, so that a new driver is one file and two lines here, and the
//! compiler finds every place that must know it.

mod null;

use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use framewire_shared::counters::QueueCounters;
use framewire_shared::driver::DriverOptions;
use rustix::io::Errno;

pub use null::Null;

use crate::frame::Burst;
use crate::turn::Turn;

/// System calls that drivers make, for the data plane's filter.
pub const SYSTEM_CALLS: &[libc::c_long] = &[];

/// Builds a queue.
///
/// # Errors
/// `EINVAL` if the descriptors are not those that the options need.
pub fn build(
    options: &DriverOptions,
    descriptors: &Arc<[OwnedFd]>,
    counters: &'static QueueCounters,
) -> Result<AnyQueue, Errno> {
    if descriptors.len() != options.descriptors() {
        return Err(Errno::INVAL);
    }
    match options {
        DriverOptions::Null => Ok(AnyQueue::Null(Null::new(counters))),
        DriverOptions::Tap(_) | DriverOptions::Dgram(_) => Err(Errno::OPNOTSUPP),
    }
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

/// One queue of a port, owned by one worker. *Receive* is into the data plane, *send* is out of it.
pub trait Queue {
    /// Brings frames in until the burst or the strip is full or nothing is there; their bytes land in
    /// `turn.strip`.
    fn receive(&mut self, burst: &mut Burst, turn: &mut Turn) -> Received;

    /// Takes all frames out, oldest first. Called only while there is room. What the outside has no room for
    /// right now the queue keeps (a copy, in memory of its own) and says so by [`Queue::has_room`]; what can
    /// never go is dropped and counted.
    fn send(&mut self, burst: &Burst, turn: &mut Turn);

    /// Whether a whole burst may be sent: nothing is kept from before.
    fn has_room(&self) -> bool {
        true
    }

    /// Tries again to get rid of what was kept, after the outside has told that it has room.
    fn drain(&mut self, turn: &mut Turn) {
        let _ = turn;
    }

    /// What to watch for readiness while the queue dozes; none if frames never come from there.
    fn descriptor(&self) -> Option<RawFd>;

    /// Its line of counters.
    fn counters(&self) -> &'static QueueCounters;
}

/// Any driver's queue.
#[derive(Debug)]
pub enum AnyQueue {
    /// Takes and discards.
    Null(Null),
}

macro_rules! each {
    ($any:expr, $queue:ident => $do:expr) => {
        match $any {
            AnyQueue::Null($queue) => $do,
        }
    };
}

impl Queue for AnyQueue {
    #[inline]
    fn receive(&mut self, burst: &mut Burst, turn: &mut Turn) -> Received {
        each!(self, queue => queue.receive(burst, turn))
    }
    #[inline]
    fn send(&mut self, burst: &Burst, turn: &mut Turn) {
        each!(self, queue => queue.send(burst, turn));
    }
    fn has_room(&self) -> bool {
        each!(self, queue => queue.has_room())
    }
    fn drain(&mut self, turn: &mut Turn) {
        each!(self, queue => queue.drain(turn));
    }
    fn descriptor(&self) -> Option<RawFd> {
        each!(self, queue => queue.descriptor())
    }
    fn counters(&self) -> &'static QueueCounters {
        each!(self, queue => queue.counters())
    }
}
