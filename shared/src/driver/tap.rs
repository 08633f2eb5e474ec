//! Options of the `tap` driver.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One queue of a tap interface.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct TapOptions {
    /// 1 if the descriptor carries a 10-byte virtio-net header before each frame (`IFF_VNET_HDR`), else 0.
    pub vnet_header: u32,
}
