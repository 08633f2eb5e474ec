//! Doorbells: eventfds that wake a sleeping thread of either process.
//!
//! A counter in the kernel, so a ring before the sleeper looks is not lost, and many rings are one.

use std::os::fd::BorrowedFd;

/// Wakes whoever sleeps on it. A full counter wakes as well, so the result does not matter.
pub fn ring(doorbell: BorrowedFd<'_>) {
    let _ = rustix::io::write(doorbell, &1u64.to_ne_bytes());
}

/// Forgets earlier rings.
pub fn hush(doorbell: BorrowedFd<'_>) {
    let _ = rustix::io::read(doorbell, &mut [0u8; 8]);
}

/// System calls made here, for the data plane's filter.
pub const SYSTEM_CALLS: &[libc::c_long] = &[libc::SYS_read, libc::SYS_write];
