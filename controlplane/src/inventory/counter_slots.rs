//! Which lines of counters are taken: one bit each, so that a clone of the inventory costs a kilobyte.

use framewire_shared::limits::QUEUES_MAX;

const WORDS: usize = QUEUES_MAX / 64;

/// The lines that queues own.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct CounterSlots {
    taken: [u64; WORDS],
    count: usize,
}

impl Default for CounterSlots {
    fn default() -> Self {
        CounterSlots { taken: [0; WORDS], count: 0 }
    }
}

impl std::fmt::Debug for CounterSlots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CounterSlots({} of {QUEUES_MAX})", self.count)
    }
}

fn place(slot: u32) -> (usize, u64) {
    (slot as usize / 64, 1 << (slot % 64))
}

impl CounterSlots {
    /// How many are left.
    pub(super) fn free(&self) -> usize {
        QUEUES_MAX - self.count
    }

    /// Takes the lowest free one, which keeps the touched part of the status region small.
    pub(super) fn take(&mut self) -> Option<u32> {
        let word = self.taken.iter().position(|word| *word != u64::MAX)?;
        let slot = u32::try_from(word * 64).ok()? + self.taken[word].trailing_ones();
        self.take_this(slot).then_some(slot)
    }

    /// Takes a certain one; false if it is taken or does not exist.
    pub(super) fn take_this(&mut self, slot: u32) -> bool {
        let (word, bit) = place(slot);
        let Some(word) = self.taken.get_mut(word).filter(|word| **word & bit == 0) else { return false };
        *word |= bit;
        self.count += 1;
        true
    }

    /// Gives one back.
    pub(super) fn free_this(&mut self, slot: u32) {
        let (word, bit) = place(slot);
        self.taken[word] &= !bit;
        self.count -= 1;
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn lowest_free_slot_is_taken_until_none_is_left() {
        let mut slots = CounterSlots::default();
        let taken: Vec<u32> = std::iter::from_fn(|| slots.take()).collect();
        assert!(taken.iter().copied().eq(0..u32::try_from(QUEUES_MAX).unwrap()));
        assert_eq!(slots.free(), 0);
        slots.free_this(100);
        slots.free_this(70);
        assert_eq!((slots.take(), slots.take(), slots.take()), (Some(70), Some(100), None));
    }

    #[test]
    fn slot_is_taken_once() {
        let mut slots = CounterSlots::default();
        assert!(slots.take_this(5) && !slots.take_this(5));
        assert!(!slots.take_this(u32::MAX));
        assert_eq!(slots.free(), QUEUES_MAX - 1);
    }
}
