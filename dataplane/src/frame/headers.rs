//! Where the headers of a frame are that is to be cut into segments.
//!
//! Pure functions over the frame's first bytes, which the caller has copied: what is decided here is decided
//! on the bytes that are sent later. A question mark after a read past the end is the whole bounds checking:
//! whatever is not there, or is not as it must be, makes the frame a bad one (`None`).

/// Ethernet, four VLAN tags, IPv6 with 126 bytes of extension headers and TCP with all options fit.
pub(super) const HEADERS_BYTES_MAX: usize = 256;

/// Tags before the payload's own type. Two is QinQ; Linux takes eight.
const VLAN_TAGS_MAX: usize = 4;

const ADDRESSES_BYTES: usize = 12;
const VLAN_TAG_BYTES: usize = 4;
const IPV6_BYTES: usize = 40;
const UDP_BYTES: usize = 8;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
const ETHERTYPE_QINQ_OLD: u16 = 0x9100;

const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const DESTINATION_OPTIONS: u8 = 60;

/// What carries the transport header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    /// With options, maybe.
    Ipv4,
    /// With extension headers, maybe.
    Ipv6,
}

/// What carries the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// With options, maybe.
    Tcp,
    /// Plain.
    Udp,
}

impl Transport {
    /// The number in IP headers, and in the pseudo header.
    pub(super) fn protocol(self) -> u8 {
        match self {
            Transport::Tcp => TCP,
            Transport::Udp => UDP,
        }
    }

    /// Where, in its header, the checksum is.
    pub(super) fn checksum_at(self) -> usize {
        match self {
            Transport::Tcp => 16,
            Transport::Udp => 6,
        }
    }
}

/// Where a frame's headers begin; each ends where the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Headers {
    /// What begins at `network_at`.
    pub(super) network: Network,
    /// What begins at `transport_at`.
    pub(super) transport: Transport,
    /// Behind the Ethernet header and its tags.
    pub(super) network_at: usize,
    /// Behind the IP header and its extensions.
    pub(super) transport_at: usize,
    /// Behind all headers.
    pub(super) payload_at: usize,
}

impl Headers {
    /// Finds the headers of a whole IP packet that carries TCP or UDP. Fragments have none.
    pub(super) fn find(bytes: &[u8]) -> Option<Headers> {
        let (ethertype, network_at) = skip_tags(bytes)?;
        let (network, protocol, transport_at) = match ethertype {
            ETHERTYPE_IPV4 => skip_ipv4(bytes, network_at)?,
            ETHERTYPE_IPV6 => skip_ipv6(bytes, network_at)?,
            _other => return None,
        };
        let (transport, payload_at) = match protocol {
            TCP => (Transport::Tcp, transport_at + tcp_bytes(bytes, transport_at)?),
            UDP => (Transport::Udp, transport_at + UDP_BYTES),
            _other => return None,
        };
        let found = Headers { network, transport, network_at, transport_at, payload_at };
        (payload_at <= bytes.len()).then_some(found)
    }

    /// Where the addresses are that the pseudo header repeats.
    pub(super) fn addresses(&self) -> std::ops::Range<usize> {
        match self.network {
            Network::Ipv4 => self.network_at + 12..self.network_at + 20,
            Network::Ipv6 => self.network_at + 8..self.network_at + 40,
        }
    }
}

/// The type of what follows the Ethernet header and its tags, and where that is.
fn skip_tags(bytes: &[u8]) -> Option<(u16, usize)> {
    let mut at = ADDRESSES_BYTES;
    for _tag in 0..=VLAN_TAGS_MAX {
        match word(bytes, at)? {
            ETHERTYPE_VLAN | ETHERTYPE_QINQ | ETHERTYPE_QINQ_OLD => at += VLAN_TAG_BYTES,
            ethertype => return Some((ethertype, at + 2)),
        }
    }
    None
}

fn skip_ipv4(bytes: &[u8], at: usize) -> Option<(Network, u8, usize)> {
    let first = *bytes.get(at)?;
    let header_bytes = usize::from(first & 0xf) * 4;
    // "More fragments" and the offset; "don't fragment" may be set.
    let is_fragment = word(bytes, at + 6)? & 0x3fff != 0;
    let protocol = *bytes.get(at + 9)?;
    let is_whole = first >> 4 == 4 && header_bytes >= 20 && !is_fragment;
    is_whole.then_some((Network::Ipv4, protocol, at + header_bytes))
}

/// Passes the extension headers that every segment may repeat. A fragment is not whole; of what IPsec has
/// authenticated nothing may be changed; and with a routing header that is not used up, the pseudo header
/// names another destination than the packet does.
fn skip_ipv6(bytes: &[u8], at: usize) -> Option<(Network, u8, usize)> {
    if bytes.get(at)? >> 4 != 6 {
        return None;
    }
    let mut next = *bytes.get(at + 6)?;
    let mut end = at + IPV6_BYTES;
    // Each round goes at least 8 bytes on, so this ends with the bytes.
    while let HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS = next {
        let extension = bytes.get(end..end + 4)?;
        if next == ROUTING && extension[3] != 0 {
            return None;
        }
        next = extension[0];
        end += (usize::from(extension[1]) + 1) * 8;
    }
    Some((Network::Ipv6, next, end))
}

fn tcp_bytes(bytes: &[u8], at: usize) -> Option<usize> {
    let header_bytes = usize::from(bytes.get(at + 12)? >> 4) * 4;
    (header_bytes >= 20).then_some(header_bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}
