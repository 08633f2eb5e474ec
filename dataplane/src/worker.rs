//! THE LOOP.
//!
//! A worker owns some queues and carries frames between them. A round is a *turn*: take up a new plan if
//! there is one, ask every awake end for a burst and hand it to whoever hears it, see what the kernel has to
//! tell, and sleep if nobody is awake. In a turn there is no allocation, no lock, no formatting and no loop
//! without a bound: at most one burst for each awake end.

use framewire_shared::happenings::{Happening, HappeningKind};
use ringbuf::HeapCons;

use crate::adopt::Adoption;
use crate::announce::Announcement;
use crate::driver::Queue;
use crate::errand::Errands;
use crate::frame::Burst;
use crate::rest::Rest;
use crate::turn::Turn;
use crate::uring::Readiness;
use crate::wire::{Outcome, Slab, State, Wires};

/// A data-plane thread.
pub struct Worker {
    pub(crate) ends: Slab,
    pub(crate) wires: Wires,
    /// Numbers of the ends that are asked every turn.
    pub(crate) awake: Vec<u32>,
    pub(crate) adoption: Adoption,
    pub(crate) rest: Rest,
    pub(crate) turn: Turn,
    pub(crate) burst: Burst,
    /// Addresses to announce, looked for when the doorbell was rung.
    pub(crate) announcements: HeapCons<Announcement>,
    /// What is asked of queues, likewise.
    pub(crate) errands: Errands,
}

impl Worker {
    /// Carries frames until the process ends.
    pub fn run(mut self) -> ! {
        loop {
            self.turn();
        }
    }

    /// One round.
    #[inline]
    pub fn turn(&mut self) {
        if self.adoption.is_due() {
            self.adopt();
        }
        self.turn.begin();
        let moved = self.carry();
        self.look_around(moved);
    }

    /// Asks every awake end once.
    #[inline]
    fn carry(&mut self) -> bool {
        let mut moved = false;
        // Backwards, since an end that is awake no more is replaced by the last one.
        for place in (0..self.awake.len()).rev() {
            let index = self.awake[place];
            let outcome = self.wires.carry(index, &mut self.ends, &mut self.burst, &mut self.turn);
            match outcome {
                Outcome::Moved => {
                    moved = true;
                    self.ends[index].last_frame_ns = self.turn.now_ns;
                    self.look_after_sinks(index);
                }
                Outcome::Nothing => self.maybe_doze(place),
                Outcome::HeldBack => self.maybe_hold_back(place),
                Outcome::Failed(errno) => self.fail(place, errno),
            }
        }
        moved
    }

    #[inline]
    fn maybe_doze(&mut self, place: usize) {
        let end = &mut self.ends[self.awake[place]];
        if end.is_out_of_patience(self.turn.now_ns) && !end.queue.arm(Readiness::Receive) {
            self.lay_off(place, State::Dozing);
        }
    }

    /// Its sink has no room. If that is seen by looking, we look for as long as we would for frames: a guest
    /// that is a few microseconds behind should not have to wake us.
    #[inline]
    fn maybe_hold_back(&mut self, place: usize) {
        let index = self.awake[place];
        let end = &self.ends[index];
        let sink = self.wires.heads(end.wire).iter().find(|head| **head != index).copied();
        let Some(sink) = sink else { return };
        let is_out_of_patience = end.is_out_of_patience(self.turn.now_ns);
        let sink_end = &mut self.ends[sink];
        if sink_end.queue.room_is_seen() && !is_out_of_patience || sink_end.queue.arm(Readiness::Send) {
            return;
        }
        self.rest.watch_send(sink, sink_end);
        self.lay_off(place, State::HeldBack);
    }

    /// The end at this place is asked no more.
    fn lay_off(&mut self, place: usize, state: State) {
        let index = self.awake.swap_remove(place);
        self.ends[index].state = state;
        if state == State::Dozing {
            self.rest.watch_receive(index, &mut self.ends[index]);
        }
    }

    #[cold]
    fn fail(&mut self, place: usize, errno: i32) {
        let queue = self.ends[self.awake[place]].key;
        self.lay_off(place, State::Failed);
        let detail = u64::from(errno.unsigned_abs());
        self.turn.reporter.report(Happening { kind: HappeningKind::QueueFailed, queue, detail });
    }

    /// Whoever hears `index` and has frames that the kernel would not take is watched until it does; whoever has an
    /// answer to what it has heard is asked for it.
    #[inline]
    pub(crate) fn look_after_sinks(&mut self, index: u32) {
        let wire = self.ends[index].wire;
        for place in 0..self.wires.heads(wire).len() {
            let head = self.wires.heads(wire)[place];
            let end = &mut self.ends[head];
            if head == index {
                continue;
            }
            if !end.queue.room_is_seen() && end.queue.room() == 0 {
                self.rest.watch_send(head, end);
            }
            if end.state == State::Dozing && end.queue.has_frames() {
                self.wake(head);
            }
        }
    }

    /// An end is asked again from the next turn on.
    pub(crate) fn wake(&mut self, index: u32) {
        let end = &mut self.ends[index];
        if matches!(end.state, State::Dozing | State::HeldBack) {
            end.state = State::Awake;
            end.last_frame_ns = self.turn.now_ns;
            self.awake.push(index);
        }
    }
}
