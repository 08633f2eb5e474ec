//! A guest, the device and another guest, each on a thread of its own, and each asleep whenever it has nothing to do: if
//! one of them does not tell another what it waits for, that one sleeps for ever.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use framewire_dataplane::driver::guest::{Accepts, Guest, Ring as DeviceRing};
use framewire_dataplane::driver::{AnyQueue, Queue};
use framewire_dataplane::uring::Readiness;
use framewire_dataplane::virtqueue::Direction;
use framewire_dataplane::virtqueue::notify::Bells;
use framewire_dataplane::wire::Outcome;
use framewire_tests::guest::{GuestMemory, Layout, Manners, Receiver, Ring, Shape, Transmitter};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

use crate::rig::{REGIONS, Rig, counters, device_ring, manners, map};

const FRAMES: u32 = 500;
const PATIENCE: Duration = Duration::from_secs(60);
const MANNERS: Manners = Manners { modern: true, mergeable: false };
const HEADER: [u8; 12] = [0; 12];

fn eventfd() -> Arc<OwnedFd> {
    Arc::new(rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap())
}

fn ring_bell(bell: &OwnedFd) {
    rustix::io::write(bell, &1u64.to_ne_bytes()).unwrap();
}

/// Sleeps until it is rung.
fn wait(bell: &OwnedFd, who: &str) {
    let mut watched = [PollFd::from_borrowed_fd(bell.as_fd(), PollFlags::IN)];
    let patience = Timespec::try_from(PATIENCE).unwrap();
    let woken = rustix::event::poll(&mut watched, Some(&patience));
    assert_eq!(woken, Ok(1), "{who} was never told");
}

fn hush(bell: &OwnedFd) {
    let _ = rustix::io::read(bell, &mut [0; 8]);
}

/// The guest's side of one ring's bells.
struct Driver {
    kick: Arc<OwnedFd>,
    call: Arc<OwnedFd>,
}

impl Driver {
    fn new() -> (Driver, Bells) {
        let driver = Driver { kick: eventfd(), call: eventfd() };
        let bells = Bells { kick: Some(Arc::clone(&driver.kick)), call: Some(Arc::clone(&driver.call)) };
        (driver, bells)
    }

    fn publish(&self, ring: &mut Ring) {
        if ring.publish() {
            ring_bell(&self.kick);
        }
    }

    /// Sleeps until the device has used something, unless it has already.
    fn rest(&self, ring: &mut Ring, who: &str) {
        if !ring.arm() {
            wait(&self.call, who);
        }
        hush(&self.call);
        ring.disarm();
    }
}

fn frame(number: u32) -> Vec<u8> {
    [&[0xab; 56][..], &number.to_le_bytes()].concat()
}

fn transmit(mut transmitter: Transmitter, driver: &Driver) {
    for number in 0..FRAMES {
        while !transmitter.send(&HEADER, &frame(number), &Layout::default()) {
            driver.publish(&mut transmitter.ring);
            if transmitter.reclaim() == 0 {
                driver.rest(&mut transmitter.ring, "the sender");
            }
        }
        // One by one and a few at a time, so that everybody has nothing to do again and again.
        if number % 7 < 4 {
            driver.publish(&mut transmitter.ring);
        }
    }
    driver.publish(&mut transmitter.ring);
}

fn receive(mut receiver: Receiver, driver: &Driver) {
    let mut expected = 0;
    while expected < FRAMES {
        receiver.refill(3);
        driver.publish(&mut receiver.ring);
        match receiver.receive() {
            Some(received) => {
                assert_eq!(received.frame, frame(expected));
                expected += 1;
            }
            None => driver.rest(&mut receiver.ring, "the receiver"),
        }
    }
}

/// Carries until all have arrived.
fn carry(rig: &mut Rig, kicks: [&OwnedFd; 2]) {
    while rig.queue(1).counters().sent_frames.get() < u64::from(FRAMES) {
        let (side, readiness) = match rig.carry(0) {
            Outcome::Moved => continue,
            Outcome::Nothing => (0, Readiness::Receive),
            Outcome::HeldBack => (1, Readiness::Send),
            Outcome::Failed(errno) => panic!("failed with {errno}"),
        };
        if !rig.queue(side).arm(readiness) {
            wait(kicks[side], "the device");
            rig.queue(side).disarm(readiness);
        }
    }
}

fn sleepers(shape: Shape) {
    let memories = [GuestMemory::new(&REGIONS), GuestMemory::new(&REGIONS)];
    let transmitter = Transmitter::new(&memories[0], 1, shape, 256);
    let receiver = Receiver::new(&memories[1], 1, shape, MANNERS, (256, &Layout::default()));
    let (sender, transmit_bells) = Driver::new();
    let (listener, receive_bells) = Driver::new();
    let manners = manners(MANNERS, Accepts::default());
    let enabled = |queue| Some(DeviceRing { queue, is_enabled: true });
    let transmitq =
        device_ring(&map(&memories[0]), &transmitter.ring, shape, Direction::Read, transmit_bells);
    let receiveq = device_ring(&map(&memories[1]), &receiver.ring, shape, Direction::Write, receive_bells);
    let source = Guest::new(1, counters(), manners, [enabled(transmitq), None]);
    let sink = Guest::new(2, counters(), manners, [None, enabled(receiveq)]);
    let mut rig = Rig::new([AnyQueue::Guest(source), AnyQueue::Guest(sink)]);
    std::thread::scope(|scope| {
        scope.spawn(|| transmit(transmitter, &sender));
        scope.spawn(|| receive(receiver, &listener));
        carry(&mut rig, [&sender.kick, &listener.kick]);
    });
    assert_eq!(rig.happening(), None);
}

#[test]
fn nobody_sleeps_through_a_frame() {
    for packed in [false, true] {
        for event_index in [false, true] {
            for in_order in [false, true] {
                for size in [4, 64] {
                    sleepers(Shape { packed, size, event_index, in_order, indirect: false });
                }
            }
        }
    }
}
