//! Options of the `user` driver: a network that is made up, as far as its data path must know it.
//!
//! Everything is of fixed size. What people wrote (names, rules, files) is the control plane's: it has made bytes of
//! it that go into answers as they are. Addresses are in network byte order, as they lie in packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Ports of the host that lead to the guest, of one network.
pub const FORWARDS_MAX: usize = 48;
/// DHCP options beyond those that every answer has: as many as fit behind these in an answer.
pub const DHCP_BYTES_MAX: usize = 272;
/// Search domains as a router tells them, padded to eights.
pub const SEARCH_BYTES_MAX: usize = 128;
/// The file that the guest boots, in a DHCP answer's own field, with a zero behind it.
pub const BOOTFILE_BYTES_MAX: usize = 128;
/// Descriptors of a network that is not restricted: where the well puts sockets, one for each [`Stock`].
pub const STOCKS: usize = 6;

/// A kind of socket that the well makes. The number is the place of its descriptor.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stock {
    /// TCP over IPv4.
    Tcp4 = 0,
    /// UDP over IPv4.
    Udp4 = 1,
    /// ICMP echo.
    Ping4 = 2,
    /// TCP over IPv6.
    Tcp6 = 3,
    /// UDP over IPv6.
    Udp6 = 4,
    /// ICMPv6 echo.
    Ping6 = 5,
}

impl Stock {
    /// All of them, in the order of their descriptors.
    pub const ALL: [Stock; STOCKS] =
        [Stock::Tcp4, Stock::Udp4, Stock::Ping4, Stock::Tcp6, Stock::Udp6, Stock::Ping6];
}

/// The IPv4 side of a network.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct User4 {
    /// 1 if there is IPv4.
    pub is_on: u32,
    /// The network.
    pub network: [u8; 4],
    /// Its mask.
    pub mask: [u8; 4],
    /// The router, which stands for the host.
    pub host: [u8; 4],
    /// The DNS server.
    pub dns: [u8; 4],
    /// First address that DHCP gives away.
    pub dhcp_start: [u8; 4],
    /// The host's resolver; 0.0.0.0 if it has none.
    pub resolver: [u8; 4],
}

/// The IPv6 side of a network.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct User6 {
    /// 1 if there is IPv6.
    pub is_on: u32,
    /// Length of the prefix.
    pub prefix_length: u32,
    /// The prefix; bits behind its length are as they were given.
    pub prefix: [u8; 16],
    /// The router, which stands for the host.
    pub host: [u8; 16],
    /// The DNS server.
    pub dns: [u8; 16],
    /// The host's resolver; :: if it has none.
    pub resolver: [u8; 16],
    /// The interface that the resolver's address belongs to, or 0.
    pub resolver_scope: u32,
}

/// A port of the host that leads to the guest. Its socket is bound; a descriptor behind the stocks, in this order.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Forward {
    /// Its own among this network's; never used twice.
    pub number: u32,
    /// 1 for datagrams, 0 for connections.
    pub is_udp: u32,
    /// The guest's port.
    port: u32,
    /// The guest, as an IPv6 address.
    guest: [u8; 16],
}

impl Forward {
    /// The one of this number, which leads to the guest's `guest`.
    #[must_use]
    pub fn new(number: u32, is_udp: bool, guest: SocketAddr) -> Self {
        let octets = match guest.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        Forward { number, is_udp: u32::from(is_udp), port: guest.port().into(), guest: octets }
    }

    /// Where it leads.
    #[must_use]
    pub fn guest(&self) -> SocketAddr {
        let address = Ipv6Addr::from(self.guest);
        let address = address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4);
        SocketAddr::new(address, u16::try_from(self.port).unwrap_or(0))
    }
}

/// A made-up network.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct UserOptions {
    /// The IPv4 side.
    pub ipv4: User4,
    /// The IPv6 side.
    pub ipv6: User6,
    /// 1 if the guest is kept from everything outside. Then there are no stocks.
    pub is_restricted: u32,
    /// 1 if files are served by TFTP. Then there are two descriptors more: the worker's end of the pair on which they are
    /// asked for ([`crate::files`]), and the control plane's, to be kept.
    pub is_served: u32,
    /// How many of `forwards` there are.
    pub forward_count: u32,
    /// Ports of the host that lead to the guest.
    pub forwards: [Forward; FORWARDS_MAX],
    /// How many of `dhcp` there are.
    pub dhcp_bytes: u32,
    /// Further DHCP options, encoded: names, search list, boot server.
    pub dhcp: [u8; DHCP_BYTES_MAX],
    /// How many of `search` there are.
    pub search_bytes: u32,
    /// The option of a router's advertisement that names search domains.
    pub search: [u8; SEARCH_BYTES_MAX],
    /// The file that the guest boots; zeros behind it, at least one.
    pub bootfile: [u8; BOOTFILE_BYTES_MAX],
}

impl UserOptions {
    /// A network without anything in it, to be filled in.
    #[must_use]
    pub fn empty() -> Self {
        Self::new_zeroed()
    }

    /// Whether sockets come from a well.
    #[must_use]
    pub fn has_stocks(&self) -> bool {
        self.is_restricted == 0
    }

    /// How many descriptors go with it: stocks, then forwards.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        let stocks = if self.has_stocks() { STOCKS } else { 0 };
        stocks + self.forwards().len()
    }

    /// Whether files are served by TFTP.
    #[must_use]
    pub fn serves_files(&self) -> bool {
        self.is_served != 0
    }

    /// Which descriptor is the worker's end of the pair on which files are asked for; behind it is the other end.
    #[must_use]
    pub fn files_at(&self) -> Option<usize> {
        self.serves_files().then(|| self.descriptors())
    }

    /// Which descriptor is the first forward's.
    #[must_use]
    pub fn forwards_at(&self) -> usize {
        self.descriptors() - self.forwards().len()
    }

    /// Adds a forward, whose number is one that none has. `None` if there are too many.
    pub fn add_forward(&mut self, is_udp: bool, guest: SocketAddr) -> Option<()> {
        let number = self.forwards().iter().map(|forward| forward.number).max().unwrap_or(0).wrapping_add(1);
        let count = self.forwards().len();
        *self.forwards.get_mut(count)? = Forward::new(number, is_udp, guest);
        self.forward_count += 1;
        Some(())
    }

    /// Takes the forward at a place out; those behind it move up.
    pub fn remove_forward(&mut self, place: usize) {
        let count = self.forwards().len();
        if place < count {
            self.forwards.copy_within(place + 1..count, place);
            self.forward_count -= 1;
        }
    }

    /// The forwards.
    #[must_use]
    pub fn forwards(&self) -> &[Forward] {
        &self.forwards[..(self.forward_count as usize).min(FORWARDS_MAX)]
    }

    /// The DHCP options.
    #[must_use]
    pub fn dhcp(&self) -> &[u8] {
        &self.dhcp[..(self.dhcp_bytes as usize).min(DHCP_BYTES_MAX)]
    }

    /// The search domains.
    #[must_use]
    pub fn search(&self) -> &[u8] {
        &self.search[..(self.search_bytes as usize).min(SEARCH_BYTES_MAX)]
    }

    /// The boot file, without the zeros behind it.
    #[must_use]
    pub fn bootfile(&self) -> &[u8] {
        let end = self.bootfile.iter().position(|byte| *byte == 0);
        &self.bootfile[..end.unwrap_or(BOOTFILE_BYTES_MAX - 1)]
    }
}

impl User4 {
    /// Whether an address is one of this network.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let mask = u32::from_be_bytes(self.mask);
        (address.to_bits() ^ u32::from_be_bytes(self.network)) & mask == 0
    }

    /// The network's own broadcast address.
    #[must_use]
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::from_be_bytes(self.network) | !u32::from_be_bytes(self.mask))
    }
}

impl User6 {
    fn prefix_bits(&self) -> u32 {
        128 - self.prefix_length.min(128)
    }

    /// Whether an address has this prefix.
    #[must_use]
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        let difference = address.to_bits() ^ u128::from_be_bytes(self.prefix);
        difference.checked_shr(self.prefix_bits()).unwrap_or(0) == 0
    }

    /// Whether an address is in the prefix or link-local, and has the host part of `alias`.
    #[must_use]
    pub fn stands_for(&self, address: Ipv6Addr, alias: [u8; 16]) -> bool {
        let host_mask = !u128::MAX.checked_shl(self.prefix_bits()).unwrap_or(0);
        let is_here = self.contains(address) || address.to_bits() >> 64 == 0xfe80 << 48;
        is_here && (address.to_bits() ^ u128::from_be_bytes(alias)) & host_mask == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_belong_to_the_network_by_its_mask() {
        let mut options = UserOptions::empty();
        options.ipv4.network = [10, 0, 2, 0];
        options.ipv4.mask = [255, 255, 255, 0];
        assert!(options.ipv4.contains(Ipv4Addr::new(10, 0, 2, 77)));
        assert!(!options.ipv4.contains(Ipv4Addr::new(10, 0, 3, 77)));
        assert_eq!(options.ipv4.broadcast(), Ipv4Addr::new(10, 0, 2, 255));
    }

    #[test]
    fn an_ipv6_alias_is_known_by_its_host_part_in_two_networks() {
        let mut ipv6 = UserOptions::empty().ipv6;
        ipv6.prefix = "fec0::".parse::<Ipv6Addr>().unwrap().octets();
        ipv6.prefix_length = 64;
        let alias = "fec0::2".parse::<Ipv6Addr>().unwrap().octets();
        let stands = |text: &str| ipv6.stands_for(text.parse().unwrap(), alias);
        assert!(stands("fec0::2") && stands("fe80::2"));
        assert!(!stands("fec0::3") && !stands("fec0:0:0:1::2") && !stands("2001:db8::2"));
        assert!(ipv6.contains("fec0::1234".parse().unwrap()));
    }

    #[test]
    fn counts_beyond_the_arrays_are_cut() {
        let mut options = UserOptions::empty();
        (options.forward_count, options.dhcp_bytes) = (u32::MAX, u32::MAX);
        assert_eq!((options.forwards().len(), options.dhcp().len()), (FORWARDS_MAX, DHCP_BYTES_MAX));
        assert_eq!(options.descriptors(), STOCKS + FORWARDS_MAX);
    }

    #[test]
    fn forwards_come_and_go_in_order() {
        let mut options = UserOptions::empty();
        let guests: Vec<SocketAddr> =
            (0..FORWARDS_MAX).map(|port| format!("[fec0::1]:{port}").parse().unwrap()).collect();
        assert!(guests.iter().all(|guest| options.add_forward(true, *guest).is_some()));
        assert_eq!(options.add_forward(false, guests[0]), None);
        options.remove_forward(1);
        let left: Vec<SocketAddr> = options.forwards().iter().map(Forward::guest).collect();
        assert_eq!((left[0], left[1], left.len()), (guests[0], guests[2], FORWARDS_MAX - 1));
        options.add_forward(false, "10.0.2.15:22".parse().unwrap());
        let last = options.forwards()[FORWARDS_MAX - 1];
        assert_eq!((last.guest().to_string(), last.is_udp), ("10.0.2.15:22".to_owned(), 0));
        options.remove_forward(FORWARDS_MAX);
        assert_eq!(options.forwards().len(), FORWARDS_MAX);
    }
}
