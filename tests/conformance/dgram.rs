//! What is special about datagram sockets: runs, peers that come and go, and datagrams that are no frames.

use std::net::UdpSocket;

use framewire_dataplane::driver::{AnyQueue, Queue, Received};
use framewire_shared::counters::DropReason;
use framewire_shared::happenings::{Happening, HappeningKind};
use framewire_tests::frames::numbered;
use framewire_tests::namespace::Namespace;
use framewire_tests::need;
use framewire_tests::udp;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

use crate::bench::{Bench, KEY, all_dropped, dropped};
use crate::outside::{self, udp_queue, unix_queues, wait_readable};
use crate::{frames, plain};

const SECOND_NS: u64 = 1_000_000_000;

/// A queue and the socket at its other end.
fn udp_pair() -> (AnyQueue, UdpSocket) {
    let (ours, theirs) = (udp::bound("127.0.0.1:0"), udp::bound("127.0.0.1:0"));
    udp::receive_runs(&ours);
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    theirs.set_read_timeout(Some(framewire_tests::wait::PATIENCE)).unwrap();
    let to = theirs.local_addr().unwrap();
    (udp_queue(ours, to), theirs)
}

fn equal_frames(count: u32, length: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| numbered(number, length)).collect()
}

#[test]
fn frames_of_one_length_leave_as_one_run() {
    for length in [64, 300, 1000] {
        let (mut queue, theirs) = udp_pair();
        udp::receive_runs(&theirs);
        let mut bench = Bench::new();
        // A shorter one may end a run; a longer one begins another.
        let mut wanted = equal_frames(40, length);
        wanted.extend([numbered(90, length - 1), numbered(91, length + 1), numbered(92, length + 1)]);
        bench.fill(&plain(&wanted), usize::MAX);
        bench.send(&mut queue);
        let mut got = vec![0; 70_000];
        let mut lengths = [0; 2].map(|_run| theirs.recv(&mut got).unwrap());
        lengths.sort_unstable();
        assert_eq!(lengths, [2 * (length + 1), 41 * length - 1]);
        assert_eq!(queue.counters().calls.get(), 1);
    }
}

#[test]
fn run_longer_than_the_burst_loses_nothing() {
    for (length, limit) in [(64, 64), (64, 10), (1000, 50), (1000, 7)] {
        let (mut queue, theirs) = udp_pair();
        udp::send_runs(&theirs, i32::try_from(length).unwrap());
        let wanted = equal_frames(60, length);
        theirs.send(&wanted.concat()).unwrap();
        theirs.send(&wanted.concat()).unwrap();
        wait_readable(&queue);
        let (mut bench, mut got) = (Bench::new(), Vec::new());
        while bench.receive(&mut queue, limit) == Received::Frames {
            got.extend(bench.frames());
        }
        assert_eq!(got, [&wanted[..], &wanted].concat(), "{length} bytes, {limit} a pass");
        assert_eq!(queue.counters().calls.get(), 2);
        assert_eq!((all_dropped(&queue), bench.allocations), (0, 0));
    }
}

/// Longer than the interface's frames, so that each datagram goes as fragments, which a run may not.
#[test]
fn run_that_the_route_refuses_goes_one_by_one_and_is_tried_again_later() {
    need!(root);
    let (near, far) = (Namespace::new(), Namespace::new());
    near.ip("link add v0 type veth peer name v1");
    near.give("v1", &far, "10.0.0.2/24");
    near.address("v0", "10.0.0.1/24");
    let (ours, theirs) = (near.run(|| udp::bound("10.0.0.1:5000")), far.run(|| udp::bound("10.0.0.2:5000")));
    theirs.set_read_timeout(Some(framewire_tests::wait::PATIENCE)).unwrap();
    let mut queue = udp_queue(ours, "10.0.0.2:5000".parse().unwrap());
    let mut bench = Bench::new();
    let wanted = equal_frames(20, 1514);
    let mut got = vec![0; 70_000];
    for now_ns in [0, 1] {
        bench.turn.now_ns = now_ns;
        bench.fill(&plain(&wanted), usize::MAX);
        bench.send(&mut queue);
        for frame in &wanted {
            let len = theirs.recv(&mut got).unwrap();
            assert!(got[..len] == frame[..]);
        }
    }
    assert_eq!((queue.counters().sent_frames.get(), all_dropped(&queue)), (40, 0));
    near.ip("link set dev v0 mtu 9000");
    far.ip("link set dev v1 mtu 9000");
    udp::receive_runs(&theirs);
    for (now_ns, expected) in [(2, 1514), (2 * SECOND_NS, 20 * 1514)] {
        bench.turn.now_ns = now_ns;
        bench.fill(&plain(&wanted), usize::MAX);
        bench.send(&mut queue);
        assert_eq!(theirs.recv(&mut got).unwrap(), expected);
        theirs.set_nonblocking(true).unwrap();
        while theirs.recv(&mut got).is_ok() {}
        theirs.set_nonblocking(false).unwrap();
    }
}

#[test]
fn datagrams_that_are_no_frames_are_dropped_and_counted() {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
    let mut unix = outside::unix_queue(ours);
    let mut bench = Bench::new();
    for length in [0, 13, 14, 69_632, 69_633] {
        rustix::net::send(&theirs, &vec![7; length], SendFlags::empty()).unwrap();
    }
    assert_eq!(bench.receive(&mut unix, 64), Received::Frames);
    assert_eq!(bench.frames(), [vec![7; 14], vec![7; 69_632]]);
    assert_eq!((dropped(&unix, DropReason::Runt), dropped(&unix, DropReason::TooLong)), (2, 1));

    let (mut queue, theirs) = udp_pair();
    for length in [0, 13, 14] {
        theirs.send(&vec![7; length]).unwrap();
    }
    wait_readable(&queue);
    let mut got = Vec::new();
    while got.is_empty() {
        bench.receive(&mut queue, 64);
        got.extend(bench.frames());
    }
    assert_eq!(got, [vec![7; 14]]);
    assert_eq!(dropped(&queue, DropReason::Runt), 2);
}

#[test]
fn frame_longer_than_a_datagram_is_too_long_and_harms_no_other() {
    let (mut queue, theirs) = udp_pair();
    let mut bench = Bench::new();
    let (long, short) = (numbered(1, 65_508), numbered(2, 100));
    bench.fill(&plain(&[long.clone(), short.clone(), long, short.clone()]), usize::MAX);
    bench.send(&mut queue);
    let mut got = [0; 2000];
    for _frame in 0..2 {
        let len = theirs.recv(&mut got).unwrap();
        assert_eq!(got[..len], short[..]);
    }
    assert_eq!((dropped(&queue, DropReason::TooLong), all_dropped(&queue)), (2, 2));
}

#[test]
fn gone_peer_of_a_unix_socket_is_told_now_and_then() {
    let [mut queue, peer] = unix_queues();
    drop(peer);
    let mut bench = Bench::new();
    let gone = Happening {
        kind: HappeningKind::PeerGone,
        queue: KEY,
        detail: u64::from(libc::ECONNREFUSED.unsigned_abs()),
    };
    for (now_ns, told) in [(5, 1), (SECOND_NS / 20, 0), (SECOND_NS / 5, 1)] {
        bench.turn.now_ns = now_ns;
        bench.fill(&plain(&frames(10)), usize::MAX);
        bench.send(&mut queue);
        let happenings = bench.happenings();
        assert_eq!(happenings.len(), told);
        // The first error of all is what the peer's end left behind; from then on nobody listens.
        assert!(happenings.iter().all(|h| (h.kind, h.queue) == (gone.kind, gone.queue)));
    }
    assert_eq!((dropped(&queue, DropReason::Refused), all_dropped(&queue)), (30, 30));
    assert_eq!(queue.counters().sent_frames.get(), 0);
    assert_eq!(bench.receive(&mut queue, 64), Received::Nothing);
}

#[test]
fn udp_peer_that_comes_back_gets_the_next_frame() {
    let (ours, theirs) = (udp::bound("127.0.0.1:0"), udp::bound("127.0.0.1:0"));
    let address = theirs.local_addr().unwrap();
    ours.connect(address).unwrap();
    drop(theirs);
    let mut queue = outside::udp_connected_queue(ours);
    let mut bench = Bench::new();
    for _burst in 0..3 {
        bench.fill(&plain(&frames(5)), usize::MAX);
        bench.send(&mut queue);
        assert_eq!(
            bench.receive(&mut queue, 64),
            Received::Nothing,
            "an answer of the past is not a failure"
        );
    }
    let theirs = UdpSocket::bind(address).unwrap();
    theirs.set_read_timeout(Some(framewire_tests::wait::PATIENCE)).unwrap();
    bench.fill(&plain(&frames(1)), usize::MAX);
    bench.send(&mut queue);
    let mut got = [0; 2000];
    let len = theirs.recv(&mut got).unwrap();
    assert_eq!(got[..len], frames(1)[0][..]);
    assert_eq!(bench.happenings(), []);
}
