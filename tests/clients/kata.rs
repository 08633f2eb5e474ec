//! Kata Containers, both of its runtimes: commands without id. The one in Go ends lines, and uses the same names of
//! descriptors for every NIC; the one in Rust sends descriptors with blanks in the text and no line end.

use std::fs::File;
use std::os::fd::AsFd;

use framewire_tests::framewire::Framewire;
use framewire_tests::{need, tun};
use serde_json::{Value, json};

use crate::wire::{Wire, desc};

fn connect(framewire: &Framewire) -> Wire {
    let (mut wire, greeting) = Wire::open(&framewire.qmp_path());
    assert!(greeting["QMP"]["version"]["qemu"]["major"].as_u64() >= Some(5), "too old for it: {greeting}");
    assert_eq!(wire.ask("{\"execute\":\"qmp_capabilities\"}\n"), nothing());
    wire
}

fn nothing() -> Value {
    json!({ "return": {} })
}

const TAP: libc::c_int = tun::TAP | tun::MULTI_QUEUE | tun::VNET_HDR;

#[test]
fn the_go_runtime_uses_the_same_names_for_every_nic() {
    need!(root, tun);
    let framewire = Framewire::new();
    let mut wire = connect(&framewire);
    for (nic, interface) in ["tap0_kata", "tap1_kata"].into_iter().enumerate() {
        for (name, descriptor) in [
            ("fd0", tun::open(framewire.home(), interface, TAP)),
            ("fd1", tun::open(framewire.home(), interface, TAP)),
            ("vhostfd0", File::open("/dev/null").expect("it is always there").into()),
            ("vhostfd1", File::open("/dev/null").expect("it is always there").into()),
        ] {
            let getfd = format!("{{\"execute\":\"getfd\",\"arguments\":{{\"fdname\":\"{name}\"}}}}\n");
            assert_eq!(wire.ask_with(&getfd, descriptor.as_fd()), nothing());
            if nic == 0 {
                // What a failed attempt left behind is replaced.
                assert_eq!(wire.ask_with(&getfd, descriptor.as_fd()), nothing());
            }
        }
        let add = format!(
            "{{\"arguments\":{{\"fds\":\"fd0:fd1\",\"id\":\"network-{nic}\",\"type\":\"tap\",\"vhost\":\"on\",\"vhostfds\":\"vhostfd0:vhostfd1\"}},\"execute\":\"netdev_add\"}}\n"
        );
        let old_style = wire.ask(&add);
        assert_eq!(desc(&old_style), "Invalid parameter type for 'vhost', expected: boolean");
        assert_eq!(wire.ask(&add.replace("\"on\"", "true")), nothing());
    }
    for nic in 0..2 {
        let delete = format!("{{\"arguments\":{{\"id\":\"network-{nic}\"}},\"execute\":\"netdev_del\"}}\n");
        assert_eq!(wire.ask(&delete), nothing());
    }
}

/// The device is plugged into a bridge, and unplugging it is waited for.
#[test]
fn the_go_runtime_plugs_a_nic_and_waits_for_its_end() {
    need!(root);
    let framewire = Framewire::new();
    let mut wire = connect(&framewire);
    for command in [
        r#"{"arguments":{"id":"network-0","type":"none"},"execute":"netdev_add"}"#,
        r#"{"arguments":{"addr":"02","bus":"pci-bridge-0","driver":"virtio-net-pci","id":"virtio-network-0","mac":"02:00:ca:fe:00:04","mq":"on","netdev":"network-0","romfile":"","vectors":"6"},"execute":"device_add"}"#,
        r#"{"arguments":{"id":"virtio-network-0"},"execute":"device_del"}"#,
    ] {
        assert_eq!(wire.ask(&format!("{command}\n")), nothing(), "{command}");
    }
    while wire.event("DEVICE_DELETED")["device"] != "virtio-network-0" {}
    assert_eq!(wire.ask("{\"arguments\":{\"id\":\"network-0\"},\"execute\":\"netdev_del\"}\n"), nothing());
}

/// A vhost-user chardev with the older `reconnect`, in seconds.
#[test]
fn the_go_runtime_makes_a_chardev_that_connects_again() {
    need!(root);
    let framewire = Framewire::new();
    let mut wire = connect(&framewire);
    let path = framewire.file("vhu.sock");
    let add = format!(
        "{{\"arguments\":{{\"backend\":{{\"data\":{{\"addr\":{{\"data\":{{\"path\":\"{}\"}},\"type\":\"unix\"}},\"reconnect\":1,\"server\":false}},\"type\":\"socket\"}},\"id\":\"char0\"}},\"execute\":\"chardev-add\"}}\n",
        path.display()
    );
    assert_eq!(wire.ask(&add), nothing());
    let delete = "{\"arguments\":{\"id\":\"char0\"},\"execute\":\"chardev-remove\"}\n";
    assert_eq!(wire.ask(delete), nothing());
}

#[test]
fn the_rust_runtime_sends_descriptors_without_a_line_end() {
    need!(root, tun);
    let framewire = Framewire::new();
    let mut wire = connect(&framewire);
    let tap = tun::open(framewire.home(), "tap0_kata", tun::TAP);
    let getfd = r#"{ "execute": "getfd", "arguments": { "fdname": "fd0" } }"#;
    assert_eq!(wire.ask_with(getfd, tap.as_fd()), nothing());
    let add = r#"{"execute":"netdev_add","arguments":{"type":"tap","id":"n0","fds":"fd0"}}"#;
    assert_eq!(wire.ask(add), nothing());
    // With several queues it joins their names by commas, which QEMU takes for one name.
    let add = r#"{"execute":"netdev_add","arguments":{"type":"tap","id":"n1","fds":"fd0,fd1"}}"#;
    assert_eq!(desc(&wire.ask(add)), "File descriptor named 'fd0,fd1' has not been found");
    assert_eq!(wire.ask(r#"{"execute":"netdev_del","arguments":{"id":"n0"}}"#), nothing());
}
