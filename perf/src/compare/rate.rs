//! How many frames a second cross a cable.

use std::path::Path;
use std::time::Duration;

use super::case::{Better, Case, Figure, Floor, Limit, Unit, median};
use crate::device::wiring::{Kind, Manner, cable, tap_name};
use crate::device::{Bench, Device, Product};
use crate::endpoint::Endpoint;
use crate::error::{Doing as _, Result};
use crate::frame::{Shape, Side};
use crate::host::sandbox::ip;
use crate::load::Stop;
use crate::load::one_way::{self, Outcome, Work};

/// Whole batches of the smallest frames are longer than this, and the kernel takes no less for a limit than 321.
const UNCUT_MAX: usize = 600;

/// Frames of one size from one netdev of a kind to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) kind: Kind,
    pub(super) size: usize,
    pub(super) segmented: bool,
}

impl Rate {
    /// As many frames on their way as the smallest queue between the two holds: the device always has work, and
    /// nobody drops. A socket of ordinary size holds 277 frames of 64 bytes or 92 of 1500 (QEMU sends unix
    /// datagrams out of order when there is no room for them); handed over many at once, UDP frames take less
    /// room; a tap holds 1000.
    fn work<'a>(self, device: &'a [u32], duration: Duration) -> Work<'a> {
        let (window, batch) = match self.kind {
            Kind::DgramInet | Kind::L2tpv3 if self.segmented => (512, 64),
            Kind::DgramInet | Kind::DgramUnix | Kind::L2tpv3 if self.size > 500 => (64, 32),
            Kind::DgramInet | Kind::DgramUnix | Kind::L2tpv3 => (192, 32),
            Kind::Tap => (256, 32),
            Kind::Stream | Kind::Socket => (4096, 256),
        };
        Work { window, batch, stop: Stop::After(duration), device, ..Work::default() }
    }

    /// Another short run through a tap, in which frames are read: the counter of the first does not see into them.
    fn proof(
        self,
        figure: Figure,
        source: &mut dyn Endpoint,
        work: &Work<'_>,
        folder: &Path,
    ) -> Result<Figure> {
        if self.kind != Kind::Tap {
            return Ok(figure);
        }
        let read = Manner { counted: false, segmented: false };
        let mut sink = self.kind.address(1, read, folder).open(self.shape(), Side::B)?;
        let stop = Stop::After(Duration::from_millis(300));
        let work = Work { stop, ..*work };
        let outcome = one_way::run(Some(source), Some(&mut *sink), &work).doing("reading frames")?;
        let nothing = outcome.counts.received == 0;
        Ok(figure
            .fault_if(!outcome.counts.intact(), format!("frames are not as sent: {:?}", outcome.counts))
            .fault_if(nothing, "no frame arrived"))
    }

    /// UDP frames where the kernel is to cut them.
    fn shape(self) -> Shape {
        if self.kind == Kind::Tap { Shape::udp(self.size, 1) } else { Shape::bare(self.size) }
    }
}

impl Case for Rate {
    fn name(&self) -> String {
        let suffix = if self.segmented { ":gso" } else { "" };
        format!("{}:{}{suffix}", self.kind.name(), self.size)
    }

    fn unit(&self) -> Unit {
        Unit { name: "Mpps", better: Better::More }
    }

    fn floor(&self) -> Floor {
        match self.kind {
            Kind::Tap if self.size <= 64 => Floor::RatioAtLeast(1.5),
            Kind::DgramInet if self.segmented => Floor::RatioAtLeast(8.0),
            Kind::DgramInet => Floor::RatioAtLeast(1.7),
            Kind::DgramUnix => Floor::RatioAtLeast(2.5),
            Kind::L2tpv3 if self.segmented => Floor::RatioAtLeast(6.0),
            Kind::L2tpv3 => Floor::RatioAtLeast(1.2),
            Kind::Stream if self.size <= 64 => Floor::RatioAtLeast(7.0),
            Kind::Socket if self.size <= 64 => Floor::RatioAtLeast(6.0),
            Kind::Tap | Kind::Stream | Kind::Socket => Floor::None,
        }
    }

    fn measure(&self, bench: &Bench, product: Product, duration: Duration) -> Result<Figure> {
        let folder = bench.fresh_folder()?;
        let _taps = self.kind.prepare(0, 2)?;
        let mut device = Device::start(bench, product, &folder, &cable(self.kind, 0, &folder), &[])?;
        let is_tap = self.kind == Kind::Tap;
        if is_tap {
            // The generator's frames are cut before they reach the device, whatever it could take.
            ip(&format!("link set {} gso_max_size {UNCUT_MAX}", tap_name(0)))?;
        }
        let from = Manner { segmented: self.segmented || is_tap, counted: false };
        let to = Manner { segmented: self.segmented, counted: is_tap };
        let mut source = self.kind.address(0, from, &folder).open(self.shape(), Side::A)?;
        let mut sink = self.kind.address(1, to, &folder).open(self.shape(), Side::B)?;
        let processes = device.processes();
        let work = self.work(&processes, duration);
        let spun_before = device.spun();
        let outcome = one_way::run(Some(&mut *source), Some(&mut *sink), &work)
            .doing(format!("driving {}", self.name()))?;
        let spun = spun_before.zip(device.spun()).map(|(before, after)| after.saturating_sub(before));
        device.check()?;
        let figure = figure_of(&outcome, spun).note("dropped_by_device", device.drops());
        self.proof(figure, &mut *source, &work, &folder)
    }
}

/// The number that a run comes to, in Mpps, with what there is to know about it.
pub(super) fn figure_of(outcome: &Outcome, spun: Option<Duration>) -> Figure {
    let rates = outcome.rates();
    let best = rates.last().copied().unwrap_or_default();
    let device_work =
        spun.map(|spun| outcome.device_cpu - spun.as_secs_f64() / outcome.elapsed.as_secs_f64());
    let (clean, windows) = outcome.clean();
    let counts = outcome.counts;
    let mut figure = Figure::new(best / 1e6, median(&rates) / 1e6)
        .note("clean_windows", clean)
        .note("windows", windows)
        .note("sent", outcome.sent)
        .note("received", counts.received)
        .note("lost", counts.lost)
        .note("generator_busy", rounded(outcome.generator_busy))
        .note("device_cpu", rounded(outcome.device_cpu))
        .note("device_busy", device_work.map(rounded))
        .note("device_ns_per_frame", device_work.map(|work| ns_per_frame(work, outcome)))
        .note("longest_gap_ms", rounded(outcome.longest_gap().as_secs_f64() * 1e3))
        .fault_if(!counts.intact(), format!("frames are not as sent: {counts:?}"))
        .fault_if(counts.received == 0, "no frame arrived");
    figure.limit = Limit::of(device_work, outcome.generator_busy);
    figure
}

fn ns_per_frame(work: f64, outcome: &Outcome) -> f64 {
    rounded(work * outcome.elapsed.as_secs_f64() * 1e9 / outcome.measured as f64)
}

/// Three digits after the point.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
