//! Sockets that are ready to be used: taken from the well's pipes before they are needed.
//!
//! Nothing is waited for: a well that is slow costs a guest the retransmission of one segment.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use framewire_shared::driver::user::{STOCKS, Stock};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

/// Sockets in one message of the well's, at most.
const BATCH_MAX: usize = 16;

/// What is at hand, by kind.
#[derive(Debug)]
pub(super) struct Stocks {
    /// The pipes are the first of these; none in a restricted network.
    descriptors: Arc<[OwnedFd]>,
    at_hand: [Vec<OwnedFd>; STOCKS],
    has_pipes: bool,
}

impl Stocks {
    /// From these pipes, if there are any.
    pub(super) fn new(descriptors: Arc<[OwnedFd]>, has_pipes: bool) -> Self {
        let at_hand = std::array::from_fn(|_kind| Vec::with_capacity(BATCH_MAX));
        Stocks { descriptors, at_hand, has_pipes }
    }

    /// From now on they come from other pipes. What is at hand stays good.
    pub(super) fn draw_from(&mut self, descriptors: Arc<[OwnedFd]>, has_pipes: bool) {
        (self.descriptors, self.has_pipes) = (descriptors, has_pipes);
    }

    /// A socket, non-blocking and not bound.
    pub(super) fn take(&mut self, kind: Stock) -> Option<OwnedFd> {
        let place = kind as usize;
        if self.at_hand[place].is_empty() && self.has_pipes {
            refill(&self.descriptors[place], &mut self.at_hand[place]);
        }
        self.at_hand[place].pop()
    }
}

/// Takes one message out of a pipe, if there is one.
fn refill(pipe: &OwnedFd, into: &mut Vec<OwnedFd>) {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = rustix::net::recvmsg(pipe, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags);
    if received.is_err() {
        return;
    }
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            // The rest, if there is one, is closed: the list never grows.
            into.extend(rights.take(BATCH_MAX));
        }
    }
}
