//! A Framewire with a client connected: ports are made, joined and deleted, and at the end nothing may be left over.
//!
//! Without guests, two netdevs meet on a hub of two ports, which is a plain cable. So most tests join what they are
//! about with a tap, and look at the frames on the tap's interface.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::framewire::Framewire;
use crate::leaks::{Holdings, expect_same};
use crate::packet::PacketSocket;
use crate::qmp::Qmp;

/// The Framewire, its client, and what both processes held at first.
#[derive(Debug)]
pub struct Bench {
    /// The processes.
    pub framewire: Framewire,
    /// The client.
    pub qmp: Qmp,
    control_before: Holdings,
    data_before: Holdings,
    /// Hub ports that this made, by the netdev that each carries.
    hub_ports: BTreeMap<String, String>,
    hubs: i32,
}

impl Bench {
    /// Starts one.
    #[track_caller]
    #[must_use]
    #[allow(clippy::new_without_default, reason = "starts processes: too much for a default")]
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// Starts one with further arguments of `framewire run`.
    #[track_caller]
    #[must_use]
    pub fn with(arguments: &[&str]) -> Self {
        Self::on(Framewire::with(arguments))
    }

    /// Connects to one that runs.
    #[track_caller]
    #[must_use]
    pub fn on(mut framewire: Framewire) -> Self {
        let mut qmp = framewire.qmp();
        // The answer shows that the control plane has taken note of this connection, so that it is in the picture.
        qmp.command("query-status", json!({}));
        let control_before = Holdings::of(framewire.control().pid());
        let data_before = Holdings::of(framewire.data().pid());
        Self { framewire, qmp, control_before, data_before, hub_ports: BTreeMap::new(), hubs: 0 }
    }

    /// Makes a netdev.
    #[track_caller]
    pub fn add(&mut self, kind: &str, id: &str, options: Value) {
        self.qmp.command("netdev_add", arguments(kind, id, options));
    }

    /// A netdev that must be refused; the error's text.
    #[track_caller]
    pub fn refused(&mut self, kind: &str, id: &str, options: Value) -> String {
        let (class, text) = self.qmp.refused("netdev_add", arguments(kind, id, options));
        assert_eq!(class, "GenericError", "{text}");
        text
    }

    /// Makes a tap without scripts whose interface is called like the netdev, and sets it up.
    #[track_caller]
    pub fn tap(&mut self, id: &str, options: Value) -> PacketSocket {
        self.add(
            "tap",
            id,
            with_members(options, json!({ "ifname": id, "script": "no", "downscript": "no" })),
        );
        let home = self.framewire.home();
        home.ip(&format!("link set dev {id} up"));
        PacketSocket::open(home, id)
    }

    /// Joins two netdevs by a cable: a hub of two ports.
    #[track_caller]
    pub fn join(&mut self, a: &str, b: &str) {
        self.hub(&[a, b]);
    }

    /// Joins netdevs by a hub of their own; its number.
    #[track_caller]
    pub fn hub(&mut self, netdevs: &[&str]) -> i32 {
        self.hubs += 1;
        for netdev in netdevs {
            self.plug(netdev, self.hubs);
        }
        self.hubs
    }

    /// Puts a netdev on a hub.
    #[track_caller]
    pub fn plug(&mut self, netdev: &str, hub: i32) {
        let port = format!("port-{netdev}");
        self.add("hubport", &port, json!({ "hubid": hub, "netdev": netdev }));
        self.hub_ports.insert(netdev.to_owned(), port);
    }

    /// Cuts or mends a link.
    #[track_caller]
    pub fn set_link(&mut self, name: &str, up: bool) {
        self.qmp.command("set_link", json!({ "name": name, "up": up }));
    }

    /// Deletes a netdev, and its hub port before it if it has one.
    #[track_caller]
    pub fn delete(&mut self, id: &str) {
        if let Some(port) = self.hub_ports.remove(id) {
            self.qmp.command("netdev_del", json!({ "id": port }));
        }
        self.qmp.command("netdev_del", json!({ "id": id }));
    }

    /// After everything was deleted: nothing may be left of it, and the processes end as they should.
    #[track_caller]
    pub fn finish(mut self) {
        self.expect_nothing_left();
        let Self { framewire, qmp, .. } = self;
        drop(qmp);
        framewire.quit();
    }

    /// Neither process may hold more than at first, and no interface may be left in the namespace.
    #[track_caller]
    pub fn expect_nothing_left(&mut self) {
        expect_same("the control plane", self.framewire.control().pid(), &self.control_before);
        expect_same("the data plane", self.framewire.data().pid(), &self.data_before);
        assert_eq!(self.framewire.home().interfaces(), Vec::<String>::new(), "interfaces are left over");
    }
}

fn arguments(kind: &str, id: &str, options: Value) -> Value {
    with_members(json!({ "type": kind, "id": id }), options)
}

/// One object with the members of both; the second wins.
fn with_members(mut object: Value, more: Value) -> Value {
    let (Some(into), Value::Object(from)) = (object.as_object_mut(), more) else {
        panic!("options are objects");
    };
    into.extend(from);
    object
}
