//! Options of the `dgram` driver.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What the kernel can do for runs of frames on this socket.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batching {
    /// One datagram a call (or `sendmmsg`): unix sockets.
    Single = 0,
    /// `UDP_SEGMENT` and `UDP_GRO`: the control plane has switched the latter on.
    Udp = 1,
}

/// Room for any socket address (`sockaddr_storage`).
const ADDRESS_BYTES_MAX: usize = 128;

/// A datagram socket.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct DgramOptions {
    batching: u32,
    address_bytes: u32,
    address: [u8; ADDRESS_BYTES_MAX],
}

impl DgramOptions {
    /// `remote` is a kernel socket address, sent to with each datagram; empty for a connected socket.
    /// `None` if it is too long to be one.
    #[must_use]
    pub fn new(batching: Batching, remote: &[u8]) -> Option<Self> {
        let mut address = [0; ADDRESS_BYTES_MAX];
        address.get_mut(..remote.len())?.copy_from_slice(remote);
        let address_bytes = u32::try_from(remote.len()).ok()?;
        Some(DgramOptions { batching: batching as u32, address_bytes, address })
    }

    /// What the kernel can do for runs of frames.
    #[must_use]
    pub fn batching(&self) -> Batching {
        if self.batching == Batching::Udp as u32 { Batching::Udp } else { Batching::Single }
    }

    /// Where to send to; empty if the socket is connected.
    #[must_use]
    pub fn remote(&self) -> &[u8] {
        let bytes = (self.address_bytes as usize).min(ADDRESS_BYTES_MAX);
        &self.address[..bytes]
    }
}
