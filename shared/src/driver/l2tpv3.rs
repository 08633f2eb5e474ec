//! Options of the `l2tpv3` driver.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::DgramOptions;

/// The largest offset.
const OFFSET_BYTES_MAX: u32 = 256;

/// What carries the tunnel's datagrams.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// UDP, over IPv4 or IPv6.
    Udp = 0,
    /// IPv4: the kernel leaves the IP header before what is received.
    Ipv4 = 1,
    /// IPv6.
    Ipv6 = 2,
}

/// What the counter in the header does.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// There is none.
    Absent = 0,
    /// Counts frames from 1.
    Counting = 1,
    /// Stands at 0.
    Pinned = 2,
}

/// Cookies of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookies {
    /// Of frames that we send.
    pub send: u64,
    /// Of frames that we receive.
    pub receive: u64,
    /// Whether they have 64 bits; else the lower 32 are meant.
    pub is_64_bit: bool,
}

/// A tunnel over a datagram or raw socket.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct L2tpv3Options {
    dgram: DgramOptions,
    carrier: u32,
    counter: u32,
    /// 0, 4 or 8.
    cookie_bytes: u32,
    offset_bytes: u32,
    send_session: u32,
    receive_session: u32,
    send_cookie: u64,
    receive_cookie: u64,
}

impl L2tpv3Options {
    /// A tunnel between these sessions, without cookies, counter or offset.
    #[must_use]
    pub fn new(dgram: DgramOptions, carrier: Carrier, send_session: u32, receive_session: u32) -> Self {
        L2tpv3Options {
            dgram,
            carrier: carrier as u32,
            counter: Counter::Absent as u32,
            cookie_bytes: 0,
            offset_bytes: 0,
            send_session,
            receive_session,
            send_cookie: 0,
            receive_cookie: 0,
        }
    }

    /// With cookies.
    #[must_use]
    pub fn with_cookies(self, cookies: Cookies) -> Self {
        let Cookies { send, receive, is_64_bit } = cookies;
        let (cookie_bytes, mask) = if is_64_bit { (8, u64::MAX) } else { (4, u64::from(u32::MAX)) };
        L2tpv3Options { cookie_bytes, send_cookie: send & mask, receive_cookie: receive & mask, ..self }
    }

    /// With a counter.
    #[must_use]
    pub fn with_counter(self, counter: Counter) -> Self {
        L2tpv3Options { counter: counter as u32, ..self }
    }

    /// With so many bytes between header and frame.
    #[must_use]
    pub fn with_offset(self, offset_bytes: u32) -> Self {
        L2tpv3Options { offset_bytes: offset_bytes.min(OFFSET_BYTES_MAX), ..self }
    }

    /// The socket.
    #[must_use]
    pub fn dgram(&self) -> &DgramOptions {
        &self.dgram
    }

    /// What carries it.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        match self.carrier {
            1 => Carrier::Ipv4,
            2 => Carrier::Ipv6,
            _udp => Carrier::Udp,
        }
    }

    /// What the counter does.
    #[must_use]
    pub fn counter(&self) -> Counter {
        match self.counter {
            1 => Counter::Counting,
            2 => Counter::Pinned,
            _absent => Counter::Absent,
        }
    }

    /// Cookies, if there are any.
    #[must_use]
    pub fn cookies(&self) -> Option<Cookies> {
        let cookies = Cookies {
            send: self.send_cookie,
            receive: self.receive_cookie,
            is_64_bit: self.cookie_bytes == 8,
        };
        (self.cookie_bytes > 0).then_some(cookies)
    }

    /// Bytes between header and frame.
    #[must_use]
    pub fn offset_bytes(&self) -> usize {
        self.offset_bytes.min(OFFSET_BYTES_MAX) as usize
    }

    /// Session of frames that we send, and of those that we receive.
    #[must_use]
    pub fn sessions(&self) -> (u32, u32) {
        (self.send_session, self.receive_session)
    }
}
