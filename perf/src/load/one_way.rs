//! Frames from one side of the device to the other, as fast as it takes them.
//!
//! Flooding a device measures how it drops, and takes the core it would forward with. So at most `window` frames are
//! on their way: the device always has work, and its queues do not overflow. Loss is still seen, frame by frame, and
//! a frame that is lost makes room after 20 ms.
//!
//! Where only one side is given, the other is elsewhere: a source sends without a window, a sink takes what comes.

use std::io;
use std::time::{Duration, Instant};

use super::Stop;
use super::expiry::Expiry;
use super::gaps::{Gap, Gaps};
use super::windows::{Window, Windows};
use crate::endpoint::Endpoint;
use crate::host::schedule::Snapshot;
use crate::tally::{Counts, Tally};

/// When nothing has come for so long, nothing will.
const SILENCE: Duration = Duration::from_millis(100);
/// A turn that takes longer was not work.
const STALL: Duration = Duration::from_millis(2);

/// How much work.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// Frames on their way at most.
    pub window: u64,
    /// Frames sent in one call at most.
    pub batch: usize,
    /// Flows that the frames belong to in turn.
    pub flows: u16,
    /// Frames a second to offer; `None` for as many as the window lets through.
    pub pace: Option<f64>,
    /// Time before the measurement begins.
    pub warm_up: Duration,
    /// When the measurement ends.
    pub stop: Stop<'a>,
    /// The device's processes.
    pub device: &'a [u32],
}

impl Default for Work<'_> {
    fn default() -> Self {
        Work {
            window: 256,
            batch: 32,
            flows: 1,
            pace: None,
            warm_up: Duration::from_millis(200),
            stop: Stop::After(Duration::from_secs(2)),
            device: &[],
        }
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Rates, a quarter of a second each.
    pub windows: Vec<Window>,
    /// Frames sent, warm-up included.
    pub sent: u64,
    /// What became of them.
    pub counts: Counts,
    /// Frames counted in the measurement.
    pub measured: u64,
    /// How long the measurement took.
    pub elapsed: Duration,
    /// Share of the time in which the generator had something to do.
    pub generator_busy: f64,
    /// Processor time of the device, in cores.
    pub device_cpu: f64,
    /// Silences of a millisecond or more.
    pub gaps: Vec<Gap>,
}

impl Outcome {
    /// The rates that count: of clean windows, or of all if none was clean, slowest first.
    pub fn rates(&self) -> Vec<f64> {
        let any_clean = self.windows.iter().any(Window::is_clean);
        let counted = self.windows.iter().filter(|window| !any_clean || window.is_clean());
        let mut rates: Vec<f64> = counted.map(|window| window.rate).collect();
        if rates.is_empty() {
            rates.push(self.measured as f64 / self.elapsed.as_secs_f64());
        }
        rates.sort_by(f64::total_cmp);
        rates
    }

    /// How many windows were clean, of how many.
    pub fn clean(&self) -> (usize, usize) {
        (self.windows.iter().filter(|window| window.is_clean()).count(), self.windows.len())
    }

    /// The longest silence, if it was a millisecond or more.
    pub fn longest_gap(&self) -> Duration {
        self.gaps.iter().map(|gap| gap.length).max().unwrap_or_default()
    }
}

/// Runs `work` from `source` to `sink`.
///
/// # Errors
/// If an endpoint breaks.
pub fn run<'a>(
    source: Option<&'a mut dyn Endpoint>,
    sink: Option<&'a mut dyn Endpoint>,
    work: &Work<'_>,
) -> io::Result<Outcome> {
    let mut flow = Flow::new(source, sink, work);
    let begun = Instant::now();
    while begun.elapsed() < work.warm_up {
        flow.turn()?;
    }
    let measurement = Measurement::begin(&mut flow, work);
    while !work.stop.is_due(measurement.begun, flow.now) {
        flow.turn()?;
        let counted = flow.counted();
        flow.windows.tick(flow.now, counted);
    }
    let measurement = measurement.end(&flow);
    flow.drain()?;
    Ok(Outcome {
        sent: flow.sent,
        counts: flow.tally.counts(),
        measured: measurement.frames,
        elapsed: measurement.elapsed,
        generator_busy: measurement.generator_busy,
        device_cpu: measurement.device_cpu,
        windows: flow.windows.finish(),
        gaps: flow.gaps.finish(measurement.ended),
    })
}

struct Flow<'a, 'w> {
    source: Option<&'a mut dyn Endpoint>,
    sink: Option<&'a mut dyn Endpoint>,
    work: &'w Work<'w>,
    tally: Tally,
    expiry: Expiry,
    windows: Windows,
    gaps: Gaps,
    sent: u64,
    now: Instant,
    paced_from: Instant,
    busy: Duration,
}

impl<'a, 'w> Flow<'a, 'w> {
    fn new(
        source: Option<&'a mut dyn Endpoint>,
        sink: Option<&'a mut dyn Endpoint>,
        work: &'w Work<'w>,
    ) -> Self {
        let now = Instant::now();
        Flow {
            source,
            sink,
            work,
            tally: Tally::new(work.flows),
            expiry: Expiry::default(),
            windows: Windows::new(&[], now, 0),
            gaps: Gaps::new(now),
            sent: 0,
            now,
            paced_from: now,
            busy: Duration::ZERO,
        }
    }

    /// Sends what may be sent, receives what is there.
    fn turn(&mut self) -> io::Result<()> {
        let sent = self.send()?;
        let received = self.receive()?;
        if let Some(due) = self.expiry.due(self.now) {
            self.tally.expire(due);
        }
        let now = Instant::now();
        let took = now - self.now;
        if sent || received {
            self.busy += took;
        }
        // Somebody took our core: frames that wait for us meanwhile are not late.
        if took > STALL {
            self.expiry.postpone(took);
        }
        self.now = now;
        Ok(())
    }

    fn send(&mut self) -> io::Result<bool> {
        let count = self.sendable();
        let Some(source) = self.source.as_mut().filter(|_| count > 0) else { return Ok(false) };
        let sent = source.send(self.sent, count)?;
        self.sent += sent as u64;
        if sent > 0 && self.sink.is_some() {
            self.expiry.note(self.now, self.sent);
        }
        Ok(sent > 0)
    }

    /// How many frames window, batch and pace allow now.
    fn sendable(&self) -> usize {
        let window = match self.sink {
            Some(_) => self.work.window.saturating_sub(self.tally.outstanding(self.sent)),
            None => u64::MAX,
        };
        let paced = self.work.pace.map_or(u64::MAX, |rate| {
            let allowed = (self.now - self.paced_from).as_secs_f64() * rate;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole frames of a positive number"
            )]
            (allowed as u64).saturating_sub(self.sent)
        });
        let count = usize::try_from(window.min(paced)).unwrap_or(usize::MAX).min(self.work.batch);
        // Whole batches: one by one as frames come back, sending costs the generator most of its time.
        let batch = u64::try_from(self.work.batch).unwrap_or(u64::MAX).min(self.work.window);
        if self.sink.is_some() && self.work.pace.is_none() && window < batch { 0 } else { count }
    }

    fn receive(&mut self) -> io::Result<bool> {
        let Some(sink) = self.sink.as_mut() else { return Ok(false) };
        let received = sink.receive(&mut self.tally)? > 0;
        if received {
            self.gaps.arrival(self.now);
            if self.source.is_none() {
                self.expiry.note(self.now, self.tally.newest());
            }
        }
        Ok(received)
    }

    /// What the rate is of: frames that arrived, or that were sent where nobody is to see them arrive.
    fn counted(&self) -> u64 {
        if self.sink.is_some() { self.tally.counts().received } else { self.sent }
    }

    /// Writes off what is missing. Waits for the last frames until none comes any more, so that they are not taken
    /// for those of the next run.
    fn drain(&mut self) -> io::Result<()> {
        if self.sink.is_none() {
            return Ok(());
        }
        let mut last = Instant::now();
        let is_missing = |flow: &Self| flow.source.is_none() || flow.tally.counts().received < flow.sent;
        while last.elapsed() < SILENCE && is_missing(self) {
            if self.receive()? {
                last = Instant::now();
            }
        }
        self.tally.settle(if self.source.is_some() { self.sent } else { self.tally.newest() });
        Ok(())
    }
}

struct Measurement {
    begun: Instant,
    frames: u64,
    device: Vec<u32>,
    snapshot: Snapshot,
}

struct Measured {
    ended: Instant,
    frames: u64,
    elapsed: Duration,
    generator_busy: f64,
    device_cpu: f64,
}

impl Measurement {
    fn begin(flow: &mut Flow<'_, '_>, work: &Work<'_>) -> Self {
        let watched: Vec<u32> = work.device.iter().copied().chain([std::process::id()]).collect();
        let frames = flow.counted();
        let snapshot = Snapshot::take(work.device);
        flow.windows = Windows::new(&watched, flow.now, frames);
        flow.gaps.restart(flow.now);
        flow.busy = Duration::ZERO;
        Measurement { begun: flow.now, frames, device: work.device.to_vec(), snapshot }
    }

    fn end(self, flow: &Flow<'_, '_>) -> Measured {
        let elapsed = flow.now - self.begun;
        let used = Snapshot::take(&self.device).since(&self.snapshot);
        Measured {
            ended: flow.now,
            frames: flow.counted() - self.frames,
            elapsed,
            generator_busy: flow.busy.as_secs_f64() / elapsed.as_secs_f64(),
            device_cpu: used.cpu.as_secs_f64() / elapsed.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod test;
