//! Packets made the slow and obvious way: what lowering must come to, and what it is fed with.

use proptest::prelude::*;

use crate::frame::checksum::oracle::folded_sum;
use crate::frame::offload::{GSO_ECN, GSO_TCP4, GSO_TCP6, GSO_UDP, NEEDS_CHECKSUM};
use crate::frame::{Burst, Offload, Segment, Strip};

/// What a packet's headers say, apart from lengths and checksums.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    /// Types of the VLAN tags, outermost first.
    pub(super) tags: Vec<u16>,
    pub(super) network: Ip,
    pub(super) transport: Layer4,
    pub(super) payload: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(super) enum Ip {
    V4 {
        id: u16,
        options: Vec<u8>,
    },
    /// Extension headers: type, then what follows the two first bytes.
    V6 {
        extensions: Vec<(u8, Vec<u8>)>,
    },
}

#[derive(Debug, Clone)]
pub(super) enum Layer4 {
    Tcp { sequence: u32, flags: u8, options: Vec<u8> },
    Udp,
}

impl Packet {
    fn protocol(&self) -> u8 {
        match self.transport {
            Layer4::Tcp { .. } => 6,
            Layer4::Udp => 17,
        }
    }

    fn ethernet(&self) -> Vec<u8> {
        let mut bytes = b"\x02destn\x02sourc".to_vec();
        for (tag, number) in self.tags.iter().zip(1u16..) {
            bytes.extend(tag.to_be_bytes());
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(match self.network {
            Ip::V4 { .. } => [0x08, 0x00],
            Ip::V6 { .. } => [0x86, 0xdd],
        });
        bytes
    }

    fn addresses(&self) -> Vec<u8> {
        match self.network {
            Ip::V4 { .. } => vec![10, 0, 0, 1, 192, 168, 255, 254],
            Ip::V6 { .. } => (100..132).collect(),
        }
    }

    /// The IP header and its extensions.
    fn network(&self, transport_bytes: usize) -> Vec<u8> {
        match &self.network {
            Ip::V4 { id, options } => {
                let header_bytes = 20 + options.len();
                let mut bytes = vec![0x40 | small(header_bytes / 4), 0x02];
                bytes.extend(word(header_bytes + transport_bytes));
                bytes.extend(id.to_be_bytes());
                bytes.extend([0x40, 0, 64, self.protocol(), 0, 0]);
                bytes.extend(self.addresses());
                bytes.extend(options);
                let checksum = checksum(&bytes);
                bytes[10..12].copy_from_slice(&checksum);
                bytes
            }
            Ip::V6 { extensions } => {
                let mut types: Vec<u8> = extensions.iter().map(|(kind, _rest)| *kind).collect();
                types.push(self.protocol());
                let tail: Vec<u8> = extensions
                    .iter()
                    .zip(&types[1..])
                    .flat_map(|((_kind, rest), next)| {
                        [vec![*next, small((rest.len() + 2) / 8 - 1)], rest.clone()].concat()
                    })
                    .collect();
                let mut bytes = vec![0x60, 0, 0x12, 0x34];
                bytes.extend(word(tail.len() + transport_bytes));
                bytes.extend([types[0], 64]);
                bytes.extend(self.addresses());
                bytes.extend(tail);
                bytes
            }
        }
    }

    fn transport(&self) -> Vec<u8> {
        match &self.transport {
            Layer4::Tcp { sequence, flags, options } => {
                let mut bytes = vec![0x12, 0x34, 0x00, 0x50];
                bytes.extend(sequence.to_be_bytes());
                bytes.extend([
                    9,
                    8,
                    7,
                    6,
                    small((20 + options.len()) / 4) << 4,
                    *flags,
                    0xff,
                    0xf0,
                    0,
                    0,
                    0,
                    0,
                ]);
                bytes.extend(options);
                bytes
            }
            Layer4::Udp => [&[0x12, 0x34, 0x00, 0x35][..], &word(8 + self.payload.len()), &[0, 0]].concat(),
        }
    }

    fn checksum_at(&self) -> usize {
        match self.transport {
            Layer4::Tcp { .. } => 16,
            Layer4::Udp => 6,
        }
    }

    fn pseudo_header(&self, transport_bytes: usize) -> Vec<u8> {
        [&self.addresses()[..], &[0, self.protocol()], &word(transport_bytes)].concat()
    }

    /// The frame as it belongs on a wire.
    pub(super) fn finished(&self) -> Vec<u8> {
        let mut transport = [self.transport(), self.payload.clone()].concat();
        let checksum = checksum(&[self.pseudo_header(transport.len()), transport.clone()].concat());
        let at = self.checksum_at();
        transport[at..at + 2].copy_from_slice(&checksum);
        [self.ethernet(), self.network(transport.len()), transport].concat()
    }

    /// The frame as an operating system gives it away, and what it leaves to be done.
    pub(super) fn unfinished(&self, gso_bytes: u16) -> (Vec<u8>, Offload) {
        let mut transport = [self.transport(), self.payload.clone()].concat();
        let partial = folded_sum(&self.pseudo_header(transport.len()));
        let at = self.checksum_at();
        transport[at..at + 2].copy_from_slice(&partial.to_be_bytes());
        let before = [self.ethernet(), self.network(transport.len())].concat();
        let offload = Offload {
            flags: NEEDS_CHECKSUM,
            gso_type: if gso_bytes == 0 { 0 } else { self.gso_type() },
            header_bytes: 0,
            gso_bytes,
            csum_start: u16::try_from(before.len()).unwrap(),
            csum_offset: u16::try_from(at).unwrap(),
        };
        ([before, transport].concat(), offload)
    }

    fn gso_type(&self) -> u8 {
        match (&self.network, &self.transport) {
            (Ip::V4 { .. }, Layer4::Tcp { flags, .. }) => GSO_TCP4 | ecn(*flags),
            (Ip::V6 { .. }, Layer4::Tcp { flags, .. }) => GSO_TCP6 | ecn(*flags),
            (Ip::V4 { .. } | Ip::V6 { .. }, Layer4::Udp) => GSO_UDP,
        }
    }

    /// What this packet is as segments of `gso_bytes`.
    pub(super) fn cut(&self, gso_bytes: u16) -> Vec<Packet> {
        let mut parts: Vec<&[u8]> = self.payload.chunks(usize::from(gso_bytes)).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        let last = parts.len() - 1;
        let make = |(number, part): (usize, &&[u8])| {
            let mut packet = self.clone();
            packet.payload = part.to_vec();
            if let Ip::V4 { id, .. } = &mut packet.network {
                *id = id.wrapping_add(u16::try_from(number).unwrap());
            }
            if let Layer4::Tcp { sequence, flags, .. } = &mut packet.transport {
                *sequence = sequence.wrapping_add(u32::try_from(number).unwrap() * u32::from(gso_bytes));
                // CWR only in the first; PSH and FIN only in the last.
                *flags &= if number > 0 { 0x7f } else { 0xff };
                *flags &= if number < last { 0xf6 } else { 0xff };
            }
            packet
        };
        parts.iter().enumerate().map(make).collect()
    }
}

fn ecn(flags: u8) -> u8 {
    if flags & 0x80 == 0 { 0 } else { GSO_ECN }
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let checksum = !folded_sum(bytes);
    if checksum == 0 { [0xff, 0xff] } else { checksum.to_be_bytes() }
}

fn word(value: usize) -> [u8; 2] {
    u16::try_from(value).unwrap().to_be_bytes()
}

fn small(value: usize) -> u8 {
    u8::try_from(value).unwrap()
}

/// Multiples of four bytes, forty at most.
fn options() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<[u8; 4]>(), 0..=10).prop_map(|words| words.concat())
}

fn ip() -> impl Strategy<Value = Ip> {
    // Hop by hop, destination options, and a routing header that is used up.
    let kinds = prop::sample::select(vec![0u8, 60, 43]);
    let extension = (kinds, prop::sample::select(vec![6usize, 14, 22])).prop_map(|(kind, len)| {
        let mut rest = vec![0xaa; len];
        rest[1] = 0;
        (kind, rest)
    });
    prop_oneof![
        (any::<u16>(), options()).prop_map(|(id, options)| Ip::V4 { id, options }),
        prop::collection::vec(extension, 0..3).prop_map(|extensions| Ip::V6 { extensions }),
    ]
}

fn layer4() -> impl Strategy<Value = Layer4> {
    let tcp = (any::<u32>(), any::<u8>(), options());
    prop_oneof![
        tcp.prop_map(|(sequence, flags, options)| Layer4::Tcp { sequence, flags, options }),
        Just(Layer4::Udp),
    ]
}

prop_compose! {
    /// Any packet that may be cut.
    pub(super) fn packet()(
        tags in prop::collection::vec(prop::sample::select(vec![0x8100u16, 0x88a8, 0x9100]), 0..4),
        network in ip(),
        transport in layer4(),
        payload in prop::collection::vec(any::<u8>(), 0..4000),
    ) -> Packet {
        Packet { tags, network, transport, payload }
    }
}

/// Lands `bytes` in `strip` and adds them to `burst` as a frame, in pieces of these lengths (the last takes
/// the rest).
pub(super) fn push(burst: &mut Burst, strip: &mut Strip, bytes: &[u8], pieces: &[usize], offload: Offload) {
    let whole = strip.room(bytes.len()).expect("tests land little").segment();
    whole.write(0, bytes);
    strip.keep(bytes.len());
    let mut segments = Vec::new();
    let mut at = 0;
    for piece in pieces.iter().chain(&[bytes.len()]) {
        let part = whole.part(at, *piece);
        at += part.len();
        segments.extend((part.len() > 0).then_some(part));
    }
    burst.push(&segments, offload, 0);
}

/// The bytes of a frame.
pub(super) fn bytes(segments: &[Segment]) -> Vec<u8> {
    let each = segments.iter().map(|segment| {
        let mut bytes = vec![0; segment.len()];
        segment.read(0, &mut bytes);
        bytes
    });
    each.collect::<Vec<_>>().concat()
}
