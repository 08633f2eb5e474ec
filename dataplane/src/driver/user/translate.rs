//! Where a guest's destination leads on the host, and whom an answer seems to come from.
//!
//! Pure: from options and addresses to addresses. This is also the only place where it is decided what a guest may
//! reach. The host's loopback is reached by the router's address and by nothing else: that is looked at *after*
//! translation, so no spelling of an address gets around it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use framewire_shared::driver::UserOptions;
use framewire_shared::driver::user::User6;

use super::header::{Path, TTL, TTL_MAX, mac_of4, mac_of6};
use super::ndp;
use super::packet::{Ip, Mac};

/// The port at which names are asked for.
const DNS_PORT: u16 = 53;

/// Where a destination leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    /// There, on the host or beyond.
    Host(SocketAddr),
    /// To a name server or port that there is not: the guest is told.
    Nowhere,
    /// The guest is kept from it.
    Forbidden,
    /// No router would forward it.
    Dropped,
}

/// Which virtual host an address belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alias {
    /// The router, which stands for the host.
    Host,
    /// The DNS server.
    Dns,
}

/// Addresses of a network.
#[derive(Debug)]
pub(super) struct Translator {
    pub(super) options: UserOptions,
}

impl Translator {
    /// The virtual host at an address, if there is one.
    pub(super) fn alias(&self, address: IpAddr) -> Option<Alias> {
        let (ipv4, ipv6) = (&self.options.ipv4, &self.options.ipv6);
        let (is_host, is_dns) = match address {
            IpAddr::V4(address) => (address.octets() == ipv4.host, address.octets() == ipv4.dns),
            IpAddr::V6(address) => (ipv6.stands_for(address, ipv6.host), ipv6.stands_for(address, ipv6.dns)),
        };
        if is_host { Some(Alias::Host) } else { is_dns.then_some(Alias::Dns) }
    }

    /// Whether there is this family at all.
    pub(super) fn has_family(&self, is_ipv4: bool) -> bool {
        (if is_ipv4 { self.options.ipv4.is_on } else { self.options.ipv6.is_on }) != 0
    }

    /// Where a destination leads. `is_udp`, since only datagrams may be for everybody.
    pub(super) fn lead(&self, destination: SocketAddr, is_udp: bool) -> Lead {
        if self.options.is_restricted != 0 {
            return Lead::Forbidden;
        }
        let port = destination.port();
        let loopback = match destination {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        match self.alias(destination.ip()) {
            Some(Alias::Host) => return Lead::Host(SocketAddr::new(loopback, port)),
            Some(Alias::Dns) => return self.resolver(destination).map_or(Lead::Nowhere, Lead::Host),
            None => {}
        }
        let is_loopback = match destination.ip() {
            IpAddr::V4(address) => is_udp && address.is_broadcast(),
            IpAddr::V6(address) => self.options.ipv6.contains(address) || address == ALL_NODES,
        };
        if is_loopback {
            return Lead::Host(SocketAddr::new(loopback, port));
        }
        if is_of_the_host_alone(destination.ip()) { Lead::Dropped } else { Lead::Host(destination) }
    }

    fn resolver(&self, destination: SocketAddr) -> Option<SocketAddr> {
        if destination.port() != DNS_PORT {
            return None;
        }
        let (ipv4, ipv6) = (&self.options.ipv4, &self.options.ipv6);
        match destination {
            SocketAddr::V4(_) => {
                let address = Ipv4Addr::from(ipv4.resolver);
                (!address.is_unspecified()).then(|| SocketAddr::new(address.into(), DNS_PORT))
            }
            SocketAddr::V6(_) => {
                let address = Ipv6Addr::from(ipv6.resolver);
                let resolver = SocketAddrV6::new(address, DNS_PORT, 0, ipv6.resolver_scope);
                (!address.is_unspecified()).then_some(resolver.into())
            }
        }
    }

    /// Whom an answer seems to come from, of a flow whose last datagram went to `destination` and so to `host`.
    pub(super) fn shown(&self, answer: SocketAddr, destination: SocketAddr, host: SocketAddr) -> SocketAddr {
        let everybody = match destination.ip() {
            IpAddr::V4(address) => address.is_broadcast() || address == self.options.ipv4.broadcast(),
            IpAddr::V6(address) => address.is_multicast(),
        };
        if answer == host && !everybody {
            return destination;
        }
        if answer.ip().is_loopback() {
            SocketAddr::new(self.host_alias(answer.is_ipv4()), answer.port())
        } else {
            answer
        }
    }

    /// The router's address.
    pub(super) fn host_alias(&self, is_ipv4: bool) -> IpAddr {
        if is_ipv4 {
            Ipv4Addr::from(self.options.ipv4.host).into()
        } else {
            Ipv6Addr::from(self.options.ipv6.host).into()
        }
    }

    /// The network as guests are told of it over IPv6.
    pub(super) fn neighbourhood(&self) -> ndp::Network<'_> {
        let ipv6 = &self.options.ipv6;
        ndp::Network {
            prefix: ipv6.prefix.into(),
            prefix_length: u8::try_from(ipv6.prefix_length).unwrap_or(128),
            host: ipv6.host.into(),
            dns: ipv6.dns.into(),
            has_resolver: ipv6.resolver != [0; 16],
            search: self.options.search(),
        }
    }

    /// The way to a guest, from an address that is shown to it.
    pub(super) fn path(&self, to: Mac, source: IpAddr, destination: IpAddr) -> Path {
        let (from, ttl) = match source {
            IpAddr::V4(_) => (mac_of4(Ipv4Addr::from(self.options.ipv4.host)), TTL),
            IpAddr::V6(source) => (mac_of6(source), TTL_MAX),
        };
        Path { to, from, source, destination, ttl, tos: 0 }
    }

    /// The way back to whoever sent a packet.
    pub(super) fn back(&self, ip: &Ip) -> Path {
        self.path(ip.from, ip.destination, ip.source)
    }

    /// Whom errors come from that are nobody else's: the router.
    pub(super) fn complainer(&self, is_ipv4: bool) -> IpAddr {
        if is_ipv4 { self.host_alias(true) } else { link_local_host(&self.options.ipv6).into() }
    }

    /// The way on which errors about a packet go: from the router.
    pub(super) fn complaint(&self, ip: &Ip) -> Path {
        // Only the old network's errors have a precedence.
        let source = self.complainer(ip.source.is_ipv4());
        let tos = if ip.source.is_ipv4() { 0xc0 | ip.tos & 0x1e } else { 0 };
        Path { ttl: TTL_MAX, tos, ..self.path(ip.from, source, ip.source) }
    }
}

/// ff02::1.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The router's link-local address.
pub(super) fn link_local_host(network: &User6) -> Ipv6Addr {
    let [.., a, b, c, d, e, f, g, h] = network.host;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h])
}

/// Whether an address means the host itself, in any spelling.
fn is_of_the_host_alone(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.octets()[0] == 0,
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.to_ipv4_mapped().is_some_and(|inner| is_of_the_host_alone(inner.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translator() -> Translator {
        let mut options = UserOptions::empty();
        let octets6 = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        (options.ipv4.is_on, options.ipv6.is_on) = (1, 1);
        (options.ipv4.network, options.ipv4.mask) = ([10, 0, 2, 0], [255, 255, 255, 0]);
        (options.ipv4.host, options.ipv4.dns) = ([10, 0, 2, 2], [10, 0, 2, 3]);
        options.ipv4.resolver = [192, 0, 2, 53];
        (options.ipv6.prefix, options.ipv6.prefix_length) = (octets6("fec0::"), 64);
        (options.ipv6.host, options.ipv6.dns) = (octets6("fec0::2"), octets6("fec0::3"));
        Translator { options }
    }

    fn host(text: &str) -> Lead {
        Lead::Host(text.parse().unwrap())
    }

    #[test]
    fn errors_have_a_precedence_over_ipv4_alone() {
        for (guest, tos) in [("10.0.2.15", 0xd0), ("fec0::15", 0)] {
            let address: IpAddr = guest.parse().unwrap();
            let ip = Ip {
                from: [2; 6],
                source: address,
                destination: address,
                protocol: 6,
                ttl: 64,
                tos: 0x10,
                header_at: 14,
                at: 54,
                bytes: 20,
                fragment: None,
            };
            assert_eq!(translator().complaint(&ip).tos, tos);
        }
    }

    #[test]
    fn destinations_lead_where_the_table_says() {
        let translator = translator();
        for (destination, lead) in [
            ("10.0.2.2:80", host("127.0.0.1:80")),
            ("10.0.2.3:53", host("192.0.2.53:53")),
            ("10.0.2.3:54", Lead::Nowhere),
            ("10.0.2.77:80", host("10.0.2.77:80")),
            ("192.0.2.1:80", host("192.0.2.1:80")),
            ("127.0.0.1:80", Lead::Dropped),
            ("127.9.9.9:80", Lead::Dropped),
            ("0.0.0.0:80", Lead::Dropped),
            ("0.1.2.3:80", Lead::Dropped),
            ("[fec0::2]:80", host("[::1]:80")),
            ("[fe80::2]:80", host("[::1]:80")),
            ("[fec0::77]:80", host("[::1]:80")),
            ("[fec0::3]:53", Lead::Nowhere),
            ("[ff02::1]:80", host("[::1]:80")),
            ("[2001:db8::1]:80", host("[2001:db8::1]:80")),
            ("[::1]:80", Lead::Dropped),
            ("[::]:80", Lead::Dropped),
            ("[::ffff:127.0.0.1]:80", Lead::Dropped),
            ("[::ffff:0.0.0.0]:80", Lead::Dropped),
        ] {
            assert_eq!(translator.lead(destination.parse().unwrap(), false), lead, "{destination}");
        }
        let everybody = "255.255.255.255:7".parse().unwrap();
        assert_eq!(translator.lead(everybody, true), host("127.0.0.1:7"));
    }

    #[test]
    fn a_restricted_guest_reaches_nothing() {
        let mut translator = translator();
        translator.options.is_restricted = 1;
        for destination in ["10.0.2.2:80", "10.0.2.3:53", "192.0.2.1:80", "[fec0::2]:80"] {
            assert_eq!(translator.lead(destination.parse().unwrap(), true), Lead::Forbidden);
        }
    }

    #[test]
    fn answers_come_from_whom_the_guest_has_asked() {
        let translator = translator();
        for (answer, destination, host, shown) in [
            ("127.0.0.1:80", "10.0.2.2:80", "127.0.0.1:80", "10.0.2.2:80"),
            ("192.0.2.53:53", "10.0.2.3:53", "192.0.2.53:53", "10.0.2.3:53"),
            ("127.0.0.1:7", "255.255.255.255:7", "127.0.0.1:7", "10.0.2.2:7"),
            ("127.0.0.1:99", "192.0.2.1:80", "192.0.2.1:80", "10.0.2.2:99"),
            ("192.0.2.9:80", "192.0.2.1:80", "192.0.2.1:80", "192.0.2.9:80"),
            ("[::1]:80", "[fec0::2]:80", "[::1]:80", "[fec0::2]:80"),
            ("[::1]:80", "[fe80::2]:80", "[::1]:80", "[fe80::2]:80"),
        ] {
            let [answer, destination, host] = [answer, destination, host].map(|text| text.parse().unwrap());
            assert_eq!(translator.shown(answer, destination, host).to_string(), shown);
        }
    }
}
