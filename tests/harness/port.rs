//! Port numbers that nobody uses.
//!
//! To bind a socket to port 0, read its number and close it again gives a number that may still be in use: a process
//! that another test starts at that moment has a copy of the socket until it runs its own program. Every test has a
//! namespace of its own, where all numbers are free, so counting does; below the numbers that the kernel gives out.

use std::sync::atomic::{AtomicU16, Ordering};

static NEXT: AtomicU16 = AtomicU16::new(10_000);

/// A number that was not given out before.
#[must_use]
pub fn unused() -> u16 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}
