//! What a stream's socket had no room for, and how frames get there only if they must.
//!
//! **Problem.** A cable never drops: what the socket cannot take now has to be kept, from the middle of a frame
//! if that is where it stopped. And it has to survive a `kill -9`, since the peer waits for the rest of that
//! frame before anything else.
//!
//! **Rejected.** Copying every frame to the outbox and sending from there: exact and simple, and a third slower
//! at 1500 bytes (190 against 107 ns a frame for the call).
//!
//! **Chosen.** Frames are sent from where they lie, lengths in between, all of a burst in one call. If the
//! socket stops in the middle, the rest is copied to the outbox and the queue has no room until that is sent.
//! Killed between these two, the data plane has lost the rest, but not its length: the next one sends zeros in
//! its place, so that one frame is damaged and not all that follow. As a socket that had no room once has none
//! most of the time, the sends that follow go by the outbox, where nothing is ever lost; when it keeps up
//! again, so do we.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use framewire_shared::limits::BURST_FRAMES_MAX;
use framewire_shared::region::Mapping;
use framewire_shared::stream_memory::{FRAMED_BYTES_MAX, OUTBOX_BYTES, PREFIX_BYTES, SendCall, StreamMemory};
use rustix::io::Errno;

use super::call;
use crate::frame::{Burst, Frame, Segment, SegmentList};

/// Bursts that go by the outbox after a socket had no room.
const CAREFUL_BURSTS: u32 = 64;

/// Segments in one call: the kernel's own limit (`UIO_MAXIOV`).
const SEGMENTS_MAX: usize = 1024;

/// The frames of one call.
#[derive(Debug)]
struct Gathered {
    segments: SegmentList,
    frames: usize,
}

/// How frames leave.
#[derive(Debug)]
pub(super) struct Outbox {
    memory: Arc<Mapping<StreamMemory>>,
    gathered: Gathered,
    careful_bursts: u32,
}

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsent {
    /// There is no room to keep it.
    Full,
    /// The connection has failed.
    Kernel(Errno),
}

impl From<Errno> for Unsent {
    fn from(errno: Errno) -> Self {
        Unsent::Kernel(errno)
    }
}

impl Outbox {
    /// Goes on where the memory says that it stopped.
    ///
    /// # Errors
    /// `EBADMSG` if it says what cannot be.
    pub(super) fn new(memory: Arc<Mapping<StreamMemory>>) -> Result<Self, Errno> {
        let gathered = Gathered { segments: SegmentList::with_capacity(SEGMENTS_MAX), frames: 0 };
        let outbox = Outbox { memory, gathered, careful_bursts: 0 };
        let missing = outbox.memory.sent.missing();
        if missing > 0 {
            outbox.complete(missing)?;
        }
        let (start, end) = outbox.memory.sent.held();
        if start > end || end > OUTBOX_BYTES { Err(Errno::BADMSG) } else { Ok(outbox) }
    }

    /// Zeros in place of the rest of a frame that was lost with whoever was sending it.
    fn complete(&self, missing: usize) -> Result<(), Errno> {
        if missing >= FRAMED_BYTES_MAX {
            return Err(Errno::BADMSG);
        }
        let room = self.segment(0, missing);
        (0..missing).for_each(|at| room.write(at, &[0]));
        self.memory.sent.hold(0, missing);
        Ok(())
    }

    /// Whether there is anything to send.
    #[inline]
    pub(super) fn has_frames(&self) -> bool {
        self.gathered.frames > 0 || !self.is_empty()
    }

    /// Whether nothing is kept.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        let (start, end) = self.memory.sent.held();
        start >= end
    }

    /// Forgets what is kept: nobody will read it.
    pub(super) fn clear(&mut self) {
        self.gathered.clear();
        self.memory.sent.hold(0, 0);
    }

    /// Takes one frame, to leave with the next [`Outbox::send`].
    ///
    /// # Errors
    /// [`Unsent`]
    #[inline]
    pub(super) fn add(&mut self, socket: BorrowedFd<'_>, burst: &Burst, frame: &Frame) -> Result<(), Unsent> {
        let segments = burst.segments(frame);
        let has_room = |gathered: &Gathered| {
            gathered.frames < BURST_FRAMES_MAX && gathered.segments.has_room(1 + segments.len())
        };
        if self.careful_bursts == 0 && !has_room(&self.gathered) {
            self.send_gathered(socket)?;
        }
        if self.careful_bursts == 0 && self.is_empty() && has_room(&self.gathered) {
            self.gathered.add(self.memory.sent.other(), burst, frame);
            return Ok(());
        }
        if self.gathered.frames > 0 {
            self.send_gathered(socket)?;
        }
        self.keep(segments, frame.len)
    }

    /// Sends what was taken, and what was kept from before.
    ///
    /// # Errors
    /// As the kernel says; no room is none.
    #[inline]
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        if self.gathered.frames > 0 {
            self.send_gathered(socket)
        } else if self.is_empty() {
            Ok(())
        } else {
            self.send_kept(socket)
        }
    }

    /// One call, from where the frames lie.
    fn send_gathered(&mut self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        self.memory.sent.announce(self.gathered.frames);
        let record = self.memory.sent.current();
        let sent = as_far_as_it_goes(call::send(socket, &record.call, self.gathered.segments.all()));
        if let Ok(moved) = sent {
            self.keep_rest(moved);
        }
        self.gathered.clear();
        sent.map(|_moved| ())
    }

    /// Keeps what a call did not take.
    fn keep_rest(&mut self, moved: usize) {
        let mut skip = moved;
        let mut end = 0;
        for segment in self.gathered.segments.all() {
            let rest = segment.part(skip, segment.len());
            skip -= segment.len() - rest.len();
            if rest.len() > 0 {
                rest.copy_to(&self.segment(end, rest.len()), 0);
                end += rest.len();
            }
        }
        if end > 0 {
            self.memory.sent.hold(0, end);
            self.careful_bursts = CAREFUL_BURSTS;
        }
    }

    /// Keeps a whole frame.
    fn keep(&mut self, segments: &[Segment], len: u32) -> Result<(), Unsent> {
        if self.is_empty() {
            self.memory.sent.hold(0, 0);
        }
        let (_start, end) = self.memory.sent.held();
        let framed = PREFIX_BYTES + len as usize;
        if end + framed > OUTBOX_BYTES {
            return Err(Unsent::Full);
        }
        let room = self.segment(end, framed);
        room.write(0, &len.to_be_bytes());
        let mut at = PREFIX_BYTES;
        for segment in segments {
            segment.copy_to(&room, at);
            at += segment.len();
        }
        self.memory.sent.extend(end + framed);
        Ok(())
    }

    /// One call, from the outbox.
    fn send_kept(&mut self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        let (start, end) = self.memory.sent.held();
        self.memory.sent.hold(start, end);
        let kept = self.segment(start, end - start);
        let record = self.memory.sent.current();
        let moved = as_far_as_it_goes(call::send(socket, &record.call, &[kept]))?;
        self.careful_bursts =
            if moved < end - start { CAREFUL_BURSTS } else { self.careful_bursts.saturating_sub(1) };
        Ok(())
    }

    fn segment(&self, from: usize, len: usize) -> Segment {
        assert!(from + len <= OUTBOX_BYTES, "within the outbox");
        // SAFETY: as in the inbox.
        unsafe { Segment::new(self.memory.outbox.base().wrapping_add(from), len) }
    }
}

impl Gathered {
    fn clear(&mut self) {
        self.segments.clear();
        self.frames = 0;
    }

    /// Adds a frame with its length in front. The length lies in the frame's headroom, if it has some, else in
    /// `record`, which holds it in any case. Pieces that touch become one: a burst that came from a stream as it
    /// goes to another is a single one.
    #[inline]
    fn add(&mut self, record: &SendCall, burst: &Burst, frame: &Frame) {
        let prefix = frame.len.to_be_bytes();
        let place = &record.prefixes[self.frames];
        place.store(u32::from_ne_bytes(prefix), Ordering::Relaxed);
        self.frames += 1;
        let (first, rest) = match burst.prepend(frame, &prefix) {
            Some(first) => (first, &burst.segments(frame)[1..]),
            // SAFETY: the record lives as long as the queue, and changes only after this call.
            None => (unsafe { Segment::new(place.as_ptr().cast(), PREFIX_BYTES) }, burst.segments(frame)),
        };
        self.segments.push(0, first);
        rest.iter().for_each(|segment| self.segments.push(0, *segment));
    }
}

/// No room is not an error here: nothing was moved.
fn as_far_as_it_goes(sent: Result<usize, Errno>) -> Result<usize, Errno> {
    match sent {
        Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::NOMEM) => Ok(0),
        sent => sent,
    }
}
