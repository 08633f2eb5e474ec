//! How long commands take to answer with a thousand ports beside a cable that carries all it can.
//!
//! The commands are those that clients send while guests run: a port made, linked and unmade, and questions.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::case::{Better, Case, Figure, Floor, Unit};
use super::netdev_add::add_cable;
use super::rate::rounded;
use crate::device::wiring::{Kind, Manner, cable, cable_arguments};
use crate::device::{Bench, Device, Product, Qmp};
use crate::error::{Doing as _, Error, Result};
use crate::frame::{Shape, Side};
use crate::host::schedule;
use crate::load::Stop;
use crate::load::one_way::{self, Work};

/// Ports beside the busy cable: two netdevs and two hub ports a cable.
const CABLES: usize = 250;
/// Each time, every command once.
const TIMES: usize = 200;
const LONGEST: Duration = Duration::from_secs(60);
const LONGEST_US: u64 = 60_000_000;

/// One cable of a kind carries all it can, while commands are timed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Commands {
    pub(super) kind: Kind,
}

impl Case for Commands {
    fn name(&self) -> String {
        format!("{}:commands", self.kind.name())
    }

    fn unit(&self) -> Unit {
        Unit { name: "ms p99", better: Better::Less }
    }

    fn floor(&self) -> Floor {
        Floor::AtMost(100.0)
    }

    fn starts_max(&self) -> usize {
        2
    }

    fn measure(&self, bench: &Bench, product: Product, _duration: Duration) -> Result<Figure> {
        let folder = bench.fresh_folder()?;
        let _taps = self.kind.prepare(0, 2)?;
        let mut device = Device::start(bench, product, &folder, &cable(self.kind, 0, &folder), &[])?;
        // Unix datagrams need no interfaces made first.
        for cable in 1..=CABLES {
            add_cable(device.qmp(), &cable_arguments(Kind::DgramUnix, 2 * cable, &folder))?;
        }
        let shape = Shape::bare(64);
        let mut source = self.kind.address(0, Manner::default(), &folder).open(shape, Side::A)?;
        let mut sink = self.kind.address(1, Manner::default(), &folder).open(shape, Side::B)?;
        let processes = device.processes();
        let finished = AtomicBool::new(false);
        let stop = Stop::When(&finished, LONGEST);
        let work = Work { window: 192, stop, device: &processes, ..Work::default() };
        let (outcome, times) = std::thread::scope(|scope| {
            let client = scope.spawn(|| {
                let times = timed(bench, device.qmp(), &folder);
                finished.store(true, Ordering::Relaxed);
                times
            });
            let outcome = one_way::run(Some(&mut *source), Some(&mut *sink), &work);
            (outcome, client.join())
        });
        let outcome = outcome.doing(format!("driving {}", self.name()))?;
        let times = times.map_err(|_| Error::Usage("the thread that asks panicked".into()))??;
        device.check()?;
        let ms = |quantile| rounded(times.value_at_quantile(quantile) as f64 / 1e3);
        Ok(Figure::new(ms(0.99), ms(0.99))
            .note("commands", times.len())
            .note("ports", 4 * CABLES)
            .note("p50_ms", ms(0.5))
            .note("max_ms", ms(1.0))
            .note("frames", outcome.sent))
    }
}

fn timed(bench: &Bench, qmp: &mut Qmp, folder: &Path) -> Result<Histogram<u64>> {
    // The generator has a core of its own: this thread goes to the device's.
    schedule::pin(&bench.device_cpus)?;
    std::thread::sleep(Duration::from_secs(1));
    let bounded = Histogram::<u64>::new_with_bounds(1, LONGEST_US, 3);
    let mut times = bounded.expect("constant bounds that are in range");
    let index = 2 * CABLES + 2;
    let made = cable_arguments(Kind::DgramUnix, index, folder);
    let unmade = [index, index + 1].map(|end| [format!("h{end}"), format!("n{end}")]).concat();
    for nth in 0..TIMES {
        let old = format!("n{}", 2 + nth);
        let link = |up: bool| ("set_link", json!({ "name": old, "up": up }));
        let questions = ["query-status", "query-chardev", "query-rx-filter", "query-commands"];
        let made = made.iter().map(|arguments| ("netdev_add", arguments.clone()));
        let unmade = unmade.iter().map(|id| ("netdev_del", json!({ "id": id })));
        let asked = questions.map(|name| (name, json!({})));
        let all: Vec<(&str, Value)> =
            made.chain([link(false), link(true)]).chain(asked).chain(unmade).collect();
        for (name, arguments) in all {
            let begun = Instant::now();
            qmp.execute(name, &arguments)?;
            times.saturating_record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
    }
    Ok(times)
}
