//! The host's name servers: the first of each family in `/etc/resolv.conf`.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Where they are written down.
pub const FILE: &str = "/etc/resolv.conf";

/// How many servers are looked at, as libslirp and the C library do.
const SERVERS_MAX: usize = 3;

/// The host's name servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resolvers {
    /// The first with an IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// The first with an IPv6 address, and the interface that the address belongs to, or 0.
    pub ipv6: Option<(Ipv6Addr, u32)>,
}

impl Resolvers {
    /// Those of this host, now. A file that cannot be read names none.
    #[must_use]
    pub fn of_host() -> Self {
        std::fs::read_to_string(FILE).map(|text| Self::parse(&text)).unwrap_or_default()
    }

    fn parse(text: &str) -> Self {
        let mut resolvers = Resolvers::default();
        for server in text.lines().filter_map(server).take(SERVERS_MAX) {
            match server {
                Server::Ipv4(address) => {
                    resolvers.ipv4.get_or_insert(address);
                }
                Server::Ipv6(address, scope) => {
                    resolvers.ipv6.get_or_insert((address, scope));
                }
            }
        }
        resolvers
    }
}

enum Server {
    Ipv4(Ipv4Addr),
    Ipv6(Ipv6Addr, u32),
}

fn server(line: &str) -> Option<Server> {
    let mut words = line.split_ascii_whitespace();
    let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
    if let Ok(address) = address.parse() {
        return Some(Server::Ipv4(address));
    }
    let (address, scope) = address.split_once('%').map_or((address, None), |(a, s)| (a, Some(s)));
    Some(Server::Ipv6(address.parse().ok()?, scope.map_or(0, index_of)))
}

/// An interface by name or number; 0 if there is none.
fn index_of(interface: &str) -> u32 {
    let path = format!("/sys/class/net/{interface}/ifindex");
    let number = interface.parse().ok();
    number.or_else(|| std::fs::read_to_string(path).ok()?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_first_server_of_each_family_counts() {
        let text = "# a comment\nsearch example.org\nnameserver fe80::1%7\nnameserver 192.0.2.1 # first\n\
                    nameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let found = Resolvers::parse(text);
        assert_eq!(found.ipv4, Some(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(found.ipv6, Some(("fe80::1".parse().unwrap(), 7)));
    }

    #[test]
    fn only_three_are_looked_at_and_nonsense_is_none() {
        let text = "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver fec0::1\n";
        assert_eq!(Resolvers::parse(text).ipv6, None);
        assert_eq!(Resolvers::parse("nameserver\nnameserver x\nnameservers 1.2.3.4\n"), Resolvers::default());
    }
}
