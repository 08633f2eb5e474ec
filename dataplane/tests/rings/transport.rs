//! Every frame once, in order and intact, whatever was negotiated and however chains are laid out.

use std::collections::VecDeque;

use framewire_dataplane::driver::AnyQueue;
use framewire_dataplane::driver::guest::Accepts;
use framewire_tests::guest::{GuestMemory, Layout, Manners, Receiver, Shape, Transmitter};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::rig::{REGIONS, Rig, counters, device, manners};

fn shape() -> impl Strategy<Value = Shape> {
    let size = prop_oneof![Just(1u16), Just(2), Just(4), Just(16), Just(64), Just(256)];
    (any::<[bool; 4]>(), size).prop_map(|([packed, event_index, in_order, indirect], size)| Shape {
        packed,
        size,
        event_index,
        in_order,
        indirect,
    })
}

fn layout() -> impl Strategy<Value = Layout> {
    let cut = prop_oneof![4 => 1..30usize, 1 => Just(10), 1 => Just(12), 2 => 30..2000usize];
    (vec(cut, 0..5), any::<bool>()).prop_map(|(cuts, indirect)| Layout { cuts, indirect })
}

/// What a test does, step by step.
#[derive(Debug, Clone)]
enum Step {
    Send(usize, Layout),
    Publish,
    Refill(usize),
    Carry,
    Receive,
    Reclaim,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![4 => 14..100usize, 2 => 100..1514usize, 1 => 1514..9000usize];
    prop_oneof![
        6 => (len, layout()).prop_map(|(len, layout)| Step::Send(len, layout)),
        3 => Just(Step::Publish),
        3 => (1..40usize).prop_map(Step::Refill),
        3 => Just(Step::Carry),
        2 => Just(Step::Receive),
        1 => Just(Step::Reclaim),
    ]
}

#[derive(Debug, Clone)]
struct Setting {
    transmit: Shape,
    receive: Shape,
    sender: Manners,
    receiver: Manners,
    buffers: Layout,
    buffer_bytes: usize,
}

fn setting() -> impl Strategy<Value = Setting> {
    let manners = || any::<[bool; 2]>().prop_map(|[modern, mergeable]| Manners { modern, mergeable });
    (shape(), shape(), manners(), manners(), layout(), 100..3000usize).prop_map(
        |(transmit, receive, sender, receiver, buffers, small)| {
            // Who takes no frame in several buffers has large ones.
            let buffer_bytes = if receiver.mergeable { small } else { 9100 };
            Setting { transmit, receive, sender, receiver, buffers, buffer_bytes }
        },
    )
}

struct Pair {
    transmitter: Transmitter,
    receiver: Receiver,
    rig: Rig,
    setting: Setting,
    expected: VecDeque<Vec<u8>>,
    sent: usize,
    reclaimed: usize,
    counter: u8,
}

impl Pair {
    fn new(setting: Setting) -> Pair {
        let memories = [GuestMemory::new(&REGIONS), GuestMemory::new(&REGIONS)];
        let plain = Shape::plain(false, 16);
        let no_layout = Layout::default();
        let transmitter = Transmitter::new(&memories[0], 1, setting.transmit, 9100);
        let unused_receiver = Receiver::new(&memories[0], 0, plain, setting.sender, (64, &no_layout));
        let unused_transmitter = Transmitter::new(&memories[1], 0, plain, 64);
        let buffers = (setting.buffer_bytes, &setting.buffers);
        let receiver = Receiver::new(&memories[1], 1, setting.receive, setting.receiver, buffers);
        let left = device(
            &memories[0],
            (&transmitter, setting.transmit),
            (&unused_receiver, plain),
            manners(setting.sender, Accepts::default()),
            counters(),
        );
        let right = device(
            &memories[1],
            (&unused_transmitter, plain),
            (&receiver, setting.receive),
            manners(setting.receiver, Accepts::default()),
            counters(),
        );
        let rig = Rig::new([AnyQueue::Guest(left), AnyQueue::Guest(right)]);
        let expected = VecDeque::new();
        Pair { transmitter, receiver, rig, setting, expected, sent: 0, reclaimed: 0, counter: 0 }
    }

    /// Whether the receiver has buffers for it, if all were free.
    fn fits(&self, len: usize) -> bool {
        let setting = &self.setting;
        let pieces = 1 + setting.buffers.cuts.len();
        let per_buffer = if setting.buffers.indirect && setting.receive.indirect { 1 } else { pieces };
        let buffers = (usize::from(setting.receive.size) / per_buffer).min(64);
        let buffers = if setting.receiver.mergeable { buffers } else { buffers.min(1) };
        let table_fits = pieces <= usize::from(setting.receive.size);
        table_fits && len + setting.receiver.header_bytes() <= buffers * setting.buffer_bytes
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Send(len, layout) => {
                let pieces = 1 + layout.cuts.len();
                if !self.fits(*len) || pieces > usize::from(self.setting.transmit.size) {
                    return;
                }
                self.counter = self.counter.wrapping_add(1);
                let frame: Vec<u8> = (0u8..=255)
                    .cycle()
                    .take(*len)
                    .map(|at| at.wrapping_mul(31).wrapping_add(self.counter))
                    .collect();
                let header = vec![0; self.setting.sender.header_bytes()];
                if self.transmitter.send(&header, &frame, layout) {
                    self.expected.push_back(frame);
                    self.sent += 1;
                }
            }
            Step::Publish => {
                self.transmitter.ring.publish();
            }
            Step::Refill(count) => {
                self.receiver.refill(*count);
                self.receiver.ring.publish();
            }
            Step::Carry => {
                self.rig.carry(0);
            }
            Step::Receive => self.receive(),
            Step::Reclaim => self.reclaimed += self.transmitter.reclaim(),
        }
    }

    fn receive(&mut self) {
        while let Some(received) = self.receiver.receive() {
            let expected = self.expected.pop_front().expect("a frame that nobody sent");
            assert_eq!(received.frame, expected);
            assert!(received.header[..10].iter().all(|byte| *byte == 0));
        }
    }

    fn finish(&mut self) {
        for _round in 0..3000 {
            if self.expected.is_empty() && self.reclaimed == self.sent {
                return;
            }
            for step in [Step::Publish, Step::Refill(300), Step::Carry, Step::Receive, Step::Reclaim] {
                self.step(&step);
            }
        }
        panic!(
            "{} frames did not arrive, {} of {} came back",
            self.expected.len(),
            self.reclaimed,
            self.sent
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_frame_arrives_once_in_order_and_intact(setting in setting(), steps in vec(step(), 1..200)) {
        let mut pair = Pair::new(setting);
        steps.iter().for_each(|step| pair.step(step));
        pair.finish();
        prop_assert_eq!(pair.rig.happening(), None);
    }
}

/// A checksum that the receiver wants completed: flags, and where the sum is to go of what.
const UNFINISHED: [u8; 12] = [1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0];

#[test]
fn frames_that_are_finished_for_a_driver_arrive_though_it_offers_no_more_buffers() {
    for packed in [false, true] {
        let both = Manners { modern: true, mergeable: false };
        let shape = Shape::plain(packed, 64);
        let buffers = Layout::default();
        let setting = Setting {
            transmit: shape,
            receive: shape,
            sender: both,
            receiver: both,
            buffers,
            buffer_bytes: 2048,
        };
        let mut pair = Pair::new(setting);
        // Once, as drivers do: they offer more when they have used up many.
        pair.step(&Step::Refill(64));
        for round in 1..20 {
            assert!(pair.transmitter.send(&UNFINISHED, &[7; 60], &Layout::default()));
            pair.step(&Step::Publish);
            pair.rig.carry_all(0);
            assert!(pair.receiver.receive().is_some(), "frame {round}, packed: {packed}");
            assert_eq!(pair.transmitter.reclaim(), 1);
        }
    }
}
