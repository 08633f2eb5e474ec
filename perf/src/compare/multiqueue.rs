//! Taps of four queues: four workers carry, and every flow stays in order.

use std::time::Duration;

use super::case::{Better, Case, Figure, Floor, Unit};
use super::rate::{figure_of, rounded};
use crate::device::wiring::{Kind, Manner, Prepared, tap_name};
use crate::device::{Bench, Device, Product};
use crate::error::{Doing as _, Result};
use crate::frame::{Shape, Side};
use crate::host::schedule::{Snapshot, thread_name};
use crate::load::Stop;
use crate::load::one_way::{self, Work};

const QUEUES: usize = 4;
/// Many more flows than queues, so that the kernel's hash hits every queue.
const FLOWS: u16 = 64;
/// Threads that used less of a core did not carry.
const CARRIED_SHARE: f64 = 0.005;

/// How many workers carry the flows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Multiqueue;

impl Case for Multiqueue {
    fn name(&self) -> String {
        "multiqueue".into()
    }

    fn unit(&self) -> Unit {
        Unit { name: "workers", better: Better::More }
    }

    fn floor(&self) -> Floor {
        Floor::AtLeast(QUEUES as f64)
    }

    fn products(&self) -> &'static [Product] {
        &[Product::Framewire]
    }

    fn starts_max(&self) -> usize {
        2
    }

    fn measure(&self, bench: &Bench, product: Product, duration: Duration) -> Result<Figure> {
        let folder = bench.fresh_folder()?;
        let _taps = Prepared::taps(0, 2, " multi_queue")?;
        let netdevs: Vec<String> = [0, 1]
            .into_iter()
            .flat_map(|end| {
                let name = tap_name(end);
                let tap = format!("tap,id=n{end},ifname={name},script=no,downscript=no,queues={QUEUES}");
                [tap, format!("hubport,id=h{end},hubid=0,netdev=n{end}")]
            })
            .collect();
        let workers = QUEUES.to_string();
        let mut device = Device::start(bench, product, &folder, &netdevs, &["--workers", &workers])?;
        let shape = Shape::udp(128, FLOWS);
        let mut source = Kind::Tap.address(0, Manner::default(), &folder).open(shape, Side::A)?;
        let mut sink = Kind::Tap.address(1, Manner::default(), &folder).open(shape, Side::B)?;
        let data_plane = device.data_plane()?;
        let before = Snapshot::take(&[data_plane]);
        let work = Work { flows: FLOWS, stop: Stop::After(duration), ..Work::default() };
        let outcome =
            one_way::run(Some(&mut *source), Some(&mut *sink), &work).doing("driving four queues")?;
        let mut threads = Snapshot::take(&[data_plane]).by_thread(&before);
        device.check()?;
        threads.retain(|(_, cpu)| cpu.as_secs_f64() > CARRIED_SHARE * outcome.elapsed.as_secs_f64());
        let names: Vec<String> = threads
            .iter()
            .map(|(thread, cpu)| format!("{} {:.0?}", thread_name(data_plane, *thread), cpu))
            .collect();
        let rate = figure_of(&outcome, None);
        let carried = threads.len() as f64;
        let mut figure = Figure::new(carried, carried)
            .note("threads", names)
            .note("mpps", rounded(rate.median))
            .note("flows", FLOWS)
            .note("lost", outcome.counts.lost)
            .note("reordered", outcome.counts.reordered);
        figure.faults = rate.faults;
        Ok(figure)
    }
}
