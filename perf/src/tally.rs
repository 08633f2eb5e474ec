//! Tells loss, duplication, reorder and corruption apart, frame by frame.
//!
//! Comparing how many were sent with how many arrived hides a duplicate behind a loss. Keeping every number in a
//! set costs more than receiving the frame. Chosen: one bit for each of the last million numbers; a frame that is
//! older than that can no longer be judged and is counted as stale (it never was one in any run so far).
//!
//! A frame is lost when it has not arrived 20 ms after it was sent; the caller keeps the time and says up to which
//! number frames are due ([`Tally::expire`]). One that comes after all is counted as late, and no longer as lost.

use crate::frame::{Verdict, judge};

/// Where received frames go.
pub trait Sink {
    /// Takes one frame.
    fn frame(&mut self, frame: &[u8]);

    /// Takes frames that were counted, but not read.
    fn unread(&mut self, frames: u64);
}

/// Bits kept: must exceed what a generator sends in 20 ms (10 Mpps: 200,000).
const KEPT: u64 = 1 << 20;

/// What has arrived so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Different frames that arrived whole.
    pub received: u64,
    /// Frames that did not arrive in time, nor later.
    pub lost: u64,
    /// Frames that arrived after they had been written off; contained in `received`.
    pub late: u64,
    /// Further copies of frames that had arrived.
    pub duplicated: u64,
    /// Frames that arrived after a later one of their flow; contained in `received`.
    pub reordered: u64,
    /// Frames with our magic that were not as sent.
    pub corrupt: u64,
    /// Frames of somebody else.
    pub foreign: u64,
    /// Frames too old to be judged.
    pub stale: u64,
}

impl Counts {
    /// Whether what arrived is exactly what was sent, in order, apart from frames lost.
    pub fn intact(&self) -> bool {
        self.duplicated == 0 && self.reordered == 0 && self.corrupt == 0 && self.stale == 0
    }
}

/// Judges and counts frames by their sequence numbers.
#[derive(Debug)]
pub struct Tally {
    counts: Counts,
    seen: Vec<u64>,
    /// One more than the highest number that arrived.
    next: u64,
    /// Numbers below have been checked for loss.
    due: u64,
    /// For each flow, one more than the highest number that arrived.
    flow_next: Vec<u64>,
}

impl Tally {
    /// For frames that belong to `flows` flows in turn.
    pub fn new(flows: u16) -> Self {
        let words = usize::try_from(KEPT / 64).expect("a small constant");
        Tally {
            counts: Counts::default(),
            seen: vec![0; words],
            next: 0,
            due: 0,
            flow_next: vec![0; usize::from(flows.max(1))],
        }
    }

    /// What has arrived so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// One more than the highest number that arrived.
    pub fn newest(&self) -> u64 {
        self.next
    }

    /// How many of `sent` frames are neither here nor written off.
    pub fn outstanding(&self, sent: u64) -> u64 {
        sent.saturating_sub(self.counts.received + self.counts.lost)
    }

    /// Frames numbered below `due` should have arrived by now: those that have not are lost.
    pub fn expire(&mut self, due: u64) {
        // A sink that only counts frames knows no numbers: all that is not here is lost.
        if self.next == 0 && self.counts.received > 0 {
            self.counts.lost = self.counts.lost.max(due.saturating_sub(self.counts.received));
            return;
        }
        let oldest_known = self.next.saturating_sub(KEPT);
        for sequence in self.due..due {
            let arrived = sequence < self.next && sequence >= oldest_known && self.is_seen(sequence);
            self.counts.lost += u64::from(!arrived);
        }
        self.due = self.due.max(due);
    }

    /// No more will come of the `sent` frames: what is not here is lost.
    pub fn settle(&mut self, sent: u64) {
        self.expire(sent);
        if self.next == 0 {
            // Frames that were written off may have come after all, which a mere count does not show.
            self.counts.lost = sent.saturating_sub(self.counts.received);
        }
    }

    fn arrived(&mut self, sequence: u64) {
        if sequence >= self.next {
            self.advance_to(sequence);
        } else if sequence + KEPT < self.next {
            self.counts.stale += 1;
            return;
        } else if self.is_seen(sequence) {
            self.counts.duplicated += 1;
            return;
        }
        self.mark(sequence);
        self.counts.received += 1;
        if sequence < self.due {
            self.counts.late += 1;
            self.counts.lost -= 1;
        }
        self.note_order(sequence);
    }

    /// Forgets the numbers whose bits the ones up to `sequence` take over.
    fn advance_to(&mut self, sequence: u64) {
        if sequence - self.next >= KEPT {
            self.seen.fill(0);
        } else {
            for skipped in self.next..=sequence {
                let (word, bit) = place(skipped);
                self.seen[word] &= !bit;
            }
        }
        self.next = sequence + 1;
    }

    fn note_order(&mut self, sequence: u64) {
        let flow = usize::try_from(sequence % self.flow_next.len() as u64).expect("below a length");
        let flow_next = &mut self.flow_next[flow];
        if sequence < *flow_next {
            self.counts.reordered += 1;
        } else {
            *flow_next = sequence + 1;
        }
    }

    fn is_seen(&self, sequence: u64) -> bool {
        let (word, bit) = place(sequence);
        self.seen[word] & bit != 0
    }

    fn mark(&mut self, sequence: u64) {
        let (word, bit) = place(sequence);
        self.seen[word] |= bit;
    }
}

impl Sink for Tally {
    fn frame(&mut self, frame: &[u8]) {
        match judge(frame) {
            Verdict::Whole { sequence } => self.arrived(sequence),
            Verdict::Corrupt => self.counts.corrupt += 1,
            Verdict::Foreign => self.counts.foreign += 1,
        }
    }

    fn unread(&mut self, frames: u64) {
        self.counts.received += frames;
    }
}

fn place(sequence: u64) -> (usize, u64) {
    let slot = sequence % KEPT;
    (usize::try_from(slot / 64).expect("below a small constant"), 1 << (slot % 64))
}

#[cfg(test)]
mod test {
    use super::*;

    fn tally_of(sequences: &[u64]) -> Tally {
        let mut tally = Tally::new(1);
        for sequence in sequences {
            tally.arrived(*sequence);
        }
        tally
    }

    #[test]
    fn frames_in_order_are_just_received() {
        let mut tally = tally_of(&[0, 1, 2, 3]);
        tally.expire(4);
        assert_eq!(tally.counts(), Counts { received: 4, ..Counts::default() });
        assert_eq!(tally.outstanding(6), 2);
    }

    #[test]
    fn duplicate_does_not_hide_a_loss() {
        let mut tally = tally_of(&[0, 1, 1, 3]);
        tally.expire(4);
        assert_eq!(tally.counts(), Counts { received: 3, lost: 1, duplicated: 1, ..Counts::default() });
    }

    #[test]
    fn reordered_frame_is_not_lost() {
        let mut tally = tally_of(&[0, 2, 1, 3]);
        tally.expire(4);
        assert_eq!(tally.counts(), Counts { received: 4, reordered: 1, ..Counts::default() });
    }

    #[test]
    fn frame_that_comes_after_its_time_is_late_not_lost() {
        let mut tally = tally_of(&[0, 2]);
        tally.expire(3);
        assert_eq!(tally.counts().lost, 1);
        tally.arrived(1);
        assert_eq!(tally.counts(), Counts { received: 3, late: 1, reordered: 1, ..Counts::default() });
        tally.arrived(1);
        assert_eq!(tally.counts().duplicated, 1);
    }

    #[test]
    fn order_is_judged_within_a_flow() {
        let mut tally = Tally::new(2);
        for sequence in [1, 3, 0, 2, 5, 4] {
            tally.arrived(sequence);
        }
        assert_eq!(tally.counts(), Counts { received: 6, ..Counts::default() });
        tally.arrived(9);
        tally.arrived(7);
        assert_eq!(tally.counts().reordered, 1);
    }

    #[test]
    fn frame_from_long_ago_is_stale() {
        let mut tally = tally_of(&[0, KEPT + 5]);
        tally.arrived(3);
        assert_eq!(tally.counts().stale, 1);
        assert!(!tally.counts().intact());
    }

    #[test]
    fn numbers_that_wrap_around_the_bits_are_new() {
        let sequences: Vec<u64> = (0..3 * KEPT).step_by(3).collect();
        let mut tally = Tally::new(1);
        let mut due = 0;
        for sequence in sequences {
            tally.arrived(sequence);
            if sequence > due + 1000 {
                tally.expire(due + 500);
                due += 500;
            }
        }
        assert_eq!(tally.counts().received, KEPT);
        assert_eq!(tally.counts().duplicated, 0);
        assert_eq!(tally.counts().lost, due - due.div_ceil(3));
    }

    #[test]
    fn sink_that_only_counts_loses_what_is_missing() {
        let mut tally = Tally::new(1);
        tally.unread(90);
        tally.expire(100);
        tally.expire(80);
        assert_eq!(tally.counts(), Counts { received: 90, lost: 10, ..Counts::default() });
        assert_eq!(tally.outstanding(120), 20);
        tally.unread(25);
        tally.settle(120);
        assert_eq!(tally.counts(), Counts { received: 115, lost: 5, ..Counts::default() });
    }
}
