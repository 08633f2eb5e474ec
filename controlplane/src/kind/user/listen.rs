//! Listening at ports of the host that lead to the guest.
//!
//! Here, since a refusal belongs into the answer to the command; and since the data plane can open nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::forward::{HostForward, Outside};
use crate::qmp::answer::QmpError;

/// Connections that wait in the kernel while the guest is slow to answer.
const BACKLOG: i32 = 128;

/// A forward that listens.
#[derive(Debug)]
pub struct Listening {
    /// Whether it carries datagrams.
    pub is_udp: bool,
    /// Where it leads.
    pub guest: SocketAddr,
    /// Where it listens.
    pub socket: OwnedFd,
}

/// Binds a forward's socket. `usual` is the guest's address, if the rule does not say.
///
/// # Errors
/// In QEMU's words: which rule it was.
pub fn listen(rule: &HostForward, usual: Ipv4Addr) -> Result<Listening, QmpError> {
    let opened = match &rule.host {
        Outside::Tcp(at) => open(*at, SocketType::STREAM),
        Outside::Udp(at) => open(*at, SocketType::DGRAM),
        Outside::Unix(path) => open_path(path),
    };
    let socket = opened.map_err(|errno| {
        log::warn!("hostfwd '{}': {errno}", rule.rule);
        QmpError::generic(format!("Could not set up host forwarding rule '{}'", rule.rule))
    })?;
    let guest = SocketAddr::new(rule.guest.unwrap_or(usual.into()), rule.guest_port);
    Ok(Listening { is_udp: matches!(rule.host, Outside::Udp(_)), guest, socket })
}

fn open(at: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if family == AddressFamily::INET6 {
        // The same port of IPv4 is another rule's.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
    }
    rustix::net::bind(&socket, &at)?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

/// What a dead process has left at the path is replaced; where somebody listens is not.
fn open_path(path: &str) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    if let Err(errno) = rustix::net::bind(&socket, &address) {
        let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        if errno != Errno::ADDRINUSE || rustix::net::connect(&probe, &address) != Err(Errno::CONNREFUSED) {
            return Err(errno);
        }
        rustix::fs::unlink(path)?;
        rustix::net::bind(&socket, &address)?;
    }
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Where a forward's socket listens, as the kernel has it.
#[must_use]
pub fn where_it_listens(socket: impl AsFd, is_udp: bool) -> Option<Outside> {
    let at = rustix::net::getsockname(socket).ok()?;
    if let Some(path) = path_of(&at) {
        return Some(Outside::Unix(path));
    }
    let at = SocketAddr::try_from(at).ok()?;
    Some(if is_udp { Outside::Udp(at) } else { Outside::Tcp(at) })
}

fn path_of(address: &SocketAddrAny) -> Option<String> {
    let address = SocketAddrUnix::try_from(address.clone()).ok()?;
    Some(address.path()?.to_str().ok()?.to_owned())
}
