//! `nic`: NICs are made by `device_add`, `netdev_add` and on the command line, before there is a guest: they announce
//! themselves, their links go down and up, and they go as QEMU's do.

mod chardev;
mod filter;
mod firmware;
mod guest;

use framewire_tests::bench::Bench;
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use serde_json::{Value, json};

const MAC: &str = "52:54:00:aa:bb:01";

/// What QEMU announces of that address.
const ANNOUNCEMENT: &str = "ffffffffffff525400aabb0180350001080006040003525400aabb0100000000525400aabb0100000000\
                            000000000000000000000000000000000000";

const RARP: u16 = 0x8035;

/// A tap, and what is announced on it.
fn tap(bench: &mut Bench) -> PacketSocket {
    bench.tap("t", json!({}));
    PacketSocket::open_for(bench.framewire.home(), "t", RARP)
}

fn add(bench: &mut Bench, id: &str, netdev: &str) {
    let arguments = json!({ "driver": "virtio-net-pci", "id": id, "netdev": netdev, "mac": MAC });
    bench.qmp.command("device_add", arguments);
}

fn announce(bench: &mut Bench) {
    bench.qmp.command("announce-self", json!({ "initial": 50, "max": 550, "rounds": 1, "step": 50 }));
}

#[track_caller]
fn expect_announcement(tap: &PacketSocket) {
    let frame: Vec<u8> = (0..ANNOUNCEMENT.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&ANNOUNCEMENT[at..at + 2], 16).expect("hex"))
        .collect();
    tap.expect(&frame);
}

fn deleted(bench: &mut Bench) -> Value {
    let first = bench.qmp.event("DEVICE_DELETED");
    assert_eq!(first, json!({ "path": "/machine/peripheral/vn0/virtio-backend" }));
    bench.qmp.event("DEVICE_DELETED")
}

#[test]
fn nic_announces_itself_until_it_is_asked_to_go() {
    need!(root, tun);
    let mut bench = Bench::new();
    let tap = tap(&mut bench);
    add(&mut bench, "vn0", "t");
    let (_class, text) =
        bench.qmp.refused("device_add", json!({ "driver": "virtio-net-pci", "netdev": "t" }));
    assert_eq!(text, "Property 'virtio-net-device.netdev' can't take value 't', it's in use");
    announce(&mut bench);
    expect_announcement(&tap);
    bench.qmp.command("device_del", json!({ "id": "vn0" }));
    let (_class, text) = bench.qmp.refused("device_del", json!({ "id": "vn0" }));
    assert_eq!(text, "Device vn0 is already in the process of unplug");
    let wanted = json!({ "device": "vn0", "path": "/machine/peripheral/vn0" });
    assert_eq!(deleted(&mut bench), wanted);
    // The netdev is there, and free.
    add(&mut bench, "vn0", "t");
    bench.qmp.command("cont", json!({}));
    bench.qmp.command("device_del", json!({ "id": "vn0" }));
    assert_eq!(deleted(&mut bench), wanted);
    drop(tap);
    bench.delete("t");
    bench.finish();
}

#[test]
fn link_of_either_side_silences_it() {
    need!(root, tun);
    let mut bench = Bench::new();
    let tap = tap(&mut bench);
    add(&mut bench, "vn0", "t");
    for name in ["t", "vn0"] {
        bench.set_link(name, false);
        announce(&mut bench);
        tap.expect_silence();
        bench.set_link(name, true);
        announce(&mut bench);
        expect_announcement(&tap);
    }
    drop(tap);
    // A netdev may go before its NIC, which stays without one.
    bench.delete("t");
    assert_eq!(port(&bench, "vn0")["link"], false);
    announce(&mut bench);
    bench.qmp.command("device_del", json!({ "id": "vn0" }));
    bench.qmp.command("system_reset", json!({}));
    deleted(&mut bench);
    bench.finish();
}

#[test]
fn netdev_add_makes_one_as_well() {
    need!(root, tun);
    let mut bench = Bench::new();
    let tap = tap(&mut bench);
    for (options, wanted) in [
        (json!({ "netdev": "none" }), "netdev 'none' not found"),
        (json!({ "model": "e1000" }), "Unsupported NIC model: e1000"),
        (json!({ "macaddr": "zz" }), "invalid syntax for ethernet address"),
        (json!({ "macaddr": "01:00:00:00:00:00" }), "NIC cannot have multicast MAC address (odd 1st byte)"),
    ] {
        assert_eq!(bench.refused("nic", "vn0", options), wanted);
    }
    bench.add("nic", "vn0", json!({ "netdev": "t", "macaddr": MAC, "vectors": 4 }));
    assert_eq!(bench.refused("none", "vn0", json!({})), "Duplicate ID 'vn0'");
    announce(&mut bench);
    expect_announcement(&tap);
    drop(tap);
    bench.delete("vn0");
    bench.delete("t");
    bench.finish();
}

#[test]
fn nics_of_the_command_line_outlive_both_processes() {
    need!(root, tun);
    let device = format!("virtio-net-pci,id=vn0,netdev=n0,mac={MAC}");
    let mut bench = Bench::with(&[
        "--netdev",
        "tap,id=n0,ifname=n0,script=no,downscript=no",
        "--device",
        &device,
        "--nic",
        "tap,id=n1,ifname=n1,script=no,downscript=no,model=virtio",
    ]);
    assert_eq!(port(&bench, "n1-nic")["peer"], "n1");
    let home = bench.framewire.home();
    home.ip("link set dev n0 up");
    let tap = PacketSocket::open_for(home, "n0", RARP);
    bench.framewire.kill_control();
    bench.framewire.restart_control();
    bench.qmp = bench.framewire.qmp();
    bench.framewire.data().kill();
    bench.qmp.event("X_DATAPLANE_STARTED");
    let all = bench.qmp.command("query-rx-filter", json!({}));
    let seen: Vec<_> = all.as_array().into_iter().flatten().map(|nic| &nic["main-mac"]).collect();
    assert_eq!(seen, [MAC, "52:54:00:12:34:56"]);
    announce(&mut bench);
    expect_announcement(&tap);
    let Bench { framewire, qmp, .. } = bench;
    drop(qmp);
    framewire.quit();
}

fn port(bench: &Bench, id: &str) -> Value {
    let mut status = bench.framewire.status();
    let ports = status["ports"].as_array_mut().expect("status lists ports");
    ports.iter_mut().find(|port| port["id"] == id).expect("the port is listed").take()
}
