//! The socket of a session: whole messages out of bytes that come when they like.
//!
//! A message is a header of twelve bytes and as much as that says. Neither is waited for: what has come is kept, and
//! whoever stops in the middle has a few seconds to go on. Descriptors belong to the message whose bytes they came
//! with; more than any message has, or some that the kernel could not deliver, end the session. Whatever happens to a
//! message, its descriptors are closed with it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use framewire_shared::session::SessionEnd;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendFlags,
    Shutdown,
};

use super::request::{DESCRIPTORS_MAX, HEADER_BYTES, Header};

/// How long the rest of a message may take.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A whole message.
#[derive(Debug)]
pub struct Incoming {
    /// What it begins with.
    pub header: Header,
    /// The rest.
    pub payload: Vec<u8>,
    /// What came with it.
    pub descriptors: Vec<OwnedFd>,
}

/// The socket, and the message that is on its way.
#[derive(Debug)]
pub struct Connection {
    /// What the session was served with; the socket is the first.
    descriptors: Arc<[OwnedFd]>,
    bytes: Vec<u8>,
    attached: Vec<OwnedFd>,
    /// When the message that is not whole began.
    since: Option<Instant>,
}

impl Connection {
    /// The first of these descriptors.
    #[must_use]
    pub fn new(descriptors: Arc<[OwnedFd]>) -> Self {
        Connection { descriptors, bytes: Vec::new(), attached: Vec::new(), since: None }
    }

    /// To be watched.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.descriptors[0].as_fd()
    }

    /// Until when the message that has begun must be whole.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + PATIENCE)
    }

    /// The next message, if it is whole.
    ///
    /// # Errors
    /// Why there will be none any more.
    pub fn receive(&mut self) -> Result<Option<Incoming>, SessionEnd> {
        loop {
            let header = self.bytes.first_chunk().map(Header::parse).transpose()?;
            let wanted = HEADER_BYTES + header.as_ref().map_or(0, |header| header.payload_bytes);
            if let Some(header) = header
                && self.bytes.len() == wanted
            {
                self.since = None;
                let bytes = std::mem::take(&mut self.bytes);
                let (payload, descriptors) =
                    (bytes[HEADER_BYTES..].to_vec(), std::mem::take(&mut self.attached));
                return Ok(Some(Incoming { header, payload, descriptors }));
            }
            if !self.read(wanted - self.bytes.len())? {
                return if self.is_stalled() { Err(SessionEnd::Stalled) } else { Ok(None) };
            }
        }
    }

    fn is_stalled(&self) -> bool {
        self.deadline().is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Reads up to `limit` bytes. Returns whether there were any.
    fn read(&mut self, limit: usize) -> Result<bool, SessionEnd> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let start = self.bytes.len();
        self.bytes.resize(start + limit, 0);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let into = &mut [IoSliceMut::new(&mut self.bytes[start..])];
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(self.descriptors[0].as_fd(), into, &mut ancillary, flags)
        });
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                self.attached.extend(rights);
            }
        }
        let count = received.as_ref().map_or(0, |received| received.bytes);
        self.bytes.truncate(start + count);
        match received {
            Err(Errno::AGAIN) => return Ok(false),
            Err(_broken) => return Err(SessionEnd::HungUp),
            Ok(received) if received.bytes == 0 => return Err(SessionEnd::HungUp),
            Ok(received) if received.flags.contains(ReturnFlags::CTRUNC) => {
                return Err(SessionEnd::Descriptors);
            }
            Ok(_some) => {}
        }
        if self.attached.len() > DESCRIPTORS_MAX {
            return Err(SessionEnd::Descriptors);
        }
        self.since.get_or_insert_with(Instant::now);
        Ok(true)
    }

    /// Sends an answer. A front end that leaves so many unread that there is no room is given up.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub fn send(&self, bytes: &[u8]) -> Result<(), SessionEnd> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let mut nothing = SendAncillaryBuffer::default();
        let sent = rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(self.socket(), &[IoSlice::new(bytes)], &mut nothing, flags)
        });
        match sent {
            Ok(count) if count == bytes.len() => Ok(()),
            Ok(_part) => Err(SessionEnd::Deaf),
            Err(Errno::AGAIN) => Err(SessionEnd::Deaf),
            Err(_broken) => Err(SessionEnd::HungUp),
        }
    }

    /// Ends it for all who have a copy.
    pub fn shut_down(&self) {
        // It may have been already.
        let _ = rustix::net::shutdown(self.socket(), Shutdown::Both);
    }
}
