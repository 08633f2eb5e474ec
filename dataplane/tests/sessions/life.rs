//! What decent front ends do: start, stop, start again, hang up, and outlive the data plane.

use framewire_shared::driver::DriverOptions;
use framewire_shared::handover::{Build, Message, Step};
use framewire_shared::happenings::{Happening, HappeningKind};
use framewire_shared::region::FOREMAN;
use framewire_shared::session::{SessionEnd, feature};
use framewire_tests::guest::front::PROTOCOL_FEATURES;

use crate::stage::{Machine, Stage, Vaulted, shape, until};

const LAYOUTS: [[bool; 2]; 3] = [[false, false], [true, true], [false, true]];

#[test]
fn guests_hear_each_other_whatever_their_rings() {
    for packed in LAYOUTS {
        let mut stage = Stage::new(&format!("hear-{packed:?}"), packed.map(shape));
        stage.start();
        stage.expect_passes(0, 0..100);
        stage.expect_passes(1, 0..100);
    }
}

#[test]
fn features_that_were_agreed_on_are_told() {
    let mut stage = Stage::new("features", [shape(false); 2]);
    stage.machines[0].start();
    let happening = stage.plane.status.happenings[FOREMAN].pop(&stage.plane.config.read[FOREMAN]).unwrap();
    let detail = Machine::features(shape(false)) | PROTOCOL_FEATURES;
    assert_eq!(happening, Happening { kind: HappeningKind::SessionFeatures, queue: 11, detail });
}

#[test]
fn ring_that_is_stopped_goes_on_where_it_was() {
    for packed in LAYOUTS {
        let mut stage = Stage::new(&format!("stop-{packed:?}"), packed.map(shape));
        stage.start();
        for round in 0..5 {
            stage.expect_passes(0, 20 * round..20 * round + 20);
            let machine = &mut stage.machines[usize::from(round % 2)];
            let bases = [0, 1].map(|ring| machine.front.stop(ring));
            machine.start_rings(bases);
        }
    }
}

#[test]
fn memory_that_is_handed_over_again_changes_nothing() {
    let mut stage = Stage::new("memory", [shape(false), shape(true)]);
    stage.start();
    stage.expect_passes(0, 0..50);
    for machine in &mut stage.machines {
        machine.front.set_memory(&machine.memory);
    }
    stage.expect_passes(0, 50..100);
    stage.expect_passes(1, 0..100);
}

#[test]
fn front_end_that_hangs_up_leaves_nothing_behind_and_another_may_come() {
    let mut stage = Stage::new("hang-up", [shape(false); 2]);
    let before = stage.open_descriptors();
    stage.start();
    stage.expect_passes(0, 0..50);
    for round in 0..20 {
        let mut machine = stage.machines.remove(0);
        machine.front.socket().shutdown(std::net::Shutdown::Both).unwrap();
        let (kind, queue, detail) = (HappeningKind::SessionEnded, 11 + 2 * round, SessionEnd::HungUp as u64);
        until("the end is told", || stage.happening() == Some(Happening { kind, queue, detail }));
        let (session, theirs) = Vaulted::new(11 + 2 * (round + 1), 1);
        assert_eq!(session.hand_over(&stage.plane), Message::Serving(session.serve.session));
        stage.sessions[0] = session;
        stage.machines.insert(0, Machine::new(theirs, shape(round % 2 == 0), machine.memory));
        stage.machines[0].start();
    }
    stage.expect_passes(0, 50..100);
    for session in stage.sessions.drain(..) {
        let number = session.serve.session;
        assert_eq!(stage.plane.ask(Message::Part(number)), Message::Parted(number));
    }
    // Three descriptors came with each of two sessions.
    until("descriptors are closed", || stage.open_descriptors() == before - 6);
    assert_eq!(stage.happening(), None, "whoever asked for an end is not told of it");
}

#[test]
fn killed_data_plane_is_replaced_and_front_ends_notice_nothing() {
    for packed in LAYOUTS {
        let mut stage = Stage::new(&format!("kill-{packed:?}"), packed.map(shape));
        stage.start();
        stage.expect_passes(0, 0..20);
        for round in 1..6u8 {
            stage.replace_plane(&format!("kill-{packed:?}-{round}"));
            stage.expect_passes(0, 20 * round..20 * round + 20);
            stage.expect_passes(1, 0..20);
        }
        assert_eq!(stage.happening(), None);
    }
}

#[test]
fn front_end_may_go_on_talking_to_a_successor() {
    let mut stage = Stage::new("talk", [shape(false), shape(true)]);
    stage.start();
    stage.expect_passes(0, 0..20);
    stage.replace_plane("talk-2");
    for machine in &mut stage.machines {
        let bases = [0, 1].map(|ring| machine.front.stop(ring));
        machine.start_rings(bases);
    }
    stage.expect_passes(0, 20..40);
    stage.expect_passes(1, 0..40);
}

#[test]
fn session_of_no_nic_or_a_second_one_is_refused() {
    let stage = Stage::new("second", [shape(false); 2]);
    let refusal = |session, queue, number| {
        let (session, _theirs) = Vaulted::new(session, queue);
        let failed = Message::Failed(session.serve.session, Step::Session, number);
        assert_eq!(session.hand_over(&stage.plane), failed);
    };
    refusal(30, 1, libc::EBUSY);
    refusal(11, 1, libc::EEXIST);
    refusal(30, 99, libc::EINVAL);
    let options = DriverOptions::Null;
    let build = Build { queue: 3, counter_slot: 3, counters_go_on: false, options };
    assert_eq!(stage.plane.ask(Message::Build(build)), Message::Built(3));
    refusal(30, 3, libc::EINVAL);
}

#[test]
fn configuration_is_what_the_nic_was_given() {
    let mut stage = Stage::new("config", [shape(false); 2]);
    let front = &mut stage.machines[0].front;
    assert_ne!(front.negotiate(0) & feature::MAC, 0);
    let room = [&[0; 4][..], &12u32.to_le_bytes(), &[0; 4], &[0; 12]].concat();
    let config = front.ask(24, &room);
    assert_eq!(config[12..], [2, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0]);
    assert_eq!(front.ask(17, &[]), 1u64.to_le_bytes());
}
