//! Frames whose offload header lies, as a hostile guest sends them: to every sink, and none may panic, stop or lose
//! track of its counters.

use std::cell::RefCell;

use framewire_dataplane::driver::{AnyQueue, Queue};
use framewire_dataplane::frame::Offload;
use framewire_tests::frames::numbered;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::bench::{Bench, all_dropped};
use crate::outside::{Outside, Subject};
use crate::plain;

/// A TCP segment over IPv4 or IPv6, near enough for a liar: everything else about it is spoiled below.
fn packet(is_v6: bool, payload_bytes: usize) -> Vec<u8> {
    let mut frame = vec![2; 12];
    if is_v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 6, 64]);
        frame.extend([0xfd; 32]);
    } else {
        frame.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    }
    frame.extend([0, 80, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0, 0, 0, 0, 0, 0]);
    frame.resize(frame.len() + payload_bytes, 0x5a);
    frame
}

prop_compose! {
    fn offload()(
        flags in any::<u8>(), gso_type in prop::sample::select(vec![0u8, 1, 3, 4, 5, 0x80, 0x81, 0x84, 0x85, 0xff]),
        header_bytes in any::<u16>(), gso_bytes in prop_oneof![Just(0u16), 300u16..2000, 300u16..],
        csum_start in prop_oneof![Just(34u16), Just(54), 0u16..100, any::<u16>()],
        csum_offset in prop_oneof![Just(16u16), Just(6), 0u16..30, any::<u16>()],
    ) -> Offload {
        Offload { flags, gso_type, header_bytes, gso_bytes, csum_start, csum_offset }
    }
}

prop_compose! {
    fn lie()(
        is_v6 in any::<bool>(), payload_bytes in 0usize..5000, keep in 14usize..5100, offload in offload(),
        spoiled in prop::collection::vec((12usize..80, any::<u8>()), 0..4),
    ) -> (Vec<u8>, Offload) {
        let mut frame = packet(is_v6, payload_bytes);
        for (at, value) in spoiled {
            frame.get_mut(at).into_iter().for_each(|byte| *byte = value);
        }
        frame.truncate(keep);
        (frame, offload)
    }
}

/// Sends the burst, and takes whatever has to leave before the rest of it can.
fn send(bench: &mut Bench, queue: &mut AnyQueue, outside: &mut dyn Outside, got: &mut Vec<Vec<u8>>) {
    bench.send(queue);
    while queue.room() == 0 {
        got.extend(outside.take());
        bench.drain(queue);
    }
}

pub(crate) fn lies_harm_no_honest_frame((queue, outside): Subject) {
    let (subject, bench) = (RefCell::new((queue, outside)), RefCell::new(Bench::new()));
    let bursts = (prop::collection::vec(lie(), 1..6), prop::sample::select(vec![30usize, 200, usize::MAX]));
    // A file of failed cases goes by the place of the `proptest!` macro, which is not used here.
    let config = Config { failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&bursts, |(lies, piece_bytes)| {
        let (queue, outside) = &mut *subject.borrow_mut();
        let bench = &mut *bench.borrow_mut();
        let (honest, mut got) = (numbered(7, 200), Vec::new());
        let before = queue.counters().sent_frames.get() + all_dropped(queue);
        bench.fill(&lies, piece_bytes);
        send(bench, queue, outside.as_mut(), &mut got);
        bench.fill(&plain(std::slice::from_ref(&honest)), usize::MAX);
        send(bench, queue, outside.as_mut(), &mut got);
        let after = queue.counters().sent_frames.get() + all_dropped(queue);
        prop_assert!(after > before + lies.len() as u64, "each is sent or dropped, whole or in parts");
        while got.last() != Some(&honest) {
            got.push(outside.take().ok_or_else(|| TestCaseError::fail("the honest frame is lost"))?);
        }
        prop_assert_eq!(bench.allocations, 0);
        Ok(())
    });
    outcome.unwrap();
}
