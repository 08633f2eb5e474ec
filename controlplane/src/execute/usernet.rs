//! Made-up networks while they are in use: which ports of the host lead to their guests, and what goes on in them.
//!
//! QEMU has lines of the human monitor for it and nothing typed; here are both, and they do the same. A forward is what
//! its socket says: so a control plane that takes over needs no list of rules, and `:0` is shown as the port that the
//! kernel chose.

mod table;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use framewire_shared::driver::user::Forward;
use framewire_shared::driver::{DriverOptions, UserOptions};
use framewire_shared::flows::{Carries, FlowRecord};

use super::Server;
use crate::amendment::Amendment;
use crate::inventory::{Port, Role};
use crate::kind::user::forward::{HostForward, Outside, read_outside};
use crate::kind::user::listen::where_it_listens;
use crate::kind::user::prepare::add_forward;
use crate::qmp::answer::{Outcome, QmpError, nothing};
use crate::qmp::qapi::QapiType as _;
use crate::qmp::types::usernet::{FlowProtocol, UsernetFlow, UsernetForward, UsernetInfo};

/// A network that is asked for, by its queue.
#[derive(Debug, Clone, Copy)]
struct Found {
    key: u64,
}

impl Server {
    /// `hostfwd_add`: the host listens when this returns, and what connects there is asked of the guest.
    pub(super) fn hostfwd_add(&mut self, netdev: Option<&str>, rule: &str) -> Result<String, QmpError> {
        let found = match self.in_words(netdev) {
            Ok(found) => found,
            Err(complaint) => return Ok(complaint),
        };
        // What is wrong with a rule is told as it is, in QEMU as well.
        let added = HostForward::parse(rule).and_then(|rule| self.add_forward(found, &rule));
        Ok(added.map_or_else(|error| format!("{error}\r\n"), |()| String::new()))
    }

    /// `hostfwd_remove`: nobody listens there any more when this returns. What is open stays open.
    pub(super) fn hostfwd_remove(&mut self, netdev: Option<&str>, text: &str) -> Result<String, QmpError> {
        let found = match self.in_words(netdev) {
            Ok(found) => found,
            Err(complaint) => return Ok(complaint),
        };
        let Some(outside) = read_outside(text) else { return Ok("invalid format\r\n".to_owned()) };
        let result = if self.remove_forward(found, &outside)? { "removed" } else { "not found" };
        Ok(format!("host forwarding rule for {text} {result}\r\n"))
    }

    /// `info usernet`.
    pub(super) fn info_usernet(&mut self) -> Result<String, QmpError> {
        let networks = self.usernets(None)?;
        Ok(networks.iter().map(table::print).collect())
    }

    /// `x-hostfwd-add`.
    pub(super) fn x_hostfwd_add(&mut self, netdev: Option<&str>, rule: &str) -> Outcome {
        let found = self.found(netdev)?;
        self.add_forward(found, &HostForward::parse(rule)?)?;
        Ok(nothing())
    }

    /// `x-hostfwd-remove`.
    pub(super) fn x_hostfwd_remove(&mut self, netdev: Option<&str>, rule: &str) -> Outcome {
        let found = self.found(netdev)?;
        let outside = read_outside(rule)
            .ok_or_else(|| QmpError::expects("rule", "[tcp|udp]:[hostaddr]:hostport or unix:path"))?;
        if self.remove_forward(found, &outside)? {
            return Ok(nothing());
        }
        Err(QmpError::generic(format!("host forwarding rule for {rule} not found")))
    }

    /// `x-query-usernet`.
    pub(super) fn x_query_usernet(&mut self, netdev: Option<&str>) -> Outcome {
        if netdev.is_some() {
            self.found(netdev)?;
        }
        Ok(self.usernets(netdev)?.print())
    }

    /// The network that is meant; without a name, the oldest.
    fn found(&self, netdev: Option<&str>) -> Result<Found, QmpError> {
        let inventory = self.network.inventory();
        let is_network = |port: &&Port| port.role == Role::Netdev && port.kind() == "user";
        let port = match netdev {
            Some(id) => inventory
                .backend(id)
                .ok_or_else(|| QmpError::device_not_found(id))
                .and_then(|port| Some(port).filter(is_network).ok_or_else(no_network))?,
            None => inventory.ports().iter().find(is_network).ok_or_else(no_network)?,
        };
        let queue = port.queues.first().ok_or_else(no_network)?;
        Ok(Found { key: queue.key })
    }

    /// The same, with QEMU's words if it is none.
    fn in_words(&self, netdev: Option<&str>) -> Result<Found, String> {
        self.found(netdev).map_err(|_none| match netdev {
            Some(id) if self.network.inventory().backend(id).is_some() => {
                "invalid device specified\r\n".to_owned()
            }
            Some(id) => format!("unrecognized netdev id '{id}'\r\n"),
            None => "user mode network stack not in use\r\n".to_owned(),
        })
    }

    /// What it is built from.
    fn options(&self, found: Found) -> Result<UserOptions, QmpError> {
        let kept = self.network.vault().get(found.key).ok_or_else(no_network)?;
        if let DriverOptions::User(options) = kept.build.options { Ok(options) } else { Err(no_network()) }
    }

    fn add_forward(&mut self, found: Found, rule: &HostForward) -> Result<(), QmpError> {
        let mut options = self.options(found)?;
        let usual = Ipv4Addr::from(options.ipv4.dhcp_start);
        let at = options.descriptors();
        let socket = add_forward(rule, usual, &mut options)?;
        let amendment = Amendment { options: DriverOptions::User(options), gone: at..at, new: vec![socket] };
        Ok(self.network.amend(found.key, amendment)?)
    }

    /// Whether there was such a forward.
    fn remove_forward(&mut self, found: Found, outside: &Outside) -> Result<bool, QmpError> {
        let mut options = self.options(found)?;
        let forwards = self.forwards(found.key);
        let Some(place) = forwards.iter().position(|(_forward, at, _fd)| at.as_ref() == Some(outside)) else {
            return Ok(false);
        };
        let at = options.forwards_at() + place;
        options.remove_forward(place);
        let amendment =
            Amendment { options: DriverOptions::User(options), gone: at..at + 1, new: Vec::new() };
        self.network.amend(found.key, amendment)?;
        remove_path(outside);
        Ok(true)
    }

    /// All forwards of a network, where each listens, and by which descriptor.
    fn forwards(&self, key: u64) -> Vec<(Forward, Option<Outside>, RawFd)> {
        let Some(kept) = self.network.vault().get(key) else { return Vec::new() };
        let DriverOptions::User(options) = &kept.build.options else { return Vec::new() };
        let sockets = kept.descriptors.iter().skip(options.forwards_at());
        let forwards = options.forwards().iter().zip(sockets);
        let known = forwards.map(|(forward, socket)| {
            (*forward, where_it_listens(socket, forward.is_udp != 0), socket.as_raw_fd())
        });
        known.collect()
    }

    /// Sockets that a network has in the file system, and that go with it.
    pub(super) fn paths_of(&self, port: &Port) -> Vec<Outside> {
        let keys = port.queues.iter().map(|queue| queue.key);
        keys.flat_map(|key| self.forwards(key)).filter_map(|(_forward, at, _fd)| at).collect()
    }

    fn usernets(&mut self, only: Option<&str>) -> Result<Vec<UsernetInfo>, QmpError> {
        let inventory = self.network.inventory();
        let networks =
            inventory.ports().iter().filter(|port| port.role == Role::Netdev && port.kind() == "user");
        let wanted = networks.filter(|port| only.is_none_or(|id| port.id == id));
        let found: Vec<(String, Option<i64>, u64)> = wanted
            .filter_map(|port| {
                let peer = port.peer.and_then(|number| inventory.port(number));
                let hub = peer.and_then(|peer| match peer.role {
                    Role::HubPort(hub) => Some(hub.into()),
                    Role::Netdev | Role::Nic => None,
                });
                Some((port.id.clone(), hub, port.queues.first()?.key))
            })
            .collect();
        found.into_iter().map(|(id, hub, key)| self.usernet(id, hub, key)).collect()
    }

    fn usernet(&mut self, id: String, hub: Option<i64>, key: u64) -> Result<UsernetInfo, QmpError> {
        let flows = self.network.flows(key)?.iter().filter_map(flow).collect();
        let forwards = self.forwards(key).into_iter().rev().map(forward).collect();
        Ok(UsernetInfo { netdev: id, hub, flows, forwards })
    }
}

/// Takes a forward's socket out of the file system, if it is there.
pub(super) fn remove_path(outside: &Outside) {
    if let Outside::Unix(path) = outside {
        let _ = rustix::fs::unlink(path);
    }
}

fn no_network() -> QmpError {
    QmpError::generic("user mode network stack not in use")
}

fn flow(record: &FlowRecord) -> Option<UsernetFlow> {
    let [source, destination] = record.ends();
    let (protocol, state, seconds) = match record.carries()? {
        Carries::Tcp(state) => (FlowProtocol::Tcp, Some(state.name().to_owned()), None),
        Carries::Udp(seconds) => (FlowProtocol::Udp, None, Some(seconds.into())),
        Carries::Ping(seconds) => (FlowProtocol::Icmp, None, Some(seconds.into())),
    };
    Some(UsernetFlow {
        protocol,
        state,
        seconds,
        fd: record.descriptor.into(),
        source: source.to_string(),
        destination: destination.to_string(),
        to_host: record.to_host.into(),
        to_guest: record.to_guest.into(),
    })
}

fn forward((forward, outside, fd): (Forward, Option<Outside>, RawFd)) -> UsernetForward {
    let protocol = if forward.is_udp == 0 { FlowProtocol::Tcp } else { FlowProtocol::Udp };
    let host = match outside {
        Some(Outside::Tcp(at) | Outside::Udp(at)) => at.to_string(),
        Some(Outside::Unix(path)) => path,
        None => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0).to_string(),
    };
    UsernetForward { protocol, fd: fd.into(), host, guest: forward.guest().to_string() }
}
