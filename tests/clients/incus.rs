//! Incus, and LXD after it: refuses to send descriptors unless `oob` is offered, though it never uses it; ids are
//! numbers; only negotiation ends in a line end; descriptors are named after the files that they came from.

use std::fs::File;
use std::os::fd::AsFd;

use framewire_tests::framewire::Framewire;
use framewire_tests::{need, tun};
use serde_json::{Value, json};

use crate::wire::{Wire, desc, done};

fn connect(framewire: &Framewire) -> Wire {
    let (mut wire, greeting) = Wire::open(&framewire.qmp_path());
    let offered = greeting["QMP"]["capabilities"].as_array().expect("capabilities are offered");
    assert!(offered.contains(&json!("oob")), "it sends no descriptors to: {greeting}");
    assert_eq!(wire.ask("{\"execute\":\"qmp_capabilities\",\"id\":1}\n"), done(&json!(1)));
    wire
}

#[track_caller]
fn getfd(wire: &mut Wire, id: u32, name: &str, descriptor: impl AsFd) {
    let command = format!(r#"{{"execute":"getfd","arguments":{{"fdname":"{name}"}},"id":{id}}}"#);
    assert_eq!(wire.ask_with(&command, descriptor.as_fd()), done(&json!(id)), "{name}");
}

#[test]
fn a_nic_of_two_queues_gets_its_descriptors() {
    need!(root, tun);
    let framewire = Framewire::new();
    let mut wire = connect(&framewire);
    let flags = tun::TAP | tun::MULTI_QUEUE | tun::VNET_HDR;
    for queue in 0..2 {
        let tap = tun::open(framewire.home(), "tap0a1b2c3d", flags);
        getfd(&mut wire, 2 + queue, &format!("/dev/net/tun.{queue}"), tap);
        // Where there is a vhost device; here is none, and frames are moved without.
        let device = File::open("/dev/null").expect("it is always there");
        getfd(&mut wire, 4 + queue, &format!("/dev/vhost-net.{queue}"), device);
    }
    let added = wire.ask(
        r#"{"execute":"netdev_add","arguments":{"fds":"/dev/net/tun.0:/dev/net/tun.1","id":"incus_eth0","type":"tap","vhost":true,"vhostfds":"/dev/vhost-net.0:/dev/vhost-net.1"},"id":6}"#,
    );
    assert_eq!(added, done(&json!(6)));
    let version = wire.ask(r#"{"execute":"query-version","id":7}"#);
    assert!(version["return"]["qemu"]["major"].as_u64() >= Some(5), "{version}");
    let link = wire.ask(r#"{"execute":"set_link","arguments":{"name":"incus_eth0","up":false},"id":8}"#);
    assert_eq!(link, done(&json!(8)));
    assert_eq!(
        wire.ask(r#"{"execute":"netdev_del","arguments":{"id":"incus_eth0"},"id":9}"#),
        done(&json!(9))
    );
    // All names are spent, those of the vhost devices too.
    for name in ["/dev/net/tun.0", "/dev/net/tun.1", "/dev/vhost-net.0", "/dev/vhost-net.1"] {
        let command = format!(r#"{{"execute":"closefd","arguments":{{"fdname":"{name}"}},"id":10}}"#);
        assert_eq!(desc(&wire.ask(&command)), format!("File descriptor named '{name}' not found"));
    }
}

#[test]
fn a_nic_is_added_disconnected_and_removed() {
    need!(root);
    let framewire = Framewire::new();
    let mut wire = connect(&framewire);
    for (id, command) in [
        (2, r#""execute":"netdev_add","arguments":{"id":"incus_eth0","type":"none"}"#),
        (
            3,
            r#""execute":"device_add","arguments":{"addr":"00.0","bus":"qemu_pcie5","driver":"virtio-net-pci","id":"dev-incus_eth0","mac":"00:16:3e:12:34:56","mq":true,"netdev":"incus_eth0","vectors":6}"#,
        ),
        (4, r#""execute":"set_link","arguments":{"name":"dev-incus_eth0","up":false}"#),
        (5, r#""execute":"device_del","arguments":{"id":"dev-incus_eth0"}"#),
    ] {
        assert_eq!(wire.ask(&format!("{{{command},\"id\":{id}}}")), done(&json!(id)), "{command}");
    }
    while wire.event("DEVICE_DELETED")["device"] != "dev-incus_eth0" {}
    // It asks for the same again until the device is really gone.
    let gone = wire.ask(r#"{"execute":"device_del","arguments":{"id":"dev-incus_eth0"},"id":6}"#);
    assert_eq!(desc(&gone), "Device 'dev-incus_eth0' not found");
    let deleted = wire.ask(r#"{"execute":"netdev_del","arguments":{"id":"incus_eth0"},"id":7}"#);
    assert_eq!(deleted, done(&json!(7)));
}

/// It goes by the text.
#[test]
fn taking_back_what_was_not_made_says_not_found() {
    need!(root);
    let framewire = Framewire::new();
    let mut wire = connect(&framewire);
    let reply = wire.ask(r#"{"execute":"netdev_del","arguments":{"id":"incus_eth0"},"id":2}"#);
    assert!(desc(&reply).contains("not found"), "{reply}");
    assert_eq!(reply["error"]["class"], json!("DeviceNotFound"));
    assert_eq!(reply["id"], json!(2));
}

/// A reply longer than its reader's buffer would end its session.
#[test]
fn replies_about_two_hundred_ports_fit_its_buffer() {
    need!(root);
    let framewire = Framewire::new();
    let mut wire = connect(&framewire);
    for number in 0..200 {
        let add = json!({ "execute": "netdev_add", "arguments": { "type": "none", "id": format!("n{number}") },
            "id": number });
        assert_eq!(wire.ask(&add.to_string()), done(&json!(number)));
    }
    for command in ["query-chardev", "query-fdsets", "query-rx-filter", "query-commands", "x-query-status"] {
        let reply = wire.ask(&format!(r#"{{"execute":"{command}","id":1000}}"#));
        assert!(reply.get("return").is_some_and(Value::is_array) || reply["return"].is_object(), "{reply}");
    }
}
