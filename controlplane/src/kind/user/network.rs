//! Addresses of the made-up network, and what they must have to do with each other.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Options;
use crate::kind::address::inet_aton;
use crate::qmp::answer::QmpError;
use crate::qmp::qapi::number::{Base, c_integer};

/// IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network4 {
    /// The network.
    pub network: Ipv4Addr,
    /// Its mask.
    pub mask: Ipv4Addr,
    /// The router, which stands for the host.
    pub host: Ipv4Addr,
    /// The DNS server.
    pub dns: Ipv4Addr,
    /// First address that DHCP gives away.
    pub dhcp_start: Ipv4Addr,
}

/// IPv6 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network6 {
    /// The prefix; bits behind its length are kept as given.
    pub prefix: Ipv6Addr,
    /// Its length.
    pub prefix_length: u8,
    /// The router, which stands for the host.
    pub host: Ipv6Addr,
    /// The DNS server.
    pub dns: Ipv6Addr,
}

/// The mask of networks that are given without one: the first row that fits.
const CLASSES: [(u32, u32, u32); 6] = [
    (0x8000_0000, 0x0000_0000, 0xff00_0000),
    (0xfff0_0000, 0xac10_0000, 0xfff0_0000),
    (0xc000_0000, 0x8000_0000, 0xffff_0000),
    (0xffff_0000, 0xc0a8_0000, 0xffff_0000),
    (0xffff_0000, 0xc612_0000, 0xfffe_0000),
    (0xe000_0000, 0xe000_0000, 0xffff_ff00),
];
/// The mask of all others.
const MASK_OF_OTHERS: u32 = 0xffff_fff0;

impl Network4 {
    /// Checks all that is about IPv4, whether there is IPv4 or not.
    pub(super) fn check(options: &Options, is_restricted: bool) -> Result<Self, QmpError> {
        let mut it = match options.network() {
            Some(text) => Self::around(&text)?,
            None => Self::of(Ipv4Addr::new(10, 0, 2, 0).to_bits(), 0xffff_ff00),
        };
        it.host = given(options.host.as_deref(), "Failed to parse host")?.unwrap_or(it.host);
        refuse_unless(it.contains(it.host), "Host doesn't belong to network")?;
        it.dns = given(options.dns.as_deref(), "Failed to parse DNS")?.unwrap_or(it.dns);
        refuse_unless(!is_restricted || it.contains(it.dns), "DNS doesn't belong to network")?;
        refuse_unless(it.dns != it.host, "DNS must be different from host")?;
        let dhcp_start = given(options.dhcpstart.as_deref(), "Failed to parse DHCP start address")?;
        it.dhcp_start = dhcp_start.unwrap_or(it.dhcp_start);
        refuse_unless(it.contains(it.dhcp_start), "DHCP doesn't belong to network")?;
        let is_apart = it.dhcp_start != it.host && it.dhcp_start != it.dns;
        refuse_unless(is_apart, "DHCP must be different from host and DNS")?;
        Ok(it)
    }

    /// The network of a text, with the usual addresses in it.
    fn around(text: &str) -> Result<Self, QmpError> {
        let (address, mask) =
            text.split_once('/').map_or((text, None), |(address, mask)| (address, Some(mask)));
        let address =
            inet_aton(address).ok_or_else(|| QmpError::generic("Failed to parse netmask"))?.to_bits();
        Ok(Self::of(address, mask.map_or_else(|| Ok(mask_of_class(address)), mask_of)?))
    }

    /// The usual addresses of a network.
    fn of(address: u32, mask: u32) -> Self {
        let network = address & mask;
        let inside = |host: u32| Ipv4Addr::from_bits(network | (host & !mask));
        Self {
            network: Ipv4Addr::from_bits(network),
            mask: Ipv4Addr::from_bits(mask),
            host: inside(0x0202),
            dns: inside(0x0203),
            dhcp_start: inside(0x020f),
        }
    }

    /// Whether an address is one of this network.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask.to_bits() == self.network.to_bits()
    }
}

fn mask_of_class(address: u32) -> u32 {
    let fits = |(bits, value, _): &&(u32, u32, u32)| address & bits == *value;
    CLASSES.iter().find(fits).map_or(MASK_OF_OTHERS, |(_, _, mask)| *mask)
}

/// A number of bits, or a mask as an address.
fn mask_of(text: &str) -> Result<u32, QmpError> {
    let (bits, rest) = c_integer(text, Base::Decimal).unwrap_or((0, text));
    if !rest.is_empty() {
        let trailing = || QmpError::generic("Failed to parse netmask (trailing chars)");
        return inet_aton(text).map(Ipv4Addr::to_bits).ok_or_else(trailing);
    }
    match u32::try_from(bits) {
        Ok(bits @ 4..=32) => Ok(u32::MAX << (32 - bits)),
        Ok(_) | Err(_) => Err(QmpError::generic("Invalid netmask provided (must be in range 4-32)")),
    }
}

/// The longest prefix.
const PREFIX_LENGTH_MAX: u8 = 126;
/// The length of a prefix if none, or 0, is given.
const PREFIX_LENGTH_DEFAULT: u8 = 64;

impl Network6 {
    /// Checks all that is about IPv6, whether there is IPv6 or not.
    pub(super) fn check(options: &Options, is_restricted: bool) -> Result<Self, QmpError> {
        let prefix = given6(options.ipv6_prefix.as_deref(), "Failed to parse IPv6 prefix")?;
        let prefix = prefix.unwrap_or(Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0));
        let prefix_length = prefix_length(options.ipv6_prefixlen)?;
        let inside = |host: u128| Ipv6Addr::from_bits(prefix.to_bits() | host);
        let mut it = Self { prefix, prefix_length, host: inside(2), dns: inside(3) };
        if let Some(host) = given6(options.ipv6_host.as_deref(), "Failed to parse IPv6 host")? {
            refuse_unless(it.contains(host), "IPv6 Host doesn't belong to network")?;
            it.host = host;
        }
        if let Some(dns) = given6(options.ipv6_dns.as_deref(), "Failed to parse IPv6 DNS")? {
            refuse_unless(!is_restricted || it.contains(dns), "IPv6 DNS doesn't belong to network")?;
            it.dns = dns;
        }
        Ok(it)
    }

    /// Whether an address is one of this network.
    #[must_use]
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        let mask = u128::MAX << (128 - u32::from(self.prefix_length));
        (address.to_bits() ^ self.prefix.to_bits()) & mask == 0
    }
}

fn prefix_length(given: Option<i64>) -> Result<u8, QmpError> {
    #[expect(clippy::cast_possible_truncation, reason = "QEMU keeps the number in an int: 2^32 + 64 is 64")]
    let length = given.unwrap_or(0) as i32;
    match u8::try_from(length) {
        Ok(0) => Ok(PREFIX_LENGTH_DEFAULT),
        Ok(length @ 1..=PREFIX_LENGTH_MAX) => Ok(length),
        Ok(_) | Err(_) => Err(QmpError::generic(
            "Invalid IPv6 prefix provided (IPv6 prefix length must be between 0 and 126)",
        )),
    }
}

fn given(text: Option<&str>, malformed: &str) -> Result<Option<Ipv4Addr>, QmpError> {
    text.map(|text| inet_aton(text).ok_or_else(|| QmpError::generic(malformed))).transpose()
}

fn given6(text: Option<&str>, malformed: &str) -> Result<Option<Ipv6Addr>, QmpError> {
    text.map(|text| text.parse().map_err(|_| QmpError::generic(malformed))).transpose()
}

fn refuse_unless(is_right: bool, text: &str) -> Result<(), QmpError> {
    if is_right { Ok(()) } else { Err(QmpError::generic(text)) }
}

#[cfg(test)]
mod test {
    use super::*;

    fn network(text: &str) -> Network4 {
        let options = Options { net: Some(text.to_owned()), ..Options::default() };
        Network4::check(&options, false).unwrap()
    }

    #[test]
    fn networks_without_mask_get_that_of_their_class() {
        let masks = [
            ("10.0.0.0", "255.0.0.0"),
            ("172.16.0.0", "255.240.0.0"),
            ("172.32.0.0", "255.255.0.0"),
            ("192.168.3.4", "255.255.0.0"),
            ("198.18.0.0", "255.254.0.0"),
            ("224.0.0.0", "255.255.255.0"),
            ("193.0.0.0", "255.255.255.240"),
        ];
        for (text, mask) in masks {
            assert_eq!(network(text).mask.to_string(), mask, "{text}");
        }
    }

    #[test]
    fn a_dns_server_outside_of_the_network_is_refused_to_restricted_guests_only() {
        let dns = Some("fd00::1".to_owned());
        let options = Options { ipv6_dns: dns, ..Options::default() };
        assert!(Network6::check(&options, false).is_ok());
        let refusal = Network6::check(&options, true).unwrap_err();
        assert_eq!(refusal.desc, "IPv6 DNS doesn't belong to network");
    }

    #[test]
    fn usual_addresses_lie_outside_of_the_mask() {
        let small = network("192.0.2.64/28");
        assert_eq!(small.host, Ipv4Addr::new(192, 0, 2, 66));
        assert_eq!(small.dhcp_start, Ipv4Addr::new(192, 0, 2, 79));
        assert_eq!(network("10.0.0.0/8").host, Ipv4Addr::new(10, 0, 2, 2));
    }
}
