//! Packets that come in pieces, put together to be heard as if they had come whole.
//!
//! What was put together is given headers of its own and lies in memory that was there from the beginning, so that
//! whoever hears it needs not know. The time is asked for here and not by whoever turns the loop: pieces are rare.

use std::net::IpAddr;
use std::time::Instant;

use super::fragment::{Fragment, Outcome, Table};
use super::header::Path;
use super::packet::{Ip, Malformed};
use super::{Heard, User, copied};
use crate::frame::{Burst, Offload, Strip};

/// Ethernet and IPv4 headers.
const HEADERS_BYTES: usize = 34;
/// The longest packet.
const WHOLE_BYTES_MAX: usize = HEADERS_BYTES + super::fragment::WHOLE_BYTES_MAX;

/// Pieces that wait, and where they become one.
#[derive(Debug)]
pub(super) struct Assembly {
    table: Table,
    whole: Box<[u8]>,
    strip: Strip,
    burst: Burst,
    began: Instant,
}

impl Assembly {
    /// With all its memory.
    pub(super) fn new() -> rustix::io::Result<Self> {
        Ok(Assembly {
            table: Table::default(),
            whole: vec![0; WHOLE_BYTES_MAX].into_boxed_slice(),
            strip: Strip::new(WHOLE_BYTES_MAX.next_power_of_two())?,
            burst: Burst::default(),
            began: Instant::now(),
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl User {
    /// Hears a piece of a packet; with the last one, the packet.
    pub(super) fn hear_piece(&mut self, ip: &Ip, heard: Heard<'_>) -> Result<(), Malformed> {
        // What was put together is no piece, so it is there.
        let Some(mut assembly) = self.assembly.take() else { return Ok(()) };
        let heard = self.assemble(ip, heard, &mut assembly);
        // What it was gathered from goes away.
        self.flush();
        assembly.burst.clear();
        assembly.strip.clear();
        self.assembly = Some(assembly);
        heard
    }

    fn assemble(&mut self, ip: &Ip, heard: Heard<'_>, assembly: &mut Assembly) -> Result<(), Malformed> {
        let (Some(place), IpAddr::V4(source), IpAddr::V4(destination)) =
            (ip.fragment, ip.source, ip.destination)
        else {
            return Err(Malformed);
        };
        let fragment = Fragment {
            source,
            destination,
            protocol: ip.protocol,
            identification: place.id,
            offset: place.offset,
            has_more: place.has_more,
            payload: copied(&mut self.copy, heard, ip.at, ip.bytes)?,
        };
        let now_ms = assembly.now_ms();
        let bytes = match assembly.table.add(&fragment, now_ms, &mut assembly.whole[HEADERS_BYTES..]) {
            Outcome::Kept => return Ok(()),
            Outcome::Dropped => return Err(Malformed),
            Outcome::Whole(bytes) => bytes,
        };
        let (source, destination) = (ip.source, ip.destination);
        let path = Path { to: [0; 6], from: ip.from, source, destination, ttl: ip.ttl, tos: ip.tos };
        path.write(&mut assembly.whole, ip.protocol, bytes, [place.id, 0]);
        let Some(landing) = assembly.strip.room(HEADERS_BYTES + bytes) else { return Err(Malformed) };
        landing.segment().write(0, &assembly.whole[..HEADERS_BYTES + bytes]);
        assembly.burst.push(&[landing.segment()], Offload::default(), 0);
        let burst = &assembly.burst;
        burst.frames().iter().try_for_each(|frame| self.hear(frame, burst.segments(frame)))
    }
}
