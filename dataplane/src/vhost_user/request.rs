//! What a front end may ask, each with exactly the descriptors that belong to it.
//!
//! Sizes and counts are checked here and nowhere else; whether a request makes sense now is the device's to say. A
//! request that is not known is [`Request::Unknown`], which is refused, not obeyed by guessing.

use std::os::fd::OwnedFd;

use framewire_shared::session::SessionEnd;

use super::connection::Incoming;
use super::words::Words;
use crate::virtqueue::memory::RegionLayout;

/// Bytes of a message's header.
pub const HEADER_BYTES: usize = 12;
/// Bytes of the rest, at most; the longest known is a tenth of it.
pub const PAYLOAD_BYTES_MAX: usize = 4096;
/// Descriptors of a message, at most: one for each region of a table.
pub const DESCRIPTORS_MAX: usize = 32;

pub(super) const VERSION: u32 = 1;
const VERSION_MASK: u32 = 3;
const IS_REPLY: u32 = 1 << 2;
const NEEDS_REPLY: u32 = 1 << 3;

/// What a message begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which request.
    pub number: u32,
    /// Whether it wants to hear how it went, though it has no answer of its own.
    pub needs_reply: bool,
    /// How long the rest is.
    pub payload_bytes: usize,
}

impl Header {
    /// # Errors
    /// [`SessionEnd::Malformed`] if this is none.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, SessionEnd> {
        let mut words = Words(bytes);
        let (number, flags, len) = (words.word32()?, words.word32()?, words.word32()?);
        let payload_bytes = usize::try_from(len).map_err(|_too_long| SessionEnd::Malformed)?;
        if flags & VERSION_MASK != VERSION || flags & IS_REPLY != 0 || payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(SessionEnd::Malformed);
        }
        Ok(Header { number, needs_reply: flags & NEEDS_REPLY != 0, payload_bytes })
    }

    /// An answer to it, whole.
    #[must_use]
    pub fn answer(&self, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).expect("answers are short");
        let words = [self.number, VERSION | IS_REPLY, len].map(u32::to_le_bytes);
        [words.as_flattened(), payload].concat()
    }
}

/// Where the parts of a ring are, in the front end's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingAddresses {
    /// The table of descriptors, or the packed ring.
    pub descriptors: u64,
    /// What the guest writes.
    pub driver: u64,
    /// What we write.
    pub device: u64,
    /// The guest's address of what we write, if that is to be noted.
    pub log: Option<u64>,
}

/// What is asked about one ring.
#[derive(Debug)]
pub enum RingRequest {
    /// Its entries.
    SetSize(u32),
    /// Its place.
    SetAddresses(RingAddresses),
    /// Where to begin.
    SetBase(u32),
    /// Stop, and say where.
    GetBase,
    /// What the guest rings; without one it is to be polled.
    SetKick(Option<OwnedFd>),
    /// What we ring.
    SetCall(Option<OwnedFd>),
    /// Where errors would be told; nothing ever is.
    SetError,
    /// Serve it, or discard what it carries.
    Enable(bool),
}

/// What is asked.
#[derive(Debug)]
#[expect(missing_docs, reason = "named as in the protocol")]
pub enum Request {
    GetFeatures,
    SetFeatures(u64),
    SetOwner,
    ResetOwner,
    SetMemTable(Vec<(RegionLayout, OwnedFd)>),
    SetLogBase { len: u64, offset: u64, file: OwnedFd },
    SetLogFd,
    Ring(u32, RingRequest),
    GetProtocolFeatures,
    SetProtocolFeatures(u64),
    GetQueueNum,
    SendRarp([u8; 6]),
    SetMtu(u64),
    SetBackendSocket(OwnedFd),
    GetConfig { offset: u32, len: u32 },
    SetConfig,
    ResetDevice,
    GetMaxMemSlots,
    AddMemRegion(RegionLayout, OwnedFd),
    RemoveMemRegion(RegionLayout),
    SetStatus(u64),
    GetStatus,
    Unknown,
}

/// Without a descriptor (`VHOST_USER_VRING_NOFD_MASK`).
const NO_DESCRIPTOR: u64 = 1 << 8;
/// `VHOST_VRING_F_LOG`.
const LOGGED: u32 = 1;

/// What a message carries, taken apart piece by piece.
struct Parts<'a> {
    words: Words<'a>,
    descriptors: Vec<OwnedFd>,
}

impl Request {
    /// What a message says.
    ///
    /// # Errors
    /// Why it says nothing: the session is over.
    pub fn parse(incoming: Incoming) -> Result<Self, SessionEnd> {
        let Incoming { header, payload, descriptors } = incoming;
        let mut parts = Parts { words: Words(&payload), descriptors };
        let request = match header.number {
            1 => Request::GetFeatures,
            2 => Request::SetFeatures(parts.words.word64()?),
            3 => Request::SetOwner,
            4 => Request::ResetOwner,
            5 => parts.mem_table()?,
            6 => parts.log_base()?,
            7 => parts.only_descriptor().map(|_closed| Request::SetLogFd)?,
            8..=14 | 18 => parts.ring(header.number)?,
            15 => Request::GetProtocolFeatures,
            16 => Request::SetProtocolFeatures(parts.words.word64()?),
            17 => Request::GetQueueNum,
            19 => parts.rarp()?,
            20 => Request::SetMtu(parts.words.word64()?),
            21 => parts.only_descriptor().map(Request::SetBackendSocket)?,
            24 => parts.config().map(|(offset, len)| Request::GetConfig { offset, len })?,
            25 => parts.config().map(|_ignored| Request::SetConfig)?,
            34 => Request::ResetDevice,
            36 => Request::GetMaxMemSlots,
            37 => parts.add_region()?,
            38 => parts.remove_region()?,
            39 => Request::SetStatus(parts.words.word64()?),
            40 => Request::GetStatus,
            _other => return Ok(Request::Unknown),
        };
        if !parts.descriptors.is_empty() {
            return Err(SessionEnd::Descriptors);
        }
        // Some front ends send a number with requests that have none.
        if !matches!(
            request,
            Request::SetOwner
                | Request::ResetOwner
                | Request::ResetDevice
                | Request::SetLogFd
                | Request::SetBackendSocket(_)
        ) {
            parts.words.end()?;
        }
        Ok(request)
    }
}

impl Parts<'_> {
    fn only_descriptor(&mut self) -> Result<OwnedFd, SessionEnd> {
        let only = self.descriptors.pop().ok_or(SessionEnd::Descriptors)?;
        if self.descriptors.is_empty() { Ok(only) } else { Err(SessionEnd::Descriptors) }
    }

    fn layout(&mut self) -> Result<RegionLayout, SessionEnd> {
        let (guest, len) = (self.words.word64()?, self.words.word64()?);
        let (user, offset) = (self.words.word64()?, self.words.word64()?);
        Ok(RegionLayout { guest, user, len, offset })
    }

    fn mem_table(&mut self) -> Result<Request, SessionEnd> {
        let (count, _padding) = (self.words.word32()?, self.words.word32()?);
        let descriptors = std::mem::take(&mut self.descriptors);
        if usize::try_from(count) != Ok(descriptors.len()) {
            return Err(SessionEnd::Descriptors);
        }
        let mut regions = Vec::with_capacity(descriptors.len());
        for file in descriptors {
            regions.push((self.layout()?, file));
        }
        // A front end may send the whole array, whatever it uses of it.
        self.words = Words(&[]);
        Ok(Request::SetMemTable(regions))
    }

    fn log_base(&mut self) -> Result<Request, SessionEnd> {
        let (len, offset) = (self.words.word64()?, self.words.word64()?);
        Ok(Request::SetLogBase { len, offset, file: self.only_descriptor()? })
    }

    fn add_region(&mut self) -> Result<Request, SessionEnd> {
        let _padding = self.words.word64()?;
        Ok(Request::AddMemRegion(self.layout()?, self.only_descriptor()?))
    }

    fn remove_region(&mut self) -> Result<Request, SessionEnd> {
        let _padding = self.words.word64()?;
        // Some send the region's file along; it is closed.
        self.descriptors.truncate(0);
        Ok(Request::RemoveMemRegion(self.layout()?))
    }

    fn rarp(&mut self) -> Result<Request, SessionEnd> {
        let [a, b, c, d, e, f, _, _] = self.words.word64()?.to_le_bytes();
        Ok(Request::SendRarp([a, b, c, d, e, f]))
    }

    fn config(&mut self) -> Result<(u32, u32), SessionEnd> {
        let (offset, len, _flags) = (self.words.word32()?, self.words.word32()?, self.words.word32()?);
        // As many bytes follow: room for the answer, or what is to be set.
        let follows = std::mem::replace(&mut self.words, Words(&[])).0.len();
        if usize::try_from(len) == Ok(follows) { Ok((offset, len)) } else { Err(SessionEnd::Malformed) }
    }

    fn ring(&mut self, number: u32) -> Result<Request, SessionEnd> {
        if let 12..=14 = number {
            return self.ring_descriptor(number);
        }
        let index = self.words.word32()?;
        let request = match number {
            9 => RingRequest::SetAddresses(self.addresses()?),
            8 => RingRequest::SetSize(self.words.word32()?),
            10 => RingRequest::SetBase(self.words.word32()?),
            11 => self.words.word32().map(|_ignored| RingRequest::GetBase)?,
            _enable => RingRequest::Enable(self.words.word32()? != 0),
        };
        Ok(Request::Ring(index, request))
    }

    fn addresses(&mut self) -> Result<RingAddresses, SessionEnd> {
        let flags = self.words.word32()?;
        let (descriptors, device) = (self.words.word64()?, self.words.word64()?);
        let (driver, log) = (self.words.word64()?, self.words.word64()?);
        let log = (flags & LOGGED != 0).then_some(log);
        Ok(RingAddresses { descriptors, driver, device, log })
    }

    fn ring_descriptor(&mut self, number: u32) -> Result<Request, SessionEnd> {
        let word = self.words.word64()?;
        let index = u32::try_from(word & 0xff).expect("eight bits");
        let descriptor = if word & NO_DESCRIPTOR == 0 { Some(self.only_descriptor()?) } else { None };
        let request = match number {
            12 => RingRequest::SetKick(descriptor),
            13 => RingRequest::SetCall(descriptor),
            _error => RingRequest::SetError,
        };
        Ok(Request::Ring(index, request))
    }
}
