//! What a busy cable notices of two hundred other ports that come and go.
//!
//! FD.io's way to say it is *effective blocked time*: frames lost, divided by the rate at which they were offered.
//! Frames that wait instead of being lost do not show in it, so the longest silence at the sink is noted as well.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::case::{Better, Case, Figure, Floor, Unit};
use super::netdev_add::{add_cable, remove_cable};
use super::rate::{figure_of, rounded};
use crate::device::wiring::{Kind, Manner, cable, cable_arguments};
use crate::device::{Bench, Device, Product, Qmp};
use crate::error::{Doing as _, Error, Result};
use crate::frame::{Shape, Side};
use crate::host::schedule;
use crate::load::Stop;
use crate::load::one_way::{self, Work};

/// Ports that come and go, two a cable.
const PORTS: usize = 200;
const LONGEST: Duration = Duration::from_secs(60);

/// One cable of a kind carries all it can, while others come and go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reconfigure {
    pub(super) kind: Kind,
}

impl Case for Reconfigure {
    fn name(&self) -> String {
        format!("{}:reconfigure", self.kind.name())
    }

    fn unit(&self) -> Unit {
        Unit { name: "ms blocked", better: Better::Less }
    }

    fn floor(&self) -> Floor {
        Floor::AtMost(1.0)
    }

    fn starts_max(&self) -> usize {
        2
    }

    fn measure(&self, bench: &Bench, product: Product, _duration: Duration) -> Result<Figure> {
        let folder = bench.fresh_folder()?;
        let _taps = self.kind.prepare(0, 2)?;
        let mut device = Device::start(bench, product, &folder, &cable(self.kind, 0, &folder), &[])?;
        let shape = Shape::bare(64);
        let mut source = self.kind.address(0, Manner::default(), &folder).open(shape, Side::A)?;
        let mut sink = self.kind.address(1, Manner::default(), &folder).open(shape, Side::B)?;
        let processes = device.processes();
        let finished = AtomicBool::new(false);
        let work = Work {
            window: 192,
            stop: Stop::When(&finished, LONGEST),
            warm_up: Duration::from_millis(500),
            device: &processes,
            ..Work::default()
        };
        let changes = AtomicUsize::new(0);
        let (outcome, churn) = std::thread::scope(|scope| {
            let churn = scope.spawn(|| {
                let took = self.come_and_go(bench, device.qmp(), &folder, &changes);
                finished.store(true, Ordering::Relaxed);
                took
            });
            let outcome = one_way::run(Some(&mut *source), Some(&mut *sink), &work);
            (outcome, churn.join())
        });
        let outcome = outcome.doing(format!("driving {}", self.name()))?;
        let took = churn.map_err(|_| Error::Usage("the thread that adds ports panicked".into()))??;
        device.check()?;
        let offered = outcome.sent as f64 / (outcome.elapsed + work.warm_up).as_secs_f64();
        let blocked_ms = rounded(1e3 * outcome.counts.lost as f64 / offered);
        let rate = figure_of(&outcome, None);
        let mut figure = Figure::new(blocked_ms, blocked_ms)
            .note("changes", changes.into_inner())
            .note("changes_took_ms", rounded(took.as_secs_f64() * 1e3))
            .note("mpps", rounded(rate.median))
            .note("lost", outcome.counts.lost)
            .note("sent", outcome.sent)
            .note("longest_gap_ms", rounded(outcome.longest_gap().as_secs_f64() * 1e3))
            .note("gaps_of_a_millisecond", outcome.gaps.len());
        figure.faults = rate.faults;
        Ok(figure)
    }
}

impl Reconfigure {
    /// Adds all the other ports, then removes them; returns how long that took.
    fn come_and_go(
        self,
        bench: &Bench,
        qmp: &mut Qmp,
        folder: &std::path::Path,
        changes: &AtomicUsize,
    ) -> Result<Duration> {
        // The generator has a core of its own: this thread goes to the device's.
        schedule::pin(&bench.device_cpus)?;
        // Not before the measurement has begun.
        std::thread::sleep(Duration::from_secs(1));
        let begun = Instant::now();
        // Unix datagrams need no interfaces made first, which would disturb on their own account.
        let other = Kind::DgramUnix;
        for cable in 1..=PORTS / 2 {
            add_cable(qmp, &cable_arguments(other, 2 * cable, folder))?;
            changes.fetch_add(4, Ordering::Relaxed);
        }
        for cable in 1..=PORTS / 2 {
            remove_cable(qmp, 2 * cable)?;
            changes.fetch_add(4, Ordering::Relaxed);
        }
        let took = begun.elapsed();
        std::thread::sleep(Duration::from_millis(300));
        Ok(took)
    }
}
