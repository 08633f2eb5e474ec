//! A guest says by its control queue how many of its queue pairs it uses.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use framewire_shared::counters::DropReason;
use framewire_shared::driver::DriverOptions;
use framewire_shared::handover::{Build, Message};
use framewire_shared::happenings::HappeningKind;
use framewire_shared::plan::Section;
use framewire_shared::region::FOREMAN;
use framewire_shared::session::{Serve, feature};
use framewire_tests::guest::front::Bells;
use framewire_tests::guest::{
    Controller, Front, GuestMemory, Layout, Manners, Receiver, Ring, Shape, Transmitter,
};

use crate::plane::{Plane, cable};
use crate::stage::{Vaulted, until};

const SIZE: u16 = 16;
const CONTROL: u32 = 4;
const SESSION: u64 = 11;
const FEATURES: u64 = feature::VERSION_1 | feature::CTRL_VQ | feature::MQ;

/// Two pairs of one NIC, which face each other.
struct Scene {
    plane: Plane,
    _session: Vaulted,
    front: Front,
    bells: [Bells; 4],
    receivers: [Receiver; 2],
    transmitters: [Transmitter; 2],
    controller: Controller,
}

impl Scene {
    fn new() -> Scene {
        let plane = Plane::start("pairs");
        for queue in [1, 2] {
            let counter_slot = u32::try_from(queue).unwrap();
            let build = Build { queue, counter_slot, counters_go_on: false, options: DriverOptions::Guest };
            assert_eq!(plane.ask(Message::Build(build)), Message::Built(queue));
        }
        plane.publish(&mut [cable(1, 2), Section::default()]);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut session = Vaulted::of(SESSION, 1, ours);
        session.serve = Serve::new(SESSION, 1, 2, feature::SERVED);
        assert_eq!(session.hand_over(&plane), Message::Serving(SESSION));
        let memory = GuestMemory::new(&[(1 << 32, 8 << 20)]);
        let shape = Shape::plain(false, SIZE);
        let manners = Manners { modern: true, mergeable: false };
        let receiver = || Receiver::new(&memory, 0, shape, manners, (2048, &Layout::default()));
        let mut scene = Scene {
            plane,
            _session: session,
            front: Front::new(theirs),
            bells: std::array::from_fn(|_ring| Bells::default()),
            receivers: [receiver(), receiver()],
            transmitters: [(); 2].map(|()| Transmitter::new(&memory, 0, shape, 2048)),
            controller: Controller::new(&memory, 0, shape),
        };
        scene.start(&memory);
        scene
    }

    fn start(&mut self, memory: &Arc<GuestMemory>) {
        self.front.negotiate(FEATURES);
        self.front.set_memory(memory);
        for receiver in &mut self.receivers {
            receiver.refill(SIZE.into());
            receiver.ring.publish();
        }
        let [receiver_0, receiver_1] = &self.receivers;
        let [transmitter_0, transmitter_1] = &self.transmitters;
        let rings: [&Ring; 4] =
            [&receiver_0.ring, &transmitter_0.ring, &receiver_1.ring, &transmitter_1.ring];
        for ((index, ring), bells) in (0..).zip(rings).zip(&self.bells) {
            self.front.start(index, (ring, SIZE), 0, bells);
        }
        self.front.start(CONTROL, (&self.controller.ring, SIZE), 0, &self.controller.bells);
        (0..=CONTROL).for_each(|ring| self.front.enable(ring, true));
    }

    #[track_caller]
    fn use_pairs(&mut self, pairs: u8) -> u8 {
        self.controller.ask(&[4, 0, pairs, 0], 64, false);
        let mut answer = None;
        until("the command is answered", || {
            answer = self.controller.answer();
            answer.is_some()
        });
        answer.unwrap()
    }

    /// A frame of one pair, which the other gets or not.
    fn passes(&mut self, from: usize) -> bool {
        let transmitter = &mut self.transmitters[from];
        assert!(transmitter.send(&[0; 12], &[2; 60], &Layout::default()));
        transmitter.ring.publish();
        rustix::io::write(&self.bells[2 * from + 1].kick, &1u64.to_ne_bytes()).unwrap();
        until("the frame is done with", || self.transmitters[from].reclaim() == 1);
        let receiver = &mut self.receivers[1 - from];
        let has_passed = receiver.receive().is_some();
        receiver.refill(SIZE.into());
        receiver.ring.publish();
        has_passed
    }

    /// How many pairs were told to be in use last.
    fn told(&self) -> Option<u64> {
        let next = || self.plane.status.happenings[FOREMAN].pop(&self.plane.config.read[FOREMAN]);
        let pairs = std::iter::from_fn(next).filter(|told| told.kind == HappeningKind::SessionPairs);
        pairs.last().map(|told| told.detail)
    }
}

#[test]
fn pairs_that_a_guest_does_not_use_are_not_served() {
    let mut scene = Scene::new();
    until("the first pair is told to be in use", || scene.told() == Some(1));
    assert!(!scene.passes(0) && !scene.passes(1));
    for pairs in [0, 3, 255] {
        assert_eq!(scene.use_pairs(pairs), 1, "{pairs} pairs");
    }
    for _again in 0..3 {
        assert_eq!(scene.use_pairs(2), 0);
        assert!(scene.passes(0) && scene.passes(1));
        until("both are told to be in use", || scene.told() == Some(2));
        assert_eq!(scene.use_pairs(1), 0);
        assert!(!scene.passes(0) && !scene.passes(1));
        until("one is told to be in use", || scene.told() == Some(1));
    }
    let dropped = |slot: usize| {
        let counters = &scene.plane.status.queue_counters[slot];
        counters.dropped[DropReason::NotReady as usize].get()
    };
    // What the one that is not served transmits is dropped as well, and counted where it came in.
    assert_eq!((dropped(1), dropped(2)), (0, 8));
}
