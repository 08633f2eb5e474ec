//! Who hears whom: the wires that one worker carries, and the queues at their ends.
//!
//! The queues lie in a slab; wires name them by index. Everything has room for the largest plan from the
//! start, so adopting one allocates nothing.

mod cable;
mod end;
mod hub;
mod slab;

pub use end::{End, State};
pub use slab::Slab;

use framewire_shared::counters::DropReason;
use framewire_shared::limits::{BURST_FRAMES_MAX, ENDS_MAX, WIRES_MAX};

use crate::driver::Queue;
use crate::frame::{Burst, HEADROOM_BYTES, Offload};
use crate::turn::Turn;

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A queue is still on its way to this worker: nothing moves until it is here.
    Incomplete,
    /// Nobody.
    Open(DropReason),
    /// One port.
    Cable,
    /// Several.
    Hub,
}

#[derive(Debug, Clone, Copy)]
struct Wire {
    shape: Shape,
    first_head: usize,
    heads: usize,
    first_member: usize,
    members: usize,
}

/// What became of an attempt to carry frames from one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Frames moved.
    Moved,
    /// There were none.
    Nothing,
    /// The sink has no room; the source keeps what it has.
    HeldBack,
    /// The source's descriptor failed for good (errno).
    Failed(i32),
}

/// The wires of one worker.
#[derive(Debug)]
pub struct Wires {
    wires: Vec<Wire>,
    /// Of each wire, the first end of each side: who is sent to.
    heads: Vec<u32>,
    /// Of each wire, all ends.
    members: Vec<u32>,
}

impl Default for Wires {
    fn default() -> Self {
        Wires {
            wires: Vec::with_capacity(WIRES_MAX),
            heads: Vec::with_capacity(ENDS_MAX),
            members: Vec::with_capacity(ENDS_MAX),
        }
    }
}

impl Wires {
    /// Cuts them all.
    pub fn clear(&mut self) {
        self.wires.clear();
        self.heads.clear();
        self.members.clear();
    }

    /// Begins a wire; its ends follow by [`Wires::attach`], its shape by [`Wires::close`]. Returns its number.
    pub fn open(&mut self) -> u32 {
        let (first_head, first_member) = (self.heads.len(), self.members.len());
        self.wires.push(Wire { shape: Shape::Incomplete, first_head, heads: 0, first_member, members: 0 });
        u32::try_from(self.wires.len() - 1).expect("bounded by WIRES_MAX")
    }

    /// Adds an end to the wire begun last; `heads` says whether it is the first of its side.
    pub fn attach(&mut self, index: u32, heads: bool) {
        let wire = self.wires.last_mut().expect("a wire was begun");
        self.members.push(index);
        wire.members += 1;
        if heads {
            self.heads.push(index);
            wire.heads += 1;
        }
    }

    /// All ends are attached, and here.
    pub fn close(&mut self, discard: DropReason) {
        let wire = self.wires.last_mut().expect("a wire was begun");
        wire.shape = match wire.heads {
            0 | 1 => Shape::Open(discard),
            2 => Shape::Cable,
            _ => Shape::Hub,
        };
    }

    /// The ends of one wire.
    #[must_use]
    pub fn members(&self, wire: u32) -> &[u32] {
        let wire = &self.wires[wire as usize];
        &self.members[wire.first_member..][..wire.members]
    }

    /// Who is sent to on one wire.
    #[must_use]
    pub fn heads(&self, wire: u32) -> &[u32] {
        let wire = &self.wires[wire as usize];
        &self.heads[wire.first_head..][..wire.heads]
    }

    /// Carries what end `index` has to whoever hears it.
    #[inline]
    pub fn carry(&self, index: u32, ends: &mut Slab, burst: &mut Burst, turn: &mut Turn) -> Outcome {
        let (number, side) = (ends[index].wire, ends[index].side);
        let outcome = match self.wires[number as usize].shape {
            Shape::Incomplete => return Outcome::Nothing,
            Shape::Open(reason) => discard(ends[index].queue.as_mut(), reason, burst, turn),
            Shape::Cable => {
                let sink = self.heads(number)[1 - side as usize];
                let [source, sink] = ends.pair(index, sink);
                cable::pass(source.queue.as_mut(), sink.queue.as_mut(), burst, turn)
            }
            Shape::Hub => hub::flood(index, side, self.heads(number), ends, burst, turn),
        };
        burst.clear();
        outcome
    }
}

impl Wires {
    /// Sends a frame that nobody received to whoever hears end `index`, which is on a wire. It is tried once: what a sink has no room for
    /// is dropped, and counted there.
    pub fn inject(&self, index: u32, frame: &[u8], ends: &mut Slab, burst: &mut Burst, turn: &mut Turn) {
        let (number, side) = (ends[index].wire, ends[index].side);
        turn.strip.clear();
        let Some(landing) = turn.strip.room(frame.len()) else { return };
        landing.segment().write(0, frame);
        turn.strip.keep(frame.len());
        burst.push(&[landing.segment()], Offload::default(), HEADROOM_BYTES);
        match self.wires[number as usize].shape {
            Shape::Incomplete => {}
            Shape::Open(reason) => ends[index].queue.counters().drop_frames(reason, 1),
            Shape::Cable | Shape::Hub => hub::tell(side, self.heads(number), ends, burst, turn),
        }
        burst.clear();
    }
}

/// Nobody hears it: received, counted and forgotten, as QEMU does.
fn discard(source: &mut impl Queue, reason: DropReason, burst: &mut Burst, turn: &mut Turn) -> Outcome {
    let outcome = cable::receive(source, BURST_FRAMES_MAX, burst, turn);
    source.counters().drop_frames(reason, burst.len() as u64);
    if outcome == Outcome::Moved {
        source.settle(burst, burst.len(), turn);
    }
    outcome
}
