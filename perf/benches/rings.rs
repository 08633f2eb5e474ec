//! Cycles a frame from guest to guest: two fake guests on a cable, the data plane's side on one processor and the
//! guests' on another, so that every line of the rings travels between the two as it does in earnest.
//!
//! `cargo bench -p framewire-perf --bench rings`. Prints, for each layout and length, the best and the median of many
//! short windows: the rate, and the time-stamp cycles of the data plane's thread a frame (which include waiting, where
//! the guests are slower).

#![expect(clippy::print_stdout, reason = "a report")]

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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
use framewire_shared::counters::DropReason;
use framewire_shared::region::{Config, Mapping, Status};
use framewire_tests::guest::{Cycle, GuestMemory, Ring, Shape};

const WINDOW: Duration = Duration::from_millis(20);
const WINDOWS: usize = 50;
const HEADER_BYTES: usize = 12;

/// One NIC of the load: both its rings.
struct Nic {
    memory: Arc<GuestMemory>,
    transmit: Cycle,
    receive: Cycle,
}

impl Nic {
    fn new(shape: Shape, frame_bytes: usize) -> Self {
        let memory = GuestMemory::new(&[(0, 64 << 20)]);
        let content: Vec<u8> =
            [0; HEADER_BYTES].into_iter().chain((0u8..=255).cycle().take(frame_bytes)).collect();
        let transmit = Cycle::new(&memory, 0, shape, (content.len(), false), &content);
        let receive = Cycle::new(&memory, 0, shape, (2048, true), &[]);
        Self { memory, transmit, receive }
    }

    fn device(&self, shape: Shape) -> Guest {
        let regions = self.memory.regions().iter().map(|region| {
            let (guest, user, len) = (region.guest(), region.user(), region.bytes());
            (RegionLayout { guest, user, len, offset: 0 }, region.file())
        });
        let memory = Memory::map(regions).expect("the fake guest's own memory");
        let rings = [(&self.transmit.ring, Direction::Read), (&self.receive.ring, Direction::Write)];
        let rings = rings.map(|(ring, direction)| {
            let queue = device_ring(&memory, ring, shape, direction);
            Some(DeviceRing { queue, is_enabled: true })
        });
        let manners = Manners { mergeable: true, modern: true, accepts: Accepts::default() };
        Guest::new(1, Box::leak(Box::default()), manners, rings)
    }
}

fn device_ring(memory: &Arc<Memory>, ring: &Ring, shape: Shape, direction: Direction) -> Virtqueue {
    let [descriptors, driver, device] = ring.user_addresses();
    let format = if shape.packed { Format::Packed } else { Format::Split };
    let layout =
        RingLayout { format, size: shape.size, descriptors, driver, device, position: Position::START };
    let Shape { event_index, in_order, indirect, .. } = shape;
    let options = RingOptions { event_index, in_order, indirect };
    let bells = Bells::default();
    let setup = Setup { layout, options, direction, bells, logging: None, ledger: None };
    Virtqueue::new(memory, setup).expect("a valid ring")
}

struct Cable {
    wires: Wires,
    ends: Slab,
    indices: [u32; 2],
    turn: Turn,
    burst: Burst,
}

impl Cable {
    fn new(guests: [Guest; 2]) -> Self {
        let config: &'static _ = Box::leak(Box::new(region::<Config>()));
        let status: &'static _ = Box::leak(Box::new(region::<Status>()));
        let doorbell: &'static OwnedFd = Box::leak(Box::new(
            rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).expect("an eventfd"),
        ));
        let reporter = Reporter::new(&status.happenings[0], &config.read[0], doorbell.as_fd());
        let (mut wires, mut ends) = (Wires::default(), Slab::default());
        let wire = wires.open();
        let mut side = 0;
        let indices = guests.map(|guest| {
            let queue = Box::new(AnyQueue::Guest(guest));
            let mut end = End::new(Parcel { key: u64::from(side) + 1, edition: 0, queue });
            (end.wire, end.side) = (wire, side);
            side += 1;
            let index = ends.insert(end).expect("an empty slab");
            wires.attach(index, true);
            index
        });
        wires.close(DropReason::NoPeer);
        let turn = Turn::new(reporter).expect("memory for a turn");
        Self { wires, ends, indices, turn, burst: Burst::default() }
    }

    fn carry(&mut self) {
        for index in self.indices {
            let outcome = self.wires.carry(index, &mut self.ends, &mut self.burst, &mut self.turn);
            assert!(!matches!(outcome, Outcome::Failed(_)));
        }
    }

    fn frames(&self) -> u64 {
        use framewire_dataplane::driver::Queue as _;
        self.indices.iter().map(|index| self.ends[*index].queue.counters().sent_frames.get()).sum()
    }
}

fn region<T: framewire_shared::region::Region>() -> Mapping<T> {
    Mapping::writable(&Mapping::<T>::create().expect("a region")).expect("a region of our own")
}

#[cfg(target_arch = "x86_64")]
fn cycles() -> u64 {
    // SAFETY: every x86-64 has a time stamp counter.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn cycles() -> u64 {
    0
}

fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// One combination: (rate in millions a second, cycles a frame), window by window.
fn measure(shape: Shape, frame_bytes: usize) -> Vec<(f64, f64)> {
    let mut nics = [(); 2].map(|()| Nic::new(shape, frame_bytes));
    let mut cable = Cable::new([nics[0].device(shape), nics[1].device(shape)]);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let load = std::thread::spawn(move || {
        pin(1);
        while !stopped.load(Ordering::Relaxed) {
            for nic in &mut nics {
                nic.receive.turn(32, true);
                nic.transmit.turn(32, false);
            }
        }
        nics
    });
    pin(0);
    let mut windows = Vec::new();
    for _window in 0..WINDOWS {
        let (began, from, cycles_from) = (Instant::now(), cable.frames(), cycles());
        while began.elapsed() < WINDOW {
            for _turn in 0..100 {
                cable.carry();
            }
        }
        let frames = (cable.frames() - from) as f64;
        let spent = (cycles() - cycles_from) as f64;
        windows.push((frames / began.elapsed().as_secs_f64() / 1e6, spent / frames));
    }
    stop.store(true, Ordering::Relaxed);
    let _ = load.join();
    windows
}

fn main() {
    println!("{:26} {:>6}  {:>16}  {:>16}", "ring", "bytes", "Mpps best/median", "cycles best/med.");
    for frame_bytes in [64, 1518] {
        for packed in [false, true] {
            for in_order in [false, true] {
                let shape = Shape { packed, size: 256, event_index: false, in_order, indirect: true };
                let mut windows = measure(shape, frame_bytes);
                windows.sort_by(|a, b| b.0.total_cmp(&a.0));
                let ((best, least), (median, cycles)) = (windows[0], windows[WINDOWS / 2]);
                let name = format!(
                    "{}{}",
                    if packed { "packed" } else { "split" },
                    if in_order { ", in order" } else { "" }
                );
                println!("{name:26} {frame_bytes:>6}  {best:>7.1} {median:>8.1}  {least:>7.1} {cycles:>8.1}");
            }
        }
    }
}
