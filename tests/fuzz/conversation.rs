//! A front end that says anything, with any descriptors, in any pieces: how a session's socket, its requests and its
//! device take it.
//!
//! Beside "it does not panic": a refused request has changed nothing that can be asked for, rings are made of memory that
//! was handed over or not at all, and when the conversation is over no descriptor is left.

#![no_main]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;

use framewire_dataplane::vhost_user::connection::Connection;
use framewire_dataplane::vhost_user::device::Device;
use framewire_dataplane::vhost_user::request::Request;
use framewire_shared::ledger::QueueLedger;
use framewire_shared::session::{Serve, feature};
use libfuzzer_sys::fuzz_target;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

const PAIRS: u16 = 2;
const MEMORY_BYTES: u64 = 64 << 10;

/// What a front end may have at hand: memory, an eventfd, and what is neither.
static FILES: LazyLock<[OwnedFd; 4]> = LazyLock::new(|| {
    let memory = |bytes| {
        let file = rustix::fs::memfd_create("fuzz", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, bytes).unwrap();
        file
    };
    let eventfd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    [memory(MEMORY_BYTES), eventfd, memory(4096), std::fs::File::open("/dev/null").unwrap().into()]
});

static LEDGER: LazyLock<&'static QueueLedger> = LazyLock::new(|| Box::leak(Box::default()));

/// The input, as numbers. Ends with zeros.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let there = self.0.len().min(N);
        bytes[..there].copy_from_slice(&self.0[..there]);
        self.0 = &self.0[there..];
        bytes
    }

    fn byte(&mut self) -> u8 {
        self.bytes::<1>()[0]
    }

    /// Mostly one that means something: an index, a size, an address.
    fn word32(&mut self) -> u32 {
        match self.byte() {
            small @ 0..=127 => u32::from(small) % 8,
            128..=191 => 1 << (self.byte() % 20),
            _ => u32::from_le_bytes(self.bytes()),
        }
    }

    fn word64(&mut self) -> u64 {
        match self.byte() {
            0..=95 => u64::from(u16::from_le_bytes(self.bytes())) & !15,
            96..=127 => MEMORY_BYTES,
            128..=159 => feature::SERVED,
            160..=191 => u64::from(self.byte() % 8),
            _ => u64::from_le_bytes(self.bytes()),
        }
    }

    /// A message that is one, of any content.
    fn message(&mut self) -> Vec<u8> {
        let number = u32::from(self.byte() % 48);
        let mut payload = Vec::new();
        let (words32, words64) = match number {
            2 | 12..=14 | 16 | 19 | 20 | 39 => (0, 1),
            5 => (2, 4),
            6 => (0, 2),
            8 | 10 | 11 | 18 => (2, 0),
            9 => (2, 4),
            24 | 25 => (3, 0),
            37 | 38 => (0, 5),
            _ => (0, 0),
        };
        (0..words32).for_each(|_| payload.extend(self.word32().to_le_bytes()));
        (0..words64).for_each(|_| payload.extend(self.word64().to_le_bytes()));
        let flags = if self.byte() % 2 == 0 { 1 } else { 9 };
        let header = [number, flags, payload.len() as u32].map(u32::to_le_bytes);
        [header.as_flattened(), &payload].concat()
    }

    /// Anything at all.
    fn noise(&mut self) -> Vec<u8> {
        let len = usize::from(self.byte() % 64);
        (0..len).map(|_| self.byte()).collect()
    }
}

fn send(socket: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(40))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    // What is given up takes no more.
    let _ = rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, flags);
}

/// What can be asked at any time.
fn state(device: &Device) -> (u64, bool, Vec<[bool; 2]>) {
    let pairs = (0..usize::from(PAIRS)).map(|pair| [device.is_started(pair), device.receives(pair)]);
    (device.features(), device.acknowledges(), pairs.collect())
}

/// Takes all messages that are whole. Whether the conversation goes on.
fn work(connection: &mut Connection, device: &mut Device) -> bool {
    loop {
        let request = match connection.receive() {
            Ok(Some(incoming)) => Request::parse(incoming),
            Ok(None) => return true,
            Err(_end) => return false,
        };
        let Ok(request) = request else { return false };
        let _ = device.disturbs(&request);
        let before = state(device);
        if device.obey(request).is_err() {
            assert_eq!(state(device), before, "what was refused has changed something");
        }
        for pair in 0..usize::from(PAIRS) {
            if device.is_started(pair) {
                drop(device.pair(pair, *LEDGER));
                let _ = device.is_faulty(pair);
            }
        }
    }
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fuzz_target!(|input: &[u8]| {
    let (files, _ledger) = (&*FILES, &*LEDGER);
    let before = open_descriptors();
    let mut choices = Choices(input);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut connection = Connection::new([OwnedFd::from(ours)].into());
    let mut device = Device::new(Serve::new(1, 1, PAIRS, feature::SERVED));
    while !choices.0.is_empty() {
        let shape = choices.byte();
        let bytes = if shape % 8 == 0 { choices.noise() } else { choices.message() };
        let chosen: Vec<_> = match shape >> 3 {
            count @ 0..=2 => (0..count).map(|_| usize::from(choices.byte() % 4)).collect(),
            3..=6 => Vec::new(),
            7..=14 => vec![0],
            15..=24 => vec![1],
            _ => vec![usize::from(choices.byte() % 4); usize::from(choices.byte() % 40)],
        };
        let descriptors: Vec<_> = chosen.into_iter().map(|file| files[file].as_fd()).collect();
        let cut = if shape % 8 == 1 { bytes.len() / 2 } else { 0 };
        if cut > 0 {
            send(&theirs, &bytes[..cut], &[]);
            if !work(&mut connection, &mut device) {
                break;
            }
        }
        send(&theirs, &bytes[cut..], &descriptors);
        if !work(&mut connection, &mut device) {
            break;
        }
    }
    drop((connection, device, theirs));
    assert_eq!(open_descriptors(), before, "descriptors were left");
});
