//! When a worker is idle: dozing ends, sleep, and who wakes it.
//!
//! Polling is per end: one that had nothing for its poll-us is watched by the ring and not asked until the
//! kernel tells (`poll-us` 0: after the first miss; 4294967295: never). A worker with nobody awake sleeps in
//! the ring. Its doorbell is watched there too: the control plane rings it after it has published a plan, so
//! a sleeping worker adopts as fast as it wakes.

use std::os::fd::{AsRawFd, BorrowedFd};

use framewire_shared::counters::{WorkerCounters, monotonic_ns};

use crate::doorbell;
use crate::driver::Queue;
use crate::uring::{Readiness, Uring};
use crate::wire::{End, State};
use crate::worker::Worker;

/// The tag of the doorbell's watch.
const DOORBELL: u64 = u64::MAX - 1;

/// The tag of an end's watch.
fn tag(index: u32, readiness: Readiness) -> u64 {
    u64::from(index) << 1 | u64::from(readiness == Readiness::Send)
}

/// A completed watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    ByDoorbell,
    End(u32, Readiness),
}

fn woken(tag: u64) -> Woken {
    if tag == DOORBELL {
        return Woken::ByDoorbell;
    }
    let index = u32::try_from(tag >> 1).expect("tags of ends have 33 bits");
    Woken::End(index, if tag & 1 == 1 { Readiness::Send } else { Readiness::Receive })
}

/// How a worker rests.
pub struct Rest {
    uring: Uring,
    doorbell: BorrowedFd<'static>,
    doorbell_is_watched: bool,
    counters: &'static WorkerCounters,
    last_turn_ns: u64,
}

impl Rest {
    /// For one worker, on its own thread (the ring has a single issuer).
    #[must_use]
    pub fn new(uring: Uring, doorbell: BorrowedFd<'static>, counters: &'static WorkerCounters) -> Self {
        // A worker of an earlier data plane may have been killed in its sleep.
        counters.asleep_since_ns.set(0);
        Rest { uring, doorbell, doorbell_is_watched: false, counters, last_turn_ns: 0 }
    }

    /// Has the ring tell when an end has something. One that waits for its successor is not watched anew: it has to
    /// become quiet, and is asked again when that has taken its place.
    pub fn watch_receive(&mut self, index: u32, end: &mut End) {
        if end.successor.is_none()
            && let Some((descriptor, event)) = end.queue.watched(Readiness::Receive)
            && !std::mem::replace(&mut end.watched_receive, true)
        {
            self.uring.watch(descriptor, event, tag(index, Readiness::Receive));
        }
    }

    /// Has the ring tell when an end has room; as above.
    pub fn watch_send(&mut self, index: u32, end: &mut End) {
        if end.successor.is_none()
            && let Some((descriptor, event)) = end.queue.watched(Readiness::Send)
            && !std::mem::replace(&mut end.watched_send, true)
        {
            self.uring.watch(descriptor, event, tag(index, Readiness::Send));
        }
    }

    /// Ends all watches of an end. They complete before it is quiet.
    pub fn forget(&mut self, index: u32, end: &End) {
        for (watched, readiness) in
            [(end.watched_receive, Readiness::Receive), (end.watched_send, Readiness::Send)]
        {
            if watched {
                self.uring.forget(tag(index, readiness));
            }
        }
    }

    /// Has the ring tell when the doorbell is rung. It is watched at all times: a busy worker hears it as well.
    fn watch_doorbell(&mut self) {
        if !std::mem::replace(&mut self.doorbell_is_watched, true) {
            self.uring.watch(self.doorbell.as_raw_fd(), Readiness::Receive, DOORBELL);
        }
    }

    fn sleep(&mut self) {
        let before = monotonic_ns();
        self.counters.asleep_since_ns.set(before);
        self.uring.sleep();
        self.counters.sleeps.add(1);
        self.counters.sleeping_ns.add(monotonic_ns().saturating_sub(before));
        self.counters.asleep_since_ns.set(0);
    }

    /// Where the time since the last turn went.
    fn account(&mut self, now_ns: u64, moved: bool, awake: usize) {
        self.counters.turns.add(1);
        if moved {
            self.counters.busy_turns.add(1);
        } else if awake > 0 {
            self.counters.spinning_ns.add(now_ns.saturating_sub(self.last_turn_ns));
        }
        self.counters.queues_awake.set(awake as u64);
        self.last_turn_ns = now_ns;
    }
}

impl Worker {
    /// What a turn ends with: hears what the kernel has to tell; sleeps if nobody is awake.
    #[inline]
    pub(crate) fn look_around(&mut self, moved: bool) {
        self.rest.account(self.turn.now_ns, moved, self.awake.len());
        self.rest.watch_doorbell();
        if self.awake.is_empty() && !self.adoption.is_due() {
            self.rest.sleep();
            self.turn.begin();
            self.rest.last_turn_ns = self.turn.now_ns;
        } else {
            self.rest.uring.kick();
        }
        while let Some(tag) = self.rest.uring.completed() {
            self.on_watch(woken(tag));
        }
    }

    fn on_watch(&mut self, woken: Woken) {
        match woken {
            Woken::ByDoorbell => {
                self.rest.doorbell_is_watched = false;
                doorbell::hush(self.rest.doorbell);
                if self.adoption.has_arrivals() {
                    self.adopt();
                }
                self.announce();
                self.run_errands();
            }
            Woken::End(index, Readiness::Receive) => self.on_frames(index),
            Woken::End(index, Readiness::Send) => self.on_room(index),
        }
    }

    /// A dozing end has something to receive (or the watch of a leaving one has ended).
    fn on_frames(&mut self, index: u32) {
        let Some(end) = self.ends.get_mut(index) else { return };
        end.watched_receive = false;
        end.queue.disarm(Readiness::Receive);
        if end.state == State::Leaving {
            return self.maybe_depart(index);
        }
        if end.state == State::Dozing {
            self.wake(index);
        }
        self.maybe_succeed(index);
    }

    /// An end may have room again: gets rid of what it kept, then lets those send that were held back.
    fn on_room(&mut self, index: u32) {
        let Some(end) = self.ends.get_mut(index) else { return };
        end.watched_send = false;
        end.queue.disarm(Readiness::Send);
        if end.state == State::Leaving {
            return self.maybe_depart(index);
        }
        if end.successor.is_some() {
            return self.maybe_succeed(index);
        }
        end.queue.drain(&mut self.turn);
        if end.queue.room() == 0 && !end.queue.arm(Readiness::Send) {
            return self.rest.watch_send(index, end);
        }
        let wire = end.wire;
        self.wake_wire(wire);
    }

    /// Whoever was held back on this wire is asked again.
    pub(crate) fn wake_wire(&mut self, wire: u32) {
        for place in 0..self.wires.members(wire).len() {
            let member = self.wires.members(wire)[place];
            if self.ends[member].state == State::HeldBack {
                self.wake(member);
            }
        }
    }
}
