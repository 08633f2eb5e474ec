//! Numbers out of a message's bytes, each checked to be there.

use framewire_shared::session::SessionEnd;

/// What is left of some bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a>(pub(super) &'a [u8]);

impl Words<'_> {
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], SessionEnd> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(SessionEnd::Malformed)?;
        self.0 = rest;
        Ok(*chunk)
    }

    pub(super) fn word32(&mut self) -> Result<u32, SessionEnd> {
        self.chunk().map(u32::from_le_bytes)
    }

    pub(super) fn word64(&mut self) -> Result<u64, SessionEnd> {
        self.chunk().map(u64::from_le_bytes)
    }

    /// That was all.
    pub(super) fn end(self) -> Result<(), SessionEnd> {
        if self.0.is_empty() { Ok(()) } else { Err(SessionEnd::Malformed) }
    }
}
