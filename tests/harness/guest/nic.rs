//! A NIC's queue pair, driver's side: frames into buffers and out of them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::memory::GuestMemory;
use super::ring::{Piece, Ring, Shape};

/// What was agreed on about frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manners {
    /// `VIRTIO_F_VERSION_1`.
    pub modern: bool,
    /// `VIRTIO_NET_F_MRG_RXBUF`.
    pub mergeable: bool,
}

impl Manners {
    /// Bytes of the header before each frame.
    pub fn header_bytes(self) -> usize {
        if self.modern || self.mergeable { 12 } else { 10 }
    }
}

/// In how many pieces a frame and its header are given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Where header and frame, one after another, are cut: bytes of each piece but the last. May be longer than they.
    pub cuts: Vec<usize>,
    /// Whether the pieces are named in a table.
    pub indirect: bool,
}

/// Pieces of one buffer, at most.
const PIECES_MAX: usize = 64;

/// The transmitq.
#[derive(Debug)]
pub struct Transmitter {
    /// The ring.
    pub ring: Ring,
    memory: Arc<GuestMemory>,
    region: usize,
    slot_bytes: usize,
    slots: VecDeque<u64>,
    slot_of: Vec<u64>,
}

impl Transmitter {
    /// With one buffer of `slot_bytes` for each entry.
    pub fn new(memory: &Arc<GuestMemory>, region: usize, shape: Shape, slot_bytes: usize) -> Self {
        let ring = Ring::new(memory, region, shape);
        let slot = || memory.allocate(region, 16 * PIECES_MAX + slot_bytes, 64);
        let slots = (0..shape.size).map(|_| slot()).collect();
        let slot_of = vec![0; usize::from(shape.size)];
        Self { ring, memory: Arc::clone(memory), region, slot_bytes, slots, slot_of }
    }

    /// Where its buffers are.
    pub fn region(&self) -> usize {
        self.region
    }

    /// Adds a frame behind its header; [`Ring::publish`] makes it available. Returns whether there was room.
    pub fn send(&mut self, header: &[u8], frame: &[u8], layout: &Layout) -> bool {
        let bytes = [header, frame].concat();
        assert!(bytes.len() <= self.slot_bytes, "a frame of {} bytes is longer than a buffer", frame.len());
        let Some(slot) = self.slots.pop_front() else { return false };
        let data = slot + 16 * PIECES_MAX as u64;
        self.memory.write(data, &bytes);
        let pieces = pieces(data, bytes.len(), &layout.cuts);
        let table = layout.indirect.then_some(slot);
        match self.ring.add(&pieces, table) {
            Some(id) => {
                self.slot_of[usize::from(id)] = slot;
                true
            }
            None => {
                self.slots.push_front(slot);
                false
            }
        }
    }

    /// Takes back what the device has sent. Returns how many frames that were.
    pub fn reclaim(&mut self) -> usize {
        self.reclaim_whatever_was_written(|written| {
            assert_eq!(written, 0, "the device claims to have written what it may only read");
        })
    }

    /// The same from a device that may claim to have written something; `told` hears of each buffer how much.
    pub fn reclaim_whatever_was_written(&mut self, mut told: impl FnMut(u32)) -> usize {
        let mut count = 0;
        while let Some((id, written)) = self.ring.used() {
            told(written);
            self.slots.push_back(self.slot_of[usize::from(id)]);
            count += 1;
        }
        count
    }
}

fn pieces(data: u64, len: usize, cuts: &[usize]) -> Vec<Piece> {
    let (mut pieces, mut at) = (Vec::new(), 0);
    for cut in cuts.iter().copied().chain([usize::MAX]).take(PIECES_MAX) {
        let part = cut.min(len - at);
        pieces.push(Piece { address: data + at as u64, len: part as u32, writable: false });
        at += part;
        if at == len {
            break;
        }
    }
    if let Some(last) = pieces.last_mut() {
        last.len += (len - at) as u32;
    }
    pieces
}

/// What a guest has received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The ten or twelve bytes before it.
    pub header: Vec<u8>,
    /// The frame.
    pub frame: Vec<u8>,
    /// In how many buffers it came.
    pub buffers: usize,
}

/// The receiveq.
#[derive(Debug)]
pub struct Receiver {
    /// The ring.
    pub ring: Ring,
    memory: Arc<GuestMemory>,
    manners: Manners,
    /// Of each buffer, the pieces that it has.
    cuts: Vec<usize>,
    buffer_bytes: usize,
    buffers: VecDeque<u64>,
    buffer_of: Vec<u64>,
    indirect: bool,
}

impl Receiver {
    /// With buffers of `buffer_bytes`, each in pieces as `layout` says; none is given to the device yet.
    pub fn new(
        memory: &Arc<GuestMemory>,
        region: usize,
        shape: Shape,
        manners: Manners,
        (buffer_bytes, layout): (usize, &Layout),
    ) -> Self {
        let ring = Ring::new(memory, region, shape);
        let buffer = || memory.allocate(region, 16 * PIECES_MAX + buffer_bytes, 64);
        Self {
            ring,
            memory: Arc::clone(memory),
            manners,
            cuts: layout.cuts.clone(),
            buffer_bytes,
            buffers: (0..shape.size).map(|_| buffer()).collect(),
            buffer_of: vec![0; usize::from(shape.size)],
            indirect: layout.indirect,
        }
    }

    /// Gives the device up to `count` more buffers; [`Ring::publish`] makes them available. Returns how many.
    pub fn refill(&mut self, count: usize) -> usize {
        for done in 0..count {
            let Some(slot) = self.buffers.pop_front() else { return done };
            let data = slot + 16 * PIECES_MAX as u64;
            let mut pieces = pieces(data, self.buffer_bytes, &self.cuts);
            pieces.iter_mut().for_each(|piece| piece.writable = true);
            let Some(id) = self.ring.add(&pieces, self.indirect.then_some(slot)) else {
                self.buffers.push_front(slot);
                return done;
            };
            self.buffer_of[usize::from(id)] = slot;
        }
        count
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let (id, written) = self.ring.used()?;
        assert!(written as usize <= self.buffer_bytes, "{written} bytes written into a smaller buffer");
        let slot = self.buffer_of[usize::from(id)];
        let mut bytes = vec![0; written as usize];
        self.memory.read(slot + 16 * PIECES_MAX as u64, &mut bytes);
        self.buffers.push_back(slot);
        Some(bytes)
    }

    /// The next frame that has arrived.
    pub fn receive(&mut self) -> Option<Received> {
        let mut frame = self.take()?;
        let rest = frame.split_off(self.manners.header_bytes());
        let header = std::mem::replace(&mut frame, rest);
        let mut buffers = 1;
        if header.len() == 12 {
            let told = usize::from(u16::from_le_bytes([header[10], header[11]]));
            assert!(told == 1 || self.manners.mergeable, "{told} buffers for a frame of one");
            while buffers < told {
                frame.extend(self.take().expect("all buffers of a frame are used at once"));
                buffers += 1;
            }
        }
        Some(Received { header, frame, buffers })
    }
}
