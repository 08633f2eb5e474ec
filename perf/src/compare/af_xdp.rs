//! `af-xdp` beside DPDK's driver for the same sockets, and beside the kernel forwarding alone, on the same veths.
//!
//! ```text
//! generator ── far end ══ near end ── device ── near end ══ far end ── counted
//! ```
//!
//! The kernel hands frames to the device's ring on the generator's processor, so that a frame costs the device what
//! it does with it and what the kernel does to send it: on a veth, that includes the arrival at the far end.

use std::any::Any;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::case::{Better, Case, Figure, Floor, Unit};
use super::seen_figure;
use crate::device::others::{Errand, redirect, testpmd};
use crate::device::wiring::{Kind, Manner};
use crate::device::{Bench, Device, Product};
use crate::error::Result;
use crate::frame::{Shape, Side};
use crate::host::veth::Veth;
use crate::load::Stop;
use crate::load::live::{Live, Seen, watch};
use crate::load::one_way::{self, Work};

const FRAME_BYTES: usize = 64;
const WARM_UP: Duration = Duration::from_millis(300);

/// What is compared with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfXdp {
    /// Frames into the device, with testpmd.
    Receive,
    /// Frames out of the device, with testpmd. It makes them itself; ours come in by UDP.
    Transmit,
    /// Through the device, with testpmd.
    Forward,
    /// The same with the kernel: a program that redirects.
    Redirect,
}

impl AfXdp {
    /// All of them.
    pub(super) const ALL: [AfXdp; 4] = [AfXdp::Receive, AfXdp::Transmit, AfXdp::Forward, AfXdp::Redirect];

    /// The word that selects it, behind `af-xdp:`.
    pub(super) fn word(self) -> &'static str {
        match self {
            AfXdp::Receive => "receive",
            AfXdp::Transmit => "transmit",
            AfXdp::Forward => "forward",
            AfXdp::Redirect => "redirect",
        }
    }

    fn errand(self) -> Errand {
        match self {
            AfXdp::Receive => Errand::Receive,
            AfXdp::Transmit => Errand::Transmit,
            AfXdp::Forward | AfXdp::Redirect => Errand::Forward,
        }
    }

    /// The netdevs that do it.
    fn netdevs(self, left: &Veth, right: &Veth, folder: &Path) -> Vec<String> {
        let port = |id: &str, veth: &Veth| format!("af-xdp,id={id},ifname={}", veth.near());
        let hubport = |id: &str| format!("hubport,id=h{id},hubid=0,netdev={id}");
        let udp = || Kind::DgramInet.netdev("a", 0, folder);
        match self {
            AfXdp::Receive => vec![port("a", left)],
            AfXdp::Transmit => vec![udp(), hubport("a"), port("b", right), hubport("b")],
            AfXdp::Forward | AfXdp::Redirect => {
                vec![port("a", left), hubport("a"), port("b", right), hubport("b")]
            }
        }
    }

    fn watch(self, left: &Veth, right: &Veth, device: &[u32], duration: Duration) -> Result<Seen> {
        let counter = || if self == AfXdp::Receive { left.redirected() } else { right.arrived() };
        let _generator = match self {
            AfXdp::Transmit => None,
            AfXdp::Receive | AfXdp::Forward | AfXdp::Redirect => Some(Live::start(left.far(), FRAME_BYTES)?),
        };
        std::thread::sleep(WARM_UP);
        watch(&counter, device, duration)
    }

    fn framewire(self, bench: &Bench, left: &Veth, right: &Veth, duration: Duration) -> Result<Figure> {
        let folder = bench.fresh_folder()?;
        let netdevs = self.netdevs(left, right, &folder);
        let mut device = Device::start(bench, Product::Framewire, &folder, &netdevs, &[])?;
        let processes = device.processes();
        let seen = if self == AfXdp::Transmit {
            fed_by_udp(&folder, || watch(&|| right.arrived(), &processes, duration), duration)?
        } else {
            self.watch(left, right, &processes, duration)?
        };
        let status = device.qmp().execute("x-query-status", &json!({}))?;
        device.check()?;
        Ok(seen_figure(&seen).note("ports", status["ports"].clone()))
    }
}

impl Case for AfXdp {
    fn name(&self) -> String {
        format!("af-xdp:{}", self.word())
    }

    fn unit(&self) -> Unit {
        Unit { name: "Mpps", better: Better::More }
    }

    fn floor(&self) -> Floor {
        match self {
            AfXdp::Receive | AfXdp::Transmit => Floor::RatioAtLeast(1.0),
            AfXdp::Forward => Floor::RatioAtLeast(1.6),
            AfXdp::Redirect => Floor::None,
        }
    }

    fn products(&self) -> &'static [Product] {
        match self {
            AfXdp::Receive | AfXdp::Transmit | AfXdp::Forward => &[Product::Testpmd, Product::Framewire],
            AfXdp::Redirect => &[Product::Kernel, Product::Framewire],
        }
    }

    fn measure(&self, bench: &Bench, product: Product, duration: Duration) -> Result<Figure> {
        let (left, right) = (Veth::new(0)?, Veth::new(1)?);
        match product {
            Product::Framewire => self.framewire(bench, &left, &right, duration),
            Product::Testpmd => {
                let interfaces: &[&str] = match self {
                    AfXdp::Receive => &[left.near()],
                    AfXdp::Transmit => &[right.near()],
                    AfXdp::Forward | AfXdp::Redirect => &[left.near(), right.near()],
                };
                let folder = bench.fresh_folder()?;
                let mut running = testpmd(bench, &folder, self.errand(), interfaces)?;
                let seen = self.watch(&left, &right, &[running.process()], duration)?;
                running.check()?;
                Ok(seen_figure(&seen))
            }
            Product::Kernel | Product::VdeSwitch | Product::Qemu => {
                let program: Box<dyn Any> = Box::new(redirect(left.near(), right.near())?);
                let seen = self.watch(&left, &right, &[], duration);
                drop(program);
                Ok(seen_figure(&seen?))
            }
        }
    }
}

/// Watches while UDP frames come in, many at once, from a thread of ours.
fn fed_by_udp(folder: &Path, watch: impl FnOnce() -> Result<Seen>, duration: Duration) -> Result<Seen> {
    let manner = Manner { segmented: true, counted: false };
    let mut source = Kind::DgramInet.address(0, manner, folder).open(Shape::bare(FRAME_BYTES), Side::A)?;
    let stop = Stop::After(WARM_UP + duration + Duration::from_millis(300));
    std::thread::scope(|scope| {
        let feeder = scope.spawn(move || {
            let work = Work { window: 1 << 20, batch: 64, stop, ..Work::default() };
            one_way::run(Some(&mut *source), None, &work)
        });
        std::thread::sleep(WARM_UP);
        let seen = watch();
        // A source that was refused sends nothing, and the rate says so.
        let _ = feeder.join();
        seen
    })
}
