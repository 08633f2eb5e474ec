//! Silences: times in which nothing arrived although frames were on their way.

use std::time::{Duration, Instant};

/// Shorter silences are not kept: a scheduler tick is no news.
const WORTH_KEEPING: Duration = Duration::from_millis(1);
/// Enough for any run that is worth reporting.
const KEPT_MAX: usize = 10_000;

/// One silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// When the last frame before it arrived.
    pub begun: Instant,
    /// Until the next one did.
    pub length: Duration,
}

/// Watches arrivals.
#[derive(Debug)]
pub(super) struct Gaps {
    last: Instant,
    longest: Duration,
    kept: Vec<Gap>,
}

impl Gaps {
    pub(super) fn new(now: Instant) -> Self {
        Gaps { last: now, longest: Duration::ZERO, kept: Vec::new() }
    }

    /// Frames arrived.
    pub(super) fn arrival(&mut self, now: Instant) {
        let length = now - self.last;
        self.longest = self.longest.max(length);
        if length >= WORTH_KEEPING && self.kept.len() < KEPT_MAX {
            self.kept.push(Gap { begun: self.last, length });
        }
        self.last = now;
    }

    /// Forgets what came before the measurement.
    pub(super) fn restart(&mut self, now: Instant) {
        *self = Gaps::new(now);
    }

    /// All silences of a millisecond or more; one that has not ended counts up to `now`.
    pub(super) fn finish(mut self, now: Instant) -> Vec<Gap> {
        self.arrival(now);
        self.kept
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn silence_is_kept_even_if_it_never_ends() {
        let begun = Instant::now();
        let at = |us| begun + Duration::from_micros(us);
        let mut gaps = Gaps::new(at(0));
        gaps.arrival(at(10));
        gaps.arrival(at(900));
        gaps.arrival(at(5900));
        let kept = gaps.finish(at(9900));
        let lengths: Vec<u128> = kept.iter().map(|gap| gap.length.as_micros()).collect();
        assert_eq!(lengths, [5000, 4000]);
        assert_eq!(kept[0].begun, at(900));
    }
}
