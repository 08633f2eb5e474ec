//! `tap`: peers are the kernel's own network stack, and packet sockets for exact bytes.

use std::os::fd::AsFd;

use framewire_tests::bench::Bench;
use framewire_tests::frames::numbered;
use framewire_tests::namespace::Namespace;
use framewire_tests::need;
use framewire_tests::traffic::{counters, iperf3, iperf3_report, pings, transfer};
use framewire_tests::tun;
use framewire_tests::wait::wait_until;
use serde_json::{Value, json};

const LEFT: &str = "192.0.2.1";
const RIGHT: &str = "192.0.2.2";

/// Two taps joined by a cable, each interface in a namespace of its own with an address.
struct TwoHosts {
    _bench: Bench,
    left: Namespace,
    right: Namespace,
}

impl TwoHosts {
    fn new(left_options: Value, right_options: Value) -> Self {
        let mut bench = Bench::new();
        drop(bench.tap("l", left_options));
        drop(bench.tap("r", right_options));
        bench.join("l", "r");
        let (left, right) = (Namespace::new(), Namespace::new());
        bench.framewire.home().give("l", &left, &format!("{LEFT}/24"));
        bench.framewire.home().give("r", &right, &format!("{RIGHT}/24"));
        Self { _bench: bench, left, right }
    }
}

#[test]
fn frames_cross_byte_for_byte_both_ways() {
    need!(root, tun);
    let mut bench = Bench::new();
    let (a, b) = (bench.tap("a", json!({})), bench.tap("b", json!({})));
    bench.framewire.home().ip("link set dev a mtu 9000");
    bench.framewire.home().ip("link set dev b mtu 9000");
    bench.join("a", "b");
    for length in [60, 61, 64, 127, 1499, 1514, 1518, 4096, 9014] {
        let number = u32::try_from(length).expect("a short frame");
        a.send(&numbered(number, length));
        b.expect(&numbered(number, length));
        b.send(&numbered(number + 1, length));
        a.expect(&numbered(number + 1, length));
    }
    a.expect_silence();
    b.expect_silence();
    drop((a, b));
    bench.delete("a");
    bench.delete("b");
    bench.finish();
}

#[test]
fn a_burst_arrives_whole_and_in_order() {
    need!(root, tun);
    let mut bench = Bench::new();
    let (a, b) = (bench.tap("a", json!({})), bench.tap("b", json!({})));
    bench.join("a", "b");
    // Fewer than a tap's own queue holds (1000): nothing may be lost, however slow this machine is.
    for number in 0..500 {
        a.send(&numbered(number, 60 + usize::try_from(number).expect("small")));
    }
    for number in 0..500 {
        b.expect(&numbered(number, 60 + usize::try_from(number).expect("small")));
    }
}

#[test]
fn two_kernels_ping_and_exchange_a_file_over_tcp() {
    need!(root, tun, "ping", "socat");
    let hosts = TwoHosts::new(json!({}), json!({}));
    assert!(pings(&hosts.left, RIGHT, 5));
    assert!(pings(&hosts.right, LEFT, 5));
    transfer(&hosts.left, &hosts.right, RIGHT, 20_000_000);
    transfer(&hosts.right, &hosts.left, LEFT, 20_000_000);
}

#[test]
fn large_segments_cross_unsplit_between_taps_with_vnet_headers() {
    need!(root, tun, "iperf3");
    let hosts = TwoHosts::new(json!({ "vnet_hdr": true }), json!({ "vnet_hdr": true }));
    let rate = iperf3(&hosts.left, &hosts.right, RIGHT, "--bytes 100M");
    let got = counters(&hosts.right, "r");
    let mean = got.received_bytes / got.received_frames;
    assert!(mean > 5000, "frames have {mean} bytes on average at {rate:.0} bit/s: they were split");
}

#[test]
fn segments_are_split_and_summed_for_a_tap_without_vnet_headers() {
    need!(root, tun, "socat");
    let hosts = TwoHosts::new(json!({ "vnet_hdr": true }), json!({ "vnet_hdr": false }));
    transfer(&hosts.left, &hosts.right, RIGHT, 20_000_000);
    transfer(&hosts.right, &hosts.left, LEFT, 20_000_000);
    let got = counters(&hosts.right, "r");
    assert!(got.received_bytes / got.received_frames <= 1514, "a frame longer than the MTU came through");
}

#[test]
fn set_link_down_stops_it_and_up_resumes_without_replay() {
    need!(root, tun);
    let mut bench = Bench::new();
    let (a, b) = (bench.tap("a", json!({})), bench.tap("b", json!({})));
    bench.join("a", "b");
    for downed in ["a", "b"] {
        bench.set_link(downed, false);
        a.send(&numbered(1, 60));
        b.send(&numbered(2, 60));
        a.expect_silence();
        b.expect_silence();
        bench.set_link(downed, true);
        a.expect_silence();
        b.expect_silence();
        a.send(&numbered(3, 60));
        b.expect(&numbered(3, 60));
        b.send(&numbered(4, 60));
        a.expect(&numbered(4, 60));
    }
}

#[test]
fn a_given_descriptor_is_used_and_its_interface_outlives_the_netdev() {
    need!(root, tun);
    let mut bench = Bench::new();
    let mine = tun::open(bench.framewire.home(), "given", tun::TAP);
    bench.framewire.home().ip("link set dev given up");
    let peer = bench.tap("t", json!({}));
    bench.qmp.getfd("fd0", mine.as_fd());
    bench.add("tap", "g", json!({ "fd": "fd0" }));
    bench.join("g", "t");
    let given = framewire_tests::packet::PacketSocket::open(bench.framewire.home(), "given");
    given.send(&numbered(1, 60));
    peer.expect(&numbered(1, 60));
    peer.send(&numbered(2, 60));
    given.expect(&numbered(2, 60));
    drop((given, peer));
    bench.delete("g");
    bench.delete("t");
    assert_eq!(bench.framewire.home().interfaces(), ["given"]);
    drop(mine);
    wait_until("the interface to go with its last descriptor", || {
        bench.framewire.home().interfaces().is_empty()
    });
    bench.finish();
}

#[test]
fn several_given_descriptors_become_several_queues() {
    need!(root, tun);
    let mut bench = Bench::new();
    let flags = tun::TAP | tun::MULTI_QUEUE;
    let queues = [(); 3].map(|()| tun::open(bench.framewire.home(), "given", flags));
    for (queue, name) in queues.iter().zip(["q0", "q1", "q2"]) {
        bench.qmp.getfd(name, queue.as_fd());
    }
    bench.framewire.home().ip("link set dev given up");
    bench.add("tap", "g", json!({ "fds": "q0:q1:q2" }));
    let peer = bench.tap("t", json!({ "queues": 3 }));
    bench.join("g", "t");
    drop(queues);
    let given = framewire_tests::packet::PacketSocket::open(bench.framewire.home(), "given");
    for number in 0..100 {
        given.send(&numbered(number, 60));
        peer.expect(&numbered(number, 60));
    }
    drop((given, peer));
    bench.delete("g");
    bench.delete("t");
    bench.finish();
}

#[test]
fn scripts_run_with_the_interface_as_argument() {
    need!(root, tun);
    let mut bench = Bench::new();
    let record = bench.framewire.file("record");
    let script = |name: &str| {
        let path = bench.framewire.file(name);
        let text = format!("#!/bin/sh\necho {name} \"$@\" >> {}\n", record.display());
        std::fs::write(&path, text).expect("a script can be written");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, executable).expect("it can be made executable");
        path
    };
    let (up, down) = (script("up"), script("down"));
    bench.add("tap", "t", json!({ "ifname": "t", "script": up, "downscript": down }));
    bench.delete("t");
    assert_eq!(std::fs::read_to_string(&record).expect("both have run"), "up t\ndown t\n");
    bench.finish();
}

#[test]
fn wrong_options_are_refused_and_leave_nothing() {
    need!(root, tun);
    let mut bench = Bench::new();
    let refusals = [
        (
            json!({ "fd": "x", "ifname": "t" }),
            "ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, fds=, and vhostfds= are invalid with fd=",
        ),
        (json!({ "fd": "nofd" }), "File descriptor named 'nofd' has not been found"),
        (
            json!({ "ifname": "a/b", "script": "no" }),
            "could not configure /dev/net/tun (a/b): Invalid argument",
        ),
        (
            json!({ "ifname": "t", "script": "/nonexistent" }),
            "network script /nonexistent failed with status 256",
        ),
        (json!({ "ifname": 5 }), "Invalid parameter type for 'ifname', expected: string"),
        (json!({ "colour": "red" }), "Parameter 'colour' is unexpected"),
    ];
    for (options, wanted) in refusals {
        assert_eq!(bench.refused("tap", "t", options), wanted);
    }
    bench.expect_nothing_left();
    drop(bench.tap("t", json!({})));
    bench.delete("t");
    bench.finish();
}

#[test]
fn four_queues_are_carried_by_as_many_workers_and_flows_stay_in_order() {
    need!(root, tun, "iperf3");
    let mut bench = Bench::with(&["--workers", "4"]);
    drop(bench.tap("l", json!({ "queues": 4 })));
    drop(bench.tap("r", json!({ "queues": 4 })));
    bench.join("l", "r");
    let (left, right) = (Namespace::new(), Namespace::new());
    bench.framewire.home().give("l", &left, &format!("{LEFT}/24"));
    bench.framewire.home().give("r", &right, &format!("{RIGHT}/24"));
    // Each stream has a hash, and so a queue, of its own. Of so many, each queue has one.
    let rate = iperf3(&left, &right, RIGHT, "--time 2 --parallel 64");
    assert!(rate > 0.0);
    expect_all_workers_to_carry(&bench, 4);
    // UDP is not put in order again by anybody: the receiver counts what comes late.
    let late = datagrams_out_of_order(&left, &right);
    assert_eq!(late, 0, "datagrams came out of order");
    drop((left, right));
    bench.delete("l");
    bench.delete("r");
    bench.finish();
}

/// From right to left: in reverse mode the client is the one that receives and counts.
fn datagrams_out_of_order(left: &Namespace, right: &Namespace) -> u64 {
    let report = iperf3_report(left, right, RIGHT, "--udp --reverse --bitrate 20M --time 2 --parallel 8");
    let streams = report["end"]["streams"].as_array().expect("iperf3 lists its streams");
    assert_eq!(streams.len(), 8);
    streams.iter().map(|stream| stream["udp"]["out_of_order"].as_u64().expect("counted")).sum()
}

/// Each of so many workers has had frames, in turns of its own.
#[track_caller]
fn expect_all_workers_to_carry(bench: &Bench, count: usize) {
    let status = bench.framewire.status();
    let workers = status["workers"].as_array().expect("workers are listed");
    let busy = workers.iter().filter(|worker| worker["busy-turns"].as_u64().is_some_and(|turns| turns > 100));
    assert_eq!(busy.count(), count, "not all of {count} workers carry frames: {workers:#?}");
}
