//! What a front end and we have agreed on: features, memory, rings. And what each request changes about it.
//!
//! A device is plain data. It is changed only while the queues that a request [disturbs](Device::disturbs) are in
//! nobody's hands, and then says what the new ones are made of.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use framewire_shared::ledger::{QueueLedger, RingLedger};
use framewire_shared::session::{Serve, feature};

use super::choice::Choice;
use super::offers::{self, protocol};
use super::request::{Request, RingRequest};
use super::ring::{self, Kick, Vring};
use crate::driver::guest::{Manners, Ring};
use crate::virtqueue::dirty::DirtyLog;
use crate::virtqueue::memory::{MemoryFault, REGIONS_MAX, Region, RegionLayout};
use crate::virtqueue::{Direction, Format, Logging, Memory, Position, RingLayout, Setup, Virtqueue};

/// What was asked for cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

impl From<MemoryFault> for Refused {
    fn from(_fault: MemoryFault) -> Self {
        Refused
    }
}

/// What a request is answered with, besides whether it went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    None,
    /// A number.
    Number(u64),
    /// Something else.
    Bytes(Vec<u8>),
}

/// Which queues a request disturbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbs {
    /// None.
    Nothing,
    /// One.
    Pair(usize),
    /// All, as far as they are queues of frames: a command does.
    Pairs,
    /// All, and the control queue: by what it says the others are made.
    All,
}

/// A region, and the file that a successor maps it from.
#[derive(Debug, Clone)]
pub(super) struct Mapped {
    pub(super) region: Arc<Region>,
    pub(super) file: Arc<OwnedFd>,
}

impl Mapped {
    pub(super) fn new(layout: RegionLayout, file: Arc<OwnedFd>) -> Result<Self, Refused> {
        Ok(Mapped { region: Region::map(layout, &file)?, file })
    }
}

/// Where written pages are noted.
#[derive(Debug, Clone)]
pub(super) struct Log {
    pub(super) len: u64,
    pub(super) offset: u64,
    pub(super) file: Arc<OwnedFd>,
    pub(super) map: Arc<DirtyLog>,
}

impl Log {
    pub(super) fn new(len: u64, offset: u64, file: Arc<OwnedFd>) -> Result<Self, Refused> {
        let map = Arc::new(DirtyLog::map(&file, offset, len)?);
        Ok(Log { len, offset, file, map })
    }
}

/// Two for each pair, and one for control.
fn rings_of(nic: &Serve) -> usize {
    2 * usize::from(nic.queue_pairs) + usize::from(nic.features & feature::CTRL_VQ != 0)
}

/// See the module's text.
#[derive(Debug)]
pub struct Device {
    pub(super) nic: Serve,
    pub(super) features: u64,
    pub(super) protocol: u64,
    pub(super) status: u8,
    pub(super) mtu: u16,
    pub(super) regions: Vec<Mapped>,
    pub(super) memory: Option<Arc<Memory>>,
    pub(super) log: Option<Log>,
    /// Where we may ask something of the front end.
    pub(super) backend: Option<Arc<OwnedFd>>,
    /// What the guest is to know of its link.
    pub(super) link_is_up: bool,
    /// Of each pair, what the guest receives and what it transmits; and a control queue behind them.
    pub(super) rings: Vec<Vring>,
    /// What the guest has said by its control queue.
    pub(super) choice: Choice,
    /// It has changed what passes, which was told, and nobody has asked for it since.
    pub(super) is_filter_told: bool,
}

impl Device {
    /// Nothing is agreed on yet.
    #[must_use]
    pub fn new(nic: Serve) -> Self {
        Device {
            nic,
            features: 0,
            protocol: 0,
            status: 0,
            mtu: nic.mtu,
            regions: Vec::new(),
            memory: None,
            log: None,
            backend: None,
            link_is_up: nic.link_is_up(),
            rings: vec![Vring::default(); rings_of(&nic)],
            choice: Choice::fresh(&nic, 0),
            is_filter_told: false,
        }
    }

    /// Which pairs must be in nobody's hands while this is done.
    #[must_use]
    pub fn disturbs(&self, request: &Request) -> Disturbs {
        match request {
            Request::SetFeatures(_)
            | Request::ResetOwner
            | Request::SetMemTable(_)
            | Request::SetLogBase { .. }
            | Request::ResetDevice
            | Request::AddMemRegion(..)
            | Request::RemoveMemRegion(_)
            | Request::SetStatus(0) => Disturbs::All,
            Request::Ring(_, RingRequest::SetError) => Disturbs::Nothing,
            Request::Ring(index, _) if Some(*index as usize) == self.control_index() => Disturbs::All,
            Request::Ring(index, _) if (*index as usize) / 2 < self.nic.queue_pairs.into() => {
                Disturbs::Pair(*index as usize / 2)
            }
            Request::Ring(..)
            | Request::GetFeatures
            | Request::SetOwner
            | Request::SetLogFd
            | Request::GetProtocolFeatures
            | Request::SetProtocolFeatures(_)
            | Request::GetQueueNum
            | Request::SendRarp(_)
            | Request::SetMtu(_)
            | Request::SetBackendSocket(_)
            | Request::GetConfig { .. }
            | Request::SetConfig
            | Request::GetMaxMemSlots
            | Request::SetStatus(_)
            | Request::GetStatus
            | Request::Unknown => Disturbs::Nothing,
        }
    }

    /// Does what is asked. A request that is refused has changed nothing.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn obey(&mut self, request: Request) -> Result<Answer, Refused> {
        match request {
            Request::GetFeatures => return Ok(Answer::Number(offers::offered(self.nic.features))),
            Request::GetProtocolFeatures => return Ok(Answer::Number(protocol::SERVED)),
            Request::GetQueueNum => return Ok(Answer::Number(self.nic.queue_pairs.into())),
            Request::GetMaxMemSlots => return Ok(Answer::Number(REGIONS_MAX as u64)),
            Request::GetStatus => return Ok(Answer::Number(self.status.into())),
            Request::GetConfig { offset, len } => return Ok(Answer::Bytes(self.config(offset, len))),
            Request::Ring(index, RingRequest::GetBase) => return self.get_base(index),
            Request::SetLogBase { len, offset, file } => {
                self.log = Some(Log::new(len, offset, Arc::new(file))?);
                return Ok(Answer::Bytes(Vec::new()));
            }
            Request::SetFeatures(features) => self.set_features(features)?,
            Request::SetProtocolFeatures(features) => self.set_protocol(features)?,
            Request::SetMemTable(regions) => self.set_regions(regions)?,
            Request::AddMemRegion(layout, file) => self.add_region(layout, file)?,
            Request::RemoveMemRegion(layout) => self.remove_region(layout)?,
            Request::SetMtu(mtu) => self.mtu = u16::try_from(mtu).map_err(|_too_large| Refused)?,
            Request::SetBackendSocket(socket) => self.backend = Some(ring::backend(socket)?),
            Request::SetStatus(status) => self.set_status(status)?,
            Request::Ring(index, request) => self.ring_request(index, request)?,
            Request::ResetOwner | Request::ResetDevice => self.reset(),
            // Who announces is the session's to find; errors are told nowhere.
            Request::SetOwner | Request::SetLogFd | Request::SendRarp(_) => {}
            Request::SetConfig | Request::Unknown => return Err(Refused),
        }
        Ok(Answer::None)
    }

    /// Whether front end and guest want to hear how each request went.
    #[must_use]
    pub fn acknowledges(&self) -> bool {
        self.protocol & protocol::REPLY_ACK != 0
    }

    /// What the guest's driver has accepted.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.features
    }

    fn set_features(&mut self, features: u64) -> Result<(), Refused> {
        if features & !offers::offered(self.nic.features) != 0 {
            return Err(Refused);
        }
        // Writes to be noted, or not any more: the driver is the same.
        let is_another_driver = (self.features ^ features) & !feature::LOG_ALL != 0;
        self.features = features;
        if is_another_driver {
            self.choice = Choice::fresh(&self.nic, features);
        }
        Ok(())
    }

    fn set_protocol(&mut self, features: u64) -> Result<(), Refused> {
        if features & !protocol::SERVED != 0 {
            return Err(Refused);
        }
        self.protocol = features;
        Ok(())
    }

    fn set_status(&mut self, status: u64) -> Result<(), Refused> {
        self.status = u8::try_from(status).map_err(|_too_large| Refused)?;
        if self.status == 0 {
            self.reset();
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.rings.iter_mut().for_each(Vring::stop);
        self.rings.iter_mut().for_each(|ring| ring.is_enabled = false);
        self.choice = Choice::fresh(&self.nic, self.features);
    }

    fn set_regions(&mut self, regions: Vec<(RegionLayout, OwnedFd)>) -> Result<(), Refused> {
        let mapped = regions.into_iter().map(|(layout, file)| Mapped::new(layout, Arc::new(file)));
        self.use_regions(mapped.collect::<Result<_, _>>()?)
    }

    fn add_region(&mut self, layout: RegionLayout, file: OwnedFd) -> Result<(), Refused> {
        if self.regions.len() == REGIONS_MAX {
            return Err(Refused);
        }
        let mut regions = self.regions.clone();
        regions.push(Mapped::new(layout, Arc::new(file))?);
        self.use_regions(regions)
    }

    fn remove_region(&mut self, layout: RegionLayout) -> Result<(), Refused> {
        let place = |mapped: &Mapped| {
            let RegionLayout { guest, user, len, offset: _ } = mapped.region.layout();
            (guest, user, len) == (layout.guest, layout.user, layout.len)
        };
        let place = self.regions.iter().position(place).ok_or(Refused)?;
        let mut regions = self.regions.clone();
        regions.remove(place);
        self.use_regions(regions)
    }

    pub(super) fn use_regions(&mut self, regions: Vec<Mapped>) -> Result<(), Refused> {
        let memory = Memory::new(regions.iter().map(|mapped| Arc::clone(&mapped.region)).collect())?;
        (self.regions, self.memory) = (regions, Some(memory));
        Ok(())
    }

    fn ring_request(&mut self, index: u32, request: RingRequest) -> Result<(), Refused> {
        let (format, _options) = offers::rings(self.features);
        let is_control = Some(index as usize) == self.control_index();
        let vring = self.rings.get_mut(index as usize).ok_or(Refused)?;
        let stood = vring.position;
        match request {
            RingRequest::SetSize(size) => vring.set_size(size)?,
            RingRequest::SetAddresses(addresses) => vring.addresses = Some(addresses),
            RingRequest::SetBase(base) => vring.set_base(base, format)?,
            RingRequest::SetKick(Some(kick)) => vring.kick = Kick::Eventfd(ring::kick(kick)?),
            RingRequest::SetKick(None) => vring.kick = Kick::Nothing,
            RingRequest::SetCall(call) => vring.call = call.map(ring::call).transpose()?,
            RingRequest::Enable(is_enabled) => vring.is_enabled = is_enabled,
            RingRequest::GetBase | RingRequest::SetError => {}
        }
        // A control queue that begins anew is another driver's, which has said nothing yet.
        if is_control && vring.position == Position::START && stood != Position::START {
            self.choice = Choice::fresh(&self.nic, self.features);
        }
        Ok(())
    }

    fn get_base(&mut self, index: u32) -> Result<Answer, Refused> {
        let (format, _options) = offers::rings(self.features);
        let ring = self.rings.get_mut(index as usize).ok_or(Refused)?;
        ring.stop();
        Ok(Answer::Bytes([index.to_le_bytes(), ring.base(format).to_le_bytes()].concat()))
    }
}

/// What queues are made of.
impl Device {
    /// Whether the guest's driver has started any ring of this pair.
    #[must_use]
    pub fn is_started(&self, pair: usize) -> bool {
        self.memory.is_some()
            && pair < self.pairs()
            && self.rings[2 * pair..][..2].iter().any(Vring::is_started)
    }

    /// Whether the guest has frames delivered to this pair.
    #[must_use]
    pub fn receives(&self, pair: usize) -> bool {
        self.is_started(pair) && self.rings[2 * pair].is_started() && self.is_enabled(2 * pair)
    }

    /// A front end that knows no switches has all its rings served. A guest that has said how many pairs it uses has the
    /// others not served.
    pub(super) fn is_enabled(&self, index: usize) -> bool {
        let is_on = self.rings[index].is_enabled || self.features & feature::PROTOCOL_FEATURES == 0;
        is_on && (index / 2 < self.pairs_in_use() || Some(index) == self.control_index())
    }

    /// How frames are described.
    #[must_use]
    pub fn manners(&self) -> Manners {
        offers::manners(self.features)
    }

    /// Where this pair's rings stand, when its queue has come back: what it transmits and what it receives.
    pub fn stands(&mut self, pair: usize, positions: [Option<Position>; 2], is_faulty: bool) {
        let [transmitq, receiveq] = positions;
        for (ring, position) in self.rings[2 * pair..][..2].iter_mut().zip([receiveq, transmitq]) {
            if let Some(position) = position {
                ring.position = position;
                ring.is_faulty = is_faulty;
            }
        }
    }

    /// Finds out where the rings stand of a data plane that was killed.
    pub fn recover(&mut self, pair: usize, ledger: &QueueLedger) {
        self.recover_ring(2 * pair, &ledger.receiveq);
        self.recover_ring(2 * pair + 1, &ledger.transmitq);
        if let Some(control) = self.control_index().filter(|_index| pair == 0) {
            self.recover_ring(control, &ledger.controlq);
        }
    }

    fn recover_ring(&mut self, index: usize, ledger: &RingLedger) {
        let Some(memory) = &self.memory else { return };
        let recovered = self.layout(index).and_then(|layout| Virtqueue::recover(memory, &layout, ledger));
        if let Some(position) = recovered {
            self.rings[index].position = position;
        }
    }

    /// This pair's rings: what it transmits and what it receives. One that cannot be is out of service.
    pub fn pair(&mut self, pair: usize, ledger: &'static QueueLedger) -> [Option<Ring>; 2] {
        let transmitq = (2 * pair + 1, Direction::Read, &ledger.transmitq);
        let receiveq = (2 * pair, Direction::Write, &ledger.receiveq);
        [transmitq, receiveq].map(|(index, direction, ledger)| {
            let queue = self.ring(index, direction, ledger)?;
            Some(Ring { queue, is_enabled: self.is_enabled(index) })
        })
    }

    /// A ring that was started.
    pub(super) fn ring(
        &mut self,
        index: usize,
        direction: Direction,
        ledger: &'static RingLedger,
    ) -> Option<Virtqueue> {
        let setup = self.setup(index, direction, ledger)?;
        let Position { index: at, wrap } = setup.layout.position;
        ledger.reset(at, wrap);
        let bells = setup.bells.clone();
        let Some(queue) = Virtqueue::new(self.memory.as_ref()?, setup) else {
            self.rings[index].is_faulty = true;
            return None;
        };
        // What was used before may not have been told.
        bells.ring();
        Some(queue)
    }

    /// Whether a ring of this pair cannot be served as it was described.
    #[must_use]
    pub fn is_faulty(&self, pair: usize) -> bool {
        self.rings[2 * pair..][..2].iter().any(|ring| ring.is_faulty)
    }

    fn layout(&self, index: usize) -> Option<RingLayout> {
        let ring = &self.rings[index];
        let addresses = ring.addresses.filter(|_| ring.is_started())?;
        let (format, _options) = offers::rings(self.features);
        Some(RingLayout {
            format,
            size: ring.size,
            descriptors: addresses.descriptors,
            driver: addresses.driver,
            device: addresses.device,
            position: ring.position,
        })
    }

    /// The guest's address of what the front end has at this one.
    fn guest_of(&self, user: u64) -> Option<u64> {
        self.regions.iter().find_map(|mapped| {
            let layout = mapped.region.layout();
            let at = user.checked_sub(layout.user).filter(|at| *at < layout.len)?;
            Some(layout.guest + at)
        })
    }

    fn setup(&self, index: usize, direction: Direction, ledger: &'static RingLedger) -> Option<Setup> {
        let layout = self.layout(index)?;
        let (_format, options) = offers::rings(self.features);
        let log = self.log.as_ref().filter(|_| self.features & feature::LOG_ALL != 0);
        let ring = self.rings[index].addresses.and_then(|addresses| match layout.format {
            Format::Split => addresses.log,
            // What we write of a packed ring are its descriptors; some front ends name another area.
            Format::Packed => addresses.log.and_then(|_area| self.guest_of(addresses.descriptors)),
        });
        Some(Setup {
            layout,
            options,
            direction,
            bells: self.rings[index].bells(),
            logging: log.map(|log| Logging { log: Arc::clone(&log.map), ring }),
            ledger: Some(ledger),
        })
    }
}
