//! Files that guests read by TFTP: what passes between a port's worker, which has the guest's request, and the control
//! plane, which opens files.
//!
//! A `SOCK_SEQPACKET` pair for each port that serves files. The worker asks by name; the answer is a descriptor, or that
//! there is nothing to be had. Both carry the ticket of the session that waits, by which a worker that has given the
//! session up meanwhile, or never had it since it is another process than the one that asked, knows that nobody does. The
//! vault keeps both ends.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The longest name that is asked for.
pub const NAME_BYTES_MAX: usize = 511;

/// A session that waits.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Ticket {
    /// Which of its port's.
    pub slot: u32,
    /// The how manieth there.
    pub generation: u32,
}

const TICKET_BYTES: usize = size_of::<Ticket>();

/// A request, as read.
#[derive(Debug)]
pub struct Request {
    bytes: [u8; TICKET_BYTES + NAME_BYTES_MAX],
    length: usize,
    /// Who asks.
    pub ticket: Ticket,
}

impl Request {
    /// What is asked for: any bytes but none of them 0.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.bytes[TICKET_BYTES..self.length]
    }
}

#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
struct Answer {
    ticket: Ticket,
    bytes: u64,
}

/// Asks for a file, for the worker. Nobody waits: what cannot be asked now is not to be had.
///
/// # Errors
/// If the kernel refuses, or the name is too long.
pub fn ask(socket: impl AsFd, ticket: Ticket, name: &[u8]) -> Result<(), Errno> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    let pieces = [IoSlice::new(ticket.as_bytes()), IoSlice::new(name)];
    send(socket, &pieces, &mut SendAncillaryBuffer::default())
}

/// The next request, for the control plane; none if nobody asks. What is no request is passed over: the other side
/// has the guest's bytes.
///
/// # Errors
/// If the kernel refuses.
pub fn next_request(socket: impl AsFd) -> Result<Option<Request>, Errno> {
    loop {
        let mut bytes = [0; TICKET_BYTES + NAME_BYTES_MAX];
        let length = match rustix::net::recv(&socket, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::AGAIN) => return Ok(None),
            Ok((length, _)) => length,
            Err(errno) => return Err(errno),
        };
        let ticket = Ticket::read_from_prefix(&bytes);
        if let (Ok((ticket, _name)), TICKET_BYTES..) = (ticket, length)
            && !bytes[TICKET_BYTES..length].contains(&0)
        {
            return Ok(Some(Request { bytes, length, ticket }));
        }
    }
}

/// Answers a request with a file of so many bytes, or with none.
///
/// # Errors
/// If the kernel refuses, or the worker takes no answers.
pub fn answer(socket: impl AsFd, ticket: Ticket, file: Option<(BorrowedFd<'_>, u64)>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = file.map(|(descriptor, _bytes)| [descriptor]);
    if let Some(descriptors) = &descriptors {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let answer = Answer { ticket, bytes: file.map_or(0, |(_descriptor, bytes)| bytes) };
    send(socket, &[IoSlice::new(answer.as_bytes())], &mut ancillary)
}

/// The next answer, for the worker: for whom, and the file with its size. None if there is none yet.
pub fn next_answer(socket: impl AsFd) -> Option<(Ticket, Option<(OwnedFd, u64)>)> {
    let mut bytes = [0; size_of::<Answer>()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received =
        rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags).ok()?;
    let mut file = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut rights) = message {
            file = rights.next();
        }
    }
    if received.bytes != size_of::<Answer>() || received.flags.contains(ReturnFlags::CTRUNC) {
        return None;
    }
    let answer = Answer::read_from_bytes(&bytes).ok()?;
    Some((answer.ticket, file.map(|file| (file, answer.bytes))))
}

fn send(
    socket: impl AsFd,
    pieces: &[IoSlice<'_>],
    ancillary: &mut SendAncillaryBuffer<'_, '_, '_>,
) -> Result<(), Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(socket, pieces, ancillary, flags).map(|_all| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    fn pair() -> (OwnedFd, OwnedFd) {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap()
    }

    const TICKET: Ticket = Ticket { slot: 3, generation: 77 };

    #[test]
    fn a_file_that_is_asked_for_comes_with_its_size() {
        let (worker, control) = pair();
        ask(&worker, TICKET, b"dir/a.bin").unwrap();
        let request = next_request(&control).unwrap().unwrap();
        assert_eq!((request.ticket, request.name()), (TICKET, &b"dir/a.bin"[..]));
        assert!(next_request(&control).unwrap().is_none());
        answer(&control, TICKET, Some((control.as_fd(), 12))).unwrap();
        answer(&control, TICKET, None).unwrap();
        let (ticket, file) = next_answer(&worker).unwrap();
        assert_eq!((ticket, file.unwrap().1), (TICKET, 12));
        assert!(matches!(next_answer(&worker), Some((TICKET, None))));
        assert!(next_answer(&worker).is_none());
    }

    #[test]
    fn what_is_no_request_is_passed_over() {
        let (worker, control) = pair();
        for bytes in [&b"short"[..], b"\0\0\0\0\0\0\0\0name\0behind", b"\x03\0\0\0\x4d\0\0\0name"] {
            rustix::net::send(&worker, bytes, SendFlags::empty()).unwrap();
        }
        assert_eq!(next_request(&control).unwrap().unwrap().name(), b"name");
        assert_eq!(ask(&worker, TICKET, &[b'x'; 512]), Err(Errno::NAMETOOLONG));
    }

    #[test]
    fn who_does_not_take_requests_makes_nobody_wait() {
        let (worker, _control) = pair();
        let refused = (0..100_000).find_map(|_nth| ask(&worker, TICKET, b"name").err());
        assert_eq!(refused, Some(Errno::AGAIN));
    }
}
