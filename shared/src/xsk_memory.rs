//! What has to survive of an AF_XDP socket when the data plane is killed, and the frames themselves.
//!
//! **Problem.** A socket gets its frame memory once, and is bound once. If the data plane did both with memory of
//! its own, the socket that the vault keeps would be of no use to the next one.
//!
//! **Chosen.** The frames lie in a sealed memfd. The control plane registers it, sizes the rings and binds; the data
//! plane maps memory and rings, and a next one maps the same: the positions in the rings are where the last one left
//! them. Which frames are whose follows from those positions alone, except for frames on their way out, which come
//! back in any order: each has a mark here. (Registering in the control plane has a second use: it is there that the
//! pages count against the limit of locked memory, so the data plane needs neither limit nor capability.)
//!
//! One memory a socket. Memory that several sockets share saves the copy between two interfaces, but ties their
//! lives together: a socket that is gone still holds frames that the others count on.
//!
//! writer: the worker that owns the queue, and the kernel; the control plane makes it and never looks inside.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::region::Header;
use crate::stream_memory::Bytes;

/// One frame, or a fragment of one: the least that the kernel takes. Holds what an Ethernet of 1500 bytes carries,
/// behind the 256 bytes that the kernel keeps free before a received frame.
pub const CHUNK_BYTES: usize = 2048;

/// What is kept free before a frame to be sent, where the kernel looks for requests there: a line of cache, of which it
/// knows the first 16 or 24 bytes.
pub const REQUEST_BYTES: usize = 64;

/// Chunks that are filled by the kernel: as many as a queue of a good network card has. They come first.
pub const RECEIVE_CHUNKS: u32 = 2048;

/// Chunks that are sent from.
pub const SEND_CHUNKS: u32 = 1024;

/// All chunks.
pub const UMEM_BYTES: usize = (RECEIVE_CHUNKS + SEND_CHUNKS) as usize * CHUNK_BYTES;

/// Where the chunks for sending begin.
pub const SEND_BASE: u64 = RECEIVE_CHUNKS as u64 * CHUNK_BYTES as u64;

/// The chunks, where a page begins: the kernel wants it so.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct Umem(pub Bytes<UMEM_BYTES>);

/// Where a chunk was sent: a position in the ring, or nowhere.
#[repr(transparent)]
#[derive(Debug)]
pub struct SendMark(AtomicU64);

impl SendMark {
    /// It is about to be published at this position.
    #[inline]
    pub fn set(&self, position: u32) {
        self.0.store(u64::from(position) + 1, Ordering::Release);
    }

    /// It has come back.
    #[inline]
    pub fn clear(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Whether it is on its way, in a ring of which everything before `published` was published. A mark at a
    /// position that never was is that of a data plane which was killed before it published.
    #[must_use]
    pub fn is_on_its_way(&self, published: u32) -> bool {
        let Some(position) = self.0.load(Ordering::Acquire).checked_sub(1) else { return false };
        let position = u32::try_from(position & u64::from(u32::MAX)).expect("masked");
        // Positions wrap: what is not behind is ahead.
        let behind = published.wrapping_sub(position);
        behind != 0 && behind < 1 << 31
    }
}

/// The memory of one socket.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct XskMemory {
    pub(crate) header: Header,
    /// Of each chunk for sending, where it was sent.
    pub sent_at: [SendMark; SEND_CHUNKS as usize],
    /// The chunks.
    pub umem: Umem,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_is_on_its_way_from_when_it_is_published() {
        let mark = SendMark(AtomicU64::new(0));
        assert!(!mark.is_on_its_way(0));
        mark.set(7);
        assert_eq!([7, 8, 1000].map(|published| mark.is_on_its_way(published)), [false, true, true]);
        mark.set(u32::MAX);
        assert_eq!([u32::MAX, 0, 5].map(|published| mark.is_on_its_way(published)), [false, true, true]);
        mark.clear();
        assert!(!mark.is_on_its_way(9));
    }
}
