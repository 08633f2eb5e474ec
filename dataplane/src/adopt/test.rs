use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use framewire_shared::counters::{DropReason, QueueCounters, WorkerCounters};
use framewire_shared::driver::{DgramOptions, DriverOptions};
use framewire_shared::plan::{End, Section};
use framewire_shared::publish::{Publisher, Sound};
use framewire_shared::region::{Config, Mapping, Region, Status};
use ringbuf::HeapRb;
use ringbuf::traits::Split;
use rustix::event::EventfdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::*;
use crate::driver::{self, Null};
use crate::errand::Errands;
use crate::frame::Burst;
use crate::rest::Rest;
use crate::turn::{Reporter, Turn};
use crate::uring::Uring;
use crate::wire::{Slab, Wires};

/// A worker whose turns the test makes, and the other ends of all that it knows.
struct Bench {
    worker: Worker,
    arrivals: HeapProd<Parcel>,
    departures: HeapCons<Parcel>,
    doorbell: &'static OwnedFd,
    config: &'static Config,
    status: &'static Status,
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn region<T: Region>() -> &'static T {
    Box::leak(Box::new(Mapping::<T>::writable(&Mapping::<T>::create().unwrap()).unwrap()))
}

fn eventfd() -> &'static OwnedFd {
    leak(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap())
}

fn bench() -> Bench {
    let (config, status): (&'static Config, &'static Status) = (region(), region());
    let (doorbell, other) = (eventfd(), eventfd().as_fd());
    let (arrivals, arriving) = HeapRb::new(8).split();
    let (departing, departures) = HeapRb::new(8).split();
    let counters: &'static WorkerCounters = &status.worker_counters[0];
    let links = Links {
        plan: Subscriber::new(&config.generation.0, status.workers[0].get()),
        slots: &config.slots,
        arrivals: arriving,
        departures: departing,
        foreman: other,
        counters,
    };
    let reporter = Reporter::new(&status.happenings[0], &config.read[0], other);
    let worker = Worker {
        ends: Slab::default(),
        wires: Wires::default(),
        awake: Vec::with_capacity(QUEUES_MAX),
        adoption: Adoption::new(0, links),
        rest: Rest::new(Uring::new().unwrap(), doorbell.as_fd(), counters),
        turn: Turn::new(reporter).unwrap(),
        burst: Burst::default(),
        announcements: HeapRb::new(1).split().1,
        errands: Errands { asked: HeapRb::new(1).split().1, done: HeapRb::new(1).split().0 },
    };
    Bench { worker, arrivals, departures, doorbell, config, status }
}

impl Bench {
    fn publish(&mut self, ends: &[(u64, u32)]) {
        let mut section = Section::default();
        if !ends.is_empty() {
            let ends = ends.iter().map(|(queue, poll_us)| End { queue: *queue, side: 0, poll_us: *poll_us });
            section.add_wire(DropReason::NoPeer, ends);
        }
        let mut publisher = Publisher::<Sound>::new(&self.config.generation.0);
        publisher
            .publish([self.status.workers[0].get()].into_iter(), |slot, generation| {
                section.revision = generation;
                self.config.slots[slot].write(&[section.clone()]);
            })
            .unwrap();
        self.ring();
    }

    fn deliver(&mut self, edition: u64, queue: AnyQueue) {
        self.arrivals.try_push(Parcel { key: 1, edition, queue: Box::new(queue) }).unwrap();
        self.ring();
    }

    fn ring(&self) {
        doorbell::ring(self.doorbell.as_fd());
    }

    /// Enough turns for anything to happen that can. The doorbell is rung before each, so that none sleeps.
    fn turns(&mut self) {
        for _turn in 0..20 {
            self.ring();
            self.worker.turn();
        }
    }

    fn departed(&mut self) -> Option<(u64, &'static QueueCounters)> {
        let parcel = self.departures.try_pop()?;
        Some((parcel.edition, crate::driver::Queue::counters(parcel.queue.as_ref())))
    }
}

fn counters() -> &'static QueueCounters {
    leak(QueueCounters::default())
}

/// A queue that can be watched, the other end of its socket, and its counters.
fn watched() -> (AnyQueue, OwnedFd, &'static QueueCounters) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None).unwrap();
    let options = DgramOptions::new(framewire_shared::driver::Batching::Single, &[]).unwrap();
    let (descriptors, counters): (Arc<[OwnedFd]>, _) = ([ours].into(), counters());
    let queue = driver::build(1, &DriverOptions::Dgram(options), &descriptors, counters).unwrap();
    (queue, theirs, counters)
}

const FRAME: &[u8] = &[0; 60];

#[test]
fn exchanged_queue_comes_back_and_the_new_one_is_served() {
    // Never dozes; dozes at once, so that the kernel watches the old one when the new one comes.
    for poll_us in [u32::MAX, 0] {
        let mut bench = bench();
        let (first, first_peer, first_counters) = watched();
        bench.publish(&[(1, poll_us)]);
        bench.deliver(0, first);
        bench.turns();
        let (second, second_peer, second_counters) = watched();
        bench.deliver(1, second);
        bench.turns();
        let (edition, departed) = bench.departed().expect("the old queue is back");
        assert_eq!((edition, std::ptr::from_ref(departed)), (0, std::ptr::from_ref(first_counters)));
        assert!(rustix::io::write(&first_peer, FRAME).is_err(), "nobody has the old socket any more");
        rustix::io::write(&second_peer, FRAME).unwrap();
        bench.turns();
        let received = [first_counters, second_counters].map(|counters| counters.received_frames.get());
        assert_eq!(received, [0, 1], "poll-us {poll_us}");
        assert!(bench.departed().is_none());
    }
}

#[test]
fn newest_of_several_successors_wins_and_all_others_come_back() {
    let mut bench = bench();
    bench.publish(&[(1, 0)]);
    let (watched, _peer, _counters) = watched();
    bench.deliver(0, watched);
    bench.turns();
    for edition in 1..=3 {
        bench.deliver(edition, AnyQueue::Null(Null::new(counters())));
    }
    bench.turns();
    let mut editions: Vec<_> = std::iter::from_fn(|| bench.departed()).map(|(edition, _)| edition).collect();
    editions.sort_unstable();
    assert_eq!(editions, [0, 1, 2]);
    bench.publish(&[]);
    bench.turns();
    assert_eq!(bench.departed().map(|(edition, _)| edition), Some(3));
}

#[test]
fn successor_of_a_queue_that_leaves_comes_back_with_it() {
    let mut bench = bench();
    bench.publish(&[(1, 0)]);
    let (watched, _peer, _counters) = watched();
    bench.deliver(0, watched);
    bench.turns();
    // Nobody mentions it any more, and before the worker has looked, it is exchanged.
    bench.publish(&[]);
    bench.deliver(1, AnyQueue::Null(Null::new(counters())));
    bench.turns();
    let mut editions: Vec<_> = std::iter::from_fn(|| bench.departed()).map(|(edition, _)| edition).collect();
    editions.sort_unstable();
    assert_eq!(editions, [0, 1]);
    assert!(bench.worker.ends.is_empty());
    assert!(bench.status.workers[0].get().has_quiesced::<Sound>(2));
}
