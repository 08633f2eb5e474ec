use framewire_shared::region::Mapping;
use framewire_shared::xsk_memory::XskMemory;

use super::*;
use crate::xsk::ring::test::Plain;
use std::sync::Arc;

/// A socket without a kernel: the test fills chunks.
struct Bench {
    fill: Arc<Plain<u64>>,
    receive: Arc<Plain<libc::xdp_desc>>,
    chunks: Chunks,
    counters: &'static QueueCounters,
}

impl Bench {
    fn new() -> Self {
        let none = libc::xdp_desc { addr: 0, len: 0, options: 0 };
        Bench {
            fill: Plain::new(RECEIVE_CHUNKS, 0, 0),
            receive: Plain::new(RECEIVE_CHUNKS, 0, none),
            chunks: Chunks::map(&Mapping::<XskMemory>::create().unwrap()).unwrap(),
            counters: Box::leak(Box::default()),
        }
    }

    fn inlet(&self) -> Result<Inlet, Errno> {
        Inlet::new(self.fill.ends().0, self.receive.ends().1, self.chunks.clone(), self.counters)
    }

    /// The kernel fills the next chunks: a frame of pieces of these lengths.
    fn receive(&self, pieces: &[u32]) {
        let (mut from, mut to) = (self.fill.ends().1, self.receive.ends().0);
        let mut room = to.reserve(u32::try_from(pieces.len()).unwrap()).unwrap();
        for (nth, len) in (1..).zip(pieces) {
            assert!(from.available(1) > 0, "no chunk is left");
            let addr = from.get(0) + 256;
            from.release(1);
            let options = if nth < pieces.len() { libc::XDP_PKT_CONTD } else { 0 };
            room.push(libc::xdp_desc { addr, len: *len, options });
        }
        room.publish();
    }

    /// How many chunks the kernel has.
    fn lent(&self) -> u32 {
        self.fill.ends().1.available(RECEIVE_CHUNKS)
    }
}

fn lengths(inlet: &mut Inlet, limit: usize) -> Vec<u32> {
    let mut burst = Burst::default();
    burst.limit(limit);
    inlet.take(&mut burst);
    burst.frames().iter().map(|frame| frame.len).collect()
}

#[test]
fn new_socket_gets_all_chunks_and_gets_each_back() {
    let bench = Bench::new();
    let mut inlet = bench.inlet().unwrap();
    assert_eq!(bench.lent(), RECEIVE_CHUNKS);
    bench.receive(&[60]);
    bench.receive(&[1792, 1792, 100]);
    assert_eq!(bench.lent(), RECEIVE_CHUNKS - 4);
    assert_eq!(lengths(&mut inlet, 64), [60, 3684]);
    inlet.settle(2);
    assert_eq!((bench.lent(), inlet.is_empty()), (RECEIVE_CHUNKS, true));
}

#[test]
fn what_was_not_taken_comes_again() {
    let bench = Bench::new();
    let mut inlet = bench.inlet().unwrap();
    (60..70).for_each(|len| bench.receive(&[len]));
    assert_eq!(lengths(&mut inlet, 4), [60, 61, 62, 63]);
    inlet.settle(1);
    assert_eq!(lengths(&mut inlet, 3), [61, 62, 63]);
    inlet.settle(0);
    assert_eq!(lengths(&mut inlet, 1), [61]);
}

#[test]
fn successor_gets_what_a_killed_one_had_in_hand() {
    let bench = Bench::new();
    let mut killed = bench.inlet().unwrap();
    bench.receive(&[60]);
    bench.receive(&[61]);
    assert_eq!(lengths(&mut killed, 64), [60, 61]);
    drop(killed);
    let mut next = bench.inlet().unwrap();
    assert_eq!(lengths(&mut next, 64), [60, 61]);
    next.settle(2);
    assert_eq!(bench.lent(), RECEIVE_CHUNKS);
}

#[test]
fn successor_finishes_what_a_killed_one_was_giving_back() {
    let bench = Bench::new();
    drop(bench.inlet().unwrap());
    (60..63).for_each(|len| bench.receive(&[len]));
    // Killed with two chunks in the fill ring again and no entry released.
    let (mut fill, _kernel) = bench.fill.ends();
    let mut room = fill.reserve(2).unwrap();
    room.push(0);
    room.push(CHUNK_BYTES as u64);
    room.publish();
    let mut next = bench.inlet().unwrap();
    assert_eq!(lengths(&mut next, 64), [62], "each frame once");
    next.settle(1);
    assert_eq!(bench.lent(), RECEIVE_CHUNKS, "and each chunk once");
}

#[test]
fn rings_that_cannot_stand_so_are_refused() {
    let bench = Bench::new();
    let mut room = bench.receive.ends().0;
    let mut room = room.reserve(1).unwrap();
    room.push(libc::xdp_desc { addr: 0, len: 60, options: 0 });
    room.publish();
    bench.receive.ends().1.release(1);
    assert_eq!(bench.inlet().unwrap_err(), Errno::BADMSG);
}

#[test]
fn what_is_no_frame_is_counted_and_its_chunk_goes_back() {
    let bench = Bench::new();
    let mut inlet = bench.inlet().unwrap();
    bench.receive(&[13]);
    bench.receive(&[60]);
    bench.receive(&[2000]);
    bench.receive(&[61]);
    assert_eq!(lengths(&mut inlet, 64), [60]);
    inlet.settle(1);
    assert_eq!(lengths(&mut inlet, 64), [61], "a piece that reaches out of its chunk is none");
    inlet.settle(1);
    let dropped = |reason| bench.counters.dropped[reason as usize].get();
    assert_eq!((dropped(DropReason::Runt), dropped(DropReason::Foreign)), (1, 1));
    assert_eq!(bench.lent(), RECEIVE_CHUNKS);
}
