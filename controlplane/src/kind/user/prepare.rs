//! From checked options to what a made-up network's data path is built from: a record, the sockets' sources, and
//! listening sockets.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use framewire_shared::driver::user::{DHCP_BYTES_MAX, FORWARDS_MAX, SEARCH_BYTES_MAX, User4, User6};
use framewire_shared::driver::{DriverOptions, UserOptions};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::Checked;
use super::forward::HostForward;
use super::listen::{Listening, listen};
use super::network::{Network4, Network6};
use super::resolver::Resolvers;
use super::{Names, names, search_list};
use crate::host::well;
use crate::host::words;
use crate::kind::prepare::{Prepared, PreparedQueue};
use crate::qmp::answer::QmpError;

/// Makes the network's one queue.
///
/// # Errors
/// In QEMU's words; nothing is left behind.
pub(in crate::kind) fn prepare(checked: &Checked) -> Result<Prepared, QmpError> {
    check_smb(checked)?;
    let mut options = record(checked, &Resolvers::of_host());
    let mut descriptors = Vec::new();
    if options.has_stocks() {
        let failed =
            |error| QmpError::generic(format!("user: the source of sockets cannot be started: {error}"));
        descriptors.extend(well::start().map_err(failed)?);
    }
    descriptors.extend(forwards(checked, &mut options)?);
    if checked.tftp.is_some() {
        options.is_served = 1;
        descriptors.extend(files()?);
    }
    if !checked.guest_forwards.is_empty() {
        log::warn!("guestfwd: not built yet, the guest is refused there");
    }
    let queue = PreparedQueue { options: DriverOptions::User(options), descriptors };
    Ok(Prepared::netdev(vec![queue], info(checked)))
}

/// As QEMU's `query` of the network says it. A network without IPv4 has one all the same, which is not used.
fn info(checked: &Checked) -> String {
    let network = checked.network4.map_or(std::net::Ipv4Addr::new(10, 0, 2, 0), |network| network.network);
    format!("net={network},restrict={}", if checked.is_restricted { "on" } else { "off" })
}

fn record(checked: &Checked, resolvers: &Resolvers) -> UserOptions {
    let mut options = UserOptions::empty();
    options.is_restricted = u32::from(checked.is_restricted);
    if let Some(network) = &checked.network4 {
        options.ipv4 =
            User4 { resolver: resolvers.ipv4.map_or([0; 4], |address| address.octets()), ..ipv4(network) };
    }
    if let Some(network) = &checked.network6 {
        let (resolver, resolver_scope) =
            resolvers.ipv6.map_or(([0; 16], 0), |(address, scope)| (address.octets(), scope));
        options.ipv6 = User6 { resolver, resolver_scope, ..ipv6(network) };
    }
    put_names(&checked.names, &mut options);
    options
}

/// What the guest is told besides addresses, as it is sent.
fn put_names(names: &Names, options: &mut UserOptions) {
    let dhcp = names::dhcp_options(names, DHCP_BYTES_MAX);
    options.dhcp_bytes = put(&mut options.dhcp, &dhcp);
    let search = search_list::advertisement(&names.search).unwrap_or_default();
    if search.len() <= SEARCH_BYTES_MAX {
        options.search_bytes = put(&mut options.search, &search);
    } else {
        log::warn!("'dnssearch' does not fit into a router's advertisement, which goes without it");
    }
    put(&mut options.bootfile, names.bootfile.as_deref().unwrap_or_default().as_bytes());
}

/// Copies what was measured to fit; returns how much that is.
fn put(place: &mut [u8], bytes: &[u8]) -> u32 {
    let length = bytes.len().min(place.len());
    place[..length].copy_from_slice(&bytes[..length]);
    u32::try_from(length).expect("records are small")
}

fn ipv4(network: &Network4) -> User4 {
    User4 {
        is_on: 1,
        network: network.network.octets(),
        mask: network.mask.octets(),
        host: network.host.octets(),
        dns: network.dns.octets(),
        dhcp_start: network.dhcp_start.octets(),
        resolver: [0; 4],
    }
}

fn ipv6(network: &Network6) -> User6 {
    User6 {
        is_on: 1,
        prefix_length: network.prefix_length.into(),
        prefix: network.prefix.octets(),
        host: network.host.octets(),
        dns: network.dns.octets(),
        resolver: [0; 16],
        resolver_scope: 0,
    }
}

/// Listens at all ports that lead to the guest. In a network without IPv4 a rule must say to whom.
fn forwards(checked: &Checked, options: &mut UserOptions) -> Result<Vec<OwnedFd>, QmpError> {
    let usual = checked.network4.map_or(Ipv4Addr::UNSPECIFIED, |network| network.dhcp_start);
    checked.host_forwards.iter().map(|rule| add_forward(rule, usual, options)).collect()
}

/// Listens, and notes where that leads. `usual` is the guest's address, if the rule does not say.
///
/// # Errors
/// In QEMU's words.
pub fn add_forward(
    rule: &HostForward,
    usual: Ipv4Addr,
    options: &mut UserOptions,
) -> Result<OwnedFd, QmpError> {
    let too_many = || QmpError::generic(format!("At most {FORWARDS_MAX} host forwarding rules are possible"));
    let Listening { is_udp, guest, socket } = listen(rule, usual)?;
    options.add_forward(is_udp, guest).ok_or_else(too_many)?;
    Ok(socket)
}

/// The two ends on which the worker asks for files; the control plane's own is the second.
fn files() -> Result<[OwnedFd; 2], QmpError> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let failed = |errno| QmpError::generic(format!("user: tftp: {}", words(errno)));
    let pair = rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None);
    pair.map(|(worker, control)| [worker, control]).map_err(failed)
}

/// Who serves files to Windows guests, where Debian and QEMU have it.
const SMBD: &str = "/usr/sbin/smbd";

fn check_smb(checked: &Checked) -> Result<(), QmpError> {
    if checked.smb.is_none() {
        return Ok(());
    }
    if !std::path::Path::new(SMBD).exists() {
        return Err(QmpError::generic(format!("Could not find '{SMBD}', please install it")));
    }
    Err(QmpError::generic("smb: not built yet"))
}
