use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const SIZE: u32 = 8;

/// A ring in ordinary memory, for tests: one end of it plays the kernel.
#[derive(Debug)]
pub(crate) struct Plain<T> {
    producer: AtomicU32,
    consumer: AtomicU32,
    flags: AtomicU32,
    entries: Box<[Cell<T>]>,
}

/// An entry, which both ends reach.
#[derive(Debug)]
struct Cell<T>(std::cell::UnsafeCell<T>);

// SAFETY: a test runs in one thread.
unsafe impl<T> Sync for Cell<T> {}

impl<T: Copy + Send + 'static> Plain<T> {
    /// One of `size` entries whose positions begin at `start`.
    pub(crate) fn new(size: u32, start: u32, entry: T) -> Arc<Self> {
        let entries = (0..size).map(|_| Cell(std::cell::UnsafeCell::new(entry))).collect();
        let [producer, consumer, flags] = [start, start, 0].map(AtomicU32::new);
        Arc::new(Plain { producer, consumer, flags, entries })
    }

    /// Both ends, where the ring stands.
    pub(crate) fn ends(self: &Arc<Self>) -> (Producer<T>, Consumer<T>) {
        (Producer::new(self.memory()), Consumer::new(self.memory()))
    }

    /// The kernel wants to be called.
    pub(crate) fn ask_to_be_woken(&self) {
        self.flags.store(libc::XDP_RING_NEED_WAKEUP, Ordering::Relaxed);
    }

    fn memory(self: &Arc<Self>) -> Memory<T> {
        let parts = Parts {
            producer: NonNull::from(&self.producer),
            consumer: NonNull::from(&self.consumer),
            flags: NonNull::from(&self.flags),
            entries: NonNull::from(&*self.entries).cast(),
            size: u32::try_from(self.entries.len()).unwrap(),
        };
        // SAFETY: the parts live as long as the value that is given along, and the tests use one end of each kind.
        unsafe { Memory::new(parts, Arc::clone(self) as Arc<dyn Any + Send + Sync>) }
    }
}

fn ring(start: u32) -> (Producer<u32>, Consumer<u32>, Arc<Plain<u32>>) {
    let plain = Plain::new(SIZE, start, 0);
    let (producer, consumer) = plain.ends();
    (producer, consumer, plain)
}

#[test]
fn what_is_not_published_never_was() {
    let (mut producer, mut consumer, _plain) = ring(0);
    let mut dropped = producer.reserve(3).unwrap();
    dropped.push(1);
    drop(dropped);
    assert_eq!(consumer.available(1), 0);
    let mut kept = producer.reserve(3).unwrap();
    kept.push(2);
    kept.publish();
    assert_eq!(
        (consumer.available(1), consumer.get(0)),
        (1, 2),
        "only what was written, of what was reserved"
    );
}

#[test]
fn full_ring_has_no_room_until_its_reader_releases() {
    let (mut producer, mut consumer, _plain) = ring(u32::MAX - 2);
    let mut all = producer.reserve(SIZE).unwrap();
    (0..SIZE).for_each(|value| all.push(value));
    all.publish();
    assert!(producer.reserve(1).is_none());
    assert_eq!(consumer.available(SIZE), SIZE);
    consumer.release(2);
    assert_eq!(producer.untaken(), SIZE - 2);
    assert!(producer.reserve(2).is_some() && producer.reserve(3).is_none());
}

#[test]
fn ends_that_are_made_anew_go_on_where_the_ring_stands() {
    let (mut producer, mut consumer, plain) = ring(5);
    let mut some = producer.reserve(2).unwrap();
    some.push(10);
    some.push(11);
    some.publish();
    consumer.available(2);
    consumer.release(1);
    drop((producer, consumer));
    let (mut producer, mut consumer) = plain.ends();
    assert_eq!((consumer.available(1), consumer.get(0)), (1, 11));
    assert_eq!((producer.published(), producer.untaken(), consumer.released()), (7, 1, 6));
}

proptest! {
    #[test]
    fn ring_is_a_queue(start in any::<u32>(), steps in prop::collection::vec((any::<bool>(), 0..=SIZE + 1), 0..200)) {
        let (mut producer, mut consumer, _plain) = ring(start);
        let (mut oracle, mut next) = (VecDeque::new(), 0);
        for (produces, count) in steps {
            if produces {
                let reservation = producer.reserve(count);
                prop_assert_eq!(reservation.is_some(), oracle.len() + count as usize <= SIZE as usize);
                let Some(mut reservation) = reservation else { continue };
                for _ in 0..count {
                    reservation.push(next);
                    oracle.push_back(next);
                    next += 1;
                }
                reservation.publish();
            } else {
                let count = count.min(consumer.available(count));
                for nth in 0..count {
                    prop_assert_eq!(Some(consumer.get(nth)), oracle.pop_front());
                }
                consumer.release(count);
            }
        }
        prop_assert_eq!(consumer.available(SIZE) as usize, oracle.len());
    }
}
