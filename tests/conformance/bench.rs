//! What a worker has at hand, and one pass at a time.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use framewire_dataplane::driver::{AnyQueue, Queue, Received, build};
use framewire_dataplane::frame::{Burst, HEADROOM_BYTES, Offload, Segment};
use framewire_dataplane::turn::{Reporter, Turn};
use framewire_shared::counters::{DropReason, QueueCounters};
use framewire_shared::driver::DriverOptions;
use framewire_shared::happenings::Happening;
use framewire_shared::region::{Config, Mapping, Status};
use rustix::event::EventfdFlags;

use crate::allocations;

/// The key of every queue here.
pub(crate) const KEY: u64 = 77;

/// Memory of one worker, and the regions it reports to.
pub(crate) struct Bench {
    pub(crate) turn: Turn,
    pub(crate) burst: Burst,
    /// What the queue allocated while it moved frames.
    pub(crate) allocations: u64,
    status: &'static Mapping<Status>,
    config: &'static Mapping<Config>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        // Queues and reporters live as long as their process; so, in a test, does what they refer to.
        let status: &Mapping<Status> =
            leak(Mapping::writable(&Mapping::<Status>::create().unwrap()).unwrap());
        let config: &Mapping<Config> =
            leak(Mapping::writable(&Mapping::<Config>::create().unwrap()).unwrap());
        let doorbell: &'static OwnedFd = leak(rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        let reporter = Reporter::new(&status.happenings[0], &config.read[0], doorbell.as_fd());
        let turn = Turn::new(reporter).unwrap();
        Bench { turn, burst: Burst::default(), allocations: 0, status, config }
    }

    /// What was reported since the last time.
    pub(crate) fn happenings(&self) -> Vec<Happening> {
        std::iter::from_fn(|| self.status.happenings[0].pop(&self.config.read[0])).collect()
    }

    /// One pass from `source`, to a sink that takes up to `limit` frames. They stay in the burst.
    pub(crate) fn receive(&mut self, source: &mut AnyQueue, limit: usize) -> Received {
        self.turn.strip.clear();
        self.burst.clear();
        self.burst.limit(limit);
        let (received, allocated) = allocations::count(|| source.receive(&mut self.burst, &mut self.turn));
        self.allocations += allocated;
        received
    }

    /// The end of the pass: the first `taken` frames have gone.
    pub(crate) fn settle(&mut self, source: &mut AnyQueue, taken: usize) {
        let ((), allocated) = allocations::count(|| source.settle(&self.burst, taken, &mut self.turn));
        self.allocations += allocated;
    }

    /// One pass from `source` to `sink`, as a cable makes it. Returns how many frames moved.
    pub(crate) fn pass(&mut self, source: &mut AnyQueue, sink: &mut AnyQueue) -> usize {
        sink.drain(&mut self.turn);
        let room = sink.room();
        if room == 0 || self.receive(source, room) != Received::Frames {
            return 0;
        }
        let (taken, allocated) = allocations::count(|| sink.send(&self.burst, &mut self.turn));
        self.allocations += allocated;
        source.settle(&self.burst, taken, &mut self.turn);
        taken
    }

    /// Makes a burst of these frames, each in pieces of `piece_bytes`.
    pub(crate) fn fill(&mut self, frames: &[(Vec<u8>, Offload)], piece_bytes: usize) {
        self.turn.strip.clear();
        self.burst.clear();
        self.burst.limit(usize::MAX);
        for (bytes, offload) in frames {
            let whole = self.turn.strip.room(bytes.len()).expect("a test's burst is small").segment();
            whole.write(0, bytes);
            self.turn.strip.keep(bytes.len());
            let pieces: Vec<Segment> =
                (0..bytes.len()).step_by(piece_bytes).map(|at| whole.part(at, piece_bytes)).collect();
            self.burst.push(&pieces, *offload, HEADROOM_BYTES);
        }
    }

    /// Sends the burst, which must be taken as a whole.
    pub(crate) fn send(&mut self, sink: &mut AnyQueue) {
        let (taken, allocated) = allocations::count(|| sink.send(&self.burst, &mut self.turn));
        self.allocations += allocated;
        assert_eq!(taken, self.burst.len(), "a sink with room takes a burst of its size");
    }

    /// Tries again to send what the sink has kept.
    pub(crate) fn drain(&mut self, sink: &mut AnyQueue) {
        let ((), allocated) = allocations::count(|| sink.drain(&mut self.turn));
        self.allocations += allocated;
    }

    /// The bytes of the burst's frames.
    pub(crate) fn frames(&self) -> Vec<Vec<u8>> {
        let bytes = |segment: &Segment| {
            let mut bytes = vec![0; segment.len()];
            segment.read(0, &mut bytes);
            bytes
        };
        let each = self.burst.frames().iter();
        each.map(|frame| self.burst.segments(frame).iter().flat_map(bytes).collect()).collect()
    }
}

/// Builds a queue as the foreman does.
pub(crate) fn queue(options: &DriverOptions, descriptor: OwnedFd) -> AnyQueue {
    queue_of(options, vec![descriptor])
}

/// The same, of a driver that needs several descriptors.
pub(crate) fn queue_of(options: &DriverOptions, descriptors: Vec<OwnedFd>) -> AnyQueue {
    build(KEY, options, &Arc::from(descriptors), leak(QueueCounters::default())).unwrap()
}

/// How many frames were dropped for this reason.
pub(crate) fn dropped(queue: &AnyQueue, reason: DropReason) -> u64 {
    queue.counters().dropped[reason as usize].get()
}

/// How many frames were dropped.
pub(crate) fn all_dropped(queue: &AnyQueue) -> u64 {
    DropReason::ALL.map(|reason| dropped(queue, reason)).into_iter().sum()
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}
