//! What befalls an interface, and the processes: it goes down and up, goes away, is taken; either process is killed.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use framewire_tests::flow::{Flow, Pace};
use framewire_tests::frames::numbered;
use framewire_tests::leaks::resident_kib;
use framewire_tests::need;
use framewire_tests::wait::wait_until;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde_json::json;

use super::{Pair, Veth, exchange, info, wait_until_frames_cross};
use framewire_tests::bench::Bench;

#[test]
fn killed_data_plane_loses_and_repeats_no_more_than_a_burst_and_the_program_stays() {
    need!(root, "ethtool");
    let mut pair = Pair::new(&json!({}), 1, 1500);
    exchange(&pair, &[60]);
    let (a, b) = (pair.left.packets(), pair.right.packets());
    for _kill in 0..5 {
        let (flow, ()) = Flow::during(&a, &b, Pace::Every(Duration::from_millis(1)), 200, || {
            std::thread::sleep(Duration::from_millis(50));
            let old = pair.bench.framewire.data().pid();
            pair.bench.framewire.data().kill();
            assert_ne!(pair.bench.framewire.data().pid(), old, "another data plane");
            std::thread::sleep(Duration::from_millis(100));
        });
        assert!(flow.lost() <= 64, "{} frames were lost", flow.lost());
        assert_eq!(flow.damaged, 0);
        // What it had sent and not yet given back, its successor sends again.
        assert!(flow.out_of_order() <= 64, "{} frames came again", flow.out_of_order());
    }
    drop((a, b));
    pair.finish();
}

#[test]
fn killed_control_plane_is_followed_by_one_that_deletes_the_port() {
    need!(root, "ethtool");
    let Pair { mut bench, left, right } = Pair::new(&json!({}), 1, 1500);
    bench.framewire.kill_control();
    let (a, b) = (left.packets(), right.packets());
    a.send(&numbered(1, 60));
    b.expect(&numbered(1, 60));
    bench.framewire.restart_control();
    a.send(&numbered(2, 60));
    b.expect(&numbered(2, 60));
    let mut qmp = bench.framewire.qmp();
    for id in ["port-l", "port-r", "l", "r"] {
        qmp.command("netdev_del", json!({ "id": id }));
    }
    let links = bench.framewire.home().ip("link show");
    assert!(!links.contains("xdp"), "the program is still there: {links}");
}

#[test]
fn interface_that_was_down_carries_frames_again() {
    need!(root, "ethtool");
    let pair = Pair::new(&json!({}), 1, 1500);
    exchange(&pair, &[60]);
    pair.bench.framewire.home().ip("link set dev r down");
    let a = pair.left.packets();
    // More than there are chunks for: what is down must not fill up.
    for number in 0..3000 {
        a.send(&numbered(number, 60));
    }
    drop(a);
    pair.bench.framewire.home().ip("link set dev r up");
    wait_until_frames_cross(&pair);
    pair.finish();
}

#[test]
fn interface_may_change_its_mtu() {
    need!(root, "ethtool");
    let pair = Pair::new(&json!({}), 1, 1500);
    exchange(&pair, &[1514]);
    for (there, near, far) in [(pair.left.far(), "l", "lfar"), (pair.right.far(), "r", "rfar")] {
        pair.bench.framewire.home().ip(&format!("link set dev {near} mtu 3000"));
        there.ip(&format!("link set dev {far} mtu 3000"));
    }
    exchange(&pair, &[60, 1514, 3014]);
    pair.finish();
}

#[test]
fn interface_that_goes_away_is_reported_and_its_port_can_be_deleted() {
    need!(root, "ethtool");
    let Pair { mut bench, left, right } = Pair::new(&json!({}), 1, 1500);
    bench.framewire.home().ip("link del dev l");
    let failed = bench.qmp.event("X_NETDEV_FAILED");
    assert_eq!(failed["netdev-id"], "l", "{failed}");
    bench.delete("l");
    bench.delete("r");
    bench.framewire.home().ip("link del dev r");
    drop((left, right));
    bench.finish();
}

#[test]
fn interface_that_moves_to_another_namespace_is_reported_and_comes_there_as_it_was() {
    need!(root, "ethtool");
    let Pair { mut bench, left, right } = Pair::new(&json!({}), 1, 1500);
    let elsewhere = framewire_tests::namespace::Namespace::new();
    bench.framewire.home().ip(&format!("link set dev l netns {}", elsewhere.path()));
    let failed = bench.qmp.event("X_NETDEV_FAILED");
    assert_eq!(failed["netdev-id"], "l", "{failed}");
    bench.delete("l");
    let text = elsewhere.ip("link show dev l");
    assert!(!text.contains("xdp"), "the program is still there: {text}");
    elsewhere.ip("link del dev l");
    bench.delete("r");
    bench.framewire.home().ip("link del dev r");
    drop((left, right));
    bench.finish();
}

#[test]
fn interface_with_another_program_is_refused_and_the_program_named() {
    need!(root, "ethtool");
    let mut bench = Bench::new();
    let veth = Veth::new(&bench, "l", 1, 1500);
    bench.add("af-xdp", "first", json!({ "ifname": "l" }));
    let text = bench.refused("af-xdp", "second", json!({ "ifname": "l" }));
    assert!(text.starts_with("could not attach the XDP program to 'l': Device or resource busy"), "{text}");
    assert!(text.contains("'steer'") && text.contains("inhibit=on"), "{text}");
    bench.delete("first");
    bench.add("af-xdp", "second", json!({ "ifname": "l" }));
    bench.delete("second");
    bench.framewire.home().ip("link del dev l");
    drop(veth);
    bench.finish();
}

#[test]
fn queue_that_stays_anothers_is_refused_soon() {
    need!(root, "ethtool");
    let mut bench = Bench::new();
    let veth = Veth::new(&bench, "l", 4, 1500);
    let socket = |_| {
        rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .expect("root may")
    };
    let sockets: Vec<OwnedFd> = bench.framewire.home().run(|| (0..8).map(socket).collect());
    for (number, socket) in sockets.iter().enumerate() {
        bench.qmp.getfd(&format!("xsk{number}"), socket.as_fd());
    }
    drop(sockets);
    let options = |fds: &str| json!({ "ifname": "l", "queues": 4, "inhibit": true, "sock-fds": fds });
    bench.add("af-xdp", "first", options("xsk0:xsk1:xsk2:xsk3"));
    let begin = Instant::now();
    let text = bench.refused("af-xdp", "second", options("xsk4:xsk5:xsk6:xsk7"));
    // A fifth of a second in all; each of four queues is tried in three ways.
    assert!(begin.elapsed() < Duration::from_secs(2), "clients have waited for {:?}", begin.elapsed());
    assert!(
        text.contains("failed to create AF_XDP socket for l queue_id: 0: Device or resource busy"),
        "{text}"
    );
    bench.delete("first");
    bench.framewire.home().ip("link del dev l");
    drop(veth);
    bench.finish();
}

/// What a port that comes and goes may leave in memory after a thousand times: what allocators keep.
const RESIDENT_KIB_MAX: u64 = 2048;

/// A thousand, or as many as fit into some seconds: the kernel waits for all its processors each time.
#[test]
fn ports_made_and_deleted_again_and_again_leave_nothing() {
    const CYCLES: usize = 1000;
    const LONG: Duration = Duration::from_secs(10);
    need!(root, "ethtool");
    let mut bench = Bench::new();
    let veth = Veth::new(&bench, "l", 2, 1500);
    let pids = [bench.framewire.control().pid(), bench.framewire.data().pid()];
    let resident = || pids.map(resident_kib);
    let (begin, mut before, mut cycles) = (Instant::now(), resident(), 0);
    while cycles < CYCLES && (cycles < 100 || begin.elapsed() < LONG) {
        bench.add("af-xdp", "x", json!({ "ifname": "l", "queues": 2 }));
        bench.delete("x");
        cycles += 1;
        if cycles == 20 {
            before = resident();
        }
    }
    println!(
        "{cycles} cycles in {:?}, resident {before:?} before and {:?} after, KiB",
        begin.elapsed(),
        resident()
    );
    for (after, before) in resident().into_iter().zip(before) {
        assert!(after < before + RESIDENT_KIB_MAX, "{cycles} cycles have left {before} -> {after} KiB");
    }
    let text = bench.framewire.home().ip("link show dev l");
    assert!(!text.contains("xdp"), "a program is still there: {text}");
    bench.framewire.home().ip("link del dev l");
    drop(veth);
    // Programs, maps and links live as long as somebody has a descriptor of them, and nobody has.
    bench.finish();
}

#[test]
fn data_plane_has_no_privilege_while_frames_flow() {
    need!(root, "ethtool");
    let mut pair = Pair::new(&json!({}), 1, 1500);
    exchange(&pair, &[60]);
    let pid = pair.bench.framewire.data().pid();
    let (a, b) = (pair.left.packets(), pair.right.packets());
    let (flow, status) = Flow::during(&a, &b, Pace::Every(Duration::from_millis(1)), 200, || {
        std::thread::sleep(Duration::from_millis(50));
        std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs")
    });
    assert!(flow.lost() < flow.sent(), "no frame has crossed meanwhile");
    drop((a, b));
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells");
        line.trim().to_owned()
    };
    assert_eq!(field("CapEff:"), "0000000000000000");
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".to_owned(), "2".to_owned()));
    assert!(info(&pair.bench, "l").contains("zero-copy=off"), "{}", info(&pair.bench, "l"));
    exchange(&pair, &[61]);
    wait_until("the worker to sleep", || {
        let status = pair.bench.framewire.status();
        status["workers"].as_array().is_some_and(|all| all.iter().all(|worker| worker["queues-awake"] == 0))
    });
    pair.finish();
}
