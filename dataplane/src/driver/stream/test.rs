use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use framewire_shared::counters::DropReason;
use framewire_shared::region::{Config, Mapping, Status};
use framewire_shared::stream_memory::{INBOX_BYTES, StreamMemory};
use proptest::prelude::*;
use rustix::event::EventfdFlags;

use super::*;
use crate::frame::{Offload, Segment};
use crate::turn::Reporter;

/// A queue with its peer, and what its worker would have at hand.
struct Bench {
    stream: Stream,
    peer: UnixStream,
    descriptors: Arc<[OwnedFd]>,
    counters: &'static QueueCounters,
    turn: Turn,
    burst: Burst,
    /// How many frames of each burst received are taken.
    sink_takes: std::iter::Cycle<std::vec::IntoIter<usize>>,
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

impl Bench {
    fn new() -> Self {
        let status = leak(Mapping::<Status>::writable(&Mapping::<Status>::create().unwrap()).unwrap());
        let config = leak(Mapping::<Config>::writable(&Mapping::<Config>::create().unwrap()).unwrap());
        let doorbell = leak(rustix::event::eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let reporter = Reporter::new(&status.happenings[0], &config.read[0], doorbell.as_fd());
        let counters = &status.queue_counters[0];
        let (ours, peer) = UnixStream::pair().unwrap();
        peer.set_nonblocking(true).unwrap();
        let memory = Mapping::<StreamMemory>::create().unwrap();
        let descriptors: Arc<[OwnedFd]> = [OwnedFd::from(ours), memory].into();
        let stream = Stream::new(&descriptors, counters).unwrap();
        let turn = Turn::new(reporter).unwrap();
        let sink_takes = vec![usize::MAX].into_iter().cycle();
        Bench { stream, peer, descriptors, counters, turn, burst: Burst::default(), sink_takes }
    }

    /// What a killed data plane leaves to the next.
    fn restart(&mut self) {
        self.stream = Stream::new(&self.descriptors, self.counters).unwrap();
    }

    fn receive(&mut self) -> (Received, Vec<Vec<u8>>) {
        self.burst.clear();
        let received = self.stream.receive(&mut self.burst, &mut self.turn);
        // A sink takes all, or not.
        let taken = self.burst.len().min(self.sink_takes.next().unwrap());
        let frames = &self.burst.frames()[..taken];
        let frames = frames.iter().map(|frame| bytes(self.burst.segments(frame))).collect();
        self.stream.settle(&self.burst, taken, &mut self.turn);
        (received, frames)
    }

    /// Everything that can be received now; what it ended with.
    fn receive_all(&mut self) -> (Received, Vec<Vec<u8>>) {
        let mut all = Vec::new();
        loop {
            let (received, frames) = self.receive();
            all.extend(frames);
            if received != Received::Frames {
                return (received, all);
            }
        }
    }

    fn send(&mut self, frames: &[Vec<u8>]) {
        let mut memory: Vec<Vec<u8>> = frames.to_vec();
        self.burst.clear();
        for frame in &mut memory {
            // SAFETY: `memory` outlives the call below, and is not touched before.
            let segment = unsafe { Segment::new(frame.as_mut_ptr(), frame.len()) };
            // Of several pieces, as guests make them.
            let (first, rest) = (segment.part(0, 10), segment.part(10, usize::MAX));
            let pieces = if rest.len() > 0 { vec![first, rest] } else { vec![segment] };
            self.burst.push(&pieces, Offload::default(), 0);
        }
        self.stream.send(&self.burst, &mut self.turn);
    }

    fn has_room(&mut self) -> bool {
        self.stream.room() > 0
    }

    fn read_peer(&mut self, at_most: usize) -> Vec<u8> {
        let mut bytes = vec![0; at_most];
        let read = self.peer.read(&mut bytes).unwrap_or(0);
        bytes.truncate(read);
        bytes
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.dropped[reason as usize].get()
    }
}

fn bytes(segments: &[Segment]) -> Vec<u8> {
    let mut all = Vec::new();
    for segment in segments {
        let mut bytes = vec![0; segment.len()];
        segment.read(0, &mut bytes);
        all.extend(bytes);
    }
    all
}

fn framed(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for frame in frames {
        stream.extend(u32::try_from(frame.len()).unwrap().to_be_bytes());
        stream.extend(frame);
    }
    stream
}

fn frame(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| seed.wrapping_add(u8::try_from(at % 251).unwrap())).collect()
}

/// Mostly small ones, sometimes the largest.
fn a_frame() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![6 => 1usize..200, 3 => 1usize..3000, 1 => 60_000usize..=FRAME_BYTES_MAX];
    (len, any::<u8>()).prop_map(|(len, seed)| frame(len, seed))
}

/// A length that cannot be.
fn a_lie() -> impl Strategy<Value = u32> {
    let too_long = u32::try_from(FRAME_BYTES_MAX).unwrap() + 1;
    prop_oneof![Just(0), Just(too_long), too_long..=u32::MAX]
}

/// What happens to a stream on its way in.
#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    Receive,
    Restart,
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1usize..100_000).prop_map(Step::Write),
        2 => (1usize..20).prop_map(Step::Write),
        4 => Just(Step::Receive),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However the stream is cut into pieces, and wherever the data plane is replaced, what comes out is what the
    /// frames were, up to the lie.
    #[test]
    fn received_frames_are_those_that_were_sent(
        frames in prop::collection::vec(a_frame(), 0..100),
        steps in prop::collection::vec(a_step(), 0..200),
        sink_takes in prop::collection::vec(prop_oneof![Just(usize::MAX), 0usize..64], 1..10),
        lie in prop::option::of(a_lie()),
    ) {
        let mut bench = Bench::new();
        bench.sink_takes = [sink_takes, vec![1]].concat().into_iter().cycle();
        let mut stream: VecDeque<u8> = framed(&frames).into();
        stream.extend(lie.iter().flat_map(|lie| lie.to_be_bytes()));
        stream.extend(lie.iter().flat_map(|_| [0; 100]));
        let (mut got, mut last) = (Vec::new(), Received::Nothing);
        let endless = [Step::Write(50_000), Step::Receive].into_iter().cycle();
        for step in steps.into_iter().chain(endless) {
            match step {
                Step::Write(len) => {
                    let piece: Vec<u8> = stream.iter().copied().take(len).collect();
                    let written = bench.peer.write(&piece).unwrap_or(0);
                    stream.drain(..written);
                }
                Step::Receive => {
                    let (received, frames) = bench.receive();
                    (last, got) = (received, [got, frames].concat());
                }
                Step::Restart => bench.restart(),
            }
            if matches!(last, Received::Failed(_)) || stream.is_empty() && last == Received::Nothing {
                break;
            }
        }
        bench.sink_takes = vec![usize::MAX].into_iter().cycle();
        let (end, rest) = if last == Received::Nothing { bench.receive_all() } else { (last, Vec::new()) };
        prop_assert_eq!(end, if lie.is_some() { Received::Failed(LIED.raw_os_error()) } else { Received::Nothing });
        got.extend(rest);
        prop_assert!(got == frames, "{} of {} frames, or others", got.len(), frames.len());
        prop_assert_eq!(bench.dropped(DropReason::Foreign), u64::from(lie.is_some()));
    }

    /// However little room the socket has, the peer reads what was sent, in order, and nothing is dropped.
    #[test]
    fn peer_reads_what_was_sent(
        bursts in prop::collection::vec(prop::collection::vec(a_frame(), 1..=64), 1..12),
        reads in prop::collection::vec(1usize..300_000, 1..30),
        restarts in prop::collection::vec(any::<bool>(), 1..30),
    ) {
        let mut bench = Bench::new();
        let expected = framed(&bursts.concat());
        let (mut reads, mut restarts) = (reads.into_iter().cycle(), restarts.into_iter().cycle());
        let mut got = Vec::new();
        let mut turn = |bench: &mut Bench| {
            got.extend(bench.read_peer(reads.next().unwrap()));
            if restarts.next().unwrap() {
                bench.restart();
            }
            bench.stream.drain(&mut bench.turn);
            got.len()
        };
        for burst in &bursts {
            bench.send(burst);
            while !bench.has_room() {
                turn(&mut bench);
            }
        }
        while turn(&mut bench) < expected.len() {}
        prop_assert!(got == expected, "{} bytes of {}, or others", got.len(), expected.len());
        prop_assert_eq!(bench.counters.dropped.iter().map(|counter| counter.get()).sum::<u64>(), 0);
        prop_assert_eq!(bench.counters.sent_frames.get(), bursts.concat().len() as u64);
    }
}

#[test]
fn frames_before_the_end_are_received_and_then_the_end() {
    let mut bench = Bench::new();
    bench.peer.write_all(&framed(&[frame(60, 1), frame(1, 2)])).unwrap();
    bench.peer.write_all(&[0, 0, 0, 9, 1]).unwrap();
    drop(std::mem::replace(&mut bench.peer, UnixStream::pair().unwrap().0));
    assert_eq!(bench.receive(), (Received::Frames, vec![frame(60, 1), frame(1, 2)]));
    assert_eq!(bench.receive(), (Received::Failed(0), vec![]));
}

#[test]
fn frames_of_a_peer_that_left_without_reading_are_received() {
    let mut bench = Bench::new();
    bench.send(&[frame(60, 1)]);
    bench.peer.write_all(&framed(&[frame(60, 2)])).unwrap();
    // The kernel reports that it closed with something unread before it gives out what it sent.
    drop(std::mem::replace(&mut bench.peer, UnixStream::pair().unwrap().0));
    assert_eq!(bench.receive_all(), (Received::Failed(0), vec![frame(60, 2)]));
}

#[test]
fn lying_length_ends_the_connection_at_once_and_the_peer_sees_it() {
    for lie in [0, 69_633, u32::MAX] {
        let mut bench = Bench::new();
        bench.peer.write_all(&lie.to_be_bytes()).unwrap();
        assert_eq!(bench.receive().0, Received::Failed(LIED.raw_os_error()), "{lie}");
        assert_eq!(bench.peer.read(&mut [0; 1]).unwrap(), 0, "shut down");
    }
}

#[test]
fn peer_that_left_makes_sending_discard_and_receiving_end() {
    let mut bench = Bench::new();
    drop(std::mem::replace(&mut bench.peer, UnixStream::pair().unwrap().0));
    bench.send(&[frame(60, 1)]);
    bench.send(&[frame(60, 2), frame(60, 3)]);
    assert!(bench.has_room());
    assert_eq!(bench.dropped(DropReason::NoPeer), 2);
    assert_eq!(bench.receive().0, Received::Failed(Errno::PIPE.raw_os_error()));
}

#[test]
fn full_socket_holds_back_until_it_is_read() {
    let mut bench = Bench::new();
    let burst: Vec<Vec<u8>> = (0..64).map(|seed| frame(9000, seed)).collect();
    while bench.has_room() {
        bench.send(&burst);
    }
    bench.stream.drain(&mut bench.turn);
    assert!(!bench.has_room(), "nobody has read");
    while !bench.has_room() {
        assert!(!bench.read_peer(1 << 20).is_empty());
        bench.stream.drain(&mut bench.turn);
    }
}

/// The window that cannot be closed without copying: killed after the kernel took half a frame, before the
/// other half was kept.
#[test]
fn half_frame_that_was_lost_is_completed_and_the_next_is_intact() {
    let mut bench = Bench::new();
    let (lost, next) = (frame(60_000, 1), frame(60, 2));
    let segments = {
        let mut stream = framed(std::slice::from_ref(&lost));
        // SAFETY: leaked, and only read from here on.
        let all = unsafe { Segment::new(stream.as_mut_ptr(), stream.len()) };
        std::mem::forget(stream);
        [all.part(0, 10_000)]
    };
    let memory = Mapping::<StreamMemory>::writable(&bench.descriptors[1]).unwrap();
    memory.sent.other().prefixes[0].store(60_000u32.to_be(), std::sync::atomic::Ordering::Relaxed);
    memory.sent.announce(1);
    call::send(bench.descriptors[0].as_fd(), &memory.sent.current().call, &segments).unwrap();
    bench.restart();
    bench.send(std::slice::from_ref(&next));
    let mut got = Vec::new();
    while got.len() < 60_004 + 64 {
        got.extend(bench.read_peer(1 << 20));
        bench.stream.drain(&mut bench.turn);
    }
    let damaged = [&lost[..10_000 - 4], &[0; 50_004]].concat();
    assert_eq!(got, framed(&[damaged, next]));
}

#[test]
fn memory_that_says_what_cannot_be_is_refused() {
    let bench = Bench::new();
    let memory = Mapping::<StreamMemory>::writable(&bench.descriptors[1]).unwrap();
    let refused = || Stream::new(&bench.descriptors, bench.counters).err();
    memory.received.hold(5, 4);
    assert_eq!(refused(), Some(Errno::BADMSG));
    memory.received.hold(0, INBOX_BYTES + 1);
    assert_eq!(refused(), Some(Errno::BADMSG));
    memory.received.hold(0, 0);
    memory.sent.hold(7, 6);
    assert_eq!(refused(), Some(Errno::BADMSG));
    memory.sent.hold(0, 0);
    assert_eq!(refused(), None);
}

#[test]
fn other_descriptors_are_refused() {
    let bench = Bench::new();
    let socket = bench.descriptors[0].try_clone().unwrap();
    let two_sockets: Arc<[OwnedFd]> = [socket.try_clone().unwrap(), socket].into();
    assert_eq!(Stream::new(&two_sockets, bench.counters).err(), Some(Errno::BADMSG));
}
