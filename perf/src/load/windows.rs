//! A run cut into windows of 250 ms, each with its rate and whether it was disturbed.

use std::time::{Duration, Instant};

use crate::host::schedule::{Snapshot, Stolen};

pub(super) const LENGTH: Duration = Duration::from_millis(250);
/// A window is clean if every watched thread waited for less than this share of it, and the host took less of any
/// processor.
const WAITED_SHARE_MAX: f64 = 0.03;

/// One window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Frames a second.
    pub rate: f64,
    /// The largest share of it that a watched thread waited for a core, or that the host took of one.
    pub waited_share: f64,
}

impl Window {
    /// Whether nobody else disturbed it much.
    pub fn is_clean(&self) -> bool {
        self.waited_share < WAITED_SHARE_MAX
    }
}

/// Cuts a run into windows.
#[derive(Debug)]
pub(super) struct Windows {
    watched: Vec<u32>,
    begun: Instant,
    frames: u64,
    snapshot: Snapshot,
    stolen: Stolen,
    done: Vec<Window>,
}

impl Windows {
    /// The first window begins `now`, when `frames` have been counted; `watched` are processes.
    pub(super) fn new(watched: &[u32], now: Instant, frames: u64) -> Self {
        let watched = watched.to_vec();
        let snapshot = Snapshot::take(&watched);
        Windows { watched, begun: now, frames, snapshot, stolen: Stolen::take(), done: Vec::new() }
    }

    /// Called in every turn; closes the window when it is over.
    pub(super) fn tick(&mut self, now: Instant, frames: u64) {
        let length = now - self.begun;
        if length < LENGTH {
            return;
        }
        let snapshot = Snapshot::take(&self.watched);
        let stolen = Stolen::take();
        let waited = snapshot.since(&self.snapshot).waited.max(stolen.since(&self.stolen));
        let seconds = length.as_secs_f64();
        self.done.push(Window {
            rate: (frames - self.frames) as f64 / seconds,
            waited_share: waited.as_secs_f64() / seconds,
        });
        (self.begun, self.frames) = (now, frames);
        (self.snapshot, self.stolen) = (snapshot, stolen);
    }

    pub(super) fn finish(self) -> Vec<Window> {
        self.done
    }
}
