//! Bytes somewhere in this address space.
//!
//! A segment is a raw address, not a slice: the kernel, and one day a guest, may write there while we hold
//! it. Whoever makes one vouches for its bytes until the pass that carries it has ended; the worker's loop
//! ends a pass before any memory is given back or used again.

use super::checksum::{BLOCK_BYTES, Sum};

/// Laid out as `struct iovec`, so that a list of segments is what `writev` takes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    base: *mut u8,
    len: usize,
}

const _: () = assert!(size_of::<Segment>() == size_of::<libc::iovec>());

impl Segment {
    /// Names `len` bytes at `base`.
    ///
    /// # Safety
    /// They stay mapped, and nobody in this thread holds a reference to them, until the pass has ended.
    #[must_use]
    pub unsafe fn new(base: *mut u8, len: usize) -> Self {
        Segment { base, len }
    }

    /// For tests: names bytes that the test keeps, and looks at only when the segment is gone.
    #[cfg(test)]
    pub(crate) fn of_test(bytes: &mut [u8]) -> Self {
        Segment { base: bytes.as_mut_ptr(), len: bytes.len() }
    }

    /// Where the bytes are.
    #[inline]
    #[must_use]
    pub fn base(&self) -> *mut u8 {
        self.base
    }

    /// How many there are.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no driver makes empty segments")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The part of it from `from` on, `len` bytes at most; empty past the end.
    #[inline]
    #[must_use]
    pub fn part(&self, from: usize, len: usize) -> Segment {
        let from = from.min(self.len);
        // SAFETY: `from` is within the segment, or one past its end.
        let base = unsafe { self.base.add(from) };
        Segment { base, len: len.min(self.len - from) }
    }

    /// Its first `N` bytes, read once: what is decided on them is decided on what was read, whoever writes
    /// there meanwhile.
    #[inline]
    #[must_use]
    pub fn load<const N: usize>(&self) -> Option<[u8; N]> {
        if self.len < N {
            return None;
        }
        // SAFETY: `new`'s caller vouched for the bytes, of which there are enough; bytes have no alignment.
        Some(unsafe { self.base.cast::<[u8; N]>().read_volatile() })
    }

    /// Has the processor fetch the first line of it, to be written or only read.
    #[inline]
    pub fn prefetch(&self, to_write: bool) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0, _mm_prefetch};
            let at = self.base.cast::<i8>();
            if to_write {
                // SAFETY: a hint; it may name any address.
                unsafe { _mm_prefetch::<_MM_HINT_ET0>(at) };
            } else {
                // SAFETY: as above.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = to_write;
    }

    /// Copies the bytes at `from` out; as many as there are.
    pub fn read(&self, from: usize, into: &mut [u8]) -> usize {
        let part = self.part(from, into.len());
        // SAFETY: `new`'s caller vouched for the bytes; `into` is ours, as long as `part`, and no overlap.
        unsafe { part.base.copy_to_nonoverlapping(into.as_mut_ptr(), part.len) };
        part.len
    }

    /// Copies `bytes` to `at`.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        let part = self.part(at, bytes.len());
        assert_eq!(part.len, bytes.len(), "writing past a segment");
        // SAFETY: `new`'s caller vouched for the bytes, and that nobody holds a reference to them.
        unsafe { part.base.copy_from_nonoverlapping(bytes.as_ptr(), part.len) };
    }

    /// Stores `N` bytes at its beginning. As [`Segment::write`], for what is as long each time: no call is made.
    ///
    /// # Panics
    /// If they do not fit.
    #[inline]
    pub fn store<const N: usize>(&self, bytes: &[u8; N]) {
        assert!(N <= self.len, "writing past a segment");
        // SAFETY: `new`'s caller vouched for the bytes, of which there are enough; bytes have no alignment.
        unsafe { self.base.cast::<[u8; N]>().write(*bytes) };
    }

    /// Copies all of it to `at` in `into`, which is other memory.
    ///
    /// # Panics
    /// If it does not fit.
    pub fn copy_to(&self, into: &Segment, at: usize) {
        let part = into.part(at, self.len);
        assert_eq!(part.len, self.len, "copying past a segment");
        // SAFETY: `new`'s callers vouched for the bytes of both; `copy` allows that they overlap.
        unsafe { part.base.copy_from(self.base, self.len) };
    }

    /// Its bytes added up.
    #[inline]
    #[must_use]
    pub fn sum(&self) -> Sum {
        let blocks = self.len / BLOCK_BYTES;
        let each = (0..blocks).map(|block| {
            let base = self.base.wrapping_add(block * BLOCK_BYTES).cast::<[u8; BLOCK_BYTES]>();
            // SAFETY: the block lies within the segment, for which `new`'s caller vouched; bytes have no
            // alignment.
            unsafe { base.read() }
        });
        let mut rest = [0; BLOCK_BYTES];
        let rest_bytes = self.read(blocks * BLOCK_BYTES, &mut rest);
        Sum::of_blocks(each, &rest[..rest_bytes])
    }

    /// Both as one, if `next` begins where this ends.
    #[inline]
    #[must_use]
    pub fn merged(&self, next: &Segment) -> Option<Segment> {
        (self.base.wrapping_add(self.len) == next.base)
            .then_some(Segment { base: self.base, len: self.len + next.len })
    }
}

/// Segments in a row. Has all its room from the start: adding one is a store, and nothing ever asks for memory.
#[derive(Debug)]
pub struct SegmentList {
    places: Box<[Segment]>,
    len: usize,
}

// SAFETY: as with a burst: a list is cleared before it is filled, used and forgotten within one pass, and
// only between passes is its worker moved to its thread.
unsafe impl Send for SegmentList {}

impl SegmentList {
    /// With room for `segments`.
    #[must_use]
    pub fn with_capacity(segments: usize) -> Self {
        let nothing = Segment { base: std::ptr::null_mut(), len: 0 };
        SegmentList { places: vec![nothing; segments].into_boxed_slice(), len: 0 }
    }

    /// Forgets all.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// All of them.
    #[inline]
    #[must_use]
    pub fn all(&self) -> &[Segment] {
        &self.places[..self.len]
    }

    /// How many there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds one, as it is.
    ///
    /// # Panics
    /// If there is no room: a list never grows.
    #[inline]
    pub fn add(&mut self, segment: Segment) {
        self.places[self.len] = segment;
        self.len += 1;
    }

    /// The places that are still free, to be filled in a row; [`SegmentList::filled`] says how many were.
    #[inline]
    pub fn free(&mut self) -> &mut [Segment] {
        &mut self.places[self.len..]
    }

    /// The first `segments` of the free places are taken.
    #[inline]
    pub fn filled(&mut self, segments: usize) {
        debug_assert!(self.has_room(segments), "more than were free");
        self.len += segments;
    }

    /// Whether `segments` more fit.
    #[inline]
    #[must_use]
    pub fn has_room(&self, segments: usize) -> bool {
        self.len + segments <= self.places.len()
    }

    /// Adds one; as part of the last one if that has place `from` or a later one and it begins where that ends.
    #[inline]
    pub fn push(&mut self, from: usize, segment: Segment) {
        match self.joined(from, &segment) {
            Some(joined) => self.places[self.len - 1] = joined,
            None => self.add(segment),
        }
    }

    /// The last one and `segment` as one, if [`SegmentList::push`] would join them.
    #[inline]
    #[must_use]
    pub fn joined(&self, from: usize, segment: &Segment) -> Option<Segment> {
        self.all().get(from..)?.last()?.merged(segment)
    }
}
