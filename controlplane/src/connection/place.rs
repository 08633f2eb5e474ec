//! From an address as clients write it to endpoints that a socket can have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::SocketAddrUnix;

use crate::host::lookup::{Families, Question};
use crate::host::stream_socket::{ABSTRACT_BYTES, Endpoint, Inet};
use crate::host::vsock;
use crate::qmp::types::socket_address::{
    InetSocketAddress, SocketAddress, UnixSocketAddress, VsockSocketAddress,
};

/// Where a place is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// There; the first that works is taken.
    Known(Vec<Endpoint>),
    /// Somebody who knows names has to be asked; then [`endpoints`] makes endpoints of the answer.
    Ask(Question),
}

/// Where a place is, as far as that can be known without waiting.
///
/// # Errors
/// Why there can be no such place.
pub fn whereabouts(place: &SocketAddress, is_server: bool) -> Result<Whereabouts, String> {
    match place {
        SocketAddress::Inet(inet) => inet_whereabouts(inet, is_server),
        SocketAddress::Unix(unix) => Ok(Whereabouts::Known(vec![Endpoint::Unix(unix_address(unix)?)])),
        SocketAddress::Vsock(vsock) => Ok(Whereabouts::Known(vec![Endpoint::Vsock(vsock_address(vsock)?)])),
        SocketAddress::Fd(_given) => Err("its socket was given, and is gone".to_owned()),
    }
}

fn inet_whereabouts(inet: &InetSocketAddress, is_server: bool) -> Result<Whereabouts, String> {
    if is_server && inet.keep_alive == Some(true) {
        return Err("keep-alive option is not supported for passive sockets".to_owned());
    }
    let families = families(inet)?;
    let Ok(port) = inet.port.parse() else {
        return Ok(Whereabouts::Ask(question(inet, families, is_server)));
    };
    let hosts = if inet.host.is_empty() && is_server {
        unnamed(families)
    } else if let Ok(ip) = inet.host.parse()
        && families.take(ip)
    {
        vec![ip]
    } else {
        return Ok(Whereabouts::Ask(question(inet, families, is_server)));
    };
    let addresses = hosts.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
    Ok(Whereabouts::Known(endpoints(inet, addresses)))
}

/// Endpoints of addresses that a name has.
#[must_use]
pub fn endpoints(inet: &InetSocketAddress, addresses: Vec<SocketAddr>) -> Vec<Endpoint> {
    // Checked before; then there are no addresses either.
    let families = families(inet).unwrap_or(Families::Both);
    let addresses = addresses.into_iter().filter(|address| families.take(address.ip()));
    let endpoint = |address: SocketAddr| {
        Endpoint::Inet(Inet {
            address,
            is_dual: families == Families::Both && address.ip() == Ipv6Addr::UNSPECIFIED,
            is_multipath: inet.mptcp == Some(true),
            keep_alive: inet.keep_alive == Some(true),
            last_port: inet.to.unwrap_or(address.port()),
        })
    };
    addresses.map(endpoint).collect()
}

/// A family that is asked for is taken alone; one that is refused leaves the other.
fn families(inet: &InetSocketAddress) -> Result<Families, String> {
    match (inet.ipv4, inet.ipv6) {
        (Some(false), Some(false)) => Err("Cannot disable IPv4 and IPv6 at same time".to_owned()),
        (Some(true), Some(true)) | (None, None) => Ok(Families::Both),
        (Some(true), _) | (_, Some(false)) => Ok(Families::V4),
        (_, Some(true)) | (Some(false), _) => Ok(Families::V6),
    }
}

/// Without a host, a server is reached at any address, by either family if it may.
fn unnamed(families: Families) -> Vec<IpAddr> {
    let any: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
    any.into_iter().filter(|ip| families.take(*ip)).collect()
}

fn question(inet: &InetSocketAddress, families: Families, is_passive: bool) -> Question {
    Question {
        host: inet.host.clone(),
        service: inet.port.clone(),
        is_datagram: false,
        families,
        is_passive,
        is_numeric: inet.numeric == Some(true),
    }
}

fn unix_address(unix: &UnixSocketAddress) -> Result<SocketAddrUnix, String> {
    let too_long = |_errno| format!("UNIX socket path '{}' is too long", unix.path);
    if unix.is_abstract != Some(true) {
        return SocketAddrUnix::new(unix.path.as_str()).map_err(too_long);
    }
    let mut name = unix.path.clone().into_bytes();
    if unix.tight == Some(false) && name.len() < ABSTRACT_BYTES {
        name.resize(ABSTRACT_BYTES, 0);
    }
    SocketAddrUnix::new_abstract_name(&name).map_err(too_long)
}

fn vsock_address(vsock: &VsockSocketAddress) -> Result<vsock::Address, String> {
    let number =
        |what: &str, text: &str| text.parse().map_err(|_error| format!("Failed to parse {what} '{text}'"));
    Ok(vsock::Address { cid: number("cid", &vsock.cid)?, port: number("port", &vsock.port)? })
}

#[cfg(test)]
mod test {
    use super::*;

    fn inet(host: &str, port: &str) -> InetSocketAddress {
        InetSocketAddress { host: host.to_owned(), port: port.to_owned(), ..InetSocketAddress::default() }
    }

    fn known(inet: InetSocketAddress, is_server: bool) -> Vec<(SocketAddr, bool)> {
        let place = SocketAddress::Inet(inet);
        let Ok(Whereabouts::Known(endpoints)) = whereabouts(&place, is_server) else { panic!("{place:?}") };
        let each = |endpoint| match endpoint {
            Endpoint::Inet(inet) => (inet.address, inet.is_dual),
            Endpoint::Unix(_) | Endpoint::Vsock(_) => panic!("{endpoint:?}"),
        };
        endpoints.into_iter().map(each).collect()
    }

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn numbers_need_nobody_to_be_asked() {
        assert_eq!(known(inet("127.0.0.1", "80"), false), [(at("127.0.0.1:80"), false)]);
        assert_eq!(known(inet("::1", "80"), true), [(at("[::1]:80"), false)]);
        assert_eq!(known(inet("", "80"), true), [(at("[::]:80"), true), (at("0.0.0.0:80"), false)]);
        let v4_only = InetSocketAddress { ipv6: Some(false), ..inet("", "80") };
        assert_eq!(known(v4_only, true), [(at("0.0.0.0:80"), false)]);
    }

    #[test]
    fn names_of_hosts_and_services_are_asked_for() {
        for (host, service) in [("localhost", "80"), ("127.0.0.1", "http"), ("fe80::1%lo", "1"), ("", "1")] {
            let place = SocketAddress::Inet(inet(host, service));
            let Ok(Whereabouts::Ask(question)) = whereabouts(&place, false) else { panic!("{place:?}") };
            assert_eq!((&*question.host, &*question.service), (host, service));
        }
        // Who knows names says what is wrong with a number of the other family.
        let other_family = InetSocketAddress { ipv4: Some(false), ..inet("127.0.0.1", "80") };
        assert!(matches!(whereabouts(&SocketAddress::Inet(other_family), false), Ok(Whereabouts::Ask(_))));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let unix =
            |path: String| SocketAddress::Unix(UnixSocketAddress { path, is_abstract: None, tight: None });
        let vsock = SocketAddress::Vsock(VsockSocketAddress { cid: "x".to_owned(), port: "1".to_owned() });
        let neither = InetSocketAddress { ipv4: Some(false), ipv6: Some(false), ..inet("", "1") };
        let keep_alive = InetSocketAddress { keep_alive: Some(true), ..inet("", "1") };
        for (place, why) in [
            (unix("x".repeat(109)), "too long"),
            (vsock, "Failed to parse cid 'x'"),
            (SocketAddress::Inet(neither), "same time"),
            (SocketAddress::Inet(keep_alive), "passive"),
        ] {
            let refused = whereabouts(&place, true).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn abstract_names_end_with_their_text_unless_told_otherwise() {
        let place = |tight| UnixSocketAddress { path: "x".to_owned(), is_abstract: Some(true), tight };
        let name = |tight| unix_address(&place(tight)).unwrap().abstract_name().unwrap().len();
        assert_eq!([name(None), name(Some(true)), name(Some(false))], [1, 1, ABSTRACT_BYTES]);
    }
}
