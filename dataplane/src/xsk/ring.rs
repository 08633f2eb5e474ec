//! The kernel's rings: one side produces, the other consumes, and each writes only its own position.
//!
//! Positions count entries for ever and wrap; an entry's place is its position modulo the ring's size, a power of
//! two. Both ends keep the other's position and look again only when that does not suffice, since each look may
//! take a line of cache from another processor.
//!
//! Nothing is given to the kernel, or back to it, before it is said: entries that were written and not published,
//! or looked at and not released, are as if nothing had happened. That is what a driver needs that may find out in
//! the middle of a burst that there is no room, and what makes a killed data plane harmless.

use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the parts of a ring are.
#[derive(Debug, Clone, Copy)]
pub struct Parts<T> {
    /// Written by whoever produces.
    pub producer: NonNull<AtomicU32>,
    /// Written by whoever consumes.
    pub consumer: NonNull<AtomicU32>,
    /// Written by the kernel.
    pub flags: NonNull<AtomicU32>,
    /// `size` entries.
    pub entries: NonNull<T>,
    /// A power of two.
    pub size: u32,
}

/// A ring, in memory that is kept mapped.
#[derive(Debug)]
pub struct Memory<T> {
    parts: Parts<T>,
    _owner: Arc<dyn Any + Send + Sync>,
}

impl<T: Copy> Memory<T> {
    /// # Safety
    /// The parts are mapped and aligned as long as `owner` lives, and of what is made of this, at most one end in this
    /// process produces and one consumes.
    #[must_use]
    pub unsafe fn new(parts: Parts<T>, owner: Arc<dyn Any + Send + Sync>) -> Self {
        assert!(parts.size.is_power_of_two());
        Memory { parts, _owner: owner }
    }
}

// SAFETY: the pointers lead into memory that the value itself keeps mapped, and a ring's end is reached through one
// `Producer` or `Consumer` only; moving that to another thread moves the only way to reach it.
unsafe impl<T: Send> Send for Memory<T> {}

impl<T: Copy> Memory<T> {
    fn word(&self, word: NonNull<AtomicU32>) -> &AtomicU32 {
        // SAFETY: `new`'s caller vouched that the words are mapped and aligned for as long as we hold their owner, and
        // an atomic may be written by others meanwhile.
        unsafe { &*word.as_ptr() }
    }

    /// # Safety
    /// The other side must not touch the entry at this position meanwhile.
    #[inline]
    unsafe fn write(&self, position: u32, value: T) {
        let place = (position & (self.parts.size - 1)) as usize;
        // SAFETY: a place below `size` is within the entries; the caller vouches for its turn.
        unsafe { self.parts.entries.as_ptr().wrapping_add(place).write(value) };
    }

    /// # Safety
    /// The other side must not touch the entry at this position meanwhile.
    #[inline]
    unsafe fn read(&self, position: u32) -> T {
        let place = (position & (self.parts.size - 1)) as usize;
        // SAFETY: a place below `size` is within the entries; the caller vouches for its turn.
        unsafe { self.parts.entries.as_ptr().wrapping_add(place).read() }
    }

    fn needs_wakeup(&self) -> bool {
        self.word(self.parts.flags).load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// Our end of a ring that we fill.
#[derive(Debug)]
pub struct Producer<T> {
    memory: Memory<T>,
    /// Everything before it is published.
    published: u32,
    /// The kernel's position as last seen.
    consumed: u32,
}

impl<T: Copy> Producer<T> {
    /// Goes on where the ring stands.
    #[must_use]
    pub fn new(memory: Memory<T>) -> Self {
        let published = memory.word(memory.parts.producer).load(Ordering::Acquire);
        let consumed = memory.word(memory.parts.consumer).load(Ordering::Acquire);
        Producer { memory, published, consumed }
    }

    /// Everything before this position is published.
    #[must_use]
    pub fn published(&self) -> u32 {
        self.published
    }

    /// How many entries the kernel has not taken yet.
    #[inline]
    pub fn untaken(&mut self) -> u32 {
        // Acquire: pairs with the kernel's release of the entries before it.
        self.consumed = self.memory.word(self.memory.parts.consumer).load(Ordering::Acquire);
        self.published.wrapping_sub(self.consumed)
    }

    /// Room for entries, if there are `count` free places.
    #[inline]
    pub fn reserve(&mut self, count: u32) -> Option<Reservation<'_, T>> {
        let size = self.memory.parts.size;
        let is_free = |producer: &Self| size - producer.published.wrapping_sub(producer.consumed) >= count;
        if !is_free(self) {
            self.untaken();
            if !is_free(self) {
                return None;
            }
        }
        Some(Reservation { producer: self, reserved: count, written: 0 })
    }

    /// Whether the kernel wants to be called to go on.
    #[inline]
    #[must_use]
    pub fn needs_wakeup(&self) -> bool {
        self.memory.needs_wakeup()
    }
}

/// Places that are ours until they are published; dropped, they never were.
#[must_use = "entries that are not published are forgotten"]
#[derive(Debug)]
pub struct Reservation<'a, T: Copy> {
    producer: &'a mut Producer<T>,
    reserved: u32,
    written: u32,
}

impl<T: Copy> Reservation<'_, T> {
    /// The position of the next entry.
    #[inline]
    #[must_use]
    pub fn position(&self) -> u32 {
        self.producer.published.wrapping_add(self.written)
    }

    /// Writes the next entry.
    ///
    /// # Panics
    /// If that is one more than was reserved.
    #[inline]
    pub fn push(&mut self, value: T) {
        assert!(self.written < self.reserved, "more entries than reserved");
        // SAFETY: a reserved place is one that the kernel has consumed, and gets again when it is published.
        unsafe { self.producer.memory.write(self.position(), value) };
        self.written += 1;
    }

    /// The kernel may have what was written.
    #[inline]
    pub fn publish(self) {
        self.producer.published = self.position();
        let memory = &self.producer.memory;
        // Release: pairs with the kernel's acquire; the entries come first.
        memory.word(memory.parts.producer).store(self.producer.published, Ordering::Release);
    }
}

/// Our end of a ring that the kernel fills.
#[derive(Debug)]
pub struct Consumer<T> {
    memory: Memory<T>,
    /// Everything before it is released.
    released: u32,
    /// The kernel's position as last seen.
    produced: u32,
}

impl<T: Copy> Consumer<T> {
    /// Goes on where the ring stands.
    #[must_use]
    pub fn new(memory: Memory<T>) -> Self {
        let released = memory.word(memory.parts.consumer).load(Ordering::Acquire);
        let produced = memory.word(memory.parts.producer).load(Ordering::Acquire);
        Consumer { memory, released, produced }
    }

    /// Everything before this position is released.
    #[must_use]
    pub fn released(&self) -> u32 {
        self.released
    }

    /// How many entries there are. Looks whether there are more only if there are fewer than `wanted`.
    #[inline]
    pub fn available(&mut self, wanted: u32) -> u32 {
        let known = self.produced.wrapping_sub(self.released);
        if known >= wanted {
            return known;
        }
        // Acquire: pairs with the kernel's release of the entries before it.
        self.produced = self.memory.word(self.memory.parts.producer).load(Ordering::Acquire);
        self.produced.wrapping_sub(self.released).min(self.memory.parts.size)
    }

    /// The `nth` entry that is not released yet.
    ///
    /// # Panics
    /// If there are not so many, as [`Consumer::available`] has said.
    #[inline]
    #[must_use]
    pub fn get(&self, nth: u32) -> T {
        assert!(nth < self.produced.wrapping_sub(self.released), "an entry that is not there");
        // SAFETY: it is produced and not released, so the kernel leaves it alone.
        unsafe { self.memory.read(self.released.wrapping_add(nth)) }
    }

    /// The kernel may have the oldest `count` entries again.
    #[inline]
    pub fn release(&mut self, count: u32) {
        self.released = self.released.wrapping_add(count);
        // Release: we have read them.
        self.memory.word(self.memory.parts.consumer).store(self.released, Ordering::Release);
    }
}

#[cfg(test)]
pub(crate) mod test;
