//! Cuts one large TCP or UDP frame into the segments that belong on a wire.
//!
//! **Rejected.** Building each segment whole copies the payload once more, and a frame of 64 KiB with a small
//! segment size becomes more segments than any buffer is laid out for.
//!
//! **Chosen.** Headers are copied once, cleared of what differs from segment to segment, and added up. For each
//! segment that template is patched, its checksums are made from the sum, the few changed fields and the
//! payload, and it is written in front of a part of the original payload, which stays where it is. The
//! segmenter is asked for one segment at a time and can start at any, so segments come in batches
//! as large as the caller has room for.
//!
//! The lengths that the large frame's own IP and UDP headers claim do not count: guests differ in what they
//! write there. Payload is what follows the headers, to the end of the frame.

use super::checksum::Sum;
use super::cursor::Cursor;
use super::headers::{HEADERS_BYTES_MAX, Headers, Network, Transport};
use super::offload::{GSO_ECN, GSO_TCP4, GSO_TCP6, GSO_UDP, Offload};
use super::{Burst, Segment, Strip};

/// What a frame may be cut into at most: 64 KiB in parts of 32 bytes. A smaller size is no transport's but an
/// attack on our time, of which one turn has little.
pub(super) const CUTS_MAX: usize = 2048;

/// What an IP packet's length field can say.
const PACKET_BYTES_MAX: usize = u16::MAX as usize;

const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;
/// Where, in a TCP header, they are.
const TCP_FLAGS_AT: usize = 13;

/// One large frame, being cut.
#[derive(Debug)]
pub(super) struct Segmenter<'a> {
    headers: Headers,
    /// All headers; the fields that each segment has its own of are 0 here.
    template: [u8; HEADERS_BYTES_MAX],
    network_sum: Sum,
    transport_sum: Sum,
    first: First,
    /// Where the next segment's payload is.
    payload: Cursor<'a>,
    payload_left: usize,
    cut_bytes: usize,
    /// The next segment's place.
    next: usize,
}

/// What the fields of the first segment say that are counted on for those after it.
#[derive(Debug, Clone, Copy, Default)]
struct First {
    ip_id: u16,
    tcp_sequence: u32,
    tcp_flags: u8,
}

impl<'a> Segmenter<'a> {
    /// Begins to cut a frame of these segments at its `skip`th segment. None if its headers, the offload
    /// and its length do not agree, or if it has fewer segments.
    pub(super) fn new(
        frame: &'a [Segment],
        frame_bytes: usize,
        offload: &Offload,
        skip: usize,
    ) -> Option<Self> {
        let mut template = [0; HEADERS_BYTES_MAX];
        let read = Cursor::new(frame).read(&mut template);
        let headers = Headers::find(&template[..read])?;
        if !is_meant_for(offload, &headers) {
            return None;
        }
        let payload_bytes = frame_bytes.checked_sub(headers.payload_at)?;
        let cut_bytes = usize::from(offload.gso_bytes);
        let cuts = payload_bytes.div_ceil(cut_bytes.max(1)).max(1);
        let packet_bytes = headers.payload_at - headers.network_at + cut_bytes.min(payload_bytes);
        if cut_bytes == 0 || cuts > CUTS_MAX || packet_bytes > PACKET_BYTES_MAX || skip >= cuts {
            return None;
        }
        let first = take_first(&mut template, &headers);
        let mut payload = Cursor::new(frame);
        payload.pass(headers.payload_at + skip * cut_bytes);
        Some(Segmenter {
            network_sum: network_sum(&template, &headers),
            transport_sum: transport_sum(&template, &headers),
            headers,
            template,
            first,
            payload,
            payload_left: payload_bytes - skip * cut_bytes,
            cut_bytes,
            next: skip,
        })
    }

    /// Adds the next segment to `burst`, its headers in memory of `scratch`. Whether there was room.
    #[inline]
    pub(super) fn cut(&mut self, burst: &mut Burst, scratch: &mut Strip) -> bool {
        let payload_bytes = self.payload_left.min(self.cut_bytes);
        let headers_bytes = self.headers.payload_at;
        if !burst.has_room(1 + self.payload.pieces(payload_bytes)) {
            return false;
        }
        let Some(landing) = scratch.room(headers_bytes) else { return false };
        self.patch(payload_bytes, self.payload.sum(payload_bytes));
        landing.segment().write(0, &self.template[..headers_bytes]);
        scratch.keep(headers_bytes);
        burst.push_joined(landing.segment(), &mut self.payload, payload_bytes);
        self.payload_left -= payload_bytes;
        self.next += 1;
        true
    }

    /// Whether the last segment has been cut.
    #[inline]
    pub(super) fn is_done(&self) -> bool {
        self.payload_left == 0 && self.next > 0
    }

    /// The place of the segment that is cut next.
    #[inline]
    pub(super) fn next(&self) -> usize {
        self.next
    }

    /// Makes the template the headers of the next segment.
    #[inline]
    fn patch(&mut self, payload_bytes: usize, payload: Sum) {
        let packet_bytes = self.headers.payload_at - self.headers.network_at + payload_bytes;
        match self.headers.network {
            Network::Ipv4 => self.patch_ipv4(length(packet_bytes)),
            Network::Ipv6 => self.put(self.headers.network_at + 4, length(packet_bytes - 40)),
        }
        let transport_bytes = length(self.headers.payload_at - self.headers.transport_at + payload_bytes);
        let own = match self.headers.transport {
            Transport::Tcp => self.patch_tcp(payload_bytes),
            Transport::Udp => self.patch_udp(transport_bytes),
        };
        let sum = self.transport_sum.then(Sum::of_word(transport_bytes)).then(own).then(payload);
        let at = self.headers.transport_at + self.headers.transport.checksum_at();
        self.template[at..at + 2].copy_from_slice(&sum.checksum());
    }

    #[inline]
    fn patch_ipv4(&mut self, packet_bytes: u16) {
        let at = self.headers.network_at;
        let id = self.first.ip_id.wrapping_add(length(self.next));
        let sum = self.network_sum.then(Sum::of_word(packet_bytes)).then(Sum::of_word(id));
        self.put(at + 2, packet_bytes);
        self.put(at + 4, id);
        self.template[at + 10..at + 12].copy_from_slice(&sum.checksum());
    }

    /// Returns the sum of what it changed.
    #[inline]
    fn patch_tcp(&mut self, payload_bytes: usize) -> Sum {
        let at = self.headers.transport_at;
        let passed = u32::try_from(self.next * self.cut_bytes).expect("no frame has 4 GiB");
        let sequence = self.first.tcp_sequence.wrapping_add(passed).to_be_bytes();
        let mut flags = self.first.tcp_flags;
        if payload_bytes < self.payload_left {
            flags &= !(TCP_FIN | TCP_PSH);
        }
        if self.next > 0 {
            flags &= !TCP_CWR;
        }
        self.template[at + 4..at + 8].copy_from_slice(&sequence);
        self.template[at + TCP_FLAGS_AT] = flags;
        Sum::of(&sequence).then(Sum::of_word(u16::from(flags)))
    }

    /// Returns the sum of what it changed.
    #[inline]
    fn patch_udp(&mut self, transport_bytes: u16) -> Sum {
        self.put(self.headers.transport_at + 4, transport_bytes);
        Sum::of_word(transport_bytes)
    }

    #[inline]
    fn put(&mut self, at: usize, word: u16) {
        self.template[at..at + 2].copy_from_slice(&word.to_be_bytes());
    }
}

/// Whether the offload asks for what these headers are.
fn is_meant_for(offload: &Offload, headers: &Headers) -> bool {
    let type_agrees = match (headers.network, headers.transport) {
        (Network::Ipv4, Transport::Tcp) => offload.gso_type & !GSO_ECN == GSO_TCP4,
        (Network::Ipv6, Transport::Tcp) => offload.gso_type & !GSO_ECN == GSO_TCP6,
        (Network::Ipv4 | Network::Ipv6, Transport::Udp) => offload.gso_type == GSO_UDP,
    };
    let checksum_agrees = usize::from(offload.csum_start) == headers.transport_at
        && usize::from(offload.csum_offset) == headers.transport.checksum_at();
    type_agrees && (!offload.needs_checksum() || checksum_agrees)
}

/// Takes out of the template what each segment has its own of, and leaves 0 there.
fn take_first(template: &mut [u8; HEADERS_BYTES_MAX], headers: &Headers) -> First {
    let mut first = First::default();
    let (network, transport) = (headers.network_at, headers.transport_at);
    match headers.network {
        Network::Ipv4 => {
            first.ip_id = u16::from_be_bytes([template[network + 4], template[network + 5]]);
            template[network + 2..network + 6].fill(0);
            template[network + 10..network + 12].fill(0);
        }
        Network::Ipv6 => template[network + 4..network + 6].fill(0),
    }
    match headers.transport {
        Transport::Tcp => {
            let sequence = &mut template[transport + 4..transport + 8];
            first.tcp_sequence = sequence.iter().fold(0, |all, byte| all << 8 | u32::from(*byte));
            sequence.fill(0);
            first.tcp_flags = std::mem::take(&mut template[transport + TCP_FLAGS_AT]);
        }
        Transport::Udp => template[transport + 4..transport + 6].fill(0),
    }
    let checksum = transport + headers.transport.checksum_at();
    template[checksum..checksum + 2].fill(0);
    first
}

/// Of the constant part of the IPv4 header. (An IPv6 header has no checksum.)
fn network_sum(template: &[u8; HEADERS_BYTES_MAX], headers: &Headers) -> Sum {
    match headers.network {
        Network::Ipv4 => Sum::of(&template[headers.network_at..headers.transport_at]),
        Network::Ipv6 => Sum::default(),
    }
}

/// Of the constant parts of pseudo header and transport header.
fn transport_sum(template: &[u8; HEADERS_BYTES_MAX], headers: &Headers) -> Sum {
    Sum::of(&template[headers.addresses()])
        .then(Sum::of_word(u16::from(headers.transport.protocol())))
        .then(Sum::of(&template[headers.transport_at..headers.payload_at]))
}

/// A length, or a count of segments, as headers have it.
#[inline]
fn length(len: usize) -> u16 {
    u16::try_from(len).expect("new() refuses what no length field can say")
}
