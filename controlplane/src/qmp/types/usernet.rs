//! What made-up networks are asked and told by commands of our own: QEMU has lines for people for it, and nothing typed.

use crate::qmp::qapi::define::{enumeration, object};

object! {
    /// Arguments of `x-hostfwd-add` and `x-hostfwd-remove`.
    pub struct XHostfwd {
        /// The network; the oldest if absent.
        netdev: Option<String>,
        /// The rule, as in `hostfwd` of `netdev_add`; to remove it, its host's end.
        rule: String,
    }
}

object! {
    /// Arguments of `x-query-usernet`.
    pub struct XQueryUsernet {
        /// The network; all if absent.
        netdev: Option<String>,
    }
}

object! {
    /// A made-up network.
    pub struct UsernetInfo {
        /// Its netdev.
        netdev: String,
        /// The hub that it is on.
        hub: Option<i64>,
        /// What goes on in it, the newest first.
        flows: Vec<UsernetFlow>,
        /// Ports of the host that lead to the guest, the newest first.
        forwards: Vec<UsernetForward>,
    }
}

enumeration! {
    /// A protocol.
    pub enum FlowProtocol {
        /// Connections.
        Tcp = "tcp",
        /// Datagrams.
        Udp = "udp",
        /// Echoes.
        Icmp = "icmp",
    }
}

object! {
    /// What is between a port of the guest's and the host.
    pub struct UsernetFlow {
        /// Its protocol.
        protocol: FlowProtocol,
        /// Where a connection is in its life.
        state: Option<String>,
        /// How long another flow is kept if nothing is said.
        seconds: Option<i64>,
        /// The host's socket, in the data plane.
        fd: i64,
        /// Where it began, with its port.
        source: String,
        /// Where it leads, with its port.
        destination: String,
        /// Bytes that wait for the host.
        to_host as "to-host": i64,
        /// Bytes that wait for the guest.
        to_guest as "to-guest": i64,
    }
}

object! {
    /// A port of the host that leads to the guest.
    pub struct UsernetForward {
        /// Its protocol.
        protocol: FlowProtocol,
        /// The host's socket, in the control plane.
        fd: i64,
        /// Where the host listens: address and port, or a path.
        host: String,
        /// Where that leads.
        guest: String,
    }
}
