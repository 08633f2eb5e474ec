//! Sending: frames are copied into chunks of our own, and those come back by the completion ring, in any order.
//!
//! **The kernel must be pushed until it has taken all.** Where it copies, one call sends 32 entries and fails with
//! `EAGAIN` if there are more: whoever calls once for a burst leaves frames in the ring until the next burst. Where
//! the network card reads our memory, it says whether it wants to be called at all.
//!
//! **An interface that is down** takes nothing, and would send minutes later what was put into its ring meanwhile.
//! So the first call that says so stops it: frames are dropped, one call a burst finds out whether it is up again.
//!
//! **Checksums** that are still to be made are left to the interface where it was said that it makes them: then
//! each chunk begins with room for a request, and the first entry of a frame says whether there is one.

use framewire_shared::counters::{DropReason, QueueCounters};
use framewire_shared::xsk_memory::{CHUNK_BYTES, REQUEST_BYTES, SEND_BASE, SEND_CHUNKS, SendMark};
use rustix::io::Errno;

use crate::driver::sink::Outlet;
use crate::frame::{Burst, Cursor, Frame, Offload, Segment};
use crate::xsk::{Chunks, Consumer, Producer, Reservation, Socket};

/// In how many pieces the kernel takes a frame (`MAX_SKB_FRAGS` is 17, and one before them).
const FRAGMENTS_MAX: usize = 17;

/// Calls for one burst: a full ring in portions of 32, and some that fail.
const PUSHES_MAX: u32 = SEND_CHUNKS / 32 + 4;

/// The rings that take frames away.
#[derive(Debug)]
pub(super) struct XdpOutlet {
    pub(super) socket: Socket,
    send: Producer<libc::xdp_desc>,
    completion: Consumer<u64>,
    chunks: Chunks,
    /// Chunks that are nobody's. The last one that came back is used first: it is warm.
    free: Vec<u32>,
    layout: Layout,
    /// The kernel must be called whatever its flag says.
    always_push: bool,
    /// The kernel has not taken all that is in the ring, and will not without another call.
    is_stuck: bool,
    /// The interface is down, or gone.
    is_down: bool,
    counters: &'static QueueCounters,
}

/// How frames lie in chunks.
#[derive(Debug, Clone, Copy)]
struct Layout {
    fragments_max: usize,
    /// What is kept free at the beginning of each chunk: nothing, or room for a request.
    request_bytes: usize,
}

impl Layout {
    /// How much of a frame goes into a chunk.
    #[inline]
    fn capacity(self) -> usize {
        CHUNK_BYTES - self.request_bytes
    }

    /// In how many chunks a frame goes.
    ///
    /// # Errors
    /// Why it cannot.
    #[inline]
    fn fragments(self, frame: &Frame) -> Result<usize, DropReason> {
        let fragments = (frame.len as usize).div_ceil(self.capacity());
        let checksum_end = usize::from(frame.offload.csum_start) + usize::from(frame.offload.csum_offset) + 2;
        if fragments > self.fragments_max {
            Err(DropReason::TooLong)
        } else if frame.offload.needs_checksum() && checksum_end > self.capacity().min(frame.len as usize) {
            // The kernel would drop it, and not say so.
            Err(DropReason::BadHeader)
        } else {
            Ok(fragments)
        }
    }
}

/// What an outlet is made of.
pub(super) struct Parts {
    pub(super) socket: Socket,
    pub(super) send: Producer<libc::xdp_desc>,
    pub(super) completion: Consumer<u64>,
    pub(super) chunks: Chunks,
    pub(super) several_chunks: bool,
    pub(super) completes_checksums: bool,
    pub(super) always_push: bool,
}

impl XdpOutlet {
    /// Goes on where the rings stand.
    pub(super) fn new(parts: Parts, counters: &'static QueueCounters) -> Self {
        let Parts { socket, send, mut completion, chunks, .. } = parts;
        // Before marks are looked at: a data plane that was killed while it took chunks back has cleared marks whose
        // entries are still in the ring, and each chunk must be free only once.
        let came_back = completion.available(SEND_CHUNKS);
        let came_back_chunks = (0..came_back).filter_map(|nth| chunk_at(completion.get(nth)));
        came_back_chunks.for_each(|chunk| chunks.marks()[chunk as usize].clear());
        completion.release(came_back);
        let mut free = Vec::with_capacity(SEND_CHUNKS as usize);
        let published = send.published();
        for (chunk, mark) in (0..SEND_CHUNKS).zip(chunks.marks()) {
            if !mark.is_on_its_way(published) {
                mark.clear();
                free.push(chunk);
            }
        }
        let layout = Layout {
            fragments_max: if parts.several_chunks { FRAGMENTS_MAX } else { 1 },
            request_bytes: if parts.completes_checksums { REQUEST_BYTES } else { 0 },
        };
        let mut outlet = XdpOutlet {
            socket,
            send,
            completion,
            chunks,
            free,
            layout,
            always_push: parts.always_push,
            is_stuck: false,
            is_down: false,
            counters,
        };
        // What another data plane has put into the ring may wait for nothing but this.
        outlet.push();
        outlet
    }

    /// Whether nothing may be sent until the outside has been asked again.
    #[inline]
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Takes back what has been sent.
    #[inline]
    pub(super) fn collect(&mut self) {
        let count = self.completion.available(SEND_CHUNKS);
        for nth in 0..count {
            let Some(chunk) = chunk_at(self.completion.get(nth)) else { continue };
            self.chunks.marks()[chunk as usize].clear();
            self.free.push(chunk);
        }
        self.completion.release(count);
    }

    /// Has the kernel take what is in the ring.
    pub(super) fn push(&mut self) {
        let mut untaken = self.send.untaken();
        for _call in 0..PUSHES_MAX {
            if untaken == 0 || !(self.always_push || self.send.needs_wakeup()) {
                break;
            }
            self.counters.calls.add(1);
            let pushed = self.socket.push_send();
            self.is_down = matches!(pushed, Err(Errno::NETDOWN | Errno::NXIO));
            let before = std::mem::replace(&mut untaken, self.send.untaken());
            if pushed.is_err() && untaken == before {
                break;
            }
        }
        self.is_stuck = untaken > 0 && self.send.needs_wakeup() && !self.is_down;
    }

    /// How many of these frames there are chunks for, and how many chunks they take.
    #[inline]
    fn fitting(&self, frames: &[Frame]) -> (usize, usize) {
        let mut chunks = 0;
        for (place, frame) in frames.iter().enumerate() {
            // One that cannot go takes none.
            let more = self.layout.fragments(frame).unwrap_or(0);
            if chunks + more > self.free.len() {
                return (place, chunks);
            }
            chunks += more;
        }
        (frames.len(), chunks)
    }

    /// Copies frames into chunks and publishes them. Returns how many it dealt with.
    #[inline]
    fn stage(&mut self, burst: &Burst, from: usize) -> usize {
        let (count, chunks) = self.fitting(&burst.frames()[from..]);
        let layout = self.layout;
        // Where there is a free chunk, there is a place for it: the ring has as many as there are chunks.
        let Some(mut room) = u32::try_from(chunks).ok().and_then(|chunks| self.send.reserve(chunks)) else {
            return 0;
        };
        let (mut sent, mut bytes) = (0, 0);
        for frame in &burst.frames()[from..from + count] {
            if let Err(reason) = layout.fragments(frame) {
                self.counters.drop_frames(reason, 1);
                continue;
            }
            let target = Target { chunks: &self.chunks, free: &mut self.free, layout };
            target.write(Cursor::new(burst.segments(frame)), frame, &mut room);
            (sent, bytes) = (sent + 1, bytes + u64::from(frame.len));
        }
        room.publish();
        self.counters.sent_frames.add(sent);
        self.counters.sent_bytes.add(bytes);
        count
    }
}

/// What a frame is copied into.
struct Target<'a> {
    chunks: &'a Chunks,
    free: &'a mut Vec<u32>,
    layout: Layout,
}

impl Target<'_> {
    #[inline]
    fn write(self, mut bytes: Cursor<'_>, frame: &Frame, room: &mut Reservation<'_, libc::xdp_desc>) {
        let marks: &[SendMark] = self.chunks.marks();
        let is_asked = self.layout.request_bytes > 0 && frame.offload.needs_checksum();
        let (mut left, mut request) = (frame.len as usize, is_asked);
        while left > 0 {
            let part = left.min(self.layout.capacity());
            left -= part;
            let chunk = self.free.pop().expect("counted before");
            let begin = SEND_BASE + u64::from(chunk) * CHUNK_BYTES as u64;
            let addr = begin + self.layout.request_bytes as u64;
            let segment = self.chunks.segment(addr, part).expect("a chunk of ours");
            bytes.copy_to(&segment);
            let mut options = if left > 0 { libc::XDP_PKT_CONTD } else { 0 };
            if std::mem::take(&mut request) {
                let room = self.chunks.segment(begin, self.layout.request_bytes).expect("a chunk of ours");
                request_checksum(&room, &frame.offload);
                options |= libc::XDP_TX_METADATA;
            }
            // Before it is published: a mark that is ahead of the ring is recognised, one that is missing not.
            marks[chunk as usize].set(room.position());
            room.push(libc::xdp_desc { addr, len: u32::try_from(part).expect("a chunk"), options });
        }
    }
}

/// Asks for a checksum, as `struct xsk_tx_metadata` has it: flags, where the sum begins, where from there it goes.
#[inline]
fn request_checksum(request: &Segment, offload: &Offload) {
    let mut bytes = [0; REQUEST_BYTES];
    bytes[..8].copy_from_slice(&u64::from(libc::XDP_TXMD_FLAGS_CHECKSUM).to_ne_bytes());
    bytes[8..10].copy_from_slice(&offload.csum_start.to_ne_bytes());
    bytes[10..12].copy_from_slice(&offload.csum_offset.to_ne_bytes());
    request.store(&bytes);
}

/// The chunk for sending that an entry points into.
fn chunk_at(address: u64) -> Option<u32> {
    let chunk = address.checked_sub(SEND_BASE)? / CHUNK_BYTES as u64;
    u32::try_from(chunk).ok().filter(|chunk| *chunk < SEND_CHUNKS)
}

impl Outlet for XdpOutlet {
    fn carries_offloads(&self) -> bool {
        false
    }

    #[inline]
    fn completes_checksums(&self) -> bool {
        self.layout.request_bytes > 0
    }

    #[inline]
    fn put(&mut self, frames: &Burst, from: usize, _now_ns: u64) -> usize {
        if self.is_down {
            self.is_down = matches!(self.socket.push_send(), Err(Errno::NETDOWN | Errno::NXIO));
        }
        if self.is_down {
            self.counters.drop_frames(DropReason::Refused, (frames.len() - from) as u64);
            return frames.len();
        }
        self.collect();
        let mut place = from;
        // A second time only if the kernel has given chunks back meanwhile.
        for _attempt in 0..2 {
            place += self.stage(frames, place);
            self.push();
            if place == frames.len() || self.is_stuck {
                break;
            }
            self.collect();
        }
        place
    }
}

#[cfg(test)]
mod test;
