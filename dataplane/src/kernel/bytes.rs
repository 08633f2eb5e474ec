//! Reading and writing one frame of a descriptor that keeps frames apart: a tap.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::{enter, number_of};
use crate::frame::Segment;

/// Reads the next frame into `into`. What does not fit is cut off, and the count does not tell.
///
/// # Errors
/// As the kernel's.
#[inline]
pub fn read(descriptor: BorrowedFd<'_>, into: Segment) -> Result<usize, Errno> {
    // SAFETY: the segment's maker vouched for its bytes, and that nobody refers to them.
    unsafe { enter(libc::SYS_read, [number_of(descriptor), into.base() as usize, into.len(), 0, 0, 0]) }
}

/// Writes a frame of one piece.
///
/// # Errors
/// As the kernel's.
#[inline]
pub fn write(descriptor: BorrowedFd<'_>, from: Segment) -> Result<usize, Errno> {
    // SAFETY: the segment's maker vouched for its bytes.
    unsafe { enter(libc::SYS_write, [number_of(descriptor), from.base() as usize, from.len(), 0, 0, 0]) }
}

/// Writes a frame of several pieces.
///
/// # Errors
/// As the kernel's: `EINVAL` if they are more than 1024.
#[inline]
pub fn write_all_of(descriptor: BorrowedFd<'_>, from: &[Segment]) -> Result<usize, Errno> {
    // SAFETY: a segment is laid out as an iovec, and each one's maker vouched for its bytes.
    unsafe { enter(libc::SYS_writev, [number_of(descriptor), from.as_ptr() as usize, from.len(), 0, 0, 0]) }
}
