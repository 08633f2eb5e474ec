//! Timings of the drivers over real kernel objects: what a frame costs in one pass from a queue or to it.
//!
//! `cargo bench -p framewire-perf --bench drivers`. Most of each number is the kernel's own path: for a socket, sending
//! includes all that loopback does up to the receiver's queue. Root is needed for taps, which are made in a
//! namespace of their own.

use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use framewire_dataplane::driver::{AnyQueue, Queue, build};
use framewire_dataplane::frame::{Burst, HEADROOM_BYTES, Offload};
use framewire_dataplane::turn::{Reporter, Turn};
use framewire_shared::counters::QueueCounters;
use framewire_shared::driver::{Batching, DgramOptions, DriverOptions, TapOptions};
use framewire_shared::region::{Config, Mapping, Region, RegionError, Status};
use framewire_tests::frames::numbered;
use framewire_tests::namespace::Namespace;
use framewire_tests::packet::PacketSocket;
use framewire_tests::{tun, udp};
use rustix::event::EventfdFlags;

const BURST: usize = 64;
/// What a unix socket's peer lets wait (`net.unix.max_dgram_qlen`).
const UNIX_BURST: usize = 10;

/// A worker's memory.
struct Bench {
    turn: Turn,
    burst: Burst,
}

impl Bench {
    fn new() -> Self {
        let status: &Mapping<Status> = leak(mapping());
        let config: &Mapping<Config> = leak(mapping());
        let doorbell: &OwnedFd = leak(rustix::event::eventfd(0, EventfdFlags::CLOEXEC));
        let reporter = Reporter::new(&status.happenings[0], &config.read[0], doorbell.as_fd());
        Bench { turn: Turn::new(reporter).expect("memory for a worker"), burst: Burst::default() }
    }

    fn fill(&mut self, frames: impl Iterator<Item = usize>, piece_bytes: usize) {
        self.turn.strip.clear();
        self.burst.clear();
        for (number, len) in (0..).zip(frames) {
            let whole = self.turn.strip.room(len).expect("the strip holds a burst").segment();
            whole.write(0, &numbered(number, len));
            self.turn.strip.keep(len);
            let pieces: Vec<_> =
                (0..len).step_by(piece_bytes).map(|at| whole.part(at, piece_bytes)).collect();
            self.burst.push(&pieces, Offload::default(), HEADROOM_BYTES);
        }
    }

    fn send(&mut self, queue: &mut AnyQueue) -> Duration {
        let start = Instant::now();
        let taken = queue.send(&self.burst, &mut self.turn);
        let time = start.elapsed();
        assert_eq!((taken, queue.room() > 0), (self.burst.len(), true), "all of it has gone");
        time
    }

    /// Receives all there is.
    fn receive(&mut self, queue: &mut AnyQueue, wanted: usize) -> Duration {
        let (mut time, mut got) = (Duration::ZERO, 0);
        while got < wanted {
            self.turn.strip.clear();
            self.burst.clear();
            let start = Instant::now();
            queue.receive(&mut self.burst, &mut self.turn);
            time += start.elapsed();
            got += self.burst.len();
        }
        time
    }
}

fn mapping<T: Region>() -> Result<Mapping<T>, RegionError> {
    Mapping::writable(&Mapping::<T>::create()?)
}

fn leak<T, E: std::fmt::Debug>(made: Result<T, E>) -> &'static T {
    Box::leak(Box::new(made.expect("the kernel gives memory")))
}

fn queue(options: &DriverOptions, descriptor: OwnedFd) -> AnyQueue {
    let counters: &QueueCounters = leak(Ok::<_, ()>(QueueCounters::default()));
    build(1, options, &Arc::from([descriptor]), counters).expect("memory for a queue")
}

fn taps(criterion: &mut Criterion) {
    let namespace = Namespace::new();
    for (name, has_header) in [("tap", false), ("tap with header", true)] {
        let flags = tun::TAP | if has_header { tun::VNET_HDR } else { 0 };
        let descriptor = tun::open(&namespace, "t0", flags);
        rustix::io::ioctl_fionbio(&descriptor, true).expect("a tap can be made non-blocking");
        namespace.ip("link set dev t0 up");
        let outside = PacketSocket::open(&namespace, "t0");
        let mut tap =
            queue(&DriverOptions::Tap(TapOptions { vnet_header: u32::from(has_header) }), descriptor);
        let mut bench = Bench::new();
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(BURST as u64));
        for len in [64_usize, 1500] {
            let frame = numbered(1, len);
            group.bench_function(BenchmarkId::new("receive", len), |b| {
                b.iter_custom(|rounds| {
                    let round = |_| {
                        (0..BURST).for_each(|_| outside.send(&frame));
                        bench.receive(&mut tap, BURST)
                    };
                    (0..rounds).map(round).sum()
                });
            });
        }
        // Nobody outside may listen: it would be given each frame.
        drop(outside);
        for (what, len, piece_bytes) in [
            ("send", 64, 2000),
            ("send", 1500, 2000),
            ("send in two pieces", 64, 54),
            ("send in two pieces", 1500, 1400),
        ] {
            group.bench_function(BenchmarkId::new(what, len), |b| {
                bench.fill([len; BURST].into_iter(), piece_bytes);
                b.iter_custom(|rounds| (0..rounds).map(|_| bench.send(&mut tap)).sum());
            });
        }
        group.finish();
        drop(tap);
    }
}

fn unix_sockets(criterion: &mut Criterion) {
    let (left, right) = UnixDatagram::pair().expect("a pair of sockets");
    let options = DriverOptions::Dgram(DgramOptions::new(Batching::Single, &[]).expect("no address"));
    let sockets = [queue(&options, left.into()), queue(&options, right.into())];
    there_and_back(
        criterion,
        "dgram unix",
        sockets,
        &[("64", [64; BURST]), ("1500", [1500; BURST])],
        UNIX_BURST,
    );
}

fn udp_sockets(criterion: &mut Criterion) {
    let (left, right) = (udp::bound("127.0.0.1:0"), udp::bound("127.0.0.1:0"));
    udp::receive_runs(&left);
    udp::receive_runs(&right);
    let to = |socket: &UdpSocket| {
        let address = udp::address(socket.local_addr().expect("it is bound"));
        DriverOptions::Dgram(DgramOptions::new(Batching::Udp, &address).expect("an address"))
    };
    let (to_left, to_right) = (to(&left), to(&right));
    let sockets = [queue(&to_right, left.into()), queue(&to_left, right.into())];
    // Each longer than the one before: no two of them are a run.
    let growing = |from: usize| std::array::from_fn(|number| from + number);
    let lengths = [
        ("64", [64; BURST]),
        ("1500", [1500; BURST]),
        ("64 and more", growing(64)),
        ("1437 and more", growing(1437)),
    ];
    there_and_back(criterion, "dgram udp", sockets, &lengths, BURST);
}

/// Times a burst from the first queue, and its receiving by the second.
fn there_and_back(
    criterion: &mut Criterion,
    name: &str,
    [mut left, mut right]: [AnyQueue; 2],
    lengths: &[(&str, [usize; BURST])],
    frames: usize,
) {
    let (mut sender, mut receiver) = (Bench::new(), Bench::new());
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(frames as u64));
    for (what, lengths) in lengths {
        sender.fill(lengths.iter().copied().take(frames), usize::MAX);
        for (direction, times_sending) in [("send", true), ("receive", false)] {
            group.bench_function(BenchmarkId::new(direction, what), |b| {
                b.iter_custom(|rounds| {
                    let mut time = Duration::ZERO;
                    for _round in 0..rounds {
                        let sending = sender.send(&mut left);
                        let receiving = receiver.receive(&mut right, frames);
                        time += if times_sending { sending } else { receiving };
                    }
                    time
                });
            });
        }
    }
    group.finish();
}

criterion_group!(drivers, taps, unix_sockets, udp_sockets);
criterion_main!(drivers);
