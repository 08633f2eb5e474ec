//! The system calls that move frames.
//!
//! Raw, because frames are addresses and not slices ([`crate::frame::Segment`]): each wrapper takes
//! segments, whose makers have vouched for the memory, and asks the kernel to read or fill exactly that. So
//! this is the only place where drivers' system calls are `unsafe`, and each is a few lines.
//!
//! Plain calls, one frame each, where the kernel has nothing better. Through `io_uring` in batches of 64,
//! writing to a tap takes 705 ns instead of 629 and reading 496 instead of 414; on a UDP socket both are
//! equal. What costs is the kernel's path for each packet, not the entry into it.
//!
//! And plain means plain: the C library's functions of these names let other threads cancel the caller, which nobody
//! here does, and pay two atomic exchanges a call for it as soon as there is a second thread.

mod bytes;
mod datagram;

pub use bytes::{read, write, write_all_of};
pub use datagram::{Mailer, Message, Run, message, receive, receive_run};

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// The system calls made here, for the data plane's filter. (`recv` is `recvfrom` to the kernel.)
pub const SYSTEM_CALLS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
];

/// Makes a system call. Returns its count, or why there is none. Calls with fewer arguments ignore the rest.
///
/// # Safety
/// As the call demands of its arguments.
#[inline]
pub(crate) unsafe fn enter(number: libc::c_long, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the caller vouches for the arguments.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(result).map_err(|_negative| last())
}

/// A descriptor as an argument of [`enter`].
#[inline]
pub(crate) fn number_of(descriptor: BorrowedFd<'_>) -> usize {
    usize::try_from(descriptor.as_raw_fd()).expect("an open descriptor is not negative")
}

#[cold]
fn last() -> Errno {
    let errno = std::io::Error::last_os_error().raw_os_error();
    Errno::from_raw_os_error(errno.expect("a system call has just failed"))
}
