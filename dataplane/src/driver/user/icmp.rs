//! ICMP and ICMPv6: echoes that the virtual hosts answer themselves, and errors.
//!
//! An error quotes what it is about, as far as the old limits of IPv4 (548 bytes) and the MTU allow.

use std::net::IpAddr;

use super::header::{MTU, Path};
use super::packet::{Ip, protocol};
use crate::frame::checksum::Sum;

/// Type, code, checksum, and four bytes whose meaning depends on the type.
pub(super) const HEADER_BYTES: usize = 8;

/// Bytes of the quoted packet in an error over IPv4.
const QUOTED_BYTES_MAX: usize = 548;

/// The types of echo request and reply, by family.
fn echo_types(is_ipv4: bool) -> [u8; 2] {
    if is_ipv4 { [8, 0] } else { [128, 129] }
}

/// The protocol's number, by family.
pub(super) fn number(is_ipv4: bool) -> u8 {
    if is_ipv4 { protocol::ICMP } else { protocol::ICMP6 }
}

/// Whether a message with its checksum adds up.
pub(super) fn is_sound(path: &Path, message: &[u8]) -> bool {
    message.len() >= HEADER_BYTES && sum(path, message).checksum() == [0xff, 0xff]
}

/// Whether a message asks for an echo.
pub(super) fn is_echo_request(is_ipv4: bool, message: &[u8]) -> bool {
    message.len() >= HEADER_BYTES && message[..2] == [echo_types(is_ipv4)[0], 0]
}

/// Makes an echo request the reply to it. `path` is the way back.
pub(super) fn make_reply(path: &Path, message: &mut [u8]) {
    message[0] = echo_types(path.source.is_ipv4())[1];
    finish(path, message);
}

/// Puts the right checksum into a message.
pub(super) fn finish(path: &Path, message: &mut [u8]) {
    message[2..4].fill(0);
    let checksum = sum(path, message).checksum();
    message[2..4].copy_from_slice(&checksum);
}

fn sum(path: &Path, message: &[u8]) -> Sum {
    let sum = Sum::of(message);
    match path.source {
        IpAddr::V4(_) => sum,
        IpAddr::V6(_) => path.pseudo_sum(protocol::ICMP6, message.len()).then(sum),
    }
}

/// What went wrong with a packet. IPv4 and IPv6 have other numbers for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreachable {
    /// Nobody knows the way.
    Network,
    /// The host does not answer.
    Host,
    /// Too many hops.
    Expired,
    /// It is larger than this.
    TooBig(u32),
}

impl Unreachable {
    /// The header of an error about it, but for its checksum.
    pub(super) fn header(self, is_ipv4: bool) -> [u8; HEADER_BYTES] {
        let [kind, code] = self.type_and_code(is_ipv4);
        // IPv4 has 16 bits for the MTU, behind 16 that mean nothing.
        let [a, b, c, d] = match self {
            Unreachable::TooBig(mtu) if is_ipv4 => mtu.min(u16::MAX.into()).to_be_bytes(),
            Unreachable::TooBig(mtu) => mtu.to_be_bytes(),
            Unreachable::Network | Unreachable::Host | Unreachable::Expired => [0; 4],
        };
        [kind, code, 0, 0, a, b, c, d]
    }

    fn type_and_code(self, is_ipv4: bool) -> [u8; 2] {
        match (self, is_ipv4) {
            (Unreachable::Network, true) => [3, 0],
            (Unreachable::Host, true) => [3, 1],
            (Unreachable::Expired, true) => [11, 0],
            (Unreachable::TooBig(_), true) => [3, 4],
            (Unreachable::TooBig(_), false) => [2, 0],
            (Unreachable::Network, false) => [1, 0],
            (Unreachable::Host, false) => [1, 3],
            (Unreachable::Expired, false) => [3, 0],
        }
    }
}

/// How much of a packet its error quotes.
pub(super) fn quoted_bytes(is_ipv4: bool, packet_bytes: usize) -> usize {
    let most = if is_ipv4 { QUOTED_BYTES_MAX } else { MTU - 40 - HEADER_BYTES };
    packet_bytes.min(most)
}

/// An error's header with its checksum, in front of what it quotes. All pieces but the last are of even length.
pub(super) fn error(path: &Path, mut header: [u8; HEADER_BYTES], quoted: &[&[u8]]) -> [u8; HEADER_BYTES] {
    let bytes: usize = quoted.iter().map(|piece| piece.len()).sum();
    let sum = quoted.iter().fold(Sum::of(&header), |sum, piece| sum.then(Sum::of(piece)));
    let sum = match path.source {
        IpAddr::V4(_) => sum,
        IpAddr::V6(_) => path.pseudo_sum(protocol::ICMP6, HEADER_BYTES + bytes).then(sum),
    };
    header[2..4].copy_from_slice(&sum.checksum());
    header
}

/// Whether an error about this packet may be sent at all: not about errors, parts of packets, or to nobody.
pub(super) fn may_be_told(ip: &Ip, first_byte: Option<u8>) -> bool {
    let is_first = ip.fragment.is_none_or(|fragment| fragment.offset == 0);
    let is_error = match ip.protocol {
        protocol::ICMP => first_byte != Some(8),
        protocol::ICMP6 => first_byte != Some(128),
        _other => false,
    };
    let is_somebody = match ip.source {
        IpAddr::V4(source) => source.to_bits() << 4 != 0,
        IpAddr::V6(source) => !source.is_multicast() && !source.is_unspecified(),
    };
    is_first && !is_error && is_somebody
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(source: &str, destination: &str) -> Path {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Path { to: [1; 6], from: [2; 6], source, destination, ttl: 255, tos: 0 }
    }

    #[test]
    fn a_request_becomes_its_reply() {
        for (path, types) in
            [(path("10.0.2.2", "10.0.2.15"), [8, 0]), (path("fec0::2", "fec0::15"), [128, 129])]
        {
            let mut message = [types[0], 0, 0, 0, 0x12, 0x34, 0, 1, b'd', b'a', b't', b'a', b'!'];
            finish(&path, &mut message);
            let is_ipv4 = types[0] == 8;
            assert!(is_sound(&path, &message) && is_echo_request(is_ipv4, &message));
            make_reply(&path, &mut message);
            assert!(is_sound(&path, &message) && !is_echo_request(is_ipv4, &message));
            assert_eq!((message[0], &message[4..8]), (types[1], &[0x12, 0x34, 0, 1][..]));
            message[9] ^= 1;
            assert!(!is_sound(&path, &message));
        }
    }

    #[test]
    fn messages_too_short_for_a_header_are_none() {
        for len in 0..HEADER_BYTES {
            assert!(!is_sound(&path("10.0.2.2", "10.0.2.15"), &[0xff; 8][..len]));
            assert!(!is_echo_request(true, &[8, 0, 0, 0, 0, 0, 0, 0][..len]));
        }
    }

    #[test]
    fn errors_are_sound_and_bounded() {
        for (path, first) in [(path("10.0.2.2", "10.0.2.15"), [3, 1]), (path("fe80::2", "fec0::15"), [1, 3])]
        {
            let quoted = [0xab; 100];
            let header = Unreachable::Host.header(path.source.is_ipv4());
            let header = error(&path, header, &[&quoted[..10], &quoted[10..]]);
            assert_eq!(header[..2], first);
            assert!(is_sound(&path, &[&header[..], &quoted].concat()));
        }
        assert_eq!(quoted_bytes(true, 1500), 548);
        assert_eq!(quoted_bytes(false, 4000), 1452);
        assert_eq!(quoted_bytes(true, 60), 60);
    }
}
