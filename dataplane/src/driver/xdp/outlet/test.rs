//! A kernel that takes entries when it likes, refuses to be called, gives chunks back in any order; and a data plane that
//! is killed between any two steps. Whatever happens, each chunk is in one place.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use framewire_shared::region::Mapping;
use framewire_shared::xsk_memory::XskMemory;
use proptest::prelude::*;

use super::*;
use crate::frame::{HEADROOM_BYTES, Offload, Segment};
use crate::xsk::ring::test::Plain;

/// A socket without AF_XDP: the test is the kernel behind its rings. What is called is a datagram socket, which takes
/// some calls and then fails with `EAGAIN` until somebody reads.
struct Bench {
    send: Arc<Plain<libc::xdp_desc>>,
    completion: Arc<Plain<u64>>,
    chunks: Chunks,
    called: Arc<[OwnedFd]>,
    reader: UnixDatagram,
    counters: &'static QueueCounters,
    /// What the kernel has taken and not given back.
    taken: Vec<u64>,
}

impl Bench {
    fn new() -> Self {
        let (called, reader) = UnixDatagram::pair().unwrap();
        reader.set_nonblocking(true).unwrap();
        let none = libc::xdp_desc { addr: 0, len: 0, options: 0 };
        let send = Plain::new(SEND_CHUNKS, u32::MAX - 70, none);
        send.ask_to_be_woken();
        Bench {
            send,
            completion: Plain::new(SEND_CHUNKS, 0, 0),
            chunks: Chunks::map(&Mapping::<XskMemory>::create().unwrap()).unwrap(),
            called: Arc::from([OwnedFd::from(called)]),
            reader,
            counters: Box::leak(Box::default()),
            taken: Vec::new(),
        }
    }

    fn outlet(&self) -> XdpOutlet {
        self.outlet_that(false)
    }

    fn outlet_that(&self, completes_checksums: bool) -> XdpOutlet {
        let parts = Parts {
            socket: Socket::new(Arc::clone(&self.called)),
            send: self.send.ends().0,
            completion: self.completion.ends().1,
            chunks: self.chunks.clone(),
            several_chunks: true,
            completes_checksums,
            always_push: false,
        };
        XdpOutlet::new(parts, self.counters)
    }

    /// The kernel takes entries.
    fn take(&mut self, count: u32) {
        let mut ring = self.send.ends().1;
        let count = count.min(ring.available(count));
        self.taken.extend((0..count).map(|nth| ring.get(nth).addr));
        ring.release(count);
    }

    /// The kernel gives chunks back, every other one of the oldest: order is nothing that one can rely on.
    fn complete(&mut self, count: usize) {
        let mut ring = self.completion.ends().0;
        for nth in 0..count.min(self.taken.len()) {
            let chunk = self.taken.remove(nth % 2 % self.taken.len());
            let mut room = ring.reserve(1).unwrap();
            room.push(chunk);
            room.publish();
        }
    }

    /// A data plane is killed that has just taken the first `count` chunks back and not said so.
    fn be_killed_while_collecting(&self, count: u32) {
        let mut ring = self.completion.ends().1;
        for nth in 0..count.min(ring.available(count)) {
            self.chunks.marks()[chunk_at(ring.get(nth)).unwrap() as usize].clear();
        }
    }

    /// A data plane is killed that has written a frame into free chunks and not published it.
    fn be_killed_while_staging(&self, outlet: &XdpOutlet, count: usize) {
        for (nth, chunk) in (0..).zip(outlet.free.iter().rev().take(count)) {
            self.chunks.marks()[*chunk as usize].set(outlet.send.published().wrapping_add(nth));
        }
    }

    /// All calls fail from now on.
    fn calls_fail(&self) {
        while Socket::new(Arc::clone(&self.called)).push_send().is_ok() {}
    }

    fn calls_are_taken_again(&self) {
        while self.reader.recv(&mut [0; 1]).is_ok() {}
    }

    /// Every chunk is in one place: in a ring, with the kernel, or free.
    fn check(&self, outlet: &XdpOutlet) {
        let (mut send, mut completion) = (self.send.ends().1, self.completion.ends().1);
        let queued = (0..send.available(SEND_CHUNKS)).map(|nth| send.get(nth).addr).collect::<Vec<_>>();
        let came_back =
            (0..completion.available(SEND_CHUNKS)).map(|nth| completion.get(nth)).collect::<Vec<_>>();
        let away = queued.iter().chain(&came_back).chain(&self.taken);
        let places: Vec<_> =
            away.map(|address| chunk_at(*address).unwrap()).chain(outlet.free.iter().copied()).collect();
        let all: BTreeSet<_> = places.iter().copied().collect();
        assert_eq!(
            (places.len(), all.len()),
            (SEND_CHUNKS as usize, SEND_CHUNKS as usize),
            "a chunk is lost, or twice"
        );
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Frames of this length are to be sent.
    Put(usize, usize),
    Take(u32),
    Complete(usize),
    CallsAreTakenAgain,
    Kill,
    KillWhileCollecting(u32),
    KillWhileStaging(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..=64_usize, prop_oneof![Just(60_usize), Just(2048), Just(5000)]).prop_map(|(n, len)| Step::Put(n, len)),
        4 => (1..200_u32).prop_map(Step::Take),
        4 => (1..200_usize).prop_map(Step::Complete),
        1 => Just(Step::CallsAreTakenAgain),
        1 => Just(Step::Kill),
        1 => (1..100_u32).prop_map(Step::KillWhileCollecting),
        1 => (1..100_usize).prop_map(Step::KillWhileStaging),
    ]
}

fn put(outlet: &mut XdpOutlet, bytes: &mut [u8], count: usize) -> usize {
    let mut burst = Burst::default();
    burst.limit(count);
    for _frame in 0..count {
        burst.push(&[Segment::of_test(bytes)], Offload::default(), HEADROOM_BYTES);
    }
    outlet.put(&burst, 0, 0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_chunk_is_in_one_place_whatever_happens(steps in prop::collection::vec(step(), 1..80)) {
        let mut bench = Bench::new();
        let mut outlet = bench.outlet();
        for step in steps {
            match step {
                Step::Put(count, len) => {
                    let sent = put(&mut outlet, &mut vec![7; len], count);
                    prop_assert!(sent <= count);
                }
                Step::Take(count) => bench.take(count),
                Step::Complete(count) => bench.complete(count),
                Step::CallsAreTakenAgain => bench.calls_are_taken_again(),
                Step::Kill => outlet = bench.outlet(),
                Step::KillWhileCollecting(count) => {
                    bench.be_killed_while_collecting(count);
                    outlet = bench.outlet();
                }
                Step::KillWhileStaging(count) => {
                    bench.be_killed_while_staging(&outlet, count);
                    outlet = bench.outlet();
                }
            }
            bench.check(&outlet);
        }
        // When it is over, everything is ours again.
        bench.take(SEND_CHUNKS);
        bench.complete(SEND_CHUNKS as usize);
        outlet.collect();
        prop_assert_eq!(outlet.free.len(), SEND_CHUNKS as usize);
    }
}

#[test]
fn calls_that_go_on_failing_stop_the_sink_and_lose_nothing() {
    let mut bench = Bench::new();
    let mut outlet = bench.outlet();
    bench.calls_fail();
    assert_eq!(put(&mut outlet, &mut [7; 60], 64), 64);
    assert!(outlet.is_stuck(), "nothing was taken");
    let before = bench.counters.calls.get();
    for _again in 0..1000 {
        outlet.push();
        assert!(outlet.is_stuck());
    }
    assert_eq!(bench.counters.calls.get() - before, 1000, "one that fails is not repeated at once");
    bench.check(&outlet);
    bench.take(SEND_CHUNKS);
    outlet.push();
    assert!(!outlet.is_stuck());
    assert_eq!(bench.taken.len(), 64, "each frame once");
}

#[test]
fn full_ring_takes_no_more_frames_than_there_are_chunks() {
    let mut bench = Bench::new();
    let mut outlet = bench.outlet();
    let fitting: usize = (0..20).map(|_| put(&mut outlet, &mut [7; 5000], 64)).sum();
    assert_eq!(fitting, SEND_CHUNKS as usize / 3, "three chunks each");
    bench.check(&outlet);
    bench.take(3);
    bench.complete(3);
    assert_eq!(put(&mut outlet, &mut [7; 5000], 64), 1);
    bench.check(&outlet);
}

#[test]
fn checksum_is_asked_for_before_the_frame_in_its_first_chunk_only() {
    let bench = Bench::new();
    let mut outlet = bench.outlet_that(true);
    let mut bytes: Vec<u8> = (0..4000).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let udp = Offload { flags: 1, csum_start: 34, csum_offset: 6, ..Offload::default() };
    let mut burst = Burst::default();
    burst.limit(3);
    let segment = Segment::of_test(&mut bytes);
    burst.push(&[segment], udp, HEADROOM_BYTES);
    burst.push(&[segment.part(0, 60)], Offload::default(), HEADROOM_BYTES);
    // Beyond the first chunk no interface looks.
    burst.push(&[segment], Offload { csum_start: 1980, ..udp }, HEADROOM_BYTES);
    assert_eq!(outlet.put(&burst, 0, 0), 3);
    let mut ring = bench.send.ends().1;
    assert_eq!(ring.available(9), 4);
    let capacity = CHUNK_BYTES - REQUEST_BYTES;
    let (contd, asked) = (libc::XDP_PKT_CONTD, libc::XDP_TX_METADATA);
    let expected = [(capacity, contd | asked), (capacity, contd), (4000 - 2 * capacity, 0), (60, 0)];
    let mut sent = Vec::new();
    for (nth, (len, options)) in (0..).zip(expected) {
        let entry = ring.get(nth);
        assert_eq!((entry.len as usize, entry.options), (len, options), "entry {nth}");
        assert_eq!(entry.addr % CHUNK_BYTES as u64, REQUEST_BYTES as u64);
        let mut part = vec![0; len];
        bench.chunks.segment(entry.addr, len).unwrap().read(0, &mut part);
        sent.extend(part);
    }
    assert_eq!((&sent[..4000], &sent[4000..]), (&bytes[..], &bytes[..60]));
    let mut request = [0; 12];
    bench.chunks.segment(ring.get(0).addr - REQUEST_BYTES as u64, 12).unwrap().read(0, &mut request);
    assert_eq!(request[..8], 2_u64.to_ne_bytes());
    assert_eq!(
        (request[8..10].to_vec(), request[10..].to_vec()),
        (34_u16.to_ne_bytes().to_vec(), 6_u16.to_ne_bytes().to_vec())
    );
    assert_eq!(bench.counters.dropped[DropReason::BadHeader as usize].get(), 1);
    bench.check(&outlet);
}
