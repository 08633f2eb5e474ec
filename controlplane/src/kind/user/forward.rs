//! Forwarding rules, which are a language of their own: `tcp:127.0.0.1:2222-:22`.
//!
//! Used by the options and, for single rules, by the human monitor.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use super::network::Network4;
use crate::kind::Surroundings;
use crate::kind::address::inet_aton;
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::number::{Base, c_integer, whole_integer};

/// Where the host listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outside {
    /// For connections; port 0 for any.
    Tcp(SocketAddr),
    /// For datagrams.
    Udp(SocketAddr),
    /// For connections, at a path.
    Unix(String),
}

/// A port of the host that leads to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostForward {
    /// Where the host listens.
    pub host: Outside,
    /// The guest; the first address of DHCP if absent.
    pub guest: Option<IpAddr>,
    /// The guest's port.
    pub guest_port: u16,
    /// The rule as it was written, for errors of system calls.
    pub rule: String,
}

impl HostForward {
    /// Reads `[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport` or `unix:PATH-[guestaddr]:guestport`. Addresses of
    /// IPv6 are in brackets.
    pub fn parse(rule: &str) -> Result<Self, QmpError> {
        read_host_forward(rule)
            .map_err(|why| QmpError::generic(format!("Invalid host forwarding rule '{rule}' ({why})")))
    }
}

/// The longest path that a socket can have.
const PATH_BYTES_MAX: usize = 107;

fn read_host_forward(rule: &str) -> Result<HostForward, &'static str> {
    let (protocol, rest) = rule.split_once(':').ok_or("No : separators")?;
    if protocol == "unix" {
        // A path may have a '-' in it, the guest's end has none.
        let (path, guest) = rest.rsplit_once('-').ok_or("Bad host port separator")?;
        return guest_end(Outside::Unix(path_of(path)?), guest, rule);
    }
    if !matches!(protocol, "" | "tcp" | "udp") {
        return Err("Bad protocol name");
    }
    let (host, rest) = split_address(rest).ok_or("Missing : separator")?;
    let host = address(host).ok_or("Bad host address")?.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let (host_port, rest) = rest.split_once('-').ok_or("Bad host port separator")?;
    let host_port = port(host_port, Base::Prefixed).ok_or("Bad host port")?;
    guest_end(outside(protocol, SocketAddr::new(host, host_port)), rest, rule)
}

fn outside(protocol: &str, host: SocketAddr) -> Outside {
    if protocol == "udp" { Outside::Udp(host) } else { Outside::Tcp(host) }
}

fn guest_end(host: Outside, text: &str, rule: &str) -> Result<HostForward, &'static str> {
    let (guest, guest_port) = split_address(text).ok_or("Missing guest address")?;
    let guest = address(guest).ok_or("Bad guest address")?;
    let guest_port = port(guest_port, Base::Prefixed).filter(|port| *port > 0).ok_or("Bad guest port")?;
    Ok(HostForward { host, guest, guest_port, rule: rule.to_owned() })
}

fn path_of(text: &str) -> Result<String, &'static str> {
    match text {
        "" => Err("Missing unix socket path"),
        text if !text.starts_with('/') => Err("unix socket path must be absolute"),
        text if text.len() > PATH_BYTES_MAX => Err("Unix socket path is too long"),
        text => Ok(text.to_owned()),
    }
}

/// Reads what names a forward that is to be removed: the host's end of a rule. QEMU reads its port by `strtol`, which
/// takes more than ports; such a one is none that anybody listens at.
#[must_use]
pub fn read_outside(text: &str) -> Option<Outside> {
    let (protocol, rest) = text.split_once(':')?;
    if protocol == "unix" {
        return path_of(rest).ok().map(Outside::Unix);
    }
    if !matches!(protocol, "" | "tcp" | "udp") {
        return None;
    }
    let (host, port) = split_address(rest)?;
    let host = address(host)?.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let port = i32::try_from(whole_integer(port, Base::Decimal)?).ok()?;
    let port = u16::try_from(port.rem_euclid(65_536)).expect("a remainder of 65536 is below it");
    Some(outside(protocol, SocketAddr::new(host, port)))
}

/// An address and what follows it, behind a colon that is none of the address.
fn split_address(text: &str) -> Option<(&str, &str)> {
    if !text.starts_with('[') {
        return text.split_once(':');
    }
    let end = text.find(']')? + 1;
    Some((&text[..end], text[end..].strip_prefix(':')?))
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
    Some((address4(server)?, port, target))
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
fn address(text: &str) -> Option<Option<IpAddr>> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(|address| Some(address.into())),
        None => address4(text).map(|address| address.map(IpAddr::V4)),
    }
}

/// The same, of IPv4 alone.
#[expect(clippy::option_option, reason = "three cases, of which two are good")]
fn address4(text: &str) -> Option<Option<Ipv4Addr>> {
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
        assert_eq!(full.host, Outside::Udp("127.0.0.1:80".parse().unwrap()));
        assert_eq!((full.guest, full.guest_port), (Some([10, 0, 2, 15].into()), 8));
        let short = HostForward::parse("::-:22").unwrap();
        assert_eq!((short.host, short.guest), (Outside::Tcp("0.0.0.0:0".parse().unwrap()), None));
    }

    #[test]
    fn ipv6_is_in_brackets_and_paths_are_absolute() {
        let rule = HostForward::parse("tcp:[::1]:8080-[fec0::15]:80").unwrap();
        assert_eq!(rule.host, Outside::Tcp("[::1]:8080".parse().unwrap()));
        assert_eq!((rule.guest, rule.guest_port), (Some("fec0::15".parse().unwrap()), 80));
        let rule = HostForward::parse("unix:/run/my-guest.sock-:22").unwrap();
        assert_eq!(rule.host, Outside::Unix("/run/my-guest.sock".to_owned()));
        let why = |rule: &str| read_host_forward(rule).unwrap_err();
        assert_eq!(why("unix:-:22"), "Missing unix socket path");
        assert_eq!(why("unix:guest-:22"), "unix socket path must be absolute");
        assert_eq!(why(&format!("unix:/{}-:22", "x".repeat(107))), "Unix socket path is too long");
        assert_eq!(why("tcp:[::1]8080-:80"), "Missing : separator");
        assert_eq!(why("tcp:[::x]:8080-:80"), "Bad host address");
        assert_eq!(why("tcp:[::1:8080-:80"), "Missing : separator");
    }

    #[test]
    fn what_is_removed_is_named_by_the_hosts_end() {
        let tcp = |text: &str| Some(Outside::Tcp(text.parse().unwrap()));
        assert_eq!(read_outside("tcp:127.0.0.1:8090"), tcp("127.0.0.1:8090"));
        assert_eq!(read_outside("::80"), tcp("0.0.0.0:80"));
        assert_eq!(read_outside("udp:[::1]:80"), Some(Outside::Udp("[::1]:80".parse().unwrap())));
        assert_eq!(read_outside("unix:/run/guest"), Some(Outside::Unix("/run/guest".to_owned())));
        for wrong in ["", "bad", "tcp::x", "tcp::", "sctp::1", "tcp:x:1", "tcp::80-:80", "unix:guest"] {
            assert_eq!(read_outside(wrong), None, "{wrong}");
        }
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
