//! A flow of numbered frames from one interface to another while something happens, and what became of it.
//!
//! Every missing frame must have been lost by whoever is under test, so an interface's own queue may never overflow,
//! however busy the machine is. Either frames go at a fixed rate, far below what a cable carries; then the longest time
//! that one was on its way is how long the cable stood still, whoever else was held up. Or they go as fast as they arrive,
//! so many at a time; then the cable runs at its full rate.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::frames::{number_of, numbered};
use crate::packet::PacketSocket;

/// How long the last frames may take.
const STRAGGLERS: Duration = Duration::from_millis(500);

/// After so long without an arrival, the frames that are missing are not waited for any more.
const GIVE_UP: Duration = Duration::from_secs(5);

/// How long a sender waits before it looks again whether frames have arrived.
const PAUSE: Duration = Duration::from_micros(20);

/// How fast frames go.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// One in each interval.
    Every(Duration),
    /// As fast as they arrive, with at most so many on their way.
    OnTheWay(u32),
    /// As fast as the interface takes them; most are lost before they reach anybody.
    Flood,
}

/// What became of the frames.
#[derive(Debug)]
pub struct Flow {
    /// When each was sent; the first has number 0.
    pub sent_at: Vec<Instant>,
    /// Numbers in the order of arrival, with the time.
    pub arrivals: Vec<(u32, Instant)>,
    /// Frames that were not as they were sent.
    pub damaged: usize,
}

impl Flow {
    /// Sends frames of `length` bytes from one to the other while `work` is done.
    #[track_caller]
    pub fn during<R>(
        from: &PacketSocket,
        to: &PacketSocket,
        pace: Pace,
        length: usize,
        work: impl FnOnce() -> R,
    ) -> (Self, R) {
        let (no_more, done, arrived) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| send(from, Pacer::new(pace, &arrived), length, &no_more));
            let receiver = scope.spawn(|| receive(to, &arrived, &done));
            // If the work panics, the threads must end all the same, or the scope would wait for ever.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            no_more.store(true, Ordering::Relaxed);
            let sent_at = sender.join().expect("sending does not panic");
            std::thread::sleep(STRAGGLERS);
            done.store(true, Ordering::Relaxed);
            let (arrivals, damaged) = receiver.join().expect("receiving does not panic");
            match result {
                Ok(result) => (Self { sent_at, arrivals, damaged }, result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// How many were sent.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent_at.len()
    }

    /// How many of those did not arrive.
    #[must_use]
    pub fn lost(&self) -> usize {
        let mut numbers: Vec<u32> = self.arrivals.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        self.sent() - numbers.len()
    }

    /// How many arrived after one that was sent later.
    #[must_use]
    pub fn out_of_order(&self) -> usize {
        self.arrivals.windows(2).filter(|pair| pair[1].0 <= pair[0].0).count()
    }

    /// The longest time that a frame was on its way. Without end if none arrives any more.
    #[must_use]
    pub fn longest_delay(&self) -> Duration {
        let last = self.arrivals.last().map(|(number, _time)| *number as usize + 1);
        if last != Some(self.sent()) {
            return Duration::MAX;
        }
        let delays = self.arrivals.iter().map(|(number, time)| *time - self.sent_at[*number as usize]);
        delays.max().unwrap_or_default()
    }

    /// Nothing may have been lost, changed, or come out of order.
    #[track_caller]
    pub fn expect_whole(&self) {
        assert_eq!(self.damaged, 0, "frames were damaged");
        assert_eq!(self.out_of_order(), 0, "frames came out of order");
        assert_eq!(self.lost(), 0, "of {} frames, some were lost", self.sent());
    }
}

fn send(from: &PacketSocket, mut pacer: Pacer<'_>, length: usize, no_more: &AtomicBool) -> Vec<Instant> {
    let mut sent_at = Vec::new();
    while !no_more.load(Ordering::Relaxed) {
        let number = u32::try_from(sent_at.len()).expect("a test sends fewer frames");
        if pacer.waits(number) {
            continue;
        }
        sent_at.push(Instant::now());
        from.send(&numbered(number, length));
    }
    sent_at
}

/// Says when the next frame goes.
struct Pacer<'a> {
    pace: Pace,
    arrived: &'a AtomicU32,
    begin: Instant,
    /// Arrivals as last seen, and since when.
    seen: (u32, Instant),
    /// How many are not waited for any more.
    given_up: u32,
}

impl<'a> Pacer<'a> {
    fn new(pace: Pace, arrived: &'a AtomicU32) -> Self {
        let begin = Instant::now();
        Pacer { pace, arrived, begin, seen: (0, begin), given_up: 0 }
    }

    /// Waits a little if it is not yet time for a frame after `sent` others; whether it did.
    fn waits(&mut self, sent: u32) -> bool {
        let pause = match self.pace {
            Pace::Flood => Duration::ZERO,
            // By the clock and not by pauses, so that the rate is kept even if this thread was held up.
            Pace::Every(interval) => (self.begin + interval * sent).saturating_duration_since(Instant::now()),
            Pace::OnTheWay(limit) => {
                if self.on_the_way(sent) < limit {
                    Duration::ZERO
                } else {
                    PAUSE
                }
            }
        };
        std::thread::sleep(pause);
        !pause.is_zero()
    }

    fn on_the_way(&mut self, sent: u32) -> u32 {
        let arrived = self.arrived.load(Ordering::Relaxed);
        if arrived != self.seen.0 {
            self.seen = (arrived, Instant::now());
        } else if self.seen.1.elapsed() > GIVE_UP {
            self.given_up = sent.saturating_sub(arrived);
            self.seen.1 = Instant::now();
        }
        sent.saturating_sub(arrived + self.given_up)
    }
}

fn receive(to: &PacketSocket, arrived: &AtomicU32, done: &AtomicBool) -> (Vec<(u32, Instant)>, usize) {
    let (mut arrivals, mut damaged) = (Vec::new(), 0);
    while !done.load(Ordering::Relaxed) {
        while let Some(frame) = to.receive(Duration::from_millis(20)) {
            match number_of(&frame) {
                Some(number) => arrivals.push((number, Instant::now())),
                None => damaged += 1,
            }
            arrived.fetch_add(1, Ordering::Relaxed);
            if done.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    (arrivals, damaged)
}
