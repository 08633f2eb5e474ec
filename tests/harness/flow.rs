//! A steady flow of numbered frames from one interface to another while something happens, and what became of it.
//!
//! Frames go at a fixed rate, far below what a cable carries, so that every missing one was lost by somebody, and the
//! longest time without an arrival is how long the cable stood still.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::frames::{number_of, numbered};
use crate::packet::PacketSocket;

/// How long the last frames may take.
const STRAGGLERS: Duration = Duration::from_millis(500);

/// What became of the frames.
#[derive(Debug)]
pub struct Flow {
    /// How many were sent.
    pub sent: u32,
    /// Numbers in the order of arrival, with the time.
    pub arrivals: Vec<(u32, Instant)>,
    /// Frames that were not as they were sent.
    pub damaged: usize,
}

impl Flow {
    /// Sends a frame of `length` bytes from one to the other every `interval` while `work` is done.
    #[track_caller]
    pub fn during<R>(
        from: &PacketSocket,
        to: &PacketSocket,
        interval: Duration,
        length: usize,
        work: impl FnOnce() -> R,
    ) -> (Self, R) {
        let (no_more, done) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| send(from, interval, length, &no_more));
            let receiver = scope.spawn(|| receive(to, &done));
            // If the work panics, the threads must end all the same, or the scope would wait for ever.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            no_more.store(true, Ordering::Relaxed);
            let sent = sender.join().expect("sending does not panic");
            std::thread::sleep(STRAGGLERS);
            done.store(true, Ordering::Relaxed);
            let (arrivals, damaged) = receiver.join().expect("receiving does not panic");
            match result {
                Ok(result) => (Self { sent, arrivals, damaged }, result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// How many of those that were sent did not arrive.
    #[must_use]
    pub fn lost(&self) -> u32 {
        let mut numbers: Vec<u32> = self.arrivals.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        self.sent - u32::try_from(numbers.len()).unwrap_or(u32::MAX)
    }

    /// How many arrived after one that was sent later.
    #[must_use]
    pub fn out_of_order(&self) -> usize {
        self.arrivals.windows(2).filter(|pair| pair[1].0 <= pair[0].0).count()
    }

    /// The longest time between two arrivals.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        let gaps = self.arrivals.windows(2).map(|pair| pair[1].1.duration_since(pair[0].1));
        gaps.max().unwrap_or(Duration::MAX)
    }

    /// Nothing may have been lost, changed, or come out of order.
    #[track_caller]
    pub fn expect_whole(&self) {
        assert_eq!(self.damaged, 0, "frames were damaged");
        assert_eq!(self.out_of_order(), 0, "frames came out of order");
        assert_eq!(self.lost(), 0, "of {} frames, some were lost", self.sent);
    }
}

fn send(from: &PacketSocket, interval: Duration, length: usize, no_more: &AtomicBool) -> u32 {
    let start = Instant::now();
    let mut sent = 0;
    while !no_more.load(Ordering::Relaxed) {
        from.send(&numbered(sent, length));
        sent += 1;
        // By the clock and not by pauses, so that the rate is kept even if this thread was held up.
        std::thread::sleep((start + interval * sent).saturating_duration_since(Instant::now()));
    }
    sent
}

fn receive(to: &PacketSocket, done: &AtomicBool) -> (Vec<(u32, Instant)>, usize) {
    let (mut arrivals, mut damaged) = (Vec::new(), 0);
    while !done.load(Ordering::Relaxed) {
        while let Some(frame) = to.receive(Duration::from_millis(20)) {
            match number_of(&frame) {
                Some(number) => arrivals.push((number, Instant::now())),
                None => damaged += 1,
            }
            if done.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    (arrivals, damaged)
}
