//! UDP where the kernel is handed many frames as one: `UDP_SEGMENT` out, `UDP_GRO` in.
//!
//! On loopback this makes a frame some fifty times cheaper for the generator than `sendmmsg` (42 + 15 ns against
//! 2.5 + 0.5 us at 64 bytes). The device need not know: without `UDP_GRO` it receives single datagrams.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd as _;

use super::{Endpoint, taken, udp};
use crate::calls::{IntOption, set_option};
use crate::frame::Template;
use crate::mmsg::Inbox;
use crate::records::Records;
use crate::tally::Sink;

/// The kernel takes 64 segments (`UDP_MAX_SEGMENTS` of older ones) and one datagram's worth of bytes.
const SEGMENTS_MAX: usize = 64;
const BYTES_MAX: usize = 65_000;
/// Slots of 64 KiB that one call may fill.
const SLOTS: usize = 8;

#[derive(Debug)]
pub(super) struct SegmentedUdp {
    socket: UdpSocket,
    records: Records,
    inbox: Inbox,
    header_len: usize,
}

pub(super) fn open(local: &str, remote: &str, template: Template, header: &[u8]) -> io::Result<SegmentedUdp> {
    let socket = udp::connect(local, remote)?;
    let size = u16::try_from(header.len() + template.bytes().len())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    set_option(socket.as_fd(), IntOption::UdpSegment(size))?;
    set_option(socket.as_fd(), IntOption::UdpGro)?;
    let count = (BYTES_MAX / usize::from(size)).min(SEGMENTS_MAX);
    let records = Records::new(template, header, count);
    Ok(SegmentedUdp { socket, records, inbox: Inbox::new(SLOTS, 1 << 16), header_len: header.len() })
}

impl Endpoint for SegmentedUdp {
    fn send(&mut self, first_sequence: u64, count: usize) -> io::Result<usize> {
        let count = count.min(self.records.count());
        let records = self.records.stamp(first_sequence, count);
        let flags = rustix::net::SendFlags::DONTWAIT;
        let sent = rustix::net::send(&self.socket, records, flags).map_err(io::Error::from);
        // All or nothing: it is one datagram until the kernel cuts it.
        Ok(if taken(sent)? > 0 { count } else { 0 })
    }

    fn receive(&mut self, sink: &mut dyn Sink) -> io::Result<usize> {
        let slots = self.inbox.receive(self.socket.as_fd())?;
        let mut frames = 0;
        for datagram in (0..slots).flat_map(|index| self.inbox.datagrams(index)) {
            sink.frame(datagram.get(self.header_len..).unwrap_or_default());
            frames += 1;
        }
        Ok(frames)
    }
}
