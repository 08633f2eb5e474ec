//! Which pages of a guest we have written: what its migration copies again (vhost's dirty log).
//!
//! A map with one bit for each page of 4096 bytes, in memory that the front end shares and clears. A bit is set
//! *after* its page was written; the front end clears bits before it copies, so a write is either in the copy or
//! its bit is set afterwards. A migration lasts seconds in a guest's life: everything here is off the usual path,
//! and takes a whole burst's buffers at once.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use super::memory::{LogMemory, MemoryFault};

const PAGE_BYTES: u64 = 4096;
const WORD_PAGES: u64 = 64;

/// The map.
#[derive(Debug)]
pub struct DirtyLog {
    memory: LogMemory,
}

impl DirtyLog {
    /// Maps `len` bytes of a file from `offset` on.
    ///
    /// # Errors
    /// [`MemoryFault`] if that is no log.
    pub fn map(file: &OwnedFd, offset: u64, len: u64) -> Result<Self, MemoryFault> {
        Ok(DirtyLog { memory: LogMemory::map(file, offset, len)? })
    }

    /// Notes that `len` bytes at a guest's address were written. What the map does not reach is not noted: the
    /// front end has said how large its guest is.
    pub fn mark(&self, address: u64, len: u64) {
        let Some(last) = len.checked_sub(1).and_then(|len| address.checked_add(len)) else { return };
        for page in address / PAGE_BYTES..=last / PAGE_BYTES {
            let Some(word) = self.memory.word(page / WORD_PAGES) else { return };
            let bit = 1 << (page % WORD_PAGES);
            // Most pages of a ring are marked already. SeqCst: after the writes, and before the guest is told.
            if word.load(Ordering::SeqCst) & bit == 0 {
                word.fetch_or(bit, Ordering::SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    #[test]
    fn pages_written_are_marked_and_no_others() {
        let file = memfd_create("log", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, 8192).unwrap();
        let log = DirtyLog::map(&file, 4096, 16).unwrap();
        log.mark(4095, 2);
        log.mark(64 * PAGE_BYTES, 1);
        log.mark(10 * PAGE_BYTES, 0);
        log.mark(127 * PAGE_BYTES, 2 * PAGE_BYTES);
        log.mark(u64::MAX, 2);
        let mut bytes = [0; 24];
        rustix::io::pread(&file, &mut bytes, 4096).unwrap();
        let words: Vec<_> =
            bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        assert_eq!(words, [0b11, 1 | 1 << 63, 0]);
    }

    #[test]
    fn log_that_is_none_is_refused() {
        let file = memfd_create("log", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, 8192).unwrap();
        for (offset, len) in [(0, 0), (0, 8193), (8192, 1), (u64::MAX, 16), (16, u64::MAX), (3, 8)] {
            assert!(DirtyLog::map(&file, offset, len).is_err(), "{len} bytes at {offset}");
        }
    }
}
