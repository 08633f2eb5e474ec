//! What one turn of a worker's loop has at hand.

use std::time::Instant;

use framewire_shared::happenings::{Happening, HappeningRing, ReadIndex};

use crate::driver::guest::sieve::Sifted;
use crate::frame::{Burst, Strip};
use crate::virtqueue::Chains;

/// Frame memory of one worker. Half a megabyte holds a burst of 64 ordinary frames many times over and seven
/// of 64 KiB, and stays in the second-level cache.
pub(crate) const STRIP_BYTES: usize = 512 << 10;

/// Memory for what lowering makes: headers of the segments that a large frame is cut into.
const SCRATCH_BYTES: usize = 256 << 10;

/// Where a worker reports to.
#[derive(Debug, Clone, Copy)]
pub struct Reporter {
    ring: &'static HappeningRing,
    read: &'static ReadIndex,
    doorbell: std::os::fd::BorrowedFd<'static>,
}

impl Reporter {
    /// Reports into `ring`, and rings `doorbell`.
    #[must_use]
    pub fn new(
        ring: &'static HappeningRing,
        read: &'static ReadIndex,
        doorbell: std::os::fd::BorrowedFd<'static>,
    ) -> Self {
        Reporter { ring, read, doorbell }
    }

    /// Reports. Never waits; a full ring counts the loss.
    #[cold]
    pub fn report(&self, happening: Happening) {
        self.ring.push(self.read, happening);
        crate::doorbell::ring(self.doorbell);
    }
}

/// What drivers share while frames pass.
#[derive(Debug)]
pub struct Turn {
    /// Where received frames land. Cleared before each pass.
    pub strip: Strip,
    /// For headers made while sending. Cleared by whoever uses it, before use.
    pub scratch: Strip,
    /// Frames cut out of large ones, for sinks that cannot take those. As `scratch`.
    pub lowered: Burst,
    /// Frames that pass a guest's sieve. Lent to whoever uses it, and always given back.
    pub sifted: Option<Box<Sifted>>,
    /// What a guest's transmitq has given for this pass.
    pub taken: Chains,
    /// What guests' receiveqs have given to be filled.
    pub offered: Chains,
    /// When this turn began, in nanoseconds since the worker did.
    pub now_ns: u64,
    /// Where to report what the control plane should know.
    pub reporter: Reporter,
    started: Instant,
}

impl Turn {
    /// For one worker.
    ///
    /// # Errors
    /// If the kernel gives no memory.
    pub fn new(reporter: Reporter) -> rustix::io::Result<Self> {
        Ok(Turn {
            strip: Strip::new(STRIP_BYTES)?,
            scratch: Strip::new(SCRATCH_BYTES)?,
            lowered: Burst::default(),
            sifted: Some(Box::new(Sifted::new()?)),
            taken: Chains::default(),
            offered: Chains::default(),
            now_ns: 0,
            reporter,
            started: Instant::now(),
        })
    }

    /// A new turn begins: reads the clock, once.
    #[inline]
    pub fn begin(&mut self) {
        self.now_ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    }
}
