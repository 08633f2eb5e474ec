//! The `dgram` driver: one frame a datagram, over any datagram socket.
//!
//! The socket belongs to two halves that share nothing else: [`Inlet`] receives, [`DgramOutlet`] sends.
//! What neither can know is who is at the other end: the control plane has bound the socket and named the
//! address.
//!
//! Sockets carry no offload header, so frames are lowered before they are sent; the segments of a large
//! frame then are datagrams of one size, which over UDP leave as one run again.
//!
//! Frames travel bare or in an [`Envelope`]: a tunnel is this driver with another type in it.

mod envelope;
mod inlet;
mod outlet;

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

pub use envelope::{Bare, Envelope};
use framewire_shared::counters::QueueCounters;
use framewire_shared::driver::DgramOptions;
use framewire_shared::happenings::{Happening, HappeningKind};
use inlet::Inlet;
use outlet::DgramOutlet;

use super::sink::Sink;
use super::{Queue, Received};
use crate::frame::Burst;
use crate::turn::Turn;

/// How long the control plane is not told again that the peer is gone: often enough to connect again soon
/// after the peer is back, seldom enough for any number of ports whose peers are not.
const PEER_GONE_INTERVAL_NS: u64 = 100_000_000;

/// A datagram socket.
#[derive(Debug)]
pub struct Dgram<E: Envelope> {
    key: u64,
    descriptors: Arc<[OwnedFd]>,
    inlet: Inlet<E>,
    sink: Sink<DgramOutlet<E>>,
    counters: &'static QueueCounters,
    /// When the control plane may be told again that the peer is gone.
    tell_again_ns: u64,
}

impl<E: Envelope> Dgram<E> {
    /// One on the first of these descriptors; `key` is its name in happenings. One envelope is opened, the other
    /// filled.
    pub(super) fn new(
        key: u64,
        options: &DgramOptions,
        descriptors: Arc<[OwnedFd]>,
        envelopes: [E; 2],
        counters: &'static QueueCounters,
    ) -> rustix::io::Result<Self> {
        let [incoming, outgoing] = envelopes;
        let outlet = DgramOutlet::new(options, Arc::clone(&descriptors), outgoing, counters)?;
        Ok(Dgram {
            key,
            descriptors,
            inlet: Inlet::new(options.batching(), incoming, counters)?,
            sink: Sink::new(outlet, counters)?,
            counters,
            tell_again_ns: 0,
        })
    }

    /// Only unix sockets notice; to connect again is the control plane's work.
    #[inline]
    fn tell_if_peer_is_gone(&mut self, turn: &Turn) {
        if let Some(errno) = self.sink.outlet.peer_gone.take()
            && turn.now_ns >= self.tell_again_ns
        {
            self.tell_again_ns = turn.now_ns + PEER_GONE_INTERVAL_NS;
            let detail = u64::from(errno.raw_os_error().unsigned_abs());
            turn.reporter.report(Happening { kind: HappeningKind::PeerGone, queue: self.key, detail });
        }
    }
}

impl<E: Envelope> Queue for Dgram<E> {
    #[inline]
    fn receive(&mut self, burst: &mut Burst, turn: &mut Turn) -> Received {
        self.inlet.receive(self.descriptors[0].as_fd(), burst, &mut turn.strip)
    }

    #[inline]
    fn send(&mut self, burst: &Burst, turn: &mut Turn) -> usize {
        let taken = self.sink.send(burst, turn);
        self.tell_if_peer_is_gone(turn);
        taken
    }

    fn room(&mut self) -> usize {
        self.sink.room()
    }

    fn drain(&mut self, turn: &mut Turn) {
        self.sink.drain(turn);
        self.tell_if_peer_is_gone(turn);
    }

    fn descriptor(&self) -> Option<RawFd> {
        Some(self.descriptors[0].as_raw_fd())
    }

    fn counters(&self) -> &'static QueueCounters {
        self.counters
    }
}
