//! `dgram`: each frame is one datagram.
//!
//! Which combinations of `local` and `remote` make sense is a table (qmp.md 6.4). QEMU walks it remote first: the
//! remote host is resolved before anything else is looked at, because only then is it known to be a group.

pub mod prepare;

use std::net::{Ipv4Addr, SocketAddrV4};

use super::address::{local_interface, resolve};
use super::{Kind, Surroundings};
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::define::object;
use crate::qmp::types::socket_address::{InetSocketAddress, SocketAddress};

object! {
    /// Options of `dgram`.
    #[derive(Default)]
    pub struct Options {
        /// Where frames are received.
        local: Option<SocketAddress>,
        /// Where frames are sent.
        remote: Option<SocketAddress>,
    }
}

/// A socket that can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// Sends to a group and hears it.
    Multicast {
        /// The group.
        group: SocketAddrV4,
        /// The interface by its address; the kernel's choice if absent.
        interface: Option<Ipv4Addr>,
    },
    /// Sends to a group by a socket that has joined it already.
    MulticastFd {
        /// The group.
        group: SocketAddrV4,
        /// The socket, by number or name.
        fd: String,
    },
    /// Sends to one address; hears anyone.
    Inet {
        /// Where it is bound.
        local: SocketAddrV4,
        /// Where it sends to.
        remote: SocketAddrV4,
    },
    /// Between paths.
    Unix {
        /// Where it is bound.
        local: String,
        /// Where it sends to.
        remote: String,
    },
    /// A connected socket, by number or name.
    Fd(String),
}

/// Room for a path in an address, with its final zero.
const PATH_BYTES: usize = 108;

impl Kind for Options {
    type Checked = Checked;

    fn check(&self, around: &dyn Surroundings) -> Result<Checked, QmpError> {
        if let Some(SocketAddress::Inet(remote)) = &self.remote {
            let group = inet(remote, around)?;
            if group.ip().is_multicast() {
                return self.multicast(group);
            }
        }
        let Some(local) = &self.local else { return refuse("dgram requires local= parameter") };
        match (local, &self.remote) {
            (SocketAddress::Fd(fd), None) => Ok(Checked::Fd(fd.str.clone())),
            (_, None) => refuse("type=inet or type=unix requires remote parameter"),
            (local, Some(remote)) => pair(local, remote, around),
        }
    }
}

impl Options {
    fn multicast(&self, group: SocketAddrV4) -> Result<Checked, QmpError> {
        match &self.local {
            None => Ok(Checked::Multicast { group, interface: None }),
            Some(SocketAddress::Inet(local)) => {
                Ok(Checked::Multicast { group, interface: Some(local_interface(&local.host)?) })
            }
            Some(SocketAddress::Fd(fd)) => Ok(Checked::MulticastFd { group, fd: fd.str.clone() }),
            Some(SocketAddress::Unix(_) | SocketAddress::Vsock(_)) => {
                refuse("only support inet or fd type for local")
            }
        }
    }
}

/// Both ends are given.
fn pair(
    local: &SocketAddress,
    remote: &SocketAddress,
    around: &dyn Surroundings,
) -> Result<Checked, QmpError> {
    match (local, remote) {
        (SocketAddress::Fd(_), _) => refuse("don't set remote with local.fd"),
        (SocketAddress::Inet(local), SocketAddress::Inet(remote)) => {
            Ok(Checked::Inet { local: inet(local, around)?, remote: inet(remote, around)? })
        }
        (SocketAddress::Unix(local), SocketAddress::Unix(remote)) => {
            check_path(&local.path)?;
            check_path(&remote.path)?;
            Ok(Checked::Unix { local: local.path.clone(), remote: remote.path.clone() })
        }
        (SocketAddress::Vsock(_), SocketAddress::Vsock(_)) => {
            refuse("only support inet or fd type for local")
        }
        (SocketAddress::Inet(_) | SocketAddress::Unix(_) | SocketAddress::Vsock(_), _) => {
            refuse("remote and local types must be the same")
        }
    }
}

/// Only host and port count: IPv4 it is in any case.
fn inet(address: &InetSocketAddress, around: &dyn Surroundings) -> Result<SocketAddrV4, QmpError> {
    resolve(&address.host, &address.port, around)
}

/// QEMU says this too, and then keeps a netdev bound to the path's first part.
fn check_path(path: &str) -> Result<(), QmpError> {
    if path.len() < PATH_BYTES {
        return Ok(());
    }
    Err(QmpError::generic(format!("UNIX socket path '{path}' is too long")))
}

fn refuse(text: &str) -> Result<Checked, QmpError> {
    Err(QmpError::generic(text))
}
