//! IPv6's ARP: who is asked for an address, and what the router says about the network.
//!
//! Messages arrive with their checksum verified and their bytes bounded, and are answered by a value. Only what comes
//! from the link itself counts: its hop limit is still 255, since no router has passed it on. What guests say about
//! routers (advertisements, redirects) is nobody's business here.
//!
//! **Differently from QEMU**, the DNS server's lifetime is told in seconds and not in milliseconds, and search domains
//! are told as over DHCP.

use std::io::{Cursor, Write};
use std::net::Ipv6Addr;

use super::Mac;
use super::header::mac_of6;

/// The longest message that is made here, search domains included.
pub const MESSAGE_BYTES_MAX: usize = 56 + 24 + SEARCH_BYTES_MAX;
/// The longest list of search domains, as an option.
pub const SEARCH_BYTES_MAX: usize = 264;

/// Types of messages that are about neighbours and routers.
pub const TYPES: std::ops::RangeInclusive<u8> = ROUTER_SOLICITATION..=137;

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// What was sent on this very link.
const HOP_LIMIT: u8 = 255;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const LINK_LOCAL: u128 = 0xfe80 << 112;

const ROUTER_LIFETIME_S: u16 = 1800;
const DNS_LIFETIME_S: u32 = 1800;
const PREFIX_VALID_S: u32 = 86_400;
const PREFIX_PREFERRED_S: u32 = 14_400;

/// The network, as guests are told of it.
#[derive(Debug, Clone, Copy)]
pub struct Network<'a> {
    /// Its prefix.
    pub prefix: Ipv6Addr,
    /// How long that is.
    pub prefix_length: u8,
    /// The host's address; with `fe80::` before its last 64 bits, the router's.
    pub host: Ipv6Addr,
    /// The DNS server's.
    pub dns: Ipv6Addr,
    /// Whether there is somebody behind the DNS server's address.
    pub has_resolver: bool,
    /// Search domains, as an option (RFC 8106); none if empty.
    pub search: &'a [u8],
}

impl Network<'_> {
    /// The router's own address on the link.
    #[must_use]
    pub fn router(&self) -> Ipv6Addr {
        let host_bits = self.host.to_bits() & u128::from(u64::MAX);
        Ipv6Addr::from_bits(LINK_LOCAL | host_bits)
    }

    /// Whether an address is ours to answer for.
    fn is_ours(&self, address: Ipv6Addr) -> bool {
        let is = |alias: Ipv6Addr| {
            let host_bits = self.host_bits();
            let low = u128::from(u64::MAX);
            address == alias
                || (address.to_bits() ^ self.prefix.to_bits()) & !host_bits == 0
                    && (address.to_bits() ^ alias.to_bits()) & host_bits == 0
                || address.to_bits() & !low == LINK_LOCAL && (address.to_bits() ^ alias.to_bits()) & low == 0
        };
        is(self.host) || is(self.dns)
    }

    fn host_bits(&self) -> u128 {
        u128::MAX.checked_shr(u32::from(self.prefix_length)).unwrap_or(0)
    }
}

/// A message of ICMPv6.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Who has sent it.
    pub source: Ipv6Addr,
    /// To whom.
    pub destination: Ipv6Addr,
    /// Its IPv6 header's.
    pub hop_limit: u8,
    /// From its type on.
    pub bytes: &'a [u8],
}

/// A message to be sent with hop limit 255. Its checksum is left 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Which of our addresses speaks.
    pub source: Ipv6Addr,
    /// To whom.
    pub destination: Ipv6Addr,
    /// How long it is.
    pub bytes: usize,
}

/// What a message is answered with.
pub fn answer(message: &Message<'_>, network: &Network<'_>, reply: &mut [u8]) -> Option<Reply> {
    // Type, code, checksum and four bytes that each type has for itself.
    let [kind, 0, _, _, _, _, _, _, rest @ ..] = message.bytes else { return None };
    match *kind {
        _ if message.hop_limit != HOP_LIMIT => None,
        ROUTER_SOLICITATION => advertisement(network, reply),
        NEIGHBOUR_SOLICITATION => {
            let target = Ipv6Addr::from(*rest.first_chunk::<16>()?);
            neighbour(message, target, network, reply)
        }
        _other => None,
    }
}

/// What the router says to everybody, asked or not.
pub fn advertisement(network: &Network<'_>, reply: &mut [u8]) -> Option<Reply> {
    let router = network.router();
    let mut out = Cursor::new(reply);
    let lifetime = ROUTER_LIFETIME_S.to_be_bytes();
    // Hop limit 64 for everybody, no flags; then two times that nobody need mind.
    put(&mut out, &[&[ROUTER_ADVERTISEMENT, 0, 0, 0, 64, 0], &lifetime, &[0; 8]])?;
    put(&mut out, &[&[1, 1], &mac_of6(router)])?;
    let prefix = Ipv6Addr::from_bits(network.prefix.to_bits() & !network.host_bits());
    // On the link, and to make addresses from.
    put(&mut out, &[&[3, 4, network.prefix_length, 0xc0]])?;
    put(&mut out, &[&PREFIX_VALID_S.to_be_bytes(), &PREFIX_PREFERRED_S.to_be_bytes(), &[0; 4]])?;
    put(&mut out, &[&prefix.octets()])?;
    if network.has_resolver {
        put(&mut out, &[&[25, 3, 0, 0], &DNS_LIFETIME_S.to_be_bytes(), &network.dns.octets()])?;
    }
    put(&mut out, &[&network.search[..network.search.len().min(SEARCH_BYTES_MAX)]])?;
    Some(Reply { source: router, destination: ALL_NODES, bytes: usize::try_from(out.position()).ok()? })
}

/// Asks for the guest that has an address.
pub fn solicitation(target: Ipv6Addr, network: &Network<'_>, reply: &mut [u8]) -> Option<Reply> {
    let mut out = Cursor::new(reply);
    put(&mut out, &[&[NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0], &target.octets()])?;
    put(&mut out, &[&[1, 1], &mac_of6(network.host)])?;
    let bytes = usize::try_from(out.position()).ok()?;
    Some(Reply { source: network.host, destination: group_of(target), bytes })
}

fn neighbour(
    message: &Message<'_>,
    target: Ipv6Addr,
    network: &Network<'_>,
    reply: &mut [u8],
) -> Option<Reply> {
    // Who has no address yet may only ask the group (RFC 4861, 7.1.1).
    let is_anonymous = message.source.is_unspecified();
    let is_right = !target.is_multicast() && (!is_anonymous || is_group(message.destination));
    if !is_right || !network.is_ours(target) {
        return None;
    }
    let (destination, flags) = if is_anonymous { (ALL_NODES, 0xa0) } else { (message.source, 0xe0) };
    let mut out = Cursor::new(reply);
    put(&mut out, &[&[NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0], &target.octets()])?;
    put(&mut out, &[&[2, 1], &mac_of6(target)])?;
    Some(Reply { source: target, destination, bytes: usize::try_from(out.position()).ok()? })
}

/// Whether an address is a solicited-node group.
fn is_group(address: Ipv6Addr) -> bool {
    address.to_bits() >> 24 == group_of(Ipv6Addr::UNSPECIFIED).to_bits() >> 24
}

/// Whether a message tells where its sender is: it comes from the link, and its sender has an address.
#[must_use]
pub fn teaches(message: &Message<'_>) -> bool {
    let is_told = [ROUTER_SOLICITATION, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT];
    let kind = message.bytes.first();
    message.hop_limit == HOP_LIMIT
        && kind.is_some_and(|kind| is_told.contains(kind))
        && !message.source.is_unspecified()
        && !message.source.is_multicast()
}

/// The Ethernet address of a group; none if the address is somebody's own.
#[must_use]
pub fn group_mac(address: Ipv6Addr) -> Option<Mac> {
    let [.., a, b, c, d] = address.octets();
    address.is_multicast().then_some([0x33, 0x33, a, b, c, d])
}

/// The group in which the holder of an address listens.
#[must_use]
pub fn group_of(address: Ipv6Addr) -> Ipv6Addr {
    let low = address.to_bits() & 0xff_ffff;
    Ipv6Addr::from_bits(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).to_bits() | low)
}

fn put(out: &mut Cursor<&mut [u8]>, pieces: &[&[u8]]) -> Option<()> {
    pieces.iter().try_for_each(|piece| out.write_all(piece)).ok()
}

#[cfg(test)]
mod test;
