//! Words in memory that a guest writes while we read.
//!
//! A ring is laid out in the guest's memory and both sides touch it at any moment, so its words are atomics:
//! each is loaded once, into a local, and everything is decided on the local. (A plain read could be repeated
//! by the compiler, and then what was checked is not what is used.) On all machines that matter a relaxed
//! atomic load is an ordinary load.
//!
//! Every access is checked against the area's bounds. That costs nothing that can be measured beside the cache
//! misses, and so the rings themselves need no `unsafe`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::memory::Memory;
use crate::frame::Segment;

/// Bytes that begin at a multiple of `ALIGN`.
#[derive(Debug)]
pub struct Area<const ALIGN: usize> {
    base: *mut u8,
    len: usize,
    /// Keeps it mapped.
    _memory: Arc<Memory>,
}

// SAFETY: an area is an address in memory that it keeps mapped; every access is atomic.
unsafe impl<const ALIGN: usize> Send for Area<ALIGN> {}

impl<const ALIGN: usize> Area<ALIGN> {
    /// `len` bytes at the front end's address `user`; `None` if they are not all in one region, or begin
    /// elsewhere than at a multiple of `ALIGN`.
    #[must_use]
    pub fn of_user(memory: &Arc<Memory>, user: u64, len: usize) -> Option<Self> {
        let base = memory.of_user(user, len)?;
        base.addr().is_multiple_of(ALIGN).then(|| Area { base, len, _memory: Arc::clone(memory) })
    }

    /// The place of word `index`.
    #[inline]
    fn word<T>(&self, index: usize) -> *mut T {
        const { assert!(align_of::<T>() <= ALIGN && size_of::<T>() == align_of::<T>()) };
        let at = index * size_of::<T>();
        assert!(at + size_of::<T>() <= self.len, "a ring is as long as its area");
        self.base.wrapping_add(at).cast()
    }

    /// The place of the first of two words from `index` on.
    #[inline]
    fn two_words<T>(&self, index: usize) -> *mut T {
        const { assert!(align_of::<T>() <= ALIGN && size_of::<T>() == align_of::<T>()) };
        let at = index * size_of::<T>();
        assert!(at + 2 * size_of::<T>() <= self.len, "a ring is as long as its area");
        self.base.wrapping_add(at).cast()
    }

    #[inline]
    fn word16(&self, index: usize) -> &AtomicU16 {
        // SAFETY: within the area, which `_memory` keeps mapped, and aligned since the area is.
        unsafe { AtomicU16::from_ptr(self.word(index)) }
    }

    #[inline]
    fn word32(&self, index: usize) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(self.word(index)) }
    }

    #[inline]
    fn word64(&self, index: usize) -> &AtomicU64 {
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(self.word(index)) }
    }

    /// The `index`th word of 16 bits.
    #[inline]
    #[must_use]
    pub fn load16(&self, index: usize) -> u16 {
        self.word16(index).load(Ordering::Relaxed)
    }

    /// The same, and whatever the guest wrote before it wrote this.
    #[inline]
    #[must_use]
    pub fn acquire16(&self, index: usize) -> u16 {
        self.word16(index).load(Ordering::Acquire)
    }

    /// Stores the `index`th word of 16 bits.
    #[inline]
    pub fn store16(&self, index: usize, value: u16) {
        self.word16(index).store(value, Ordering::Relaxed);
    }

    /// The same; whoever sees it sees what we wrote before.
    #[inline]
    pub fn release16(&self, index: usize, value: u16) {
        self.word16(index).store(value, Ordering::Release);
    }

    /// The `index`th word of 32 bits.
    #[inline]
    #[must_use]
    pub fn load32(&self, index: usize) -> u32 {
        self.word32(index).load(Ordering::Relaxed)
    }

    /// Stores the `index`th word of 32 bits.
    #[inline]
    pub fn store32(&self, index: usize, value: u32) {
        self.word32(index).store(value, Ordering::Relaxed);
    }

    /// The `index`th word of 64 bits.
    #[inline]
    #[must_use]
    pub fn load64(&self, index: usize) -> u64 {
        self.word64(index).load(Ordering::Relaxed)
    }

    /// The same, and whatever the guest wrote before it wrote this.
    #[inline]
    #[must_use]
    pub fn acquire64(&self, index: usize) -> u64 {
        self.word64(index).load(Ordering::Acquire)
    }

    /// Two words of 64 bits, the `index`th and the next: the next one first, and with it whatever the guest wrote before
    /// it wrote that.
    #[inline]
    #[must_use]
    pub fn acquire_two64(&self, index: usize) -> [u64; 2] {
        let at: *mut u64 = self.two_words(index);
        // SAFETY: as in `word16`; `two_words` has checked both.
        let second = unsafe { AtomicU64::from_ptr(at.wrapping_add(1)) }.load(Ordering::Acquire);
        // SAFETY: as above.
        let first = unsafe { AtomicU64::from_ptr(at) }.load(Ordering::Relaxed);
        [first, second]
    }

    /// Stores two words of 32 bits, the `index`th and the next.
    #[inline]
    pub fn store_two32(&self, index: usize, values: [u32; 2]) {
        let at: *mut u32 = self.two_words(index);
        for (step, value) in values.into_iter().enumerate() {
            // SAFETY: as in `word16`; `two_words` has checked both.
            unsafe { AtomicU32::from_ptr(at.wrapping_add(step)) }.store(value, Ordering::Relaxed);
        }
    }

    /// Stores the `index`th word of 64 bits.
    #[inline]
    pub fn store64(&self, index: usize, value: u64) {
        self.word64(index).store(value, Ordering::Relaxed);
    }

    /// The same; whoever sees it sees what we wrote before.
    #[inline]
    pub fn release64(&self, index: usize, value: u64) {
        self.word64(index).store(value, Ordering::Release);
    }
}

/// A table of descriptors somewhere in a guest's memory, for the time of one pass.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    segment: Segment,
}

impl Table {
    /// Bytes of a descriptor.
    pub const DESCRIPTOR_BYTES: usize = 16;

    /// The descriptors of which `segment` consists. `None` if they lie at an odd address: nobody allocates
    /// them so.
    #[must_use]
    pub fn new(segment: Segment) -> Option<Self> {
        segment.base().addr().is_multiple_of(align_of::<AtomicU64>()).then_some(Table { segment })
    }

    /// How many there are.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.segment.len() / Self::DESCRIPTOR_BYTES
    }

    /// Both halves of one of them.
    #[must_use]
    pub fn load(&self, index: usize) -> [u64; 2] {
        assert!(index < self.entries(), "a table is as long as its segment");
        let base = self.segment.base().wrapping_add(index * Self::DESCRIPTOR_BYTES).cast::<u64>();
        [0, 1].map(|half| {
            // SAFETY: within the segment, whose maker vouched for it, and aligned, as `new` has checked.
            let word = unsafe { AtomicU64::from_ptr(base.wrapping_add(half)) };
            word.load(Ordering::Relaxed)
        })
    }
}
