//! Two guests on a cable, in one process: the driver's side from the harness, the device's side from the product.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use framewire_dataplane::adopt::Parcel;
use framewire_dataplane::driver::AnyQueue;
use framewire_dataplane::driver::guest::{Accepts, Guest, Manners, Ring as DeviceRing};
use framewire_dataplane::frame::Burst;
use framewire_dataplane::turn::{Reporter, Turn};
use framewire_dataplane::virtqueue::memory::RegionLayout;
use framewire_dataplane::virtqueue::notify::Bells;
use framewire_dataplane::virtqueue::{
    Direction, Format, Memory, Position, RingLayout, RingOptions, Setup, Virtqueue,
};
use framewire_dataplane::wire::{End, Outcome, Slab, Wires};
use framewire_shared::counters::{DropReason, QueueCounters};
use framewire_shared::happenings::Happening;
use framewire_shared::limits::WORKERS_MAX;
use framewire_shared::region::{Config, Mapping, Status};
use framewire_tests::guest::{self, GuestMemory, Receiver, Ring, Shape, Transmitter};

/// Regions of a guest, with a hole between them.
pub(crate) const REGIONS: [(u64, usize); 2] = [(0, 4 << 20), (1 << 32, 64 << 20)];

/// Maps a fake guest's memory as a front end would have it mapped.
pub(crate) fn map(memory: &GuestMemory) -> Arc<Memory> {
    let regions = memory.regions().iter().map(|region| {
        let (guest, user, len) = (region.guest(), region.user(), region.bytes());
        (RegionLayout { guest, user, len, offset: 0 }, region.file())
    });
    Memory::map(regions).unwrap()
}

/// The device's side of a driver's ring.
pub(crate) fn device_ring(
    memory: &Arc<Memory>,
    ring: &Ring,
    shape: Shape,
    direction: Direction,
    bells: Bells,
) -> Virtqueue {
    let [descriptors, driver, device] = ring.user_addresses();
    let format = if shape.packed { Format::Packed } else { Format::Split };
    let position = Position::START;
    let layout = RingLayout { format, size: shape.size, descriptors, driver, device, position };
    let Shape { event_index, in_order, indirect, .. } = shape;
    let options = RingOptions { event_index, in_order, indirect };
    let setup = Setup { layout, options, direction, bells, logging: None, ledger: None };
    Virtqueue::new(memory, setup).unwrap()
}

/// What the product's side is told about a guest.
pub(crate) fn manners(manners: guest::Manners, accepts: Accepts) -> Manners {
    Manners { mergeable: manners.mergeable, modern: manners.modern, accepts }
}

/// A device with one pair.
pub(crate) fn device(
    memory: &GuestMemory,
    (transmitter, transmit): (&Transmitter, Shape),
    (receiver, receive): (&Receiver, Shape),
    manners: Manners,
    counters: &'static QueueCounters,
) -> Guest {
    let mapped = map(memory);
    let transmitq = device_ring(&mapped, &transmitter.ring, transmit, Direction::Read, Bells::default());
    let receiveq = device_ring(&mapped, &receiver.ring, receive, Direction::Write, Bells::default());
    let rings = [transmitq, receiveq].map(|queue| Some(DeviceRing { queue, is_enabled: true }));
    Guest::new(7, counters, manners, rings)
}

/// A line of counters that nobody else has.
pub(crate) fn counters() -> &'static QueueCounters {
    Box::leak(Box::default())
}

/// The regions of all rigs, and whom they ring for. Each rig reports into a ring of its own.
struct Premises {
    status: Mapping<Status>,
    config: Mapping<Config>,
    doorbell: OwnedFd,
    rigs: AtomicUsize,
}

static PREMISES: LazyLock<Premises> = LazyLock::new(|| Premises {
    status: Mapping::writable(&Mapping::<Status>::create().unwrap()).unwrap(),
    config: Mapping::writable(&Mapping::<Config>::create().unwrap()).unwrap(),
    doorbell: rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap(),
    rigs: AtomicUsize::new(0),
});

/// A cable with two queues, and what a worker has at hand.
pub(crate) struct Rig {
    wires: Wires,
    ends: Slab,
    indices: [u32; 2],
    turn: Turn,
    burst: Burst,
    number: usize,
}

impl Rig {
    /// Lays the cable.
    pub(crate) fn new(queues: [AnyQueue; 2]) -> Rig {
        let Premises { status, config, doorbell, rigs } = &*PREMISES;
        let number = rigs.fetch_add(1, Ordering::Relaxed) % WORKERS_MAX;
        let reporter = Reporter::new(&status.happenings[number], &config.read[number], doorbell.as_fd());
        let turn = Turn::new(reporter).unwrap();
        let (mut wires, mut ends) = (Wires::default(), Slab::default());
        let wire = wires.open();
        let mut key = 0;
        let indices = queues.map(|queue| {
            key += 1;
            let mut end = End::new(Parcel { key, edition: 0, queue: Box::new(queue) });
            (end.wire, end.side) = (wire, u32::try_from(key).unwrap() - 1);
            let index = ends.insert(end).unwrap();
            wires.attach(index, true);
            index
        });
        wires.close(DropReason::NoPeer);
        let mut rig = Rig { wires, ends, indices, turn, burst: Burst::default(), number };
        while rig.happening().is_some() {}
        rig
    }

    /// Carries one burst from one of the ends.
    pub(crate) fn carry(&mut self, from: usize) -> Outcome {
        self.wires.carry(self.indices[from], &mut self.ends, &mut self.burst, &mut self.turn)
    }

    /// Carries from one end until nothing moves any more. Returns whether anything did.
    pub(crate) fn carry_all(&mut self, from: usize) -> bool {
        let mut moved = false;
        while self.carry(from) == Outcome::Moved {
            moved = true;
        }
        moved
    }

    /// One of the queues.
    pub(crate) fn queue(&mut self, side: usize) -> &mut AnyQueue {
        &mut self.ends[self.indices[side]].queue
    }

    /// What was reported.
    pub(crate) fn happening(&mut self) -> Option<Happening> {
        PREMISES.status.happenings[self.number].pop(&PREMISES.config.read[self.number])
    }
}
