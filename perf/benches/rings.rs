//! Cycles a frame from guest to guest: two fake guests on a cable.
//!
//! Each layout is measured twice. *Across*: the data plane's side on one processor and the guests' on another, so that
//! every line of the rings travels between the two as it does in earnest; that is the rate, and it depends on how far
//! the two processors are from each other as much as on us. *Alone*: both sides in turns on one processor, of which
//! only our part is timed; that is our own work, and it hardly varies.
//!
//! `cargo bench -p framewire-perf --bench rings [-- WORD...]`: only what has each word in its name (`alone`, `across`,
//! `split`, `packed`, `in-order`, `64`, `1518`). Prints the best and the median of many short windows: rate, and
//! time-stamp cycles of the data plane's thread a frame (which, across, include waiting where the guests are slower).
//! `-- instructions` counts instead of measuring, under valgrind: a number that no neighbour moves, with a limit for each
//! ring that fails the bench. A window in which the guests' side ran and no frame moved is a stall, and fails the bench.

#![expect(clippy::print_stdout, reason = "a report")]

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use framewire_dataplane::adopt::Parcel;
use framewire_dataplane::driver::guest::{Accepts, Guest, Manners, Ring as DeviceRing};
use framewire_dataplane::driver::{AnyQueue, Queue as _};
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

#[path = "rings/instructions.rs"]
mod instructions;

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

    /// Not inline: its name is how valgrind finds it.
    #[inline(never)]
    fn carry(&mut self) {
        for index in self.indices {
            let outcome = self.wires.carry(index, &mut self.ends, &mut self.burst, &mut self.turn);
            assert!(!matches!(outcome, Outcome::Failed(_)));
        }
    }

    /// No ring was ended.
    fn is_well(&self) -> bool {
        self.indices.iter().all(|index| self.ends[*index].queue.counters().guest_faults.get() == 0)
    }

    fn frames(&self) -> u64 {
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

/// Rate in millions a second, cycles a frame.
type Window = (f64, f64);

/// Frames that a guest has under way in a turn.
const GUEST_BURST: u16 = 32;

fn load(nics: &mut [Nic; 2], frames: u16) {
    for nic in nics {
        nic.receive.turn(frames, true);
        nic.transmit.turn(frames, false);
    }
}

/// Both sides on one processor; only ours is timed.
fn measure_alone(shape: Shape, frame_bytes: usize) -> Vec<Window> {
    let mut nics = [(); 2].map(|()| Nic::new(shape, frame_bytes));
    let mut cable = Cable::new([nics[0].device(shape), nics[1].device(shape)]);
    pin(0);
    let mut windows = Vec::new();
    for _window in 0..WINDOWS {
        let (began, from, mut spent) = (Instant::now(), cable.frames(), 0);
        while began.elapsed() < WINDOW / 2 {
            for _turn in 0..100 {
                load(&mut nics, 64);
                let cycles_from = cycles();
                cable.carry();
                spent += cycles() - cycles_from;
            }
        }
        assert!(cable.is_well(), "a ring was ended");
        let frames = (cable.frames() - from) as f64;
        windows.push((frames / began.elapsed().as_secs_f64() / 1e6, spent as f64 / frames));
    }
    windows
}

/// Tells a stall from a thread that does not run: somebody else may have its processor for as long as he likes.
#[derive(Default)]
struct Patience {
    frames: u64,
    laps: u64,
    rounds: u32,
}

impl Patience {
    /// Whether both sides have looked many times, each after the other, and no frame has moved.
    fn is_out(&mut self, frames: u64, laps: u64) -> bool {
        if frames != self.frames {
            (self.frames, self.rounds) = (frames, 0);
        }
        // One lap may have begun before we looked, the next one has not.
        if laps >= self.laps + 2 {
            (self.laps, self.rounds) = (laps, self.rounds + 1);
        }
        self.rounds > 1000
    }
}

/// Each side on a processor of its own.
fn measure_across(shape: Shape, frame_bytes: usize) -> Vec<Window> {
    let mut nics = [(); 2].map(|()| Nic::new(shape, frame_bytes));
    let mut cable = Cable::new([nics[0].device(shape), nics[1].device(shape)]);
    let (stop, laps) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut windows, mut patience) = (Vec::new(), Patience::default());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            while !stop.load(Ordering::Relaxed) {
                load(&mut nics, GUEST_BURST);
                laps.fetch_add(1, Ordering::Relaxed);
            }
        });
        pin(0);
        for _window in 0..WINDOWS {
            let (began, from, cycles_from) = (Instant::now(), cable.frames(), cycles());
            while began.elapsed() < WINDOW {
                for _turn in 0..100 {
                    cable.carry();
                }
                if patience.is_out(cable.frames(), laps.load(Ordering::Relaxed)) || !cable.is_well() {
                    println!("STALLED: both sides look and nothing moves, well: {}", cable.is_well());
                    std::process::exit(1);
                }
            }
            let frames = cable.frames() - from;
            if frames > 0 {
                let spent = (cycles() - cycles_from) as f64 / frames as f64;
                windows.push((frames as f64 / began.elapsed().as_secs_f64() / 1e6, spent));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    windows
}

/// Every ring and length that is measured, by name.
fn cases() -> impl Iterator<Item = (String, Shape, usize)> {
    let rings = [(false, false), (false, true), (true, false), (true, true)];
    [64, 1518].into_iter().flat_map(move |frame_bytes| {
        rings.into_iter().map(move |(packed, in_order)| {
            let ring = if packed { "packed" } else { "split" };
            let order = if in_order { " in-order" } else { "" };
            let shape = Shape { packed, size: 256, event_index: false, in_order, indirect: true };
            (format!("{ring}{order} {frame_bytes}"), shape, frame_bytes)
        })
    })
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |name: &str| words.iter().all(|word| name.split(' ').any(|part| part == word));
    match words.first().map(String::as_str) {
        Some("instructions") => return instructions::report(),
        Some("counted") => return instructions::counted(&words[1..].join(" ")),
        _ => {}
    }
    println!("{:26} {:>16} {:>18}", "ring", "Mpps best/median", "cycles best/median");
    for way in ["alone", "across"] {
        for (name, shape, frame_bytes) in cases() {
            let name = format!("{way} {name}");
            if is_wanted(&name) {
                let measure = if way == "alone" { measure_alone } else { measure_across };
                report(&name, measure(shape, frame_bytes));
            }
        }
    }
}

fn report(name: &str, mut windows: Vec<Window>) {
    windows.sort_by(|a, b| a.1.total_cmp(&b.1));
    let [Some((best, least)), Some((median, cycles))] = [0, windows.len() / 2].map(|at| windows.get(at))
    else {
        println!("{name:26} never ran");
        return;
    };
    println!("{name:26} {best:>8.1} {median:>7.1} {least:>10.1} {cycles:>7.1}");
}
