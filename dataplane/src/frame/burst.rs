//! Up to 64 frames of one source, on their way.
//!
//! Frames and their segments lie in two arrays that are filled from the start and cleared at the end of the
//! pass: describing a frame allocates nothing. A sink only reads a burst, so that a hub can show the same one
//! to every listener.

use std::ops::Range;

use framewire_shared::limits::BURST_FRAMES_MAX;

use super::cursor::Cursor;
use super::{Offload, Segment};

/// Segments of a whole burst. A frame cut out of a large one has two; one that a guest scattered, many.
pub const SEGMENTS_MAX: usize = 1024;

/// One Ethernet frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    first: u16,
    count: u16,
    headroom: u16,
    /// Its bytes, from the destination address on, without a checksum at the end.
    pub len: u32,
    /// What is still to be done to it.
    pub offload: Offload,
}

impl Frame {
    /// How many bytes before its first segment may be written.
    #[inline]
    #[must_use]
    pub fn headroom(&self) -> usize {
        usize::from(self.headroom)
    }

    /// The places of its segments among those of its burst.
    #[inline]
    #[must_use]
    pub fn places(&self) -> Range<usize> {
        usize::from(self.first)..usize::from(self.first) + usize::from(self.count)
    }
}

/// Frames of one source, oldest first.
#[derive(Debug)]
pub struct Burst {
    frames: Vec<Frame>,
    segments: Vec<Segment>,
    limit: usize,
}

impl Default for Burst {
    fn default() -> Self {
        Burst {
            frames: Vec::with_capacity(BURST_FRAMES_MAX),
            segments: Vec::with_capacity(SEGMENTS_MAX),
            limit: BURST_FRAMES_MAX,
        }
    }
}

// SAFETY: a burst is empty between passes (`clear`), and only then is its worker moved to its thread.
unsafe impl Send for Burst {}

impl Burst {
    /// Forgets all frames.
    #[inline]
    pub fn clear(&mut self) {
        self.frames.clear();
        self.segments.clear();
    }

    /// How many frames whoever fills it should stop at: what the sink has room for.
    #[inline]
    pub fn limit(&mut self, frames: usize) {
        self.limit = frames.min(BURST_FRAMES_MAX);
    }

    /// How many frames there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many frames may still be added.
    #[inline]
    #[must_use]
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.frames.len())
    }

    /// Whether another frame of `segments` segments fits.
    #[inline]
    #[must_use]
    pub fn has_room(&self, segments: usize) -> bool {
        self.frames.len() < self.limit && self.segments.len() + segments <= SEGMENTS_MAX
    }

    /// Adds a frame. `headroom` bytes before its first segment may be written by a sink while it sends it.
    ///
    /// # Panics
    /// If there is no place for it, whatever the limit.
    #[inline]
    pub fn push(&mut self, segments: &[Segment], offload: Offload, headroom: usize) {
        let first = self.segments.len();
        let fits = self.frames.len() < BURST_FRAMES_MAX && first + segments.len() <= SEGMENTS_MAX;
        assert!(fits, "a burst overflows");
        self.segments.extend_from_slice(segments);
        let len: usize = segments.iter().map(Segment::len).sum();
        self.frames.push(Frame {
            first: small(first),
            count: small(segments.len()),
            headroom: small(headroom),
            len: u32::try_from(len).expect("FRAME_BYTES_MAX bounds it"),
            offload,
        });
    }

    /// Adds the frame of `len` bytes that begins `skip` bytes into `segments`. Returns whether there was room.
    #[inline]
    pub fn push_behind(&mut self, skip: usize, segments: &[Segment], offload: Offload, len: u32) -> bool {
        if !self.has_room(segments.len()) {
            return false;
        }
        let first = self.segments.len();
        if let [segment] = segments {
            self.segments.push(segment.part(skip, len as usize));
        } else {
            let mut cursor = Cursor::new(segments);
            cursor.pass(skip);
            self.segments.extend(cursor.parts(len as usize));
        }
        let count = small(self.segments.len() - first);
        self.frames.push(Frame { first: small(first), count, headroom: 0, len, offload });
        true
    }

    /// Adds a frame of `head` and the next `len` bytes at `rest`, which moves past them. Nothing is left to
    /// be done to it, and nobody may write before its first segment. The caller has asked whether there is
    /// room.
    #[inline]
    pub fn push_joined(&mut self, head: Segment, rest: &mut Cursor<'_>, len: usize) {
        debug_assert!(self.has_room(1 + rest.pieces(len)), "a burst overflows");
        let first = self.segments.len();
        self.segments.push(head);
        self.segments.extend(rest.parts(len));
        self.frames.push(Frame {
            first: small(first),
            count: small(self.segments.len() - first),
            headroom: 0,
            len: u32::try_from(head.len() + len).expect("FRAME_BYTES_MAX bounds it"),
            offload: Offload::default(),
        });
    }

    /// The frames, oldest first.
    #[inline]
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Where a frame's bytes are.
    #[inline]
    #[must_use]
    pub fn segments(&self, frame: &Frame) -> &[Segment] {
        &self.segments[frame.places()]
    }

    /// The segments of all frames, in their order.
    #[inline]
    #[must_use]
    pub fn all_segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The whole frame with `header` in front as one segment, if it is of one piece and has the headroom.
    #[inline]
    #[must_use]
    pub fn prepend(&self, frame: &Frame, header: &[u8]) -> Option<Segment> {
        let [segment] = self.segments(frame) else { return None };
        if usize::from(frame.headroom) < header.len() {
            return None;
        }
        // SAFETY: whoever pushed the frame vouched for `headroom` bytes before its first segment.
        let whole =
            unsafe { Segment::new(segment.base().wrapping_sub(header.len()), segment.len() + header.len()) };
        whole.write(0, header);
        Some(whole)
    }

    /// The bytes of all frames together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.frames.iter().map(|frame| u64::from(frame.len)).sum()
    }
}

fn small(count: usize) -> u16 {
    u16::try_from(count).expect("bounded by SEGMENTS_MAX and HEADROOM_BYTES")
}
