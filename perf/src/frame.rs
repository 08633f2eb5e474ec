//! What a test frame looks like, and how a receiver tells what became of it.
//!
//! A rate alone does not show that the right frames arrived: a device that repeats one frame, swaps two or
//! delivers half of one looks fast. So every frame says which one it is and proves that it is whole:
//!
//! ```text
//! one flow     | Ethernet, type 0x88b5 | magic 4 | sequence 8 | check 4 | payload ... | tail 4 |
//! many flows   | Ethernet, IPv4, UDP   | magic 4 | sequence 8 | check 4 | payload ... | tail 4 |
//! ```
//!
//! *check* covers the payload's bytes and their places, the sequence number and the length; *tail* repeats the
//! sequence number at the far end, so that a frame put together from the halves of two others is noticed.
//! The payload is the same in every frame of one size: its sum is taken once, and a sender writes 20 bytes a
//! frame only. A new payload for each frame was rejected: filling it costs the generator more than sending it.
//!
//! The flow is not written anywhere: it is `sequence % flows`, and shows as the UDP source port.

const MAGIC: u32 = 0x4652_5750;
/// The type of frames of one flow: kept for experiments by IEEE 802, so no network stack looks at them.
pub const ETHERTYPE_EXPERIMENT: u16 = 0x88b5;
/// The type of frames of many flows.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERNET_LEN: usize = 14;
const UDP_HEADERS_LEN: usize = ETHERNET_LEN + 20 + 8;
const STAMP_LEN: usize = 16;
const TAIL_LEN: usize = 4;
const DISCARD_PORT: u16 = 9;
const FIRST_FLOW_PORT: u16 = 10_000;
/// The largest frame that is made: a jumbo frame with its Ethernet header.
pub const SIZE_MAX: usize = 9014;

/// Which end of the device a frame leaves from; it decides the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first endpoint.
    A,
    /// The second endpoint.
    B,
}

impl Side {
    fn mac(self) -> [u8; 6] {
        match self {
            Side::A => [2, 0, 0, 0, 0, 1],
            Side::B => [2, 0, 0, 0, 0, 2],
        }
    }

    fn peer(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }
}

/// What all frames of one run have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes on the wire, without the frame check sequence.
    pub size: usize,
    /// How many flows the frames belong to in turn.
    pub flows: u16,
}

impl Shape {
    /// Frames of one flow.
    pub fn of_size(size: usize) -> Self {
        Shape { size, flows: 1 }
    }

    /// The smallest size that holds everything a frame must carry.
    pub fn size_min(self) -> usize {
        self.headers_len() + STAMP_LEN + TAIL_LEN
    }

    /// The Ethernet type of these frames.
    pub fn ethertype(self) -> u16 {
        if self.flows > 1 { ETHERTYPE_IPV4 } else { ETHERTYPE_EXPERIMENT }
    }

    fn headers_len(self) -> usize {
        if self.flows > 1 { UDP_HEADERS_LEN } else { ETHERNET_LEN }
    }
}

/// One frame with everything but its number.
#[derive(Debug, Clone)]
pub struct Template {
    shape: Shape,
    bytes: Vec<u8>,
    payload_sum: u64,
}

impl Template {
    /// Frames of `shape` that leave from `side`.
    ///
    /// # Panics
    /// If the size is outside of what [`Shape::size_min`] and [`SIZE_MAX`] allow: callers check what users say.
    pub fn new(shape: Shape, side: Side) -> Self {
        assert!(
            (shape.size_min()..=SIZE_MAX).contains(&shape.size),
            "frame size {} out of range",
            shape.size
        );
        let mut bytes: Vec<u8> = (0..shape.size).map(filler).collect();
        bytes[..6].copy_from_slice(&side.peer().mac());
        bytes[6..12].copy_from_slice(&side.mac());
        bytes[12..14].copy_from_slice(&shape.ethertype().to_be_bytes());
        if shape.flows > 1 {
            write_udp_headers(&mut bytes, side);
        }
        let stamp_at = shape.headers_len();
        bytes[stamp_at..stamp_at + 4].copy_from_slice(&MAGIC.to_be_bytes());
        let payload_sum = sum(&bytes[stamp_at + STAMP_LEN..shape.size - TAIL_LEN]);
        Template { shape, bytes, payload_sum }
    }

    /// The frame before it is stamped.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes `frame`, a copy of [`Self::bytes`], the one numbered `sequence`.
    pub fn stamp(&self, frame: &mut [u8], sequence: u64) {
        let stamp_at = self.shape.headers_len();
        let check = check(self.payload_sum, sequence, frame.len());
        frame[stamp_at + 4..stamp_at + 12].copy_from_slice(&sequence.to_be_bytes());
        frame[stamp_at + 12..stamp_at + 16].copy_from_slice(&check.to_be_bytes());
        let tail_at = frame.len() - TAIL_LEN;
        frame[tail_at..].copy_from_slice(&tail(sequence).to_be_bytes());
        if self.shape.flows > 1 {
            let flow = u16::try_from(sequence % u64::from(self.shape.flows)).unwrap_or(0);
            frame[34..36].copy_from_slice(&(FIRST_FLOW_PORT + flow).to_be_bytes());
        }
    }
}

/// What a received frame turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Ours and whole.
    Whole {
        /// The number its sender gave it.
        sequence: u64,
    },
    /// Ours, but not as it was sent.
    Corrupt,
    /// Somebody else's: neighbour discovery and the like.
    Foreign,
}

/// Judges a frame from its bytes alone, so that a sink needs to know nothing of the source.
pub fn judge(frame: &[u8]) -> Verdict {
    let Some(stamp_at) = stamp_offset(frame) else { return Verdict::Foreign };
    if frame.len() < stamp_at + STAMP_LEN + TAIL_LEN || word(frame, stamp_at) != MAGIC {
        return Verdict::Foreign;
    }
    let sequence = u64::from(word(frame, stamp_at + 4)) << 32 | u64::from(word(frame, stamp_at + 8));
    let tail_at = frame.len() - TAIL_LEN;
    let payload_sum = sum(&frame[stamp_at + STAMP_LEN..tail_at]);
    let whole = word(frame, stamp_at + 12) == check(payload_sum, sequence, frame.len())
        && word(frame, tail_at) == tail(sequence);
    if whole { Verdict::Whole { sequence } } else { Verdict::Corrupt }
}

fn stamp_offset(frame: &[u8]) -> Option<usize> {
    let ethertype = u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
    match ethertype {
        ETHERTYPE_EXPERIMENT => Some(ETHERNET_LEN),
        ETHERTYPE_IPV4 if frame.get(36..38)? == DISCARD_PORT.to_be_bytes() => Some(UDP_HEADERS_LEN),
        _ => None,
    }
}

/// IPv4 and UDP headers between two addresses kept for documentation; the UDP checksum is left out (zero), so
/// that changing the port of a flow needs no new one.
fn write_udp_headers(bytes: &mut [u8], side: Side) {
    let ip_len = u16::try_from(bytes.len() - ETHERNET_LEN).unwrap_or(u16::MAX);
    let (from, to) = (side.mac()[5], side.peer().mac()[5]);
    let ip = &mut bytes[ETHERNET_LEN..];
    ip[..12].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    ip[2..4].copy_from_slice(&ip_len.to_be_bytes());
    ip[12..20].copy_from_slice(&[192, 0, 2, from, 192, 0, 2, to]);
    let header_sum: u32 =
        ip[..20].chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (header_sum & 0xffff) + (header_sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    ip[20..22].copy_from_slice(&FIRST_FLOW_PORT.to_be_bytes());
    ip[22..24].copy_from_slice(&DISCARD_PORT.to_be_bytes());
    ip[24..26].copy_from_slice(&(ip_len - 20).to_be_bytes());
    ip[26..28].copy_from_slice(&[0, 0]);
}

/// The payload's byte at `place`: no byte is like its neighbours, so shifted data does not pass for good.
fn filler(place: usize) -> u8 {
    (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]
}

/// Adds up 64-bit words, each mixed with its place: bytes that change places change the sum. Written so that the
/// compiler makes vector code of it (1500 bytes in about 40 ns).
fn sum(payload: &[u8]) -> u64 {
    let words = payload.chunks_exact(8);
    let rest = words.remainder();
    let mut place_key = 0_u64;
    let mut total = 0_u64;
    for word in words {
        let value = u64::from_le_bytes(word.try_into().expect("chunks of eight bytes"));
        place_key = place_key.wrapping_add(0xd6e8_feb8_6659_fd93);
        total = total.wrapping_add(value ^ place_key);
    }
    rest.iter().fold(total, |total, byte| total.rotate_left(8) ^ u64::from(*byte))
}

fn check(payload_sum: u64, sequence: u64, len: usize) -> u32 {
    let mixed =
        (payload_sum ^ sequence.rotate_left(17) ^ (len as u64) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u32::try_from(mixed >> 32).expect("the upper half of 64 bits")
}

fn tail(sequence: u64) -> u32 {
    let low = u32::try_from(sequence & 0xffff_ffff).expect("masked to 32 bits");
    low ^ MAGIC
}

fn word(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod test {
    use super::*;

    fn stamped(shape: Shape, sequence: u64) -> Vec<u8> {
        let template = Template::new(shape, Side::A);
        let mut frame = template.bytes().to_vec();
        template.stamp(&mut frame, sequence);
        frame
    }

    #[test]
    fn stamped_frame_is_whole() {
        for shape in [Shape::of_size(64), Shape::of_size(1500), Shape { size: 64, flows: 16 }] {
            for sequence in [0, 1, 0xffff_ffff, 0x1_0000_0000, u64::MAX] {
                assert_eq!(judge(&stamped(shape, sequence)), Verdict::Whole { sequence });
            }
        }
    }

    #[test]
    fn every_flipped_payload_bit_is_noticed() {
        let good = stamped(Shape::of_size(129), 77);
        for at in ETHERNET_LEN + 4..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert_eq!(judge(&bad), Verdict::Corrupt, "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn swapped_segments_are_noticed() {
        let mut frame = stamped(Shape::of_size(1500), 5);
        let (left, right) = frame[100..1124].split_at_mut(512);
        left.swap_with_slice(right);
        assert_eq!(judge(&frame), Verdict::Corrupt);
    }

    #[test]
    fn halves_of_two_frames_are_noticed() {
        let mut frame = stamped(Shape::of_size(1500), 5);
        frame[750..].copy_from_slice(&stamped(Shape::of_size(1500), 6)[750..]);
        assert_eq!(judge(&frame), Verdict::Corrupt);
    }

    #[test]
    fn cut_frame_is_noticed() {
        let frame = stamped(Shape::of_size(1500), 5);
        assert_eq!(judge(&frame[..1400]), Verdict::Corrupt);
        assert_eq!(judge(&frame[..20]), Verdict::Foreign);
    }

    #[test]
    fn other_traffic_is_foreign() {
        let mut frame = vec![0xff; 90];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        assert_eq!(judge(&frame), Verdict::Foreign);
        assert_eq!(judge(&[]), Verdict::Foreign);
    }

    #[test]
    fn flows_differ_in_the_source_port_and_the_header_checksum_holds() {
        let shape = Shape { size: 64, flows: 4 };
        let ports: Vec<u16> =
            (0..5).map(|n| u16::from_be_bytes(stamped(shape, n)[34..36].try_into().unwrap())).collect();
        assert_eq!(ports, [10_000, 10_001, 10_002, 10_003, 10_000]);
        let frame = stamped(shape, 3);
        let sum: u32 = frame[14..34].chunks_exact(2).map(|p| u32::from(p[0]) << 8 | u32::from(p[1])).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
