//! Two ports that are each other's peer. A cable never drops: a source whose sink has no room is not asked.

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
    if !sink.has_room() {
        source.counters().held_back.add(1);
        return Outcome::HeldBack;
    }
    let outcome = receive(source, burst, turn);
    if outcome == Outcome::Moved {
        sink.send(burst, turn);
    }
    outcome
}

/// Fills `burst`, over whatever the strip held before.
#[inline]
pub(super) fn receive(source: &mut impl Queue, burst: &mut Burst, turn: &mut Turn) -> Outcome {
    turn.strip.clear();
    match source.receive(burst, turn) {
        Received::Frames => Outcome::Moved,
        Received::Nothing => Outcome::Nothing,
        Received::Failed(errno) => Outcome::Failed(errno),
    }
}
