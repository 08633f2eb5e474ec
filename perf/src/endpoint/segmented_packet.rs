//! Frames out of an interface by AF_PACKET, many handed to the kernel as one large UDP datagram that it cuts.
//!
//! By ones a frame costs the generator about a microsecond, as much as a fast device spends on it: then the generator
//! is what is measured. Cut by the kernel it costs 0.4 us (64 bytes, 32 a call; 2.4 against 1.0 million a second). A device that asks
//! its tap for large frames would receive them uncut: the interface must have been told not to let them through
//! (`gso_max_size`), so that every device gets the same single frames.

use std::io;
use std::os::fd::OwnedFd;

use super::{Endpoint, packet, taken};
use crate::calls::IntOption;
use crate::frame::{Layout, Shape, Side, Template, UDP_HEADERS_LEN, ones_complement_sum, udp_headers};
use crate::tally::Sink;

/// Bytes of the `virtio_net_hdr` before a frame.
const VNET_LEN: usize = 10;
const SEGMENTS_MAX: usize = 64;
/// What an IPv4 packet can hold, with some to spare.
const PAYLOAD_MAX: usize = 65_000;

#[derive(Debug)]
pub(super) struct SegmentedPacket {
    socket: OwnedFd,
    template: Template,
    side: Side,
    /// Header for the kernel, headers of the frames, and the bodies one behind the other.
    bytes: Vec<u8>,
}

pub(super) fn open(interface: &str, shape: Shape, side: Side) -> io::Result<SegmentedPacket> {
    if (shape.layout, shape.flows) != (Layout::Udp, 1) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "only UDP frames of one flow can be cut"));
    }
    let socket = packet::socket_on(interface, 0, IntOption::PacketVnetHeader)?;
    let template = Template::new(shape, side);
    let count = (PAYLOAD_MAX / template.body().len()).min(SEGMENTS_MAX);
    let mut bytes = vec![0; VNET_LEN + UDP_HEADERS_LEN];
    bytes.extend(template.body().repeat(count));
    Ok(SegmentedPacket { socket, template, side, bytes })
}

impl SegmentedPacket {
    /// Prepares `count` frames; returns how many bytes they take.
    fn stamp(&mut self, first_sequence: u64, count: usize) -> usize {
        let body_len = self.template.body().len();
        let payload_len = count * body_len;
        let (vnet, rest) = self.bytes.split_at_mut(VNET_LEN);
        let (headers, bodies) = rest.split_at_mut(UDP_HEADERS_LEN);
        vnet.copy_from_slice(&vnet_header(count, body_len));
        headers.copy_from_slice(&udp_headers(self.side, payload_len));
        let pseudo_sum = pseudo_header_sum(headers);
        headers[40..42].copy_from_slice(&pseudo_sum.to_be_bytes());
        for (body, sequence) in bodies.chunks_exact_mut(body_len).take(count).zip(first_sequence..) {
            self.template.stamp_body(body, sequence);
        }
        VNET_LEN + UDP_HEADERS_LEN + payload_len
    }
}

/// Tells the kernel where to cut, and to put in the checksums.
fn vnet_header(count: usize, body_len: usize) -> [u8; VNET_LEN] {
    const NEEDS_CHECKSUM: u8 = 1;
    const GSO_NONE: u8 = 0;
    const GSO_UDP_L4: u8 = 5;
    const CHECKSUM_START: u16 = 34;
    const CHECKSUM_OFFSET: u16 = 6;
    let gso_type = if count > 1 { GSO_UDP_L4 } else { GSO_NONE };
    let gso_size = if count > 1 { u16::try_from(body_len).unwrap_or(u16::MAX) } else { 0 };
    let headers_len = u16::try_from(UDP_HEADERS_LEN).unwrap_or(u16::MAX);
    let mut header = [0; VNET_LEN];
    header[..2].copy_from_slice(&[NEEDS_CHECKSUM, gso_type]);
    for (at, field) in [headers_len, gso_size, CHECKSUM_START, CHECKSUM_OFFSET].into_iter().enumerate() {
        header[2 + 2 * at..4 + 2 * at].copy_from_slice(&field.to_ne_bytes());
    }
    header
}

/// What the checksum field holds before the kernel completes it: addresses, protocol and length.
fn pseudo_header_sum(headers: &[u8]) -> u16 {
    const UDP: u32 = 17;
    let udp_len = u32::from(headers[38]) << 8 | u32::from(headers[39]);
    ones_complement_sum(&headers[26..34], UDP + udp_len)
}

impl Endpoint for SegmentedPacket {
    fn send(&mut self, first_sequence: u64, count: usize) -> io::Result<usize> {
        let room = (self.bytes.len() - VNET_LEN - UDP_HEADERS_LEN) / self.template.body().len();
        let count = count.min(room);
        let len = self.stamp(first_sequence, count);
        let flags = rustix::net::SendFlags::DONTWAIT;
        let sent = rustix::net::send(&self.socket, &self.bytes[..len], flags).map_err(io::Error::from);
        Ok(if taken(sent)? > 0 { count } else { 0 })
    }

    fn receive(&mut self, _sink: &mut dyn Sink) -> io::Result<usize> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "frames are only cut on their way out"))
    }
}
