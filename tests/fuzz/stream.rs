//! A stream's peer: honest frames and any bytes, in any pieces, while frames are taken, left, and the data plane is
//! replaced.
//!
//! The oracle reads the same bytes all at once. What comes out must be its frames, in order and each once, and after a
//! length that cannot be, the end.

#![no_main]

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};

use framewire_dataplane::driver::{AnyQueue, Queue, Received, build};
use framewire_dataplane::frame::Burst;
use framewire_dataplane::turn::{Reporter, Turn};
use framewire_shared::counters::{DropReason, QueueCounters};
use framewire_shared::driver::DriverOptions;
use framewire_shared::limits::FRAME_BYTES_MAX;
use framewire_shared::region::{Config, Mapping, Status};
use framewire_shared::stream_memory::StreamMemory;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut stream = Stream::new();
    let mut left = input;
    while let Some((op, rest)) = left.split_first() {
        left = rest;
        match op % 5 {
            // Bytes as they are.
            0 => stream.write(take(&mut left, usize::from(op / 5))),
            // An honest frame, or as much of it as the socket takes.
            1 => stream.write_frame(length(take(&mut left, 3))),
            // Up to so many frames are received, and some of them taken.
            2 => stream.receive(usize::from(op / 5) + 1, usize::MAX),
            3 => stream.receive(usize::from(op / 5) + 1, usize::from(op / 10)),
            _ => stream.restart(),
        }
    }
    stream.finish();
});

fn take<'a>(left: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = left.split_at(count.min(left.len()));
    *left = rest;
    taken
}

/// Any length that a frame may have, and a few that it may not.
fn length(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |length, byte| length << 8 | u32::from(*byte)) % (FRAME_BYTES_MAX as u32 + 3)
}

/// A queue, its peer, and what went in and came out.
struct Stream {
    queue: AnyQueue,
    peer: UnixStream,
    descriptors: Arc<[OwnedFd]>,
    counters: &'static QueueCounters,
    turn: Turn,
    burst: Burst,
    written: Vec<u8>,
    received: Vec<Vec<u8>>,
    is_over: bool,
}

/// The regions that a queue refers to for as long as its process lives.
fn premises() -> &'static (Mapping<Config>, Mapping<Status>, OwnedFd) {
    static PREMISES: OnceLock<(Mapping<Config>, Mapping<Status>, OwnedFd)> = OnceLock::new();
    PREMISES.get_or_init(|| {
        let config = Mapping::<Config>::create().and_then(|memfd| Mapping::writable(&memfd)).unwrap();
        let status = Mapping::<Status>::create().and_then(|memfd| Mapping::writable(&memfd)).unwrap();
        (config, status, UnixStream::pair().unwrap().0.into())
    })
}

impl Stream {
    fn new() -> Self {
        use std::os::fd::AsFd;
        let (config, status, doorbell) = premises();
        let counters = &status.queue_counters[0];
        counters.clear();
        let reporter = Reporter::new(&status.happenings[0], &config.read[0], doorbell.as_fd());
        let (ours, peer) = UnixStream::pair().unwrap();
        peer.set_nonblocking(true).unwrap();
        let descriptors: Arc<[OwnedFd]> = [ours.into(), Mapping::<StreamMemory>::create().unwrap()].into();
        let queue = build(1, &DriverOptions::Stream, &descriptors, counters).unwrap();
        Stream {
            queue,
            peer,
            descriptors,
            counters,
            turn: Turn::new(reporter).unwrap(),
            burst: Burst::default(),
            written: Vec::new(),
            received: Vec::new(),
            is_over: false,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let written = self.peer.write(bytes).unwrap_or(0);
        self.written.extend_from_slice(&bytes[..written]);
    }

    fn write_frame(&mut self, length: u32) {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend((0..length).map(|at| at.to_le_bytes()[0]));
        self.write(&bytes);
    }

    fn receive(&mut self, limit: usize, taken: usize) {
        if self.is_over {
            return;
        }
        self.burst.clear();
        self.burst.limit(limit);
        let received = self.queue.receive(&mut self.burst, &mut self.turn);
        assert!(self.burst.len() <= limit && (received == Received::Frames) == !self.burst.is_empty());
        self.is_over = matches!(received, Received::Failed(_));
        let taken = taken.min(self.burst.len());
        for frame in &self.burst.frames()[..taken] {
            let [segment] = self.burst.segments(frame) else { panic!("a frame lies in one piece") };
            let mut bytes = vec![0; segment.len()];
            segment.read(0, &mut bytes);
            self.received.push(bytes);
        }
        self.queue.settle(&self.burst, taken, &mut self.turn);
    }

    /// A killed data plane's queue, given to the next.
    fn restart(&mut self) {
        if !self.is_over {
            self.queue = build(1, &DriverOptions::Stream, &self.descriptors, self.counters).unwrap();
        }
    }

    /// Receives what is left, and compares.
    fn finish(mut self) {
        loop {
            let before = self.received.len();
            self.receive(64, usize::MAX);
            if self.received.len() == before {
                break;
            }
        }
        let (wanted, lies) = read_at_once(&self.written);
        assert!(self.received == wanted, "{} frames of {}", self.received.len(), wanted.len());
        assert_eq!(self.is_over, lies);
        assert_eq!(self.counters.dropped[DropReason::Foreign as usize].get(), u64::from(lies));
        assert_eq!(self.counters.received_frames.get(), wanted.len() as u64);
    }
}

/// The frames, and whether a length that cannot be is behind them.
fn read_at_once(mut bytes: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut frames = Vec::new();
    while let Some((prefix, rest)) = bytes.split_first_chunk() {
        let length = u32::from_be_bytes(*prefix) as usize;
        if length == 0 || length > FRAME_BYTES_MAX {
            return (frames, true);
        }
        let Some((frame, rest)) = rest.split_at_checked(length) else { break };
        frames.push(frame.to_vec());
        bytes = rest;
    }
    (frames, false)
}
