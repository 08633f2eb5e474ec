//! What a session leaves for the data plane that comes after this one.
//!
//! **Problem.** A killed process says nothing any more. What it knew of a guest, with the descriptors of memory and
//! rings, must be somewhere else at any moment.
//!
//! **Chosen.** The safe is a pair of connected sockets of which the control plane holds both ends: a message that
//! is in them stays there, its descriptors with it, whoever dies. After each change the device is put in as a whole, and
//! then the one before is taken out; so at any moment a whole one is there. It is plain words, and descriptors in the
//! order in which the words mention them.
//!
//! A snapshot that is longer than one message goes in several, each with its snapshot's number and how many there
//! are.

use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use framewire_shared::rx_filter::RxFilter;
use framewire_shared::session::{Serve, SessionEnd};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use zerocopy::{FromBytes, IntoBytes};

use super::choice::Choice;
use super::device::{Device, Log, Mapped, Refused};
use super::request::RingAddresses;
use super::ring::{Kick, Vring};
use crate::virtqueue::Position;
use crate::virtqueue::memory::RegionLayout;

/// Words of one message.
const WORDS_MAX: usize = 1024;
/// Descriptors of one message; the kernel allows 253.
const DESCRIPTORS_MAX: usize = 128;
/// Words before the snapshot's own: its number, this message's place, how many there are.
const HEAD_WORDS: usize = 3;

/// Words of what a guest lets through.
const FILTER_WORDS: usize = size_of::<RxFilter>() / 8;
const _: () = assert!(size_of::<RxFilter>().is_multiple_of(8));

/// A device as words and descriptors.
#[derive(Debug)]
struct Snapshot<D> {
    words: Vec<u64>,
    descriptors: Vec<D>,
}

impl<D> Snapshot<D> {
    fn empty() -> Self {
        Snapshot { words: Vec::new(), descriptors: Vec::new() }
    }
}

/// One message's words and descriptors.
type Part = (Vec<u64>, Vec<OwnedFd>);

/// See the module's text.
#[derive(Debug)]
pub(super) struct Safe {
    descriptors: Arc<[OwnedFd]>,
    /// The snapshot that was put in last.
    number: u64,
    /// The messages that it lies in.
    messages: usize,
}

impl Safe {
    /// The second and third of these descriptors.
    pub(super) fn new(descriptors: Arc<[OwnedFd]>) -> Self {
        Safe { descriptors, number: 0, messages: 0 }
    }

    fn inlet(&self) -> BorrowedFd<'_> {
        self.descriptors[1].as_fd()
    }

    fn outlet(&self) -> BorrowedFd<'_> {
        self.descriptors[2].as_fd()
    }

    /// Puts the device in, in place of what was there.
    pub(super) fn put(&mut self, device: &Device) -> Result<(), SessionEnd> {
        let snapshot = describe(device);
        self.number += 1;
        let before = match self.try_put(&snapshot) {
            Ok(messages) => std::mem::replace(&mut self.messages, messages),
            Err(_no_room_for_two) => {
                // For a moment there is none then.
                self.clear();
                self.messages = self.try_put(&snapshot).map_err(|_errno| SessionEnd::Unsafe)?;
                0
            }
        };
        for _message in 0..before {
            self.next()?;
        }
        Ok(())
    }

    /// Returns in how many messages it lies.
    fn try_put(&self, snapshot: &Snapshot<BorrowedFd<'_>>) -> Result<usize, Errno> {
        let messages = snapshot
            .words
            .len()
            .div_ceil(WORDS_MAX)
            .max(snapshot.descriptors.len().div_ceil(DESCRIPTORS_MAX));
        for place in 0..messages {
            let words = snapshot.words.chunks(WORDS_MAX).nth(place).unwrap_or_default();
            let descriptors = snapshot.descriptors.chunks(DESCRIPTORS_MAX).nth(place).unwrap_or_default();
            let head = [self.number, place as u64, messages as u64];
            let bytes: Vec<u8> = head.iter().chain(words).flat_map(|word| word.to_ne_bytes()).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(Errno::TOOBIG);
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            rustix::net::sendmsg(self.inlet(), &[IoSlice::new(&bytes)], &mut ancillary, flags)?;
        }
        Ok(messages)
    }

    /// Takes out everything.
    pub(super) fn clear(&self) {
        while let Ok(Some(_closed)) = self.next() {}
    }

    /// Takes out one message.
    fn next(&self) -> Result<Option<Part>, SessionEnd> {
        let mut bytes = vec![0; 8 * (HEAD_WORDS + WORDS_MAX)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received =
            rustix::net::recvmsg(self.outlet(), &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags);
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let count = match received {
            Err(Errno::AGAIN) => return Ok(None),
            Err(_gone) => return Err(SessionEnd::Unsafe),
            Ok(received) => received.bytes,
        };
        let words: Vec<_> =
            bytes[..count].as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)).collect();
        if words.len() < HEAD_WORDS { Err(SessionEnd::Unsafe) } else { Ok(Some((words, descriptors))) }
    }

    /// Takes out what an earlier data plane has left: the newest that is whole.
    pub(super) fn take(&mut self, nic: Serve) -> Result<Option<Device>, SessionEnd> {
        let mut snapshots: BTreeMap<u64, (u64, Snapshot<OwnedFd>)> = BTreeMap::new();
        while let Some((words, descriptors)) = self.next()? {
            let (rest, snapshot) = snapshots.entry(words[0]).or_insert_with(|| (words[2], Snapshot::empty()));
            *rest = rest.saturating_sub(1);
            snapshot.words.extend(&words[HEAD_WORDS..]);
            snapshot.descriptors.extend(descriptors);
        }
        let newest = snapshots.into_iter().rev().find(|(_number, (rest, _snapshot))| *rest == 0);
        let Some((number, (_rest, snapshot))) = newest else { return Ok(None) };
        self.number = number;
        restore(nic, snapshot).ok_or(SessionEnd::Unsafe).map(Some)
    }
}

/// Nothing where something might be.
const NONE: u64 = u64::MAX;

fn describe(device: &Device) -> Snapshot<BorrowedFd<'_>> {
    let mut snapshot = Snapshot::empty();
    let Device {
        features,
        protocol,
        status,
        mtu,
        regions,
        log,
        backend,
        link_is_up,
        rings,
        nic: _,
        memory: _,
        choice: _,
        is_filter_told: _,
    } = device;
    snapshot.words.extend([*features, *protocol, u64::from(*status), u64::from(*mtu)]);
    describe_choice(device, &mut snapshot);
    snapshot.words.push(regions.len() as u64);
    for Mapped { region, file } in regions {
        let RegionLayout { guest, user, len, offset } = region.layout();
        snapshot.words.extend([guest, user, len, offset]);
        snapshot.descriptors.push(file.as_fd());
    }
    snapshot.words.push(u64::from(log.is_some()));
    if let Some(Log { len, offset, file, map: _ }) = log {
        snapshot.words.extend([*len, *offset]);
        snapshot.descriptors.push(file.as_fd());
    }
    snapshot.words.extend([u64::from(backend.is_some()), u64::from(*link_is_up)]);
    snapshot.descriptors.extend(backend.as_ref().map(AsFd::as_fd));
    rings.iter().for_each(|ring| describe_ring(ring, &mut snapshot));
    snapshot
}

fn describe_choice<D>(device: &Device, snapshot: &mut Snapshot<D>) {
    let Choice { filter, pairs, is_announcing } = &device.choice;
    let flags = u64::from(*is_announcing) | u64::from(device.is_filter_told) << 1;
    snapshot.words.extend([u64::from(*pairs), flags]);
    snapshot.words.extend(filter.as_bytes().as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)));
}

fn describe_ring<'a>(ring: &'a Vring, snapshot: &mut Snapshot<BorrowedFd<'a>>) {
    let Vring { size, addresses, position, kick, call, is_enabled, is_faulty } = ring;
    let flags = u64::from(*is_enabled) | u64::from(*is_faulty) << 1 | u64::from(position.wrap) << 2;
    snapshot.words.extend([u64::from(*size), u64::from(position.index), flags]);
    let RingAddresses { descriptors, driver, device, log } =
        addresses.unwrap_or(RingAddresses { descriptors: NONE, driver: NONE, device: NONE, log: None });
    snapshot.words.extend([descriptors, driver, device, log.unwrap_or(NONE)]);
    let kick_word = match kick {
        Kick::Unsaid => 0,
        Kick::Nothing => 1,
        Kick::Eventfd(kick) => {
            snapshot.descriptors.push(kick.as_fd());
            2
        }
    };
    snapshot.words.extend([kick_word, u64::from(call.is_some())]);
    snapshot.descriptors.extend(call.as_ref().map(AsFd::as_fd));
}

/// A snapshot being read.
struct Reader {
    words: std::vec::IntoIter<u64>,
    descriptors: std::vec::IntoIter<OwnedFd>,
}

impl Reader {
    fn word(&mut self) -> Option<u64> {
        self.words.next()
    }

    fn number<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.word()?).ok()
    }

    fn descriptor(&mut self) -> Option<Arc<OwnedFd>> {
        self.descriptors.next().map(Arc::new)
    }
}

/// The device that was described. `None` if it cannot be made again.
fn restore(nic: Serve, snapshot: Snapshot<OwnedFd>) -> Option<Device> {
    let Snapshot { words, descriptors } = snapshot;
    let mut reader = Reader { words: words.into_iter(), descriptors: descriptors.into_iter() };
    let mut device = Device::new(nic);
    (device.features, device.protocol) = (reader.word()?, reader.word()?);
    (device.status, device.mtu) = (reader.number()?, reader.number()?);
    restore_choice(&mut device, &mut reader)?;
    let refused = |_refused: Refused| ();
    let mut regions = Vec::new();
    for _region in 0..reader.word()? {
        let (guest, user) = (reader.word()?, reader.word()?);
        let (len, offset) = (reader.word()?, reader.word()?);
        let layout = RegionLayout { guest, user, len, offset };
        regions.push(Mapped::new(layout, reader.descriptor()?).map_err(refused).ok()?);
    }
    if !regions.is_empty() {
        device.use_regions(regions).map_err(refused).ok()?;
    }
    if reader.word()? == 1 {
        let (len, offset) = (reader.word()?, reader.word()?);
        device.log = Some(Log::new(len, offset, reader.descriptor()?).map_err(refused).ok()?);
    }
    let (has_backend, link) = (reader.word()?, reader.word()?);
    if has_backend == 1 {
        device.backend = Some(reader.descriptor()?);
    }
    device.link_is_up = link == 1;
    for ring in &mut device.rings {
        *ring = restore_ring(&mut reader)?;
    }
    Some(device)
}

fn restore_choice(device: &mut Device, reader: &mut Reader) -> Option<()> {
    let (pairs, flags) = (reader.number()?, reader.word()?);
    let words: Vec<u64> = reader.words.by_ref().take(FILTER_WORDS).collect();
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let filter = RxFilter::read_from_bytes(&bytes).ok()?;
    device.choice = Choice { filter, pairs, is_announcing: flags & 1 != 0 };
    device.is_filter_told = flags & 2 != 0;
    Some(())
}

fn restore_ring(reader: &mut Reader) -> Option<Vring> {
    let (size, index, flags) = (reader.number()?, reader.number()?, reader.word()?);
    let (descriptors, driver) = (reader.word()?, reader.word()?);
    let (device, log) = (reader.word()?, Some(reader.word()?).filter(|log| *log != NONE));
    let kick = match (reader.word()?, reader.word()?) {
        (0, call) => (Kick::Unsaid, call),
        (1, call) => (Kick::Nothing, call),
        (_eventfd, call) => (Kick::Eventfd(reader.descriptor()?), call),
    };
    let call = if kick.1 == 1 { Some(reader.descriptor()?) } else { None };
    let addresses = RingAddresses { descriptors, driver, device, log };
    Some(Vring {
        size,
        addresses: Some(addresses).filter(|addresses| addresses.descriptors != NONE),
        position: Position { index, wrap: flags & 4 != 0 },
        kick: kick.0,
        call,
        is_enabled: flags & 1 != 0,
        is_faulty: flags & 2 != 0,
    })
}
