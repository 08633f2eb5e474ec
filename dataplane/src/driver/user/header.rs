//! Headers of what goes to the guest.
//!
//! A [`Path`] says who speaks to whom; from it come Ethernet and IP headers and the pseudo header's sum. All of a
//! header is written, whatever lay there before.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::packet::{Mac, UDP_BYTES, protocol};
use crate::frame::checksum::Sum;

/// The largest packet to and from the guest, IP header included.
pub(super) const MTU: usize = 1500;

/// Ethernet and IPv6: the longest headers that a [`Path`] makes.
pub(super) const PATH_BYTES_MAX: usize = 54;

/// Hops of ordinary packets over IPv4.
pub(super) const TTL: u8 = 64;
/// Hops of everything over IPv6, and of ICMP.
pub(super) const TTL_MAX: u8 = 255;

/// A way to the guest. Both addresses are of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Path {
    /// Ethernet address of whom it is for.
    pub(super) to: Mac,
    /// And of the virtual host that sends it.
    pub(super) from: Mac,
    /// The sender.
    pub(super) source: IpAddr,
    /// Whom it is for.
    pub(super) destination: IpAddr,
    /// How many hops it may make.
    pub(super) ttl: u8,
    /// Type of service, or traffic class.
    pub(super) tos: u8,
}

/// The Ethernet address of a virtual host.
pub(super) fn mac_of4(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x52, 0x55, a, b, c, d]
}

/// As [`mac_of4`], of an IPv6 address.
pub(super) fn mac_of6(address: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = address.octets();
    [0x52, 0x56, a, b, c, d]
}

impl Path {
    /// Length of the Ethernet and IP headers.
    pub(super) fn header_bytes(&self) -> usize {
        if self.source.is_ipv4() { 34 } else { PATH_BYTES_MAX }
    }

    /// Writes the Ethernet and IP headers of a packet whose protocol has `bytes` bytes, none of them here.
    /// Returns how long they are. `bits` are identification, flags and offset over IPv4.
    ///
    /// # Panics
    /// If `head` is shorter than that.
    pub(super) fn write(&self, head: &mut [u8], protocol: u8, bytes: usize, bits: [u16; 2]) -> usize {
        head[..6].copy_from_slice(&self.to);
        head[6..12].copy_from_slice(&self.from);
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                head[12..14].copy_from_slice(&[0x08, 0x00]);
                let [id, flags] = bits;
                let total = length(20 + bytes);
                let mut ip = [0; 20];
                ip[..2].copy_from_slice(&[0x45, self.tos]);
                ip[2..4].copy_from_slice(&total.to_be_bytes());
                ip[4..6].copy_from_slice(&id.to_be_bytes());
                ip[6..8].copy_from_slice(&flags.to_be_bytes());
                ip[8..10].copy_from_slice(&[self.ttl, protocol]);
                ip[12..16].copy_from_slice(&source.octets());
                ip[16..20].copy_from_slice(&destination.octets());
                let checksum = Sum::of(&ip).checksum();
                ip[10..12].copy_from_slice(&checksum);
                head[14..34].copy_from_slice(&ip);
            }
            (source, destination) => {
                head[12..14].copy_from_slice(&[0x86, 0xdd]);
                let ip = &mut head[14..PATH_BYTES_MAX];
                ip[..4].copy_from_slice(&[0x60 | self.tos >> 4, self.tos << 4, 0, 0]);
                ip[4..6].copy_from_slice(&length(bytes).to_be_bytes());
                ip[6..8].copy_from_slice(&[protocol, self.ttl]);
                ip[8..24].copy_from_slice(&octets6(source));
                ip[24..40].copy_from_slice(&octets6(destination));
            }
        }
        self.header_bytes()
    }

    /// The sum of the pseudo header of a packet whose protocol has `bytes` bytes.
    pub(super) fn pseudo_sum(&self, protocol: u8, bytes: usize) -> Sum {
        let addresses = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Sum::of(&source.octets()).then(Sum::of(&destination.octets()))
            }
            (source, destination) => Sum::of(&octets6(source)).then(Sum::of(&octets6(destination))),
        };
        addresses.then(Sum::of_word(u16::from(protocol))).then(Sum::of_word(length(bytes)))
    }

    /// A UDP header, in front of `payload`.
    pub(super) fn udp(&self, ports: [u16; 2], payload: &[u8]) -> [u8; UDP_BYTES] {
        let mut header = udp_header(ports, payload.len());
        let sum = self
            .pseudo_sum(protocol::UDP, UDP_BYTES + payload.len())
            .then(Sum::of(&header))
            .then(Sum::of(payload));
        header[6..].copy_from_slice(&sum.checksum());
        header
    }
}

/// A UDP header from and to these ports, before so many bytes, without its checksum.
pub(super) fn udp_header([source, destination]: [u16; 2], payload_bytes: usize) -> [u8; UDP_BYTES] {
    let mut header = [0; UDP_BYTES];
    header[..2].copy_from_slice(&source.to_be_bytes());
    header[2..4].copy_from_slice(&destination.to_be_bytes());
    header[4..6].copy_from_slice(&length(UDP_BYTES + payload_bytes).to_be_bytes());
    header
}

/// A length as a header has it. Nothing that is built here is longer than a packet may be.
fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("packets to the guest are bounded by what IP can say")
}

fn octets6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::{Packet, parse, udp};
    use super::*;

    fn path(source: &str, destination: &str) -> Path {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Path { to: [1; 6], from: [2; 6], source, destination, ttl: 64, tos: 0x10 }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (source, destination) in [("10.0.2.2", "10.0.2.15"), ("fec0::2", "fec0::15")] {
            let path = path(source, destination);
            let mut frame = [0xee; 100];
            let at = path.write(&mut frame, protocol::UDP, 12, [7, 0]);
            frame[at..at + 8].copy_from_slice(&path.udp([53, 5000], b"data"));
            frame[at + 8..at + 12].copy_from_slice(b"data");
            let Ok(Packet::Ip(ip)) = parse(&frame, frame.len()) else { panic!("no packet") };
            assert_eq!((ip.source, ip.destination), (path.source, path.destination));
            assert_eq!((ip.ttl, ip.tos, ip.bytes, ip.at), (64, 0x10, 12, at));
            let udp = udp(&ip, &frame).unwrap();
            assert_eq!((udp.source.port(), udp.destination.port(), udp.bytes), (53, 5000, 4));
            let sum = path.pseudo_sum(protocol::UDP, 12).then(Sum::of(&frame[at..at + 12]));
            assert_eq!(sum.checksum(), [0xff, 0xff], "a right checksum adds up to nothing");
        }
    }

    #[test]
    fn virtual_hosts_have_the_addresses_that_guests_know() {
        assert_eq!(mac_of4(Ipv4Addr::new(10, 0, 2, 2)), [0x52, 0x55, 10, 0, 2, 2]);
        assert_eq!(mac_of6("fe80::2".parse().unwrap()), [0x52, 0x56, 0, 0, 0, 2]);
    }
}
