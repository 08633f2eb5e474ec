//! Guest to guest, both over vhost-user, beside DPDK's testpmd with `net_vhost`.
//!
//! ```text
//! guest ── rings ── device ── rings ── guest
//! ```
//!
//! Both guests are on the generator's processor and send each other frames without an end, so a rate is of both directions
//! together. Before it is taken, another pair of guests at the same sockets makes and judges each frame for a moment.

use std::path::Path;
use std::time::Duration;

use super::case::{Better, Case, Figure, Floor, Limit, Unit};
use super::rate::rounded;
use super::round_trip::{microseconds, with_percentiles};
use super::seen_figure;
use crate::device::others::testpmd_vhost;
use crate::device::{Bench, Device, Product};
use crate::error::{Doing as _, Error, Result};
use crate::frame::{Shape, Side, Template};
use crate::guest::port::Port;
use crate::guest::{Circulation, Place, RING_SIZE};
use crate::host::launch::Running;
use crate::load::Stop;
use crate::load::live::watch;
use crate::load::one_way::{self, Work};
use crate::load::round_trip::{self, Exchange};

const WARM_UP: Duration = Duration::from_millis(300);
const PROOF: Duration = Duration::from_millis(300);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nic {
    /// Frames of one size, in split or packed rings.
    Rate { size: usize, packed: bool },
    /// One small frame there and back, in split rings.
    RoundTrip,
}

impl Nic {
    /// All of them.
    pub(super) const ALL: [Nic; 5] = [
        Nic::Rate { size: 64, packed: false },
        Nic::Rate { size: 64, packed: true },
        Nic::Rate { size: 1518, packed: false },
        Nic::Rate { size: 1518, packed: true },
        Nic::RoundTrip,
    ];

    fn shape(self) -> Shape {
        match self {
            Nic::Rate { size, .. } => Shape::bare(size),
            Nic::RoundTrip => Shape::bare(64),
        }
    }

    fn places(self, device: &Served) -> [Place; 2] {
        let packed = matches!(self, Nic::Rate { packed: true, .. });
        device.sockets.each_ref().map(|socket| Place { socket: socket.into(), packed })
    }

    fn ports(self, device: &Served) -> Result<[Port; 2]> {
        let [left, right] = self.places(device);
        let open = |place, side| Port::open(place, Template::new(self.shape(), side));
        Ok([open(&left, Side::A)?, open(&right, Side::B)?])
    }

    /// Whether frames arrive as they were sent.
    fn proof(self, device: &Served) -> Result<Vec<String>> {
        let [mut a, mut b] = self.ports(device)?;
        let half = u64::from(RING_SIZE / 2);
        let work = Work { window: half, batch: 32, stop: Stop::After(PROOF), ..Work::default() };
        let outcome = one_way::run(Some(&mut a), Some(&mut b), &work).doing("judging frames")?;
        let counts = outcome.counts;
        let is_sound = counts.intact() && counts.received > 0;
        Ok((!is_sound).then(|| format!("frames are not as sent: {counts:?}")).into_iter().collect())
    }

    fn rate(self, device: &mut Served, duration: Duration) -> Result<Figure> {
        let faults = self.proof(device)?;
        let frame = Template::new(self.shape(), Side::A);
        let circulation = Circulation::start(&self.places(device), frame.bytes())?;
        std::thread::sleep(WARM_UP);
        let (busy, spun) = (circulation.busy(), device.spun());
        let seen = watch(&|| Ok(circulation.frames()), &device.processes(), duration)?;
        let share = |part: Duration| part.as_secs_f64() / seen.elapsed.as_secs_f64();
        let generator_busy = share(circulation.busy().saturating_sub(busy));
        let spun = spun.zip(device.spun()).map(|(before, after)| after.saturating_sub(before));
        // testpmd never stops looking, and does not say when it found something.
        let device_busy = spun.map(|spun| share(seen.device_cpu) - share(spun));
        let mut figure = seen_figure(&seen)
            .note("generator_busy", rounded(generator_busy))
            .note("device_busy", device_busy.map(rounded));
        figure.limit = Limit::of(device_busy, generator_busy);
        figure.faults.extend(faults);
        Ok(figure)
    }

    fn round_trip(self, device: &Served, duration: Duration) -> Result<Figure> {
        let [mut a, mut b] = self.ports(device)?;
        let processes = device.processes();
        let exchange = Exchange { device: &processes, pause: Duration::ZERO, stop: Stop::After(duration) };
        // Until both sides have found each other.
        let warm = Exchange { stop: Stop::After(WARM_UP), ..exchange };
        round_trip::run(&mut a, &mut b, &warm).doing("exchanging frames of guests")?;
        let trips = round_trip::run(&mut a, &mut b, &exchange).doing("exchanging frames of guests")?;
        let p50 = microseconds(&trips.both, 0.5);
        Ok(with_percentiles(Figure::new(p50, p50), &trips))
    }
}

/// Who serves the two NICs.
enum Server {
    Testpmd(Running),
    Framewire(Device),
}

/// Two NICs that are served, joined with each other.
struct Served {
    server: Server,
    sockets: [std::path::PathBuf; 2],
}

impl Served {
    fn new(bench: &Bench, product: Product, folder: &Path) -> Result<Self> {
        match product {
            Product::Testpmd => {
                let sockets = ["v0", "v1"].map(|name| folder.join(name));
                let server = Server::Testpmd(testpmd_vhost(bench, folder, &sockets)?);
                Ok(Self { server, sockets })
            }
            Product::Framewire => {
                let netdevs = [0, 1].map(|index| format!("hubport,id=h{index},hubid=0"));
                let nics = [0, 1].map(|index| format!("virtio-net-pci,id=vn{index},netdev=h{index}"));
                let extra = ["--device", &nics[0], "--device", &nics[1]];
                let device = Device::start(bench, product, folder, &netdevs, &extra)?;
                let sockets = [0, 1].map(|index| folder.join(format!("nic-vn{index}.sock")));
                Ok(Self { server: Server::Framewire(device), sockets })
            }
            Product::Qemu | Product::VdeSwitch | Product::Kernel => {
                Err(Error::Usage(format!("{} serves no NICs", product.name())))
            }
        }
    }

    fn processes(&self) -> Vec<u32> {
        match &self.server {
            Server::Testpmd(running) => vec![running.process()],
            Server::Framewire(device) => device.processes(),
        }
    }

    fn spun(&mut self) -> Option<Duration> {
        match &mut self.server {
            Server::Testpmd(_running) => None,
            Server::Framewire(device) => device.spun(),
        }
    }

    fn check(&mut self) -> Result<()> {
        match &mut self.server {
            Server::Testpmd(running) => running.check(),
            Server::Framewire(device) => device.check(),
        }
    }
}

impl Case for Nic {
    fn name(&self) -> String {
        match self {
            Nic::Rate { size, packed } => format!("nic:{size}{}", if *packed { ":packed" } else { "" }),
            Nic::RoundTrip => "nic:64:rtt".into(),
        }
    }

    fn unit(&self) -> Unit {
        match self {
            Nic::Rate { .. } => Unit { name: "Mpps", better: Better::More },
            Nic::RoundTrip => Unit { name: "us p50", better: Better::Less },
        }
    }

    fn floor(&self) -> Floor {
        match self {
            Nic::Rate { size: 64, packed: false } => Floor::RatioAtLeast(1.5),
            Nic::Rate { size: 64, packed: true } => Floor::RatioAtLeast(1.2),
            Nic::Rate { .. } => Floor::RatioAtLeast(2.2),
            Nic::RoundTrip => Floor::RatioAtMost(1.0),
        }
    }

    fn products(&self) -> &'static [Product] {
        &[Product::Testpmd, Product::Framewire]
    }

    fn measure(&self, bench: &Bench, product: Product, duration: Duration) -> Result<Figure> {
        let folder = bench.fresh_folder()?;
        let mut device = Served::new(bench, product, &folder)?;
        let figure = match self {
            Nic::Rate { .. } => self.rate(&mut device, duration)?,
            Nic::RoundTrip => self.round_trip(&device, duration)?,
        };
        device.check()?;
        Ok(figure)
    }
}
