//! Adding and removing ports disturbs no other port, and is quick.

use std::time::{Duration, Instant};

use framewire_tests::bench::Bench;
use framewire_tests::flow::Flow;
use framewire_tests::need;
use framewire_tests::traffic::counters;
use serde_json::json;

const PORTS: usize = 200;

/// How long a netdev_add may take, all but the slowest one in a hundred.
const ANSWER_P99: Duration = Duration::from_millis(20);

/// The p-th percentile, p in 0..=100.
fn percentile(times: &mut [Duration], p: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * p / 100]
}

#[test]
fn two_hundred_ports_come_and_go_beside_a_busy_cable() {
    need!(root, tun);
    let mut bench = Bench::new();
    let (a, b) = (bench.tap("a", json!({})), bench.tap("b", json!({})));
    bench.join("a", "b");
    // 10,000 frames a second: a millisecond of that rate is ten frames.
    let interval = Duration::from_micros(100);
    let (flow, mut times) = Flow::during(&a, &b, interval, 200, || {
        let mut times = Vec::new();
        for port in 0..PORTS {
            let id = format!("x{port}");
            let start = Instant::now();
            bench.add("none", &id, json!({}));
            times.push(start.elapsed());
        }
        for port in 0..PORTS {
            bench.delete(&format!("x{port}"));
        }
        times
    });
    assert_eq!(flow.damaged, 0);
    assert_eq!(flow.out_of_order(), 0);
    assert!(
        flow.lost() <= 10,
        "{} of {} frames were lost: more than a millisecond's",
        flow.lost(),
        flow.sent
    );
    let slow = percentile(&mut times, 99);
    assert!(slow < ANSWER_P99, "netdev_add took {slow:?}");
}

/// The same with taps: each has descriptors, an interface and a queue, and each pair is wired.
#[test]
fn taps_come_and_go_in_pairs_beside_a_busy_cable() {
    need!(root, tun);
    let mut bench = Bench::new();
    let (a, b) = (bench.tap("a", json!({})), bench.tap("b", json!({})));
    bench.join("a", "b");
    let (flow, mut times) = Flow::during(&a, &b, Duration::from_micros(100), 200, || {
        let mut times = Vec::new();
        for pair in 0..PORTS / 2 {
            let (left, right) = (format!("l{pair}"), format!("r{pair}"));
            for id in [&left, &right] {
                let start = Instant::now();
                bench.add("tap", id, json!({ "ifname": id, "script": "no", "downscript": "no" }));
                times.push(start.elapsed());
            }
            bench.join(&left, &right);
            if pair % 2 == 1 {
                bench.delete(&left);
                bench.delete(&right);
            }
        }
        times
    });
    assert_eq!(flow.damaged, 0);
    assert_eq!(flow.out_of_order(), 0);
    assert!(
        flow.lost() <= 10,
        "{} of {} frames were lost: more than a millisecond's",
        flow.lost(),
        flow.sent
    );
    let slow = percentile(&mut times, 99);
    assert!(slow < ANSWER_P99, "netdev_add took {slow:?}");
}

/// At whatever rate the cable carries: what was read from one tap was written to the other, all of it.
#[test]
fn nothing_is_lost_inside_while_the_cable_runs_at_full_rate() {
    need!(root, tun);
    let mut bench = Bench::new();
    let (a, b) = (bench.tap("a", json!({})), bench.tap("b", json!({})));
    bench.join("a", "b");
    Flow::during(&a, &b, Duration::ZERO, 60, || {
        for port in 0..PORTS {
            bench.add("none", &format!("x{port}"), json!({}));
        }
    });
    let home = bench.framewire.home();
    // A tap counts a frame as sent when it was read from the descriptor.
    let (read, written) = (counters(home, "a").sent_frames, counters(home, "b").received_frames);
    assert!(read > 1000, "only {read} frames crossed");
    assert_eq!(read, written, "frames were lost inside");
}
