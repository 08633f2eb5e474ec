//! What a test frame looks like, and how a receiver tells what became of it.
//!
//! A rate alone does not show that the right frames arrived: a device that repeats one frame, swaps two or
//! delivers half of one looks fast. So every frame says which one it is and proves that it is whole:
//!
//! ```text
//! bare   | Ethernet, type 0x88b5 | magic 4 | sequence 8 | check 4 | payload ... | tail 4 |
//! UDP    | Ethernet, IPv4, UDP   | magic 4 | sequence 8 | check 4 | payload ... | tail 4 |
//! ```
//!
//! *check* covers the payload's bytes and their places, the sequence number and the length; *tail* repeats the
//! sequence number at the far end, so that a frame put together from the halves of two others is noticed.
//! The payload is the same in every frame of one size: its sum is taken once, and a sender writes 20 bytes a
//! frame only. A new payload for each frame was rejected: filling it costs the generator more than sending it.
//!
//! UDP frames can belong to several flows. The flow is not written anywhere: it is `sequence % flows`, and shows as
//! the UDP source port.

const MAGIC: u32 = 0x4652_5750;
/// The type of bare frames: kept for experiments by IEEE 802, so no network stack looks at them.
pub const ETHERTYPE_EXPERIMENT: u16 = 0x88b5;
/// The type of UDP frames.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERNET_LEN: usize = 14;
/// Ethernet, IPv4 and UDP.
pub(crate) const UDP_HEADERS_LEN: usize = ETHERNET_LEN + 20 + 8;
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

/// What is before the part that is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// An Ethernet header that no network stack looks behind.
    Bare,
    /// Ethernet, IPv4 and UDP headers.
    Udp,
}

/// What all frames of one run have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes on the wire, without the frame check sequence.
    pub size: usize,
    /// What they begin with.
    pub layout: Layout,
    /// How many flows the frames belong to in turn; bare ones have only one.
    pub flows: u16,
}

impl Shape {
    /// Bare frames.
    pub fn bare(size: usize) -> Self {
        Shape { size, layout: Layout::Bare, flows: 1 }
    }

    /// UDP frames of some flows.
    pub fn udp(size: usize, flows: u16) -> Self {
        Shape { size, layout: Layout::Udp, flows: flows.max(1) }
    }

    /// The smallest size that holds everything a frame must carry.
    pub fn size_min(self) -> usize {
        self.headers_len() + STAMP_LEN + TAIL_LEN
    }

    /// The Ethernet type of these frames.
    pub fn ethertype(self) -> u16 {
        match self.layout {
            Layout::Bare => ETHERTYPE_EXPERIMENT,
            Layout::Udp => ETHERTYPE_IPV4,
        }
    }

    fn headers_len(self) -> usize {
        match self.layout {
            Layout::Bare => ETHERNET_LEN,
            Layout::Udp => UDP_HEADERS_LEN,
        }
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
        match shape.layout {
            Layout::Bare => {
                bytes[..ETHERNET_LEN].copy_from_slice(&ethernet_header(side, ETHERTYPE_EXPERIMENT));
            }
            Layout::Udp => {
                let headers = udp_headers(side, shape.size - UDP_HEADERS_LEN);
                bytes[..UDP_HEADERS_LEN].copy_from_slice(&headers);
            }
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

    /// The part of it behind the headers.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.shape.headers_len()..]
    }

    /// Makes `body`, a copy of [`Self::body`], the one of the frame numbered `sequence`.
    pub fn stamp_body(&self, body: &mut [u8], sequence: u64) {
        let check = check(self.payload_sum, sequence, self.bytes.len());
        body[4..12].copy_from_slice(&sequence.to_be_bytes());
        body[12..16].copy_from_slice(&check.to_be_bytes());
        let tail_at = body.len() - TAIL_LEN;
        body[tail_at..].copy_from_slice(&tail(sequence).to_be_bytes());
    }

    /// Makes `frame`, a copy of [`Self::bytes`], the one numbered `sequence`.
    pub fn stamp(&self, frame: &mut [u8], sequence: u64) {
        self.stamp_body(&mut frame[self.shape.headers_len()..], sequence);
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

fn ethernet_header(side: Side, ethertype: u16) -> [u8; ETHERNET_LEN] {
    let mut header = [0; ETHERNET_LEN];
    header[..6].copy_from_slice(&side.peer().mac());
    header[6..12].copy_from_slice(&side.mac());
    header[12..].copy_from_slice(&ethertype.to_be_bytes());
    header
}

/// Ethernet, IPv4 and UDP headers between two addresses kept for documentation. The UDP checksum is left out (zero),
/// so that changing the port of a flow needs no new one.
pub(crate) fn udp_headers(side: Side, payload_len: usize) -> [u8; UDP_HEADERS_LEN] {
    let udp_len = u16::try_from(payload_len + 8).unwrap_or(u16::MAX);
    let (from, to) = (side.mac()[5], side.peer().mac()[5]);
    let mut headers = [0; UDP_HEADERS_LEN];
    headers[..ETHERNET_LEN].copy_from_slice(&ethernet_header(side, ETHERTYPE_IPV4));
    let ip = &mut headers[ETHERNET_LEN..];
    ip[..12].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    ip[2..4].copy_from_slice(&udp_len.saturating_add(20).to_be_bytes());
    ip[12..20].copy_from_slice(&[192, 0, 2, from, 192, 0, 2, to]);
    let checksum = !ones_complement_sum(&ip[..20], 0);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    ip[20..22].copy_from_slice(&FIRST_FLOW_PORT.to_be_bytes());
    ip[22..24].copy_from_slice(&DISCARD_PORT.to_be_bytes());
    ip[24..26].copy_from_slice(&udp_len.to_be_bytes());
    headers
}

/// The sum that Internet checksums are the complement of.
pub(crate) fn ones_complement_sum(bytes: &[u8], start: u32) -> u16 {
    let pairs = bytes.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum = start + pairs.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded to 16 bits")
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
        for shape in [Shape::bare(64), Shape::bare(1500), Shape::udp(64, 16)] {
            for sequence in [0, 1, 0xffff_ffff, 0x1_0000_0000, u64::MAX] {
                assert_eq!(judge(&stamped(shape, sequence)), Verdict::Whole { sequence });
            }
        }
    }

    #[test]
    fn every_flipped_payload_bit_is_noticed() {
        let good = stamped(Shape::bare(129), 77);
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
        let mut frame = stamped(Shape::bare(1500), 5);
        let (left, right) = frame[100..1124].split_at_mut(512);
        left.swap_with_slice(right);
        assert_eq!(judge(&frame), Verdict::Corrupt);
    }

    #[test]
    fn halves_of_two_frames_are_noticed() {
        let mut frame = stamped(Shape::bare(1500), 5);
        frame[750..].copy_from_slice(&stamped(Shape::bare(1500), 6)[750..]);
        assert_eq!(judge(&frame), Verdict::Corrupt);
    }

    #[test]
    fn cut_frame_is_noticed() {
        let frame = stamped(Shape::bare(1500), 5);
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
        let shape = Shape::udp(64, 4);
        let ports: Vec<u16> =
            (0..5).map(|n| u16::from_be_bytes(stamped(shape, n)[34..36].try_into().unwrap())).collect();
        assert_eq!(ports, [10_000, 10_001, 10_002, 10_003, 10_000]);
        let frame = stamped(shape, 3);
        assert_eq!(ones_complement_sum(&frame[14..34], 0), 0xffff);
    }
}
