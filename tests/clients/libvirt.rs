//! libvirt: probes the schema before anything else, ids are `libvirt-NUMBER`, lines end in CR LF, and whatever fails is
//! taken back command by command.

use std::fs::File;
use std::os::fd::AsFd;

use framewire_tests::framewire::Framewire;
use framewire_tests::{need, tun};
use serde_json::{Value, json};

use crate::schema;
use crate::wire::{Wire, desc};

struct Libvirt {
    wire: Wire,
    serial: u32,
}

impl Libvirt {
    fn connect(framewire: &Framewire) -> Self {
        let (wire, _greeting) = Wire::open(&framewire.qmp_path());
        let mut libvirt = Self { wire, serial: 0 };
        libvirt.done(r#""execute":"qmp_capabilities""#);
        libvirt
    }

    fn line(&mut self, members: &str) -> (String, Value) {
        self.serial += 1;
        let id = format!("libvirt-{}", self.serial);
        (format!("{{{members},\"id\":\"{id}\"}}\r\n"), json!(id))
    }

    #[track_caller]
    fn ask(&mut self, members: &str) -> Value {
        let (line, id) = self.line(members);
        let reply = self.wire.ask_at_length(&line);
        assert_eq!(reply["id"], id, "{reply}");
        reply
    }

    #[track_caller]
    fn done(&mut self, members: &str) {
        assert_eq!(self.ask(members)["return"], json!({}), "{members}");
    }

    #[track_caller]
    fn getfd(&mut self, name: &str, descriptor: impl AsFd) {
        let (line, id) = self.line(&format!(r#""execute":"getfd","arguments":{{"fdname":"{name}"}}"#));
        let reply = self.wire.ask_with(&line, descriptor.as_fd());
        assert_eq!(reply, json!({ "return": {}, "id": id }));
    }
}

#[test]
fn the_schema_has_what_it_probes_for() {
    need!(root);
    let framewire = Framewire::new();
    let mut libvirt = Libvirt::connect(&framewire);
    for probe in ["query-version", "query-target", "query-commands", "query-name", "query-status"] {
        let reply = libvirt.ask(&format!(r#""execute":"{probe}""#));
        assert!(reply.get("return").is_some(), "{probe}: {reply}");
    }
    let reply = libvirt.ask(r#""execute":"query-qmp-schema""#);
    let schema = reply["return"].as_array().expect("a schema is a list");
    for path in [
        "netdev_add/arg-type/type/^dgram",
        "netdev_add/arg-type/+stream",
        "netdev_add/arg-type/+stream/reconnect",
        "netdev_add/arg-type/+stream/reconnect-ms",
        "netdev_add/arg-type/+vhost-vdpa",
        "netdev_add/arg-type/+tap/vhostforce",
        "chardev-add/arg-type/backend/+socket/data/reconnect",
        "device_add/$json-cli-hotplug",
        "query-rx-filter/ret-type/main-mac",
        "NIC_RX_FILTER_CHANGED/arg-type/path",
    ] {
        assert!(schema::has(schema, path), "{path} is not there");
    }
    assert!(!schema::has(schema, "netdev_add/arg-type/+carrier-pigeon"));
}

#[test]
fn a_tap_is_attached_and_detached() {
    need!(root, tun);
    let framewire = Framewire::new();
    let mut libvirt = Libvirt::connect(&framewire);
    let flags = tun::TAP | tun::MULTI_QUEUE | tun::VNET_HDR;
    for queue in 0..2 {
        let tap = tun::open(framewire.home(), "vnet0", flags);
        libvirt.getfd(&format!("tapfd-net0{queue}"), tap);
        let device = File::open("/dev/null").expect("it is always there");
        libvirt.getfd(&format!("vhostfd-net0{queue}"), device);
    }
    libvirt.done(
        r#""execute":"netdev_add","arguments":{"type":"tap","fds":"tapfd-net00:tapfd-net01","vhost":true,"vhostfds":"vhostfd-net00:vhostfd-net01","id":"hostnet0"}"#,
    );
    libvirt.done(r#""execute":"set_link","arguments":{"name":"hostnet0","up":false}"#);
    libvirt.done(r#""execute":"netdev_del","arguments":{"id":"hostnet0"}"#);
}

/// A whole NIC: behind a netdev, with its link down at first; asked for its filters; unplugged, which it waits for.
#[test]
fn a_nic_is_attached_asked_and_detached() {
    need!(root, tun);
    let framewire = Framewire::new();
    let mut libvirt = Libvirt::connect(&framewire);
    libvirt.getfd("tapfd-net00", tun::open(framewire.home(), "vnet0", tun::TAP | tun::VNET_HDR));
    libvirt.done(r#""execute":"netdev_add","arguments":{"type":"tap","fd":"tapfd-net00","id":"hostnet0"}"#);
    libvirt.done(
        r#""execute":"device_add","arguments":{"driver":"virtio-net-pci","netdev":"hostnet0","id":"net0","mac":"52:54:00:9b:d1:21","bus":"pci.1","addr":"0x0"}"#,
    );
    for up in [false, true] {
        libvirt.done(&format!(r#""execute":"set_link","arguments":{{"name":"net0","up":{up}}}"#));
    }
    let reply = libvirt.ask(r#""execute":"query-rx-filter","arguments":{"name":"net0"}"#);
    let filter = &reply["return"][0];
    assert_eq!((&filter["name"], &filter["main-mac"]), (&json!("net0"), &json!("52:54:00:9b:d1:21")));
    for list in ["unicast-table", "multicast-table", "vlan-table"] {
        assert!(filter[list].is_array(), "it reads {list}: {filter}");
    }
    libvirt.done(r#""execute":"device_del","arguments":{"id":"net0"}"#);
    let (inner, outer) = (libvirt.wire.event("DEVICE_DELETED"), libvirt.wire.event("DEVICE_DELETED"));
    assert_eq!(inner, json!({ "path": "/machine/peripheral/net0/virtio-backend" }));
    assert_eq!(outer, json!({ "device": "net0", "path": "/machine/peripheral/net0" }));
    libvirt.done(r#""execute":"netdev_del","arguments":{"id":"hostnet0"}"#);
}

#[test]
fn a_failed_attachment_is_taken_back() {
    need!(root, tun);
    let framewire = Framewire::new();
    let mut libvirt = Libvirt::connect(&framewire);
    libvirt.getfd("tapfd-net00", File::open("/dev/null").expect("it is always there"));
    let refused = libvirt
        .ask(r#""execute":"netdev_add","arguments":{"type":"tap","fd":"tapfd-net00","id":"hostnet0"}"#);
    assert!(desc(&refused).starts_with("Unable to query TUNGETIFF on FD"), "{refused}");
    let nothing = libvirt.ask(r#""execute":"netdev_del","arguments":{"id":"hostnet0"}"#);
    assert_eq!(nothing["error"], json!({ "class": "DeviceNotFound", "desc": "Device 'hostnet0' not found" }));
    let spent = libvirt.ask(r#""execute":"closefd","arguments":{"fdname":"tapfd-net00"}"#);
    assert_eq!(desc(&spent), "File descriptor named 'tapfd-net00' not found");
}

#[test]
fn a_vhost_user_chardev_is_made_and_taken_back() {
    need!(root);
    let framewire = Framewire::new();
    let mut libvirt = Libvirt::connect(&framewire);
    let path = framewire.file("vhu0");
    libvirt_chardev(&mut libvirt, &path.display().to_string());
    assert!(path.exists(), "it listens");
    let netdev = libvirt.ask(
        r#""execute":"netdev_add","arguments":{"type":"vhost-user","chardev":"charnet9","queues":2,"id":"hostnet0"}"#,
    );
    assert_eq!(desc(&netdev), "chardev \"charnet9\" not found");
    libvirt.done(r#""execute":"chardev-remove","arguments":{"id":"charnet0"}"#);
    assert!(!path.exists(), "its path is left over");
}

#[track_caller]
fn libvirt_chardev(libvirt: &mut Libvirt, path: &str) {
    libvirt.done(&format!(
        r#""execute":"chardev-add","arguments":{{"id":"charnet0","backend":{{"type":"socket","data":{{"addr":{{"type":"unix","data":{{"path":"{path}"}}}},"wait":false,"server":true}}}}}}"#
    ));
}

/// The descriptor of a vDPA device goes through a set.
#[test]
fn a_descriptor_set_is_filled_and_emptied() {
    need!(root);
    let framewire = Framewire::new();
    let mut libvirt = Libvirt::connect(&framewire);
    let (line, id) =
        libvirt.line(r#""execute":"add-fd","arguments":{"fdset-id":0,"opaque":"hostnet0-vdpa"}"#);
    let device = File::open("/dev/null").expect("it is always there");
    let reply = libvirt.wire.ask_with(&line, device.as_fd());
    assert_eq!((&reply["return"]["fdset-id"], &reply["id"]), (&json!(0), &id), "{reply}");
    let sets = libvirt.ask(r#""execute":"query-fdsets""#);
    assert_eq!(sets["return"][0]["fds"][0]["opaque"], json!("hostnet0-vdpa"));
    libvirt.done(r#""execute":"remove-fd","arguments":{"fdset-id":0}"#);
}
