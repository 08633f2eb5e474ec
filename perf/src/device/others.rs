//! Peers that have no monitor: DPDK's testpmd, and the kernel alone.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Bench;
use crate::bpf;
use crate::error::{Doing as _, Error, Result};
use crate::host::launch::{Launch, Network, Running};
use crate::host::veth::index_of;

/// What testpmd does with frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// From each interface to the other.
    Forward,
    /// Takes and discards.
    Receive,
    /// Makes and sends.
    Transmit,
}

/// Starts testpmd on these interfaces, and waits until it has begun. Its driver leaves the kernel's part of the work
/// where it is: asked to poll for it (`busy_budget`), it was slower.
///
/// # Errors
/// If it is not installed, or ends, or does not begin.
pub fn testpmd(bench: &Bench, folder: &Path, errand: Errand, interfaces: &[&str]) -> Result<Running> {
    let cpu = bench.device_cpus.first().copied().unwrap_or_default();
    let mode = match errand {
        Errand::Forward => "io",
        Errand::Receive => "rxonly",
        Errand::Transmit => "txonly",
    };
    let mut words = format!("dpdk-testpmd --lcores 0@{cpu},1@{cpu} --no-pci --no-shconf --no-huge -m 256");
    for (number, interface) in interfaces.iter().enumerate() {
        words.push_str(&format!(" --vdev net_af_xdp{number},iface={interface},busy_budget=0"));
    }
    words.push_str(
        " -- --no-lsc-interrupt --total-num-mbufs=16384 --txpkts=64 --auto-start --stats-period=3600",
    );
    words.push_str(&format!(" --forward-mode={mode}"));
    begun(bench, folder, &words)
}

/// Starts testpmd and waits until it forwards.
fn begun(bench: &Bench, folder: &Path, words: &str) -> Result<Running> {
    let argv = words.split(' ').map(OsString::from).collect();
    started(bench, folder, "dpdk-testpmd", argv, |running| running.said().contains("packet forwarding"))
}

/// Starts a device and waits until it is ready.
fn started(
    bench: &Bench,
    folder: &Path,
    program: &str,
    argv: Vec<OsString>,
    is_ready: impl Fn(&Running) -> bool,
) -> Result<Running> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let cpus = bench.device_cpus.clone();
    let mut running = Launch { argv, cpus, network: Network::Shared, log: folder.join("log") }.start()?;
    let deadline = Instant::now() + PATIENCE;
    while !is_ready(&running) {
        running.check()?;
        if Instant::now() > deadline {
            let reason = format!("does not begin; it said: {}", running.said());
            return Err(Error::Program { program: program.into(), reason });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(running)
}

/// Huge pages of two megabytes that testpmd takes with NICs of guests, and some to spare.
const HUGE_PAGES: u32 = 260;

/// Huge pages that nobody has; 0 if the kernel does not say.
pub fn huge_pages_free() -> u32 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("HugePages_Free:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

/// Starts testpmd with NICs of guests at these sockets, forwarding from each to the other. It is given huge pages if the
/// machine has enough of them.
///
/// # Errors
/// If it is not installed, or ends, or does not begin.
pub fn testpmd_vhost(bench: &Bench, folder: &Path, sockets: &[PathBuf; 2]) -> Result<Running> {
    let cpu = bench.device_cpus.first().copied().unwrap_or_default();
    let pages = if huge_pages_free() >= HUGE_PAGES { "--in-memory" } else { "--no-huge --no-shconf" };
    let mut words = format!("dpdk-testpmd --lcores 0@{cpu},1@{cpu} --no-pci {pages} -m 512");
    for (number, socket) in sockets.iter().enumerate() {
        words.push_str(&format!(" --vdev net_vhost{number},iface={},queues=1", socket.display()));
    }
    words.push_str(" -- --no-lsc-interrupt --disable-link-check --total-num-mbufs=16384 --rxd=256 --txd=256 --auto-start");
    words.push_str(" --stats-period=3600 --forward-mode=io");
    begun(bench, folder, &words)
}

/// Starts a VDE switch in a folder of its own, and waits until it listens.
///
/// # Errors
/// If it is not installed, or ends, or does not listen.
pub fn vde_switch(bench: &Bench, folder: &Path, place: &Path) -> Result<Running> {
    // It ends when its console does; a pipe that it could write itself does not.
    let script = "mkfifo $0.in && exec vde_switch -s $0 <>$0.in";
    let argv = ["sh", "-c", script].map(OsString::from).into_iter().chain([place.into()]).collect();
    started(bench, folder, "vde_switch", argv, |_running| place.join("ctl").exists())
}

/// Has the kernel send what comes in at one interface out of another, as long as this is held.
///
/// # Errors
/// If it takes no such program.
pub fn redirect(from: &str, to: &str) -> Result<OwnedFd> {
    let program = bpf::redirect_to(index_of(to)?).doing("loading an XDP program")?;
    bpf::attach(program.as_fd(), index_of(from)?).doing(format!("attaching it to {from}"))
}
