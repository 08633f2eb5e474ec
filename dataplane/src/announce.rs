//! A guest's address is announced to whoever hears it, though the guest has said nothing.
//!
//! `announce-self` and a front end whose guest has migrated ask for it, and the foreman asks the worker that carries
//! the NIC's queue: by a ring that is looked at when the doorbell was rung and at no other time, so that a turn pays
//! nothing for it. The frame is then on the wire as if it had come in at that queue: a link that is down, a hub, a
//! missing peer mean for it what they mean for any other.

use ringbuf::traits::Consumer;

use crate::wire::End;
use crate::worker::Worker;

/// What is to be announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    /// The key of the queue that it is to seem to come from.
    pub queue: u64,
    /// The guest's address.
    pub address: [u8; 6],
}

/// The shortest frame that Ethernet carries.
const FRAME_BYTES: usize = 60;

/// A broadcast in which `address` asks for its own IPv4 address, by RARP (RFC 903): what switches learn from.
fn frame(address: [u8; 6]) -> [u8; FRAME_BYTES] {
    const RARP: [u8; 2] = [0x80, 0x35];
    /// Ethernet, IPv4, the lengths of their addresses, and the request.
    const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 3];
    let nobody = [0; 4];
    let pieces: [&[u8]; 8] = [&[0xff; 6], &address, &RARP, &REQUEST, &address, &nobody, &address, &nobody];
    let mut frame = [0; FRAME_BYTES];
    let mut rest = &mut frame[..];
    for piece in pieces {
        let (here, after) = rest.split_at_mut(piece.len());
        here.copy_from_slice(piece);
        rest = after;
    }
    frame
}

impl Worker {
    /// Announces all that wait. One whose queue has left meanwhile is forgotten.
    #[cold]
    pub(crate) fn announce(&mut self) {
        while let Some(Announcement { queue, address }) = self.announcements.try_pop() {
            let Some(index) = self.ends.find(queue) else { continue };
            if self.ends[index].wire == End::NO_WIRE {
                continue;
            }
            let (wires, ends) = (&self.wires, &mut self.ends);
            wires.inject(index, &frame(address), ends, &mut self.burst, &mut self.turn);
            self.look_after_sinks(index);
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn frame_is_the_one_that_qemu_sends() {
        let wanted = "ffffffffffff525400aabb0180350001080006040003525400aabb0100000000525400aabb0100000000\
                      000000000000000000000000000000000000";
        let hex: String =
            frame([0x52, 0x54, 0, 0xaa, 0xbb, 1]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, wanted);
    }
}
