//! What is special about taps: large frames, lowering, and interfaces that go down or away.

use framewire_dataplane::driver::{Queue, Received};
use framewire_dataplane::frame::Offload;
use framewire_shared::counters::DropReason;
use framewire_tests::frames::numbered;
use framewire_tests::namespace::Namespace;
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use framewire_tests::udp;

use crate::bench::{Bench, all_dropped, dropped};
use crate::crossing::{Between, Host, carry, received_on_average, sent_on_average, transfer};
use crate::outside::{self, Outside, tap_queue};
use crate::{frames, plain};

/// Ordinary Ethernet, with a VLAN tag.
const ORDINARY_BYTES: u64 = 1518;

#[test]
fn large_frames_cross_from_tap_to_tap_unsplit() {
    need!(root, tun);
    let (mut a, mut b) = (Host::new(1, true), Host::new(2, true));
    for address in b.addresses() {
        carry(&mut a, &mut b, &mut Between::Nothing, |hosts| transfer(hosts, &address));
    }
    assert!(received_on_average(&a) > 4 * ORDINARY_BYTES, "{} bytes a frame", received_on_average(&a));
    assert_eq!(a.queue.counters().received_frames.get(), b.queue.counters().sent_frames.get());
    assert_eq!((all_dropped(&a.queue), all_dropped(&b.queue), b.checksum_errors()), (0, 0, 0));
}

#[test]
fn large_frames_are_cut_for_a_tap_without_header() {
    need!(root, tun);
    let (mut a, mut b) = (Host::new(1, true), Host::new(2, false));
    for address in b.addresses() {
        carry(&mut a, &mut b, &mut Between::Nothing, |hosts| transfer(hosts, &address));
    }
    assert!(received_on_average(&a) > 4 * ORDINARY_BYTES, "{} bytes a frame", received_on_average(&a));
    assert!(sent_on_average(&b) <= ORDINARY_BYTES, "{} bytes a frame", sent_on_average(&b));
    assert_eq!((all_dropped(&a.queue), all_dropped(&b.queue), b.checksum_errors()), (0, 0, 0));
}

#[test]
fn tcp_crosses_sockets_between_taps_that_leave_all_work() {
    need!(root, tun);
    // Over UDP and streams most calls carry more than one frame; a unix datagram may wait alone.
    for (mut between, frames_a_call) in [(Between::udp(), 2), (Between::unix(), 0), (Between::stream(), 2)] {
        let (mut a, mut b) = (Host::new(1, true), Host::new(2, true));
        for address in b.addresses() {
            carry(&mut a, &mut b, &mut between, |hosts| transfer(hosts, &address));
        }
        assert!(received_on_average(&a) > 4 * ORDINARY_BYTES, "{} bytes a frame", received_on_average(&a));
        assert!(sent_on_average(&b) <= ORDINARY_BYTES, "{} bytes a frame", sent_on_average(&b));
        assert_eq!((a.checksum_errors(), b.checksum_errors()), (0, 0));
        let Between::Sockets(sockets) = &between else { panic!("sockets are between") };
        let (calls, sent) = (sockets[0].counters().calls.get(), sockets[0].counters().sent_frames.get());
        assert!(calls * frames_a_call < sent, "{sent} frames in {calls} calls");
    }
}

/// The kernel leaves it to us to cut runs of UDP datagrams, and to make their checksums.
#[test]
fn runs_of_datagrams_are_cut_for_a_tap_without_header() {
    need!(root, tun);
    for (has_header, to) in [(false, "10.0.0.2:9000"), (false, "[fd00::2]:9000"), (true, "10.0.0.2:9000")] {
        let (mut a, mut b) = (Host::new(1, true), Host::new(2, has_header));
        let payload: Vec<u8> = (0..9 * 1000 + 77u32).map(|at| (at >> 3).to_le_bytes()[0]).collect();
        carry(&mut a, &mut b, &mut Between::Nothing, |[near, far]| {
            let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            let (sender, receiver) = (near.run(|| udp::bound(any)), far.run(|| udp::bound(to)));
            udp::send_runs(&sender, 1000);
            receiver.set_read_timeout(Some(framewire_tests::wait::PATIENCE)).unwrap();
            assert_eq!(sender.send_to(&payload, to).unwrap(), payload.len());
            let mut datagram = [0; 2000];
            for part in payload.chunks(1000) {
                let len = receiver.recv(&mut datagram).unwrap();
                assert_eq!(&datagram[..len], part);
            }
        });
        assert_eq!((all_dropped(&a.queue), all_dropped(&b.queue), b.checksum_errors()), (0, 0, 0));
    }
}

#[test]
fn interface_that_is_down_refuses_frames_and_goes_on_when_up() {
    need!(root, tun);
    for has_header in [false, true] {
        let (mut queue, mut outside) = outside::tap(has_header);
        let mut bench = Bench::new();
        outside.namespace.ip("link set dev t0 down");
        bench.fill(&plain(&frames(3)), usize::MAX);
        bench.send(&mut queue);
        assert_eq!(dropped(&queue, DropReason::Refused), 3);
        assert_eq!(bench.receive(&mut queue, 64), Received::Nothing);
        outside.namespace.ip("link set dev t0 up");
        outside.socket = PacketSocket::open(&outside.namespace, "t0");
        bench.fill(&plain(&[numbered(1, 60)]), usize::MAX);
        bench.send(&mut queue);
        assert_eq!(outside.take(), Some(numbered(1, 60)));
        assert_eq!(all_dropped(&queue), 3);
    }
}

#[test]
fn interface_that_is_removed_fails_its_queue() {
    need!(root, tun);
    let namespace = Namespace::new();
    let mut queue = tap_queue(&namespace, "t0", true);
    let mut bench = Bench::new();
    assert_eq!(bench.receive(&mut queue, 64), Received::Nothing);
    namespace.ip("link delete dev t0");
    assert_eq!(bench.receive(&mut queue, 64), Received::Failed(libc::EBADFD));
    bench.fill(&plain(&frames(2)), usize::MAX);
    bench.send(&mut queue);
    assert_eq!(dropped(&queue, DropReason::Refused), 2);
}

/// What a guest may say about its frames is passed on to the kernel, which must not believe it either.
#[test]
fn header_that_lies_is_refused_by_the_kernel_and_counted() {
    need!(root, tun);
    let (mut queue, mut outside) = outside::tap(true);
    let mut bench = Bench::new();
    let beyond = Offload { flags: 1, csum_start: 5000, csum_offset: 16, ..Offload::default() };
    bench.fill(&[(numbered(1, 100), beyond), (numbered(2, 100), Offload::default())], usize::MAX);
    bench.send(&mut queue);
    assert_eq!(outside.take(), Some(numbered(2, 100)));
    assert_eq!((dropped(&queue, DropReason::BadHeader), all_dropped(&queue)), (1, 1));
}
