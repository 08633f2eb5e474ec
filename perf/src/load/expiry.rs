//! Which frames are due: it remembers when frames were sent, to about a millisecond.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// Notes closer together than this are one.
const GRAIN: Duration = Duration::from_millis(1);

/// Times at which frames were sent.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// When a group of frames was begun, and how many had been sent when the last of them was.
    groups: VecDeque<(Instant, u64)>,
}

impl Expiry {
    /// Remembers that `sent` frames have been sent by `now`.
    pub(super) fn note(&mut self, now: Instant, sent: u64) {
        match self.groups.back_mut() {
            Some((begun, count)) if now.saturating_duration_since(*begun) < GRAIN => *count = sent,
            _ => self.groups.push_back((now, sent)),
        }
    }

    /// Gives all frames on their way this much longer.
    pub(super) fn postpone(&mut self, longer: Duration) {
        self.groups.iter_mut().for_each(|(begun, _)| *begun += longer);
    }

    /// How many of the first frames should have arrived by `now`, if that has changed.
    pub(super) fn due(&mut self, now: Instant) -> Option<u64> {
        let mut due = None;
        while let Some((begun, sent)) = self.groups.front().copied()
            && now.saturating_duration_since(begun) >= PATIENCE + GRAIN
        {
            due = Some(sent);
            self.groups.pop_front();
        }
        due
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn frames_are_due_after_their_time_and_not_before() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut expiry = Expiry::default();
        expiry.note(at(0), 10);
        expiry.note(at(0), 20);
        expiry.note(at(5), 30);
        assert_eq!(expiry.due(at(20)), None);
        assert_eq!(expiry.due(at(21)), Some(20));
        assert_eq!(expiry.due(at(22)), None);
        expiry.postpone(Duration::from_millis(30));
        assert_eq!(expiry.due(at(55)), None);
        assert_eq!(expiry.due(at(60)), Some(30));
    }
}
