//! Adding and removing ports disturbs no other port, and is quick.
//!
//! The cable beside them runs at its full rate, and no frame on it may be lost. For how long it stands still, and how
//! quickly commands are answered, is measured in `perf/`, where the machine is quiet; here those times only have bounds
//! that a busy machine can keep. Each test uses the whole machine, so they take turns.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use framewire_tests::bench::Bench;
use framewire_tests::flow::{Flow, Pace};
use framewire_tests::need;
use framewire_tests::traffic::counters;
use serde_json::{Value, json};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const PORTS: usize = 200;

/// Enough on their way that the cable never waits for the sender, and fewer than a tap's own queue holds (1000).
const FULL_RATE: Pace = Pace::OnTheWay(500);

/// How long a netdev_add may take, all but the slowest one in a hundred. It waits for the worker that is busy with the
/// cable; so on a machine that is busy with other things, for as long as those keep that worker from its processor. Frames
/// wait for it likewise, which tells how long that was.
const ANSWER: Duration = Duration::from_millis(20);

/// How long each netdev_add took.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    #[track_caller]
    fn add(&mut self, bench: &mut Bench, kind: &str, id: &str, options: Value) {
        let start = Instant::now();
        bench.add(kind, id, options);
        self.0.push(start.elapsed());
    }

    #[track_caller]
    fn expect_quick(mut self, frame: Duration) {
        self.0.sort_unstable();
        let slow = self.0[(self.0.len() - 1) * 99 / 100];
        assert!(
            slow < ANSWER + 2 * frame,
            "one netdev_add in a hundred took {slow:?}, a frame up to {frame:?}"
        );
    }
}

/// A cable between two taps at full rate, and `change` beside it.
#[track_caller]
fn beside_a_busy_cable(change: impl FnOnce(&mut Bench, &mut Times)) {
    let _turn = ONE_AT_A_TIME.lock();
    let mut bench = Bench::new();
    let (a, b) = (bench.tap("a", json!({})), bench.tap("b", json!({})));
    bench.join("a", "b");
    let mut times = Times::default();
    let (flow, ()) = Flow::during(&a, &b, FULL_RATE, 200, || change(&mut bench, &mut times));
    flow.expect_whole();
    assert!(flow.sent() > 1000, "only {} frames crossed", flow.sent());
    times.expect_quick(flow.longest_delay());
}

#[test]
fn two_hundred_ports_come_and_go_beside_a_busy_cable() {
    need!(root, tun);
    beside_a_busy_cable(|bench, times| {
        let ids: Vec<String> = (0..PORTS).map(|port| format!("x{port}")).collect();
        ids.iter().for_each(|id| times.add(bench, "none", id, json!({})));
        ids.iter().for_each(|id| bench.delete(id));
    });
}

/// The same with taps: each has descriptors, an interface and a queue, and each pair is wired.
#[test]
fn taps_come_and_go_in_pairs_beside_a_busy_cable() {
    need!(root, tun);
    beside_a_busy_cable(|bench, times| {
        for pair in 0..PORTS / 2 {
            let (left, right) = (format!("l{pair}"), format!("r{pair}"));
            for id in [&left, &right] {
                let options = json!({ "ifname": id, "script": "no", "downscript": "no" });
                times.add(bench, "tap", id, options);
            }
            bench.join(&left, &right);
            if pair % 2 == 1 {
                bench.delete(&left);
                bench.delete(&right);
            }
        }
    });
}

/// With more than the cable can carry: what was read from one tap was written to the other, all of it.
#[test]
fn nothing_is_lost_inside_while_a_cable_is_flooded() {
    need!(root, tun);
    let _turn = ONE_AT_A_TIME.lock();
    let mut bench = Bench::new();
    let (a, b) = (bench.tap("a", json!({})), bench.tap("b", json!({})));
    bench.join("a", "b");
    Flow::during(&a, &b, Pace::Flood, 60, || {
        for port in 0..PORTS / 4 {
            bench.add("none", &format!("x{port}"), json!({}));
        }
    });
    let home = bench.framewire.home();
    // A tap counts a frame as sent when it was read from the descriptor.
    let (read, written) = (counters(home, "a").sent_frames, counters(home, "b").received_frames);
    assert!(read > 1000, "only {read} frames crossed");
    assert_eq!(read, written, "frames were lost inside");
}
