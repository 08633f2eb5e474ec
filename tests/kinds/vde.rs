//! `vde`: a port of a VDE switch. Peers: `vde_switch`, with QEMU's own vde netdev as a second plug; for exact bytes, two of
//! our own plugs in one switch.

use std::path::{Path, PathBuf};

use framewire_tests::bench::Bench;
use framewire_tests::frames::{number_of, numbered};
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use framewire_tests::vde;
use framewire_tests::wait::wait_until;
use serde_json::json;

use crate::framed::SILENCE;
use crate::kernels;
use crate::stream::status;

/// A netdev plugged into the switch, joined with a tap.
fn plug(bench: &mut Bench, folder: &Path, id: &str, tap: &str) -> PacketSocket {
    bench.add("vde", id, json!({ "sock": folder }));
    let socket = bench.tap(tap, json!({}));
    bench.join(id, tap);
    socket
}

/// Names in the switch's folder.
fn names(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("it is there").path()).collect()
}

#[test]
fn frames_cross_a_switch() {
    need!(root, tun, "vde_switch");
    let mut bench = Bench::new();
    let folder = bench.framewire.file("switch");
    let switch = vde::switch(bench.framewire.home(), &folder);
    let (t, u) = (plug(&mut bench, &folder, "s", "t"), plug(&mut bench, &folder, "r", "u"));
    for (number, length) in (1..).zip([60, 64, 300, 1514]) {
        t.send(&numbered(number, length));
        u.expect(&numbered(number, length));
        u.send(&numbered(number + 10, length));
        t.expect(&numbered(number + 10, length));
    }
    bench.set_link("s", false);
    t.send(&numbered(1, 60));
    u.expect_silence();
    bench.set_link("s", true);
    t.send(&numbered(3, 60));
    u.expect(&numbered(3, 60));
    // Our own names are gone, as soon as they have served.
    assert!(
        names(&folder).iter().all(|path| path.file_name().is_none_or(|n| n.as_encoded_bytes()[0] != b'.'))
    );
    drop((t, u));
    for id in ["s", "r", "t", "u"] {
        bench.delete(id);
    }
    wait_until("the switch to forget the ports", || names(&folder).len() == 1);
    bench.finish();
    drop(switch);
}

#[test]
fn restarted_switch_is_plugged_into_again() {
    need!(root, tun, "vde_switch");
    let mut bench = Bench::new();
    let folder = bench.framewire.file("switch");
    let mut first = Some(vde::switch(bench.framewire.home(), &folder));
    let (t, u) = (plug(&mut bench, &folder, "s", "t"), plug(&mut bench, &folder, "r", "u"));
    for round in 1..4 {
        t.send(&numbered(round, 60));
        u.expect(&numbered(round, 60));
        drop(first.take());
        wait_until("the links to go down", || {
            ["s", "r"].iter().all(|id| status(&bench, id)["link"] == json!(false))
        });
        t.send(&numbered(77, 60));
        u.expect_silence();
        let _ = std::fs::remove_dir_all(&folder);
        first = Some(vde::switch(bench.framewire.home(), &folder));
        wait_until("the links to come back", || {
            ["s", "r"].iter().all(|id| status(&bench, id)["link"] == json!(true))
        });
    }
    t.send(&numbered(9, 60));
    assert_eq!(u.receive(SILENCE).and_then(|frame| number_of(&frame)), Some(9));
}

/// The port of the switch lives as long as the data plane has its control connection. Whoever takes over looks after it.
#[test]
fn port_survives_a_killed_data_plane_and_a_killed_control_plane() {
    need!(root, tun, "vde_switch");
    let mut bench = Bench::new();
    let folder = bench.framewire.file("switch");
    let first = vde::switch(bench.framewire.home(), &folder);
    let (t, u) = (plug(&mut bench, &folder, "s", "t"), plug(&mut bench, &folder, "r", "u"));
    let crosses = |number| {
        wait_until("frames to cross", || {
            t.send(&numbered(number, 60));
            std::iter::from_fn(|| u.receive(SILENCE)).any(|frame| number_of(&frame) == Some(number))
        });
    };
    bench.framewire.data().kill();
    crosses(1);
    let ports = names(&folder);
    bench.framewire.kill_control();
    crosses(2);
    bench.framewire.restart_control();
    bench.qmp = bench.framewire.qmp();
    crosses(3);
    assert_eq!(names(&folder), ports, "the same ports of the switch");
    drop(first);
    let _ = std::fs::remove_dir_all(&folder);
    let _second = vde::switch(bench.framewire.home(), &folder);
    crosses(4);
}

#[test]
fn qemu_is_the_other_plug() {
    need!(root, tun, "vde_switch", "qemu-system-x86_64", "ping", "socat");
    let mut bench = Bench::new();
    let folder = bench.framewire.file("switch");
    let _switch = vde::switch(bench.framewire.home(), &folder);
    let qemu = kernels::qemu(bench.framewire.home(), &format!("vde,id=s,sock={}", folder.display()));
    drop(plug(&mut bench, &folder, "s", "t"));
    let _kernels = kernels::talk(bench.framewire.home(), ["t", "q"], 1_000_000);
    assert!(qemu.is_running(), "QEMU ended:\n{}", qemu.log());
}

#[test]
fn switch_that_is_not_there_is_refused_and_leaves_nothing() {
    need!(root);
    let mut bench = Bench::new();
    let options = json!({ "sock": bench.framewire.file("nowhere") });
    assert_eq!(bench.refused("vde", "s", options), "Could not open vde: No such file or directory");
    let options = json!({ "sock": "/dev/null" });
    assert_eq!(bench.refused("vde", "s", options), "Could not open vde: Not a directory");
    bench.finish();
}
