//! A guest moves from one QEMU to another while it talks: pages that we write into its memory meanwhile have to be told
//! to the QEMU that copies them, or the guest finds old bytes there.

use std::sync::atomic::{AtomicBool, Ordering};

use framewire_tests::bench::Bench;
use framewire_tests::machine::{Machine, PATIENCE, Parts};
use framewire_tests::need;
use framewire_tests::qmp::Qmp;
use framewire_tests::wait::wait_for;
use serde_json::json;

use super::echo;

const GUEST: &str = "10.9.0.2";
const GUEST_BYTES: [u8; 4] = [10, 9, 0, 2];

/// A tap and two NICs on one hub.
fn hub(bench: &mut Bench) {
    drop(bench.tap("t", json!({})));
    bench.framewire.home().ip("address add 10.9.0.1/24 dev t");
    let hub = bench.hub(&["t"]);
    for nic in ["vn0", "vn1"] {
        let port = format!("port-{nic}");
        bench.add("hubport", &port, json!({ "hubid": hub }));
        bench.qmp.command("device_add", json!({ "driver": "virtio-net-pci", "id": nic, "netdev": port }));
    }
}

#[track_caller]
fn migrate(monitor: &mut Qmp, uri: &str) {
    monitor.command("migrate", json!({ "uri": uri }));
    wait_for("the guest to move", PATIENCE, || {
        let state = monitor.command("query-migrate", json!({}));
        let status = state["status"].as_str().unwrap_or_default().to_owned();
        assert!(!["failed", "cancelled"].contains(&status.as_str()), "{state}");
        (status == "completed").then_some(())
    });
}

fn moves_with(more: &str) {
    let mut bench = Bench::new();
    hub(&mut bench);
    let socket = |nic: &str| bench.framewire.runtime_dir().join(format!("nic-{nic}.sock"));
    let mut guest = Machine::boot(&Parts::default().nic(0, &socket("vn0"), 1, more));
    echo::serve(&mut guest, GUEST);
    let home = bench.framewire.home();
    echo::whole(home, GUEST_BYTES, 1 << 19);
    let incoming = bench.framewire.file("moving");
    let uri = format!("unix:{}", incoming.display());
    let parts = Parts { incoming: Some(incoming.clone()), ..Parts::default() };
    let other = Machine::start(&parts.nic(0, &socket("vn1"), 1, more));
    // Its monitor answers only when it listens at that path.
    other.qmp().command("query-status", json!({}));
    let has_moved = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let traffic =
            scope.spawn(|| echo::until(home, GUEST_BYTES, 1 << 20, || has_moved.load(Ordering::Relaxed)));
        let mut monitor = guest.qmp();
        let moved = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| migrate(&mut monitor, &uri)));
        has_moved.store(true, Ordering::Relaxed);
        let count = traffic.join().expect("traffic survives the move");
        moved.expect("the guest moves");
        assert!(count > 0, "there was no traffic while the guest moved");
    });
    let mut guest = guest.moved_to(other);
    guest.call("ping -c 1 -w 60 10.9.0.1");
    echo::whole(home, GUEST_BYTES, 1 << 20);
}

#[test]
fn guest_moves_under_load_and_nothing_is_lost_or_changed() {
    need!(root, tun, guests);
    moves_with("");
}

#[test]
fn guest_with_packed_rings_moves_as_well() {
    need!(root, tun, guests);
    moves_with(",packed=on");
}
