//! How long `netdev_add` takes to answer: what has answered has taken effect.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::case::{Better, Case, Figure, Floor, Unit};
use super::rate::rounded;
use crate::device::wiring::{Kind, Prepared, cable_arguments};
use crate::device::{Bench, Device, Product, Qmp};
use crate::error::Result;

/// Netdevs added, each of them timed.
const ADDED: usize = 200;

/// Adds two hundred netdevs of a kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct NetdevAdd {
    pub(super) kind: Kind,
}

impl Case for NetdevAdd {
    fn name(&self) -> String {
        format!("{}:add", self.kind.name())
    }

    fn unit(&self) -> Unit {
        Unit { name: "ms p99", better: Better::Less }
    }

    fn floor(&self) -> Floor {
        Floor::AtMost(20.0)
    }

    fn starts_max(&self) -> usize {
        2
    }

    fn measure(&self, bench: &Bench, product: Product, _duration: Duration) -> Result<Figure> {
        let folder = bench.fresh_folder()?;
        let mut device = Device::start(bench, product, &folder, &[], &[])?;
        let _taps: Prepared = self.kind.prepare(0, ADDED)?;
        const LONGEST_US: u64 = 60_000_000;
        let bounded = Histogram::<u64>::new_with_bounds(1, LONGEST_US, 3);
        let mut times = bounded.expect("constant bounds that are in range");
        let mut hubports = times.clone();
        for cable in 0..ADDED / 2 {
            for arguments in cable_arguments(self.kind, 2 * cable, &folder) {
                let is_hubport = arguments["type"] == "hubport";
                let took = timed(device.qmp(), &arguments)?;
                let times = if is_hubport { &mut hubports } else { &mut times };
                times.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
        }
        device.check()?;
        let ms = |quantile| rounded(times.value_at_quantile(quantile) as f64 / 1e3);
        Ok(Figure::new(ms(0.99), ms(0.99))
            .note("added", times.len())
            .note("p50_ms", ms(0.5))
            .note("max_ms", ms(1.0))
            .note("hubport_p99_ms", rounded(hubports.value_at_quantile(0.99) as f64 / 1e3)))
    }
}

fn timed(qmp: &mut Qmp, arguments: &Value) -> Result<Duration> {
    let begun = Instant::now();
    qmp.execute("netdev_add", arguments)?;
    Ok(begun.elapsed())
}

/// Adds a cable.
pub(super) fn add_cable(qmp: &mut Qmp, arguments: &[Value]) -> Result<()> {
    arguments.iter().try_for_each(|arguments| qmp.execute("netdev_add", arguments).map(drop))
}

/// Removes the cable that begins with the `index`-th netdev.
pub(super) fn remove_cable(qmp: &mut Qmp, index: usize) -> Result<()> {
    let ids = [index, index + 1].into_iter().flat_map(|end| [format!("h{end}"), format!("n{end}")]);
    ids.into_iter().try_for_each(|id| qmp.execute("netdev_del", &json!({ "id": id })).map(drop))
}
