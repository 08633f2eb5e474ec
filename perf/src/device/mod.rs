//! What is measured: QEMU's own hub, or Framewire, started with the same `-netdev` words.

pub mod others;
mod qmp;
pub mod wiring;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use qmp::Qmp;

use crate::error::{Doing as _, Error, Result};
use crate::host::launch::{Launch, Network, Running};
use crate::host::{processes, schedule};

/// Which device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Product {
    /// QEMU without a machine, joining its netdevs through a hub.
    Qemu,
    /// DPDK's forwarding program.
    Testpmd,
    /// The VDE project's switch.
    VdeSwitch,
    /// No program at all: the kernel forwards.
    Kernel,
    /// This project.
    Framewire,
}

impl Product {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Product::Qemu => "qemu",
            Product::Testpmd => "testpmd",
            Product::VdeSwitch => "vde_switch",
            Product::Kernel => "kernel",
            Product::Framewire => "framewire",
        }
    }

    /// Whether it can be talked to by QMP.
    pub fn has_monitor(self) -> bool {
        match self {
            Product::Qemu | Product::Framewire => true,
            Product::Testpmd | Product::VdeSwitch | Product::Kernel => false,
        }
    }
}

/// Where the programs are, and where they and we run.
#[derive(Debug, Clone)]
pub struct Bench {
    /// QEMU.
    pub qemu: PathBuf,
    /// Framewire's control process.
    pub framewire: PathBuf,
    /// Processors of the device.
    pub device_cpus: Vec<usize>,
    /// The processor of the generator.
    pub generator_cpu: usize,
    /// A folder that is ours alone.
    pub folder: PathBuf,
}

impl Bench {
    /// A folder that nothing has used before.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn fresh_folder(&self) -> Result<PathBuf> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Relaxed: only the numbers must differ.
        let folder = self.folder.join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir(&folder).doing(format!("making {}", folder.display()))?;
        Ok(folder)
    }
}

/// A device that runs and answers QMP; ended when dropped.
#[derive(Debug)]
pub struct Device {
    product: Product,
    running: Running,
    qmp: Qmp,
}

impl Device {
    /// Starts `product` with these netdevs, and waits until it answers. `folder` is fresh.
    ///
    /// # Errors
    /// If it has no monitor, or ends, or does not answer within ten seconds.
    pub fn start(
        bench: &Bench,
        product: Product,
        folder: &Path,
        netdevs: &[String],
        extra: &[&str],
    ) -> Result<Device> {
        let socket = folder.join("qmp");
        let (mut argv, flag) = match product {
            Product::Qemu => (qemu_words(bench, &socket), "-netdev"),
            Product::Framewire => (framewire_words(bench, &socket, folder), "--netdev"),
            Product::Testpmd | Product::VdeSwitch | Product::Kernel => {
                return Err(Error::Usage(format!("{} has no monitor", product.name())));
            }
        };
        argv.extend(netdevs.iter().flat_map(|netdev| [OsString::from(flag), netdev.into()]));
        argv.extend(extra.iter().map(OsString::from));
        let log = folder.join("log");
        let cpus = bench.device_cpus.clone();
        let mut running = Launch { argv, cpus, network: Network::Shared, log }.start()?;
        let qmp = wait_for_qmp(&mut running, &socket)?;
        schedule::weigh_heavily(&processes::family(running.process()));
        Ok(Device { product, running, qmp })
    }

    /// Its main process and all below it.
    pub fn processes(&self) -> Vec<u32> {
        processes::family(self.running.process())
    }

    /// Its main process: QEMU's, or Framewire's control process.
    pub fn main_process(&self) -> u32 {
        self.running.process()
    }

    /// Framewire's data plane.
    ///
    /// # Errors
    /// If there is none, or it is QEMU.
    pub fn data_plane(&self) -> Result<u32> {
        let planes = processes::running(&self.processes(), "framewire-dataplane");
        planes.first().copied().ok_or_else(|| Error::Program {
            program: self.product.name().into(),
            reason: "no data plane is running".into(),
        })
    }

    /// Its monitor.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// Nanoseconds that its workers have spun without work so far, if it says so: QEMU never spins.
    pub fn spun(&mut self) -> Option<Duration> {
        match self.product {
            Product::Qemu | Product::Testpmd | Product::VdeSwitch | Product::Kernel => Some(Duration::ZERO),
            Product::Framewire => self.qmp.spun(),
        }
    }

    /// The mean size of the frames that it has received so far: only Framewire tells.
    pub fn mean_frame_bytes(&mut self) -> Option<u64> {
        match self.product {
            Product::Qemu | Product::Testpmd | Product::VdeSwitch | Product::Kernel => None,
            Product::Framewire => self.qmp.received().and_then(|(frames, bytes)| bytes.checked_div(frames)),
        }
    }

    /// What it says it has dropped, by port and reason: only Framewire does.
    pub fn drops(&mut self) -> Option<serde_json::Value> {
        match self.product {
            Product::Qemu | Product::Testpmd | Product::VdeSwitch | Product::Kernel => None,
            Product::Framewire => self.qmp.drops(),
        }
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// If it has ended, with what it said last.
    pub fn check(&mut self) -> Result<()> {
        self.running.check()
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        self.running.said()
    }
}

fn qemu_words(bench: &Bench, socket: &Path) -> Vec<OsString> {
    let mut argv: Vec<OsString> = vec![bench.qemu.clone().into()];
    argv.extend(["-machine", "none", "-nodefaults", "-display", "none", "-qmp"].map(OsString::from));
    argv.push(format!("unix:{},server=on,wait=off", socket.display()).into());
    argv
}

fn framewire_words(bench: &Bench, socket: &Path, runtime: &Path) -> Vec<OsString> {
    vec![
        bench.framewire.clone().into(),
        "run".into(),
        "--qmp".into(),
        format!("unix:{}", socket.display()).into(),
        "--runtime-dir".into(),
        runtime.into(),
    ]
}

fn wait_for_qmp(running: &mut Running, socket: &Path) -> Result<Qmp> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let deadline = Instant::now() + PATIENCE;
    loop {
        running.check()?;
        match Qmp::connect(socket) {
            Ok(qmp) => return Ok(qmp),
            Err(error) if Instant::now() > deadline => {
                let reason = format!("{error}; it said: {}", running.said());
                return Err(Error::Program { program: "the device".into(), reason });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
