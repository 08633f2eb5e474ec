//! Happenings: what the data plane tells the control plane without being asked.
//!
//! One ring for each producing thread, so that there is one writer and no lock. The records and the write
//! index lie in the status region (data plane writes); the read index lies in the configuration region
//! (control plane writes). A full ring drops the newest and counts it: the data plane never waits for
//! anybody. After pushing, the producer rings an eventfd that the control plane sleeps on.
//!
//! The reader believes nothing: the write index is masked by its distance, and a record of an unknown kind
//! is skipped.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::limits::HAPPENINGS_WAITING_MAX;

/// What happened. Numbers, since it crosses the border between the processes.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HappeningKind {
    /// A queue stopped: its descriptor failed for good. `detail` is the errno.
    QueueFailed = 1,
    /// Nobody takes what a queue sends: its socket's peer has ended. `detail` is the errno. Told again while
    /// frames are lost to it, but not for each of them.
    PeerGone = 2,
    /// A guest broke its rings' rules, and the data plane has given them up. `detail` says how.
    GuestFault = 3,
    /// A guest's driver has agreed on features. `queue` is the session, `detail` the features: bits of
    /// [`crate::session::feature`].
    SessionFeatures = 4,
    /// A session has ended by itself. `queue` is the session, `detail` a [`crate::session::SessionEnd`].
    SessionEnded = 5,
    /// A guest's driver uses so many of its NIC's queue pairs, the first ones. `queue` is the session, `detail` how many.
    SessionPairs = 6,
    /// A guest has changed, by its control queue, what its NIC lets through. `queue` is the session. Told once, and again
    /// only after the filter was asked for.
    FilterChanged = 7,
}

impl HappeningKind {
    fn from_number(number: u64) -> Option<Self> {
        use HappeningKind::{
            FilterChanged, GuestFault, PeerGone, QueueFailed, SessionEnded, SessionFeatures, SessionPairs,
        };
        [QueueFailed, PeerGone, GuestFault, SessionFeatures, SessionEnded, SessionPairs, FilterChanged]
            .into_iter()
            .find(|kind| *kind as u64 == number)
    }
}

/// One happening, as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Happening {
    /// What happened.
    pub kind: HappeningKind,
    /// To which queue (its key) or session, or 0.
    pub queue: u64,
    /// More about it; what, depends on the kind.
    pub detail: u64,
}

const RECORD_WORDS: usize = 4;

/// One producer's ring. writer: that producer
#[repr(C, align(128))]
#[derive(Debug)]
pub struct HappeningRing {
    /// How many were pushed, ever (wraps). Release: the record is whole.
    pushed: AtomicU32,
    /// How many found the ring full.
    lost: AtomicU32,
    records: [[AtomicU64; RECORD_WORDS]; HAPPENINGS_WAITING_MAX],
}

/// How far the control plane has read one ring. writer: control plane
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct ReadIndex(AtomicU32);

fn slot(index: u32) -> usize {
    index as usize % HAPPENINGS_WAITING_MAX
}

impl HappeningRing {
    /// Adds one, for the producer. Returns whether there was room.
    pub fn push(&self, read: &ReadIndex, happening: Happening) -> bool {
        let pushed = self.pushed.load(Ordering::Relaxed);
        // Acquire: pairs with `pop`'s release, so that a slot is not refilled while it is being read.
        let waiting = pushed.wrapping_sub(read.0.load(Ordering::Acquire));
        if waiting as usize >= HAPPENINGS_WAITING_MAX {
            self.lost.store(self.lost.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            return false;
        }
        let words = [happening.kind as u64, happening.queue, happening.detail, 0];
        for (word, value) in self.records[slot(pushed)].iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
        self.pushed.store(pushed.wrapping_add(1), Ordering::Release);
        true
    }

    /// Takes the oldest, for the control plane. Records of unknown kinds are skipped.
    pub fn pop(&self, read: &ReadIndex) -> Option<Happening> {
        loop {
            let index = read.0.load(Ordering::Relaxed);
            let waiting = self.pushed.load(Ordering::Acquire).wrapping_sub(index);
            // A write index that claims more than the ring holds is a lie or a restart: start afresh there.
            if waiting as usize > HAPPENINGS_WAITING_MAX {
                read.0.store(index.wrapping_add(waiting), Ordering::Release);
                return None;
            }
            if waiting == 0 {
                return None;
            }
            let [kind, queue, detail, _] =
                std::array::from_fn(|word| self.records[slot(index)][word].load(Ordering::Relaxed));
            read.0.store(index.wrapping_add(1), Ordering::Release);
            if let Some(kind) = HappeningKind::from_number(kind) {
                return Some(Happening { kind, queue, detail });
            }
        }
    }

    /// How many were lost because the ring was full.
    #[must_use]
    pub fn lost(&self) -> u32 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> (Box<HappeningRing>, ReadIndex) {
        let records = std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0)));
        let ring = HappeningRing { pushed: AtomicU32::new(0), lost: AtomicU32::new(0), records };
        (Box::new(ring), ReadIndex::default())
    }

    fn failed(queue: u64) -> Happening {
        Happening { kind: HappeningKind::QueueFailed, queue, detail: 5 }
    }

    #[test]
    fn happenings_come_out_in_order_and_once() {
        let (ring, read) = ring();
        assert!((0..3).all(|queue| ring.push(&read, failed(queue))));
        assert_eq!([(); 4].map(|()| ring.pop(&read).map(|h| h.queue)), [Some(0), Some(1), Some(2), None]);
    }

    #[test]
    fn full_ring_drops_the_newest_and_counts() {
        let (ring, read) = ring();
        for queue in 0..HAPPENINGS_WAITING_MAX as u64 + 3 {
            ring.push(&read, failed(queue));
        }
        assert_eq!((ring.lost(), ring.pop(&read)), (3, Some(failed(0))));
        assert!(ring.push(&read, failed(999)));
    }

    #[test]
    fn lying_write_index_yields_nothing_and_ends() {
        let (ring, read) = ring();
        ring.push(&read, failed(1));
        ring.pushed.store(0x8000_0000, Ordering::Relaxed);
        assert_eq!(ring.pop(&read), None);
        assert_eq!(ring.pop(&read), None);
    }

    #[test]
    fn unknown_kind_is_skipped() {
        let (ring, read) = ring();
        ring.push(&read, failed(1));
        ring.records[0][0].store(77, Ordering::Relaxed);
        ring.push(&read, failed(2));
        assert_eq!(ring.pop(&read), Some(failed(2)));
    }
}
