//! The split ring, driver's side (virtio 1.2, 2.7).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;

use super::GuestMemory;
use super::memory::Words;
use super::ring::{INDIRECT, NEXT, Piece, Shape, passes};

/// The ring.
#[derive(Debug)]
pub struct Split {
    /// The table.
    pub descriptors: Words,
    /// Flags, index, heads and, with event indices, where we want to be called.
    pub driver: Words,
    /// Flags, index, used entries and, with event indices, where the device wants to be kicked.
    pub device: Words,
    memory: Arc<GuestMemory>,
    shape: Shape,
    free: VecDeque<u16>,
    /// How each descriptor's chain goes on: nobody reads that back from memory that a device could write.
    links: Vec<Option<u16>>,
    /// Heads in the order in which they were added, as long as they are out.
    pending: VecDeque<u16>,
    /// Chains added, ever; chains published, ever; chains found used, ever.
    added: u16,
    published: u16,
    seen: u16,
    /// What a single entry has told about several.
    batch: VecDeque<(u16, u32)>,
}

impl Split {
    pub(super) fn new(memory: &Arc<GuestMemory>, region: usize, shape: Shape) -> Self {
        let size = usize::from(shape.size);
        let area = |len: usize, align| memory.words(memory.allocate(region, len, align), len);
        Self {
            descriptors: area(16 * size, 16),
            driver: area(6 + 2 * size, 4),
            device: area(6 + 8 * size, 4),
            memory: Arc::clone(memory),
            shape,
            free: (0..shape.size).collect(),
            links: vec![None; size],
            pending: VecDeque::with_capacity(size),
            added: 0,
            published: 0,
            seen: 0,
            batch: VecDeque::with_capacity(size),
        }
    }

    fn place(&self, index: u16) -> usize {
        usize::from(index % self.shape.size)
    }

    /// Writes a descriptor, whatever it says.
    pub fn write_descriptor(&self, index: u16, address: u64, len: u32, flags: u16, next: u16) {
        let at = 2 * usize::from(index);
        self.descriptors.word64(at).store(address, Relaxed);
        let rest = u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48;
        self.descriptors.word64(at + 1).store(rest, Relaxed);
    }

    /// Puts a head into the ring, whatever it is; [`Split::publish`] makes it available.
    pub fn push_head(&mut self, head: u16) {
        self.driver.word16(2 + self.place(self.added)).store(head, Relaxed);
        self.added = self.added.wrapping_add(1);
    }

    pub(super) fn add(&mut self, pieces: &[Piece], table: Option<u64>) -> Option<u16> {
        let head = match table.filter(|_| self.shape.indirect) {
            Some(table) => self.add_table(pieces, table)?,
            None => self.add_chain(pieces)?,
        };
        self.pending.push_back(head);
        self.push_head(head);
        Some(head)
    }

    fn add_chain(&mut self, pieces: &[Piece]) -> Option<u16> {
        if self.free.len() < pieces.len() {
            return None;
        }
        let head = self.free[0];
        for (place, piece) in pieces.iter().enumerate() {
            let index = self.free.pop_front()?;
            let next = if place + 1 < pieces.len() { self.free.front().copied() } else { None };
            let more = if next.is_some() { NEXT } else { 0 };
            self.write_descriptor(index, piece.address, piece.len, piece.flags() | more, next.unwrap_or(0));
            self.links[usize::from(index)] = next;
        }
        Some(head)
    }

    fn add_table(&mut self, pieces: &[Piece], table: u64) -> Option<u16> {
        let head = self.free.pop_front()?;
        let words = self.memory.words(table, 16 * pieces.len());
        for (place, piece) in pieces.iter().enumerate() {
            let more = place + 1 < pieces.len();
            let flags = piece.flags() | if more { NEXT } else { 0 };
            let next = if more { place as u64 + 1 } else { 0 };
            words.word64(2 * place).store(piece.address, Relaxed);
            let rest = u64::from(piece.len) | u64::from(flags) << 32 | next << 48;
            words.word64(2 * place + 1).store(rest, Relaxed);
        }
        self.write_descriptor(head, table, 16 * pieces.len() as u32, INDIRECT, 0);
        self.links[usize::from(head)] = None;
        Some(head)
    }

    /// See [`super::Ring::publish`].
    pub fn publish(&mut self) -> bool {
        if self.added == self.published {
            return false;
        }
        let old = std::mem::replace(&mut self.published, self.added);
        self.driver.word16(1).store(self.added, Release);
        fence(SeqCst);
        if self.shape.event_index {
            let event = self.device.word16(2 + 4 * usize::from(self.shape.size)).load(Relaxed);
            passes(event, old, self.added)
        } else {
            self.device.word16(0).load(Relaxed) & 1 == 0
        }
    }

    pub(super) fn used(&mut self) -> Option<(u16, u32)> {
        if let Some(used) = self.batch.pop_front() {
            return Some(used);
        }
        if self.device.word16(1).load(Acquire) == self.seen {
            return None;
        }
        let at = 1 + 2 * self.place(self.seen);
        let id = self.device.word32(at).load(Relaxed) as u16;
        let len = self.device.word32(at + 1).load(Relaxed);
        assert!(self.pending.contains(&id) || !self.shape.in_order, "buffer {id} is not out");
        if self.shape.in_order {
            // All before it are done as well, and the device has gone on by as many entries.
            while let Some(head) = self.pending.pop_front() {
                let is_named = head == id;
                self.batch.push_back((head, if is_named { len } else { 0 }));
                if is_named {
                    break;
                }
            }
        } else {
            let place = self.pending.iter().position(|head| *head == id);
            self.pending.remove(place.unwrap_or_else(|| panic!("buffer {id} is not out")));
            self.batch.push_back((id, len));
        }
        for place in 0..self.batch.len() {
            self.recycle(self.batch[place].0);
        }
        self.seen = self.seen.wrapping_add(self.batch.len() as u16);
        self.batch.pop_front()
    }

    fn recycle(&mut self, head: u16) {
        let mut next = Some(head);
        while let Some(index) = next {
            self.free.push_back(index);
            next = self.links[usize::from(index)];
        }
    }

    pub(super) fn arm(&mut self) -> bool {
        if self.shape.event_index {
            self.driver.word16(2 + usize::from(self.shape.size)).store(self.seen, Relaxed);
        } else {
            self.driver.word16(0).store(0, Relaxed);
        }
        fence(SeqCst);
        self.device.word16(1).load(Relaxed) != self.seen
    }

    pub(super) fn disarm(&mut self) {
        if self.shape.event_index {
            // Half a round away: not reached before it is set anew.
            let far = self.seen.wrapping_add(0x8000);
            self.driver.word16(2 + usize::from(self.shape.size)).store(far, Relaxed);
        } else {
            self.driver.word16(0).store(1, Relaxed);
        }
    }

    pub(super) fn room(&self) -> usize {
        self.free.len()
    }
}
