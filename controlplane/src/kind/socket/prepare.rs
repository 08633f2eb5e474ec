//! Opening a socket in its older spelling: a stream or a datagram socket underneath.
//!
//! Unlike with `stream`, what fails at once fails the command; what fails later is silent, as in QEMU: it is not
//! tried again and raises no event.

use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

use framewire_shared::driver::DriverOptions;
use framewire_shared::region::Mapping;
use framewire_shared::stream_memory::StreamMemory;
use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::net::sockopt;

use super::Checked;
use crate::connection::{Opened, Role, Source};
use crate::host::stream_socket::{self, Endpoint, Inet, Started};
use crate::host::words;
use crate::kind::dgram;
use crate::kind::prepare::{Descriptors, Prepared, PreparedQueue};
use crate::kind::stream::prepare::without_connection;
use crate::qmp::answer::QmpError;

/// Opens what a socket consists of.
pub(in crate::kind) fn prepare(
    checked: Checked,
    id: &str,
    descriptors: &mut dyn Descriptors,
) -> Result<Prepared, QmpError> {
    match checked {
        Checked::Listen(address) => {
            let listener = stream_socket::listen(&endpoint(address))
                .map_err(|errno| failed(&format!("can't bind ip={} to socket", address.ip()), errno))?;
            let info = format!("server at {address}");
            Ok(without_connection(source(id, true), Opened::Listener(listener), info))
        }
        Checked::Connect(address) => {
            let begun = stream_socket::connect(&endpoint(address))
                .map_err(|errno| failed("can't connect socket", errno))?;
            let opened = match begun {
                Started::Connected(socket) => Opened::Arrived(socket),
                Started::Underway(socket) => Opened::Connecting(socket),
            };
            Ok(without_connection(source(id, false), opened, format!("client of {address}")))
        }
        Checked::Multicast { group, interface } => {
            dgram::prepare::prepare(dgram::Checked::Multicast { group, interface }, descriptors)
        }
        Checked::Udp { local, remote } => {
            dgram::prepare::prepare(dgram::Checked::Inet { local, remote }, descriptors)
        }
        Checked::Fd(fd) => given(&fd, id, descriptors),
    }
}

/// Where its connections come from; also asked by a control plane that takes over.
#[must_use]
pub fn source(id: &str, is_server: bool) -> Source {
    let role = if is_server { Role::Server } else { Role::Client { retry: None } };
    Source { id: id.to_owned(), place: None, role, is_announced: false, is_lent: false }
}

fn endpoint(address: SocketAddrV4) -> Endpoint {
    Endpoint::Inet(Inet {
        address: SocketAddr::V4(address),
        is_dual: false,
        is_multipath: false,
        keep_alive: false,
        last_port: address.port(),
    })
}

/// The kind of socket decides.
fn given(fd: &str, id: &str, descriptors: &mut dyn Descriptors) -> Result<Prepared, QmpError> {
    let socket = descriptors.take(fd)?;
    let unknown = |_errno| QmpError::generic("can't get socket option SO_TYPE");
    match sockopt::socket_type(&socket).map_err(unknown)? {
        SocketType::DGRAM => {
            dgram::prepare::prepare(dgram::Checked::Fd(fd.to_owned()), &mut Found(Some(socket)))
        }
        SocketType::STREAM => connected(socket, id, fd),
        other => Err(QmpError::generic(format!(
            "socket type={} for fd={} must be either SOCK_DGRAM or SOCK_STREAM",
            other.as_raw(),
            socket.as_raw_fd(),
        ))),
    }
}

/// The port has its connection from the beginning, and never another.
fn connected(socket: OwnedFd, id: &str, fd: &str) -> Result<Prepared, QmpError> {
    stream_socket::send_at_once(&socket);
    let shortage = |why: String| QmpError::generic(format!("netdev '{id}': {why}"));
    let memory = Mapping::<StreamMemory>::create().map_err(|error| shortage(error.to_string()))?;
    let ours = socket.try_clone().map_err(|error| shortage(error.to_string()))?;
    let queue = PreparedQueue { options: DriverOptions::Stream, descriptors: vec![socket, memory] };
    let connection = Some((source(id, false), Opened::InUse(ours)));
    Ok(Prepared { connection, ..Prepared::netdev(vec![queue], format!("fd={fd}")) })
}

fn failed(what: &str, errno: Errno) -> QmpError {
    QmpError::generic(format!("{what}: {}", words(errno)))
}

/// A descriptor that was looked up already.
struct Found(Option<OwnedFd>);

impl Descriptors for Found {
    fn take(&mut self, text: &str) -> Result<OwnedFd, QmpError> {
        self.0
            .take()
            .ok_or_else(|| QmpError::generic(format!("File descriptor named '{text}' has not been found")))
    }
}
