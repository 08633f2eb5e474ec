//! The loop allocates nothing: a counting allocator under the real workers, carrying real frames.
//!
//! The allocator counts what one thread does, the worker's: everything else in this process (the test, the
//! generator, the test runner) may allocate as it likes.

#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use framewire_dataplane::adopt::Parcel;
use framewire_dataplane::crew::{Crew, Premises};
use framewire_dataplane::driver;
use framewire_perf::endpoint::{Address, Endpoint};
use framewire_perf::frame::{Shape, Side};
use framewire_perf::load::Stop;
use framewire_perf::load::one_way::{self, Work};
use framewire_shared::counters::DropReason;
use framewire_shared::driver::{Batching, DgramOptions, DriverOptions, TapOptions};
use framewire_shared::handover::{ANY_CPU, Welcome};
use framewire_shared::plan::{End, Section};
use framewire_shared::publish::{Publisher, Sound};
use framewire_shared::region::{Config, Mapping, Region, Status};
use framewire_tests::namespace::Namespace;
use framewire_tests::{need, tun};
use rustix::event::{EventfdFlags, eventfd};

/// The thread whose doings are counted; 0 for none.
static WATCHED: AtomicU64 = AtomicU64::new(0);
/// Allocations, reallocations and releases of that thread.
static COUNTED: AtomicU64 = AtomicU64::new(0);
/// What the plan calls the worker.
const NAME: &str = "watched";
/// One test watches at a time.
static TURN: Mutex<()> = Mutex::new(());

const PATIENCE: Duration = Duration::from_secs(20);

thread_local!(static THREAD: Cell<u64> = const { Cell::new(0) });

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    let watched = WATCHED.load(Ordering::Relaxed);
    if watched != 0 && THREAD.with(number_of) == watched {
        COUNTED.fetch_add(1, Ordering::Relaxed);
    }
}

/// The calling thread's number, asked of the kernel once.
fn number_of(known: &Cell<u64>) -> u64 {
    if known.get() == 0 {
        known.set(u64::from(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()));
    }
    known.get()
}

// SAFETY: every call goes to the system's allocator with the arguments that it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count();
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// One worker with one cable.
struct Bench {
    publisher: Publisher<'static, Sound>,
    config: &'static Config,
    status: &'static Status,
    section: Section,
}

fn region<T: Region>() -> &'static T {
    let memfd = Mapping::<T>::create().unwrap();
    Box::leak(Box::new(Mapping::writable(&memfd).unwrap()))
}

fn doorbell() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

impl Bench {
    /// Starts a worker and gives it the two queues.
    fn new(queues: [(DriverOptions, OwnedFd); 2]) -> Self {
        let (config, status) = (region::<Config>(), region::<Status>());
        let (control, foreman): (&'static OwnedFd, &'static OwnedFd) =
            (Box::leak(Box::new(doorbell())), Box::leak(Box::new(doorbell())));
        let premises = Premises { config, status, control: control.as_fd(), foreman: foreman.as_fd() };
        let mut crew = Crew::start(&Welcome::new(&[ANY_CPU]), premises, vec![doorbell()]).unwrap();
        let mut section = Section::with_room();
        section.label[..NAME.len()].copy_from_slice(NAME.as_bytes());
        let ends = [0, 1].map(|side| End { queue: u64::from(side) + 1, side, poll_us: 50 });
        section.add_wire(DropReason::NoPeer, ends);
        let publisher = Publisher::<Sound>::new(&config.generation.0);
        let mut bench = Bench { publisher, config, status, section };
        bench.publish();
        for (key, (options, descriptor)) in (1..).zip(queues) {
            let descriptors: Arc<[OwnedFd]> = vec![descriptor].into();
            let counters = &status.queue_counters[usize::try_from(key).unwrap()];
            let queue = driver::build(key, &options, &descriptors, counters).unwrap();
            crew.deliver(0, Parcel { key, edition: 0, queue: Box::new(queue) });
        }
        // The worker goes on to the end of this process, and needs what the crew holds.
        Box::leak(Box::new(crew));
        bench
    }

    /// Publishes the same plan once more, as a change elsewhere would; a spinning worker adopts it in passing.
    fn publish(&mut self) {
        self.section.revision += 1;
        let sections = std::slice::from_ref(&self.section);
        let deadline = Instant::now() + PATIENCE;
        let readers = || self.status.workers.iter().take(1).map(|line| line.get());
        let fill = |slot: usize, _generation| self.config.slots[slot].write(sections);
        while self.publisher.publish(readers(), fill).is_err() {
            assert!(Instant::now() < deadline, "the worker does not see the plan");
            std::thread::yield_now();
        }
    }

    /// Loads the cable, and says how often the worker allocated or released meanwhile.
    fn allocations_under_load(&mut self, a: &mut dyn Endpoint, b: &mut dyn Endpoint, work: &Work<'_>) -> u64 {
        let warm_up = Work { stop: Stop::After(Duration::from_millis(200)), ..*work };
        one_way::run(Some(&mut *a), Some(&mut *b), &warm_up).unwrap();
        WATCHED.store(worker_thread(), Ordering::Relaxed);
        let before = COUNTED.load(Ordering::Relaxed);
        let enough = AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            let changes = scope.spawn(|| {
                self.publish_during_a_thousand_turns();
                enough.store(true, Ordering::Relaxed);
            });
            let work = Work { stop: Stop::When(&enough, PATIENCE), ..*work };
            let outcome = one_way::run(Some(a), Some(b), &work).unwrap();
            changes.join().unwrap();
            outcome
        });
        let counted = COUNTED.load(Ordering::Relaxed) - before;
        WATCHED.store(0, Ordering::Relaxed);
        assert!(outcome.counts.intact() && outcome.counts.received > 1000, "{:?}", outcome.counts);
        counted
    }

    fn publish_during_a_thousand_turns(&mut self) {
        let turns = &self.status.worker_counters[0].busy_turns;
        let (enough, deadline) = (turns.get() + 1000, Instant::now() + PATIENCE);
        while turns.get() < enough {
            assert!(Instant::now() < deadline, "too few turns carry frames");
            std::thread::sleep(Duration::from_millis(10));
            self.publish();
        }
    }
}

/// The number of the youngest thread that is called as the plan says.
fn worker_thread() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let numbers = tasks.map(|task| task.unwrap().file_name().to_str().unwrap().parse::<u64>().unwrap());
    let is_worker = |number: &u64| {
        let name = std::fs::read_to_string(format!("/proc/self/task/{number}/comm")).unwrap_or_default();
        name.trim_end() == NAME
    };
    numbers.filter(is_worker).max().expect("a worker runs")
}

fn work() -> Work<'static> {
    Work { window: 128, ..Work::default() }
}

#[test]
fn counter_counts() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    WATCHED.store(THREAD.with(number_of), Ordering::Relaxed);
    let before = COUNTED.load(Ordering::Relaxed);
    drop(std::hint::black_box(vec![1_u8; 100]));
    assert!(COUNTED.load(Ordering::Relaxed) >= before + 2);
    WATCHED.store(0, Ordering::Relaxed);
}

#[test]
fn worker_allocates_nothing_while_unix_datagrams_cross() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = std::env::temp_dir().join(format!("framewire-perf-allocations-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let sockets = ["d0", "d1"].map(|name| UnixDatagram::bind(path(name)).unwrap());
    let open = |ours: &str, theirs: &str, side| {
        let address = Address::UnixDatagram { local: path(ours), remote: path(theirs) };
        address.open(Shape::bare(1500), side).unwrap()
    };
    let (mut a, mut b) = (open("g0", "d0", Side::A), open("g1", "d1", Side::B));
    let mut names = ["g0", "g1"].into_iter();
    let queues = sockets.map(|socket| {
        socket.connect(path(names.next().unwrap())).unwrap();
        socket.set_nonblocking(true).unwrap();
        (DriverOptions::Dgram(DgramOptions::new(Batching::Single, &[]).unwrap()), OwnedFd::from(socket))
    });
    std::fs::remove_dir_all(&folder).unwrap();
    let mut bench = Bench::new(queues);
    assert_eq!(bench.allocations_under_load(&mut *a, &mut *b, &Work { window: 8, ..work() }), 0);
}

#[test]
fn worker_allocates_nothing_while_udp_crosses_in_runs() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let sockets = [(); 2].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut ends = sockets.iter().zip([Side::A, Side::B]).map(|(device, side)| {
        let ours = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        device.connect(ours).unwrap();
        let (local, remote) = (ours.to_string(), device.local_addr().unwrap().to_string());
        Address::Udp { local, remote, segmented: true, is_tunnel: false }.open(Shape::bare(64), side).unwrap()
    });
    let (mut a, mut b) = (ends.next().unwrap(), ends.next().unwrap());
    drop(ends);
    let queues = sockets.map(|socket| {
        socket.set_nonblocking(true).unwrap();
        (DriverOptions::Dgram(DgramOptions::new(Batching::Udp, &[]).unwrap()), OwnedFd::from(socket))
    });
    let mut bench = Bench::new(queues);
    assert_eq!(bench.allocations_under_load(&mut *a, &mut *b, &Work { batch: 64, ..work() }), 0);
}

#[test]
fn worker_allocates_nothing_while_tap_frames_cross() {
    need!(root, tun, "ip");
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let namespace = Namespace::new();
    let queues = ["t0", "t1"].map(|name| {
        let tap = tun::open(&namespace, name, tun::TAP | tun::VNET_HDR);
        rustix::io::ioctl_fionbio(&tap, true).unwrap();
        namespace.ip(&format!("link set {name} up"));
        (DriverOptions::Tap(TapOptions { vnet_header: 1 }), tap)
    });
    let open = |name: &str, side| {
        let address = Address::Packet { interface: name.to_owned(), segmented: false };
        namespace.run(|| address.open(Shape::bare(64), side).unwrap())
    };
    let (mut a, mut b) = (open("t0", Side::A), open("t1", Side::B));
    let mut bench = Bench::new(queues);
    assert_eq!(bench.allocations_under_load(&mut *a, &mut *b, &work()), 0);
}
