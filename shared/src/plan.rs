//! The plan: all that a worker must know, as plain words in shared memory.
//!
//! A plan has one *section* for each worker: its label and its *wires*. A wire joins *ends*; an end is one
//! queue, on one *side* of the wire. The sides of a wire are the ports on it (a port may have several
//! queues on one lane):
//!
//! * one side: nothing is there to hear it; what its queues receive is discarded and counted as `discard`;
//! * two sides: a cable, each side's frames go to the other;
//! * more: a hub, each side's frames go to all the others.
//!
//! A link that is down is only wiring: the planner gives such a port a wire of its own.
//!
//! Options that a queue is *built* from travel with its descriptors ([`crate::handover`]); the plan holds
//! what may *change* while the queue lives. Every word is an atomic, stored and loaded without ordering:
//! [`crate::publish`] says who may touch a slot when, and this way a mistake there could only mix numbers
//! up, which the reader bounds, and never be undefined.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::counters::DropReason;
use crate::limits::{ENDS_MAX, LABEL_BYTES, WIRES_MAX, WORKERS_MAX};

/// One queue on a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct End {
    /// The key under which the queue was handed over; never used twice.
    pub queue: u64,
    /// Which side of the wire it is on. Sides are numbered from 0 in the order of the ends.
    pub side: u32,
    /// How long the worker polls it after its last frame before it lets it doze.
    pub poll_us: u32,
}

/// Ends that hear each other: `ends` of the section's ends, from `first_end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// Index of its first end in the section.
    pub first_end: u32,
    /// How many ends it has.
    pub ends: u32,
    /// Why frames are discarded, if it has but one side.
    pub discard: DropReason,
}

/// What one worker carries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// The generation in which this section last changed: a worker whose section did not has nothing to do.
    pub revision: u64,
    /// The worker thread's name, ended by zeros.
    pub label: [u8; LABEL_BYTES],
    /// The wires, in order.
    pub wires: Vec<Wire>,
    /// The ends of all wires, wire by wire.
    pub ends: Vec<End>,
}

impl Section {
    /// A section that can be read into without allocating.
    #[must_use]
    pub fn with_room() -> Self {
        Section {
            wires: Vec::with_capacity(WIRES_MAX),
            ends: Vec::with_capacity(ENDS_MAX),
            ..Section::default()
        }
    }

    /// Appends a wire.
    pub fn add_wire(&mut self, discard: DropReason, ends: impl IntoIterator<Item = End>) {
        let first_end = self.ends.len();
        self.ends.extend(ends);
        let ends = self.ends.len() - first_end;
        self.wires.push(Wire { first_end: number(first_end), ends: number(ends), discard });
    }

    /// The ends of one wire.
    #[must_use]
    pub fn ends_of(&self, wire: &Wire) -> &[End] {
        &self.ends[wire.first_end as usize..][..wire.ends as usize]
    }

    /// Whether this section carries the same as another, whenever either changed.
    #[must_use]
    pub fn carries_the_same(&self, other: &Section) -> bool {
        (self.label, &self.wires, &self.ends) == (other.label, &other.wires, &other.ends)
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("bounded by WIRES_MAX and ENDS_MAX")
}

#[repr(C)]
#[derive(Debug)]
struct EndRecord {
    queue: AtomicU64,
    side: AtomicU32,
    poll_us: AtomicU32,
}

#[repr(C)]
#[derive(Debug)]
struct WireRecord {
    first_end: AtomicU32,
    ends: AtomicU32,
    discard: AtomicU32,
}

#[repr(C)]
#[derive(Debug)]
struct SectionRecord {
    revision: AtomicU64,
    label: [AtomicU8; LABEL_BYTES],
    first_wire: AtomicU32,
    wires: AtomicU32,
    first_end: AtomicU32,
    ends: AtomicU32,
}

/// One whole plan in shared memory. writer: control plane
#[repr(C, align(64))]
#[derive(Debug)]
pub struct PlanSlot {
    sections: [SectionRecord; WORKERS_MAX],
    wires: [WireRecord; WIRES_MAX],
    ends: [EndRecord; ENDS_MAX],
}

/// A plan with more wires, ends or workers than a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many queues (at most {QUEUES} for all ports together)", QUEUES = ENDS_MAX)]
pub struct PlanTooLarge;

/// A section that points outside of its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Whether sections fit a slot: asked before anything is changed, so that [`PlanSlot::write`] cannot fail.
///
/// # Errors
/// [`PlanTooLarge`].
pub fn check_size(sections: &[Section]) -> Result<(), PlanTooLarge> {
    let wires: usize = sections.iter().map(|section| section.wires.len()).sum();
    let ends: usize = sections.iter().map(|section| section.ends.len()).sum();
    let fits = sections.len() <= WORKERS_MAX && wires <= WIRES_MAX && ends <= ENDS_MAX;
    if fits { Ok(()) } else { Err(PlanTooLarge) }
}

impl PlanSlot {
    /// Writes a plan, for the control plane, while nobody reads this slot.
    ///
    /// # Panics
    /// If the plan was not checked with [`check_size`].
    pub fn write(&self, sections: &[Section]) {
        check_size(sections).expect("the planner checked it");
        let (mut wires, mut ends) = (0, 0);
        for (section, record) in sections.iter().zip(&self.sections) {
            record.write(section, wires, ends);
            for (wire, at) in section.wires.iter().zip(&self.wires[wires..]) {
                at.first_end.store(wire.first_end, Relaxed);
                at.ends.store(wire.ends, Relaxed);
                at.discard.store(wire.discard as u32, Relaxed);
            }
            for (end, at) in section.ends.iter().zip(&self.ends[ends..]) {
                at.queue.store(end.queue, Relaxed);
                at.side.store(end.side, Relaxed);
                at.poll_us.store(end.poll_us, Relaxed);
            }
            wires += section.wires.len();
            ends += section.ends.len();
        }
    }

    /// The generation in which a worker's section last changed.
    #[must_use]
    pub fn revision(&self, worker: usize) -> u64 {
        self.sections[worker].revision.load(Relaxed)
    }

    /// Copies a worker's section out, without allocating if `section` was made [`Section::with_room`].
    ///
    /// # Errors
    /// [`Malformed`] if it is inconsistent; `section` is then empty.
    pub fn read_into(&self, worker: usize, section: &mut Section) -> Result<(), Malformed> {
        section.wires.clear();
        section.ends.clear();
        let record = &self.sections[worker];
        section.revision = record.revision.load(Relaxed);
        section.label = std::array::from_fn(|byte| record.label[byte].load(Relaxed));
        let wires = slice(&self.wires, &record.first_wire, &record.wires).ok_or(Malformed)?;
        let ends = slice(&self.ends, &record.first_end, &record.ends).ok_or(Malformed)?;
        for wire in wires {
            let wire = wire.read(ends.len()).ok_or(Malformed)?;
            section.wires.push(wire);
        }
        section.ends.extend(ends.iter().map(EndRecord::read));
        Ok(())
    }
}

fn slice<'a, T>(records: &'a [T], first: &AtomicU32, count: &AtomicU32) -> Option<&'a [T]> {
    records.get(first.load(Relaxed) as usize..)?.get(..count.load(Relaxed) as usize)
}

impl SectionRecord {
    fn write(&self, section: &Section, first_wire: usize, first_end: usize) {
        self.revision.store(section.revision, Relaxed);
        self.label.iter().zip(section.label).for_each(|(at, byte)| at.store(byte, Relaxed));
        self.first_wire.store(number(first_wire), Relaxed);
        self.wires.store(number(section.wires.len()), Relaxed);
        self.first_end.store(number(first_end), Relaxed);
        self.ends.store(number(section.ends.len()), Relaxed);
    }
}

impl WireRecord {
    fn read(&self, ends_in_section: usize) -> Option<Wire> {
        let (first_end, ends) = (self.first_end.load(Relaxed), self.ends.load(Relaxed));
        let discard = *DropReason::ALL.get(self.discard.load(Relaxed) as usize)?;
        let fits = ends > 0 && u64::from(first_end) + u64::from(ends) <= ends_in_section as u64;
        fits.then_some(Wire { first_end, ends, discard })
    }
}

impl EndRecord {
    fn read(&self) -> End {
        End {
            queue: self.queue.load(Relaxed),
            side: self.side.load(Relaxed),
            poll_us: self.poll_us.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Box<PlanSlot> {
        let zero = || AtomicU32::new(0);
        Box::new(PlanSlot {
            sections: std::array::from_fn(|_| SectionRecord {
                revision: AtomicU64::new(0),
                label: [const { AtomicU8::new(0) }; LABEL_BYTES],
                first_wire: zero(),
                wires: zero(),
                first_end: zero(),
                ends: zero(),
            }),
            wires: std::array::from_fn(|_| WireRecord { first_end: zero(), ends: zero(), discard: zero() }),
            ends: std::array::from_fn(|_| EndRecord {
                queue: AtomicU64::new(0),
                side: zero(),
                poll_us: zero(),
            }),
        })
    }

    fn end(queue: u64, side: u32) -> End {
        End { queue, side, poll_us: 50 }
    }

    #[test]
    fn sections_come_back_as_written() {
        let mut sections = vec![Section { revision: 7, ..Section::default() }, Section::default()];
        sections[0].add_wire(DropReason::NoPeer, [end(1, 0), end(2, 1)]);
        sections[1].add_wire(DropReason::LinkDown, [end(3, 0)]);
        sections[1].add_wire(DropReason::NoPeer, [end(4, 0), end(5, 1), end(6, 2)]);
        let slot = slot();
        slot.write(&sections);
        for (worker, section) in sections.iter().enumerate() {
            let mut read = Section::default();
            assert_eq!(slot.read_into(worker, &mut read), Ok(()));
            assert_eq!(&read, section);
        }
    }

    #[test]
    fn section_that_points_outside_is_refused() {
        let slot = slot();
        slot.sections[3].first_wire.store(u32::MAX, Relaxed);
        slot.sections[3].wires.store(2, Relaxed);
        assert_eq!(slot.read_into(3, &mut Section::default()), Err(Malformed));
    }

    #[test]
    fn wire_with_more_ends_than_its_section_is_refused() {
        let mut sections = vec![Section::default()];
        sections[0].add_wire(DropReason::NoPeer, [end(1, 0)]);
        let slot = slot();
        slot.write(&sections);
        slot.wires[0].ends.store(2, Relaxed);
        assert_eq!(slot.read_into(0, &mut Section::default()), Err(Malformed));
    }
}
