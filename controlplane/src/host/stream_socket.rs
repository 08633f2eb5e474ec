//! Stream sockets that never make us wait: listening, connecting, and who is at the other end.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, ipproto, sockopt,
};

use super::vsock;
use crate::qmp::types::socket_address::{
    InetSocketAddress, SocketAddress, UnixSocketAddress, VsockSocketAddress,
};

/// Clients that wait while one is served. QEMU asks for none, of which the kernel makes one; with a few more,
/// clients that come and go in haste are not made to wait a second for the kernel to try again.
const BACKLOG: i32 = 8;

/// Where a socket may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Host and port.
    Inet(Inet),
    /// A path or an abstract name.
    Unix(SocketAddrUnix),
    /// A virtual machine's.
    Vsock(vsock::Address),
}

/// Host and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inet {
    /// Where.
    pub address: SocketAddr,
    /// A wildcard of IPv6 that stands for IPv4 too.
    pub is_dual: bool,
    /// By several paths at once (MPTCP).
    pub is_multipath: bool,
    /// The kernel asks from time to time whether the other side is still there.
    pub keep_alive: bool,
    /// A server takes the first port that is free up to this one.
    pub last_port: u16,
}

/// How far a connection is.
#[derive(Debug)]
pub enum Started {
    /// It is there.
    Connected(OwnedFd),
    /// The socket tells when it is writable.
    Underway(OwnedFd),
}

/// Begins to connect.
///
/// # Errors
/// As the kernel says; `EAGAIN` if a unix server has no room for one more right now.
pub fn connect(endpoint: &Endpoint) -> Result<Started, Errno> {
    let socket = new_socket(endpoint)?;
    let begun = match endpoint {
        Endpoint::Inet(inet) => {
            if inet.keep_alive {
                sockopt::set_socket_keepalive(&socket, true)?;
            }
            rustix::net::connect(&socket, &inet.address)
        }
        Endpoint::Unix(address) => rustix::net::connect(&socket, address),
        Endpoint::Vsock(address) => vsock::connect(&socket, *address),
    };
    match begun {
        Ok(()) => Ok(Started::Connected(socket)),
        Err(Errno::INPROGRESS) => Ok(Started::Underway(socket)),
        Err(errno) => Err(errno),
    }
}

/// What became of a connection that was under way.
///
/// # Errors
/// As the kernel says; `ECONNREFUSED` if nobody listened and the port that the kernel chose for us happened to
/// be the one that we wanted to reach, so that we reached ourselves.
pub fn finish(socket: &OwnedFd) -> Result<(), Errno> {
    sockopt::socket_error(socket)??;
    let inet = |address: SocketAddrAny| SocketAddr::try_from(address).ok();
    let own = inet(rustix::net::getsockname(socket)?);
    let peer = rustix::net::getpeername(socket)?.and_then(inet);
    if own.is_some() && own == peer { Err(Errno::CONNREFUSED) } else { Ok(()) }
}

/// Listens.
///
/// # Errors
/// As the kernel says.
pub fn listen(endpoint: &Endpoint) -> Result<OwnedFd, Errno> {
    match endpoint {
        Endpoint::Inet(inet) => listen_inet(*inet),
        Endpoint::Unix(address) => {
            let socket = new_socket(endpoint)?;
            remove_old(address);
            rustix::net::bind(&socket, address)?;
            rustix::net::listen(&socket, BACKLOG)?;
            Ok(socket)
        }
        Endpoint::Vsock(address) => {
            let socket = new_socket(endpoint)?;
            vsock::bind(&socket, *address)?;
            rustix::net::listen(&socket, BACKLOG)?;
            Ok(socket)
        }
    }
}

/// At the first port that is free. Two may bind the same port with `SO_REUSEADDR`; it is the second that listens
/// who is refused.
fn listen_inet(inet: Inet) -> Result<OwnedFd, Errno> {
    let first = inet.address.port();
    let at = |port| {
        let mut address = inet.address;
        address.set_port(port);
        listen_at(Inet { address, ..inet })
    };
    let mut ports = (first..=inet.last_port.max(first)).map(at);
    ports.find(|listening| !matches!(listening, Err(Errno::ADDRINUSE))).unwrap_or(Err(Errno::ADDRINUSE))
}

fn listen_at(inet: Inet) -> Result<OwnedFd, Errno> {
    let socket = new_socket(&Endpoint::Inet(inet))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if inet.address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !inet.is_dual)?;
    }
    rustix::net::bind(&socket, &inet.address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The next client.
///
/// # Errors
/// `EAGAIN` if there is none.
pub fn accept(listener: &OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
}

/// Small frames are sent at once. Families that know no delay refuse, and need not be told.
pub fn send_at_once(socket: &OwnedFd) {
    let _ = sockopt::set_tcp_nodelay(socket, true);
}

/// Whether it is a stream socket.
#[must_use]
pub fn is_stream(socket: &OwnedFd) -> bool {
    sockopt::socket_type(socket) == Ok(SocketType::STREAM)
}

/// Who is at the other end, as QEMU tells it. Of a unix server's clients, which have no name, it is the name of
/// the server.
#[must_use]
pub fn address_of_peer(socket: &OwnedFd, is_server: bool) -> SocketAddress {
    let domain = sockopt::socket_domain(socket);
    if domain == Ok(AddressFamily::VSOCK) {
        let peer = vsock::peer(socket.as_fd()).unwrap_or(vsock::Address { cid: u32::MAX, port: u32::MAX });
        let (cid, port) = (peer.cid.to_string(), peer.port.to_string());
        return SocketAddress::Vsock(VsockSocketAddress { cid, port });
    }
    let is_named_here = is_server && domain == Ok(AddressFamily::UNIX);
    let any = if is_named_here {
        rustix::net::getsockname(socket).ok()
    } else {
        rustix::net::getpeername(socket).ok().flatten()
    };
    match any.clone().and_then(|any| SocketAddr::try_from(any).ok()) {
        Some(address) => SocketAddress::Inet(inet_address(address)),
        None => SocketAddress::Unix(unix_address(any.and_then(|any| SocketAddrUnix::try_from(any).ok()))),
    }
}

fn inet_address(address: SocketAddr) -> InetSocketAddress {
    let ip = address.ip().to_canonical();
    InetSocketAddress {
        host: ip.to_string(),
        port: address.port().to_string(),
        ipv4: ip.is_ipv4().then_some(true),
        ipv6: ip.is_ipv6().then_some(true),
        ..InetSocketAddress::default()
    }
}

fn unix_address(address: Option<SocketAddrUnix>) -> UnixSocketAddress {
    let path = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let plain = |path| UnixSocketAddress { path, is_abstract: None, tight: None };
    let Some(address) = address else { return plain(String::new()) };
    match (address.abstract_name(), address.path_bytes()) {
        (Some(name), _) if !name.is_empty() => {
            let is_tight = name.len() < ABSTRACT_BYTES;
            let name = if is_tight { name } else { name.split(|byte| *byte == 0).next().unwrap_or(name) };
            UnixSocketAddress { path: path(name), is_abstract: Some(true), tight: Some(is_tight) }
        }
        (_, bytes) => plain(path(bytes.unwrap_or_default())),
    }
}

/// Bytes of an abstract name that fills its address.
pub const ABSTRACT_BYTES: usize = 107;

/// A socket that somebody left at the path is removed, as QEMU does; anything else is not ours to remove.
fn remove_old(address: &SocketAddrUnix) {
    let Some(path) = address.path() else { return };
    let is_socket = rustix::fs::lstat(&*path)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Socket);
    if is_socket {
        // If it fails, so does the binding, which says why.
        let _ = rustix::fs::unlink(&*path);
    }
}

fn new_socket(endpoint: &Endpoint) -> Result<OwnedFd, Errno> {
    let (family, protocol): (_, Option<Protocol>) = match endpoint {
        Endpoint::Inet(inet) => {
            let family = if inet.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            (family, inet.is_multipath.then_some(ipproto::MPTCP))
        }
        Endpoint::Unix(_) => (AddressFamily::UNIX, None),
        Endpoint::Vsock(_) => (AddressFamily::VSOCK, None),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(family, SocketType::STREAM, flags, protocol)
}
