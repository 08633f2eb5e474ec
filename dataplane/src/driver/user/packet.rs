//! From Ethernet to layer 4: what a guest's frame says it is, as a value.
//!
//! **Problem.** Guests lie about lengths, and may change a frame while it is looked at. Every famous hole in networks
//! of this kind began with a structure laid over a packet that was shorter than it.
//!
//! **Chosen.** The first bytes of a frame are copied out once, and only the copy is read, through slices with their
//! ends checked. Each length in a packet is checked against the bytes that there are and against the layer around it,
//! unsigned and without wrapping; what does not hold is no packet. What comes out are addresses, numbers, and the
//! place of the payload within the frame, which lies inside it whatever the guest wrote. Answers are built from these
//! values and never from the guest's bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a frame that are looked at for headers: Ethernet, IPv4 with all options, TCP with all options.
pub(super) const HEAD_BYTES: usize = 14 + 60 + 60;

pub(super) use super::Mac;

/// Numbers of protocols over IP.
pub(super) mod protocol {
    pub(in super::super) const ICMP: u8 = 1;
    pub(in super::super) const TCP: u8 = 6;
    pub(in super::super) const UDP: u8 = 17;
    pub(in super::super) const ICMP6: u8 = 58;
}

/// It is no packet that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packet {
    /// A request or answer about addresses.
    Arp(Arp),
    /// Anything over IP.
    Ip(Ip),
}

/// An ARP packet about IPv4 over Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arp {
    /// Who sent the frame.
    pub(super) from: Mac,
    /// 1 asks, 2 answers.
    pub(super) operation: u16,
    /// Who says so.
    pub(super) sender_mac: Mac,
    /// Its address.
    pub(super) sender: Ipv4Addr,
    /// Whose address it is about.
    pub(super) target: Ipv4Addr,
}

/// A packet over IPv4 or IPv6, up to where its own protocol begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ip {
    /// Who sent the frame.
    pub(super) from: Mac,
    /// The sender.
    pub(super) source: IpAddr,
    /// Whom it is for; of the same family.
    pub(super) destination: IpAddr,
    /// Its protocol, of [`protocol`].
    pub(super) protocol: u8,
    /// How many hops it has left.
    pub(super) ttl: u8,
    /// Type of service, or traffic class.
    pub(super) tos: u8,
    /// Where in the frame the IP header begins.
    pub(super) header_at: usize,
    /// Where in the frame its protocol's bytes begin,
    pub(super) at: usize,
    /// and how many they are. They end within the frame.
    pub(super) bytes: usize,
    /// Which part of a larger packet it is, if of one.
    pub(super) fragment: Option<Fragment>,
}

/// A part of an IPv4 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fragment {
    /// The packet's number.
    pub(super) id: u16,
    /// Where in the packet's protocol's bytes this part begins.
    pub(super) offset: usize,
    /// Whether more follow.
    pub(super) has_more: bool,
}

/// A UDP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Udp {
    /// The sender.
    pub(super) source: SocketAddr,
    /// Whom it is for.
    pub(super) destination: SocketAddr,
    /// Where in the frame the payload begins,
    pub(super) at: usize,
    /// and how many bytes it has.
    pub(super) bytes: usize,
    /// The header's checksum field.
    pub(super) checksum: u16,
}

const ETHERNET_BYTES: usize = 14;
const ARP_BYTES: usize = 28;
const IPV4_BYTES_MIN: usize = 20;
const IPV6_BYTES: usize = 40;
pub(super) const UDP_BYTES: usize = 8;

/// What a frame of `frame_bytes` is, whose first bytes (up to [`HEAD_BYTES`]) are `head`.
pub(super) fn parse(head: &[u8], frame_bytes: usize) -> Result<Packet, Malformed> {
    let from = array(head, 6)?;
    let [high, low] = array(head, 12)?;
    match u16::from_be_bytes([high, low]) {
        0x0806 => arp(head, from).map(Packet::Arp),
        0x0800 => ipv4(head, from, frame_bytes).map(Packet::Ip),
        0x86dd => ipv6(head, from, frame_bytes).map(Packet::Ip),
        _other => Err(Malformed),
    }
}

fn arp(head: &[u8], from: Mac) -> Result<Arp, Malformed> {
    let body: [u8; ARP_BYTES] = array(head, ETHERNET_BYTES)?;
    // Ethernet, IPv4, and the lengths of their addresses.
    if body[..6] != [0, 1, 8, 0, 6, 4] {
        return Err(Malformed);
    }
    Ok(Arp {
        from,
        operation: u16::from_be_bytes([body[6], body[7]]),
        sender_mac: array(&body, 8)?,
        sender: Ipv4Addr::from(array::<4>(&body, 14)?),
        target: Ipv4Addr::from(array::<4>(&body, 24)?),
    })
}

fn ipv4(head: &[u8], from: Mac, frame_bytes: usize) -> Result<Ip, Malformed> {
    let fixed: [u8; IPV4_BYTES_MIN] = array(head, ETHERNET_BYTES)?;
    let header_bytes = usize::from(fixed[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let is_sound = fixed[0] >> 4 == 4
        && header_bytes >= IPV4_BYTES_MIN
        && total >= header_bytes
        && ETHERNET_BYTES + total <= frame_bytes;
    let header = head.get(ETHERNET_BYTES..ETHERNET_BYTES + header_bytes).ok_or(Malformed)?;
    if !is_sound || !sums_to_nothing(header) {
        return Err(Malformed);
    }
    let bits = u16::from_be_bytes([fixed[6], fixed[7]]);
    let fragment = Fragment {
        id: u16::from_be_bytes([fixed[4], fixed[5]]),
        offset: usize::from(bits & 0x1fff) * 8,
        has_more: bits & 0x2000 != 0,
    };
    Ok(Ip {
        from,
        source: Ipv4Addr::from(array::<4>(&fixed, 12)?).into(),
        destination: Ipv4Addr::from(array::<4>(&fixed, 16)?).into(),
        protocol: fixed[9],
        ttl: fixed[8],
        tos: fixed[1],
        header_at: ETHERNET_BYTES,
        at: ETHERNET_BYTES + header_bytes,
        bytes: total - header_bytes,
        fragment: (fragment.has_more || fragment.offset > 0).then_some(fragment),
    })
}

fn ipv6(head: &[u8], from: Mac, frame_bytes: usize) -> Result<Ip, Malformed> {
    let fixed: [u8; IPV6_BYTES] = array(head, ETHERNET_BYTES)?;
    let bytes = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    let at = ETHERNET_BYTES + IPV6_BYTES;
    if fixed[0] >> 4 != 6 || at + bytes > frame_bytes {
        return Err(Malformed);
    }
    Ok(Ip {
        from,
        source: Ipv6Addr::from(array::<16>(&fixed, 8)?).into(),
        destination: Ipv6Addr::from(array::<16>(&fixed, 24)?).into(),
        protocol: fixed[6],
        ttl: fixed[7],
        tos: fixed[0] << 4 | fixed[1] >> 4,
        header_at: ETHERNET_BYTES,
        at,
        bytes,
        fragment: None,
    })
}

/// The UDP header of a packet. `head` as in [`parse`].
pub(super) fn udp(ip: &Ip, head: &[u8]) -> Result<Udp, Malformed> {
    let header: [u8; UDP_BYTES] = array(head, ip.at)?;
    let [source, destination, length, checksum] = words(&header);
    // A datagram may be shorter than its packet, and never longer.
    let length = usize::from(length);
    if length < UDP_BYTES || length > ip.bytes {
        return Err(Malformed);
    }
    Ok(Udp {
        source: SocketAddr::new(ip.source, source),
        destination: SocketAddr::new(ip.destination, destination),
        at: ip.at + UDP_BYTES,
        bytes: length - UDP_BYTES,
        checksum,
    })
}

/// `N` bytes at `at`.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Malformed> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Malformed)
}

fn words(bytes: &[u8; 8]) -> [u16; 4] {
    let (pairs, _none) = bytes.as_chunks::<2>();
    [0, 1, 2, 3].map(|place: usize| u16::from_be_bytes(pairs[place]))
}

/// Whether a header with its checksum in it adds up.
fn sums_to_nothing(header: &[u8]) -> bool {
    let (words, _none) = header.as_chunks::<2>();
    let sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (folded & 0xffff) + (folded >> 16) == 0xffff
}

#[cfg(test)]
mod test;
