//! The packed ring, driver's side (virtio 1.2, 2.8).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;

use super::GuestMemory;
use super::memory::Words;
use super::ring::{INDIRECT, NEXT, Piece, Shape, passes};

/// Set to the driver's wrap counter when a descriptor is made available.
pub const AVAILABLE: u16 = 1 << 7;
/// Set to the device's wrap counter when it is used.
pub const USED: u16 = 1 << 15;

/// The ring.
#[derive(Debug)]
pub struct Packed {
    /// The ring itself.
    pub descriptors: Words,
    /// When we want to be called.
    pub driver: Words,
    /// When the device wants to be kicked.
    pub device: Words,
    memory: Arc<GuestMemory>,
    shape: Shape,
    ids: VecDeque<u16>,
    /// Ids in the order in which they were added, as long as they are out, with the entries that they take.
    pending: VecDeque<(u16, u16)>,
    next: u16,
    wrap: bool,
    free: u16,
    /// The first entry added since the last publication, and the flags that it is to get.
    held_back: Option<(u16, u16)>,
    added: u16,
    seen: u16,
    seen_wrap: bool,
    batch: VecDeque<(u16, u32)>,
}

impl Packed {
    pub(super) fn new(memory: &Arc<GuestMemory>, region: usize, shape: Shape) -> Self {
        let size = usize::from(shape.size);
        let area = |len: usize, align| memory.words(memory.allocate(region, len, align), len);
        Self {
            descriptors: area(16 * size, 16),
            driver: area(4, 4),
            device: area(4, 4),
            memory: Arc::clone(memory),
            shape,
            ids: (0..shape.size).collect(),
            pending: VecDeque::with_capacity(size),
            next: 0,
            wrap: true,
            free: shape.size,
            held_back: None,
            added: 0,
            seen: 0,
            seen_wrap: true,
            batch: VecDeque::with_capacity(size),
        }
    }

    /// Writes a descriptor, whatever it says.
    pub fn write_descriptor(&self, index: u16, address: u64, len: u32, id: u16, flags: u16) {
        let at = 2 * usize::from(index);
        self.descriptors.word64(at).store(address, Relaxed);
        let rest = u64::from(len) | u64::from(id) << 32 | u64::from(flags) << 48;
        self.descriptors.word64(at + 1).store(rest, Release);
    }

    fn available(&self) -> u16 {
        if self.wrap { AVAILABLE } else { USED }
    }

    pub(super) fn add(&mut self, pieces: &[Piece], table: Option<u64>) -> Option<u16> {
        let table = table.filter(|_| self.shape.indirect);
        let entries = if table.is_some() { 1 } else { pieces.len() as u16 };
        if self.free < entries {
            return None;
        }
        let id = self.ids.pop_front()?;
        match table {
            Some(table) => {
                self.write_table(pieces, table);
                self.push(table, 16 * pieces.len() as u32, id, INDIRECT);
            }
            None => {
                for (place, piece) in pieces.iter().enumerate() {
                    let more = if place + 1 < pieces.len() { NEXT } else { 0 };
                    self.push(piece.address, piece.len, id, piece.flags() | more);
                }
            }
        }
        self.free -= entries;
        self.pending.push_back((id, entries));
        Some(id)
    }

    fn write_table(&self, pieces: &[Piece], table: u64) {
        let words = self.memory.words(table, 16 * pieces.len());
        for (place, piece) in pieces.iter().enumerate() {
            words.word64(2 * place).store(piece.address, Relaxed);
            let rest = u64::from(piece.len) | u64::from(piece.flags()) << 48;
            words.word64(2 * place + 1).store(rest, Relaxed);
        }
    }

    /// The next entry. The first one since the last publication becomes available with the next.
    fn push(&mut self, address: u64, len: u32, id: u16, flags: u16) {
        let flags = flags | self.available();
        if self.held_back.is_none() {
            self.held_back = Some((self.next, flags));
            // Unavailable in this round: both bits as a used entry of the last one has them.
            let stale = flags & !(AVAILABLE | USED) | if self.wrap { 0 } else { AVAILABLE | USED };
            self.write_descriptor(self.next, address, len, id, stale);
        } else {
            self.write_descriptor(self.next, address, len, id, flags);
        }
        self.added += 1;
        self.next += 1;
        if self.next == self.shape.size {
            (self.next, self.wrap) = (0, !self.wrap);
        }
    }

    /// See [`super::Ring::publish`].
    pub fn publish(&mut self) -> bool {
        let Some((index, flags)) = self.held_back.take() else { return false };
        let word = self.descriptors.word64(2 * usize::from(index) + 1);
        let rest = word.load(Relaxed) & 0xffff_ffff_ffff;
        word.store(rest | u64::from(flags) << 48, Release);
        fence(SeqCst);
        let added = std::mem::replace(&mut self.added, 0);
        let events = self.device.word32(0).load(Relaxed);
        let (at, flags) = (events as u16, (events >> 16) as u16);
        match flags {
            1 => false,
            2 if self.shape.event_index => {
                let mut event = at & 0x7fff;
                if (at >> 15 == 1) != self.wrap {
                    event = event.wrapping_sub(self.shape.size);
                }
                passes(event, self.next.wrapping_sub(added), self.next)
            }
            _all => true,
        }
    }

    fn is_used(&self) -> bool {
        let word = self.descriptors.word64(2 * usize::from(self.seen) + 1).load(Acquire);
        let flags = (word >> 48) as u16;
        let (available, used) = (flags & AVAILABLE != 0, flags & USED != 0);
        available == used && used == self.seen_wrap
    }

    pub(super) fn used(&mut self) -> Option<(u16, u32)> {
        if let Some(used) = self.batch.pop_front() {
            return Some(used);
        }
        if !self.is_used() {
            return None;
        }
        let word = self.descriptors.word64(2 * usize::from(self.seen) + 1).load(Relaxed);
        let (id, len) = ((word >> 32) as u16, word as u32);
        let place = self.pending.iter().position(|(out, _)| *out == id);
        let place = place.unwrap_or_else(|| panic!("buffer {id} is not out"));
        let done: Vec<_> = if self.shape.in_order {
            // All before it are done as well, and the device has gone on past their entries.
            self.pending.drain(..=place).collect()
        } else {
            self.pending.remove(place).into_iter().collect()
        };
        for (out, entries) in done {
            self.batch.push_back((out, if out == id { len } else { 0 }));
            self.ids.push_back(out);
            self.free += entries;
            self.seen += entries;
            if self.seen >= self.shape.size {
                (self.seen, self.seen_wrap) = (self.seen - self.shape.size, !self.seen_wrap);
            }
        }
        self.batch.pop_front()
    }

    pub(super) fn arm(&mut self) -> bool {
        let (at, flags) = if self.shape.event_index {
            (self.seen | if self.seen_wrap { 0x8000 } else { 0 }, 2)
        } else {
            (0, 0)
        };
        self.driver.word32(0).store(u32::from(at) | flags << 16, Relaxed);
        fence(SeqCst);
        self.is_used()
    }

    pub(super) fn disarm(&mut self) {
        self.driver.word32(0).store(1 << 16, Relaxed);
    }

    pub(super) fn room(&self) -> usize {
        usize::from(self.free).min(self.ids.len())
    }
}
