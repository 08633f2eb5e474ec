//! Takes up a new plan between two turns.
//!
//! 1. The worker copies its section out of the slot and tells that it has *seen* the plan.
//! 2. It lays its wires anew. A queue that the section mentions and that is not here yet is on its way from
//!    the foreman; its wire waits. A queue that is here and not mentioned leaves: its watches are ended, and
//!    when the kernel has let go of it, it goes back to the foreman.
//! 3. When nothing is awaited and nothing is leaving, the plan has *quiesced* here.
//!
//! Ends whose wire looks as before keep their state: a change elsewhere does not even wake them. A worker
//! whose section has not changed goes from 1 straight to 3.
//!
//! A queue that arrives under a key that is here already is *exchanged* for the one that is: it takes its place on
//! the wire, and the old one goes back. So the foreman changes what a queue is made of, a guest's rings for
//! instance, without a new plan; and what it has in hand again, no worker touches any more.
//!
//! Arrivals are taken *before* the plan is looked at. The foreman sends a queue only after it has seen the
//! plan that mentions it; so whoever has the queue finds that plan, or a newer one, and cannot mistake it for
//! one that nobody mentions.

use std::os::fd::BorrowedFd;

use framewire_shared::counters::WorkerCounters;
use framewire_shared::limits::QUEUES_MAX;
use framewire_shared::plan::{End as PlannedEnd, PlanSlot, Section, Wire as PlannedWire};
use framewire_shared::publish::Subscriber;
use ringbuf::traits::{Consumer, Observer, Producer};
use ringbuf::{HeapCons, HeapProd};

use crate::doorbell;
use crate::driver::AnyQueue;
use crate::wire::{End, State};
use crate::worker::Worker;

/// System calls made here (besides those of [`crate::doorbell`]), for the data plane's filter.
pub const SYSTEM_CALLS: &[libc::c_long] = &[libc::SYS_prctl];

/// A queue on its way between the foreman and a worker.
#[derive(Debug)]
pub struct Parcel {
    /// Its key in the plan.
    pub key: u64,
    /// Which of the queues that the foreman has made under this key.
    pub edition: u64,
    /// The queue.
    pub queue: Box<AnyQueue>,
}

/// A worker's side of the plan.
pub struct Adoption {
    worker: usize,
    plan: Subscriber<'static>,
    slots: &'static [PlanSlot; 2],
    section: Section,
    arrivals: HeapCons<Parcel>,
    departures: HeapProd<Parcel>,
    foreman: BorrowedFd<'static>,
    counters: &'static WorkerCounters,
    /// Ends that no wire mentions and that the kernel still refers to.
    leaving: Vec<u32>,
    /// A wire lacks a queue that is on its way here.
    is_waiting: bool,
    /// The plan is seen but not yet fully in effect.
    is_unfinished: bool,
}

/// What connects a worker with the foreman and the control plane.
pub struct Links {
    /// The plan and this worker's acknowledgements.
    pub plan: Subscriber<'static>,
    /// Where plans lie.
    pub slots: &'static [PlanSlot; 2],
    /// Queues from the foreman.
    pub arrivals: HeapCons<Parcel>,
    /// Queues to the foreman.
    pub departures: HeapProd<Parcel>,
    /// Wakes the foreman.
    pub foreman: BorrowedFd<'static>,
    /// What this worker has done.
    pub counters: &'static WorkerCounters,
}

impl Adoption {
    /// For the worker with this number.
    #[must_use]
    pub fn new(worker: usize, links: Links) -> Self {
        let Links { plan, slots, arrivals, departures, foreman, counters } = links;
        Adoption {
            worker,
            plan,
            slots,
            section: Section::with_room(),
            arrivals,
            departures,
            foreman,
            counters,
            leaving: Vec::with_capacity(QUEUES_MAX),
            is_waiting: false,
            is_unfinished: false,
        }
    }

    /// Wakes the foreman.
    #[must_use]
    pub fn foreman(&self) -> BorrowedFd<'static> {
        self.foreman
    }

    /// Whether something has come from the foreman.
    #[must_use]
    pub fn has_arrivals(&self) -> bool {
        !self.arrivals.is_empty()
    }

    /// Whether there is a new plan (the one load a turn), or a queue has come that the present one waits for.
    #[inline]
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.plan.changed().is_some() || (self.is_waiting && !self.arrivals.is_empty())
    }

    /// Copies this worker's section, if it has changed; tells that it has.
    fn see(&mut self) -> bool {
        let Some(generation) = self.plan.changed() else { return false };
        let (section, worker, slots) = (&mut self.section, self.worker, self.slots);
        self.plan.see(generation, |slot| {
            if slots[slot].revision(worker) == section.revision {
                return false;
            }
            // A section that contradicts itself is read as an empty one: our own queues stop, nothing else.
            let _ = slots[slot].read_into(worker, section);
            true
        })
    }
}

impl Worker {
    /// One step of adoption; see the module's text. Called while [`Adoption::is_due`].
    #[cold]
    pub(crate) fn adopt(&mut self) {
        let arrived = self.take_arrivals();
        let changed = self.adoption.see();
        self.adoption.is_unfinished = true;
        if changed || arrived {
            self.lay_wires();
            self.adoption.counters.adoptions.add(1);
        }
        self.maybe_quiesce();
    }

    fn take_arrivals(&mut self) -> bool {
        let before = self.ends.len();
        while let Some(parcel) = self.adoption.arrivals.try_pop() {
            if let Some(index) = self.ends.find(parcel.key) {
                self.exchange(index, parcel);
            } else if let Err(end) = self.ends.insert(End::new(parcel)) {
                // The slab has a place for every queue that may exist.
                self.give_back(end.parcel());
            }
        }
        self.ends.len() > before
    }

    /// Something is to take the place of end `index`: at once, or when the kernel has let go of what is there.
    fn exchange(&mut self, index: u32, parcel: Parcel) {
        let end = &mut self.ends[index];
        let superseded = end.successor.replace(parcel);
        if end.state != State::Leaving {
            self.rest.forget(index, end);
        }
        if let Some(superseded) = superseded {
            self.give_back(superseded);
        }
        self.maybe_succeed(index);
    }

    /// If something waits to take the place of this end, and nothing in the kernel refers to it: now.
    pub(crate) fn maybe_succeed(&mut self, index: u32) {
        let end = &mut self.ends[index];
        if end.state == State::Leaving || !end.is_quiet() {
            return;
        }
        let Some(predecessor) = end.succeed() else { return };
        if end.wire != End::NO_WIRE {
            if end.state != State::Awake {
                end.state = State::HeldBack;
            }
            let wire = end.wire;
            self.wake_wire(wire);
        }
        self.give_back(predecessor);
    }

    fn lay_wires(&mut self) {
        let section = std::mem::take(&mut self.adoption.section);
        self.rename(&section);
        self.wires.clear();
        self.awake.clear();
        self.adoption.is_waiting = false;
        for (_index, end) in self.ends.iter_mut() {
            end.wire = End::NO_WIRE;
        }
        for wire in &section.wires {
            self.lay_wire(wire, section.ends_of(wire));
        }
        self.adoption.section = section;
        self.sort_ends();
    }

    fn lay_wire(&mut self, wire: &PlannedWire, planned: &[PlannedEnd]) {
        let number = self.wires.open();
        let fingerprint = fingerprint(wire, planned);
        let (mut sides, mut is_complete) = (0, true);
        for plan in planned {
            let Some(index) = self.ends.find(plan.queue) else {
                is_complete = false;
                self.adoption.is_waiting = true;
                continue;
            };
            let end = &mut self.ends[index];
            (end.wire, end.side) = (number, plan.side);
            end.poll_ns = if plan.poll_us == u32::MAX { u64::MAX } else { u64::from(plan.poll_us) * 1000 };
            let changed = std::mem::replace(&mut end.fingerprint, fingerprint) != fingerprint;
            if changed && end.state != State::Failed {
                end.state = State::HeldBack; // `sort_ends` wakes it
            }
            let heads = plan.side == sides;
            sides += u32::from(heads);
            self.wires.attach(index, heads);
        }
        if is_complete {
            self.wires.close(wire.discard);
        }
    }

    /// Puts every end where it belongs: among those asked, among those leaving, or where it was.
    fn sort_ends(&mut self) {
        self.adoption.leaving.clear();
        for (index, end) in self.ends.iter_mut() {
            if end.wire == End::NO_WIRE {
                if end.state != State::Leaving {
                    end.state = State::Leaving;
                    self.rest.forget(index, end);
                }
                end.fingerprint = 0;
                self.adoption.leaving.push(index);
            } else if matches!(end.state, State::Awake | State::HeldBack) {
                end.state = State::Awake;
                end.last_frame_ns = self.turn.now_ns;
                self.awake.push(index);
            }
        }
        for place in (0..self.adoption.leaving.len()).rev() {
            self.maybe_depart(self.adoption.leaving[place]);
        }
    }

    /// A leaving end goes back to the foreman as soon as the kernel has let go of it.
    pub(crate) fn maybe_depart(&mut self, index: u32) {
        if !self.ends[index].is_quiet() {
            return;
        }
        self.adoption.leaving.retain(|other| *other != index);
        if let Some(mut end) = self.ends.remove(index) {
            if let Some(predecessor) = end.succeed() {
                self.give_back(predecessor);
            }
            self.give_back(end.parcel());
        }
        self.maybe_quiesce();
    }

    fn give_back(&mut self, parcel: Parcel) {
        // There is a place for every queue that may exist, so the ring is never full.
        let returned = self.adoption.departures.try_push(parcel);
        assert!(returned.is_ok(), "more departures than queues");
        doorbell::ring(self.adoption.foreman);
    }

    /// Tells, once, that the plan is fully in effect here.
    fn maybe_quiesce(&mut self) {
        let adoption = &mut self.adoption;
        if !adoption.is_unfinished || adoption.is_waiting || !adoption.leaving.is_empty() {
            return;
        }
        adoption.is_unfinished = false;
        adoption.counters.queues.set(self.ends.len() as u64);
        adoption.plan.quiesce();
        doorbell::ring(adoption.foreman);
    }

    /// The thread's name tells which queues it carries (`ps -L`).
    fn rename(&self, section: &Section) {
        if let Ok(name) = std::ffi::CStr::from_bytes_until_nul(&section.label) {
            let _ = rustix::thread::set_name(name);
        }
    }
}

/// Tells whether a wire looks as before: who is on it, on which side, and what becomes of unheard frames.
fn fingerprint(wire: &PlannedWire, ends: &[PlannedEnd]) -> u64 {
    let mix = |hash: u64, value: u64| (hash ^ value).wrapping_mul(0x0100_0000_01b3);
    let start = mix(0xcbf2_9ce4_8422_2325, wire.discard as u64);
    ends.iter().fold(start, |hash, end| mix(mix(hash, end.queue), u64::from(end.side)))
}

#[cfg(test)]
mod test;
