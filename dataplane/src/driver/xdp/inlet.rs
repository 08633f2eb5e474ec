//! Receiving: frames are described where the kernel has put them, and their chunks go back when the pass is over.
//!
//! **What a killed data plane leaves.** Each chunk that we have is one that the receive ring still shows, since an
//! entry is released only after its chunk is in the fill ring again. So the positions of the two rings always differ
//! by the number of chunks; where they differ by more, a data plane was killed between those two steps, and as many
//! entries are dealt with already. Nothing else needs to be written down. A burst that was sent on and not yet given
//! back comes twice, where other drivers would lose it: the network repeats frames, too.

use framewire_shared::counters::{DropReason, QueueCounters};
use framewire_shared::limits::{BURST_FRAMES_MAX, FRAME_BYTES_MAX};
use framewire_shared::xsk_memory::{CHUNK_BYTES, RECEIVE_CHUNKS};
use rustix::io::Errno;

use crate::driver::ETHERNET_HEADER_BYTES;
use crate::frame::{Burst, HEADROOM_BYTES, Offload, SEGMENTS_MAX, Segment, SegmentList};
use crate::xsk::{Chunks, Consumer, Producer};

/// More chunks than the kernel makes of any frame (18), and no more than the largest frame has: what is longer is
/// dropped.
const FRAGMENTS_MAX: usize = FRAME_BYTES_MAX / CHUNK_BYTES;

/// The rings that bring frames.
#[derive(Debug)]
pub(super) struct Inlet {
    fill: Producer<u64>,
    receive: Consumer<libc::xdp_desc>,
    chunks: Chunks,
    /// How many entries each frame of the burst ends at.
    ends: Vec<u32>,
    fragments: SegmentList,
    counters: &'static QueueCounters,
}

/// The entries of one frame.
enum Next {
    /// So many, which together are a frame.
    Frame(u32),
    /// So many, which are none.
    Bad(u32, DropReason),
    /// There is none, or not all of it.
    Nothing,
}

impl Inlet {
    /// Goes on where the rings stand.
    ///
    /// # Errors
    /// `EBADMSG` if they cannot stand like that.
    pub(super) fn new(
        fill: Producer<u64>,
        receive: Consumer<libc::xdp_desc>,
        chunks: Chunks,
        counters: &'static QueueCounters,
    ) -> Result<Self, Errno> {
        let ends = Vec::with_capacity(BURST_FRAMES_MAX);
        let fragments = SegmentList::with_capacity(FRAGMENTS_MAX);
        let mut inlet = Inlet { fill, receive, chunks, ends, fragments, counters };
        if inlet.fill.published() == 0 && inlet.receive.released() == 0 {
            inlet.fill_up()?;
            return Ok(inlet);
        }
        let lent = inlet.fill.published().wrapping_sub(inlet.receive.released());
        let dealt_with = lent.checked_sub(RECEIVE_CHUNKS).ok_or(Errno::BADMSG)?;
        if dealt_with as usize > SEGMENTS_MAX || dealt_with > inlet.receive.available(dealt_with) {
            return Err(Errno::BADMSG);
        }
        inlet.receive.release(dealt_with);
        Ok(inlet)
    }

    /// All chunks are the kernel's.
    fn fill_up(&mut self) -> Result<(), Errno> {
        let mut all = self.fill.reserve(RECEIVE_CHUNKS).ok_or(Errno::BADMSG)?;
        (0..u64::from(RECEIVE_CHUNKS)).for_each(|chunk| all.push(chunk * CHUNK_BYTES as u64));
        all.publish();
        Ok(())
    }

    /// Whether there are no frames.
    pub(super) fn is_empty(&mut self) -> bool {
        self.receive.available(1) == 0
    }

    /// Whether the kernel wants to be called before it fills more chunks.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        self.fill.needs_wakeup()
    }

    /// Describes frames, as many as there are and fit.
    #[inline]
    pub(super) fn take(&mut self, burst: &mut Burst) {
        self.ends.clear();
        let mut nth = 0;
        loop {
            match self.next(nth) {
                Next::Frame(count) if burst.has_room(count as usize) => {
                    burst.push(self.fragments.all(), Offload::default(), HEADROOM_BYTES);
                    nth += count;
                    self.ends.push(nth);
                }
                Next::Bad(count, reason) if nth == 0 => {
                    self.give_back(count);
                    self.counters.drop_frames(reason, 1);
                }
                // What is bad behind good ones is dealt with when it comes first.
                Next::Frame(_) | Next::Bad(..) | Next::Nothing => return,
            }
        }
    }

    /// The oldest `frames` of what was described are done with; the others are still there.
    #[inline]
    pub(super) fn settle(&mut self, frames: usize) {
        if let Some(entries) = frames.checked_sub(1).and_then(|last| self.ends.get(last)) {
            self.give_back(*entries);
        }
        self.ends.clear();
    }

    /// The chunks of the oldest `count` entries are the kernel's again. In this order: see the module's text.
    #[inline]
    fn give_back(&mut self, count: u32) {
        let room = self.fill.reserve(count);
        let mut room = room.expect("there are no more chunks than the fill ring has places");
        for nth in 0..count {
            room.push(self.receive.get(nth).addr & !(CHUNK_BYTES as u64 - 1));
        }
        room.publish();
        self.receive.release(count);
    }

    /// What the entries from the `nth` on are; a frame's bytes are in `fragments` then.
    #[inline]
    fn next(&mut self, nth: u32) -> Next {
        self.fragments.clear();
        let (mut count, mut bytes, mut bad) = (0, 0, None);
        loop {
            if self.receive.available(nth + count + 1) <= nth + count {
                return Next::Nothing;
            }
            let entry = self.receive.get(nth + count);
            count += 1;
            match self.fragment(&entry) {
                Ok(fragment) => {
                    // Another processor has written it; the lines of a whole burst are on their way at once.
                    fragment.prefetch(false);
                    bytes += fragment.len();
                    self.fragments.push(count as usize, fragment);
                }
                Err(reason) => bad = bad.or(Some(reason)),
            }
            if entry.options & libc::XDP_PKT_CONTD == 0 {
                let is_runt = bytes < ETHERNET_HEADER_BYTES;
                let bad = bad.or(is_runt.then_some(DropReason::Runt));
                return bad.map_or(Next::Frame(count), |reason| Next::Bad(count, reason));
            }
        }
    }

    #[inline]
    fn fragment(&self, entry: &libc::xdp_desc) -> Result<Segment, DropReason> {
        if !self.fragments.has_room(1) {
            return Err(DropReason::TooLong);
        }
        self.chunks.segment(entry.addr, entry.len as usize).ok_or(DropReason::Foreign)
    }
}

#[cfg(test)]
mod test;
