//! The two system calls of a stream, made so that the kernel writes down how far they went
//! (`shared/src/stream_memory.rs` tells why).
//!
//! `MSG_DONTWAIT` with each call: whether the socket itself blocks is the business of whoever shares it.

use std::os::fd::BorrowedFd;

use framewire_shared::stream_memory::Call;
use rustix::io::Errno;

use crate::frame::Segment;
use crate::kernel::{enter, message, number_of};

/// Receives into `into`. Nothing received is the end of the stream.
///
/// # Errors
/// As the kernel says.
pub(super) fn receive(socket: BorrowedFd<'_>, call: &Call, into: Segment) -> Result<usize, Errno> {
    make(libc::SYS_recvmmsg, socket, call, &[into], libc::MSG_DONTWAIT)
}

/// Sends segments, as many bytes of them as there is room for.
///
/// # Errors
/// As the kernel says.
pub(super) fn send(socket: BorrowedFd<'_>, call: &Call, segments: &[Segment]) -> Result<usize, Errno> {
    make(libc::SYS_sendmmsg, socket, call, segments, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
}

/// Fills the record and makes the call in one: the list of segments is borrowed until the kernel has read it.
fn make(
    number: libc::c_long,
    socket: BorrowedFd<'_>,
    call: &Call,
    segments: &[Segment],
    flags: libc::c_int,
) -> Result<usize, Errno> {
    let header = message(segments);
    // SAFETY: the record is valid for writes of a header, and its queue, which holds it, is in our hands.
    unsafe { call.as_ptr().cast::<libc::msghdr>().write(header) };
    let flags = usize::try_from(flags).expect("flags are bits");
    // SAFETY: the one header has just been filled; `segments` outlives the call, and each was vouched for when it
    // was made.
    unsafe { enter(number, [number_of(socket), call.as_ptr() as usize, 1, flags, 0, 0]) }?;
    Ok(call.moved() as usize)
}
