//! The `l2tpv3` driver: a static pseudowire (RFC 3931), as QEMU and the Linux kernel speak it.
//!
//! The socket is the `dgram` driver's; what is special is here, the header:
//!
//! ```text
//! [UDP only: 00 03 00 00]  session (4)  [cookie (4 or 8)]  [counter (4)]  [offset (0 to 256 bytes)]  frame
//! ```
//!
//! All of it is big-endian. Over IPv4 the kernel leaves the IP header before what a raw socket receives, over IPv6 it
//! does not.
//!
//! **What is checked** is the cookie, then the session: QEMU checks no more, peers exist whose first word is none of
//! the protocol's, and a counter may begin anew at any time. A frame that comes late or twice is passed on as any
//! Ethernet may. What is foreign is counted and costs nobody else anything.
//!
//! **Cookies are compared in constant time.** They are all that keeps somebody who can send to us from injecting
//! frames; how long a refusal takes must not tell how much of a guess was right. So a cookie is one number, its
//! difference to ours is one exclusive or, and the whole header is read before anything is decided.
//!
//! **The counter needs no memory of its own**: it is the number of frames sent, which the queue's line of counters
//! keeps, past the end of a data plane that was killed.

use std::hint::black_box;

use framewire_shared::counters::DropReason;
use framewire_shared::driver::{Carrier, Counter, L2tpv3Options};

use super::dgram::Envelope;
use crate::frame::Segment;

/// Version 3, a data message.
const FIRST_WORD: [u8; 4] = [0, 3, 0, 0];

/// An IPv4 header without options.
const IPV4_HEADER_BYTES: usize = 20;

/// Session and cookie at most.
const CHECKED_BYTES_MAX: usize = 4 + 8;

/// One end of a pseudowire.
#[derive(Debug)]
pub struct Tunnel {
    /// What is put before each frame, but for the counter.
    header: Vec<u8>,
    /// Where in it the counter is that counts.
    counter_at: Option<usize>,
    carrier: Carrier,
    session: u32,
    cookie: u64,
    cookie_bytes: usize,
}

impl Tunnel {
    /// One of these options.
    #[must_use]
    pub fn new(options: &L2tpv3Options) -> Self {
        let (send_session, session) = options.sessions();
        let cookies = options.cookies();
        let mut header = Vec::new();
        if options.carrier() == Carrier::Udp {
            header.extend(FIRST_WORD);
        }
        header.extend(send_session.to_be_bytes());
        let mut cookie_bytes = 0;
        if let Some(cookies) = cookies {
            cookie_bytes = if cookies.is_64_bit { 8 } else { 4 };
            header.extend(&cookies.send.to_be_bytes()[8 - cookie_bytes..]);
        }
        let counter_at = (options.counter() == Counter::Counting).then_some(header.len());
        if options.counter() != Counter::Absent {
            header.extend([0; 4]);
        }
        header.resize(header.len() + options.offset_bytes(), 0);
        Tunnel {
            header,
            counter_at,
            carrier: options.carrier(),
            session,
            cookie: cookies.map_or(0, |cookies| cookies.receive),
            cookie_bytes,
        }
    }

    /// Where the pseudowire's header begins in what was received.
    #[inline]
    fn begin(&self, datagram: Segment) -> Result<usize, DropReason> {
        match self.carrier {
            Carrier::Udp | Carrier::Ipv6 => Ok(0),
            Carrier::Ipv4 => {
                let mut first = [0; 1];
                datagram.read(0, &mut first);
                let bytes = usize::from(first[0] & 0xf) * 4;
                if bytes < IPV4_HEADER_BYTES { Err(DropReason::Runt) } else { Ok(bytes) }
            }
        }
    }
}

impl Envelope for Tunnel {
    const IS_BARE: bool = false;

    #[inline]
    fn bytes(&self) -> usize {
        self.header.len()
    }

    #[inline]
    fn header(&mut self, number: u64) -> &[u8] {
        if let Some(at) = self.counter_at {
            let [_, _, _, _, low @ ..] = number.to_be_bytes();
            self.header[at..at + 4].copy_from_slice(&low);
        }
        &self.header
    }

    #[inline]
    fn frame_at(&self, datagram: Segment) -> Result<usize, DropReason> {
        let begin = self.begin(datagram)?;
        let frame_at = begin + self.header.len();
        if datagram.len() <= frame_at {
            return Err(DropReason::Runt);
        }
        let session_at = if self.carrier == Carrier::Udp { begin + FIRST_WORD.len() } else { begin };
        let mut checked = [0; CHECKED_BYTES_MAX];
        datagram.read(session_at, &mut checked[..4 + self.cookie_bytes]);
        let (session, cookie) = checked.split_at(4);
        let session = session.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        let cookie =
            cookie[..self.cookie_bytes].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let (strange_cookie, strange_session) =
            (black_box(cookie ^ self.cookie), black_box(session ^ self.session));
        if strange_cookie != 0 {
            return Err(DropReason::WrongCookie);
        }
        if strange_session != 0 { Err(DropReason::Foreign) } else { Ok(frame_at) }
    }
}

#[cfg(test)]
mod test;
