//! From one port of a VDE switch to another, beside `vde_switch`.
//!
//! ```text
//! generator ── plug ── vde_switch ── plug ── generator
//! generator ── port ── plug, Framewire, plug ── port ── generator
//! ```
//!
//! Framewire is no switch but what is plugged into one, so the generator stands for the switches on both of its sides. Either
//! way a frame is received as one unix datagram and sent as another.

use std::path::Path;
use std::time::Duration;

use super::case::{Better, Case, Figure, Floor, Unit};
use super::rate::figure_of;
use super::round_trip::{microseconds, with_percentiles};
use crate::device::others::vde_switch;
use crate::device::{Bench, Device, Product};
use crate::endpoint::{Address, Endpoint, Socket};
use crate::error::{Doing as _, Error, Result};
use crate::frame::{Shape, Side, Template};
use crate::host::launch::Running;
use crate::load::Stop;
use crate::load::one_way::{self, Work};
use crate::load::round_trip::{self, Exchange};

const SIDES: [Side; 2] = [Side::A, Side::B];

/// What is measured of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vde {
    /// Frames of one size, one way.
    Rate(usize),
    /// One small frame there and back.
    RoundTrip,
}

/// What is between the two ends.
enum Between {
    Switch(Running),
    Framewire(Device),
}

impl Between {
    fn processes(&self) -> Vec<u32> {
        match self {
            Between::Switch(running) => vec![running.process()],
            Between::Framewire(device) => device.processes(),
        }
    }

    fn check(&mut self) -> Result<()> {
        match self {
            Between::Switch(running) => running.check(),
            Between::Framewire(device) => device.check(),
        }
    }

    fn spun(&mut self) -> Option<Duration> {
        match self {
            Between::Switch(_running) => Some(Duration::ZERO),
            Between::Framewire(device) => device.spun(),
        }
    }
}

impl Vde {
    /// All of them.
    pub(super) const ALL: [Vde; 3] = [Vde::Rate(64), Vde::Rate(1500), Vde::RoundTrip];

    fn shape(self) -> Shape {
        match self {
            Vde::Rate(size) => Shape::bare(size),
            Vde::RoundTrip => Shape::bare(64),
        }
    }

    fn rate(
        self,
        between: &mut Between,
        [a, b]: &mut [Box<dyn Endpoint>; 2],
        duration: Duration,
    ) -> Result<Figure> {
        // As many as the smallest socket between the two holds.
        let (window, batch) = if self == Vde::Rate(1500) { (64, 32) } else { (192, 32) };
        let processes = between.processes();
        let work = Work { window, batch, stop: Stop::After(duration), device: &processes, ..Work::default() };
        let spun_before = between.spun();
        let outcome = one_way::run(Some(&mut **a), Some(&mut **b), &work).doing("driving a VDE port")?;
        let spun = spun_before.zip(between.spun()).map(|(before, after)| after.saturating_sub(before));
        Ok(figure_of(&outcome, spun))
    }
}

/// Two plugs and a switch between them.
fn switch(bench: &Bench, folder: &Path, shape: Shape) -> Result<(Between, [Box<dyn Endpoint>; 2])> {
    let place = folder.join("switch");
    let running = vde_switch(bench, folder, &place)?;
    let plug = Address::VdePlug { folder: place.display().to_string() };
    let ends = [plug.open(shape, Side::A)?, plug.open(shape, Side::B)?];
    Ok((Between::Switch(running), ends))
}

/// Framewire with a plug at each side, and what it is plugged into.
fn framewire(bench: &Bench, folder: &Path, shape: Shape) -> Result<(Between, [Box<dyn Endpoint>; 2])> {
    let place = |index: usize| folder.join(format!("v{index}"));
    let listen = |index| Socket::new(&place(index)).doing("making a VDE socket");
    let sockets = [listen(0)?, listen(1)?];
    let netdevs: Vec<String> = (0..2)
        .flat_map(|index| {
            let netdev = format!("vde,id=n{index},sock={}", place(index).display());
            [netdev, format!("hubport,id=h{index},hubid=0,netdev=n{index}")]
        })
        .collect();
    // It answers nothing before it has its ports.
    std::thread::scope(|scope| {
        let ends = [0, 1].map(|index| {
            let (socket, side) = (&sockets[index], SIDES[index]);
            scope.spawn(move || socket.plugged(Template::new(shape, side)))
        });
        let device = Device::start(bench, Product::Framewire, folder, &netdevs, &[]);
        let [a, b] = ends.map(|end| -> Result<Box<dyn Endpoint>> {
            let end = end.join().expect("it does not panic").doing("waiting for a plug")?;
            Ok(Box::new(end))
        });
        Ok((Between::Framewire(device?), [a?, b?]))
    })
}

impl Case for Vde {
    fn name(&self) -> String {
        match self {
            Vde::Rate(size) => format!("vde:{size}"),
            Vde::RoundTrip => "vde:64:rtt".into(),
        }
    }

    fn unit(&self) -> Unit {
        match self {
            Vde::Rate(_size) => Unit { name: "Mpps", better: Better::More },
            Vde::RoundTrip => Unit { name: "us p50", better: Better::Less },
        }
    }

    fn floor(&self) -> Floor {
        match self {
            Vde::Rate(_size) => Floor::RatioAtLeast(1.3),
            Vde::RoundTrip => Floor::RatioAtMost(0.5),
        }
    }

    fn products(&self) -> &'static [Product] {
        &[Product::VdeSwitch, Product::Framewire]
    }

    fn measure(&self, bench: &Bench, product: Product, duration: Duration) -> Result<Figure> {
        let folder = bench.fresh_folder()?;
        let (mut between, mut ends) = match product {
            Product::VdeSwitch => switch(bench, &folder, self.shape())?,
            Product::Framewire => framewire(bench, &folder, self.shape())?,
            Product::Qemu | Product::Testpmd | Product::Kernel => {
                return Err(Error::Usage(format!("{} is no VDE switch", product.name())));
            }
        };
        let figure = match self {
            Vde::Rate(_size) => self.rate(&mut between, &mut ends, duration)?,
            Vde::RoundTrip => {
                let processes = between.processes();
                let exchange =
                    Exchange { device: &processes, pause: Duration::ZERO, stop: Stop::After(duration) };
                let [a, b] = &mut ends;
                let trips =
                    round_trip::run(&mut **a, &mut **b, &exchange).doing("exchanging frames by VDE")?;
                let p50 = microseconds(&trips.both, 0.5);
                with_percentiles(Figure::new(p50, p50), &trips)
            }
        };
        between.check()?;
        Ok(figure)
    }
}
