//! Listening at ports of the host that lead to the guest.
//!
//! Here, since a refusal belongs into the answer to the command; and since the data plane can open nothing.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use framewire_shared::driver::user::Forward;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::forward::{HostForward, Protocol};
use super::network::Network4;
use crate::qmp::answer::QmpError;

/// Connections that wait in the kernel while the guest is slow to answer.
const BACKLOG: i32 = 128;

/// Binds a forward's socket.
///
/// # Errors
/// In QEMU's words: which rule it was.
pub(super) fn listen(rule: &HostForward, network: &Network4) -> Result<(Forward, OwnedFd), QmpError> {
    let socket = open(rule).map_err(|errno| {
        log::warn!("hostfwd '{}': {errno}", rule.rule);
        QmpError::generic(format!("Could not set up host forwarding rule '{}'", rule.rule))
    })?;
    let guest = rule.guest.unwrap_or(network.dhcp_start);
    let is_udp = u32::from(rule.protocol == Protocol::Udp);
    Ok((Forward { is_udp, guest: guest.octets(), port: rule.guest_port.into() }, socket))
}

fn open(rule: &HostForward) -> rustix::io::Result<OwnedFd> {
    let kind = match rule.protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None)?;
    if rule.protocol == Protocol::Tcp {
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::V4(rule.host))?;
    if rule.protocol == Protocol::Tcp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}
