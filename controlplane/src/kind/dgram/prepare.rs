//! Opening a datagram socket, and keeping one that sends to a path connected.
//!
//! Inet sockets send to their remote address with each datagram and hear anybody, as QEMU's do. A unix socket
//! cannot: the data plane's file system is empty, so it could not find the path. Control plane and data plane share
//! the socket itself, so we connect it here and the data plane only sends. What follows from it is a difference to
//! QEMU: a connected unix socket hears its remote alone.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use framewire_shared::driver::{Batching, DgramOptions, DriverOptions};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::Checked;
use crate::host::{socket, words};
use crate::kind::prepare::{Descriptors, Prepared, PreparedQueue};
use crate::qmp::answer::QmpError;

/// Opens what a `dgram` consists of.
pub(in crate::kind) fn prepare(
    checked: Checked,
    descriptors: &mut dyn Descriptors,
) -> Result<Prepared, QmpError> {
    match checked {
        Checked::Multicast { group, interface } => {
            let socket = join(group, interface)?;
            Ok(inet(socket, Some(group), format!("mcast={group}")))
        }
        Checked::MulticastFd { group, fd } => {
            let socket = given(&fd, descriptors)?;
            Ok(inet(socket, Some(group), format!("fd={fd} (mcast={group})")))
        }
        Checked::Inet { local, remote } => {
            let socket = bound(local)?;
            Ok(inet(socket, Some(remote), format!("udp={local}/{remote}")))
        }
        Checked::Unix { local, remote } => {
            let socket = bound_to_path(&local)?;
            Ok(netdev(socket, Batching::Single, &[], format!("udp={local}:{remote}")))
        }
        Checked::Fd(fd) => {
            let socket = given(&fd, descriptors)?;
            let info = format!("fd={fd}");
            if is_unix(&socket) {
                return Ok(netdev(socket, Batching::Single, &[], info));
            }
            Ok(inet(socket, None, info))
        }
    }
}

fn failed(what: &str, errno: Errno) -> QmpError {
    QmpError::generic(format!("{what}: {}", words(errno)))
}

fn inet(socket: OwnedFd, remote: Option<SocketAddrV4>, info: String) -> Prepared {
    let batching = if socket::gather_datagrams(&socket) { Batching::Udp } else { Batching::Single };
    let remote = remote.map_or(Vec::new(), |remote| socket::kernel_address(remote.into()));
    netdev(socket, batching, &remote, info)
}

fn netdev(socket: OwnedFd, batching: Batching, remote: &[u8], info: String) -> Prepared {
    socket::enlarge_buffers(&socket);
    let options = DgramOptions::new(batching, remote).expect("an address of the kernel fits");
    let queue = PreparedQueue { options: DriverOptions::Dgram(options), descriptors: vec![socket] };
    Prepared::netdev(vec![queue], info)
}

fn new_socket(family: AddressFamily) -> Result<OwnedFd, QmpError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(family, SocketType::DGRAM, flags, None)
        .map_err(|errno| failed("can't create datagram socket", errno))
}

fn bound(local: SocketAddrV4) -> Result<OwnedFd, QmpError> {
    let socket = new_socket(AddressFamily::INET)?;
    sockopt::set_socket_reuseaddr(&socket, true)
        .map_err(|errno| failed("can't set socket option SO_REUSEADDR", errno))?;
    rustix::net::bind(&socket, &local)
        .map_err(|errno| failed(&format!("can't bind ip={} to socket", local.ip()), errno))?;
    Ok(socket)
}

fn join(group: SocketAddrV4, interface: Option<Ipv4Addr>) -> Result<OwnedFd, QmpError> {
    let socket = bound(group)?;
    let any = Ipv4Addr::UNSPECIFIED;
    sockopt::set_ip_add_membership(&socket, group.ip(), &interface.unwrap_or(any))
        .map_err(|errno| failed(&format!("can't add socket to multicast group {}", group.ip()), errno))?;
    sockopt::set_ip_multicast_loop(&socket, true)
        .map_err(|errno| failed("can't force multicast message to loopback", errno))?;
    if let Some(interface) = interface {
        sockopt::set_ip_multicast_if(&socket, &interface)
            .map_err(|errno| failed("can't set the default network send interface", errno))?;
    }
    Ok(socket)
}

fn bound_to_path(path: &str) -> Result<OwnedFd, QmpError> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(failed(&format!("failed to unlink socket {path}"), errno)),
    }
    let socket = new_socket(AddressFamily::UNIX)?;
    let bound = SocketAddrUnix::new(path).and_then(|address| rustix::net::bind(&socket, &address));
    bound.map_err(|errno| failed(&format!("can't bind unix={path} to socket"), errno))?;
    Ok(socket)
}

/// Connects a socket to the path that it sends to; again and again is no harm, and finds a peer that was
/// started anew.
///
/// # Errors
/// As the kernel says: `ENOENT` and `ECONNREFUSED` as long as nobody is there.
pub fn connect(socket: &OwnedFd, remote: &str) -> Result<(), Errno> {
    rustix::net::connect(socket, &SocketAddrUnix::new(remote)?)
}

fn given(fd: &str, descriptors: &mut dyn Descriptors) -> Result<OwnedFd, QmpError> {
    let socket = descriptors.take(fd)?;
    match sockopt::socket_type(&socket) {
        Ok(SocketType::DGRAM) => {}
        Ok(_other) => {
            return Err(QmpError::generic(format!("fd={fd} is not a datagram socket")));
        }
        Err(_errno) => {
            return Err(QmpError::generic(
                "Unable to query local socket address: Socket operation on non-socket",
            ));
        }
    }
    rustix::io::ioctl_fionbio(&socket, true).map_err(|errno| failed(&format!("fd={fd}"), errno))?;
    Ok(socket)
}

fn is_unix(socket: &OwnedFd) -> bool {
    sockopt::socket_domain(socket) == Ok(AddressFamily::UNIX)
}

#[cfg(test)]
mod test {
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    struct Nobody;

    impl Descriptors for Nobody {
        fn take(&mut self, _text: &str) -> Result<OwnedFd, QmpError> {
            Err(QmpError::generic("none"))
        }
    }

    struct One(Option<OwnedFd>);

    impl Descriptors for One {
        fn take(&mut self, _text: &str) -> Result<OwnedFd, QmpError> {
            Ok(self.0.take().unwrap())
        }
    }

    #[test]
    fn inet_socket_is_bound_and_knows_its_remote() {
        let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let remote = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
        let prepared = prepare(Checked::Inet { local: any, remote }, &mut Nobody).unwrap();
        let DriverOptions::Dgram(options) = prepared.queues[0].options else { panic!("no dgram") };
        assert_eq!((options.remote().len(), options.batching()), (16, Batching::Udp));
    }

    #[test]
    fn path_is_connected_as_soon_as_somebody_is_there() {
        let folder = std::env::temp_dir().join(format!("framewire-dgram-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let checked = Checked::Unix { local: path("a"), remote: path("b") };
        let prepared = prepare(checked, &mut Nobody).unwrap();
        let socket = &prepared.queues[0].descriptors[0];
        assert_eq!(connect(socket, &path("b")), Err(Errno::NOENT));
        let peer = UnixDatagram::bind(path("b")).unwrap();
        assert_eq!((connect(socket, &path("b")), connect(socket, &path("b"))), (Ok(()), Ok(())));
        rustix::io::write(socket, b"frame").unwrap();
        assert_eq!(peer.recv(&mut [0; 9]).unwrap(), 5);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn descriptor_must_be_a_datagram_socket() {
        let stream = std::os::unix::net::UnixStream::pair().unwrap().0;
        let file = std::fs::File::open("/dev/null").unwrap();
        for (given, wanted) in [
            (OwnedFd::from(stream), "fd=x is not a datagram socket"),
            (OwnedFd::from(file), "Unable to query local socket address: Socket operation on non-socket"),
        ] {
            let refused = prepare(Checked::Fd("x".to_owned()), &mut One(Some(given))).unwrap_err();
            assert_eq!(refused.desc, wanted);
        }
        let socket = OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
        assert!(prepare(Checked::Fd("x".to_owned()), &mut One(Some(socket))).is_ok());
    }
}
