//! How long nothing arrives when the data plane is killed under load, and what is left over after ten times.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::case::{Better, Case, Figure, Floor, Unit};
use super::rate::{figure_of, rounded};
use crate::device::wiring::{Kind, Manner, cable};
use crate::device::{Bench, Device, Product};
use crate::error::{Doing as _, Error, Result};
use crate::frame::{Shape, Side};
use crate::host::{processes, schedule};
use crate::load::Stop;
use crate::load::one_way::{self, Outcome, Work};

const KILLS: usize = 10;
/// Between kills: a data plane that dies at once each time is not restarted for ever, and should not be.
const PAUSE: Duration = Duration::from_millis(1500);

/// By then the next data plane runs.
const SETTLING: Duration = Duration::from_millis(300);

/// A cable at full rate whose data plane is killed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kill {
    pub(super) kind: Kind,
}

impl Case for Kill {
    fn name(&self) -> String {
        format!("{}:kill", self.kind.name())
    }

    fn unit(&self) -> Unit {
        Unit { name: "ms silent", better: Better::Less }
    }

    fn floor(&self) -> Floor {
        Floor::AtMost(100.0)
    }

    fn products(&self) -> &'static [Product] {
        &[Product::Framewire]
    }

    fn starts_max(&self) -> usize {
        1
    }

    fn measure(&self, bench: &Bench, product: Product, _duration: Duration) -> Result<Figure> {
        let folder = bench.fresh_folder()?;
        let _taps = self.kind.prepare(0, 2)?;
        let device = Device::start(bench, product, &folder, &cable(self.kind, 0, &folder), &[])?;
        let shape = Shape::bare(64);
        let mut source = self.kind.address(0, Manner::default(), &folder).open(shape, Side::A)?;
        let mut sink = self.kind.address(1, Manner::default(), &folder).open(shape, Side::B)?;
        let finished = AtomicBool::new(false);
        let stop = Stop::When(&finished, Duration::from_secs(60));
        let work = Work { window: 192, stop, ..Work::default() };
        let before = processes::holdings(device.main_process());
        let (outcome, killed) = std::thread::scope(|scope| {
            let killer = scope.spawn(|| {
                let killed = kill_repeatedly(&device);
                finished.store(true, Ordering::Relaxed);
                killed
            });
            let outcome = one_way::run(Some(&mut *source), Some(&mut *sink), &work);
            (outcome, killer.join())
        });
        let outcome = outcome.doing(format!("driving {}", self.name()))?;
        let killed = killed.map_err(|_| Error::Usage("the thread that kills panicked".into()))??;
        let after = processes::holdings(device.main_process());
        let offered = outcome.measured as f64 / outcome.elapsed.as_secs_f64();
        let silences: Vec<f64> = killed.iter().map(|at| silence_after(&outcome, *at)).collect();
        let longest = silences.iter().copied().fold(0.0, f64::max);
        let shortest = silences.iter().copied().fold(f64::INFINITY, f64::min);
        let grown = before.zip(after).is_some_and(|(before, after)| {
            after.descriptors > before.descriptors || after.threads > before.threads
        });
        let mut figure = Figure::new(rounded(longest), rounded(super::case::median(&silences)))
            .note("kills", killed.len())
            .note("shortest_ms", rounded(shortest))
            .note("lost", outcome.counts.lost)
            .note("lost_over_rate_ms", rounded(1e3 * outcome.counts.lost as f64 / offered))
            .note("resident_kib_before", before.map(|held| held.resident_kib))
            .note("resident_kib_after", after.map(|held| held.resident_kib))
            .fault_if(grown, format!("the control process has grown: {before:?} to {after:?}"));
        figure.faults.extend(figure_of(&outcome, None).faults);
        Ok(figure)
    }
}

/// Kills the data plane again and again; returns when.
fn kill_repeatedly(device: &Device) -> Result<Vec<Instant>> {
    std::thread::sleep(Duration::from_millis(700));
    let mut killed = Vec::new();
    for _ in 0..KILLS {
        let process = device.data_plane()?;
        let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::Usage(format!("{process} is no process")))?;
        killed.push(Instant::now());
        kill_process(pid, Signal::KILL).doing("killing the data plane")?;
        std::thread::sleep(SETTLING);
        schedule::weigh_heavily(&device.processes());
        std::thread::sleep(PAUSE - SETTLING);
    }
    Ok(killed)
}

/// The longest silence that began, or went on, after the data plane was killed and before the next time, in ms.
fn silence_after(outcome: &Outcome, killed: Instant) -> f64 {
    let concerned =
        outcome.gaps.iter().filter(|gap| gap.begun + gap.length > killed && gap.begun < killed + PAUSE);
    concerned.map(|gap| gap.length.as_secs_f64() * 1e3).fold(0.0, f64::max)
}
