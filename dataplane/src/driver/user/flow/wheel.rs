//! Timers of flows: when which number is due.
//!
//! Four wheels of 64 places; a place of the first is 10 ms wide, one of the next as wide as the whole wheel before. A
//! timer lies in the coarsest wheel that tells it from now, and moves down as its time comes. To start or stop one is
//! to link or unlink it; a wheel without timers costs nothing, and the next that is due is found by looking at the
//! places, not at the timers.

/// Width of the finest place.
pub(in super::super) const TICK_NS: u64 = 10_000_000;

const LEVELS: usize = 4;
const PLACES: usize = 64;
const BITS: u32 = 6;
/// The furthest that a timer can be: about two days.
const TICKS_MAX: u64 = (1 << (BITS * 4)) - 1;
const NOBODY: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Link {
    next: u32,
    previous: u32,
    /// When it is due.
    due: u64,
    /// Where it lies, or [`NOBODY`].
    place: u32,
}

const LOOSE: Link = Link { next: NOBODY, previous: NOBODY, due: 0, place: NOBODY };

/// Timers by number.
#[derive(Debug)]
pub(in super::super) struct Wheel {
    now: u64,
    heads: [u32; LEVELS * PLACES],
    links: Vec<Link>,
    running: usize,
}

impl Wheel {
    /// For numbers below `numbers`; memory is touched as numbers are first used.
    pub(in super::super) fn new(numbers: usize, now_ns: u64) -> Self {
        let links = Vec::with_capacity(numbers);
        Wheel { now: now_ns / TICK_NS, heads: [NOBODY; LEVELS * PLACES], links, running: 0 }
    }

    /// Starts a timer, or starts it anew.
    pub(in super::super) fn start(&mut self, number: u32, due_ns: u64) {
        while self.links.len() <= number as usize {
            self.links.push(LOOSE);
        }
        self.stop(number);
        let due = due_ns.div_ceil(TICK_NS).clamp(self.now + 1, self.now + TICKS_MAX);
        self.link(number, due);
        self.running += 1;
    }

    /// Whether a timer is running.
    pub(in super::super) fn is_running(&self, number: u32) -> bool {
        self.links.get(number as usize).is_some_and(|link| link.place != NOBODY)
    }

    /// Stops a timer, if it is running.
    pub(in super::super) fn stop(&mut self, number: u32) {
        if self.is_running(number) {
            self.unlink(number);
            self.running -= 1;
        }
    }

    /// The next timer that is due by now; it is not running any more. None when there is no other.
    pub(in super::super) fn expired(&mut self, now_ns: u64) -> Option<u32> {
        let until = now_ns / TICK_NS;
        if self.running == 0 {
            self.now = self.now.max(until);
            return None;
        }
        loop {
            let head = self.heads[place_of(0, self.now)];
            if head != NOBODY {
                self.stop(head);
                return Some(head);
            }
            if self.now >= until {
                return None;
            }
            self.now += 1;
            self.move_down();
        }
    }

    /// A time at which something is to be done, not later than when the next timer is due.
    pub(in super::super) fn next_ns(&self) -> Option<u64> {
        if self.running == 0 {
            return None;
        }
        let soonest = (0u32..).zip(0..LEVELS).filter_map(|(level, _)| {
            let shift = BITS * level;
            let here = self.now >> shift;
            let steps = (0..=PLACES as u64).find(|step| {
                let place = place_of(level, (here + step) << shift);
                self.heads[place] != NOBODY && (level == 0 || *step > 0)
            });
            steps.map(|steps| (here + steps) << shift)
        });
        Some(soonest.min().unwrap_or(self.now + 1) * TICK_NS)
    }

    /// What lies in the coarser places that have just begun, moves to finer ones.
    fn move_down(&mut self) {
        for level in (1u32..).take(LEVELS - 1) {
            if self.now & ((1 << (BITS * level)) - 1) != 0 {
                break;
            }
            let place = place_of(level, self.now);
            while self.heads[place] != NOBODY {
                let number = self.heads[place];
                let due = self.links[number as usize].due;
                self.unlink(number);
                self.link(number, due);
            }
        }
    }

    fn link(&mut self, number: u32, due: u64) {
        let distance = due.saturating_sub(self.now);
        let level = (0u32..3).find(|level| distance < 1 << (BITS * (level + 1))).unwrap_or(3);
        let place = place_of(level, due);
        let next = std::mem::replace(&mut self.heads[place], number);
        if next != NOBODY {
            self.links[next as usize].previous = number;
        }
        let at = u32::try_from(place).expect("256 places");
        self.links[number as usize] = Link { next, previous: NOBODY, due, place: at };
    }

    fn unlink(&mut self, number: u32) {
        let Link { next, previous, place, .. } = std::mem::replace(&mut self.links[number as usize], LOOSE);
        if next != NOBODY {
            self.links[next as usize].previous = previous;
        }
        if previous == NOBODY {
            self.heads[place as usize] = next;
        } else {
            self.links[previous as usize].next = next;
        }
    }
}

fn place_of(level: u32, tick: u64) -> usize {
    let within = (tick >> (BITS * level)) & (PLACES as u64 - 1);
    level as usize * PLACES + usize::try_from(within).expect("below 64")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all_expired(wheel: &mut Wheel, now_ns: u64) -> Vec<u32> {
        std::iter::from_fn(|| wheel.expired(now_ns)).collect()
    }

    #[test]
    fn a_stopped_timer_is_never_due_and_one_started_anew_later() {
        let mut wheel = Wheel::new(8, 0);
        wheel.start(0, 50 * TICK_NS);
        wheel.start(1, 50 * TICK_NS);
        wheel.start(2, 50 * TICK_NS);
        wheel.stop(1);
        wheel.start(2, 5000 * TICK_NS);
        assert_eq!(all_expired(&mut wheel, 100 * TICK_NS), [0]);
        assert_eq!(all_expired(&mut wheel, 5000 * TICK_NS), [2]);
        assert_eq!(wheel.next_ns(), None);
    }

    proptest! {
        #[test]
        fn timers_are_due_at_their_time_and_are_announced_in_time(
            dues in prop::collection::vec(1u64..400_000, 1..40),
            begin in 0u64..100_000,
        ) {
            let mut wheel = Wheel::new(64, begin * TICK_NS);
            for (number, due) in (0u32..).zip(&dues) {
                wheel.start(number, (begin + due) * TICK_NS);
            }
            let mut left: Vec<u64> = dues.iter().map(|due| begin + due).collect();
            left.sort_unstable();
            let mut fired = 0;
            while let Some(next) = wheel.next_ns() {
                // Never announced too late.
                prop_assert!(next <= left[fired] * TICK_NS);
                for number in all_expired(&mut wheel, next) {
                    prop_assert_eq!((begin + dues[number as usize]) * TICK_NS, next);
                    fired += 1;
                }
            }
            prop_assert_eq!(fired, dues.len());
        }
    }
}
