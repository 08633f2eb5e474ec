//! What a front end asks for while its guest's frames pass, and should not: it hears that it was refused, or gets what it
//! asked for, and both guests go on. Nothing that it sends a thousand times is kept a thousand times.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use framewire_shared::session::feature;
use framewire_tests::guest::Front;
use framewire_tests::guest::front::PROTOCOL_FEATURES;

use crate::stage::{Machine, Stage, shape, until};

const SET_FEATURES: u32 = 2;
const RESET_OWNER: u32 = 4;
const SET_MEM_TABLE: u32 = 5;
const SET_LOG_BASE: u32 = 6;
const SET_VRING_NUM: u32 = 8;
const SET_VRING_CALL: u32 = 13;
const GET_MAX_MEM_SLOTS: u32 = 36;
const ADD_MEM_REG: u32 = 37;
const REM_MEM_REG: u32 = 38;

const PAGE: u64 = 4096;

fn memory(bytes: u64) -> OwnedFd {
    let file = rustix::fs::memfd_create("misuse", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, bytes).unwrap();
    file
}

/// Guest's address, length, front end's address, offset in the file.
type Region = [u64; 4];

fn table(regions: &[Region]) -> Vec<u8> {
    let head = [u32::try_from(regions.len()).unwrap(), 0].map(u32::to_le_bytes);
    let words: Vec<u8> = regions.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
    [head.as_flattened(), &words].concat()
}

fn slot([guest, len, user, offset]: Region) -> Vec<u8> {
    [0, guest, len, user, offset].map(u64::to_le_bytes).as_flattened().to_vec()
}

fn add(front: &mut Front, region: Region, file: &OwnedFd) -> bool {
    front.try_tell(ADD_MEM_REG, &slot(region), &[file.as_fd()])
}

#[test]
fn memory_that_cannot_be_is_refused_and_the_old_one_stays() {
    let mut stage = Stage::new("memory-refused", [shape(false), shape(true)]);
    stage.start();
    let file = memory(16 * PAGE);
    let far = 1 << 40;
    let apart = [far, PAGE, far, 0];
    let tables: [&[Region]; 7] = [
        &[[far, 0, far, 0]],
        &[[u64::MAX - PAGE + 2, PAGE, far, 0]],
        &[[far, PAGE, u64::MAX - PAGE + 2, 0]],
        &[[far, PAGE, far, u64::MAX - PAGE + 2]],
        &[[far, 17 * PAGE, far, 0]],
        &[apart, [far + PAGE - 1, PAGE, far + 8 * PAGE, 0]],
        &[apart, [far + 8 * PAGE, PAGE, far + PAGE - 1, 0]],
    ];
    for regions in tables {
        let files = vec![file.as_fd(); regions.len()];
        let front = &mut stage.machines[0].front;
        assert!(!front.try_tell(SET_MEM_TABLE, &table(regions), &files), "{regions:x?}");
        stage.expect_passes(0, 0..10);
        stage.expect_passes(1, 0..10);
    }
}

#[test]
fn slots_end_and_are_free_again() {
    let mut stage = Stage::new("slots", [shape(false); 2]);
    stage.start();
    let before = stage.open_descriptors();
    let file = memory(PAGE);
    let front = &mut stage.machines[0].front;
    let slots = u64::from_le_bytes(front.ask(GET_MAX_MEM_SLOTS, &[]).try_into().unwrap());
    let region = |number: u64| [(1 << 40) + number * PAGE, PAGE, (1 << 40) + number * PAGE, 0];
    // Two are the guest's own.
    let more = slots - 2;
    assert!((0..more).all(|number| add(front, region(number), &file)));
    assert!(!add(front, region(more), &file), "one too many");
    assert!(!front.try_tell(REM_MEM_REG, &slot(region(more)), &[]), "one that is not there");
    assert!((0..more).all(|number| front.try_tell(REM_MEM_REG, &slot(region(number)), &[])));
    assert!(!front.try_tell(REM_MEM_REG, &slot(region(0)), &[]), "twice");
    assert!(add(front, region(0), &file));
    assert!(!add(front, region(0), &file), "over another one");
    front.tell(REM_MEM_REG, &slot(region(0)), &[]);
    until("descriptors are closed", || stage.open_descriptors() == before);
    stage.expect_passes(0, 0..50);
    stage.expect_passes(1, 0..50);
}

#[test]
fn log_that_cannot_be_is_refused_and_frames_pass() {
    let mut stage = Stage::new("log-refused", [shape(false), shape(true)]);
    stage.start();
    let file = memory(PAGE);
    for (len, offset) in [(u64::MAX, 8), (PAGE, u64::MAX - 8), (0, 0), (2 * PAGE, 0), (PAGE, PAGE), (8, 3)] {
        let words = [len, offset].map(u64::to_le_bytes);
        let front = &mut stage.machines[0].front;
        assert!(!front.try_tell(SET_LOG_BASE, words.as_flattened(), &[file.as_fd()]), "{len} at {offset}");
        stage.expect_passes(0, 0..10);
    }
}

#[test]
fn rings_are_described_anew_and_reset_while_they_run() {
    let mut stage = Stage::new("anew", [shape(false), shape(true)]);
    stage.start();
    for size in [0u32, 3 << 15, u32::MAX] {
        let state = [1, size].map(u32::to_le_bytes);
        assert!(!stage.machines[0].front.try_tell(SET_VRING_NUM, state.as_flattened(), &[]), "{size}");
        stage.expect_passes(0, 0..10);
    }
    // Stopped twice, it stands where it stood.
    let front = &mut stage.machines[0].front;
    let bases = [0, 1].map(|ring| [front.stop(ring), front.stop(ring)]);
    assert!(bases.iter().all(|[first, again]| first == again), "{bases:?}");
    stage.machines[0].start_rings(bases.map(|[base, _again]| base));
    stage.expect_passes(1, 0..50);
    // Its owner lets go of it, and it is taken up again where it stood.
    stage.machines[0].front.tell(RESET_OWNER, &[], &[]);
    let front = &mut stage.machines[0].front;
    let bases = [0, 1].map(|ring| front.stop(ring));
    stage.machines[0].start_rings(bases);
    stage.expect_passes(0, 0..50);
}

#[test]
fn features_change_with_the_driver_and_only_offered_ones_do() {
    let mut stage = Stage::new("features-change", [shape(false); 2]);
    stage.start();
    let all = Machine::features(shape(false)) | PROTOCOL_FEATURES;
    let front = &mut stage.machines[0].front;
    assert!(!front.try_tell(SET_FEATURES, &(all | feature::GUEST_UFO).to_le_bytes(), &[]));
    stage.expect_passes(0, 0..20);
    // As a firmware's driver and the system's after it.
    for features in [all & !feature::EVENT_IDX, all] {
        let front = &mut stage.machines[0].front;
        let bases = [0, 1].map(|ring| front.stop(ring));
        front.tell(SET_FEATURES, &features.to_le_bytes(), &[]);
        stage.machines[0].start_rings(bases);
    }
    stage.expect_passes(0, 20..40);
    stage.expect_passes(1, 0..40);
}

#[test]
fn descriptors_that_are_replaced_a_thousand_times_are_closed() {
    let mut stage = Stage::new("replaced", [shape(false); 2]);
    stage.start();
    let before = stage.open_descriptors();
    let machine = &mut stage.machines[0];
    for _round in 0..1000 {
        machine.front.tell(SET_VRING_CALL, &0u64.to_le_bytes(), &[machine.bells[0].call.as_fd()]);
    }
    until("descriptors are closed", || stage.open_descriptors() == before);
    stage.expect_passes(0, 0..50);
}

#[test]
fn guest_that_kicks_all_the_time_holds_nobody_up() {
    let mut stage = Stage::new("kicks", [shape(false); 2]);
    stage.start();
    let has_passed = AtomicBool::new(false);
    let kick = stage.machines[0].bells[1].kick.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !has_passed.load(Ordering::Relaxed) {
                rustix::io::write(&kick, &1u64.to_ne_bytes()).unwrap();
            }
        });
        let passes = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            stage.expect_passes(1, 0..200);
            stage.expect_passes(0, 0..200);
        }));
        has_passed.store(true, Ordering::Relaxed);
        passes.expect("frames pass");
    });
}
