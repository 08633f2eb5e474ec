//! Any socket where a datagram is a frame: UDP, unix datagrams, AF_PACKET. They differ in how they are opened only.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use super::{Endpoint, taken};
use crate::frame::Template;
use crate::mmsg::{self, BATCH_MAX, Inbox};
use crate::records::Records;
use crate::tally::Sink;

/// An open socket with the frames that it sends and the room that it receives to.
#[derive(Debug)]
pub(super) struct Datagram {
    socket: OwnedFd,
    records: Records,
    inbox: Inbox,
    header_len: usize,
}

impl Datagram {
    /// Takes over a connected or bound socket. Each frame is behind `header`.
    pub(super) fn new(socket: OwnedFd, template: Template, header: &[u8]) -> Self {
        // A frame too long shows as one of the wrong length.
        let slot_len = (header.len() + template.bytes().len() + 64).next_multiple_of(64);
        Datagram {
            socket,
            records: Records::new(template, header, BATCH_MAX),
            inbox: Inbox::new(BATCH_MAX, slot_len),
            header_len: header.len(),
        }
    }
}

impl Endpoint for Datagram {
    fn send(&mut self, first_sequence: u64, count: usize) -> io::Result<usize> {
        let len = self.records.record_len();
        let records = self.records.stamp(first_sequence, count.min(BATCH_MAX));
        taken(mmsg::send(self.socket.as_fd(), records, len))
    }

    fn receive(&mut self, sink: &mut dyn Sink) -> io::Result<usize> {
        let received = self.inbox.receive(self.socket.as_fd())?;
        for index in 0..received {
            let datagrams = self.inbox.datagrams(index);
            datagrams.for_each(|datagram| sink.frame(datagram.get(self.header_len..).unwrap_or_default()));
        }
        Ok(received)
    }
}
