//! Forwarding rules, which are a language of their own: `tcp:127.0.0.1:2222-:22`.
//!
//! Used by the options and, for single rules, by the human monitor.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::network::Network4;
use crate::kind::Surroundings;
use crate::kind::address::inet_aton;
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::number::{Base, c_integer};

/// What is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A port of the host that leads to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostForward {
    /// What is forwarded.
    pub protocol: Protocol,
    /// Where the host listens; port 0 for any.
    pub host: SocketAddrV4,
    /// The guest; the first address of DHCP if absent.
    pub guest: Option<Ipv4Addr>,
    /// The guest's port.
    pub guest_port: u16,
    /// The rule as it was written, for errors of system calls.
    pub rule: String,
}

impl HostForward {
    /// Reads `[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport`.
    pub fn parse(rule: &str) -> Result<Self, QmpError> {
        read_host_forward(rule)
            .map_err(|why| QmpError::generic(format!("Invalid host forwarding rule '{rule}' ({why})")))
    }
}

fn read_host_forward(rule: &str) -> Result<HostForward, &'static str> {
    let (protocol, rest) = rule.split_once(':').ok_or("No : separators")?;
    let protocol = match protocol {
        "" | "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err("Bad protocol name"),
    };
    let (host, rest) = rest.split_once(':').ok_or("Missing : separator")?;
    let host = address(host).ok_or("Bad host address")?.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let (host_port, rest) = rest.split_once('-').ok_or("Bad host port separator")?;
    let host_port = port(host_port, Base::Prefixed).ok_or("Bad host port")?;
    let (guest, guest_port) = rest.split_once(':').ok_or("Missing guest address")?;
    let guest = address(guest).ok_or("Bad guest address")?;
    let guest_port = port(guest_port, Base::Prefixed).filter(|port| *port > 0).ok_or("Bad guest port")?;
    let host = SocketAddrV4::new(host, host_port);
    Ok(HostForward { protocol, host, guest, guest_port, rule: rule.to_owned() })
}

/// A port of the network that leads to something on the host. TCP only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestForward {
    /// Where the guest connects to.
    pub server: SocketAddrV4,
    /// Where that leads.
    pub target: Target,
    /// The rule as it was written, for errors of system calls.
    pub rule: String,
}

/// Where connections of the guest lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To a program, run for each connection.
    Command(String),
    /// To a character device, as its option describes it.
    Device(String),
}

/// How descriptions of new character devices begin.
const DEVICES: [&str; 6] = ["file:", "null", "pipe:", "tcp:", "udp:", "unix:"];

impl GuestForward {
    /// Reads `[tcp]:[server]:port-DEV`, of which `cmd:COMMAND` is one form of DEV.
    pub fn parse(rule: &str, network: &Network4, around: &dyn Surroundings) -> Result<Self, QmpError> {
        let malformed = || QmpError::generic(format!("Invalid guest forwarding rule '{rule}'"));
        let (server, port, target) = read_guest_forward(rule).ok_or_else(malformed)?;
        let target = match target.strip_prefix("cmd:") {
            Some(command) => Target::Command(command.to_owned()),
            None if is_device(target, around) => Target::Device(target.to_owned()),
            None => {
                let text = format!("Could not open guest forwarding device 'guestfwd.tcp.{port}'");
                return Err(QmpError::generic(text));
            }
        };
        let server = server.unwrap_or_else(|| usual_server(network));
        if !network.contains(server) || server == network.host || server == network.dns {
            let text = format!("Conflicting/invalid host:port in guest forwarding rule '{rule}'");
            return Err(QmpError::generic(text));
        }
        Ok(Self { server: SocketAddrV4::new(server, port), target, rule: rule.to_owned() })
    }
}

/// Server, port and the rest of a rule.
fn read_guest_forward(rule: &str) -> Option<(Option<Ipv4Addr>, u16, &str)> {
    let (protocol, rest) = rule.split_once(':')?;
    let (server, rest) = rest.split_once(':')?;
    let (port_text, target) = rest.split_once('-')?;
    let is_tcp = matches!(protocol, "" | "tcp");
    let port = port(port_text, Base::Decimal).filter(|port| is_tcp && *port > 0)?;
    Some((address(server)?, port, target))
}

/// Whether a text describes a new character device, or names one that is there.
fn is_device(text: &str, around: &dyn Surroundings) -> bool {
    match text.strip_prefix("chardev:") {
        Some(id) => around.chardev(id).is_some(),
        None => DEVICES.iter().any(|device| text.starts_with(device)),
    }
}

/// The address that the network keeps for this purpose.
fn usual_server(network: &Network4) -> Ipv4Addr {
    let host_bits = !network.mask.to_bits();
    Ipv4Addr::from_bits(network.network.to_bits() | (0x0204 & host_bits))
}

/// An address that may be left out: None if it is wrong, Some(None) if it is not there.
#[expect(clippy::option_option, reason = "three cases, of which two are good")]
fn address(text: &str) -> Option<Option<Ipv4Addr>> {
    if text.is_empty() { Some(None) } else { inet_aton(text).map(Some) }
}

/// A port, to the end of the text; an empty text is 0.
fn port(text: &str, base: Base) -> Option<u16> {
    if text.is_empty() {
        return Some(0);
    }
    let (port, rest) = c_integer(text, base)?;
    u16::try_from(port).ok().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_rule_has_five_parts_of_which_three_may_be_empty() {
        let full = HostForward::parse("udp:127.0.0.1:0x50-10.0.2.15:010").unwrap();
        assert_eq!(full.protocol, Protocol::Udp);
        assert_eq!(full.host, "127.0.0.1:80".parse().unwrap());
        assert_eq!((full.guest, full.guest_port), (Some(Ipv4Addr::new(10, 0, 2, 15)), 8));
        let short = HostForward::parse("::-:22").unwrap();
        assert_eq!((short.host, short.guest), ("0.0.0.0:0".parse().unwrap(), None));
    }

    #[test]
    fn a_fault_is_named() {
        let why = |rule| read_host_forward(rule).unwrap_err();
        assert_eq!(why("tcp:1"), "Missing : separator");
        assert_eq!(why("tcp::1"), "Bad host port separator");
        assert_eq!(why("tcp::1x-:2"), "Bad host port");
        assert_eq!(why("tcp::1-2"), "Missing guest address");
        assert_eq!(why("tcp::1-:65536"), "Bad guest port");
    }
}
