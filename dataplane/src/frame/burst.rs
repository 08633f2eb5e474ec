//! Up to 64 frames of one source, on their way.
//!
//! Frames and their segments lie in two arrays that are filled from the start and cleared at the end of the
//! pass: describing a frame allocates nothing. A sink only reads a burst, so that a hub can show the same one
//! to every listener.

use std::ops::Range;

use framewire_shared::limits::BURST_FRAMES_MAX;

use super::cursor::Cursor;
use super::{Offload, Segment, SegmentList};

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
    const NONE: Frame = Frame { first: 0, count: 0, headroom: 0, len: 0, offload: Offload::NONE };

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
    /// Of which the first `len` are frames; the others are places for more.
    frames: Box<[Frame; BURST_FRAMES_MAX]>,
    len: usize,
    segments: SegmentList,
    limit: usize,
}

impl Default for Burst {
    fn default() -> Self {
        Burst {
            frames: Box::new([Frame::NONE; BURST_FRAMES_MAX]),
            len: 0,
            segments: SegmentList::with_capacity(SEGMENTS_MAX),
            limit: BURST_FRAMES_MAX,
        }
    }
}

impl Burst {
    /// Forgets all frames.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
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
        self.len
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many frames may still be added.
    #[inline]
    #[must_use]
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.len)
    }

    /// Whether another frame of `segments` segments fits.
    #[inline]
    #[must_use]
    pub fn has_room(&self, segments: usize) -> bool {
        self.len < self.limit && self.segments.has_room(segments)
    }

    /// Adds a frame. `headroom` bytes before its first segment may be written by a sink while it sends it.
    ///
    /// # Panics
    /// If there is no place for it, whatever the limit.
    #[inline]
    pub fn push(&mut self, segments: &[Segment], offload: Offload, headroom: usize) {
        let first = self.segments.len();
        for segment in segments {
            self.segments.add(*segment);
        }
        let len = segments.iter().map(Segment::len).sum();
        self.end(Frame { first: small(first), headroom: small(headroom), offload, ..Frame::NONE }, len);
    }

    /// The segments added since `frame.first` are a frame of `len` bytes.
    #[inline]
    fn end(&mut self, frame: Frame, len: usize) {
        let count = small(self.segments.len() - usize::from(frame.first));
        let len = u32::try_from(len).expect("FRAME_BYTES_MAX bounds it");
        self.frames[self.len] = Frame { count, len, ..frame };
        self.len += 1;
    }

    /// Adds the frame of `len` bytes that begins `skip` bytes into `segments`. Returns whether there was room.
    #[inline]
    pub fn push_behind(&mut self, skip: usize, segments: &[Segment], offload: Offload, len: u32) -> bool {
        if !self.has_room(segments.len()) {
            return false;
        }
        let first = self.segments.len();
        let mut cursor = Cursor::new(segments);
        cursor.pass(skip);
        cursor.parts(len as usize).for_each(|part| self.segments.add(part));
        self.end(Frame { first: small(first), offload, ..Frame::NONE }, len as usize);
        true
    }

    /// Adds frames of one segment each, to which nothing is to be done: as many as `frames` gives and there is room
    /// for. Returns how many.
    #[inline]
    pub fn push_plain(&mut self, frames: impl Iterator<Item = Segment>) -> usize {
        let (first, mut count) = (self.segments.len(), 0);
        let room = self.room();
        let places = self.frames[self.len..][..room].iter_mut().zip(self.segments.free());
        for ((frame, place), segment) in places.zip(frames) {
            *place = segment;
            // No segment of a frame is longer than `FRAME_BYTES_MAX`.
            let (first, len) = (small(first + count), u32::try_from(segment.len()).unwrap_or(u32::MAX));
            *frame = Frame { first, count: 1, len, ..Frame::NONE };
            count += 1;
        }
        self.len += count;
        self.segments.filled(count);
        count
    }

    /// Adds a frame of `head` and the next `len` bytes at `rest`, which moves past them. Nothing is left to
    /// be done to it, and nobody may write before its first segment. The caller has asked whether there is
    /// room.
    #[inline]
    pub fn push_joined(&mut self, head: Segment, rest: &mut Cursor<'_>, len: usize) {
        self.push_joined_with(head, rest, len, Offload::NONE);
    }

    /// The same, of a frame that is not finished.
    #[inline]
    pub fn push_joined_with(&mut self, head: Segment, rest: &mut Cursor<'_>, len: usize, offload: Offload) {
        debug_assert!(self.has_room(1 + rest.pieces(len)), "a burst overflows");
        let first = self.segments.len();
        self.segments.add(head);
        rest.parts(len).for_each(|part| self.segments.add(part));
        self.end(Frame { first: small(first), offload, ..Frame::NONE }, head.len() + len);
    }

    /// The frames, oldest first.
    #[inline]
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames[..self.len]
    }

    /// Where a frame's bytes are.
    #[inline]
    #[must_use]
    pub fn segments(&self, frame: &Frame) -> &[Segment] {
        &self.segments.all()[frame.places()]
    }

    /// Where its bytes are, if they are in one piece and nothing is to be done to them.
    #[inline]
    #[must_use]
    pub fn plain(&self, frame: &Frame) -> Option<Segment> {
        let is_plain = frame.count == 1 && !frame.offload.says_anything();
        if is_plain { self.segments.all().get(usize::from(frame.first)).copied() } else { None }
    }

    /// The segments of all frames, in their order.
    #[inline]
    #[must_use]
    pub fn all_segments(&self) -> &[Segment] {
        self.segments.all()
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
        self.frames().iter().map(|frame| u64::from(frame.len)).sum()
    }
}

#[inline]
fn small(count: usize) -> u16 {
    u16::try_from(count).expect("bounded by SEGMENTS_MAX and HEADROOM_BYTES")
}
