//! Names of hosts, by the C library's resolver.
//!
//! It blocks, as QEMU's does for the same options: `netdev_add` answers whether the name is known, so it has to
//! wait for that. Names in `stream` addresses are resolved after the answer and must not come here.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};

/// The first IPv4 address of a host.
#[must_use]
pub fn ipv4(host: &str) -> Option<Ipv4Addr> {
    let addresses = (host, 0).to_socket_addrs().ok()?;
    addresses.map(|address| address.ip()).find_map(|address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn localhost_is_known_and_an_invalid_name_is_not() {
        assert_eq!(ipv4("localhost"), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(ipv4("no-such-host.invalid"), None);
    }
}
