//! How long the machine alone takes to wake a thread that sleeps on an idle processor.
//!
//! A device that sleeps cannot be faster than this, and on a virtual machine it varies with what the host has to do: so it
//! is measured beside every figure of a wake-up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::{EventfdFlags, eventfd};

use super::schedule::pin;
use crate::error::{Doing as _, Result};

/// As many as a case of wake-ups has.
const SAMPLES: u32 = 400;
/// The processor is idle for so long before each.
const PAUSE: Duration = Duration::from_millis(5);

/// Nanoseconds from the ring of a doorbell on `from` until a thread that slept on it on `cpu` runs.
///
/// # Errors
/// If the kernel refuses.
pub fn measure(cpu: usize, from: usize) -> Result<Histogram<u64>> {
    let doorbell = eventfd(0, EventfdFlags::empty()).doing("making a doorbell")?;
    let (begun, woken, is_over) = (Instant::now(), AtomicU64::new(0), AtomicBool::new(false));
    let nanoseconds = || u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
    let ring = || rustix::io::write(&doorbell, &1_u64.to_ne_bytes()).doing("ringing a doorbell");
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| -> Result<()> {
            pin(&[cpu])?;
            while !is_over.load(Ordering::Acquire) {
                rustix::io::read(&doorbell, &mut [0; 8]).doing("sleeping on a doorbell")?;
                woken.store(nanoseconds(), Ordering::Release);
            }
            Ok(())
        });
        let ringer = scope.spawn(|| -> Result<Histogram<u64>> {
            pin(&[from])?;
            let mut times = Histogram::new(3).expect("three digits are possible");
            for _sample in 0..SAMPLES {
                let pause = Instant::now();
                while pause.elapsed() < PAUSE {}
                woken.store(0, Ordering::Release);
                let rung = nanoseconds();
                ring()?;
                let at = std::iter::repeat_with(|| woken.load(Ordering::Acquire)).find(|at| *at > 0);
                times.record(at.unwrap_or(rung).saturating_sub(rung)).expect("it grows as it must");
            }
            is_over.store(true, Ordering::Release);
            ring()?;
            Ok(times)
        });
        let times = ringer.join().expect("it does not panic");
        sleeper.join().expect("it does not panic")?;
        times
    })
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn every_sample_is_a_time() {
        let last = std::thread::available_parallelism().unwrap().get() - 1;
        let times = measure(0, last).unwrap();
        assert_eq!(times.len(), u64::from(SAMPLES));
        assert!(times.min() > 100, "{} ns", times.min());
    }
}
