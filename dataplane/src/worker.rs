//! THE LOOP.
//!
//! A worker owns some queues and carries frames between them. A round is a *turn*: take up a new plan if
//! there is one, ask every awake end for a burst and hand it to whoever hears it, see what the kernel has to
//! tell, and sleep if nobody is awake. In a turn there is no allocation, no lock, no formatting and no loop
//! without a bound: at most one burst for each awake end.

use framewire_shared::happenings::{Happening, HappeningKind};

use crate::adopt::Adoption;
use crate::driver::Queue;
use crate::frame::Burst;
use crate::rest::Rest;
use crate::turn::Turn;
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
                    self.watch_sinks_without_room(index);
                }
                Outcome::Nothing => self.maybe_doze(place),
                Outcome::HeldBack => {
                    self.lay_off(place, State::HeldBack);
                    self.watch_sinks_without_room(index);
                }
                Outcome::Failed(errno) => self.fail(place, errno),
            }
        }
        moved
    }

    #[inline]
    fn maybe_doze(&mut self, place: usize) {
        let end = &self.ends[self.awake[place]];
        let idle_ns = self.turn.now_ns.saturating_sub(end.last_frame_ns);
        if idle_ns >= end.poll_ns && end.poll_ns != u64::MAX {
            self.lay_off(place, State::Dozing);
        }
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

    /// Whoever hears `index` and has no room is watched until it has.
    #[inline]
    fn watch_sinks_without_room(&mut self, index: u32) {
        for head in self.wires.heads(self.ends[index].wire) {
            if *head != index && !self.ends[*head].queue.has_room() {
                self.rest.watch_send(*head, &mut self.ends[*head]);
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
