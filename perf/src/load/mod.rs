//! Driving a device: how much work, and what came of it.

mod expiry;
mod gaps;
pub mod live;
pub mod one_way;
pub mod reflect;
pub mod round_trip;
mod windows;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use gaps::Gap;
pub use windows::Window;

/// A frame that has not arrived after this long is lost.
pub const PATIENCE: Duration = Duration::from_millis(20);

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub enum Stop<'a> {
    /// After this long.
    After(Duration),
    /// When the flag is set, but after this long at the latest.
    When(&'a AtomicBool, Duration),
}

impl Stop<'_> {
    fn is_due(self, begun: Instant, now: Instant) -> bool {
        match self {
            Stop::After(duration) => now - begun >= duration,
            // Relaxed: nothing else is read on account of the flag.
            Stop::When(flag, longest) => flag.load(Ordering::Relaxed) || now - begun >= longest,
        }
    }
}
