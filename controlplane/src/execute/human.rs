//! `human-monitor-command`: the lines of QEMU's monitor for people that clients still send.
//!
//! Its answers are text, errors too: a line that fails is a command that succeeds and returns the error's text.

mod line;

use std::collections::BTreeSet;

use serde_json::Value;

use self::line::Asked;
use super::{Caller, Server};
use crate::inventory::{Inventory, Port, Role};
use crate::kind::NetdevAdd;
use crate::qmp::answer::{Outcome, QmpError};
use crate::qmp::greeting;
use crate::qmp::qapi::options::Opts;
use crate::qmp::types::chardev::ChardevInfo;
use crate::qmp::types::device::DeviceAdd;
use crate::qmp::types::machine::RunState;
use crate::qmp::types::net::AnnounceSelf;
use crate::qmp::types::session::VersionInfo;

impl Server {
    /// Executes a line.
    pub(super) fn human(&mut self, line: &str, caller: Caller<'_>) -> Outcome {
        let said = match line::read(line) {
            Ok(None) => String::new(),
            Ok(Some(asked)) => {
                self.human_asked(asked, caller).unwrap_or_else(|error| format!("Error: {error}\r\n"))
            }
            Err(complaint) => complaint,
        };
        Ok(Value::String(said))
    }

    fn human_asked(&mut self, asked: Asked, caller: Caller<'_>) -> Result<String, QmpError> {
        Ok(match asked {
            Asked::Help(name) => line::help(&name),
            Asked::InfoChardev => self.chardevs_in_words(),
            Asked::InfoName => self.machine.name.as_ref().map_or(String::new(), |name| format!("{name}\r\n")),
            Asked::InfoNetwork => info_network(self.network.inventory()),
            Asked::InfoStatus => format!("VM status: {}\r\n", self.status_in_words()),
            Asked::InfoUsernet => self.info_usernet()?,
            Asked::InfoVersion => version_in_words(),
            Asked::SetLink { name, up } => self.set_link(&name, up).map(no_text)?,
            Asked::NetdevAdd(options) => {
                let netdev = NetdevAdd::from_opts(Opts::parse(&options, "type"))?;
                self.netdev_add(&netdev, caller).map(no_text)?
            }
            Asked::NetdevDel(id) => self.netdev_del(&id).map(no_text)?,
            Asked::DeviceAdd(options) => self.device_add(&DeviceAdd::from_option(&options)?).map(no_text)?,
            Asked::DeviceDel(id) => self.device_del(&id).map(no_text)?,
            Asked::AnnounceSelf { interfaces, id } => {
                self.announce_self(announcement(interfaces.as_deref(), id)).map(no_text)?
            }
            Asked::HostfwdAdd { netdev, rule } => self.hostfwd_add(netdev.as_deref(), &rule)?,
            Asked::HostfwdRemove { netdev, rule } => self.hostfwd_remove(netdev.as_deref(), &rule)?,
        })
    }

    fn status_in_words(&self) -> String {
        let state = self.machine.state;
        if self.machine.runs() {
            return "running".to_owned();
        }
        if state == RunState::Paused { "paused".to_owned() } else { format!("paused ({})", state.name()) }
    }

    fn chardevs_in_words(&self) -> String {
        let line = |info: ChardevInfo| format!("{}: filename={}\r\n", info.label, info.filename);
        self.chardev_list().into_iter().map(line).collect()
    }
}

/// The netdev that a line wants to have made, if it is such a line.
pub(super) fn netdev_of(line: &str) -> Option<NetdevAdd> {
    match line::read(line) {
        Ok(Some(Asked::NetdevAdd(options))) => NetdevAdd::from_opts(Opts::parse(&options, "type")).ok(),
        Ok(_) | Err(_) => None,
    }
}

fn version_in_words() -> String {
    let VersionInfo { qemu, package } = greeting::version();
    format!("{}.{}.{}{package}\r\n", qemu.major, qemu.minor, qemu.micro)
}

fn no_text(_nothing: Value) -> String {
    String::new()
}

/// `announce_self [INTERFACE,INTERFACE… [ID]]`: as often as QEMU announces a guest that has just migrated.
fn announcement(interfaces: Option<&str>, id: Option<String>) -> AnnounceSelf {
    let interfaces = interfaces.map(|names| names.split(',').map(str::to_owned).collect());
    AnnounceSelf { initial: 50, max: 550, rounds: 5, step: 100, interfaces, id }
}

/// Hubs with what is on them, both with the newest first as in QEMU; then everything that is on none. What faces a NIC
/// stands below it.
fn info_network(inventory: &Inventory) -> String {
    let mut text = String::new();
    for hub in hubs(inventory) {
        text += &format!("hub {hub}\r\n");
        for port in inventory.ports().iter().rev().filter(|port| port.role == Role::HubPort(hub)) {
            let peer = port.peer.and_then(|number| inventory.port(number));
            text += &format!(" \\ {}", port.id);
            text += &peer.map_or("\r\n".to_owned(), |peer| format!(": {}", line_of(peer)));
        }
    }
    let is_on_a_hub = |port: &&Port| {
        let peer = port.peer.and_then(|number| inventory.port(number));
        matches!(port.role, Role::HubPort(_))
            || peer.is_some_and(|peer| matches!(peer.role, Role::HubPort(_)))
    };
    let lines = inventory.ports().iter().filter(|port| !is_on_a_hub(port)).map(|port| {
        let peer = port.peer.and_then(|number| inventory.port(number));
        match (port.role, peer) {
            (Role::Nic, Some(peer)) => line_of(port) + " \\ " + &line_of(peer),
            (Role::Netdev | Role::HubPort(_), Some(peer)) if peer.role == Role::Nic => String::new(),
            (Role::Nic | Role::Netdev | Role::HubPort(_), _) => line_of(port),
        }
    });
    text + &lines.collect::<String>()
}

/// The newest first: in the reverse order of the first port of each.
fn hubs(inventory: &Inventory) -> Vec<i32> {
    let mut hubs: Vec<i32> = Vec::new();
    let mut known = BTreeSet::new();
    for port in inventory.ports() {
        if let Role::HubPort(hub) = port.role
            && known.insert(hub)
        {
            hubs.push(hub);
        }
    }
    hubs.reverse();
    hubs
}

fn line_of(port: &Port) -> String {
    format!("{}: index=0,type={},{}\r\n", port.id, port.kind(), port.description.info)
}
