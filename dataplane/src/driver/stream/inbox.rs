//! What was received of a stream: read in large pieces, parsed where it lies.
//!
//! A frame is four bytes of length, then its bytes. Frames of a burst point into the inbox, which stays as it
//! is until the pass has ended and they are settled; only the next [`Inbox::fill`], when no whole frame is left, moves the half one
//! to the front and reads behind it. A length of 0 or above [`FRAME_BYTES_MAX`] cannot be: from there on nobody
//! knows where a frame begins, so the connection has ended. It is found when the length has arrived, before
//! any of what it announces is waited for.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use framewire_shared::limits::FRAME_BYTES_MAX;
use framewire_shared::region::Mapping;
use framewire_shared::stream_memory::{INBOX_BYTES, PREFIX_BYTES, StreamMemory};
use rustix::io::Errno;

use super::call;
use crate::frame::{Burst, Offload, Segment};

/// The length before a frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lie;

/// Received bytes that are not frames yet.
#[derive(Debug)]
pub(super) struct Inbox {
    memory: Arc<Mapping<StreamMemory>>,
}

impl Inbox {
    /// Goes on where the memory says that it stopped.
    ///
    /// # Errors
    /// `EBADMSG` if it says what cannot be.
    pub(super) fn new(memory: Arc<Mapping<StreamMemory>>) -> Result<Self, Errno> {
        let (start, end) = memory.received.held();
        if start > end || end > INBOX_BYTES {
            return Err(Errno::BADMSG);
        }
        Ok(Inbox { memory })
    }

    /// Adds whole frames to a burst, as many as there are and fit. They stay here until they are settled.
    ///
    /// # Errors
    /// [`Lie`] once there is nothing before it.
    #[inline]
    pub(super) fn take(&mut self, burst: &mut Burst) -> Result<(), Lie> {
        let (mut start, end) = self.memory.received.held();
        while end - start >= PREFIX_BYTES && burst.has_room(1) {
            let mut prefix = [0; PREFIX_BYTES];
            self.segment(start, PREFIX_BYTES).read(0, &mut prefix);
            let len = u32::from_be_bytes(prefix) as usize;
            if len == 0 || len > FRAME_BYTES_MAX {
                if burst.is_empty() {
                    return Err(Lie);
                }
                break;
            }
            let frame = start + PREFIX_BYTES;
            if end - frame < len {
                break;
            }
            // Whoever writes a length in front of it writes what is there already.
            burst.push(&[self.segment(frame, len)], Offload::default(), PREFIX_BYTES);
            start = frame + len;
        }
        Ok(())
    }

    /// The first frames have gone: so many, of so many bytes together.
    #[inline]
    pub(super) fn settle(&mut self, frames: usize, bytes: u64) {
        let (start, end) = self.memory.received.held();
        let framed = PREFIX_BYTES * frames + usize::try_from(bytes).expect("they were in the inbox");
        assert!(framed <= end - start, "settled more than was there");
        self.memory.received.take(start + framed);
    }

    /// Receives more, as much as the socket and the inbox have. Called when no whole frame is left, and no
    /// burst points here any more. Nothing received is the end of the stream.
    ///
    /// # Errors
    /// As the kernel says.
    pub(super) fn fill(&mut self, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        let (mut start, mut end) = self.memory.received.held();
        let half = end - start;
        // A half frame longer than what is before it stays: then there is room behind it for the rest.
        if start > 0 && half <= start {
            self.segment(start, half).copy_to(&self.segment(0, half), 0);
            (start, end) = (0, half);
        }
        self.memory.received.hold(start, end);
        call::receive(socket, &self.memory.received.current().call, self.segment(end, INBOX_BYTES - end))
    }

    fn segment(&self, from: usize, len: usize) -> Segment {
        assert!(from + len <= INBOX_BYTES, "within the inbox");
        // SAFETY: the mapping lives as long as the queue, and only this queue, one thread at a time, reaches
        // its inbox.
        unsafe { Segment::new(self.memory.inbox.base().wrapping_add(from), len) }
    }
}
