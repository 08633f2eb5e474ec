//! A ring of either layout, from the driver's side.

use std::sync::Arc;

use super::GuestMemory;
use super::packed::Packed;
use super::split::Split;

/// The chain goes on.
pub const NEXT: u16 = 1;
/// The device writes it.
pub const WRITE: u16 = 2;
/// It holds a table.
pub const INDIRECT: u16 = 4;

/// How a ring is laid out, and what was agreed on about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Packed, or split.
    pub packed: bool,
    /// Entries.
    pub size: u16,
    /// `VIRTIO_F_EVENT_IDX`.
    pub event_index: bool,
    /// `VIRTIO_F_IN_ORDER`.
    pub in_order: bool,
    /// `VIRTIO_F_INDIRECT_DESC`.
    pub indirect: bool,
}

impl Shape {
    /// A plain ring with nothing negotiated.
    pub fn plain(packed: bool, size: u16) -> Self {
        Self { packed, size, event_index: false, in_order: false, indirect: false }
    }
}

/// Part of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Guest address.
    pub address: u64,
    /// Bytes.
    pub len: u32,
    /// Whether the device writes it.
    pub writable: bool,
}

impl Piece {
    pub(super) fn flags(&self) -> u16 {
        if self.writable { WRITE } else { 0 }
    }
}

/// A ring.
#[derive(Debug)]
pub enum Ring {
    /// Three areas.
    Split(Split),
    /// One ring.
    Packed(Packed),
}

macro_rules! each {
    ($any:expr, $ring:ident => $do:expr) => {
        match $any {
            Ring::Split($ring) => $do,
            Ring::Packed($ring) => $do,
        }
    };
}

impl Ring {
    /// A fresh ring in a region of a guest's memory.
    pub fn new(memory: &Arc<GuestMemory>, region: usize, shape: Shape) -> Self {
        if shape.packed {
            Self::Packed(Packed::new(memory, region, shape))
        } else {
            Self::Split(Split::new(memory, region, shape))
        }
    }

    /// Front end's addresses of the descriptors, of what the driver writes and of what the device writes.
    pub fn user_addresses(&self) -> [u64; 3] {
        each!(self, ring => [ring.descriptors.user(), ring.driver.user(), ring.device.user()])
    }

    /// Adds a buffer, to be published later; `table` is where an indirect table of it may be put. Returns its id, or
    /// nothing if the ring has no place.
    pub fn add(&mut self, pieces: &[Piece], table: Option<u64>) -> Option<u16> {
        each!(self, ring => ring.add(pieces, table))
    }

    /// Makes what was added available. Returns whether the device wants to be kicked.
    pub fn publish(&mut self) -> bool {
        each!(self, ring => ring.publish())
    }

    /// The next buffer that the device has used, and how much of it it has written.
    pub fn used(&mut self) -> Option<(u16, u32)> {
        each!(self, ring => ring.used())
    }

    /// Asks to be called for the next used buffer. Returns whether there is one already.
    pub fn arm(&mut self) -> bool {
        each!(self, ring => ring.arm())
    }

    /// Asks not to be called.
    pub fn disarm(&mut self) {
        each!(self, ring => ring.disarm());
    }

    /// How many more buffers of one descriptor could be added.
    pub fn room(&self) -> usize {
        each!(self, ring => ring.room())
    }
}

/// Whether going from `old` to `new` passes `event`.
pub(super) fn passes(event: u16, old: u16, new: u16) -> bool {
    // As many steps from `old` to `event` as fit before `new`.
    event.wrapping_sub(old) < new.wrapping_sub(old)
}
