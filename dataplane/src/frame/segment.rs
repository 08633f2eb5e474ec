//! Bytes somewhere in this address space.
//!
//! A segment is a raw address, not a slice: the kernel, and one day a guest, may write there while we hold
//! it. Whoever makes one vouches for its bytes until the pass that carries it has ended; the worker's loop
//! ends a pass before any memory is given back or used again.

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

    /// Where the bytes are.
    #[must_use]
    pub fn base(&self) -> *mut u8 {
        self.base
    }

    /// How many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no driver makes empty segments")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The part of it from `from` on, `len` bytes at most; empty past the end.
    #[must_use]
    pub fn part(&self, from: usize, len: usize) -> Segment {
        let from = from.min(self.len);
        // SAFETY: `from` is within the segment, or one past its end.
        let base = unsafe { self.base.add(from) };
        Segment { base, len: len.min(self.len - from) }
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
}
