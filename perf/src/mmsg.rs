//! Many datagrams a call: `sendmmsg` and `recvmmsg`, with what `UDP_GRO` says about sizes.
//!
//! rustix wraps the first but not the second, and not the control message of `UDP_GRO`. The headers that the
//! kernel wants are made anew on the stack in each call: they are full of pointers, and a structure that points
//! into itself could neither be moved nor be given to another thread. It costs about 2 ns a frame.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Datagrams a call at most.
pub(crate) const BATCH_MAX: usize = 64;
/// Words of room for control messages of one datagram.
const CONTROL_WORDS: usize = 8;

type Headers = [libc::mmsghdr; BATCH_MAX];
type Vectors = [libc::iovec; BATCH_MAX];

/// Sends each `len` bytes of `records` as one datagram; returns how many were taken.
pub(crate) fn send(socket: BorrowedFd<'_>, records: &[u8], len: usize) -> io::Result<usize> {
    let mut vectors = zeroed_vectors();
    let mut headers = zeroed_headers();
    let mut count = 0;
    for (record, (vector, header)) in
        records.chunks_exact(len).zip(vectors.iter_mut().zip(headers.iter_mut()))
    {
        vector.iov_base = record.as_ptr().cast_mut().cast();
        vector.iov_len = len;
        header.msg_hdr.msg_iov = &raw mut *vector;
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the first `count` headers each point to one vector of this frame of the stack, which points to `len`
    // bytes of `records`; all of them live through the call, and sending does not write to them.
    let answer = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, flags) };
    usize::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// Where datagrams are received to.
#[derive(Debug)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    slot_len: usize,
    /// Bytes received in each slot.
    lens: [usize; BATCH_MAX],
    /// For each slot the size of the datagrams it was put together from, or 0.
    segment_lens: [usize; BATCH_MAX],
}

impl Inbox {
    /// Room for `slots` datagrams of at most `slot_len` bytes.
    pub(crate) fn new(slots: usize, slot_len: usize) -> Self {
        assert!(slots <= BATCH_MAX, "{slots} slots are more than a call takes");
        Inbox {
            bytes: vec![0; slots * slot_len],
            slot_len,
            lens: [0; BATCH_MAX],
            segment_lens: [0; BATCH_MAX],
        }
    }

    /// Receives what is there, without waiting; returns how many slots were filled (0: nothing was there).
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let mut vectors = zeroed_vectors();
        let mut headers = zeroed_headers();
        let mut controls = [[0_u64; CONTROL_WORDS]; BATCH_MAX];
        let slots = self.bytes.chunks_exact_mut(self.slot_len);
        let parts = vectors.iter_mut().zip(headers.iter_mut().zip(controls.iter_mut()));
        let mut count = 0;
        for (slot, (vector, (header, control))) in slots.zip(parts) {
            vector.iov_base = slot.as_mut_ptr().cast();
            vector.iov_len = slot.len();
            header.msg_hdr.msg_iov = &raw mut *vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of_val(control);
            count += 1;
        }
        let (descriptor, first) = (socket.as_raw_fd(), headers.as_mut_ptr());
        // SAFETY: the first `count` headers each point to one vector and one control block of this frame of the
        // stack, and the vectors to disjoint slots of `self.bytes`, borrowed mutably through the call.
        let answer =
            unsafe { libc::recvmmsg(descriptor, first, count, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
        let received = match usize::try_from(answer) {
            Ok(received) => received,
            Err(_) => return nothing_yet(io::Error::last_os_error()),
        };
        for (index, header) in headers[..received].iter().enumerate() {
            self.lens[index] = usize::try_from(header.msg_len).unwrap_or(0);
            self.segment_lens[index] = gro_segment_len(&controls[index], header.msg_hdr.msg_controllen);
        }
        Ok(received)
    }

    /// The datagrams in slot `index`: one, or those that `UDP_GRO` had put together.
    pub(crate) fn datagrams(&self, index: usize) -> impl Iterator<Item = &[u8]> {
        let start = index * self.slot_len;
        let bytes = &self.bytes[start..start + self.lens[index].min(self.slot_len)];
        let segment_len = if self.segment_lens[index] == 0 { bytes.len() } else { self.segment_lens[index] };
        bytes.chunks(segment_len.max(1))
    }
}

/// The size that `UDP_GRO` says the merged datagrams had, or 0. A control message is its length, level and type,
/// then the value, here an int; it is the first and only one that is asked for.
fn gro_segment_len(control: &[u64; CONTROL_WORDS], control_len: usize) -> usize {
    const HEADER_LEN: usize = 16;
    if control_len < HEADER_LEN + size_of::<i32>() {
        return 0;
    }
    let kind = control[1].to_ne_bytes();
    let level = i32::from_ne_bytes([kind[0], kind[1], kind[2], kind[3]]);
    let name = i32::from_ne_bytes([kind[4], kind[5], kind[6], kind[7]]);
    if (level, name) != (libc::SOL_UDP, libc::UDP_GRO) {
        return 0;
    }
    let value = control[2].to_ne_bytes();
    usize::try_from(i32::from_ne_bytes([value[0], value[1], value[2], value[3]])).unwrap_or(0)
}

/// Errors that say "not now": nothing there, or an echo of a datagram that found nobody (the device is restarting).
fn nothing_yet(error: io::Error) -> io::Result<usize> {
    use io::ErrorKind::{ConnectionRefused, Interrupted, WouldBlock};
    if matches!(error.kind(), WouldBlock | Interrupted | ConnectionRefused) { Ok(0) } else { Err(error) }
}

fn zeroed_vectors() -> Vectors {
    // SAFETY: all zeroes is a valid iovec: a null pointer and no bytes.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn zeroed_headers() -> Headers {
    // SAFETY: all zeroes is a valid mmsghdr: null pointers and lengths of 0.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

#[cfg(test)]
mod test {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;

    fn pair() -> (UdpSocket, UdpSocket) {
        let left = UdpSocket::bind("127.0.0.1:0").unwrap();
        let right = UdpSocket::bind("127.0.0.1:0").unwrap();
        left.connect(right.local_addr().unwrap()).unwrap();
        right.connect(left.local_addr().unwrap()).unwrap();
        (left, right)
    }

    #[test]
    fn records_arrive_as_datagrams() {
        let (left, right) = pair();
        assert_eq!(send(left.as_fd(), b"aaabbbccc", 3).unwrap(), 3);
        let mut inbox = Inbox::new(8, 16);
        assert_eq!(inbox.receive(right.as_fd()).unwrap(), 3);
        let got: Vec<&[u8]> = (0..3).flat_map(|index| inbox.datagrams(index)).collect();
        assert_eq!(got, [b"aaa", b"bbb", b"ccc"]);
        assert_eq!(inbox.receive(right.as_fd()).unwrap(), 0);
    }

    #[test]
    fn merged_datagrams_come_apart_again() {
        use crate::calls::{IntOption, set_option};
        let (left, right) = pair();
        set_option(left.as_fd(), IntOption::UdpSegment(3)).unwrap();
        set_option(right.as_fd(), IntOption::UdpGro).unwrap();
        left.send(b"aaabbbcc").unwrap();
        let mut inbox = Inbox::new(2, 65_536);
        assert_eq!(inbox.receive(right.as_fd()).unwrap(), 1);
        let got: Vec<&[u8]> = inbox.datagrams(0).collect();
        assert_eq!(got, [b"aaa".as_slice(), b"bbb", b"cc"]);
    }

    #[test]
    fn datagram_that_found_nobody_is_no_failure() {
        let (left, right) = pair();
        drop(right);
        send(left.as_fd(), b"x", 1).unwrap();
        assert_eq!(Inbox::new(1, 16).receive(left.as_fd()).unwrap(), 0);
    }
}
