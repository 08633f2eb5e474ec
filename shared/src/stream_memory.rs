//! What has to survive of a stream when the data plane is killed.
//!
//! **Problem.** A stream of framed bytes has a position, on both sides of it: a half-received frame, a
//! half-sent one. The vault keeps the connection, but whoever takes it over and does not know the position
//! reads lengths where there are none, and so does the peer. After a `kill -9` under load the connection
//! would be open and useless.
//!
//! **Rejected.** Taking whole frames only from the kernel (peeking first): two calls and two copies instead of
//! one. Writing the position down after each call: the process may be killed between the two.
//!
//! **Chosen.** What was received lies in a sealed memfd that the vault keeps beside the socket, and the kernel
//! itself writes the position down there: `recvmmsg` and `sendmmsg` store how many bytes they moved into the
//! `mmsghdr` that they were given, within the call, and a killed process first ends its call. So the position
//! is *where the call began plus what the call moved*, at every instant. Beginning another call changes
//! both, and is one store all the same: there are two records, and an index to the one that counts.
//!
//! What may be lost is a burst that had been taken from the inbox and not yet been sent elsewhere, as with any
//! driver. writer: the worker that owns the queue; the control plane makes it and never looks inside.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::limits::{BURST_FRAMES_MAX, FRAME_BYTES_MAX};
use crate::region::Header;

/// Bytes of the length before each frame, big-endian.
pub const PREFIX_BYTES: usize = 4;

/// What one frame takes at most.
pub const FRAMED_BYTES_MAX: usize = PREFIX_BYTES + FRAME_BYTES_MAX;

/// Received bytes. Twice the largest frame at least: see `start` in [`ReceiveCall`].
pub const INBOX_BYTES: usize = 256 << 10;
const _: () = assert!(INBOX_BYTES >= 2 * FRAMED_BYTES_MAX);

/// What the socket had no room for: a whole burst of the largest frames, and half as much again, since frames
/// that are cut into small ones get a header for each. Pages that are never used cost nothing.
pub const OUTBOX_BYTES: usize = BURST_FRAMES_MAX * FRAMED_BYTES_MAX * 3 / 2;

/// Bytes that the kernel reads and writes, and we by raw pointers only.
#[repr(C, align(64))]
pub struct Bytes<const LEN: usize>(UnsafeCell<[u8; LEN]>);

// SAFETY: nothing in this crate reads or writes them; whoever does holds the queue, which one thread owns.
unsafe impl<const LEN: usize> Sync for Bytes<LEN> {}

impl<const LEN: usize> Bytes<LEN> {
    /// Where they begin.
    #[must_use]
    pub fn base(&self) -> *mut u8 {
        self.0.get().cast()
    }
}

impl<const LEN: usize> std::fmt::Debug for Bytes<LEN> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({LEN})")
    }
}

/// A `struct mmsghdr`. Its addresses are those of the process that made the call last, and mean nothing to the
/// next; how many bytes the call moved is what is kept.
#[repr(C)]
pub struct Call {
    header: UnsafeCell<MaybeUninit<libc::msghdr>>,
    moved: AtomicU32,
}

const _: () = assert!(size_of::<Call>() == size_of::<libc::mmsghdr>());
const _: () = assert!(std::mem::offset_of!(Call, moved) == std::mem::offset_of!(libc::mmsghdr, msg_len));

// SAFETY: the header is written by the one thread that owns the queue, before its call; nobody reads it but the
// kernel, during the call.
unsafe impl Sync for Call {}

impl Call {
    /// How many bytes the kernel moved in it; 0 if it has not been made.
    #[must_use]
    pub fn moved(&self) -> u32 {
        self.moved.load(Ordering::Relaxed)
    }

    /// What to give to the kernel.
    #[must_use]
    pub fn as_ptr(&self) -> *mut libc::mmsghdr {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("moved", &self.moved()).finish_non_exhaustive()
    }
}

/// One call that received. What it and those before left lies in the inbox from `start` to `base + moved`.
#[repr(C)]
#[derive(Debug)]
pub struct ReceiveCall {
    /// Where the next frame begins. Moves on as frames are taken; a half frame is moved to the front of the
    /// inbox only if the two places do not overlap, so that being killed in between harms nothing.
    pub start: AtomicU32,
    /// Where in the inbox the call receives to.
    pub base: AtomicU32,
    /// The call.
    pub call: Call,
}

/// One call that sent: either frames from where they lay, or bytes of the outbox.
#[repr(C)]
#[derive(Debug)]
pub struct SendCall {
    /// How many frames it sends from where they lie; 0 if it sends from the outbox.
    pub frames: AtomicU32,
    /// Where in the outbox it sends from.
    pub base: AtomicU32,
    /// Where what the outbox holds ends.
    pub filled: AtomicU32,
    reserved: u32,
    /// The call.
    pub call: Call,
    /// The lengths of its frames as they go before each, big-endian: should the call be cut off in a frame, and
    /// the process end before it has kept the rest of it, this tells how long the rest is.
    pub prefixes: [AtomicU32; BURST_FRAMES_MAX],
}

/// Two records, of which one counts.
#[repr(C)]
#[derive(Debug)]
pub struct Pair<T> {
    index: AtomicU32,
    reserved: u32,
    records: [T; 2],
}

impl<T> Pair<T> {
    fn index(&self) -> usize {
        self.index.load(Ordering::Relaxed) as usize & 1
    }

    /// The one that counts.
    #[must_use]
    pub fn current(&self) -> &T {
        &self.records[self.index()]
    }

    /// The one to prepare.
    #[must_use]
    pub fn other(&self) -> &T {
        &self.records[1 - self.index()]
    }

    /// The other one counts from now on. Release: everything in it was stored before, in the order in which
    /// whoever comes after a kill sees it.
    pub fn switch(&self) {
        self.index.store(u32::from(self.index() == 0), Ordering::Release);
    }
}

impl Pair<ReceiveCall> {
    /// What the inbox holds: from, to.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        let ReceiveCall { start, base, call } = self.current();
        let end = base.load(Ordering::Relaxed) as usize + call.moved() as usize;
        (start.load(Ordering::Relaxed) as usize, end)
    }

    /// The inbox holds this, and the next call receives behind it.
    pub fn hold(&self, start: usize, end: usize) {
        let record = self.other();
        record.start.store(narrow(start), Ordering::Relaxed);
        record.base.store(narrow(end), Ordering::Relaxed);
        record.call.moved.store(0, Ordering::Relaxed);
        self.switch();
    }

    /// Frames up to here are taken.
    #[inline]
    pub fn take(&self, start: usize) {
        self.current().start.store(narrow(start), Ordering::Relaxed);
    }
}

impl Pair<SendCall> {
    /// What the outbox still holds: from, to.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        let record = self.current();
        if record.frames.load(Ordering::Relaxed) > 0 {
            return (0, 0);
        }
        let start = record.base.load(Ordering::Relaxed) as usize + record.call.moved() as usize;
        (start, record.filled.load(Ordering::Relaxed) as usize)
    }

    /// The outbox holds this, and the next call sends from its start.
    pub fn hold(&self, start: usize, end: usize) {
        let record = self.other();
        record.frames.store(0, Ordering::Relaxed);
        record.base.store(narrow(start), Ordering::Relaxed);
        record.filled.store(narrow(end), Ordering::Relaxed);
        record.call.moved.store(0, Ordering::Relaxed);
        self.switch();
    }

    /// The outbox holds more behind what it held.
    pub fn extend(&self, end: usize) {
        self.current().filled.store(narrow(end), Ordering::Relaxed);
    }

    /// The next call sends so many frames, whose prefixes are in the other record.
    pub fn announce(&self, frames: usize) {
        let record = self.other();
        record.frames.store(narrow(frames), Ordering::Relaxed);
        record.call.moved.store(0, Ordering::Relaxed);
        self.switch();
    }

    /// How much of a frame is missing that a call was cut off in, if the one that made it kept nothing.
    #[must_use]
    pub fn missing(&self) -> usize {
        let record = self.current();
        let mut moved = record.call.moved() as usize;
        let frames = record.frames.load(Ordering::Relaxed) as usize;
        for prefix in record.prefixes.iter().take(frames) {
            let framed = PREFIX_BYTES + u32::from_be(prefix.load(Ordering::Relaxed)) as usize;
            match moved {
                0 => return 0,
                _part if moved < framed => return framed - moved,
                _whole => moved -= framed,
            }
        }
        0
    }
}

fn narrow(position: usize) -> u32 {
    u32::try_from(position).expect("INBOX_BYTES and OUTBOX_BYTES are small")
}

/// The memory of one stream.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct StreamMemory {
    pub(crate) header: Header,
    /// Calls that receive.
    pub received: Pair<ReceiveCall>,
    /// Calls that send.
    pub sent: Pair<SendCall>,
    /// What was received and not yet taken.
    pub inbox: Bytes<INBOX_BYTES>,
    /// What could not be sent yet.
    pub outbox: Bytes<OUTBOX_BYTES>,
}
