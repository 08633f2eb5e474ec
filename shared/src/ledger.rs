//! Where a guest's rings stand, for the data plane that comes after one that was killed.
//!
//! **Problem.** A killed data plane says nothing any more, and its successor must go on at exactly the buffer where
//! it stopped: one buffer used twice, or never, breaks the guest's driver. A split ring tells by itself, since
//! our index lies in the guest's memory and moves by one store. A packed ring has no index: what it tells is
//! whether one given buffer has been used.
//!
//! **Chosen.** Before a burst is given to the guest its end is written down as *intended*; giving it is a single
//! store, the flags of its first entry; then the end is written down as *committed*. Whoever comes later
//! looks at the entry where the committed position is. If it is still as the guest left it, the burst was never
//! given and that is the place; otherwise it was given, and the intended one is.

use std::sync::atomic::{AtomicU64, Ordering};

/// One ring's positions, each as [`RingLedger::word`] packs it. writer: the worker that owns the queue
#[repr(C)]
#[derive(Debug, Default)]
pub struct RingLedger {
    committed: AtomicU64,
    intended: AtomicU64,
}

/// Both rings of a queue pair, and perhaps the NIC's control queue. writer: as above
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct QueueLedger {
    /// What the guest transmits.
    pub transmitq: RingLedger,
    /// What it receives.
    pub receiveq: RingLedger,
    /// Of a NIC's first pair: its control queue. writer: the foreman
    pub controlq: RingLedger,
}

impl RingLedger {
    /// An index and a wrap counter as one word.
    #[inline]
    fn word(index: u16, wrap: bool) -> u64 {
        u64::from(index) | u64::from(wrap) << 16
    }

    #[expect(clippy::cast_possible_truncation, reason = "takes the word apart")]
    fn position(word: u64) -> (u16, bool) {
        (word as u16, word >> 16 & 1 == 1)
    }

    /// The ring is (re)started here. Before any worker has it.
    pub fn reset(&self, index: u16, wrap: bool) {
        self.intended.store(Self::word(index, wrap), Ordering::Relaxed);
        self.committed.store(Self::word(index, wrap), Ordering::Relaxed);
    }

    /// A burst that ends before this place is about to be given.
    #[inline]
    pub fn intend(&self, index: u16, wrap: bool) {
        // Whoever gives the burst does so by a release store after this.
        self.intended.store(Self::word(index, wrap), Ordering::Relaxed);
    }

    /// It was given.
    #[inline]
    pub fn commit(&self, index: u16, wrap: bool) {
        // Release: not before the burst was given.
        self.committed.store(Self::word(index, wrap), Ordering::Release);
    }

    /// The two places where a ring may stand whose data plane has ended: the first if the entry there was not
    /// given to the guest, otherwise the second.
    #[must_use]
    pub fn candidates(&self) -> [(u16, bool); 2] {
        [&self.committed, &self.intended].map(|word| Self::position(word.load(Ordering::Acquire)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_as_noted() {
        let ledger = RingLedger::default();
        ledger.reset(7, true);
        assert_eq!(ledger.candidates(), [(7, true); 2]);
        ledger.intend(32767, false);
        assert_eq!(ledger.candidates(), [(7, true), (32767, false)]);
        ledger.commit(32767, false);
        assert_eq!(ledger.candidates(), [(32767, false); 2]);
    }
}
