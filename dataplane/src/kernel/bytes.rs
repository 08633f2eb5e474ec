//! Reading and writing one frame of a descriptor that keeps frames apart: a tap.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::check;
use crate::frame::Segment;

/// Reads the next frame into `into`. What does not fit is cut off, and the count does not tell.
///
/// # Errors
/// As the kernel's.
#[inline]
pub fn read(descriptor: BorrowedFd<'_>, into: Segment) -> Result<usize, Errno> {
    // SAFETY: the segment's maker vouched for its bytes, and that nobody refers to them.
    check(unsafe { libc::read(descriptor.as_raw_fd(), into.base().cast(), into.len()) })
}

/// Writes a frame of one piece.
///
/// # Errors
/// As the kernel's.
#[inline]
pub fn write(descriptor: BorrowedFd<'_>, from: Segment) -> Result<usize, Errno> {
    // SAFETY: the segment's maker vouched for its bytes.
    check(unsafe { libc::write(descriptor.as_raw_fd(), from.base().cast(), from.len()) })
}

/// Writes a frame of several pieces.
///
/// # Errors
/// As the kernel's: `EINVAL` if they are more than 1024.
#[inline]
pub fn write_all_of(descriptor: BorrowedFd<'_>, from: &[Segment]) -> Result<usize, Errno> {
    let count = libc::c_int::try_from(from.len()).unwrap_or(libc::c_int::MAX);
    // SAFETY: a segment is laid out as an iovec, and each one's maker vouched for its bytes.
    check(unsafe { libc::writev(descriptor.as_raw_fd(), from.as_ptr().cast(), count) })
}
