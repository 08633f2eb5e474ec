//! Frames that a program in the kernel sends, as fast as its processor can: two million a second, where the fastest
//! socket comes to one. And a run that somebody else drives, watched.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Window;
use super::windows::{LENGTH, Windows};
use crate::bpf;
use crate::error::{Doing as _, Result};
use crate::host::schedule::Snapshot;
use crate::host::veth::index_of;

/// Frames a call: near a second, so that an end is heard soon enough. A call ends with two grace periods of RCU, some 20 ms
/// in which nothing is sent: with calls of a few hundredths of a second that was more than half of the time, and what
/// was measured was that.
const FRAMES_PER_CALL: u32 = 1 << 22;

/// A generator that runs, on the processors of whoever started it; ended when dropped.
#[derive(Debug)]
pub struct Live {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    /// Sends frames of `size` bytes out of `interface`.
    ///
    /// # Errors
    /// If the kernel takes no such program.
    pub fn start(interface: &str, size: usize) -> Result<Live> {
        let program: OwnedFd = bpf::redirect_to(index_of(interface)?).doing("loading an XDP program")?;
        let mut frame = vec![0x5a_u8; size];
        // To whoever listens, from an address of nobody, of a type for experiments.
        frame[..14].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2, 0x88, 0xb5]);
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            // Relaxed: nothing else is read on account of the flag.
            while !told.load(Ordering::Relaxed) {
                // Out of frame memory for a moment: the rate tells.
                let _ = bpf::send(program.as_fd(), &frame, FRAMES_PER_CALL);
            }
        });
        Ok(Live { is_over, thread: Some(thread) })
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What was seen of a run.
#[derive(Debug)]
pub struct Seen {
    /// Its windows.
    pub windows: Vec<Window>,
    /// Frames counted.
    pub frames: u64,
    /// How long it was.
    pub elapsed: Duration,
    /// Processor time of the device.
    pub device_cpu: Duration,
}

/// Watches a run that needs nobody: only looks at `counter` at the end of each window.
///
/// # Errors
/// If the counter cannot be read.
pub fn watch(counter: &dyn Fn() -> Result<u64>, device: &[u32], duration: Duration) -> Result<Seen> {
    let (begun, before) = (Instant::now(), counter()?);
    let used = Snapshot::take(device);
    // The generator is a thread of ours: a window in which it had to wait is none.
    let watched: Vec<u32> = device.iter().copied().chain([std::process::id()]).collect();
    let mut windows = Windows::new(&watched, begun, before);
    let mut frames = before;
    while begun.elapsed() < duration {
        std::thread::sleep(LENGTH);
        frames = counter()?;
        windows.tick(Instant::now(), frames);
    }
    let elapsed = begun.elapsed();
    let device_cpu = Snapshot::take(device).since(&used).cpu;
    Ok(Seen { windows: windows.finish(), frames: frames - before, elapsed, device_cpu })
}
