//! TFTP: a folder of the host, read by guests that boot (RFC 1350, with options after RFC 2347 to 2349).
//!
//! **Problem.** Names come from the guest and lead to files of the host. Servers of this kind were left by `..`, by
//! backslashes and by symbolic links, and have used sessions that were gone.
//!
//! **Rejected**: opening here. The data plane opens nothing, and whoever reads a guest's packets should not decide what
//! is outside of a folder.
//!
//! **Chosen.** A request is read into a session, one of twenty, and whoever calls is told to have a name opened. The
//! answer comes back with the session's reference, whose generation tells a session that was replaced meanwhile from the
//! one that asked. Blocks are read where they are to be sent from. Nothing is sent again unless the guest asks.
//!
//! **Differently from QEMU**, a block is acknowledged by its own number: acknowledged again, it is sent again.

mod request;

use std::net::IpAddr;

use rustix::io::Errno;

use request::{Fault, Request, Wishes};

/// Sessions at a time.
pub const SESSIONS: usize = 20;
/// The longest reply: a block of the largest size.
pub const REPLY_BYTES_MAX: usize = HEADER_BYTES + BLOCK_BYTES_MAX;
/// The longest name of a file.
pub const NAME_BYTES_MAX: usize = 511;

const HEADER_BYTES: usize = 4;
const BLOCK_BYTES: u16 = 512;
/// What fits into a frame of 1500 bytes.
const BLOCK_BYTES_MAX: usize = 1428;
/// How long a session may be silent before another takes its place.
const IDLE_MS: u64 = 5000;

const READ: u8 = 1;
const DATA: u8 = 3;
const ACKNOWLEDGEMENT: u8 = 4;
const ERROR: u8 = 5;
const OPTIONS: u8 = 6;

/// Who is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// A guest's address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
}

/// A session that may not be there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// Which of the [`SESSIONS`].
    pub slot: u8,
    /// The how manieth there.
    pub generation: u32,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Nothing.
    Silence,
    /// The reply, so many bytes long, goes to the peer.
    Reply(usize),
    /// A file is to be opened for reading; [`Sessions::opened`] goes on.
    Open(Reference, &'a [u8]),
}

/// The files of sessions, by their slots.
pub trait Files {
    /// Reads from a place in the file of a slot; less than there is room for only at its end.
    ///
    /// # Errors
    /// As the kernel says.
    fn read(&mut self, slot: u8, offset: u64, into: &mut [u8]) -> Result<usize, Errno>;
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nobody has it.
    Free,
    /// Its file is being opened.
    Opening,
    /// So many blocks have been sent, and whether the last one was short.
    Sent { blocks: u64, is_last: bool },
}

#[derive(Debug, Clone, Copy)]
struct Session {
    peer: Peer,
    generation: u32,
    progress: Progress,
    wishes: Wishes,
    block_bytes: u16,
    used_at_ms: u64,
}

const NOBODY: Session = Session {
    peer: Peer { address: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), port: 0 },
    generation: 0,
    progress: Progress::Free,
    wishes: Wishes::NONE,
    block_bytes: BLOCK_BYTES,
    used_at_ms: 0,
};

/// All sessions of a port.
#[derive(Debug, Clone)]
pub struct Sessions([Session; SESSIONS]);

impl Default for Sessions {
    fn default() -> Self {
        Sessions::new(0)
    }
}

impl Sessions {
    /// None yet. References count from `first`: answers to those who were there before are for nobody here.
    #[must_use]
    pub fn new(first: u32) -> Self {
        Sessions([Session { generation: first, ..NOBODY }; SESSIONS])
    }

    /// A datagram has come to port 69.
    pub fn take<'a>(
        &mut self,
        peer: Peer,
        datagram: &'a [u8],
        now_ms: u64,
        files: &mut impl Files,
        reply: &mut [u8],
    ) -> Answer<'a> {
        match datagram {
            [0, READ, rest @ ..] => self.begin(peer, rest, now_ms, reply),
            [0, ACKNOWLEDGEMENT, high, low, ..] => {
                let number = u16::from_be_bytes([*high, *low]);
                self.acknowledged(peer, number, now_ms, files, reply)
            }
            [0, ERROR, ..] => {
                if let Some(slot) = self.find(peer) {
                    self.0[slot].progress = Progress::Free;
                }
                Answer::Silence
            }
            _other => Answer::Silence,
        }
    }

    /// A file was opened, which has so many bytes, or there is none. Tells to whom the reply goes; nobody, if the
    /// session is gone.
    pub fn opened(
        &mut self,
        reference: Reference,
        size: Result<u64, Errno>,
        files: &mut impl Files,
        reply: &mut [u8],
    ) -> Option<(Peer, usize)> {
        let slot = usize::from(reference.slot);
        let session = self.0.get_mut(slot).filter(|session| session.generation == reference.generation)?;
        if session.progress != Progress::Opening {
            return None;
        }
        let peer = session.peer;
        let Ok(size) = size else {
            session.progress = Progress::Free;
            return Some((peer, error(Fault::NotFound, reply)));
        };
        session.progress = Progress::Sent { blocks: 0, is_last: false };
        if session.wishes.is_empty() {
            return self.send(slot, 1, files, reply).map(|bytes| (peer, bytes));
        }
        Some((peer, session.wishes.grant(size, reply)))
    }

    /// Whether a session still needs its file.
    #[must_use]
    pub fn is_alive(&self, reference: Reference) -> bool {
        let session = self.0.get(usize::from(reference.slot));
        session.is_some_and(|session| {
            session.generation == reference.generation && session.progress != Progress::Free
        })
    }

    fn begin<'a>(&mut self, peer: Peer, rest: &'a [u8], now_ms: u64, reply: &mut [u8]) -> Answer<'a> {
        if let Some(slot) = self.find(peer) {
            self.0[slot].progress = Progress::Free;
        }
        let request = match Request::read(rest) {
            Ok(request) => request,
            Err(fault) => return Answer::Reply(error(fault, reply)),
        };
        let is_to_be_had = |session: &Session| {
            session.progress == Progress::Free || now_ms.saturating_sub(session.used_at_ms) > IDLE_MS
        };
        let Some(slot) = self.0.iter().position(is_to_be_had) else {
            return Answer::Reply(error(Fault::Busy, reply));
        };
        let session = &mut self.0[slot];
        *session = Session {
            peer,
            generation: session.generation.wrapping_add(1),
            progress: Progress::Opening,
            wishes: request.wishes,
            block_bytes: request.wishes.block_bytes().unwrap_or(BLOCK_BYTES),
            used_at_ms: now_ms,
        };
        let slot = u8::try_from(slot).expect("there are twenty");
        Answer::Open(Reference { slot, generation: session.generation }, request.name)
    }

    fn find(&self, peer: Peer) -> Option<usize> {
        let is_its = |session: &Session| session.progress != Progress::Free && session.peer == peer;
        self.0.iter().position(is_its)
    }

    fn acknowledged(
        &mut self,
        peer: Peer,
        number: u16,
        now_ms: u64,
        files: &mut impl Files,
        reply: &mut [u8],
    ) -> Answer<'static> {
        let Some(slot) = self.find(peer) else { return Answer::Silence };
        let session = &mut self.0[slot];
        let Progress::Sent { blocks, is_last } = session.progress else { return Answer::Silence };
        session.used_at_ms = now_ms;
        let next = if number == wrapped(blocks) {
            if is_last {
                session.progress = Progress::Free;
                return Answer::Silence;
            }
            blocks + 1
        } else if blocks > 0 && number == wrapped(blocks - 1) {
            blocks
        } else {
            return Answer::Silence;
        };
        self.send(slot, next, files, reply).map_or(Answer::Silence, Answer::Reply)
    }

    /// Puts a block into the reply. None if there is no room for it.
    fn send(&mut self, slot: usize, block: u64, files: &mut impl Files, reply: &mut [u8]) -> Option<usize> {
        let session = &mut self.0[slot];
        let bytes = usize::from(session.block_bytes);
        let offset = (block - 1).checked_mul(u64::from(session.block_bytes))?;
        let (header, rest) = reply.split_first_chunk_mut::<HEADER_BYTES>()?;
        let index = u8::try_from(slot).expect("there are twenty");
        let Ok(read) = files.read(index, offset, rest.get_mut(..bytes)?) else {
            session.progress = Progress::Free;
            return Some(error(Fault::NotFound, reply));
        };
        let [high, low] = wrapped(block).to_be_bytes();
        *header = [0, DATA, high, low];
        let read = read.min(bytes);
        session.progress = Progress::Sent { blocks: block, is_last: read < bytes };
        Some(HEADER_BYTES + read)
    }
}

/// A block's number as it is sent: of a large file, they begin again.
fn wrapped(block: u64) -> u16 {
    u16::try_from(block & 0xffff).expect("sixteen bits")
}

/// The reply to a guest that asks a port without a folder.
pub fn refuse(datagram: &[u8], reply: &mut [u8]) -> Answer<'static> {
    match datagram {
        [0, READ, ..] => Answer::Reply(error(Fault::Violation, reply)),
        _other => Answer::Silence,
    }
}

/// Says what is wrong; 0 if there is no room to.
fn error(fault: Fault, reply: &mut [u8]) -> usize {
    let (code, text) = fault.words();
    let length = HEADER_BYTES + text.len() + 1;
    let Some(reply) = reply.get_mut(..length) else { return 0 };
    reply[..HEADER_BYTES].copy_from_slice(&[0, ERROR, 0, code]);
    reply[HEADER_BYTES..length - 1].copy_from_slice(text);
    reply[length - 1] = 0;
    length
}

#[cfg(test)]
mod test;
