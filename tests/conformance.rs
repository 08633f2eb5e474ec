//! Every driver against the contract of `Queue`, with real kernel objects outside.
//!
//! What a worker relies on is the same for all drivers, so it is asked of all by the same tests: order and bytes are
//! kept, nothing is lost on a sink without room, every frame is counted once, and moving frames allocates nothing.
//! What is special about one driver is in the files below.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "conformance/allocations.rs"]
mod allocations;
#[path = "conformance/bench.rs"]
mod bench;
#[path = "conformance/crossing.rs"]
mod crossing;
#[path = "conformance/dgram.rs"]
mod dgram;
#[path = "conformance/hostile.rs"]
mod hostile;
#[path = "conformance/outside.rs"]
mod outside;
#[path = "conformance/tap.rs"]
mod tap;

use framewire_dataplane::driver::{Queue, Received};
use framewire_dataplane::frame::Offload;
use framewire_tests::frames::{FRAME_MIN, STATION_B, numbered};
use framewire_tests::need;

use bench::{Bench, all_dropped};
use hostile::lies_harm_no_honest_frame;
use outside::Subject;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// Frames of all lengths that any outside carries, each with its number.
fn frames(count: usize) -> Vec<Vec<u8>> {
    let length = |number: u32| FRAME_MIN + (number as usize * 193) % (1514 - FRAME_MIN);
    let make = |number: u32| {
        let mut frame = numbered(number, length(number));
        // To one station: a bridge copies what is for all, and the copy is charged to nobody.
        frame[..6].copy_from_slice(&STATION_B);
        frame
    };
    (0..u32::try_from(count).unwrap()).map(make).collect()
}

fn plain(frames: &[Vec<u8>]) -> Vec<(Vec<u8>, Offload)> {
    frames.iter().map(|frame| (frame.clone(), Offload::default())).collect()
}

fn bytes(frames: &[Vec<u8>]) -> u64 {
    frames.iter().map(|frame| frame.len() as u64).sum()
}

fn received_frames_come_in_order_and_whole((mut queue, mut outside): Subject) {
    let (mut bench, wanted) = (Bench::new(), frames(500));
    let mut got = Vec::new();
    for some in wanted.chunks(outside.gives_at_most()) {
        some.iter().for_each(|frame| outside.give(frame));
        let goal = got.len() + some.len();
        while got.len() < goal {
            // What a queue has already read, the kernel does not tell of.
            if bench.burst.is_empty() {
                outside::wait_readable(&queue);
            }
            // A sink with little room, now and then: nothing may be lost on it.
            let limit = if got.len() % 3 == 0 { 7 } else { 64 };
            let received = bench.receive(&mut queue, limit);
            assert!(bench.burst.len() <= limit);
            assert_eq!(received, if bench.burst.is_empty() { Received::Nothing } else { Received::Frames });
            got.extend(bench.frames());
            let taken = bench.burst.len();
            bench.settle(&mut queue, taken);
        }
    }
    assert_eq!(got, wanted);
    assert_eq!(bench.receive(&mut queue, 64), Received::Nothing);
    let counters = queue.counters();
    assert_eq!((counters.received_frames.get(), counters.received_bytes.get()), (500, bytes(&wanted)));
    assert!((1..=500).contains(&counters.calls.get()));
    assert_eq!((all_dropped(&queue), bench.allocations), (0, 0));
}

fn sent_frames_come_out_in_order_and_whole((mut queue, mut outside): Subject) {
    let (mut bench, wanted) = (Bench::new(), frames(500));
    let mut got = Vec::new();
    let pieces = [usize::MAX, 14, 100, 700];
    for (some, piece_bytes) in wanted.chunks(7).zip(pieces.iter().cycle()) {
        bench.fill(&plain(some), *piece_bytes);
        bench.send(&mut queue);
        got.extend(std::iter::from_fn(|| outside.take()).take(some.len()));
    }
    assert_eq!(got, wanted);
    let counters = queue.counters();
    assert_eq!((counters.sent_frames.get(), counters.sent_bytes.get()), (500, bytes(&wanted)));
    assert!((1..=500).contains(&counters.calls.get()));
    assert_eq!((all_dropped(&queue), bench.allocations), (0, 0));
}

fn sink_without_room_loses_nothing((mut queue, mut outside): Subject) {
    let (mut bench, wanted) = (Bench::new(), frames(640));
    let (mut got, mut blocked) = (Vec::new(), 0);
    for some in wanted.chunks(64) {
        bench.fill(&plain(some), 500);
        bench.send(&mut queue);
        // Its memory is the next pass's.
        bench.fill(&plain(&frames(64)), usize::MAX);
        while queue.room() == 0 {
            blocked += 1;
            assert_eq!(queue.send(&bench.burst, &mut bench.turn), 0, "without room nothing is taken");
            got.extend(outside.take());
            bench.drain(&mut queue);
        }
    }
    got.extend(std::iter::from_fn(|| outside.take()));
    assert!(blocked > 0, "it never had to wait: the test shows nothing");
    assert_eq!(got.len(), wanted.len());
    assert_eq!(got, wanted);
    assert_eq!(queue.counters().sent_frames.get(), 640);
    assert_eq!((all_dropped(&queue), bench.allocations), (0, 0));
}

/// Asks a driver these questions, if the machine has what it needs.
macro_rules! ask {
    ($driver:ident $needs:tt: $($question:ident),+) => {
        mod $driver {
            use super::*;
            $(ask!(@one $driver $question $needs);)+
        }
    };
    (@one $driver:ident $question:ident ($($need:tt),*)) => {
        #[test]
        fn $question() {
            $(need!($need);)*
            super::$question(outside::$driver());
        }
    };
}

ask!(unix_pair():
    received_frames_come_in_order_and_whole, sent_frames_come_out_in_order_and_whole,
    sink_without_room_loses_nothing, lies_harm_no_honest_frame);
ask!(unix_named():
    received_frames_come_in_order_and_whole, sent_frames_come_out_in_order_and_whole,
    sink_without_room_loses_nothing);
ask!(udp_runs():
    received_frames_come_in_order_and_whole, sent_frames_come_out_in_order_and_whole,
    lies_harm_no_honest_frame);
ask!(udp_connected(): received_frames_come_in_order_and_whole, sent_frames_come_out_in_order_and_whole);
ask!(l2tpv3_udp():
    received_frames_come_in_order_and_whole, sent_frames_come_out_in_order_and_whole,
    lies_harm_no_honest_frame);
ask!(stream_unix():
    received_frames_come_in_order_and_whole, sent_frames_come_out_in_order_and_whole,
    sink_without_room_loses_nothing, lies_harm_no_honest_frame);
ask!(stream_tcp():
    received_frames_come_in_order_and_whole, sent_frames_come_out_in_order_and_whole,
    sink_without_room_loses_nothing, lies_harm_no_honest_frame);
ask!(tap_plain(root, tun):
    received_frames_come_in_order_and_whole, sent_frames_come_out_in_order_and_whole,
    lies_harm_no_honest_frame);
ask!(tap_with_header(root, tun):
    received_frames_come_in_order_and_whole, sent_frames_come_out_in_order_and_whole,
    lies_harm_no_honest_frame);
ask!(slow_udp(root, "tc"): sink_without_room_loses_nothing);
ask!(slow_tap(root, tun, "tc"): sink_without_room_loses_nothing);
