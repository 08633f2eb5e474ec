//! The two system calls of a stream, made so that the kernel writes down how far they went
//! (`shared/src/stream_memory.rs` tells why).
//!
//! `MSG_DONTWAIT` with each call: whether the socket itself blocks is the business of whoever shares it.

use std::os::fd::BorrowedFd;

use framewire_shared::stream_memory::Call;
use rustix::io::Errno;

use crate::frame::Segment;
use crate::kernel::{enter, number_of};

/// Receives into `into`. Nothing received is the end of the stream.
///
/// # Errors
/// As the kernel says.
pub(super) fn receive(socket: BorrowedFd<'_>, call: &Call, into: Segment) -> Result<usize, Errno> {
    const FLAGS: usize = libc::MSG_DONTWAIT as usize;
    prepare(call, &[into]);
    // SAFETY: `prepare` has just filled the one header; `into` was vouched for when it was made.
    unsafe { enter(libc::SYS_recvmmsg, [number_of(socket), call.as_ptr() as usize, 1, FLAGS, 0, 0]) }?;
    Ok(call.moved() as usize)
}

/// Sends segments, as many bytes of them as there is room for.
///
/// # Errors
/// As the kernel says.
pub(super) fn send(socket: BorrowedFd<'_>, call: &Call, segments: &[Segment]) -> Result<usize, Errno> {
    const FLAGS: usize = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as usize;
    prepare(call, segments);
    // SAFETY: as in `receive`.
    unsafe { enter(libc::SYS_sendmmsg, [number_of(socket), call.as_ptr() as usize, 1, FLAGS, 0, 0]) }?;
    Ok(call.moved() as usize)
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
