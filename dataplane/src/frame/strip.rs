//! A worker's own frame memory: a strip that fills from one end and is emptied all at once.
//!
//! **Problem.** A tap or socket tells how long a frame is only by giving it, and with segmentation offload
//! a frame may have 64 KiB; a pool of frames that large, one for each of a burst, touches a new page and the
//! same few lines of the first-level cache for every 64-byte frame.
//!
//! **Chosen.** The next frame lands right behind the one before, wherever that ended. Every sink is done with
//! a frame (or has kept a copy) when its `send` returns, so at the end of a pass the whole strip is free
//! again, still warm in the cache. No free list, and nothing that could leak.
//!
//! Before each frame some bytes stay free, so that a sink can put a header in front without a second segment:
//! on a tap, `write` of one piece is 80 ns cheaper than `writev` of two.

use rustix::mm::{MapFlags, ProtFlags};

use framewire_shared::limits::FRAME_BYTES_MAX;

use super::Segment;

/// Free bytes before each landing: a virtio-net header (12 at most), or a stream's length.
pub const HEADROOM_BYTES: usize = 64;

/// Frames begin on a line of cache, so the headroom is the line before.
const ALIGN_BYTES: usize = 64;

/// What a landing takes at most.
const LANDING_BYTES_MAX: usize = HEADROOM_BYTES + FRAME_BYTES_MAX;

/// Frame memory of one worker.
#[derive(Debug)]
pub struct Strip {
    base: *mut u8,
    len: usize,
    used: usize,
}

// SAFETY: the strip owns its mapping; moving it to another thread moves the only way to reach it.
unsafe impl Send for Strip {}

/// Room for one frame of any length, with headroom before it.
#[derive(Debug, Clone, Copy)]
pub struct Landing {
    segment: Segment,
}

impl Landing {
    /// Where the frame's first byte is to go, and how much may follow.
    #[must_use]
    pub fn segment(&self) -> Segment {
        self.segment
    }

    /// As [`Landing::segment`], but beginning `bytes` earlier: for a header read together with its frame.
    ///
    /// # Panics
    /// If that is more than the headroom.
    #[must_use]
    pub fn with_header(&self, bytes: usize) -> Segment {
        assert!(bytes <= HEADROOM_BYTES);
        // SAFETY: a landing has `HEADROOM_BYTES` of its strip before it.
        unsafe { Segment::new(self.segment.base().wrapping_sub(bytes), self.segment.len() + bytes) }
    }
}

impl Strip {
    /// Reserves `len` bytes; the kernel provides them as they are first used.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new(len: usize) -> rustix::io::Result<Self> {
        let len = len.max(LANDING_BYTES_MAX).next_multiple_of(4096);
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let base = unsafe {
            let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, protection, flags)?
        };
        Ok(Strip { base: base.cast(), len, used: 0 })
    }

    /// Room for one more frame of any length, if there is.
    #[inline]
    #[must_use]
    pub fn landing(&mut self) -> Option<Landing> {
        self.room(FRAME_BYTES_MAX)
    }

    /// Room for one more frame of up to `len` bytes.
    #[inline]
    #[must_use]
    pub fn room(&mut self, len: usize) -> Option<Landing> {
        if self.len - self.used < HEADROOM_BYTES + len {
            return None;
        }
        let at = self.used + HEADROOM_BYTES;
        // SAFETY: `at + len` is within the mapping, and `used` moves past what is in use.
        let segment = unsafe { Segment::new(self.base.wrapping_add(at), len) };
        Some(Landing { segment })
    }

    /// Keeps the first `len` bytes of the landing lent last; the next one begins behind them.
    ///
    /// # Panics
    /// If that is more than the strip had left.
    #[inline]
    pub fn keep(&mut self, len: usize) {
        let end = self.used + HEADROOM_BYTES + len;
        assert!(end <= self.len, "kept more than was lent");
        self.used = end.next_multiple_of(ALIGN_BYTES).min(self.len);
    }

    /// All of it is free again. Called between two passes, when no burst names any of it.
    #[inline]
    pub fn clear(&mut self) {
        self.used = 0;
    }
}

impl Drop for Strip {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are the mapping made in `new`. Unmapping one's own mapping cannot fail.
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_land_behind_each_other_with_headroom_between() {
        let mut strip = Strip::new(1 << 20).unwrap();
        let first = strip.landing().unwrap().segment();
        first.write(0, b"first");
        strip.keep(5);
        let second = strip.landing().unwrap().segment();
        second.write(0, b"second");
        assert_eq!(second.base() as usize - first.base() as usize, 128);
        let mut bytes = [0; 5];
        first.read(0, &mut bytes);
        assert_eq!(&bytes, b"first");
    }

    #[test]
    fn full_strip_lends_nothing_until_cleared() {
        let mut strip = Strip::new(2 * LANDING_BYTES_MAX).unwrap();
        while strip.landing().is_some() {
            strip.keep(FRAME_BYTES_MAX);
        }
        strip.clear();
        assert!(strip.landing().is_some());
    }
}
