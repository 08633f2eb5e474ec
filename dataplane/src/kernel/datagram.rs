//! Receiving and sending datagrams, alone and in runs.
//!
//! A *run* is what the kernel carries through its network stack as one packet and cuts, or has put
//! together, at the border: datagrams of one size (the last may be shorter) that lie behind each other.
//! `UDP_SEGMENT` sends one, `UDP_GRO` receives one.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use framewire_shared::limits::BURST_FRAMES_MAX;
use rustix::io::Errno;

use super::{enter, number_of};
use crate::frame::Segment;

/// A control message with a number of at most four bytes in it. As long as `CMSG_SPACE` of one.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control {
    header: libc::cmsghdr,
    number: [u8; 4],
    padding: [u8; 4],
}

impl Control {
    fn empty() -> Self {
        let header = libc::cmsghdr { cmsg_len: 0, cmsg_level: 0, cmsg_type: 0 };
        Control { header, number: [0; 4], padding: [0; 4] }
    }
}

/// Up to where its number begins; the header's length counts from the beginning.
const CONTROL_HEADER_BYTES: usize = std::mem::offset_of!(Control, number);

// SAFETY: only computes.
const _: () = assert!(size_of::<Control>() == unsafe { libc::CMSG_SPACE(4) } as usize);

/// Receives one datagram. Returns its whole length, even if it did not fit.
///
/// # Errors
/// As the kernel's.
#[inline]
pub fn receive(socket: BorrowedFd<'_>, into: Segment) -> Result<usize, Errno> {
    const FLAGS: usize = (libc::MSG_DONTWAIT | libc::MSG_TRUNC) as usize;
    // SAFETY: the segment's maker vouched for its bytes, and that nobody refers to them.
    unsafe { enter(libc::SYS_recvfrom, [number_of(socket), into.base() as usize, into.len(), FLAGS, 0, 0]) }
}

/// What [`receive_run`] has received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// All datagrams together.
    pub bytes: usize,
    /// Each of them, but the last may be shorter. Never 0.
    pub datagram_bytes: usize,
    /// Something was cut off.
    pub is_cut_off: bool,
}

/// Receives a run of datagrams (or one) from a UDP socket with `UDP_GRO` on.
///
/// # Errors
/// As the kernel's.
#[inline]
pub fn receive_run(socket: BorrowedFd<'_>, into: Segment) -> Result<Run, Errno> {
    const FLAGS: usize = libc::MSG_DONTWAIT as usize;
    let mut control = Control::empty();
    let mut message = message(std::slice::from_ref(&into));
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>();
    // SAFETY: the message names one segment, for which its maker vouched, and `control` with its size; both
    // live on this stack until the call has returned.
    let bytes =
        unsafe { enter(libc::SYS_recvmsg, [number_of(socket), &raw mut message as usize, FLAGS, 0, 0, 0]) }?;
    let mut datagram_bytes = bytes.max(1);
    if (control.header.cmsg_level, control.header.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO) {
        datagram_bytes = usize::try_from(i32::from_ne_bytes(control.number)).unwrap_or(0).max(1);
    }
    let is_cut_off = message.msg_flags & libc::MSG_TRUNC != 0;
    Ok(Run { bytes, datagram_bytes, is_cut_off })
}

/// One datagram to send, or a run of them.
#[derive(Debug, Clone)]
pub struct Message {
    /// Which segments of those given along it consists of.
    pub segments: Range<usize>,
    /// How many datagrams it is.
    pub datagrams: usize,
    /// The size of each datagram of a run; 0 for a single one.
    pub datagram_bytes: u16,
}

/// Sends messages to one address. Has the memory in which the kernel wants to be told about them.
pub struct Mailer {
    /// A socket address, or nothing for a connected socket.
    address: Vec<u8>,
    headers: Vec<libc::mmsghdr>,
    controls: Vec<Control>,
}

// SAFETY: the addresses in `headers` and `controls` mean something only within `send`, which makes them anew.
unsafe impl Send for Mailer {}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Mailer {
    /// To this address.
    #[must_use]
    pub fn new(address: &[u8]) -> Self {
        let (headers, controls) =
            (Vec::with_capacity(BURST_FRAMES_MAX), Vec::with_capacity(BURST_FRAMES_MAX));
        Mailer { address: address.to_vec(), headers, controls }
    }

    /// Sends the first `BURST_FRAMES_MAX` of `messages`, in their order, until one fails. Returns how many
    /// went; the error is that of the first.
    ///
    /// # Errors
    /// As the kernel's, about the first message.
    ///
    /// # Panics
    /// If a message names segments that are not there.
    #[inline]
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        messages: &[Message],
        segments: &[Segment],
    ) -> Result<usize, Errno> {
        const FLAGS: usize = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as usize;
        let messages = &messages[..messages.len().min(BURST_FRAMES_MAX)];
        self.headers.clear();
        self.controls.clear();
        self.controls.extend(messages.iter().map(control));
        for (told, control) in messages.iter().zip(&mut self.controls) {
            let mut header = message(&segments[told.segments.clone()]);
            if !self.address.is_empty() {
                header.msg_name = self.address.as_mut_ptr().cast();
                header.msg_namelen =
                    libc::socklen_t::try_from(self.address.len()).expect("an address is short");
            }
            if told.datagram_bytes > 0 {
                header.msg_control = (&raw mut *control).cast();
                header.msg_controllen = size_of::<Control>();
            }
            self.headers.push(libc::mmsghdr { msg_hdr: header, msg_len: 0 });
        }
        let headers = self.headers.as_mut_ptr() as usize;
        let count = self.headers.len();
        // SAFETY: the headers name segments, for which their makers vouched, and the address and control
        // messages of this value, none of which moves before the call has returned. The kernel only reads
        // what they name.
        unsafe { enter(libc::SYS_sendmmsg, [number_of(socket), headers, count, FLAGS, 0, 0]) }
    }
}

/// A header that names segments and nothing else. The kernel's type wants them mutable even if it only
/// reads them.
#[inline]
#[must_use]
pub fn message(segments: &[Segment]) -> libc::msghdr {
    libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: segments.as_ptr().cast_mut().cast(),
        msg_iovlen: segments.len(),
        msg_control: std::ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    }
}

/// "Cut this into datagrams of so many bytes."
#[inline]
fn control(message: &Message) -> Control {
    let [low, high] = message.datagram_bytes.to_ne_bytes();
    let header = libc::cmsghdr {
        cmsg_len: CONTROL_HEADER_BYTES + 2,
        cmsg_level: libc::SOL_UDP,
        cmsg_type: libc::UDP_SEGMENT,
    };
    Control { header, number: [low, high, 0, 0], ..Control::empty() }
}
