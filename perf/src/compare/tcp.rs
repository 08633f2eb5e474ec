//! TCP between two network namespaces, through two taps: where 64 KiB frames cross unsplit, it flies.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::case::{Better, Case, Figure, Floor, Limit, Unit};
use super::rate::rounded;
use crate::device::wiring::{Kind, cable, tap_name};
use crate::device::{Bench, Device, Product};
use crate::error::{Error, Result};
use crate::host::launch::{Launch, Network, Running};
use crate::host::processes;
use crate::host::sandbox::ip;
use crate::host::schedule::Snapshot;

const PORT: u16 = 5201;
const NEAR: &str = "198.51.100.1";
const FAR: &str = "198.51.100.2";

/// iperf3 over taps as QEMU sets them up unless told otherwise.
///
/// With both ends on the generator's core these give out first (plain loopback has 20 Gbit/s there), and a device that
/// needs little of its own core cannot show it in the rate. It shows in its work: the rate over the share of its core
/// for which it was busy. The free variant, where ends and device run on whichever core the kernel chooses, is what a
/// user gets who pins nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tcp {
    Rate,
    Free,
    Work,
}

impl Case for Tcp {
    fn name(&self) -> String {
        match self {
            Tcp::Rate => "tap:tcp".into(),
            Tcp::Free => "tap:tcp:free".into(),
            Tcp::Work => "tap:tcp:work".into(),
        }
    }

    fn unit(&self) -> Unit {
        let name = if *self == Tcp::Work { "Gbit/s a busy core" } else { "Gbit/s" };
        Unit { name, better: Better::More }
    }

    fn floor(&self) -> Floor {
        Floor::RatioAtLeast(10.0)
    }

    fn measure(&self, bench: &Bench, product: Product, duration: Duration) -> Result<Figure> {
        let bench = &self.placed(bench);
        let folder = bench.fresh_folder()?;
        let far = FarSide::new(bench, &folder)?;
        let _taps = Kind::Tap.prepare(0, 2)?;
        let mut device = Device::start(bench, product, &folder, &cable(Kind::Tap, 0, &folder), &[])?;
        far.move_in(bench, &folder)?;
        let seconds = duration.as_secs().max(2).to_string();
        let server = far.server(bench, &folder)?;
        let processes = device.processes();
        let (before, spun_before, begun) = (Snapshot::take(&processes), device.spun(), Instant::now());
        let words = ["iperf3", "-J", "-c", FAR, "-p", "5201", "-t", &seconds, "-O", "1"];
        let client = started(bench, &words, Network::Shared, &folder)?;
        let said = client.finish(duration + Duration::from_secs(20))?;
        let elapsed = begun.elapsed().as_secs_f64();
        let used = Snapshot::take(&processes).since(&before).cpu.as_secs_f64() / elapsed;
        let spun = spun_before.zip(device.spun()).map(|(before, after)| after.saturating_sub(before));
        let working = spun.map(|spun| used - spun.as_secs_f64() / elapsed);
        drop(server);
        device.check()?;
        let figure = figure_of(&said, used, working)?;
        let figure = if *self == Tcp::Work { work(figure, working)? } else { figure };
        Ok(figure
            .note("mean_frame_bytes", device.mean_frame_bytes())
            .note("dropped_by_device", device.drops()))
    }
}

impl Tcp {
    fn placed(self, bench: &Bench) -> Bench {
        let mut placed = bench.clone();
        if self == Tcp::Free {
            placed.device_cpus.push(bench.generator_cpu);
        }
        placed
    }
}

/// Reads iperf3's report: the received rate, its retransmissions, and how busy the ends were.
fn figure_of(said: &str, device_cpu: f64, device_working: Option<f64>) -> Result<Figure> {
    let wrong = |reason: String| Error::Program { program: "iperf3".into(), reason };
    let report: Value = serde_json::from_str(said).map_err(|error| wrong(format!("{error}: {said}")))?;
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64);
    let received = number("/end/sum_received/bits_per_second").ok_or_else(|| wrong(said.to_owned()))? / 1e9;
    let intervals = report["intervals"].as_array().into_iter().flatten();
    let rates = intervals.filter_map(|interval| interval.pointer("/sum/bits_per_second")?.as_f64());
    let best = rates.fold(received, |best, rate| best.max(rate / 1e9));
    let ends = (number("/end/cpu_utilization_percent/host_total").unwrap_or(0.0)
        + number("/end/cpu_utilization_percent/remote_total").unwrap_or(0.0))
        / 100.0;
    let mut figure = Figure::new(rounded(best), rounded(received))
        .note("retransmits", number("/end/sum_sent/retransmits"))
        .note("ends_cpu", rounded(ends))
        .note("device_cpu", rounded(device_cpu))
        .note("device_busy", device_working.map(rounded));
    figure.limit = Limit::of(device_working, ends);
    Ok(figure)
}

/// What the device would carry if it were busy all the time.
fn work(mut figure: Figure, working: Option<f64>) -> Result<Figure> {
    let reason = || "it does not say how long it spun".to_owned();
    let working = working.filter(|working| *working > 0.0);
    let working = working.ok_or_else(|| Error::Program { program: "the device".into(), reason: reason() })?;
    // The busy share is of the whole run: so is the rate that it is held against.
    (figure.best, figure.limit) = (rounded(figure.median / working), Limit::Device);
    figure.median = figure.best;
    Ok(figure)
}

/// A second network namespace, held by a process that sleeps.
struct FarSide {
    holder: Running,
}

impl FarSide {
    fn new(bench: &Bench, folder: &std::path::Path) -> Result<FarSide> {
        let holder = started(bench, &["sleep", "infinity"], Network::New, folder)?;
        let own = std::fs::read_link("/proc/self/ns/net").ok();
        let process = holder.process();
        // The launcher needs a moment until it has its network.
        let deadline = Instant::now() + Duration::from_secs(2);
        while std::fs::read_link(format!("/proc/{process}/ns/net")).ok() == own && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(FarSide { holder })
    }

    /// Moves the second tap there, and gives both addresses.
    fn move_in(&self, bench: &Bench, folder: &std::path::Path) -> Result<()> {
        let (near, far) = (tap_name(0), tap_name(1));
        ip(&format!("link set {far} netns {}", self.holder.process()))?;
        ip(&format!("addr add {NEAR}/24 dev {near}"))?;
        for words in [
            "ip link set lo up".to_owned(),
            format!("ip link set {far} up"),
            format!("ip addr add {FAR}/24 dev {far}"),
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            let step = started(bench, &words, Network::Of(self.holder.process()), folder)?;
            step.finish(Duration::from_secs(5))?;
        }
        Ok(())
    }

    fn server(&self, bench: &Bench, folder: &std::path::Path) -> Result<Running> {
        let words = ["iperf3", "-s", "-1", "-p", "5201"];
        let mut server = started(bench, &words, Network::Of(self.holder.process()), folder)?;
        let deadline = Instant::now() + Duration::from_secs(5);
        while !processes::listens_on_tcp(server.process(), PORT) {
            server.check()?;
            if Instant::now() > deadline {
                let reason = "does not listen".into();
                return Err(Error::Program { program: "iperf3".into(), reason });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }
}

/// Starts a program of the generator's side.
fn started(bench: &Bench, words: &[&str], network: Network, folder: &std::path::Path) -> Result<Running> {
    let argv = words.iter().map(Into::into).collect();
    let log = folder.join(format!("{}.log", words.join("-").replace('/', "_")));
    // In the free variant the generator's core is one of the device's, and all are everybody's.
    let is_free = bench.device_cpus.contains(&bench.generator_cpu);
    let cpus = if is_free { bench.device_cpus.clone() } else { vec![bench.generator_cpu] };
    Launch { argv, cpus, network, log }.start()
}
