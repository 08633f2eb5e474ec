//! What a port costs that has nothing to do, and how quickly it is there again.
//!
//! These measure time, so they take turns.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use framewire_tests::bench::Bench;
use framewire_tests::frames::numbered;
use framewire_tests::leaks::cpu_time;
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use framewire_tests::wait::PATIENCE;
use serde_json::json;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const LOOK: Duration = Duration::from_secs(3);

/// Processor time that both processes use while nothing happens, as a part of one processor.
fn load(bench: &mut Bench) -> f64 {
    // What the last command caused has to be over.
    std::thread::sleep(Duration::from_millis(500));
    let pids = [bench.framewire.control().pid(), bench.framewire.data().pid()];
    let used = || -> Duration { pids.iter().map(|&pid| cpu_time(pid)).sum() };
    let (start, before) = (Instant::now(), used());
    std::thread::sleep(LOOK);
    (used() - before).as_secs_f64() / start.elapsed().as_secs_f64()
}

/// A cable between two taps, with poll-us as given.
fn cable(poll_us: &str) -> (Bench, PacketSocket, PacketSocket) {
    let mut bench = Bench::with(&["--poll-us", poll_us]);
    let (a, b) = (bench.tap("a", json!({})), bench.tap("b", json!({})));
    bench.join("a", "b");
    (bench, a, b)
}

#[test]
fn a_hundred_idle_ports_cost_less_than_a_hundredth_of_a_processor() {
    need!(root, tun);
    let _turn = ONE_AT_A_TIME.lock();
    let mut bench = Bench::with(&["--poll-us", "50"]);
    for pair in 0..50 {
        let (left, right) = (format!("l{pair}"), format!("r{pair}"));
        drop(bench.tap(&left, json!({})));
        drop(bench.tap(&right, json!({})));
        bench.join(&left, &right);
    }
    let load = load(&mut bench);
    assert!(load < 0.01, "100 idle ports use {:.2} % of a processor", load * 100.0);
}

#[test]
fn poll_us_zero_never_spins() {
    need!(root, tun);
    let _turn = ONE_AT_A_TIME.lock();
    let (mut bench, a, b) = cable("0");
    for number in 0..20 {
        a.send(&numbered(number, 60));
        b.expect(&numbered(number, 60));
    }
    let load = load(&mut bench);
    assert!(load < 0.01, "it uses {:.2} % of a processor", load * 100.0);
    assert_eq!(worker_of_the_cable(&bench).spinning_ns, 0, "it has spun");
}

#[test]
fn poll_us_of_all_ones_never_sleeps() {
    need!(root, tun);
    let _turn = ONE_AT_A_TIME.lock();
    let (bench, a, b) = cable("4294967295");
    a.send(&numbered(1, 60));
    b.expect(&numbered(1, 60));
    // Other programs may want the processor, too; so it is not the processor time that tells, but what the worker did.
    let (start, before) = (Instant::now(), worker_of_the_cable(&bench));
    std::thread::sleep(LOOK);
    let (passed, after) = (start.elapsed(), worker_of_the_cable(&bench));
    assert_eq!(after.sleeping_ns, before.sleeping_ns, "it has slept");
    let spun = Duration::from_nanos(after.spinning_ns - before.spinning_ns);
    assert!(spun > passed / 2, "of {passed:?} it has spun only {spun:?}");
}

/// What the status says of a worker.
struct WorkerTimes {
    spinning_ns: u64,
    sleeping_ns: u64,
}

/// The worker that carries both ends of the cable.
fn worker_of_the_cable(bench: &Bench) -> WorkerTimes {
    let status = bench.framewire.status();
    let workers = status["workers"].as_array().expect("workers are listed");
    let worker = workers.iter().find(|worker| worker["queues"] == 2).expect("one carries the cable");
    let time = |name: &str| worker[name].as_u64().expect("a number of nanoseconds");
    WorkerTimes { spinning_ns: time("spinning-ns"), sleeping_ns: time("sleeping-ns") }
}

#[test]
fn a_frame_to_a_sleeping_port_arrives_at_once() {
    need!(root, tun);
    let _turn = ONE_AT_A_TIME.lock();
    let (_bench, a, b) = cable("0");
    let mut times: Vec<Duration> = (0..200)
        .map(|number| {
            std::thread::sleep(Duration::from_millis(5));
            let start = Instant::now();
            a.send(&numbered(number, 60));
            b.receive(PATIENCE).expect("the frame arrives");
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    // This test's own way in and out, its own waking, and whatever else wants the processors are in it; perf/ measures
    // without them. A wake-up that is missed would cost a frame its life, or seconds.
    let (middle, slow) = (times[100], times[198]);
    assert!(middle < Duration::from_millis(5), "half of the frames took more than {middle:?}");
    assert!(slow < Duration::from_millis(100), "one in a hundred took {slow:?}");
}
