//! `human-monitor-command`: the lines of QEMU's monitor for people that clients still send.
//!
//! Its answers are text, errors too: a line that fails is a command that succeeds and returns the error's text.

use serde_json::Value;

use super::{Caller, Server};
use crate::inventory::{Inventory, Port, Role};
use crate::kind::NetdevAdd;
use crate::qmp::answer::{Outcome, QmpError};
use crate::qmp::qapi::options::Opts;
use crate::qmp::types::device::DeviceAdd;
use crate::qmp::types::net::AnnounceSelf;

impl Server {
    /// Executes a line.
    pub(super) fn human(&mut self, line: &str, caller: Caller<'_>) -> Outcome {
        let words: Vec<&str> = line.split_whitespace().collect();
        let done = match words[..] {
            [] => Ok(String::new()),
            ["info", "network"] => Ok(info_network(self.network.inventory())),
            ["info", "status"] => Ok(format!("VM status: {}\r\n", self.status_words())),
            ["info", "name"] => Ok(format!("{}\r\n", self.machine.name.as_deref().unwrap_or_default())),
            ["set_link", name, up @ ("on" | "off")] => self.set_link(name, up == "on").map(no_text),
            ["set_link", ..] => Err(QmpError::generic("set_link: name on|off is expected")),
            ["netdev_add", options] => self.netdev_add_of_options(options, caller),
            ["netdev_del", id] => self.netdev_del(id).map(no_text),
            ["device_add", options] => self.device_add_of_options(options),
            ["device_del", id] => self.device_del(id).map(no_text),
            ["announce_self", ref interfaces_and_id @ ..] => {
                self.announce_self(announcement(interfaces_and_id)).map(no_text)
            }
            [command, ..] => Ok(format!("unknown command: '{command}'\r\n")),
        };
        Ok(Value::String(done.unwrap_or_else(|error| format!("Error: {error}\r\n"))))
    }

    fn netdev_add_of_options(&mut self, options: &str, caller: Caller<'_>) -> Result<String, QmpError> {
        let netdev = NetdevAdd::from_opts(Opts::parse(options, "type"))?;
        self.netdev_add(&netdev, caller).map(no_text)
    }

    fn device_add_of_options(&mut self, options: &str) -> Result<String, QmpError> {
        self.device_add(&DeviceAdd::from_option(options)?).map(no_text)
    }

    fn status_words(&self) -> &'static str {
        if self.machine.runs() { "running" } else { "paused" }
    }
}

fn no_text(_nothing: Value) -> String {
    String::new()
}

/// `announce_self [INTERFACE,INTERFACE… [ID]]`: as often as QEMU announces a guest that has just migrated.
fn announcement(words: &[&str]) -> AnnounceSelf {
    AnnounceSelf {
        initial: 50,
        max: 550,
        rounds: 5,
        step: 100,
        interfaces: words.first().map(|names| names.split(',').map(str::to_owned).collect()),
        id: words.get(1).map(|id| (*id).to_owned()),
    }
}

/// Hubs with what is on them, then everything that is on none; what faces a NIC stands below it.
fn info_network(inventory: &Inventory) -> String {
    let mut text = String::new();
    for hub in hubs(inventory) {
        text += &format!("hub {hub}\r\n");
        for port in inventory.ports().iter().filter(|port| port.role == Role::HubPort(hub)) {
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

fn hubs(inventory: &Inventory) -> Vec<i32> {
    let mut hubs: Vec<i32> = Vec::new();
    for port in inventory.ports() {
        if let Role::HubPort(hub) = port.role
            && !hubs.contains(&hub)
        {
            hubs.push(hub);
        }
    }
    hubs
}

fn line_of(port: &Port) -> String {
    format!("{}: index=0,type={},{}\r\n", port.id, port.kind(), port.description.info)
}
