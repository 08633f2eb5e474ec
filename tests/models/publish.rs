//! Publication of plans under loom: every interleaving, and every value that the memory model allows a load
//! to return. Run with `RUSTFLAGS="--cfg loom"`; see CONTRIBUTING.md.
//!
//! The writer publishes three plans; the third lies in the slot of the first. The second no longer mentions a
//! resource that the first mentions, which the reader has still in flight for a while. Five variants, each with
//! one condition of the proof broken, must be rejected: a model that accepts everything proves nothing.
#![cfg(loom)]

use framewire_shared::atomic::{AtomicU64, Ordering};
use framewire_shared::publish::{Acknowledgement, Publisher, Rules, Sound, Subscriber};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

const LAST: u64 = 3;

struct Shared {
    generation: AtomicU64,
    seen: AtomicU64,
    quiesced: AtomicU64,
    /// What a plan says is its own generation.
    slots: [UnsafeCell<u64>; 2],
    /// What the first plan mentions and the others do not.
    resource: UnsafeCell<u64>,
}

impl Shared {
    fn acknowledgement(&self) -> Acknowledgement<'_> {
        Acknowledgement { seen: &self.seen, quiesced: &self.quiesced }
    }
}

/// What the writer waits for before it takes the resource away.
#[derive(Clone, Copy, PartialEq)]
enum Waits {
    ForQuiesced,
    ForSeen,
    /// It leaves the resource alone: such a wait would hide one that is missing elsewhere.
    ForNothing,
}

fn write<R: Rules>(shared: &Shared, waits: Waits) {
    let mut publisher = Publisher::<R>::new(&shared.generation);
    for _plan in 0..LAST {
        let fill = |slot: usize, generation| {
            // SAFETY: what this model is to prove: nobody else is in this slot. loom checks it.
            shared.slots[slot].with_mut(|plan| unsafe { *plan = generation });
        };
        while publisher.publish(std::iter::once(shared.acknowledgement()), fill).is_err() {
            thread::yield_now();
        }
        if publisher.current() == 2 && waits != Waits::ForNothing {
            take_away::<R>(shared, waits);
        }
    }
}

fn take_away<R: Rules>(shared: &Shared, waits: Waits) {
    let reached = || match waits {
        Waits::ForQuiesced => shared.acknowledgement().has_quiesced::<R>(2),
        Waits::ForSeen => shared.acknowledgement().has_seen::<R>(2),
        Waits::ForNothing => true,
    };
    while !reached() {
        thread::yield_now();
    }
    // SAFETY: as above: the reader has nothing of the first plan in flight. loom checks it.
    shared.resource.with_mut(|resource| unsafe { *resource = 1 });
}

fn read<R: Rules>(shared: &Shared) {
    let mut subscriber = Subscriber::<R>::new(&shared.generation, shared.acknowledgement());
    let mut in_flight = false;
    while subscriber.adopted() < LAST {
        let Some(generation) = subscriber.changed() else {
            thread::yield_now();
            continue;
        };
        // SAFETY: as above: the writer is not in this slot. loom checks it.
        let plan = subscriber.see(generation, |slot| shared.slots[slot].with(|plan| unsafe { *plan }));
        assert_eq!(plan, generation, "a torn plan");
        if std::mem::replace(&mut in_flight, generation == 1) {
            // SAFETY: as above: the writer has not taken it away yet. loom checks it.
            shared.resource.with(|resource| assert_eq!(unsafe { *resource }, 0));
        }
        subscriber.quiesce();
    }
}

fn model<R: Rules + 'static>(waits: Waits) {
    let mut builder = loom::model::Builder::new();
    // Three involuntary switches are enough for every variant below to be rejected.
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let shared = Arc::new(Shared {
            generation: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            quiesced: AtomicU64::new(0),
            slots: [UnsafeCell::new(0), UnsafeCell::new(0)],
            resource: UnsafeCell::new(0),
        });
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || read::<R>(&shared))
        };
        write::<R>(&shared, waits);
        reader.join().unwrap();
    });
}

#[test]
fn sound_rules_hold() {
    model::<Sound>(Waits::ForQuiesced);
    model::<Sound>(Waits::ForNothing);
}

/// [`Sound`] with one condition broken.
struct Broken<const WHICH: u8>;

const PUBLICATION: u8 = 0;
const NOTICE: u8 = 1;
const ACKNOWLEDGEMENT: u8 = 2;
const WAITING: u8 = 3;

const fn relaxed_if(broken: bool, sound: Ordering) -> Ordering {
    if broken { Ordering::Relaxed } else { sound }
}

impl<const WHICH: u8> Rules for Broken<WHICH> {
    const PUBLISH: Ordering = relaxed_if(WHICH == PUBLICATION, Sound::PUBLISH);
    const NOTICE: Ordering = relaxed_if(WHICH == NOTICE, Sound::NOTICE);
    const ACKNOWLEDGE: Ordering = relaxed_if(WHICH == ACKNOWLEDGEMENT, Sound::ACKNOWLEDGE);
    const COLLECT: Ordering = Sound::COLLECT;
    const WAITS: bool = WHICH != WAITING;
}

#[test]
#[should_panic]
fn relaxed_publication_is_rejected() {
    model::<Broken<PUBLICATION>>(Waits::ForQuiesced);
}

#[test]
#[should_panic]
fn relaxed_notice_is_rejected() {
    model::<Broken<NOTICE>>(Waits::ForQuiesced);
}

#[test]
#[should_panic]
fn relaxed_acknowledgement_is_rejected() {
    model::<Broken<ACKNOWLEDGEMENT>>(Waits::ForQuiesced);
}

#[test]
#[should_panic]
fn slot_filled_again_without_waiting_is_rejected() {
    model::<Broken<WAITING>>(Waits::ForNothing);
}

#[test]
#[should_panic]
fn resource_taken_when_only_seen_is_rejected() {
    model::<Sound>(Waits::ForSeen);
}
