//! The workers, as the foreman sees them: how they start, and the two rings to each.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc;

use framewire_shared::handover::{ANY_CPU, Step, Welcome};
use framewire_shared::limits::{QUEUES_MAX, WORKERS_MAX};
use framewire_shared::publish::Subscriber;
use framewire_shared::region::{Config, Status};
use ringbuf::traits::{Consumer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};

use crate::adopt::{Adoption, Links, Parcel};
use crate::announce::Announcement;
use crate::doorbell;
use crate::errand::{ERRANDS_MAX, Errand, Errands};
use crate::frame::Burst;
use crate::rest::Rest;
use crate::turn::{Reporter, Turn};
use crate::uring::Uring;
use crate::wire::{Slab, Wires};
use crate::worker::Worker;

/// Queues on their way to or from one worker, at most: all there may be, and one to be exchanged for each.
const PARCELS_MAX: usize = 2 * QUEUES_MAX;

/// What all workers share, for the life of the process.
#[derive(Debug, Clone, Copy)]
pub struct Premises {
    /// The plan.
    pub config: &'static Config,
    /// Acknowledgements, counters and happenings.
    pub status: &'static Status,
    /// Wakes the control plane.
    pub control: BorrowedFd<'static>,
    /// Wakes the foreman.
    pub foreman: BorrowedFd<'static>,
}

/// Why the data plane cannot work: what it was doing, and what the kernel said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unable {
    /// What was being done.
    pub step: Step,
    /// What the kernel said.
    pub errno: i32,
}

impl Unable {
    /// From an error of the standard library.
    #[must_use]
    pub fn from_io(step: Step, error: &std::io::Error) -> Self {
        Unable { step, errno: error.raw_os_error().unwrap_or(libc::EINVAL) }
    }

    /// From an error of a system call.
    #[must_use]
    pub fn from_errno(step: Step, errno: rustix::io::Errno) -> Self {
        Unable { step, errno: errno.raw_os_error() }
    }
}

/// One worker, from the foreman's side.
struct Mate {
    doorbell: &'static OwnedFd,
    arrivals: HeapProd<Parcel>,
    departures: HeapCons<Parcel>,
    announcements: HeapProd<Announcement>,
    errands: HeapProd<Box<Errand>>,
    done: HeapCons<Box<Errand>>,
}

/// All workers.
#[derive(Default)]
pub struct Crew {
    mates: Vec<Mate>,
}

impl Crew {
    /// Starts a thread for each doorbell, and waits until all of them are ready to carry.
    ///
    /// # Errors
    /// What the first of them that could not start was lacking.
    pub fn start(welcome: &Welcome, premises: Premises, doorbells: Vec<OwnedFd>) -> Result<Self, Unable> {
        let mut crew = Crew::default();
        let (told, hear) = mpsc::channel();
        for (number, doorbell) in doorbells.into_iter().take(WORKERS_MAX).enumerate() {
            let doorbell: &'static OwnedFd = Box::leak(Box::new(doorbell));
            let (arrivals, arriving) = HeapRb::new(PARCELS_MAX).split();
            let (departing, departures) = HeapRb::new(PARCELS_MAX).split();
            let (announcements, announced) = HeapRb::new(QUEUES_MAX).split();
            let (errands, asked) = HeapRb::new(ERRANDS_MAX).split();
            let (doing, done) = HeapRb::new(ERRANDS_MAX).split();
            crew.mates.push(Mate { doorbell, arrivals, departures, announcements, errands, done });
            let (cpu, told) = (welcome.cpus[number], told.clone());
            let tray = Tray {
                doorbell,
                arrivals: arriving,
                departures: departing,
                announcements: announced,
                errands: Errands { asked, done: doing },
            };
            let body = move || match outfit(number, cpu, premises, tray) {
                Ok(worker) => {
                    let _ = told.send(Ok(()));
                    drop(told);
                    worker.run()
                }
                Err(unable) => {
                    let _ = told.send(Err(unable));
                }
            };
            std::thread::Builder::new()
                .name(format!("fw{number}"))
                .spawn(body)
                .map_err(|error| Unable::from_io(Step::Thread, &error))?;
        }
        drop(told);
        hear.iter().collect::<Result<(), Unable>>()?;
        Ok(crew)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mates.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mates.is_empty()
    }

    /// Their doorbells, for a new control plane.
    pub fn doorbells(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.mates.iter().map(|mate| mate.doorbell.as_fd())
    }

    /// Hands a queue to a worker.
    pub fn deliver(&mut self, worker: usize, parcel: Parcel) {
        let mate = &mut self.mates[worker];
        let pushed = mate.arrivals.try_push(parcel);
        assert!(pushed.is_ok(), "more arrivals than queues");
        doorbell::ring(mate.doorbell.as_fd());
    }

    /// Has a worker announce an address.
    pub fn announce(&mut self, worker: usize, announcement: Announcement) {
        let mate = &mut self.mates[worker];
        // There is a place for every queue that may exist: when it is full, each has been asked for already.
        let _ = mate.announcements.try_push(announcement);
        doorbell::ring(mate.doorbell.as_fd());
    }

    /// Has a worker do an errand. It comes back by [`Crew::done`].
    pub fn send(&mut self, worker: usize, errand: Box<Errand>) {
        let mate = &mut self.mates[worker];
        let pushed = mate.errands.try_push(errand);
        assert!(pushed.is_ok(), "one errand at a time");
        doorbell::ring(mate.doorbell.as_fd());
    }

    /// Takes an errand that a worker has given back.
    pub fn done(&mut self) -> Option<Box<Errand>> {
        self.mates.iter_mut().find_map(|mate| mate.done.try_pop())
    }

    /// Takes a queue that a worker has given back.
    pub fn collect(&mut self) -> Option<Parcel> {
        self.mates.iter_mut().find_map(|mate| mate.departures.try_pop())
    }
}

/// One worker's side of what it has in common with the foreman.
struct Tray {
    doorbell: &'static OwnedFd,
    arrivals: HeapCons<Parcel>,
    departures: HeapProd<Parcel>,
    announcements: HeapCons<Announcement>,
    errands: Errands,
}

/// Makes a worker, on its own thread.
fn outfit(number: usize, cpu: u16, premises: Premises, tray: Tray) -> Result<Worker, Unable> {
    pin(cpu);
    let Tray { doorbell, arrivals, departures, announcements, errands } = tray;
    let Premises { config, status, control, foreman } = premises;
    let counters = &status.worker_counters[number];
    let uring = Uring::new().map_err(|error| Unable::from_io(Step::Uring, &error))?;
    let reporter = Reporter::new(&status.happenings[number], &config.read[number], control);
    let turn = Turn::new(reporter).map_err(|errno| Unable::from_errno(Step::Memory, errno))?;
    let plan = Subscriber::new(&config.generation.0, status.workers[number].get());
    let links = Links { plan, slots: &config.slots, arrivals, departures, foreman, counters };
    Ok(Worker {
        ends: Slab::default(),
        wires: Wires::default(),
        awake: Vec::with_capacity(QUEUES_MAX),
        adoption: Adoption::new(number, links),
        rest: Rest::new(uring, doorbell.as_fd(), counters),
        turn,
        burst: Burst::default(),
        announcements,
        errands,
    })
}

/// Keeps this thread on one processor. One that is not there (any more) is no reason to stop.
fn pin(cpu: u16) {
    if cpu != ANY_CPU {
        let mut set = rustix::thread::CpuSet::new();
        set.set(usize::from(cpu) % rustix::thread::CpuSet::MAX_CPU);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
}
