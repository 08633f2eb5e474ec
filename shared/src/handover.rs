//! The handover socket: what memory cannot carry.
//!
//! One `SOCK_SEQPACKET` connection between the control plane and the foreman. Each packet is one
//! [`Message`], its descriptors beside it (`SCM_RIGHTS`). The control plane asks, the foreman answers each
//! request in order; values that change go by shared memory, never here.
//!
//! ```text
//! control plane                                foreman
//!   Welcome  (regions, doorbells, listener) →
//!                                            ←   Ready | Unable
//!   Build    (a queue's options, descriptors) →
//!                                            ←   Built | Failed
//!   Discard  (a queue that no plan mentions) →
//!                                            ←   Discarded
//!   Serve    (a NIC, its front end's connection) →
//!                                            ←   Serving | Failed
//!   Part     (a session that is to end)      →
//!                                            ←   Parted
//!   Announce (a queue, an address)           →
//!                                            ←   Announced
//!   Amend    (a queue's options, descriptors) →
//!                                            ←   Amended | Failed
//!   Describe (a queue, a file)               →
//!                                            ←   Described
//! ```
//!
//! What a session is, [`crate::session`] says.
//!
//! A control plane that starts beside a data plane which already runs, because the one before was killed,
//! connects to the listener instead and begins with `Recall`: it gets the same `Welcome` back, with the
//! same descriptors, then every `Build` and then every `Serve` that is in effect with their own, and
//! `Recalled` with the number of both.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::driver::DriverOptions;
use crate::limits::{HANDOVER_BYTES_MAX, HANDOVER_DESCRIPTORS_MAX, WORKERS_MAX};
use crate::rx_filter::RxFilter;
use crate::session::Serve;

/// No processor in particular.
pub const ANY_CPU: u16 = u16::MAX;

/// How the data plane is to work, for its whole life.
///
/// Descriptors, in this order: configuration region (read-only), status region, the control plane's
/// doorbell (an eventfd that the data plane rings), the foreman's doorbell, the listener, and each worker's
/// doorbell.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Welcome {
    /// How many workers to start.
    pub workers: u32,
    reserved: u32,
    /// Which processor each is pinned to, or [`ANY_CPU`].
    pub cpus: [u16; WORKERS_MAX],
}

/// How many descriptors of a [`Welcome`] come before the workers' doorbells.
pub const WELCOME_DESCRIPTORS: usize = 5;

impl Welcome {
    /// For `cpus.len()` workers.
    #[must_use]
    pub fn new(cpus: &[u16]) -> Self {
        let mut all = [ANY_CPU; WORKERS_MAX];
        all.iter_mut().zip(cpus).for_each(|(at, cpu)| *at = *cpu);
        let workers = u32::try_from(cpus.len().min(WORKERS_MAX)).expect("WORKERS_MAX is small");
        Welcome { workers, reserved: 0, cpus: all }
    }
}

/// One queue to build.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Build {
    /// The name by which the plan will call it. Never used twice, never 0.
    pub queue: u64,
    /// Its line of counters in the status region.
    pub counter_slot: u32,
    /// Whether the counters go on (the queue existed before the data plane died) or start at 0.
    pub counters_go_on: bool,
    /// What to build.
    pub options: DriverOptions,
}

/// What a foreman was doing when it failed.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Mapping the regions.
    Regions = 1,
    /// Making a worker's `io_uring`.
    Uring = 2,
    /// Starting a worker's thread.
    Thread = 3,
    /// Reserving a worker's frame memory.
    Memory = 4,
    /// Giving up privileges.
    Isolation = 5,
    /// Building a queue.
    Queue = 6,
    /// Taking up a session.
    Session = 7,
}

impl Step {
    fn from_number(number: u32) -> Option<Self> {
        use Step::{Isolation, Memory, Queue, Regions, Session, Thread, Uring};
        [Regions, Uring, Thread, Memory, Isolation, Queue, Session]
            .into_iter()
            .find(|step| *step as u32 == number)
    }
}

/// Which walls stand around the data plane; what the kernel did not allow is missing.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Walls {
    /// 1 if it is alone in an empty network namespace.
    pub network_namespace: u32,
    /// 1 if its file system is empty.
    pub mount_namespace: u32,
}

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Message {
    /// See [`Welcome`].
    Welcome(Welcome),
    /// All workers run; no privilege is left.
    Ready(Walls),
    /// The data plane cannot work; it ends.
    Unable(Step, i32),
    /// See [`Build`].
    Build(Build),
    /// The queue exists; a plan may mention it.
    Built(u64),
    /// The queue could not be built, or the session not be taken up; its descriptors are closed.
    Failed(u64, Step, i32),
    /// Give up a queue that no plan mentions.
    Discard(u64),
    /// It is closed.
    Discarded(u64),
    /// Send everything back that a new control plane needs.
    Recall,
    /// That was all: so many queues and sessions.
    Recalled(u32),
    /// See [`crate::session`].
    Serve(Serve),
    /// The session has begun, or goes on.
    Serving(u64),
    /// End a session.
    Part(u64),
    /// It is ended, or there was none; its descriptors are closed.
    Parted(u64),
    /// Let the network hear an address as if the guest had sent it: see [`crate::session`].
    Announce(u64, [u8; 6]),
    /// It is on its way.
    Announced(u64),
    /// From now on a queue is as if it had been built so, and goes on: options and descriptors are those of a
    /// [`Message::Build`]. Only some drivers can.
    Amend(Build),
    /// That is in effect.
    Amended(u64),
    /// Write down what goes on in a queue, into the file that comes along.
    Describe(u64),
    /// It is written.
    Described(u64),
    /// What does the NIC of this session let through?
    AskFilter(u64),
    /// See [`crate::rx_filter`].
    Filter(u64, RxFilter),
    /// What the guest of this session is to know of its link.
    SetLink(u64, bool),
    /// It is told, if it can be.
    LinkSet(u64),
    /// End, with everything: the control plane ends on purpose. There is no answer.
    End,
}

/// A packet that is no message: the other side is of another version.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The kernel said no.
    #[error("handover: {0}")]
    Kernel(#[from] rustix::io::Errno),
    /// The other side is gone.
    #[error("handover: the other process has ended")]
    Gone,
    /// Not one of ours.
    #[error("handover: a message of another version")]
    Malformed,
}

const WELCOME: u32 = 1;
const READY: u32 = 2;
const UNABLE: u32 = 3;
const BUILD: u32 = 4;
const BUILT: u32 = 5;
const FAILED: u32 = 6;
const DISCARD: u32 = 7;
const DISCARDED: u32 = 8;
const RECALL: u32 = 9;
const RECALLED: u32 = 10;
const END: u32 = 11;
const SERVE: u32 = 12;
const SERVING: u32 = 13;
const PART: u32 = 14;
const PARTED: u32 = 15;
const ANNOUNCE: u32 = 16;
const ANNOUNCED: u32 = 17;
const AMEND: u32 = 18;
const AMENDED: u32 = 19;
const DESCRIBE: u32 = 20;
const DESCRIBED: u32 = 21;
const ASK_FILTER: u32 = 22;
const FILTER: u32 = 23;
const SET_LINK: u32 = 24;
const LINK_SET: u32 = 25;

#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
struct BuildRecord {
    queue: u64,
    counter_slot: u32,
    counters_go_on: u32,
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
struct FailureRecord {
    queue: u64,
    step: u32,
    errno: i32,
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
struct AnnounceRecord {
    queue: u64,
    address: [u8; 6],
    reserved: [u8; 2],
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
struct LinkRecord {
    session: u64,
    is_up: u64,
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
struct FilterRecord {
    session: u64,
    filter: RxFilter,
}

impl Message {
    /// As it travels: the message's number, then its record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let failure =
            |queue, step: Step, errno| FailureRecord { queue, step: step as u32, errno }.as_bytes().to_vec();
        let (number, record) = match self {
            Message::Welcome(welcome) => (WELCOME, welcome.as_bytes().to_vec()),
            Message::Ready(walls) => (READY, walls.as_bytes().to_vec()),
            Message::Unable(step, errno) => (UNABLE, failure(0, *step, *errno)),
            Message::Build(build) => (BUILD, build.to_bytes()),
            Message::Built(queue) => (BUILT, queue.as_bytes().to_vec()),
            Message::Failed(queue, step, errno) => (FAILED, failure(*queue, *step, *errno)),
            Message::Discard(queue) => (DISCARD, queue.as_bytes().to_vec()),
            Message::Discarded(queue) => (DISCARDED, queue.as_bytes().to_vec()),
            Message::Recall => (RECALL, Vec::new()),
            Message::End => (END, Vec::new()),
            Message::Recalled(count) => (RECALLED, count.as_bytes().to_vec()),
            Message::Serve(serve) => (SERVE, serve.as_bytes().to_vec()),
            Message::Serving(session) => (SERVING, session.as_bytes().to_vec()),
            Message::Part(session) => (PART, session.as_bytes().to_vec()),
            Message::Parted(session) => (PARTED, session.as_bytes().to_vec()),
            Message::Announce(queue, address) => {
                let record = AnnounceRecord { queue: *queue, address: *address, reserved: [0; 2] };
                (ANNOUNCE, record.as_bytes().to_vec())
            }
            Message::Announced(queue) => (ANNOUNCED, queue.as_bytes().to_vec()),
            Message::Amend(build) => (AMEND, build.to_bytes()),
            Message::Amended(queue) => (AMENDED, queue.as_bytes().to_vec()),
            Message::Describe(queue) => (DESCRIBE, queue.as_bytes().to_vec()),
            Message::Described(queue) => (DESCRIBED, queue.as_bytes().to_vec()),
            Message::AskFilter(session) => (ASK_FILTER, session.as_bytes().to_vec()),
            Message::Filter(session, filter) => {
                (FILTER, FilterRecord { session: *session, filter: *filter }.as_bytes().to_vec())
            }
            Message::SetLink(session, is_up) => {
                let record = LinkRecord { session: *session, is_up: (*is_up).into() };
                (SET_LINK, record.as_bytes().to_vec())
            }
            Message::LinkSet(session) => (LINK_SET, session.as_bytes().to_vec()),
        };
        [&number.to_ne_bytes(), &record[..]].concat()
    }

    /// Back from bytes; `None` unless they are exactly what [`Message::to_bytes`] makes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (number, record) = bytes.split_first_chunk()?;
        Some(match u32::from_ne_bytes(*number) {
            WELCOME => {
                Message::Welcome(read::<Welcome>(record).filter(|w| w.workers as usize <= WORKERS_MAX)?)
            }
            READY => Message::Ready(read(record)?),
            UNABLE => failure(record).map(|(_queue, step, errno)| Message::Unable(step, errno))?,
            BUILD => Message::Build(Build::from_bytes(record)?),
            BUILT => Message::Built(read(record)?),
            FAILED => failure(record).map(|(queue, step, errno)| Message::Failed(queue, step, errno))?,
            DISCARD => Message::Discard(read(record)?),
            DISCARDED => Message::Discarded(read(record)?),
            RECALL if record.is_empty() => Message::Recall,
            END if record.is_empty() => Message::End,
            RECALLED => Message::Recalled(read(record)?),
            SERVE => Message::Serve(read(record)?),
            SERVING => Message::Serving(read(record)?),
            PART => Message::Part(read(record)?),
            PARTED => Message::Parted(read(record)?),
            ANNOUNCE => {
                let AnnounceRecord { queue, address, reserved: _ } = read(record)?;
                Message::Announce(queue, address)
            }
            ANNOUNCED => Message::Announced(read(record)?),
            AMEND => Message::Amend(Build::from_bytes(record)?),
            AMENDED => Message::Amended(read(record)?),
            DESCRIBE => Message::Describe(read(record)?),
            DESCRIBED => Message::Described(read(record)?),
            ASK_FILTER => Message::AskFilter(read(record)?),
            FILTER => {
                let FilterRecord { session, filter } = read(record)?;
                Message::Filter(session, filter)
            }
            SET_LINK => {
                let LinkRecord { session, is_up } = read(record)?;
                Message::SetLink(session, is_up != 0)
            }
            LINK_SET => Message::LinkSet(read(record)?),
            _other => return None,
        })
    }
}

fn read<T: FromBytes>(record: &[u8]) -> Option<T> {
    T::read_from_bytes(record).ok()
}

fn failure(record: &[u8]) -> Option<(u64, Step, i32)> {
    let FailureRecord { queue, step, errno } = read(record)?;
    Some((queue, Step::from_number(step)?, errno))
}

impl Build {
    fn to_bytes(self) -> Vec<u8> {
        let head = BuildRecord {
            queue: self.queue,
            counter_slot: self.counter_slot,
            counters_go_on: u32::from(self.counters_go_on),
        };
        [head.as_bytes(), &self.options.to_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, options) = BuildRecord::read_from_prefix(bytes).ok()?;
        let options = DriverOptions::from_bytes(options).ok()?;
        Some(Build {
            queue: head.queue,
            counter_slot: head.counter_slot,
            counters_go_on: head.counters_go_on != 0,
            options,
        })
    }
}

/// Sends one message with its descriptors.
///
/// # Errors
/// If the other side is gone or the kernel refuses.
pub fn send(
    socket: impl AsFd,
    message: &Message,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), HandoverError> {
    let bytes = message.to_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDOVER_DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(HandoverError::Malformed);
    }
    let sent = rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(&socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)
    });
    match sent {
        Ok(_all) => Ok(()),
        Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Err(HandoverError::Gone),
        Err(errno) => Err(errno.into()),
    }
}

/// Receives one message with its descriptors; waits for it unless the socket is non-blocking.
///
/// # Errors
/// If the other side is gone, sent something else, or the kernel refuses.
pub fn receive(socket: impl AsFd) -> Result<(Message, Vec<OwnedFd>), HandoverError> {
    let mut bytes = [0; HANDOVER_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDOVER_DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
    });
    let received = match received {
        Ok(received) if received.bytes == 0 => return Err(HandoverError::Gone),
        Ok(received) => received,
        Err(rustix::io::Errno::CONNRESET) => return Err(HandoverError::Gone),
        Err(errno) => return Err(errno.into()),
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC) {
        return Err(HandoverError::Malformed);
    }
    let message = Message::from_bytes(&bytes[..received.bytes]).ok_or(HandoverError::Malformed)?;
    Ok((message, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::TapOptions;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    fn pair() -> (OwnedFd, OwnedFd) {
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .unwrap()
    }

    fn build() -> Message {
        let options = DriverOptions::Tap(TapOptions { vnet_header: 1 });
        Message::Build(Build { queue: 9, counter_slot: 3, counters_go_on: true, options })
    }

    /// The largest message there is.
    fn amend() -> Message {
        let options = DriverOptions::User(crate::driver::UserOptions::empty());
        let message = Message::Amend(Build { queue: 9, counter_slot: 3, counters_go_on: true, options });
        assert!(message.to_bytes().len() <= HANDOVER_BYTES_MAX);
        message
    }

    #[test]
    fn messages_come_back_as_sent() {
        let mut serve = Serve::new(7, 9, 2, 1 << 32);
        (serve.mtu, serve.mac) = (9000, [2, 0, 0, 0, 0, 1]);
        for message in [
            Message::Welcome(Welcome::new(&[0, 1, ANY_CPU])),
            Message::Ready(Walls { network_namespace: 1, mount_namespace: 0 }),
            Message::Unable(Step::Uring, 1),
            build(),
            Message::Built(9),
            Message::Failed(9, Step::Queue, 24),
            Message::Discard(9),
            Message::Discarded(9),
            Message::Recall,
            Message::Recalled(2),
            Message::End,
            Message::Serve(serve),
            Message::Serving(7),
            Message::Part(7),
            Message::Parted(7),
            Message::Announce(9, [2, 0, 0, 0, 0, 1]),
            Message::Announced(9),
            amend(),
            Message::Amended(9),
            Message::Describe(9),
            Message::Described(9),
            Message::AskFilter(7),
            Message::Filter(7, RxFilter::fresh(1, [2, 0, 0, 0, 0, 1])),
            Message::SetLink(7, true),
            Message::SetLink(7, false),
            Message::LinkSet(7),
        ] {
            let bytes = message.to_bytes();
            assert_eq!(Message::from_bytes(&bytes), Some(message));
            assert!(bytes.len() <= HANDOVER_BYTES_MAX);
        }
    }

    #[test]
    fn truncated_or_longer_message_is_none() {
        let bytes = build().to_bytes();
        for len in 0..bytes.len() {
            assert_eq!(Message::from_bytes(&bytes[..len]), None, "{len} bytes");
        }
        assert_eq!(Message::from_bytes(&[&bytes[..], &[0]].concat()), None);
    }

    #[test]
    fn descriptors_travel_with_their_message() {
        let (left, right) = pair();
        let (one, two) = pair();
        send(&left, &build(), &[one.as_fd(), two.as_fd()]).unwrap();
        let (message, descriptors) = receive(&right).unwrap();
        assert_eq!((message, descriptors.len()), (build(), 2));
    }

    #[test]
    fn other_side_that_ended_is_told_apart() {
        let (left, right) = pair();
        drop(right);
        assert!(matches!(receive(&left), Err(HandoverError::Gone)));
        assert!(matches!(send(&left, &build(), &[]), Err(HandoverError::Gone)));
    }
}
