//! What a round trip through unix streams takes with nothing between them but system calls.
//!
//! A thread that reads one socket and writes what it got to the other, in a loop that does nothing else, stands in for
//! the device. No device that uses sockets can be faster; so where a floor is below this, it says something about the
//! machine's system calls and nothing about the device.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::net::{RecvFlags, SendFlags};

use crate::error::{Doing as _, Result};
use crate::host::schedule;

/// How long it is measured.
const DURATION: Duration = Duration::from_millis(500);

/// A frame of 64 bytes behind its length.
const RECORD_BYTES: usize = 68;

/// Times of round trips, in nanoseconds, the loop on one processor and the generator on the other.
///
/// # Errors
/// If the kernel refuses sockets or processors.
pub fn measure(device_cpu: usize, generator_cpu: usize) -> Result<Histogram<u64>> {
    let (near_a, far_a) = UnixStream::pair().doing("making a pair of sockets")?;
    let (near_b, far_b) = UnixStream::pair().doing("making a pair of sockets")?;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looping = scope.spawn(|| -> Result<()> {
            schedule::pin(&[device_cpu])?;
            while !is_over.load(Ordering::Relaxed) {
                relay(&far_a, &far_b);
                relay(&far_b, &far_a);
            }
            Ok(())
        });
        let exchanging = scope.spawn(|| schedule::pin(&[generator_cpu]).map(|()| exchange(&near_a, &near_b)));
        let times = exchanging.join().expect("it does not panic");
        is_over.store(true, Ordering::Relaxed);
        looping.join().expect("it does not panic")?;
        times
    })
}

/// Passes on what there is, if there is something.
fn relay(from: &UnixStream, to: &UnixStream) {
    let mut record = [0; RECORD_BYTES];
    if let Ok((bytes @ 1.., _all)) = rustix::net::recv(from, &mut record[..], RecvFlags::DONTWAIT) {
        // The one who exchanges waits for it, so there is room.
        let _ = rustix::net::send(to, &record[..bytes], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

fn exchange(a: &UnixStream, b: &UnixStream) -> Histogram<u64> {
    let mut times = Histogram::new(3).expect("three digits are possible");
    let deadline = Instant::now() + DURATION;
    while Instant::now() < deadline {
        let begun = Instant::now();
        one_way(a, b, deadline);
        one_way(b, a, deadline);
        let ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        times.record(ns).expect("it grows as it must");
    }
    times
}

fn one_way(from: &UnixStream, to: &UnixStream, deadline: Instant) {
    let mut record = [0; RECORD_BYTES];
    // If it fails, nothing arrives.
    let _ = rustix::net::send(from, &record, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    while rustix::net::recv(to, &mut record[..], RecvFlags::DONTWAIT).is_err() && Instant::now() < deadline {}
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn every_trip_takes_some_time() {
        let last = std::thread::available_parallelism().unwrap().get() - 1;
        let times = measure(0, last).unwrap();
        assert!(!times.is_empty() && times.min() > 100, "{} of {} ns", times.len(), times.min());
    }
}
