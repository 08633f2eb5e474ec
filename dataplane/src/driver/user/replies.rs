//! What is to be said to the guest and fits a packet: answers, errors, acknowledgements.
//!
//! **Problem.** A queue hears frames when it is a sink and speaks when it is a source, at another time; and whoever hears
//! it may have no room just then.
//!
//! **Chosen.** Answers are written into memory that was there from the beginning and wait for the next time that the
//! queue is asked. They are few and small. When that memory is full, answers are dropped and counted, as any network
//! does; whoever wanted one asks again.

use framewire_shared::counters::{DropReason, QueueCounters};

use super::header::{MTU, Path};
use super::packet::UDP_BYTES;
use crate::driver::arrive;
use crate::frame::{Burst, HEADROOM_BYTES, Offload};
use crate::turn::Turn;

/// Bytes of answers that wait at most.
const MEMORY_BYTES: usize = 256 << 10;
/// Answers that wait at most.
const FRAMES_MAX: usize = 512;

/// Answers that wait.
#[derive(Debug)]
pub(super) struct Replies {
    memory: Vec<u8>,
    /// Where each one ends.
    ends: Vec<usize>,
    /// So many have been given.
    given: usize,
    /// Number of the next IPv4 packet.
    id: u16,
    counters: &'static QueueCounters,
}

impl Replies {
    /// None yet.
    pub(super) fn new(first_id: u16, counters: &'static QueueCounters) -> Self {
        let (memory, ends) = (Vec::with_capacity(MEMORY_BYTES), Vec::with_capacity(FRAMES_MAX));
        Replies { memory, ends, given: 0, id: first_id, counters }
    }

    /// Whether any wait.
    pub(super) fn is_empty(&self) -> bool {
        self.given == self.ends.len()
    }

    /// The number of an IPv4 packet.
    pub(super) fn next_id(&mut self) -> u16 {
        self.id = self.id.wrapping_add(1);
        self.id
    }

    /// Room for an answer of `bytes` bytes, all zero; to be filled in. None if there is no room.
    pub(super) fn add(&mut self, bytes: usize) -> Option<&mut [u8]> {
        if self.ends.len() == FRAMES_MAX || self.memory.len() + bytes > MEMORY_BYTES {
            self.counters.drop_frames(DropReason::NoRoom, 1);
            return None;
        }
        let begin = self.memory.len();
        self.memory.resize(begin + bytes, 0);
        self.ends.push(self.memory.len());
        Some(&mut self.memory[begin..])
    }

    /// Says `body` in a protocol of its own. One that does not fit a packet is not said.
    pub(super) fn packet(&mut self, path: &Path, protocol: u8, body: &[&[u8]]) {
        let bytes = body.iter().map(|part| part.len()).sum();
        let head_bytes = path.header_bytes();
        if bytes > MTU - (head_bytes - 14) {
            return self.counters.drop_frames(DropReason::TooLong, 1);
        }
        let bits = [self.next_id(), 0];
        let Some(frame) = self.add(head_bytes + bytes) else { return };
        let mut at = path.write(frame, protocol, bytes, bits);
        for part in body {
            frame[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
    }

    /// Says a datagram, from and to these ports.
    pub(super) fn datagram(&mut self, path: &Path, ports: [u16; 2], payload: &[u8]) {
        if payload.len() > MTU - UDP_BYTES {
            return self.counters.drop_frames(DropReason::TooLong, 1);
        }
        let header = path.udp(ports, payload);
        self.packet(path, super::packet::protocol::UDP, &[&header, payload]);
    }

    /// Gives as many as there is room for.
    #[inline]
    pub(super) fn give(&mut self, burst: &mut Burst, turn: &mut Turn) {
        if self.is_empty() {
            return;
        }
        while let Some(end) = self.ends.get(self.given) {
            let begin = if self.given == 0 { 0 } else { self.ends[self.given - 1] };
            let bytes = &self.memory[begin..*end];
            if !burst.has_room(1) {
                return;
            }
            let Some(landing) = turn.strip.room(bytes.len()) else { return };
            let frame = landing.segment();
            frame.write(0, bytes);
            if arrive(frame, Offload::default(), HEADROOM_BYTES, burst, self.counters) {
                turn.strip.keep(bytes.len());
            }
            self.given += 1;
        }
        self.memory.clear();
        self.ends.clear();
        self.given = 0;
    }
}
