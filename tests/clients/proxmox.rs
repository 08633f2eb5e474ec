//! Proxmox: a new connection for each batch, commands without a line end, ids that are strings `PID:NUMBER`.
//!
//! Its reader wants an object and a line end in what it has got so far, and gives up the batch at the first error.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use framewire_tests::framewire::Framewire;
use framewire_tests::need;
use framewire_tests::wait::wait_until;
use serde_json::{Value, json};

use crate::wire::{Wire, done};

/// What one batch may hold.
type Command = (&'static str, Value);

/// One batch on a connection of its own. Each command is sent when the one before it is answered.
#[track_caller]
fn batch(framewire: &Framewire, commands: &[Command]) -> Vec<Value> {
    let (mut wire, greeting) = Wire::open(&framewire.qmp_path());
    assert!(greeting.get("QMP").is_some());
    let capabilities = wire.ask(r#"{"execute":"qmp_capabilities","arguments":{},"id":"4711:1"}"#);
    assert_eq!(capabilities, done(&json!("4711:1")));
    let mut replies = Vec::new();
    for (number, (name, arguments)) in (2..).zip(commands) {
        let id = format!("4711:{number}");
        let reply = wire.ask(&format!(r#"{{"execute":"{name}","arguments":{arguments},"id":"{id}"}}"#));
        assert_eq!(reply["id"], json!(id), "a reply with another id is no reply: {reply}");
        replies.push(reply["return"].clone());
    }
    replies
}

/// Scripts that note how they were called.
fn scripts(folder: &Path) -> (PathBuf, PathBuf, PathBuf) {
    let notes = folder.join("notes");
    let script = |name: &str| {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\necho {name} $1 >>{}\n", notes.display()))
            .expect("a scratch file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
        path
    };
    (script("pve-bridge-hotplug"), script("pve-bridgedown"), notes)
}

#[test]
fn a_port_is_plugged_relinked_and_unplugged() {
    need!(root, tun);
    let framewire = Framewire::new();
    let (up, down, notes) = scripts(framewire.file("qmp").parent().expect("it is in a folder"));
    let tap = json!({
        "type": "tap", "id": "net0", "ifname": "tap100i0", "script": up, "downscript": down,
        "vhost": true, "queues": 4,
    });
    assert_eq!(batch(&framewire, &[("netdev_add", tap)]), [json!({})]);
    let queues = framewire.home().ip("-d link show dev tap100i0");
    assert!(queues.contains("numtxqueues") && queues.contains("multi_queue"), "{queues}");
    // A bridge is changed under a link that is down.
    let link = |up: bool| ("set_link", json!({ "name": "net0", "up": up }));
    assert_eq!(batch(&framewire, &[link(false)]), [json!({})]);
    assert_eq!(batch(&framewire, &[link(true)]), [json!({})]);
    assert_eq!(batch(&framewire, &[("netdev_del", json!({ "id": "net0" }))]), [json!({})]);
    let noted = fs::read_to_string(notes).expect("both scripts ran");
    assert_eq!(noted, "pve-bridge-hotplug tap100i0\npve-bridgedown tap100i0\n");
}

/// A whole NIC: the device goes through the monitor for people, whose silence is success.
#[test]
fn a_nic_is_hotplugged_and_unplugged() {
    need!(root);
    let framewire = Framewire::new();
    let plug = json!({ "command-line": "device_add virtio-net-pci,mac=BC:24:11:AA:BB:01,netdev=net0,bus=pci.0,addr=0x12,id=net0,rx_queue_size=1024,tx_queue_size=256,host_mtu=1400" });
    let plugged = batch(
        &framewire,
        &[
            ("netdev_add", json!({ "type": "user", "id": "net0", "hostname": "vm100", "restrict": true })),
            ("human-monitor-command", plug.clone()),
            ("set_link", json!({ "name": "net0", "up": false })),
        ],
    );
    assert_eq!(plugged, [json!({}), json!(""), json!({})]);
    assert_eq!(batch(&framewire, &[("set_link", json!({ "name": "net0", "up": true }))]), [json!({})]);
    let twice = batch(&framewire, &[("human-monitor-command", plug)]);
    assert_eq!(twice, [json!("Error: Duplicate device ID 'net0'\r\n")]);
    assert_eq!(batch(&framewire, &[("device_del", json!({ "id": "net0" }))]), [json!({})]);
    // It asks for the list of devices until the device is not on it any more; here are names only.
    wait_until("the device to be gone", || {
        let filters = batch(&framewire, &[("query-rx-filter", json!({}))]);
        filters == [json!([])]
    });
    assert_eq!(batch(&framewire, &[("netdev_del", json!({ "id": "net0" }))]), [json!({})]);
}

/// The listener of its daemon for events: long-lived, its commands have no id.
#[test]
fn the_event_daemon_is_told_of_the_end() {
    need!(root);
    let framewire = Framewire::new();
    let (mut daemon, _greeting) = Wire::open(&framewire.qmp_path());
    assert_eq!(daemon.ask("{\"execute\":\"qmp_capabilities\"}\n"), json!({ "return": {} }));
    let status = daemon.ask("{\"execute\":\"query-status\"}\n");
    assert_eq!(status["return"]["running"], json!(false));
    assert_eq!(daemon.ask("{\"execute\":\"quit\"}\n"), json!({ "return": {} }));
    assert_eq!(daemon.events[0]["event"], json!("SHUTDOWN"));
}
