//! Two ports that are each other's peer. A cable never drops: a source is asked for as much as its sink has
//! room for, and learns what the sink took in the end.

use super::Outcome;
use crate::driver::{Queue, Received};
use crate::frame::Burst;
use crate::turn::Turn;

/// Moves one burst from `source` to `sink`.
#[inline]
pub(super) fn pass(
    source: &mut impl Queue,
    sink: &mut impl Queue,
    burst: &mut Burst,
    turn: &mut Turn,
) -> Outcome {
    let room = sink.room();
    if room == 0 {
        source.counters().held_back.add(1);
        return Outcome::HeldBack;
    }
    let outcome = receive(source, room, burst, turn);
    if outcome != Outcome::Moved {
        return outcome;
    }
    let taken = sink.send(burst, turn);
    source.settle(burst, taken, turn);
    if taken == 0 { Outcome::HeldBack } else { Outcome::Moved }
}

/// Fills `burst` with up to `limit` frames, over whatever the strip held before.
#[inline]
pub(super) fn receive(source: &mut impl Queue, limit: usize, burst: &mut Burst, turn: &mut Turn) -> Outcome {
    turn.strip.clear();
    burst.limit(limit);
    match source.receive(burst, turn) {
        Received::Frames => Outcome::Moved,
        Received::Nothing => Outcome::Nothing,
        Received::Failed(errno) => Outcome::Failed(errno),
    }
}
