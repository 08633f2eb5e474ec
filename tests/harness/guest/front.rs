//! The front end's side of vhost-user: what a VMM says for its guest. It can say anything else as well.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::memory::GuestMemory;
use super::ring::Ring;

/// How long an answer may take, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

const VERSION: u32 = 1;
const NEEDS_REPLY: u32 = 1 << 3;

/// `VHOST_USER_F_PROTOCOL_FEATURES`.
pub const PROTOCOL_FEATURES: u64 = 1 << 30;
/// `VHOST_USER_PROTOCOL_F_REPLY_ACK` and `CONFIGURE_MEM_SLOTS`.
pub const REPLY_ACK: u64 = 1 << 3;

/// A front end.
#[derive(Debug)]
pub struct Front {
    socket: UnixStream,
    acknowledges: bool,
}

/// A ring's two eventfds, as the guest's side has them.
#[derive(Debug)]
pub struct Bells {
    /// Rung by the guest.
    pub kick: OwnedFd,
    /// Rung by the device.
    pub call: OwnedFd,
}

impl Default for Bells {
    fn default() -> Self {
        let eventfd = || rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).expect("eventfd");
        Self { kick: eventfd(), call: eventfd() }
    }
}

impl Front {
    /// On a connected socket.
    pub fn new(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self { socket, acknowledges: false }
    }

    /// Its socket, to be misused.
    pub fn socket(&mut self) -> &mut UnixStream {
        &mut self.socket
    }

    /// Sends bytes with descriptors, whatever they are.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        let flags = SendFlags::NOSIGNAL;
        rustix::net::sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut ancillary, flags)?;
        Ok(())
    }

    fn message(number: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
        let header = [number, flags, payload.len() as u32].map(u32::to_le_bytes);
        [header.as_flattened(), payload].concat()
    }

    fn answer(&mut self, number: u32) -> Vec<u8> {
        let mut header = [0; 12];
        self.socket.read_exact(&mut header).expect("an answer");
        let [got, _flags, len] =
            [0, 4, 8].map(|at| u32::from_le_bytes(header[at..at + 4].try_into().expect("4")));
        assert_eq!(got, number, "an answer to something else");
        let mut payload = vec![0; len as usize];
        self.socket.read_exact(&mut payload).expect("the rest of an answer");
        payload
    }

    /// Sends a request that has an answer.
    pub fn ask(&mut self, number: u32, payload: &[u8]) -> Vec<u8> {
        self.send(&Self::message(number, VERSION, payload), &[]).expect("a back end");
        self.answer(number)
    }

    /// Sends a request that has none; hears whether it went well, if that was agreed on.
    pub fn try_tell(&mut self, number: u32, payload: &[u8], descriptors: &[BorrowedFd<'_>]) -> bool {
        let flags = VERSION | if self.acknowledges { NEEDS_REPLY } else { 0 };
        self.send(&Self::message(number, flags, payload), descriptors).expect("a back end");
        !self.acknowledges || self.answer(number) == [0; 8]
    }

    /// As [`Front::try_tell`], of what must go well.
    pub fn tell(&mut self, number: u32, payload: &[u8], descriptors: &[BorrowedFd<'_>]) {
        assert!(self.try_tell(number, payload, descriptors), "request {number} was refused");
    }

    fn ask_number(&mut self, number: u32) -> u64 {
        u64::from_le_bytes(self.ask(number, &[]).try_into().expect("a number"))
    }

    /// Owns the device and agrees on features; on acknowledgements, too. Returns what was offered.
    pub fn negotiate(&mut self, features: u64) -> u64 {
        let offered = self.ask_number(1);
        self.tell(3, &[], &[]);
        let protocol = self.ask_number(15);
        assert_ne!(protocol & REPLY_ACK, 0);
        self.tell(16, &protocol.to_le_bytes(), &[]);
        self.acknowledges = true;
        self.tell(2, &(features | PROTOCOL_FEATURES).to_le_bytes(), &[]);
        offered
    }

    /// Hands the guest's memory over.
    pub fn set_memory(&mut self, memory: &GuestMemory) {
        let mut payload = [memory.regions().len() as u32, 0].map(u32::to_le_bytes).as_flattened().to_vec();
        for region in memory.regions() {
            let words = [region.guest(), region.bytes(), region.user(), 0].map(u64::to_le_bytes);
            payload.extend(words.as_flattened());
        }
        self.tell(5, &payload, &memory.files());
    }

    fn state(index: u32, number: u32) -> [u8; 8] {
        let mut state = [0; 8];
        state[..4].copy_from_slice(&index.to_le_bytes());
        state[4..].copy_from_slice(&number.to_le_bytes());
        state
    }

    /// Starts a ring at `base`.
    pub fn start(&mut self, index: u32, (ring, size): (&Ring, u16), base: u32, bells: &Bells) {
        self.tell(8, &Self::state(index, size.into()), &[]);
        self.tell(10, &Self::state(index, base), &[]);
        let [descriptors, driver, device] = ring.user_addresses();
        let words = [descriptors, device, driver, 0].map(u64::to_le_bytes);
        self.tell(9, &[&Self::state(index, 0)[..], words.as_flattened()].concat(), &[]);
        self.tell(13, &u64::from(index).to_le_bytes(), &[bells.call.as_fd()]);
        self.tell(12, &u64::from(index).to_le_bytes(), &[bells.kick.as_fd()]);
    }

    /// Has a ring served, or not.
    pub fn enable(&mut self, index: u32, is_enabled: bool) {
        self.tell(18, &Self::state(index, is_enabled.into()), &[]);
    }

    /// Stops a ring; says where it stands.
    pub fn stop(&mut self, index: u32) -> u32 {
        let state = self.ask(11, &Self::state(index, 0));
        u32::from_le_bytes(state[4..8].try_into().expect("a state"))
    }
}
