//! The `xdp` driver: a queue of a network interface, without the kernel's stack.
//!
//! The socket comes bound and with its memory (`shared/src/xsk_memory.rs` tells why), a program on the interface
//! steers frames to it. Received frames are described where they lie, and nothing is copied until a sink does;
//! sending costs the one copy into memory that the kernel may read. A frame larger than a chunk lies in several.
//!
//! **Where the kernel does the work.** If the socket is *busy polled*, nothing but our own calls makes the interface
//! deliver, so an empty ring is looked at through the kernel once; otherwise an empty ring costs one load.

mod inlet;
mod outlet;

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use framewire_shared::counters::QueueCounters;
use framewire_shared::driver::XdpOptions;
use rustix::io::Errno;

use self::inlet::Inlet;
use self::outlet::{Parts, XdpOutlet};
use super::sink::Sink;
use super::{Queue, Received};
use crate::frame::Burst;
use crate::turn::Turn;
use crate::uring::Readiness;
use crate::xsk::{Chunks, Rings, Socket};

/// One bound socket.
#[derive(Debug)]
pub struct Xdp {
    inlet: Inlet,
    sink: Sink<XdpOutlet>,
    is_busy_polled: bool,
    /// The kernel has told that there is something.
    was_told: bool,
    counters: &'static QueueCounters,
}

impl Xdp {
    /// Goes on with a socket and its memory where their rings stand.
    pub(super) fn new(
        options: &XdpOptions,
        descriptors: Arc<[OwnedFd]>,
        counters: &'static QueueCounters,
    ) -> Result<Self, Errno> {
        let [socket, memory, ..] = &descriptors[..] else { return Err(Errno::INVAL) };
        let chunks = Chunks::map(memory).map_err(|_foreign| Errno::BADMSG)?;
        let Rings { fill, receive, send, completion } = Rings::map(socket)?;
        let inlet = Inlet::new(fill, receive, chunks.clone(), counters)?;
        let is_busy_polled = options.busy_poll != 0;
        let parts = Parts {
            socket: Socket::new(descriptors),
            send,
            completion,
            chunks,
            several_chunks: options.several_chunks != 0,
            completes_checksums: options.completes_checksums != 0,
            always_push: is_busy_polled,
        };
        let sink = Sink::new(XdpOutlet::new(parts, counters), counters)?;
        Ok(Xdp { inlet, sink, is_busy_polled, was_told: false, counters })
    }

    /// The ring is empty. Has the kernel fill it, if it waits for that; finds out whether it ever will again, if it
    /// has told that there is something.
    fn ask(&mut self) -> Result<(), Errno> {
        if !(self.is_busy_polled || std::mem::take(&mut self.was_told)) {
            return Ok(());
        }
        self.counters.calls.add(1);
        match self.sink.outlet.socket.push_receive() {
            Err(Errno::NXIO) => Err(Errno::NXIO),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Queue for Xdp {
    #[inline]
    fn receive(&mut self, burst: &mut Burst, _turn: &mut Turn) -> Received {
        if self.inlet.is_empty()
            && let Err(errno) = self.ask()
        {
            return Received::Failed(errno.raw_os_error());
        }
        self.inlet.take(burst);
        Received::of(burst)
    }

    /// What was not taken stays in the ring.
    #[inline]
    fn settle(&mut self, burst: &Burst, taken: usize, _turn: &mut Turn) {
        let bytes = burst.frames()[..taken].iter().map(|frame| u64::from(frame.len)).sum();
        self.inlet.settle(taken);
        self.counters.received_frames.add(taken as u64);
        self.counters.received_bytes.add(bytes);
        if self.inlet.needs_wakeup() {
            self.counters.calls.add(1);
            // Whatever is wrong shows when there is nothing to receive.
            let _ = self.sink.outlet.socket.push_receive();
        }
    }

    #[inline]
    fn send(&mut self, burst: &Burst, turn: &mut Turn) -> usize {
        self.sink.send(burst, turn)
    }

    #[inline]
    fn room(&mut self) -> usize {
        if self.sink.outlet.is_stuck() { 0 } else { self.sink.room() }
    }

    fn drain(&mut self, turn: &mut Turn) {
        self.sink.outlet.push();
        self.sink.drain(turn);
    }

    fn arm(&mut self, readiness: Readiness) -> bool {
        readiness == Readiness::Receive && !self.inlet.is_empty()
    }

    fn disarm(&mut self, readiness: Readiness) {
        self.was_told |= readiness == Readiness::Receive;
    }

    fn descriptor(&self) -> Option<RawFd> {
        Some(self.sink.outlet.socket.descriptor().as_raw_fd())
    }

    fn counters(&self) -> &'static QueueCounters {
        self.counters
    }
}
