//! `hubport`: two ports are a cable, more hear each other.

use framewire_tests::bench::Bench;
use framewire_tests::frames::numbered;
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use serde_json::json;

/// Three taps on one hub.
fn three_on_a_hub() -> (Bench, i32, [PacketSocket; 3]) {
    let mut bench = Bench::new();
    let taps = ["a", "b", "c"].map(|id| bench.tap(id, json!({})));
    let hub = bench.hub(&["a", "b", "c"]);
    (bench, hub, taps)
}

#[test]
fn each_frame_reaches_every_other_port_once_and_never_its_own() {
    need!(root, tun);
    let (mut bench, _, [a, b, c]) = three_on_a_hub();
    a.send(&numbered(1, 60));
    b.expect(&numbered(1, 60));
    c.expect(&numbered(1, 60));
    b.send(&numbered(2, 1514));
    a.expect(&numbered(2, 1514));
    c.expect(&numbered(2, 1514));
    for tap in [&a, &b, &c] {
        tap.expect_silence();
    }
    drop([a, b, c]);
    for id in ["a", "b", "c"] {
        bench.delete(id);
    }
    bench.finish();
}

#[test]
fn a_hub_that_shrinks_to_two_is_a_cable_and_grows_again() {
    need!(root, tun);
    let (mut bench, hub, [a, b, c]) = three_on_a_hub();
    bench.qmp.command("netdev_del", json!({ "id": "port-c" }));
    a.send(&numbered(1, 60));
    b.expect(&numbered(1, 60));
    c.expect_silence();
    bench.plug("c", hub);
    a.send(&numbered(2, 60));
    b.expect(&numbered(2, 60));
    c.expect(&numbered(2, 60));
}

#[test]
fn a_port_whose_link_is_down_neither_speaks_nor_hears() {
    need!(root, tun);
    let (mut bench, _, [a, b, c]) = three_on_a_hub();
    bench.set_link("b", false);
    a.send(&numbered(1, 60));
    c.expect(&numbered(1, 60));
    b.expect_silence();
    b.send(&numbered(2, 60));
    a.expect_silence();
    bench.set_link("b", true);
    a.send(&numbered(3, 60));
    b.expect(&numbered(3, 60));
}

#[test]
fn hubs_do_not_hear_each_other() {
    need!(root, tun);
    let mut bench = Bench::new();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| bench.tap(id, json!({})));
    // The ends of the range of a hub's number.
    for (netdev, hub) in [("a", i32::MIN), ("b", i32::MIN), ("c", i32::MAX), ("d", i32::MAX)] {
        bench.plug(netdev, hub);
    }
    a.send(&numbered(1, 60));
    b.expect(&numbered(1, 60));
    c.expect_silence();
    d.send(&numbered(2, 60));
    c.expect(&numbered(2, 60));
    a.expect_silence();
}

/// Two hubs joined by a port on each: QEMU recurses until it dies when these are one hub.
#[test]
fn a_hub_plugged_into_itself_does_not_loop() {
    need!(root, tun);
    let mut bench = Bench::new();
    let tap = bench.tap("a", json!({}));
    bench.plug("a", 7);
    bench.add("hubport", "p", json!({ "hubid": 7 }));
    // Whether this is refused or accepted, nothing may go round.
    let _ = bench
        .qmp
        .try_command("netdev_add", json!({ "type": "hubport", "id": "q", "hubid": 7, "netdev": "p" }));
    for number in 0..10 {
        tap.send(&numbered(number, 60));
    }
    tap.expect_silence();
    bench.qmp.command("query-status", json!({}));
}

#[test]
fn wrong_options_are_refused() {
    need!(root);
    let mut bench = Bench::new();
    assert_eq!(bench.refused("hubport", "h", json!({})), "Parameter 'hubid' is missing");
    assert_eq!(bench.refused("hubport", "h", json!({ "hubid": 1, "netdev": "x" })), "netdev 'x' not found");
    assert_eq!(
        bench.refused("hubport", "h", json!({ "hubid": 1_i64 << 31 })),
        "Parameter 'hubid' expects int32_t"
    );
    bench.finish();
}
