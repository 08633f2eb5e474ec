//! The memory that the entries of rings point into.
//!
//! An entry names its bytes by their distance from the beginning, and the kernel is believed no further than
//! that: what does not lie within one chunk is no frame.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use framewire_shared::region::{Mapping, RegionError};
use framewire_shared::xsk_memory::{CHUNK_BYTES, SendMark, UMEM_BYTES, XskMemory};

use crate::frame::Segment;

/// All chunks of one socket, and their marks.
#[derive(Debug, Clone)]
pub struct Chunks(Arc<Mapping<XskMemory>>);

impl Chunks {
    /// Maps them.
    ///
    /// # Errors
    /// If the memory is none of ours.
    pub fn map(memory: &OwnedFd) -> Result<Self, RegionError> {
        Ok(Chunks(Arc::new(Mapping::writable(memory)?)))
    }

    /// The bytes of an entry, if they lie within one chunk.
    #[inline]
    #[must_use]
    pub fn segment(&self, address: u64, len: usize) -> Option<Segment> {
        let at = usize::try_from(address).ok().filter(|at| *at < UMEM_BYTES)?;
        if at % CHUNK_BYTES + len > CHUNK_BYTES {
            return None;
        }
        // SAFETY: they lie within the mapping, which lives as long as the queue that holds this, and a queue is
        // dropped between passes. No reference is ever made into the chunks.
        Some(unsafe { Segment::new(self.0.umem.0.base().wrapping_add(at), len) })
    }

    /// Where each chunk for sending was sent.
    #[must_use]
    pub fn marks(&self) -> &[SendMark] {
        &self.0.sent_at
    }
}
