//! Virtqueues, from the device's side: the rings that a guest lays out in its own memory (virtio 1.2, 2.7 and 2.8).
//!
//! **Problem.** The guest writes the rings while we read them, and may write anything. And a frame may cost no
//! more than forty cycles.
//!
//! **Rejected.** The usual shape, a ring that hands out one chain after another behind several layers of
//! checked memory access: measured 7 to 19 times slower than a plain walk.
//!
//! **Chosen.** Chains move in bursts and in stages: [`Virtqueue::take`] reads the heads and descriptors of up
//! to 64 chains, checks and translates them into [`Chains`], and asks the processor to fetch what they point
//! to; the driver then copies all; [`Virtqueue::publish`] writes all used entries, publishes once, and decides
//! once whether the guest wants to be told. Every word is loaded once into a local on which everything is
//! decided ([`area`]), every address is checked against the guest's regions ([`memory`]), every walk is bounded
//! by the ring's size. What a guest may get wrong has a name ([`GuestFault`]); it ends that ring and nothing
//! else.
//!
//! Chains are taken in the ring's order and all chains of a pass are used when it ends, in the same order, or
//! given back ([`Virtqueue::untake`]). So nothing is in flight between passes: where a ring stands is one
//! number, and `IN_ORDER` costs nothing.

#[cfg(target_endian = "big")]
compile_error!("rings are little-endian, and read as they are");

pub mod area;
pub mod chain;
pub mod cut;
pub mod dirty;
pub mod header;
pub mod memory;
pub mod notify;
mod packed;
mod queue;
mod split;

pub use chain::{Chain, Chains, Direction};
pub use memory::Memory;
pub use queue::{Format, Logging, Position, RingLayout, RingOptions, Setup, Virtqueue};

/// System calls made here, for the data plane's filter.
pub const SYSTEM_CALLS: [&[libc::c_long]; 2] = [memory::SYSTEM_CALLS, notify::SYSTEM_CALLS];

/// Chains that are taken at once, at most: a burst's frames.
pub const CHAINS_MAX: u16 = 64;

const _: () = assert!(CHAINS_MAX as usize == framewire_shared::limits::BURST_FRAMES_MAX);

/// Entries of a ring, at most.
pub const RING_SIZE_MAX: u16 = 32768;

/// What a guest or its front end did that no driver may do. The number is what a happening carries.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestFault {
    /// More chains made available than the ring has entries.
    AvailableIndex = 1,
    /// A chain begins with a descriptor that is not in the table.
    Head = 2,
    /// A chain goes on with a descriptor that is not in the table, or has not been made available.
    Next = 3,
    /// More descriptors in a chain than the ring has entries: a loop, perhaps.
    ChainTooLong = 4,
    /// A buffer that no region holds entirely.
    Address = 5,
    /// An indirect table that is not one: its length, its place, or one within another.
    Indirect = 6,
    /// A buffer to be read where one to be written is needed, or the reverse.
    Direction = 7,
    /// A buffer id beyond the ring's size.
    BufferId = 8,
    /// The file behind the guest's memory was cut short.
    MemoryCut = 9,
    /// A command without a place for its answer.
    Command = 10,
}
