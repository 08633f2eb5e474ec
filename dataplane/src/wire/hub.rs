//! More than two ports that all hear each other. A hub never loops onto itself: the side that a frame came
//! from does not get it back. It never holds back either, since one slow listener would stop all others: a
//! listener without room loses frames, and that is counted there.

use framewire_shared::counters::DropReason;
use framewire_shared::limits::BURST_FRAMES_MAX;

use super::{Outcome, Slab, cable};
use crate::driver::Queue;
use crate::frame::Burst;
use crate::turn::Turn;

/// Moves one burst from end `index` to the heads of all other sides.
pub(super) fn flood(
    index: u32,
    side: u32,
    heads: &[u32],
    ends: &mut Slab,
    burst: &mut Burst,
    turn: &mut Turn,
) -> Outcome {
    let outcome = cable::receive(ends[index].queue.as_mut(), BURST_FRAMES_MAX, burst, turn);
    if outcome != Outcome::Moved {
        return outcome;
    }
    tell(side, heads, ends, burst, turn);
    ends[index].queue.settle(burst, burst.len(), turn);
    outcome
}

/// Sends one burst to the heads of all sides but `side`.
pub(super) fn tell(side: u32, heads: &[u32], ends: &mut Slab, burst: &Burst, turn: &mut Turn) {
    for (_side, head) in (0u32..).zip(heads).filter(|(other, _head)| *other != side) {
        let listener = ends[*head].queue.as_mut();
        let taken = if listener.room() > 0 { listener.send(burst, turn) } else { 0 };
        if taken < burst.len() {
            listener.counters().drop_frames(DropReason::NoRoom, (burst.len() - taken) as u64);
        }
    }
}
