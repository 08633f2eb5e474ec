//! A ring whose buffers go round: whatever the device has used is offered again at once, unchanged.
//!
//! What a load generator does with a transmitq whose frames are always the same, and with a receiveq whose frames it
//! only counts. It does no more than that for each buffer, so that the device's side is the slower one.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::GuestMemory;
use super::packed::{AVAILABLE, USED};
use super::ring::{Piece, Ring, Shape};

/// The ring, and where the driver is in it.
#[derive(Debug)]
pub struct Cycle {
    /// The ring; all its buffers are offered.
    pub ring: Ring,
    memory: Arc<GuestMemory>,
    shape: Shape,
    buffers: Vec<Piece>,
    next: u16,
    wrap: bool,
}

impl Cycle {
    /// Fills a fresh ring with one buffer for each entry, each with `content` at its beginning.
    pub fn new(
        memory: &Arc<GuestMemory>,
        region: usize,
        shape: Shape,
        (buffer_bytes, writable): (usize, bool),
        content: &[u8],
    ) -> Self {
        let mut ring = Ring::new(memory, region, shape);
        let buffers: Vec<Piece> = (0..shape.size)
            .map(|_entry| {
                // As drivers have it: a buffer, and some room before it for their own purposes.
                let address = memory.allocate(region, 128 + buffer_bytes, 64) + 128;
                memory.write(address, content);
                Piece { address, len: buffer_bytes as u32, writable }
            })
            .collect();
        for buffer in &buffers {
            ring.add(&[*buffer], None).expect("a fresh ring has room");
        }
        ring.publish();
        ring.disarm();
        Self { ring, memory: Arc::clone(memory), shape, buffers, next: 0, wrap: true }
    }

    /// Offers again what the device has used, up to `limit` buffers. Returns how many. `look` has the beginning of
    /// each buffer read, as a driver does with what it has received.
    pub fn turn(&mut self, limit: u16, look: bool) -> u16 {
        let done = match &self.ring {
            Ring::Split(_) => self.turn_split(limit, look),
            Ring::Packed(_) => self.turn_packed(limit, look),
        };
        self.next = self.next.wrapping_add(if self.shape.packed { 0 } else { done });
        done
    }

    fn look_at(&self, id: u16) {
        let mut header = [0; 12];
        self.memory.read(self.buffers[usize::from(id)].address, &mut header);
        std::hint::black_box(header);
    }

    fn turn_split(&self, limit: u16, look: bool) -> u16 {
        let Ring::Split(ring) = &self.ring else { return 0 };
        let (mask, used) = (self.shape.size - 1, ring.device.word16(1).load(Acquire));
        let done = used.wrapping_sub(self.next).min(limit);
        for step in 0..done {
            let at = usize::from(self.next.wrapping_add(step) & mask);
            // In order, buffer by buffer: which one it is needs no reading.
            let id = if self.shape.in_order {
                at as u16
            } else {
                ring.device.word32(1 + 2 * at).load(Relaxed) as u16
            };
            if look {
                self.look_at(id);
            }
            ring.driver.word16(2 + at).store(id, Relaxed);
        }
        if done > 0 {
            let offered = self.next.wrapping_add(done).wrapping_add(self.shape.size);
            ring.driver.word16(1).store(offered, Release);
        }
        done
    }

    fn turn_packed(&mut self, limit: u16, look: bool) -> u16 {
        let Ring::Packed(ring) = &self.ring else { return 0 };
        let (size, mut done) = (self.shape.size, 0);
        while done < limit {
            let word = ring.descriptors.word64(2 * usize::from(self.next) + 1).load(Acquire);
            let (flags, id) = ((word >> 48) as u16, (word >> 32) as u16);
            let is_used = (flags & USED != 0) == self.wrap && (flags & AVAILABLE != 0) == self.wrap;
            if !is_used {
                break;
            }
            // In order, one entry may stand for several: all up to the buffer that it names, which lie in a row.
            let batch = if self.shape.in_order { (id + size - self.next) % size + 1 } else { 1 };
            for _buffer in 0..batch {
                let id = if self.shape.in_order { self.next } else { id };
                let buffer = self.buffers[usize::from(id)];
                if look {
                    self.look_at(id);
                }
                let write = if buffer.writable { super::ring::WRITE } else { 0 };
                // Available in the round after this one.
                let flags = write | if self.wrap { USED } else { AVAILABLE };
                ring.write_descriptor(self.next, buffer.address, buffer.len, id, flags);
                self.next += 1;
                if self.next == size {
                    (self.next, self.wrap) = (0, !self.wrap);
                }
            }
            done += batch;
        }
        done
    }
}
