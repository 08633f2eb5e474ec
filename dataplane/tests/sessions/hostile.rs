//! What a hostile front end sends. It costs itself the connection, and nobody else anything: not a descriptor, not
//! the data plane, not the other guest's session.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use framewire_shared::happenings::{Happening, HappeningKind};
use framewire_shared::session::SessionEnd;

use crate::stage::{Stage, shape, until};

fn header(number: u32, flags: u32, len: u32) -> Vec<u8> {
    [number, flags, len].map(u32::to_le_bytes).as_flattened().to_vec()
}

fn message(number: u32, payload: &[u8]) -> Vec<u8> {
    [header(number, 1, u32::try_from(payload.len()).unwrap()), payload.to_vec()].concat()
}

fn files(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| std::fs::File::open("/dev/null").unwrap().into()).collect()
}

/// Sends this on a fresh session, and sees it ended for `end`.
fn expect_end(what: &str, bytes: &[u8], descriptors: usize, end: SessionEnd) {
    let mut stage = Stage::new(&format!("hostile-{}", what.replace(' ', "-")), [shape(false); 2]);
    let before = stage.open_descriptors();
    let files = files(descriptors);
    let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    stage.machines[0].front.send(bytes, &files).unwrap();
    let happening = Happening { kind: HappeningKind::SessionEnded, queue: 11, detail: end as u64 };
    until(what, || stage.happening() == Some(happening));
    let mut rest = Vec::new();
    let _ = stage.machines[0].front.socket().read_to_end(&mut rest);
    assert!(stage.machines[0].front.send(b"x", &[]).is_err(), "{what}: the connection is shut down");
    until(what, || stage.open_descriptors() == before - 3);
    stage.machines[1].start();
}

#[test]
fn bytes_that_are_no_message_end_the_session() {
    expect_end("version 0", &header(1, 0, 0), 0, SessionEnd::Malformed);
    expect_end("an answer", &header(1, 5, 0), 0, SessionEnd::Malformed);
    expect_end("too long", &header(1, 1, 4097), 0, SessionEnd::Malformed);
    expect_end("longest there is", &header(1, 1, u32::MAX), 0, SessionEnd::Malformed);
    expect_end("short payload", &message(2, &[0; 4]), 0, SessionEnd::Malformed);
    expect_end("long payload", &message(2, &[0; 16]), 0, SessionEnd::Malformed);
}

#[test]
fn descriptors_that_do_not_belong_end_the_session() {
    expect_end("one too many", &message(1, &[]), 1, SessionEnd::Descriptors);
    expect_end("many too many", &message(1, &[]), 60, SessionEnd::Descriptors);
    expect_end("kick without", &message(12, &[0; 8]), 0, SessionEnd::Descriptors);
    expect_end("kick with two", &message(12, &[0; 8]), 2, SessionEnd::Descriptors);
    expect_end("table with fewer", &message(5, &[2, 0, 0, 0, 0, 0, 0, 0]), 1, SessionEnd::Descriptors);
    expect_end("kick that is no eventfd", &message(12, &[0; 8]), 1, SessionEnd::Refused);
}

#[test]
fn requests_for_what_cannot_be_end_the_session() {
    let pair = |index: u32, number: u32| [index, number].map(u32::to_le_bytes).as_flattened().to_vec();
    expect_end(
        "features that were not offered",
        &message(2, &u64::MAX.to_le_bytes()),
        0,
        SessionEnd::Refused,
    );
    expect_end("a ring that is none", &message(8, &pair(3, 64)), 0, SessionEnd::Refused);
    expect_end("a ring far beyond", &message(11, &pair(u32::MAX, 0)), 0, SessionEnd::Refused);
    expect_end("a ring of no entries", &message(8, &pair(0, 0)), 0, SessionEnd::Refused);
    expect_end("a ring of too many entries", &message(8, &pair(0, 65536)), 0, SessionEnd::Refused);
    expect_end("an unknown request", &message(77, &[]), 0, SessionEnd::Refused);
    let region = [0u64, 4096, 0, 0].map(u64::to_le_bytes);
    let table = [&[1, 0, 0, 0, 0, 0, 0, 0], region.as_flattened()].concat();
    expect_end("memory that is no file", &message(5, &table), 1, SessionEnd::Refused);
    expect_end("a log that is no file", &message(6, &[0xff; 16]), 1, SessionEnd::Refused);
}

#[test]
fn bytes_that_come_one_by_one_are_a_message_all_the_same() {
    let mut stage = Stage::new("slowly", [shape(false); 2]);
    let front = &mut stage.machines[0].front;
    for byte in message(1, &[]) {
        front.socket().write_all(&[byte]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let mut answer = [0; 20];
    front.socket().read_exact(&mut answer).unwrap();
    assert_eq!(answer[..4], 1u32.to_le_bytes());
}

#[test]
fn message_that_is_not_finished_ends_the_session_in_time() {
    expect_end("half a header", &[1, 0, 0], 0, SessionEnd::Stalled);
}

#[test]
fn ring_that_is_nowhere_is_refused_or_rests_and_the_peer_goes_on() {
    let mut stage = Stage::new("nowhere", [shape(false); 2]);
    stage.start();
    let machine = &mut stage.machines[0];
    let base = machine.front.stop(1);
    let state = [1u32, 0].map(u32::to_le_bytes);
    let words = [u64::MAX - 15, 1 << 60, 0, 0].map(u64::to_le_bytes);
    machine.front.tell(9, &[state.as_flattened(), words.as_flattened()].concat(), &[]);
    let kick = machine.bells[1].kick.as_fd();
    machine.front.try_tell(12, &1u64.to_le_bytes(), &[kick]);
    stage.expect_passes(1, 0..50);
    stage.machines[0].start_rings([0, base].map(|base| base));
}

#[test]
fn memory_file_that_is_cut_short_ends_its_guest_only() {
    let mut stage = Stage::with("cut", [shape(false); 2], Stage::memory_to_cut());
    stage.start();
    stage.expect_passes(1, 0..50);
    for region in stage.machines[0].memory.regions() {
        rustix::fs::ftruncate(region.file(), 0).unwrap();
    }
    // What the other sends goes nowhere, and it hears no complaint.
    for number in 0..200 {
        until("the other may send", || stage.machines[1].send(number));
    }
    assert!(stage.plane.child.try_wait().unwrap().is_none(), "the data plane lives");
    assert_eq!(stage.plane.status.queue_counters[1].guest_faults.get(), 1);
}
