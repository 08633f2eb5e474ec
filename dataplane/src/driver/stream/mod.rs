//! The `stream` driver: a connected stream socket (unix, TCP, vsock) that carries each frame behind its length.
//!
//! Four bytes, big-endian, then so many bytes of frame: what QEMU's `stream` and `socket` speak. A stream is
//! where batching gains most (`perf/`): one read brings thousands of frames, which are parsed where they lie
//! ([`inbox`]), and one write takes a whole burst from where it lies ([`outbox`]). A socket without room holds
//! the sources of its cable back; nothing is dropped for it.
//!
//! The queue ends with its connection: when the peer has closed it, when it failed, or when a length cannot be
//! (counted as `foreign`). What was received before that still goes its way. The socket is then shut down in
//! both directions, which tells the peer, and lets the control plane see it even where the happening got lost.

mod call;
mod inbox;
mod outbox;

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use framewire_shared::counters::{DropReason, QueueCounters};
use framewire_shared::limits::{BURST_FRAMES_MAX, FRAME_BYTES_MAX};
use framewire_shared::region::Mapping;
use rustix::io::Errno;
use rustix::net::Shutdown;

use super::{Queue, Received};
use crate::frame::{Burst, Progress, lower};
use crate::turn::Turn;
use inbox::{Inbox, Lie};
use outbox::{Outbox, Unsent};

/// System calls made here, for the data plane's filter: moving bytes, ending, and checking the memory before it
/// is mapped.
pub(super) const SYSTEM_CALLS: &[libc::c_long] =
    &[libc::SYS_recvmmsg, libc::SYS_sendmmsg, libc::SYS_shutdown, libc::SYS_fstat, libc::SYS_fcntl];

/// What the peer did if it broke the rules of framing, as an errno.
const LIED: Errno = Errno::PROTO;

/// Why there is nothing more to receive.
#[derive(Clone, Copy)]
enum Over {
    Ended,
    Lied,
    Kernel(Errno),
}

impl From<Lie> for Over {
    fn from(_lie: Lie) -> Self {
        Over::Lied
    }
}

impl From<Errno> for Over {
    fn from(errno: Errno) -> Self {
        Over::Kernel(errno)
    }
}

/// A connected stream socket.
#[derive(Debug)]
pub struct Stream {
    descriptors: Arc<[OwnedFd]>,
    inbox: Inbox,
    outbox: Outbox,
    counters: &'static QueueCounters,
    /// Why nothing more can be sent.
    broken: Option<Errno>,
}

impl Stream {
    /// Goes on with the connection where its memory says that it stopped.
    ///
    /// # Errors
    /// If the memory is none of ours, or says what cannot be.
    pub fn new(descriptors: &Arc<[OwnedFd]>, counters: &'static QueueCounters) -> Result<Self, Errno> {
        let [_socket, memory, ..] = &descriptors[..] else { return Err(Errno::INVAL) };
        let memory = Arc::new(Mapping::writable(memory).map_err(|_error| Errno::BADMSG)?);
        let (inbox, outbox) = (Inbox::new(Arc::clone(&memory))?, Outbox::new(memory)?);
        let mut stream =
            Stream { descriptors: Arc::clone(descriptors), inbox, outbox, counters, broken: None };
        // What another data plane had kept: the peer may be waiting for nothing but this.
        stream.flush();
        Ok(stream)
    }

    /// Adds what there is of whole frames; receives if there is none.
    #[inline]
    fn take(&mut self, burst: &mut Burst) -> Result<(), Over> {
        self.inbox.take(burst)?;
        if !burst.is_empty() {
            return Ok(());
        }
        match self.fill()? {
            0 => Err(Over::Ended),
            _bytes => Ok(self.inbox.take(burst)?),
        }
    }

    fn fill(&mut self) -> Result<usize, Errno> {
        let socket = self.descriptors[0].as_fd();
        let filled = self.inbox.fill(socket).or_else(|errno| match errno {
            Errno::AGAIN | Errno::INTR => Err(errno),
            // The kernel tells of an error first, and once; what came before it may still be there.
            _fatal => self.inbox.fill(socket).ok().filter(|filled| *filled > 0).ok_or(errno),
        });
        if filled.is_ok() {
            self.counters.calls.add(1);
        }
        filled
    }

    /// The connection is over, unless there is only nothing to receive right now.
    fn end(&mut self, over: Over) -> Received {
        let errno = match over {
            Over::Ended => self.broken.map_or(0, Errno::raw_os_error),
            // Nothing there, for now.
            Over::Kernel(Errno::AGAIN | Errno::INTR) => return Received::Nothing,
            Over::Kernel(errno) => errno.raw_os_error(),
            Over::Lied => {
                self.counters.drop_frames(DropReason::Foreign, 1);
                LIED.raw_os_error()
            }
        };
        self.give_up_sending(self.broken.unwrap_or(Errno::PIPE));
        Received::Failed(errno)
    }

    /// Nothing more can be sent. The socket is shut down, so that a dozing queue wakes to its end.
    #[cold]
    fn give_up_sending(&mut self, errno: Errno) {
        self.broken = Some(errno);
        self.outbox.clear();
        // It fails if the peer has ended the connection already, which comes to the same.
        let _ = rustix::net::shutdown(&self.descriptors[0], Shutdown::Both);
    }

    /// Sends frames that need nothing done to them.
    #[inline]
    fn send_plain(&mut self, burst: &Burst) {
        let (mut frames, mut bytes) = (0, 0);
        for frame in burst.frames() {
            if frame.len as usize > FRAME_BYTES_MAX {
                self.counters.drop_frames(DropReason::TooLong, 1);
                continue;
            }
            match self.outbox.add(self.descriptors[0].as_fd(), burst, frame) {
                Ok(()) => (frames, bytes) = (frames + 1, bytes + u64::from(frame.len)),
                Err(Unsent::Full) => self.counters.drop_frames(DropReason::NoRoom, 1),
                Err(Unsent::Kernel(errno)) => return self.give_up_sending(errno),
            }
        }
        self.counters.sent_frames.add(frames);
        self.counters.sent_bytes.add(bytes);
        self.flush();
    }

    fn flush(&mut self) {
        if !self.outbox.has_frames() {
            return;
        }
        self.counters.calls.add(1);
        if let Err(errno) = self.outbox.send(self.descriptors[0].as_fd()) {
            self.give_up_sending(errno);
        }
    }
}

impl Queue for Stream {
    #[inline]
    fn receive(&mut self, burst: &mut Burst, _turn: &mut Turn) -> Received {
        if let Err(over) = self.take(burst) {
            return self.end(over);
        }
        if burst.is_empty() {
            return Received::Nothing;
        }
        Received::Frames
    }

    /// What was not taken is still in the inbox.
    #[inline]
    fn settle(&mut self, burst: &Burst, taken: usize, _turn: &mut Turn) {
        let taken = &burst.frames()[..taken];
        let bytes = taken.iter().map(|frame| u64::from(frame.len)).sum();
        self.inbox.settle(taken.len(), bytes);
        self.counters.received_frames.add(taken.len() as u64);
        self.counters.received_bytes.add(bytes);
    }

    fn send(&mut self, burst: &Burst, turn: &mut Turn) -> usize {
        if self.room() == 0 {
            return 0;
        }
        if self.broken.is_some() {
            self.counters.drop_frames(DropReason::NoPeer, burst.len() as u64);
            return burst.len();
        }
        if burst.frames().iter().all(|frame| !frame.offload.is_pending()) {
            self.send_plain(burst);
            return burst.len();
        }
        let mut done = Progress::default();
        while done.frames < burst.len() {
            let batch = lower(burst, done, &mut turn.lowered, &mut turn.scratch);
            self.send_plain(&turn.lowered);
            let bad;
            (done, bad) = batch.passed(turn.lowered.len());
            self.counters.drop_frames(DropReason::BadHeader, bad);
        }
        burst.len()
    }

    #[inline]
    fn room(&mut self) -> usize {
        if self.outbox.is_empty() { BURST_FRAMES_MAX } else { 0 }
    }

    fn drain(&mut self, _turn: &mut Turn) {
        self.flush();
    }

    fn descriptor(&self) -> Option<RawFd> {
        Some(self.descriptors[0].as_raw_fd())
    }

    fn counters(&self) -> &'static QueueCounters {
        self.counters
    }
}

#[cfg(test)]
mod test;
