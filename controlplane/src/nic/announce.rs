//! Timers of `announce-self`: which NICs are announced when.
//!
//! QEMU has one timer for each id, and a second call with the same id starts that timer anew. Delays are computed as
//! QEMU computes them, in 64 bits that wrap. Only that a timer may fire again without any delay, for ever, is not
//! copied: rounds are at least [`PAUSE_MIN`] apart.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::qmp::types::net::AnnounceSelf;

/// The shortest time between two rounds of one timer.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// One timer.
#[derive(Debug)]
struct Timer {
    parameters: AnnounceSelf,
    /// Rounds still to come.
    left: i64,
    next: Instant,
}

impl Timer {
    /// How long after a round the next one is due.
    fn pause(&self) -> Duration {
        let AnnounceSelf { initial, max, rounds, step, .. } = self.parameters;
        let nth = rounds.wrapping_sub(self.left).wrapping_sub(1);
        let pause_ms = initial.wrapping_add(nth.wrapping_mul(step));
        let pause_ms = if pause_ms < 0 || pause_ms > max { max } else { pause_ms };
        Duration::from_millis(u64::try_from(pause_ms).unwrap_or(0)).max(PAUSE_MIN)
    }
}

/// Which NICs a round is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// All.
    All,
    /// Those with these names, if they exist.
    Named(Vec<String>),
}

impl Whom {
    /// Whether a NIC is among them.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match self {
            Whom::All => true,
            Whom::Named(names) => names.iter().any(|named| named == name),
        }
    }
}

/// All timers, by id.
#[derive(Debug, Default)]
pub struct Announcements {
    timers: BTreeMap<String, Timer>,
}

impl Announcements {
    /// Starts a timer, or starts it anew; its first round is due at once. Without rounds there is no timer any more.
    pub fn start(&mut self, parameters: AnnounceSelf) {
        let id = parameters.id.clone().unwrap_or_default();
        if parameters.rounds == 0 {
            self.timers.remove(&id);
            return;
        }
        let left = parameters.rounds;
        self.timers.insert(id, Timer { parameters, left, next: Instant::now() });
    }

    /// When the next round is due.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.timers.values().map(|timer| timer.next).min()
    }

    /// The rounds that are due.
    #[must_use]
    pub fn take_due(&mut self) -> Vec<Whom> {
        let now = Instant::now();
        let mut due = Vec::new();
        self.timers.retain(|_id, timer| {
            if timer.next > now {
                return true;
            }
            let names = timer.parameters.interfaces.clone();
            due.push(names.map_or(Whom::All, Whom::Named));
            timer.left = timer.left.wrapping_sub(1);
            // A time that does not exist is as good as never.
            timer.next = now.checked_add(timer.pause()).unwrap_or(now + Duration::from_secs(u32::MAX.into()));
            timer.left != 0
        });
        due
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn parameters(initial: i64, max: i64, rounds: i64, step: i64) -> AnnounceSelf {
        AnnounceSelf { initial, max, rounds, step, interfaces: None, id: None }
    }

    /// The pauses in milliseconds, until there is none any more or `most` are seen.
    fn pauses(parameters: AnnounceSelf, most: usize) -> Vec<u128> {
        let mut announcements = Announcements::default();
        announcements.start(parameters);
        let mut pauses = Vec::new();
        while pauses.len() < most {
            assert_eq!(announcements.take_due(), [Whom::All]);
            let Some(timer) = announcements.timers.get_mut("") else { break };
            pauses.push(timer.pause().as_millis());
            timer.next = Instant::now();
        }
        pauses
    }

    #[test]
    fn pauses_are_those_of_qemu() {
        assert_eq!(pauses(parameters(50, 550, 5, 100), 9), [50, 150, 250, 350]);
        assert_eq!(pauses(parameters(100_000, 100, 2, 0), 9), [100]);
        assert_eq!(pauses(parameters(0, 100, 3, -100_000), 9), [10, 100]);
        assert_eq!(pauses(parameters(50, 550, 1, 100), 9), Vec::<u128>::new());
        assert_eq!(pauses(parameters(50, 550, -1, 100), 3), [50, 150, 250]);
        assert_eq!(pauses(parameters(i64::MAX, i64::MAX, i64::MIN, i64::MAX), 3).len(), 3);
    }

    #[test]
    fn a_timer_is_started_anew_and_ended_by_its_id() {
        let mut announcements = Announcements::default();
        let named =
            |rounds, id: &str| AnnounceSelf { id: Some(id.to_owned()), ..parameters(50, 550, rounds, 0) };
        announcements.start(named(5, "a"));
        announcements.start(AnnounceSelf { interfaces: Some(Vec::new()), ..named(5, "b") });
        assert_eq!(announcements.take_due(), [Whom::All, Whom::Named(Vec::new())]);
        assert_eq!(announcements.take_due(), []);
        announcements.start(named(1, "a"));
        assert_eq!(announcements.take_due(), [Whom::All]);
        announcements.start(named(0, "b"));
        assert_eq!(announcements.due(), None);
    }
}
