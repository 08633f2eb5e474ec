//! A guest attaches through a character device: it is busy as long as the NIC is there, stays when that goes, and
//! outlives both processes.

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use framewire_tests::bench::Bench;
use framewire_tests::need;
use framewire_tests::packet::PacketSocket;
use serde_json::{Value, json};

use super::guest::Machine;

fn add_chardev(bench: &mut Bench, id: &str, address: &Value, options: &Value) {
    let mut data = json!({ "addr": address });
    data.as_object_mut().expect("an object").extend(options.as_object().expect("an object").clone());
    bench.qmp.command("chardev-add", json!({ "id": id, "backend": { "type": "socket", "data": data } }));
}

fn unix(path: &Path) -> Value {
    json!({ "type": "unix", "data": { "path": path } })
}

fn nic(chardev: &str) -> Value {
    json!({ "driver": "virtio-net-pci", "id": "vn0", "netdev": "t", "chardev": chardev })
}

/// The file name of a character device, and whether somebody uses it.
fn state(bench: &mut Bench, id: &str) -> (String, bool) {
    let list = bench.qmp.command("query-chardev", json!({}));
    let found =
        list.as_array().expect("a list").iter().find(|info| info["label"] == id).expect("it is there");
    (found["filename"].as_str().expect("a text").to_owned(), found["frontend-open"] == true)
}

fn delete_nic(bench: &mut Bench) {
    bench.qmp.command("device_del", json!({ "id": "vn0" }));
    // One for the NIC, one for the device that it is in.
    bench.qmp.event("DEVICE_DELETED");
    bench.qmp.event("DEVICE_DELETED");
}

fn bench() -> (Bench, PacketSocket) {
    let mut bench = Bench::new();
    let tap = bench.tap("t", json!({}));
    bench.qmp.command("cont", json!({}));
    (bench, tap)
}

fn finish(mut bench: Bench, tap: PacketSocket) {
    drop(tap);
    bench.delete("t");
    bench.finish();
}

#[test]
fn server_is_busy_as_long_as_its_nic_is_there_and_serves_the_next() {
    need!(root, tun);
    let (mut bench, tap) = bench();
    let path = bench.framewire.file("front");
    add_chardev(&mut bench, "c0", &unix(&path), &json!({ "server": true, "wait": false }));
    let waiting = format!("disconnected:unix:{},server=on", path.display());
    for number in [0, 2] {
        assert_eq!(state(&mut bench, "c0"), (waiting.clone(), false));
        bench.qmp.command("device_add", nic("c0"));
        assert_eq!(state(&mut bench, "c0"), (waiting.clone(), true));
        let mut guest = Machine::start(UnixStream::connect(&path).expect("it listens"), 0);
        assert_eq!(
            bench.qmp.event("NETDEV_VHOST_USER_CONNECTED"),
            json!({ "netdev-id": "vn0", "chardev-id": "c0" })
        );
        assert_eq!(state(&mut bench, "c0"), (format!("unix:{},server=on", path.display()), true));
        guest.talk(&tap, number);
        let (_class, text) = bench.qmp.refused("chardev-remove", json!({ "id": "c0" }));
        assert_eq!(text, "Chardev 'c0' is busy");
        let (_class, text) =
            bench.qmp.refused("device_add", json!({ "driver": "virtio-net-pci", "chardev": "c0" }));
        assert_eq!(text, "Property 'virtio-net-device.chardev' can't take value 'c0', it's in use");
        // Torn off, it waits for the next.
        bench.qmp.command("yank", json!({ "instances": [{ "type": "chardev", "id": "c0" }] }));
        bench.qmp.event("NETDEV_VHOST_USER_DISCONNECTED");
        delete_nic(&mut bench);
    }
    bench.qmp.command("chardev-remove", json!({ "id": "c0" }));
    assert!(!path.exists(), "its path is left over");
    finish(bench, tap);
}

#[test]
fn client_connects_for_its_nic_and_then_again_for_itself() {
    need!(root, tun);
    let (mut bench, tap) = bench();
    let path = bench.framewire.file("front");
    add_chardev(&mut bench, "c0", &unix(&path), &json!({ "server": false, "reconnect-ms": 20 }));
    bench.qmp.command("device_add", nic("c0"));
    let disconnected = format!("disconnected:unix:{}", path.display());
    assert_eq!(state(&mut bench, "c0"), (disconnected, true));
    let listener = UnixListener::bind(&path).expect("a scratch path");
    for number in [0, 2] {
        let (socket, _name) = listener.accept().expect("the NIC connects");
        Machine::start(socket, 0).talk(&tap, number);
        bench.qmp.event("NETDEV_VHOST_USER_CONNECTED");
        bench.qmp.event("NETDEV_VHOST_USER_DISCONNECTED");
    }
    delete_nic(&mut bench);
    // An attempt of the NIC's may have been under way.
    let (_socket, _name) = listener.accept().expect("it connects by itself again");
    framewire_tests::wait::wait_until("its own connection", || {
        drop(listener.set_nonblocking(true).and_then(|()| listener.accept()));
        state(&mut bench, "c0") == ("unix:".to_owned(), false)
    });
    bench.qmp.command("chardev-remove", json!({ "id": "c0" }));
    drop(listener);
    finish(bench, tap);
}

#[test]
fn connection_that_was_given_is_used_once() {
    need!(root, tun);
    let (mut bench, tap) = bench();
    let (theirs, ours) = UnixStream::pair().expect("a pair of sockets");
    bench.qmp.getfd("front", theirs.as_fd());
    drop(theirs);
    add_chardev(
        &mut bench,
        "c0",
        &json!({ "type": "fd", "data": { "str": "front" } }),
        &json!({ "server": false }),
    );
    bench.qmp.command("device_add", nic("c0"));
    Machine::start(ours, 0).talk(&tap, 0);
    bench.qmp.event("NETDEV_VHOST_USER_DISCONNECTED");
    delete_nic(&mut bench);
    assert_eq!(state(&mut bench, "c0"), ("disconnected:fd:front".to_owned(), false));
    bench.qmp.command("chardev-remove", json!({ "id": "c0" }));
    finish(bench, tap);
}

#[test]
fn both_outlive_a_killed_control_plane() {
    need!(root, tun);
    let (mut bench, tap) = bench();
    let path = bench.framewire.file("front");
    add_chardev(&mut bench, "c0", &unix(&path), &json!({ "server": true, "wait": false }));
    bench.qmp.command("device_add", nic("c0"));
    let mut guest = Machine::start(UnixStream::connect(&path).expect("it listens"), 0);
    bench.qmp.event("NETDEV_VHOST_USER_CONNECTED");
    guest.talk(&tap, 0);
    bench.framewire.kill_control();
    bench.framewire.restart_control();
    bench.qmp = bench.framewire.qmp();
    guest.talk(&tap, 2);
    assert_eq!(state(&mut bench, "c0"), (format!("unix:{},server=on", path.display()), true));
    let (_class, text) = bench.qmp.refused("chardev-remove", json!({ "id": "c0" }));
    assert_eq!(text, "Chardev 'c0' is busy");
    drop(guest);
    bench.qmp.event("NETDEV_VHOST_USER_DISCONNECTED");
    Machine::start(UnixStream::connect(&path).expect("it listens"), 0).talk(&tap, 4);
    bench.qmp.command("cont", json!({}));
    delete_nic(&mut bench);
    bench.qmp.command("chardev-remove", json!({ "id": "c0" }));
    assert!(!path.exists(), "its path is left over");
    let Bench { framewire, qmp, .. } = bench;
    drop((qmp, tap));
    framewire.quit();
}

#[test]
fn one_that_cannot_carry_a_session_is_refused() {
    need!(root);
    let mut bench = Bench::new();
    let (c0, t0) = (
        bench.framewire.file("front"),
        json!({ "type": "inet", "data": { "host": "127.0.0.1", "port": "0" } }),
    );
    add_chardev(&mut bench, "c0", &unix(&c0), &json!({ "server": true, "wait": false }));
    add_chardev(&mut bench, "t0", &t0, &json!({ "server": true, "wait": false }));
    bench.qmp.command("chardev-add", json!({ "id": "n0", "backend": { "type": "null", "data": {} } }));
    for (properties, wanted) in [
        (json!({ "chardev": "x" }), "Property 'virtio-net-device.chardev' can't find value 'x'"),
        (json!({ "chardev": "t0" }), "chardev \"t0\" does not support FD passing"),
        (json!({ "chardev": "n0" }), "chardev \"n0\" is not a socket"),
        (
            json!({ "chardev": "c0", "socket": "/x" }),
            "'chardev' brings its socket: it takes no property of another one",
        ),
    ] {
        let mut arguments = json!({ "driver": "virtio-net-pci" });
        arguments.as_object_mut().expect("an object").extend(properties.as_object().expect("one").clone());
        assert_eq!(bench.qmp.refused("device_add", arguments).1, wanted);
    }
    for id in ["c0", "t0", "n0"] {
        bench.qmp.command("chardev-remove", json!({ "id": id }));
    }
    bench.finish();
}
