//! Which frames a guest lets through, if it has said that by its control queue.
//!
//! **Problem.** A NIC that filters looks at each frame's first bytes; one that does not must not pay for it. And those
//! bytes may lie in another guest's memory, which may change them after we have looked.
//!
//! **Rejected.** A table beside the queue that the foreman changes while the worker reads: it would need a lock, or
//! versions of it.
//!
//! **Chosen.** A sieve is part of a queue, and a guest that changes it gets another queue, as with everything else that
//! changes about a guest's rings (`crate::adopt`). A queue without one decides that once a burst. One with a sieve
//! makes a burst of the frames that pass, each with a copy of its first bytes: those that were decided on are those that
//! are delivered.

use framewire_shared::limits::BURST_FRAMES_MAX;
use framewire_shared::rx_filter::{Mac, RxFilter, mode};

use crate::frame::{Burst, Cursor, Strip};

/// Addresses, type, and a tag's id.
const HEAD_BYTES: usize = 16;
const BROADCAST: Mac = [0xff; 6];
const VLAN_TYPE: [u8; 2] = [0x81, 0x00];
const VLAN_MASK: u16 = 0xfff;

/// See the module's text.
#[derive(Debug)]
pub struct Sieve(RxFilter);

impl Sieve {
    /// Of what a guest has chosen. None if everything passes.
    #[must_use]
    pub fn of(filter: &RxFilter) -> Option<Box<Self>> {
        let is_one = filter.has(mode::HEARD) && !filter.has(mode::PROMISCUOUS);
        is_one.then(|| Box::new(Sieve(*filter)))
    }

    /// Whether a frame passes that begins so.
    fn passes(&self, head: &[u8]) -> bool {
        let Some((to, rest)) = head.split_first_chunk::<6>() else { return false };
        // Behind the sender's address.
        if let Some([type_0, type_1, tag_0, tag_1]) = rest.get(6..)
            && [*type_0, *type_1] == VLAN_TYPE
            && !self.0.has_vlan(u16::from_be_bytes([*tag_0, *tag_1]) & VLAN_MASK)
        {
            return false;
        }
        let filter = &self.0;
        if *to == BROADCAST {
            !filter.has(mode::NO_BROADCAST)
        } else if to[0] & 1 != 0 {
            let all = mode::ALL_MULTICAST | mode::MULTICAST_OVERFLOW;
            !filter.has(mode::NO_MULTICAST) && (filter.has(all) || filter.multicast().contains(to))
        } else {
            let all = mode::ALL_UNICAST | mode::UNICAST_OVERFLOW;
            !filter.has(mode::NO_UNICAST)
                && (filter.has(all) || *to == filter.mac || filter.unicast().contains(to))
        }
    }
}

/// A burst's frames that have passed a sieve. Reused; allocates nothing.
#[derive(Debug)]
pub struct Sifted {
    /// They.
    pub burst: Burst,
    heads: Strip,
    /// Of each, its place in the burst that it came in.
    places: [usize; BURST_FRAMES_MAX],
    /// Frames of that burst that were looked at.
    seen: usize,
}

/// What became of the burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Frames of it that need no further attention.
    pub done: usize,
    /// How many of those were kept away.
    pub filtered: usize,
}

impl Sifted {
    /// None yet.
    ///
    /// # Errors
    /// If the kernel gives no memory.
    pub fn new() -> rustix::io::Result<Self> {
        // Each head takes up two lines of cache.
        let heads = Strip::new(2 * 64 * BURST_FRAMES_MAX)?;
        Ok(Sifted { burst: Burst::default(), heads, places: [0; BURST_FRAMES_MAX], seen: 0 })
    }

    /// Those of `burst` that pass, until there is no room.
    pub fn sift(&mut self, burst: &Burst, sieve: &Sieve) {
        self.burst.clear();
        self.heads.clear();
        self.seen = 0;
        for frame in burst.frames() {
            let (segments, len) = (burst.segments(frame), frame.len as usize);
            if !self.burst.has_room(1 + segments.len()) && !self.burst.is_empty() {
                return;
            }
            let Some(landing) = self.heads.room(HEAD_BYTES.min(len)) else { return };
            let (head, mut rest) = (landing.segment(), Cursor::new(segments));
            rest.copy_to(&head);
            let mut bytes = [0; HEAD_BYTES];
            let read = head.read(0, &mut bytes);
            // A frame in more pieces than a burst holds with its head is nobody's in earnest.
            if sieve.passes(&bytes[..read]) && self.burst.has_room(1 + segments.len()) {
                self.heads.keep(head.len());
                self.places[self.burst.len()] = self.seen;
                self.burst.push_joined_with(head, &mut rest, len - head.len(), frame.offload);
            }
            self.seen += 1;
        }
    }

    /// What became of them, when `sent` of those that passed are done with.
    #[must_use]
    pub fn outcome(&self, sent: usize) -> Outcome {
        let done = if sent < self.burst.len() { self.places[sent] } else { self.seen };
        Outcome { done, filtered: done - sent }
    }
}

#[cfg(test)]
mod test;
