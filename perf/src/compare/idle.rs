//! What a hundred ports cost while nothing happens.

use std::time::Duration;

use super::case::{Better, Case, Figure, Floor, Unit};
use super::rate::rounded;
use crate::device::wiring::{Kind, cable};
use crate::device::{Bench, Device, Product};
use crate::error::Result;
use crate::host::schedule::Snapshot;

/// Cables of each kind, two ports each: a hundred ports.
const CABLES: [(Kind, usize); 3] = [(Kind::Tap, 20), (Kind::DgramInet, 15), (Kind::DgramUnix, 15)];
const SETTLING: Duration = Duration::from_secs(1);
const WATCHED: Duration = Duration::from_secs(5);

/// The share of a core that all threads of an idle device take together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Idle;

impl Case for Idle {
    fn name(&self) -> String {
        "idle".into()
    }

    fn unit(&self) -> Unit {
        Unit { name: "% CPU", better: Better::Less }
    }

    fn floor(&self) -> Floor {
        Floor::AtMost(1.0)
    }

    fn starts_max(&self) -> usize {
        2
    }

    fn measure(&self, bench: &Bench, product: Product, _duration: Duration) -> Result<Figure> {
        let folder = bench.fresh_folder()?;
        let mut netdevs = Vec::new();
        let mut prepared = Vec::new();
        let mut next = 0;
        for (kind, count) in CABLES {
            prepared.push(kind.prepare(next, 2 * count)?);
            for _ in 0..count {
                netdevs.extend(cable(kind, next, &folder));
                next += 2;
            }
        }
        let mut device = Device::start(bench, product, &folder, &netdevs, &[])?;
        std::thread::sleep(SETTLING);
        let processes = device.processes();
        let before = Snapshot::take(&processes);
        std::thread::sleep(WATCHED);
        let used = Snapshot::take(&processes).since(&before);
        device.check()?;
        let percent = 100.0 * used.cpu.as_secs_f64() / WATCHED.as_secs_f64();
        Ok(Figure::new(rounded(percent), rounded(percent)).note("ports", next).note("seconds", 5))
    }
}
