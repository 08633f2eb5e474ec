//! One frame at a time, there and back: how long it takes.
//!
//! The same thread sends on one side and answers on the other, so no wake-up of ours is in the figure. The device is
//! passed twice. With a pause before each frame the device has gone to sleep, and the way *there* is the time it
//! takes to wake up; the generator spins through the pause, so that it is not the one who has to wake.
//!
//! A trip in which a watched thread was ready but somebody else had its core is the other's figure. There is time to
//! look between trips only where there is a pause; there such trips are kept apart.

use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::{PATIENCE, Stop};
use crate::endpoint::Endpoint;
use crate::host::schedule::Snapshot;
use crate::tally::Tally;

/// A trip in which a thread waited longer for its core was disturbed.
const WAITED_MAX: Duration = Duration::from_micros(20);

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// The device's processes.
    pub device: &'a [u32],
    /// How long nothing happens before each frame.
    pub pause: Duration,
    /// When to stop.
    pub stop: Stop<'a>,
}

/// What came of it.
#[derive(Debug)]
pub struct Trips {
    /// Nanoseconds from the first side to the second.
    pub there: Histogram<u64>,
    /// The same of trips that were not disturbed; empty without a pause.
    pub there_undisturbed: Histogram<u64>,
    /// Nanoseconds there and back.
    pub both: Histogram<u64>,
    /// Frames that did not come, either way.
    pub lost: u64,
    /// Whether all that came was what was sent.
    pub intact: bool,
}

/// Sends frames to and fro until it is time to stop.
///
/// # Errors
/// If an endpoint breaks.
pub fn run(a: &mut dyn Endpoint, b: &mut dyn Endpoint, exchange: &Exchange<'_>) -> io::Result<Trips> {
    let (mut at_a, mut at_b) = (Tally::new(1), Tally::new(1));
    let mut trips = Trips {
        there: histogram(),
        there_undisturbed: histogram(),
        both: histogram(),
        lost: 0,
        intact: true,
    };
    let mut referee = Referee::new(exchange);
    let begun = Instant::now();
    let mut number = 0;
    while !exchange.stop.is_due(begun, Instant::now()) {
        spin(exchange.pause);
        referee.begin();
        let left = Instant::now();
        let arrived = cross(a, b, &mut at_b, number)?;
        let undisturbed = referee.end();
        let returned = if arrived.is_some() { cross(b, a, &mut at_a, number)? } else { None };
        number += 1;
        let Some((arrived, returned)) = arrived.zip(returned) else {
            trips.lost += 1;
            continue;
        };
        trips.there.saturating_record(nanoseconds(arrived - left));
        trips.both.saturating_record(nanoseconds(returned - left));
        if undisturbed {
            trips.there_undisturbed.saturating_record(nanoseconds(arrived - left));
        }
    }
    trips.intact = at_a.counts().intact() && at_b.counts().intact();
    Ok(trips)
}

/// Tells trips that were disturbed, where there is time for it.
struct Referee {
    watched: Option<Vec<u32>>,
    before: Snapshot,
}

impl Referee {
    fn new(exchange: &Exchange<'_>) -> Self {
        let watched = exchange.device.iter().copied().chain([std::process::id()]).collect();
        let watched = (!exchange.pause.is_zero()).then_some(watched);
        Referee { watched, before: Snapshot::default() }
    }

    fn begin(&mut self) {
        if let Some(watched) = &self.watched {
            self.before = Snapshot::take(watched);
        }
    }

    /// Whether the trip is known to have been undisturbed.
    fn end(&self) -> bool {
        let Some(watched) = &self.watched else { return false };
        Snapshot::take(watched).since(&self.before).waited <= WAITED_MAX
    }
}

/// Sends frame `number` and waits for it; returns when it arrived.
fn cross(
    from: &mut dyn Endpoint,
    to: &mut dyn Endpoint,
    tally: &mut Tally,
    number: u64,
) -> io::Result<Option<Instant>> {
    let deadline = Instant::now() + PATIENCE;
    let mut sent = false;
    loop {
        sent = sent || from.send(number, 1)? == 1;
        to.receive(tally)?;
        let now = Instant::now();
        if tally.newest() > number {
            return Ok(Some(now));
        }
        if now > deadline {
            return Ok(None);
        }
    }
}

fn spin(pause: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < pause {
        std::hint::spin_loop();
    }
}

fn histogram() -> Histogram<u64> {
    const LONGEST_NS: u64 = 1_000_000_000;
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("constant bounds that are in range")
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::endpoint::Address;
    use crate::frame::{Shape, Side};

    #[test]
    fn frames_go_there_and_back() {
        let ports: Vec<u16> = (0..2)
            .map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port())
            .collect();
        let shape = Shape::bare(64);
        let open = |local: u16, remote: u16, side| {
            Address::parse(&format!("udp:127.0.0.1:{local}:127.0.0.1:{remote}"))
                .unwrap()
                .open(shape, side)
                .unwrap()
        };
        let mut a = open(ports[0], ports[1], Side::A);
        let mut b = open(ports[1], ports[0], Side::B);
        let stop = Stop::After(Duration::from_millis(500));
        let pause = Duration::from_millis(1);
        let trips = run(&mut *a, &mut *b, &Exchange { device: &[], pause, stop }).unwrap();
        // On a busy machine some take longer than they may; all of them do not.
        assert!(!trips.both.is_empty() && trips.intact, "{} lost", trips.lost);
        assert!(trips.there.value_at_quantile(0.5) <= trips.both.value_at_quantile(0.5));
    }
}
