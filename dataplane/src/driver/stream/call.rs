//! The two system calls of a stream, made so that the kernel writes down how far they went
//! (`shared/src/stream_memory.rs` tells why).
//!
//! `MSG_DONTWAIT` with each call: whether the socket itself blocks is the business of whoever shares it.

use std::os::fd::{AsRawFd, BorrowedFd};

use framewire_shared::stream_memory::Call;
use rustix::io::Errno;

use crate::frame::Segment;

/// Receives into `into`. Nothing received is the end of the stream.
///
/// # Errors
/// As the kernel says.
pub(super) fn receive(socket: BorrowedFd<'_>, call: &Call, into: Segment) -> Result<usize, Errno> {
    prepare(call, &[into]);
    // SAFETY: `prepare` has just filled the one header; `into` was vouched for when it was made.
    let done = unsafe {
        libc::recvmmsg(socket.as_raw_fd(), call.as_ptr(), 1, libc::MSG_DONTWAIT, std::ptr::null_mut())
    };
    moved(done, call)
}

/// Sends segments, as many bytes of them as there is room for.
///
/// # Errors
/// As the kernel says.
pub(super) fn send(socket: BorrowedFd<'_>, call: &Call, segments: &[Segment]) -> Result<usize, Errno> {
    prepare(call, segments);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: as in `receive`.
    let done = unsafe { libc::sendmmsg(socket.as_raw_fd(), call.as_ptr(), 1, flags) };
    moved(done, call)
}

fn prepare(call: &Call, segments: &[Segment]) {
    let header = libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: segments.as_ptr().cast_mut().cast(),
        msg_iovlen: segments.len(),
        msg_control: std::ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    };
    // SAFETY: the record is valid for writes of a header, and its queue, which holds it, is in our hands.
    unsafe { call.as_ptr().cast::<libc::msghdr>().write(header) };
}

fn moved(done: libc::c_int, call: &Call) -> Result<usize, Errno> {
    if done == 1 { Ok(call.moved() as usize) } else { Err(last_errno()) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
