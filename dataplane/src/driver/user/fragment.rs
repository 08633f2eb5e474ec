//! IPv4 packets in pieces, and the pieces that become one again.
//!
//! **Problem.** Nothing in libslirp was broken as often as reassembly: pieces that reached past the end, pieces that were
//! used after they were gone, pieces that filled all memory. One that came before the first ends QEMU 7.2.
//!
//! **Rejected**: lists of fragments that are trimmed to fit each other, and memory that grows with what guests send.
//!
//! **Chosen.** A table that never grows: so many pieces of so many packets, each piece in a place of its own, refused if
//! larger than a frame carries. Whoever comes first is right: a piece that says again what is known is welcome, one that
//! says something else ends its packet, since only an attacker has two versions. When the table is full the oldest packet
//! goes. A whole packet is put together where the caller wants it.

use std::net::Ipv4Addr;

/// Packets that are being put together.
pub const PACKETS_MAX: usize = 16;
/// Pieces of all of them.
pub const PIECES_MAX: usize = 64;
/// What one piece carries: a frame of 1500 bytes less its header.
pub const PIECE_BYTES_MAX: usize = 1480;
/// The longest payload of a packet.
pub const WHOLE_BYTES_MAX: usize = 65_535 - HEADER_BYTES;

const HEADER_BYTES: usize = 20;
/// How long a packet may take to come.
const PATIENCE_MS: u64 = 30_000;
/// Offsets are counted in these.
const UNIT_BYTES: usize = 8;

/// A piece, as its IPv4 header describes it.
#[derive(Debug, Clone, Copy)]
pub struct Fragment<'a> {
    /// Who has sent it.
    pub source: Ipv4Addr,
    /// To whom.
    pub destination: Ipv4Addr,
    /// What it is a piece of: the protocol,
    pub protocol: u8,
    /// and a number.
    pub identification: u16,
    /// Where it belongs, in bytes.
    pub offset: usize,
    /// Whether there are pieces behind it.
    pub has_more: bool,
    /// What it carries.
    pub payload: &'a [u8],
}

/// What became of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It waits for the others.
    Kept,
    /// It is no piece of anything, or contradicts what came before.
    Dropped,
    /// It was the last that was missing. The packet's payload is so long.
    Whole(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    identification: u16,
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    name: Name,
    began_at_ms: u64,
    /// Which came before which, within one millisecond too.
    order: u64,
    /// How long it is, once its last piece is here.
    length: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    /// Index of its packet; none if the place is free.
    packet: Option<u8>,
    offset: usize,
    length: usize,
    bytes: [u8; PIECE_BYTES_MAX],
}

impl Piece {
    fn end(&self) -> usize {
        self.offset + self.length
    }

    fn payload(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

const FREE: Piece = Piece { packet: None, offset: 0, length: 0, bytes: [0; PIECE_BYTES_MAX] };

/// What a piece says about its packet.
enum Agreement {
    /// Nothing new.
    Repeats,
    /// Something that fits.
    Adds,
    /// Something else than others have said.
    Contradicts,
}

/// All pieces that wait.
#[derive(Debug)]
pub struct Table {
    packets: [Option<Packet>; PACKETS_MAX],
    pieces: Box<[Piece]>,
    packets_ever: u64,
}

impl Default for Table {
    fn default() -> Self {
        Table {
            packets: [None; PACKETS_MAX],
            pieces: vec![FREE; PIECES_MAX].into_boxed_slice(),
            packets_ever: 0,
        }
    }
}

impl Table {
    /// A piece has come. A packet that is whole with it is written to `whole`, if there is room.
    pub fn add(&mut self, fragment: &Fragment<'_>, now_ms: u64, whole: &mut [u8]) -> Outcome {
        self.expire(now_ms);
        if !is_possible(fragment) {
            return Outcome::Dropped;
        }
        let index = self.packet_of(fragment, now_ms);
        match self.agreement(index, fragment) {
            Agreement::Repeats => return Outcome::Kept,
            Agreement::Contradicts => {
                self.forget(index);
                return Outcome::Dropped;
            }
            Agreement::Adds => {}
        }
        if !self.keep(index, fragment) {
            return Outcome::Dropped;
        }
        match self.is_whole(index) {
            Some(length) => {
                let written = self.write(index, length, whole);
                self.forget(index);
                written
            }
            None => Outcome::Kept,
        }
    }

    /// Drops what has waited too long.
    pub fn expire(&mut self, now_ms: u64) {
        for index in 0..PACKETS_MAX {
            let began = self.packets[index].map(|packet| packet.began_at_ms);
            if began.is_some_and(|began| now_ms.saturating_sub(began) > PATIENCE_MS) {
                self.forget(index);
            }
        }
    }

    /// How many pieces wait.
    #[must_use]
    pub fn pieces_waiting(&self) -> usize {
        self.pieces.iter().filter(|piece| piece.packet.is_some()).count()
    }

    /// The packet that a piece belongs to: a new one, in the oldest one's place if need be.
    fn packet_of(&mut self, fragment: &Fragment<'_>, now_ms: u64) -> usize {
        let name = Name {
            source: fragment.source,
            destination: fragment.destination,
            protocol: fragment.protocol,
            identification: fragment.identification,
        };
        let known = |packet: &Option<Packet>| packet.is_some_and(|packet| packet.name == name);
        if let Some(index) = self.packets.iter().position(known) {
            return index;
        }
        let index = match self.packets.iter().position(Option::is_none) {
            Some(index) => index,
            None => self.forget_oldest(),
        };
        self.packets_ever += 1;
        let packet = Packet { name, began_at_ms: now_ms, order: self.packets_ever, length: None };
        self.packets[index] = Some(packet);
        index
    }

    fn of_packet(&self, index: usize) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(move |piece| piece.packet.map(usize::from) == Some(index))
    }

    fn agreement(&self, index: usize, fragment: &Fragment<'_>) -> Agreement {
        let (begin, end) = (fragment.offset, fragment.offset + fragment.payload.len());
        let length = self.packets[index].and_then(|packet| packet.length);
        let furthest = self.of_packet(index).map(Piece::end).max().unwrap_or(0);
        let ends_elsewhere = match length {
            Some(length) => end > length || !fragment.has_more && end != length,
            None => !fragment.has_more && furthest > end,
        };
        if ends_elsewhere {
            return Agreement::Contradicts;
        }
        let mut repeats = false;
        for piece in self.of_packet(index) {
            let (from, to) = (begin.max(piece.offset), end.min(piece.end()));
            if from < to {
                if fragment.payload[from - begin..to - begin]
                    != piece.payload()[from - piece.offset..to - piece.offset]
                {
                    return Agreement::Contradicts;
                }
                repeats |= from == begin && to == end;
            }
        }
        let tells_the_length = !fragment.has_more && length.is_none();
        if repeats && !tells_the_length { Agreement::Repeats } else { Agreement::Adds }
    }

    /// Puts a piece where there is room, or where the oldest packet made some. Returns whether its own packet is
    /// still there.
    fn keep(&mut self, index: usize, fragment: &Fragment<'_>) -> bool {
        if self.pieces.iter().all(|piece| piece.packet.is_some()) && self.forget_oldest() == index {
            return false;
        }
        let free = self.pieces.iter().position(|piece| piece.packet.is_none());
        let (Some(free), Some(packet)) = (free, &mut self.packets[index]) else { return false };
        let length = fragment.payload.len();
        if !fragment.has_more {
            packet.length = Some(fragment.offset + length);
        }
        let piece = &mut self.pieces[free];
        piece.packet = u8::try_from(index).ok();
        (piece.offset, piece.length) = (fragment.offset, length);
        piece.bytes[..length].copy_from_slice(fragment.payload);
        true
    }

    /// The packet's length, if nothing is missing.
    fn is_whole(&self, index: usize) -> Option<usize> {
        let length = self.packets[index]?.length?;
        let mut covered = 0;
        // Each round gets further or ends: no more rounds than pieces.
        while covered < length {
            let next = self.of_packet(index).filter(|piece| piece.offset <= covered).map(Piece::end).max();
            covered = next.filter(|next| *next > covered)?;
        }
        Some(length)
    }

    fn write(&self, index: usize, length: usize, whole: &mut [u8]) -> Outcome {
        let Some(whole) = whole.get_mut(..length) else { return Outcome::Dropped };
        for piece in self.of_packet(index) {
            whole[piece.offset..piece.end()].copy_from_slice(piece.payload());
        }
        Outcome::Whole(length)
    }

    fn forget(&mut self, index: usize) {
        self.packets[index] = None;
        let its = |piece: &&mut Piece| piece.packet.map(usize::from) == Some(index);
        self.pieces.iter_mut().filter(its).for_each(|piece| piece.packet = None);
    }

    fn forget_oldest(&mut self) -> usize {
        let order = |index: &usize| self.packets[*index].map_or(u64::MAX, |packet| packet.order);
        let oldest = (0..PACKETS_MAX).min_by_key(order).expect("there are sixteen");
        self.forget(oldest);
        oldest
    }
}

/// Whether there can be such a piece: not empty, no larger than a frame carries, in units but for the last, and
/// within what a packet can be.
fn is_possible(fragment: &Fragment<'_>) -> bool {
    let length = fragment.payload.len();
    let end = fragment.offset.checked_add(length);
    (1..=PIECE_BYTES_MAX).contains(&length)
        && fragment.offset.is_multiple_of(UNIT_BYTES)
        && (!fragment.has_more || length.is_multiple_of(UNIT_BYTES))
        && end.is_some_and(|end| end <= WHOLE_BYTES_MAX)
}

/// A piece of what goes to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Where it begins.
    pub offset: usize,
    /// How long it is.
    pub length: usize,
    /// Whether there are pieces behind it.
    pub has_more: bool,
}

/// How a payload is cut for an interface of this MTU: into equal pieces of whole units, but for the last.
pub fn cuts(payload_bytes: usize, mtu: usize) -> impl Iterator<Item = Cut> {
    let fits = mtu.saturating_sub(HEADER_BYTES);
    let each =
        if payload_bytes <= fits { payload_bytes } else { fits / UNIT_BYTES * UNIT_BYTES }.max(UNIT_BYTES);
    (0..payload_bytes).step_by(each).map(move |offset| {
        let length = each.min(payload_bytes - offset);
        Cut { offset, length, has_more: offset + length < payload_bytes }
    })
}

#[cfg(test)]
mod test;
