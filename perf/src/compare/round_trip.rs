//! How long one frame takes there and back, and how long when the device had gone to sleep.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::case::{Better, Case, Figure, Floor, Limit, Unit};
use super::rate::rounded;
use crate::device::wiring::{Kind, Manner, cable};
use crate::device::{Bench, Device, Product};
use crate::error::{Doing as _, Result};
use crate::frame::{Shape, Side};
use crate::host::{bare, wake};
use crate::load::Stop;
use crate::load::round_trip::{self, Exchange, Trips};

const SIZE: usize = 64;

/// Both ways through the device without a pause: the device is awake.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoundTrip {
    pub(super) kind: Kind,
}

impl Case for RoundTrip {
    fn name(&self) -> String {
        format!("{}:{SIZE}:rtt", self.kind.name())
    }

    fn unit(&self) -> Unit {
        Unit { name: "us p50", better: Better::Less }
    }

    fn floor(&self) -> Floor {
        Floor::RatioAtMost(0.5)
    }

    fn measure(&self, bench: &Bench, product: Product, duration: Duration) -> Result<Figure> {
        let trips = exchange_frames(self.kind, bench, product, (Duration::ZERO, duration))?;
        let p50 = microseconds(&trips.both, 0.5);
        let figure = with_percentiles(Figure::new(p50, p50), &trips);
        if self.kind != Kind::Stream {
            return Ok(figure);
        }
        let bare = microseconds(&bare::measure(bench.device_cpus[0], bench.generator_cpu)?, 0.5);
        let mut figure = figure.note("bare_p50_us", bare);
        if p50 <= BARE_SHARE * bare {
            figure.limit = Limit::Machine;
        }
        Ok(figure)
    }
}

/// A device that takes no longer than this many times what a bare loop of system calls takes has nothing left to gain.
const BARE_SHARE: f64 = 1.2;

/// One way through a device that nothing was sent to for 50 ms.
///
/// Part of that time is the machine's: an idle processor has to be woken, which a virtual one cannot do by itself. What
/// it takes without any device is measured in the same minute, and a machine that takes longer than the floor by itself
/// cannot tell whether the device keeps to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct WakeUp {
    pub(super) kind: Kind,
}

impl Case for WakeUp {
    fn name(&self) -> String {
        format!("{}:wake", self.kind.name())
    }

    fn unit(&self) -> Unit {
        Unit { name: "us p99", better: Better::Less }
    }

    fn floor(&self) -> Floor {
        Floor::AtMost(FLOOR_US)
    }

    fn starts_max(&self) -> usize {
        1
    }

    fn measure(&self, bench: &Bench, product: Product, _duration: Duration) -> Result<Figure> {
        // A p99 needs some hundred samples.
        let times = (Duration::from_millis(50), Duration::from_secs(20));
        let trips = exchange_frames(self.kind, bench, product, times)?;
        let clean = &trips.there_undisturbed;
        let counted = if clean.len() >= UNDISTURBED_MIN { clean } else { &trips.there };
        let p99 = microseconds(counted, 0.99);
        let machine = wake::measure(bench.device_cpus[0], bench.generator_cpu)?;
        let mut figure = with_percentiles(Figure::new(p99, p99), &trips);
        if microseconds(&machine, 0.99) > FLOOR_US {
            figure.limit = Limit::Machine;
        }
        Ok(figure
            .note("machine_p50_us", microseconds(&machine, 0.5))
            .note("machine_p99_us", microseconds(&machine, 0.99))
            .note("there_p50_us", microseconds(counted, 0.5))
            .note("undisturbed", clean.len())
            .note("there_p50_us_of_all", microseconds(&trips.there, 0.5))
            .note("there_p99_us_of_all", microseconds(&trips.there, 0.99)))
    }
}

/// What a wake-up may take.
const FLOOR_US: f64 = 200.0;

/// Fewer undisturbed trips than this have no p99: then all are counted.
const UNDISTURBED_MIN: u64 = 100;

fn exchange_frames(
    kind: Kind,
    bench: &Bench,
    product: Product,
    (pause, duration): (Duration, Duration),
) -> Result<Trips> {
    let folder = bench.fresh_folder()?;
    let _taps = kind.prepare(0, 2)?;
    let mut device = Device::start(bench, product, &folder, &cable(kind, 0, &folder), &[])?;
    let shape = Shape::bare(SIZE);
    let mut a = kind.address(0, Manner::default(), &folder).open(shape, Side::A)?;
    let mut b = kind.address(1, Manner::default(), &folder).open(shape, Side::B)?;
    let exchange = Exchange { device: &device.processes(), pause, stop: Stop::After(duration) };
    let trips = round_trip::run(&mut *a, &mut *b, &exchange).doing(format!("exchanging {}", kind.name()))?;
    device.check()?;
    Ok(trips)
}

pub(super) fn with_percentiles(figure: Figure, trips: &Trips) -> Figure {
    figure
        .note("trips", trips.both.len())
        .note("lost", trips.lost)
        .note("min_us", microseconds(&trips.both, 0.0))
        .note("p50_us", microseconds(&trips.both, 0.5))
        .note("p99_us", microseconds(&trips.both, 0.99))
        .note("p999_us", microseconds(&trips.both, 0.999))
        .fault_if(!trips.intact, "frames are not as sent")
        .fault_if(trips.both.is_empty(), "no frame came back")
}

pub(super) fn microseconds(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    rounded(histogram.value_at_quantile(quantile) as f64 / 1e3)
}
