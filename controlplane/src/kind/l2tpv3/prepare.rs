//! Opening a tunnel's socket: UDP, or IP itself with the protocol's number.
//!
//! It is bound to our address and not connected: QEMU's is not either, and takes frames from whoever knows session
//! and cookie, such as a peer whose address is translated on the way.
//!
//! **MTU.** A tunnel makes frames longer, so datagrams often exceed the path's MTU. By default Linux forbids routers to
//! cut them and learns the MTU from what routers answer; where those answers are filtered, long frames would vanish
//! for good. So over IPv4 routers may cut; over IPv6 they never do, and the kernel cuts to what it has learnt.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use framewire_shared::driver::{Batching, Carrier, DgramOptions, DriverOptions, L2tpv3Options};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, sockopt};

use super::Checked;
use crate::host::socket;
use crate::kind::prepare::{Prepared, PreparedQueue};
use crate::qmp::answer::QmpError;

/// L2TP's number among the protocols over IP.
const IP_PROTOCOL: u32 = 115;

/// Opens what a tunnel consists of.
pub(in crate::kind) fn prepare(checked: &Checked) -> Result<Prepared, QmpError> {
    let local = checked
        .local
        .clone()
        .map_err(|why| QmpError::generic(format!("could not resolve src, errno = {why}")))?;
    let number = |errno: Errno| errno.raw_os_error();
    let socket = open(local.ip(), checked.is_udp)
        .map_err(|errno| QmpError::generic(format!("socket creation failed, errno = {}", number(errno))))?;
    rustix::net::bind(&socket, &local)
        .map_err(|errno| QmpError::generic(format!("could not bind socket err={}", number(errno))))?;
    let remote = checked
        .remote
        .clone()
        .map_err(|why| QmpError::generic(format!("could not resolve dst, error = {why}")))?;
    socket::enlarge_buffers(&socket);
    let options = options(checked, &socket, remote);
    let queue = PreparedQueue { options: DriverOptions::L2tpv3(options), descriptors: vec![socket] };
    Ok(Prepared::netdev(vec![queue], "l2tpv3: connected".to_owned()))
}

fn options(checked: &Checked, socket: &OwnedFd, remote: SocketAddr) -> L2tpv3Options {
    let carrier = match (checked.is_udp, checked.is_ipv6) {
        (true, _) => Carrier::Udp,
        (false, false) => Carrier::Ipv4,
        (false, true) => Carrier::Ipv6,
    };
    let is_gathered = carrier == Carrier::Udp && socket::gather_datagrams(socket);
    let batching = if is_gathered { Batching::Udp } else { Batching::Single };
    let dgram =
        DgramOptions::new(batching, &socket::kernel_address(remote)).expect("an address of the kernel fits");
    let options = L2tpv3Options::new(dgram, carrier, checked.send_session, checked.receive_session)
        .with_counter(checked.counter)
        .with_offset(checked.offset_bytes);
    checked.cookies.map_or(options, |cookies| options.with_cookies(cookies))
}

fn open(local: IpAddr, is_udp: bool) -> Result<OwnedFd, Errno> {
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (kind, protocol) = if is_udp {
        (SocketType::DGRAM, None)
    } else {
        let number = rustix::net::RawProtocol::new(IP_PROTOCOL).expect("it is not 0");
        (SocketType::RAW, Some(Protocol::from_raw(number)))
    };
    let socket = rustix::net::socket_with(family, kind, flags, protocol)?;
    if local.is_ipv4() {
        sockopt::set_ip_mtu_discover(&socket, sockopt::Ipv4PathMtuDiscovery::DONT)?;
    }
    Ok(socket)
}
