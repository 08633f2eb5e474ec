//! One ring of either format, with the guest's memory and its eventfds.

use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use framewire_shared::ledger::RingLedger;

use super::chain::{Chain, Chains, Direction};
use super::dirty::DirtyLog;
use super::memory::{Memory, Translator};
use super::notify::Bells;
use super::packed::Packed;
use super::split::Split;
use super::{CHAINS_MAX, GuestFault, RING_SIZE_MAX};

/// How a ring is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Three areas.
    Split,
    /// One ring.
    Packed,
}

/// Where a ring stands, between two passes. What `GET_VRING_BASE` answers is made of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Split ring: chains taken and used, ever. Packed ring: the next entry.
    pub index: u16,
    /// Packed ring: the round's wrap counter. Split ring: true.
    pub wrap: bool,
}

impl Position {
    /// At the start of a fresh ring.
    pub const START: Position = Position { index: 0, wrap: true };
}

/// Where a ring is, in the front end's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingLayout {
    /// How it is laid out.
    pub format: Format,
    /// Entries.
    pub size: u16,
    /// The table of descriptors, or the packed ring itself.
    pub descriptors: u64,
    /// What the guest writes: the available ring, or the packed ring's driver area.
    pub driver: u64,
    /// What we write: the used ring, or the packed ring's device area.
    pub device: u64,
    /// Where to go on.
    pub position: Position,
}

/// What was negotiated about rings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingOptions {
    /// `VIRTIO_F_EVENT_IDX`.
    pub event_index: bool,
    /// `VIRTIO_F_INDIRECT_DESC`.
    pub indirect: bool,
    /// `VIRTIO_F_IN_ORDER`.
    pub in_order: bool,
}

/// What a guest's migration wants noted.
#[derive(Debug, Clone)]
pub struct Logging {
    /// Where.
    pub log: Arc<DirtyLog>,
    /// The guest's address of what we write of the ring itself; none if that is not to be noted.
    pub ring: Option<u64>,
}

/// All that a ring is made of.
#[derive(Debug)]
pub struct Setup {
    /// Where it is.
    pub layout: RingLayout,
    /// What was negotiated about it.
    pub options: RingOptions,
    /// Which way its buffers go.
    pub direction: Direction,
    /// Its eventfds.
    pub bells: Bells,
    /// Whether written pages are to be noted.
    pub logging: Option<Logging>,
    /// Where its position is noted, for a successor; a split ring needs none.
    pub ledger: Option<&'static RingLedger>,
}

#[derive(Debug)]
enum Ring {
    Split(Split),
    Packed(Packed),
}

macro_rules! each {
    ($any:expr, $ring:ident => $do:expr) => {
        match $any {
            Ring::Split($ring) => $do,
            Ring::Packed($ring) => $do,
        }
    };
}

/// A ring in use.
#[derive(Debug)]
pub struct Virtqueue {
    ring: Ring,
    direction: Direction,
    translator: Translator,
    bells: Bells,
    chains_max: u16,
    size: u16,
    /// Bytes of the ring that we write, from the address to be noted on.
    ring_bytes: u64,
    logging: Option<Logging>,
}

impl Virtqueue {
    /// A ring in a guest's memory. `None` if the layout is not one: its size, or an area that is not aligned or
    /// not entirely in one region.
    #[must_use]
    pub fn new(memory: &Arc<Memory>, setup: Setup) -> Option<Self> {
        let Setup { layout, options, direction, bells, logging, ledger } = setup;
        if layout.size == 0 || layout.size > RING_SIZE_MAX {
            return None;
        }
        let entries = u64::from(layout.size);
        let (ring, ring_bytes) = match layout.format {
            Format::Split => (Ring::Split(Split::new(memory, &layout, options)?), 6 + 8 * entries),
            Format::Packed => (Ring::Packed(Packed::new(memory, &layout, options, ledger)?), 16 * entries),
        };
        let translator = Translator::new(Arc::clone(memory));
        let (chains_max, size) = (layout.size.min(CHAINS_MAX), layout.size);
        let mut queue =
            Virtqueue { ring, direction, translator, bells, chains_max, size, ring_bytes, logging };
        // A worker looks by itself, to begin with.
        queue.disarm();
        Some(queue)
    }

    /// Where a ring stands whose data plane was killed in the middle of whatever it did.
    #[must_use]
    pub fn recover(memory: &Arc<Memory>, layout: &RingLayout, ledger: &RingLedger) -> Option<Position> {
        match layout.format {
            Format::Split => Split::recover(memory, layout),
            Format::Packed => Packed::recover(memory, layout, ledger),
        }
    }

    /// How many chains there are to take; looks for more only if fewer than `wanted` are known. In a packed
    /// ring descriptors are counted, and nothing beyond `wanted`.
    ///
    /// # Errors
    /// What the guest did wrong; the ring is not to be used any more.
    #[inline]
    pub fn ready(&mut self, wanted: u16) -> Result<u16, GuestFault> {
        if !self.translator.is_whole() {
            return Err(GuestFault::MemoryCut);
        }
        each!(&mut self.ring, ring => ring.ready(wanted))
    }

    /// Takes up to `limit` of the chains that are ready, into `chains`, which is cleared before.
    ///
    /// # Errors
    /// As [`Virtqueue::ready`].
    #[inline]
    pub fn take(&mut self, limit: u16, chains: &mut Chains) -> Result<(), GuestFault> {
        chains.clear();
        let (direction, translator) = (self.direction, &mut self.translator);
        each!(&mut self.ring, ring => ring.take(limit, direction, translator, chains))
    }

    /// Gives back chains that were taken last, as if they had not been.
    #[inline]
    pub fn untake(&mut self, chains: &[Chain]) {
        if !chains.is_empty() {
            each!(&mut self.ring, ring => ring.untake(chains));
        }
    }

    /// Gives the first `count` of these chains to the guest, with what was written in them: the oldest that are
    /// not used yet.
    #[inline]
    pub fn publish(&mut self, chains: &Chains, count: usize) {
        let used = &chains.all()[..count];
        if used.is_empty() {
            return;
        }
        let direction = self.direction;
        if let Some(logging) = &self.logging {
            // Before the guest can see them: then they may be anything else already.
            log_buffers(logging, chains, used, self.translator.memory());
        }
        let wants_call = each!(&mut self.ring, ring => ring.publish(used, direction));
        if let Some(Logging { log, ring: Some(address) }) = &self.logging {
            log.mark(*address, self.ring_bytes);
        }
        if wants_call {
            self.bells.ring();
        }
    }

    /// Asks the guest to kick when there is more than we know of. Returns whether there is already, or nobody
    /// can kick; then it will not.
    pub fn arm(&mut self) -> bool {
        self.bells.hush();
        let is_there = self.bells.kick.is_none() || each!(&mut self.ring, ring => ring.arm());
        if is_there {
            self.disarm();
        }
        is_there
    }

    /// The guest need not kick.
    pub fn disarm(&mut self) {
        each!(&mut self.ring, ring => ring.disarm());
    }

    /// Forgets kicks; the guest need not kick.
    pub fn answer_kick(&mut self) {
        self.bells.hush();
        self.disarm();
    }

    /// What to watch for kicks.
    #[must_use]
    pub fn kick_descriptor(&self) -> Option<RawFd> {
        self.bells.kick_descriptor()
    }

    /// What the guest rings.
    #[must_use]
    pub fn kick(&self) -> Option<&OwnedFd> {
        self.bells.kick.as_deref()
    }

    /// Its entries.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.size
    }

    /// How many chains can be taken at once, at most.
    #[must_use]
    pub fn chains_max(&self) -> u16 {
        self.chains_max
    }

    /// Where it stands. Meaningful between passes.
    #[must_use]
    pub fn position(&self) -> Position {
        each!(&self.ring, ring => ring.position())
    }
}

/// Notes what was written into these chains.
#[cold]
fn log_buffers(logging: &Logging, chains: &Chains, used: &[Chain], memory: &Memory) {
    for chain in used {
        let mut rest = u64::from(chain.written);
        for segment in chains.writable(chain) {
            let written = rest.min(segment.len() as u64);
            if let Some(address) = memory.guest_of(segment) {
                logging.log.mark(address, written);
            }
            rest -= written;
        }
    }
}
