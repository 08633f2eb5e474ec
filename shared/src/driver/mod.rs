//! What a queue is built from, one record for each driver.
//!
//! The control plane has opened, bound and configured everything; a record says only what the driver needs
//! besides the descriptors that come with it. Records are plain bytes ([`zerocopy`]), so that a vault can
//! keep them and hand them over again without knowing what they say.

mod dgram;
mod l2tpv3;
mod tap;
pub mod user;
mod xdp;

use zerocopy::{FromBytes, IntoBytes};

pub use dgram::{Batching, DgramOptions};
pub use l2tpv3::{Carrier, Cookies, Counter, L2tpv3Options};
pub use tap::TapOptions;
pub use user::UserOptions;
pub use xdp::XdpOptions;

/// The options of one queue, by driver.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one a queue, and looked at when it is built")]
pub enum DriverOptions {
    /// Takes and discards; needs nothing.
    Null,
    /// A tap interface's queue: one descriptor.
    Tap(TapOptions),
    /// A datagram socket, one frame a datagram: one descriptor.
    Dgram(DgramOptions),
    /// A tunnel over a datagram or raw socket: one descriptor.
    L2tpv3(L2tpv3Options),
    /// A connected stream socket, frames behind their lengths: two descriptors, the socket and its
    /// [`crate::stream_memory`].
    Stream,
    /// An AF_XDP socket that is bound: two descriptors, the socket and its [`crate::xsk_memory`].
    Xdp(XdpOptions),
    /// A queue pair of a guest's NIC: none. What it is made of comes with a [`crate::session`], again and
    /// again, and until then it takes and discards.
    Guest,
    /// A made-up network: sockets' source and listening sockets, see [`UserOptions::descriptors`].
    User(UserOptions),
}

/// Bytes that are no driver's options: sent by another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("options of an unknown driver")]
pub struct UnknownDriver;

const NULL: u32 = 0;
const TAP: u32 = 1;
const DGRAM: u32 = 2;
const STREAM: u32 = 3;
const GUEST: u32 = 4;
const XDP: u32 = 5;
const L2TPV3: u32 = 6;
const USER: u32 = 7;

impl DriverOptions {
    /// How many descriptors go with them.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        match self {
            DriverOptions::Null | DriverOptions::Guest => 0,
            DriverOptions::Tap(_) | DriverOptions::Dgram(_) | DriverOptions::L2tpv3(_) => 1,
            DriverOptions::Stream | DriverOptions::Xdp(_) => 2,
            DriverOptions::User(options) => options.descriptors(),
        }
    }

    /// As they travel: the driver's number, then its record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (number, record) = match self {
            DriverOptions::Null => (NULL, &[][..]),
            DriverOptions::Tap(options) => (TAP, options.as_bytes()),
            DriverOptions::Dgram(options) => (DGRAM, options.as_bytes()),
            DriverOptions::L2tpv3(options) => (L2TPV3, options.as_bytes()),
            DriverOptions::Stream => (STREAM, &[][..]),
            DriverOptions::Guest => (GUEST, &[][..]),
            DriverOptions::Xdp(options) => (XDP, options.as_bytes()),
            DriverOptions::User(options) => (USER, options.as_bytes()),
        };
        [&number.to_ne_bytes(), record].concat()
    }

    /// Back from bytes.
    ///
    /// # Errors
    /// [`UnknownDriver`] unless they are exactly what [`DriverOptions::to_bytes`] makes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnknownDriver> {
        let (number, record) = bytes.split_first_chunk().ok_or(UnknownDriver)?;
        match u32::from_ne_bytes(*number) {
            NULL if record.is_empty() => Ok(DriverOptions::Null),
            TAP => Ok(DriverOptions::Tap(read(record)?)),
            DGRAM => Ok(DriverOptions::Dgram(read(record)?)),
            L2TPV3 => Ok(DriverOptions::L2tpv3(read(record)?)),
            STREAM if record.is_empty() => Ok(DriverOptions::Stream),
            GUEST if record.is_empty() => Ok(DriverOptions::Guest),
            XDP => Ok(DriverOptions::Xdp(read(record)?)),
            USER => Ok(DriverOptions::User(read(record)?)),
            _other => Err(UnknownDriver),
        }
    }
}

fn read<T: FromBytes>(record: &[u8]) -> Result<T, UnknownDriver> {
    T::read_from_bytes(record).map_err(|_wrong_size| UnknownDriver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_back_as_sent() {
        let dgram = DgramOptions::new(Batching::Udp, &[2, 0, 0x13, 0x88, 127, 0, 0, 1]).unwrap();
        for options in [
            DriverOptions::Null,
            DriverOptions::Tap(TapOptions { vnet_header: 1 }),
            DriverOptions::Dgram(dgram),
            DriverOptions::L2tpv3(L2tpv3Options::new(dgram, Carrier::Udp, 1, 2)),
            DriverOptions::Stream,
            DriverOptions::Guest,
            DriverOptions::Xdp(XdpOptions { several_chunks: 1, busy_poll: 0, completes_checksums: 1 }),
            DriverOptions::User(UserOptions::empty()),
        ] {
            assert_eq!(DriverOptions::from_bytes(&options.to_bytes()), Ok(options));
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [&[][..], &[9, 0, 0, 0], &[0, 0, 0, 0, 0], &[1, 0, 0, 0]] {
            assert_eq!(DriverOptions::from_bytes(bytes), Err(UnknownDriver));
        }
    }
}
