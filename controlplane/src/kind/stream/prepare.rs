//! Opening a stream: what can be opened at once without waiting; the rest is [`crate::connection`]'s.
//!
//! QEMU answers before it has tried anything, so nothing here fails: a place that cannot be had is logged, and the
//! netdev stays without a connection. A descriptor's name is looked up now, while the client that gave it is there
//! (QEMU looks for it in a thread, where no name given to `getfd` is ever found).

use std::os::fd::OwnedFd;
use std::time::Duration;

use framewire_shared::driver::DriverOptions;

use super::{Checked, Role as Given};
use crate::connection::{Opened, Role, Source, Whereabouts, whereabouts};
use crate::host::stream_socket;
use crate::host::words;
use crate::kind::prepare::{Descriptors, Prepared, PreparedQueue};
use crate::qmp::types::socket_address::SocketAddress;

/// Opens what a stream begins with.
pub(in crate::kind) fn prepare(checked: &Checked, id: &str, descriptors: &mut dyn Descriptors) -> Prepared {
    let source = source(checked, id);
    let opened = match (&checked.addr, source.role) {
        (SocketAddress::Fd(fd), role) => given(descriptors, &fd.str, role),
        (place, Role::Server) => listening(place),
        (SocketAddress::Inet(_) | SocketAddress::Unix(_) | SocketAddress::Vsock(_), Role::Client { .. }) => {
            Opened::Nothing
        }
    };
    without_connection(source, opened, describe(checked))
}

/// Where a stream's connections come from; also asked by a control plane that takes over.
#[must_use]
pub fn source(checked: &Checked, id: &str) -> Source {
    let role = match checked.role {
        Given::Server => Role::Server,
        Given::Client { reconnect_ms } => Role::Client { retry: reconnect_ms.map(Duration::from_millis) },
    };
    let place = match &checked.addr {
        SocketAddress::Fd(_) => None,
        SocketAddress::Inet(_) | SocketAddress::Unix(_) | SocketAddress::Vsock(_) => {
            Some(checked.addr.clone())
        }
    };
    Source { id: id.to_owned(), place, role, is_announced: true, is_lent: false }
}

/// A port whose queue discards until there is a connection. The data plane keeps its listener.
pub(in crate::kind) fn without_connection(source: Source, opened: Opened, info: String) -> Prepared {
    let listener = if let Opened::Listener(listener) = &opened { listener.try_clone().ok() } else { None };
    let queue = PreparedQueue { options: DriverOptions::Null, descriptors: Vec::from_iter(listener) };
    Prepared { connection: Some((source, opened)), ..Prepared::netdev(vec![queue], info) }
}

fn given(descriptors: &mut dyn Descriptors, fd: &str, role: Role) -> Opened {
    let socket: OwnedFd = match descriptors.take(fd) {
        Ok(socket) => socket,
        Err(error) => return Opened::Failed(error.to_string()),
    };
    if !stream_socket::is_stream(&socket) {
        return Opened::Failed(format!("fd={fd} is not a stream socket"));
    }
    match role {
        Role::Client { .. } => Opened::Arrived(socket),
        // It is asked for clients when it tells that there are some, and must not wait for others then.
        Role::Server => match rustix::io::ioctl_fionbio(&socket, true) {
            Ok(()) => Opened::Listener(socket),
            Err(errno) => Opened::Failed(words(errno)),
        },
    }
}

/// A place that has a name is listened at when the name is known; any other now, so that who reads the answer can
/// connect.
fn listening(place: &SocketAddress) -> Opened {
    let endpoints = match whereabouts(place, true) {
        Ok(Whereabouts::Known(endpoints)) => endpoints,
        Ok(Whereabouts::Ask(_question)) => return Opened::Nothing,
        Err(why) => return Opened::Failed(why),
    };
    let mut why = "it has no address of a family that may be used".to_owned();
    for endpoint in &endpoints {
        match stream_socket::listen(endpoint) {
            Ok(listener) => return Opened::Listener(listener),
            Err(errno) => why = words(errno),
        }
    }
    Opened::Failed(why)
}

fn describe(checked: &Checked) -> String {
    let place = match &checked.addr {
        SocketAddress::Inet(inet) => format!("{}:{}", inet.host, inet.port),
        SocketAddress::Unix(unix) => format!("unix:{}", unix.path),
        SocketAddress::Vsock(vsock) => format!("vsock:{}:{}", vsock.cid, vsock.port),
        SocketAddress::Fd(fd) => format!("fd:{}", fd.str),
    };
    match checked.role {
        Given::Server => format!("server at {place}"),
        Given::Client { .. } => format!("client of {place}"),
    }
}
