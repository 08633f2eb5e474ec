//! The `null` driver: takes and discards, and never has anything to give.

use std::os::fd::RawFd;

use framewire_shared::counters::QueueCounters;

use super::{Queue, Received};
use crate::frame::Burst;
use crate::turn::Turn;

/// A queue with nothing outside.
#[derive(Debug)]
pub struct Null {
    counters: &'static QueueCounters,
}

impl Null {
    /// One that counts what it takes.
    #[must_use]
    pub fn new(counters: &'static QueueCounters) -> Self {
        Null { counters }
    }
}

impl Queue for Null {
    fn receive(&mut self, _burst: &mut Burst, _turn: &mut Turn) -> Received {
        Received::Nothing
    }

    fn send(&mut self, burst: &Burst, _turn: &mut Turn) -> usize {
        self.counters.sent_frames.add(burst.len() as u64);
        self.counters.sent_bytes.add(burst.bytes());
        burst.len()
    }

    fn descriptor(&self) -> Option<RawFd> {
        None
    }

    fn counters(&self) -> &'static QueueCounters {
        self.counters
    }
}
