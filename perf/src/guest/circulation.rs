//! Frames that circulate: two guests send each other what they have, as fast as their drivers can, on one processor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use framewire_tests::guest::Cycle;

use super::{Attached, BUFFER_BYTES, HEADER_BYTES, Place, memory};
use crate::error::Result;

/// Buffers of a ring that are seen to at once.
const BATCH: u16 = 32;
/// Laps between looks at the clock.
const LAPS: u32 = 64;
/// A device that went to sleep is woken after this long without a frame.
const SILENCE: Duration = Duration::from_millis(1);

/// One guest.
struct Nic {
    receive: Cycle,
    transmit: Cycle,
    attached: Attached,
}

impl Nic {
    fn new(place: &Place, frame: &[u8]) -> Result<Self> {
        let memory = memory();
        let content = [&[0; HEADER_BYTES], frame].concat();
        let receive = Cycle::new(&memory, 0, place.shape(), (BUFFER_BYTES, true), &[]);
        let transmit = Cycle::new(&memory, 0, place.shape(), (content.len(), false), &content);
        let attached = Attached::new(place, &memory, [&receive.ring, &transmit.ring])?;
        Ok(Self { receive, transmit, attached })
    }
}

/// What a circulation has come to so far.
#[derive(Debug, Default)]
struct Progress {
    is_over: AtomicBool,
    frames: AtomicU64,
    busy_ns: AtomicU64,
}

/// A circulation that runs, on the processors of whoever started it; ended when dropped.
#[derive(Debug)]
pub struct Circulation {
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

impl Circulation {
    /// Has guests at both places send each other frames like this one.
    ///
    /// # Errors
    /// If nobody serves them.
    pub fn start(places: &[Place; 2], frame: &[u8]) -> Result<Self> {
        let [left, right] = places;
        let mut nics = [Nic::new(left, frame)?, Nic::new(right, frame)?];
        let progress = Arc::<Progress>::default();
        let told = Arc::clone(&progress);
        let thread = std::thread::spawn(move || circulate(&mut nics, &told));
        Ok(Self { progress, thread: Some(thread) })
    }

    /// Frames that have arrived, at either guest.
    pub fn frames(&self) -> u64 {
        // Relaxed, here and below: counters of one writer, read for themselves alone.
        self.progress.frames.load(Ordering::Relaxed)
    }

    /// Time in which the guests had something to do.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.progress.busy_ns.load(Ordering::Relaxed))
    }
}

impl Drop for Circulation {
    fn drop(&mut self) {
        self.progress.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn circulate(nics: &mut [Nic; 2], progress: &Progress) {
    let (mut frames, mut busy) = (0, Duration::ZERO);
    let mut last_frame = Instant::now();
    let mut now = last_frame;
    while !progress.is_over.load(Ordering::Relaxed) {
        let (mut arrived, mut idle_laps) = (0, 0);
        for _lap in 0..LAPS {
            let (mut received, mut sent) = (0, 0);
            for nic in &mut *nics {
                received += nic.receive.turn(BATCH, true);
                sent += nic.transmit.turn(BATCH, false);
            }
            arrived += u64::from(received);
            idle_laps += u32::from(received == 0 && sent == 0);
        }
        let after = Instant::now();
        // Laps that find nothing are quicker than the rest: this says too little of idle time, not too much.
        busy += (after - now) * (LAPS - idle_laps) / LAPS;
        now = after;
        if arrived > 0 {
            last_frame = now;
        } else if now - last_frame > SILENCE {
            nics.iter().for_each(|nic| nic.attached.kick_all());
            last_frame = now;
        }
        frames += arrived;
        progress.frames.store(frames, Ordering::Relaxed);
        progress.busy_ns.store(u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
