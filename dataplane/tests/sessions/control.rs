//! Guests that say by their control queue what they want: every command, what it does to frames, what is told of it, and
//! what becomes of a guest that says what cannot be.

use framewire_shared::counters::DropReason;
use framewire_shared::handover::Message;
use framewire_shared::happenings::{Happening, HappeningKind};
use framewire_shared::rx_filter::{RxFilter, mode};
use framewire_shared::session::feature;
use framewire_tests::guest::{Controller, Layout, Piece, Shape};

use crate::stage::{Stage, shape, until};

const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];
const BROADCAST: [u8; 6] = [0xff; 6];

const CONTROL: u64 = feature::CTRL_VQ
    | feature::CTRL_RX
    | feature::CTRL_VLAN
    | feature::CTRL_RX_EXTRA
    | feature::CTRL_MAC_ADDR
    | feature::GUEST_ANNOUNCE;
const RING: u32 = 2;
const SIZE: u16 = 8;
const DONE: u8 = 0;
const REFUSED: u8 = 1;

/// The listener of two guests has a control queue.
struct Scene {
    stage: Stage,
    controller: Controller,
}

fn control_shape(packed: bool) -> Shape {
    Shape { size: SIZE, ..shape(packed) }
}

fn base(packed: bool) -> u32 {
    if packed { 0x8000_8000 } else { 0 }
}

impl Scene {
    fn new(name: &str, packed: bool) -> Scene {
        let mut stage = Stage::new(&format!("control-{name}-{packed}"), [shape(packed); 2]);
        stage.machines[0].start();
        stage.machines[1].start_with(CONTROL);
        let controller = Controller::new(&stage.machines[1].memory, 1, control_shape(packed));
        let mut scene = Scene { stage, controller };
        scene.start_control(base(packed));
        scene
    }

    fn start_control(&mut self, base: u32) {
        let front = &mut self.stage.machines[1].front;
        front.start(RING, (&self.controller.ring, SIZE), base, &self.controller.bells);
        front.enable(RING, true);
    }

    #[track_caller]
    fn answer(&mut self) -> u8 {
        let mut answer = None;
        until("the command is answered", || {
            answer = self.controller.answer();
            answer.is_some()
        });
        answer.unwrap()
    }

    #[track_caller]
    fn ask(&mut self, command: &[u8]) -> u8 {
        self.controller.ask(command, 1000, false);
        self.answer()
    }

    #[track_caller]
    fn choose(&mut self, commands: &[&[u8]]) {
        for command in commands {
            assert_eq!(self.ask(command), DONE, "{command:?}");
        }
    }

    /// Which of these frames the listener gets, when the other guest has sent all.
    fn through(&mut self, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let [talker, listener] = &mut self.stage.machines[..] else { unreachable!("there are two") };
        talker.transmitter.reclaim();
        for frame in frames {
            assert!(talker.transmitter.send(&[0; 12], frame, &Layout::default()));
        }
        talker.transmitter.ring.publish();
        talker.kick(1);
        let mut gone = 0;
        until("all frames are done with", || {
            gone += talker.transmitter.reclaim();
            gone == frames.len()
        });
        listener.frames()
    }

    fn filter(&self) -> RxFilter {
        let number = self.stage.sessions[1].serve.session;
        let answer = self.stage.plane.ask(Message::AskFilter(number));
        let Message::Filter(session, filter) = answer else { panic!("{answer:?}") };
        assert_eq!(session, number);
        filter
    }

    fn has_told(&self) -> bool {
        let happening = self.stage.happening();
        let queue = self.stage.sessions[1].serve.session;
        let told = Happening { kind: HappeningKind::FilterChanged, queue, detail: 0 };
        assert!(happening.is_none_or(|happening| happening == told), "{happening:?}");
        happening.is_some()
    }
}

fn frame(to: [u8; 6], vlan: Option<u16>) -> Vec<u8> {
    let tag = vlan.map(|vlan| [[0x81, 0], vlan.to_be_bytes()].concat()).unwrap_or_default();
    [&to[..], &[2, 0, 0, 0, 0, 9], &tag, &[0x88, 0xb5], &[7; 50]].concat()
}

fn frames() -> Vec<Vec<u8>> {
    vec![
        frame(OWN, None),
        frame(OTHER, None),
        frame(GROUP, None),
        frame(BROADCAST, None),
        frame(OWN, Some(5)),
        frame(OWN, Some(9)),
    ]
}

/// Commands, and which of [`frames`] get through after each.
const STEPS: &[(&[u8], [bool; 6])] = &[
    (&[0, 0, 0], [true, false, false, true, false, false]),
    (&[2, 0, 5, 0], [true, false, false, true, true, false]),
    (&[2, 0, 9, 0], [true, false, false, true, true, true]),
    (&[2, 1, 5, 0], [true, false, false, true, false, true]),
    (&[0, 1, 1], [true, false, true, true, false, true]),
    (&[0, 1, 0], [true, false, false, true, false, true]),
    (&[0, 2, 1], [true, true, false, true, false, true]),
    (&[0, 2, 0], [true, false, false, true, false, true]),
    // A table of one address and one group, then another one.
    (
        &[1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 2, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1],
        [true, true, true, true, false, true],
    ),
    (&[0, 3, 1], [true, true, false, true, false, true]),
    (&[0, 3, 0], [true, true, true, true, false, true]),
    (&[0, 4, 1], [false, false, true, true, false, false]),
    (&[0, 4, 0], [true, true, true, true, false, true]),
    (&[0, 5, 1], [true, true, true, false, false, true]),
    (&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0], [true, false, false, false, false, true]),
    // Another address of its own.
    (&[1, 1, 2, 0, 0, 0, 0, 2], [false, true, false, false, false, false]),
    (&[0, 0, 1], [true; 6]),
];

#[test]
fn guest_gets_what_it_has_chosen_and_nothing_else() {
    for packed in [false, true] {
        let mut scene = Scene::new("choose", packed);
        let frames = frames();
        assert_eq!(scene.through(&frames), frames, "a guest that has said nothing gets everything");
        let mut filtered = 0;
        for (command, passes) in STEPS {
            assert_eq!(scene.ask(command), DONE, "{command:?}");
            let wanted: Vec<_> = frames
                .iter()
                .zip(passes)
                .filter(|(_frame, passes)| **passes)
                .map(|(frame, _)| frame)
                .collect();
            filtered += (frames.len() - wanted.len()) as u64;
            assert_eq!(scene.through(&frames).iter().collect::<Vec<_>>(), wanted, "after {command:?}");
        }
        let counters = &scene.stage.plane.status.queue_counters[2];
        assert_eq!(counters.dropped[DropReason::Filtered as usize].get(), filtered);
    }
}

#[test]
fn tables_that_are_too_long_let_everything_of_their_kind_through() {
    let mut scene = Scene::new("overflow", false);
    let mut command = vec![1, 0, 65, 0, 0, 0];
    (0..65).for_each(|last| command.extend([2, 0, 0, 0, 1, last]));
    command.extend([0; 4]);
    scene.choose(&[&[0, 0, 0], &command]);
    let wanted = [frame(OWN, None), frame(OTHER, None), frame(BROADCAST, None)];
    assert_eq!(scene.through(&frames()), wanted);
    let filter = scene.filter();
    assert!(filter.has(mode::UNICAST_OVERFLOW) && filter.unicast().is_empty());
}

#[test]
fn change_is_told_once_until_somebody_has_asked() {
    let mut scene = Scene::new("told", false);
    assert!(scene.filter().has(mode::HEARD | mode::PROMISCUOUS));
    for round in 0..3u8 {
        scene.choose(&[&[0, 0, 0], &[0, 1, 1], &[2, 0, 5, 0]]);
        assert!(scene.has_told(), "in round {round}");
        scene.choose(&[&[0, 1, 1], &[1, 1, 2, 0, 0, 0, 0, round]]);
        assert!(!scene.has_told(), "in round {round}");
        let filter = scene.filter();
        assert!(filter.has(mode::ALL_MULTICAST) && !filter.has(mode::PROMISCUOUS));
        assert_eq!((filter.mac[5], filter.vlans().collect::<Vec<_>>()), (round, vec![5]));
        assert_eq!(scene.ask(&[9, 0, 1]), REFUSED);
        assert!(!scene.has_told(), "what was refused is not told");
    }
}

#[test]
fn what_was_chosen_outlives_the_data_plane() {
    for packed in [false, true] {
        let mut scene = Scene::new("kill", packed);
        scene.choose(&[&[0, 0, 0], &[2, 0, 5, 0]]);
        assert!(scene.has_told());
        let wanted = [frame(OWN, None), frame(BROADCAST, None), frame(OWN, Some(5))];
        for round in 0..5u8 {
            scene.stage.replace_plane(&format!("control-kill-{packed}-{round}"));
            assert_eq!(scene.through(&frames()), wanted);
            // More commands than the ring has entries.
            for _again in 0..5 {
                scene.choose(&[&[2, 0, 9, 0], &[2, 1, 9, 0]]);
            }
            assert!(!scene.has_told(), "the successor knows that it was told");
            assert_eq!(scene.through(&frames()), wanted);
        }
        assert_eq!(scene.filter().vlans().collect::<Vec<_>>(), [5]);
        scene.choose(&[&[0, 0, 1]]);
        assert!(scene.has_told());
    }
}

#[test]
fn command_that_was_not_answered_is_answered_by_the_successor() {
    for packed in [false, true] {
        let mut scene = Scene::new("late", packed);
        for round in 0..8u8 {
            // Killed before, while or after it looks.
            scene.controller.ask(&[2, round % 2, 5, 0], 2, false);
            scene.stage.replace_plane(&format!("control-late-{packed}-{round}"));
            assert_eq!(scene.answer(), DONE);
            assert_eq!(scene.filter().vlans().count(), usize::from(1 - round % 2), "in round {round}");
        }
    }
}

#[test]
fn what_is_no_command_is_refused_and_changes_nothing() {
    for packed in [false, true] {
        let mut scene = Scene::new("refuse", packed);
        scene.choose(&[&[0, 0, 0]]);
        let before = scene.filter();
        let long: &[u8] = &[0; 3000];
        let malformed: &[&[u8]] = &[
            &[],
            &[0],
            &[0, 0],
            &[0, 1, 1, 1],
            &[0, 6, 1],
            &[0, 77, 1],
            &[9, 0, 1],
            &[255; 64],
            &[1, 0, 1, 0, 0, 0],
            &[1, 0, 255, 255, 255, 255, 0, 0, 0, 0],
            &[1, 1, 2, 0, 0, 0, 0],
            &[2, 0, 0, 0x10],
            &[2, 2, 5, 0],
            &[3, 0],
            &[4, 0, 1, 0],
            long,
        ];
        for command in malformed {
            for (piece, is_indirect) in [(1000, false), (1000, true)] {
                scene.controller.ask(command, piece, is_indirect);
                assert_eq!(scene.answer(), REFUSED, "{command:?}");
            }
        }
        assert_eq!(scene.filter(), before);
        // In many pieces, and by a table.
        for piece in [1, 2, 3] {
            scene.controller.ask(&[2, 0, 5, 0], piece, true);
            assert_eq!(scene.answer(), DONE);
        }
    }
}

#[test]
fn guest_that_breaks_its_control_queue_loses_that_and_nothing_else() {
    type Break = fn(&mut Controller);
    let without_answer: Break = |controller| {
        let pieces = controller.command_pieces(&[0, 0, 0], 2);
        controller.post(&pieces, false);
    };
    let answer_first: Break = |controller| {
        let mut pieces = vec![controller.answer_piece()];
        pieces.extend(controller.command_pieces(&[0, 0, 0], 2));
        controller.post(&pieces, false);
    };
    let nowhere: Break = |controller| {
        let nowhere = Piece { address: 1 << 50, len: 2, writable: false };
        controller.post(&[nowhere, controller.answer_piece()], false);
    };
    let looped: Break = |controller| {
        if let framewire_tests::guest::Ring::Split(ring) = &mut controller.ring {
            ring.write_descriptor(0, 0x1000, 2, 1, 1);
            ring.write_descriptor(1, 0x1000, 2, 1, 0);
            ring.push_head(0);
            controller.ring.publish();
            controller.kick();
        } else {
            // A chain as long as the ring that goes on.
            let pieces = vec![Piece { address: 1 << 32, len: 2, writable: false }; SIZE.into()];
            controller.post(&pieces, false);
        }
    };
    for packed in [false, true] {
        for (number, break_it) in [without_answer, answer_first, nowhere, looped].into_iter().enumerate() {
            let mut scene = Scene::new(&format!("break-{number}"), packed);
            scene.choose(&[&[0, 0, 0]]);
            assert!(scene.has_told());
            break_it(&mut scene.controller);
            let mut fault = None;
            until("the fault is told", || {
                fault = fault.or_else(|| scene.stage.happening());
                fault.is_some()
            });
            assert_eq!(fault.unwrap().kind, HappeningKind::GuestFault);
            // Frames flow on, through what was chosen before.
            assert_eq!(scene.through(&frames()), [frame(OWN, None), frame(BROADCAST, None)]);
            scene.stage.expect_passes(1, 0..50);
            // Another driver begins anew.
            let memory = &scene.stage.machines[1].memory;
            scene.controller = Controller::new(memory, 1, control_shape(packed));
            scene.stage.machines[1].front.stop(RING);
            scene.start_control(base(packed));
            assert_eq!(scene.through(&frames()), frames());
            scene.choose(&[&[0, 0, 0], &[0, 0, 1]]);
        }
    }
}

#[test]
fn control_queue_that_nobody_kicks_is_looked_at() {
    let mut scene = Scene::new("polled", false);
    scene.choose(&[&[0, 0, 0]]);
    const NO_DESCRIPTOR: u64 = 1 << 8;
    let word = u64::from(RING) | NO_DESCRIPTOR;
    scene.stage.machines[1].front.tell(12, &word.to_le_bytes(), &[]);
    scene.choose(&[&[0, 1, 1], &[2, 0, 5, 0]]);
    assert!(scene.filter().has(mode::ALL_MULTICAST));
}

#[test]
fn guest_that_asks_without_end_holds_nobody_up() {
    let mut scene = Scene::new("flood", false);
    for _round in 0..200 {
        // As many as the ring has room for, each another filter.
        let mut asked = 0;
        for number in 0..SIZE / 2 {
            let mut pieces = scene.controller.command_pieces(&[0, 0, u8::from(number % 2 == 0)], 3);
            pieces.push(scene.controller.answer_piece());
            scene.controller.post(&pieces, false);
            asked += 1;
        }
        until("all are answered", || {
            while scene.controller.ring.used().is_some() {
                asked -= 1;
            }
            asked == 0
        });
    }
    scene.choose(&[&[0, 0, 1]]);
    scene.stage.expect_passes(0, 0..100);
    scene.stage.expect_passes(1, 0..100);
}
