//! Options of the `xdp` driver.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An AF_XDP socket that is bound, and what was agreed on with the kernel when it was.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct XdpOptions {
    /// 1 if a frame may lie in several chunks (`XDP_USE_SG`); else one that does not fit a chunk cannot be sent.
    pub several_chunks: u32,
    /// 1 if the interface is polled by whoever asks the socket for frames, not by interrupts.
    pub busy_poll: u32,
    /// 1 if the interface completes checksums: the kernel then looks for a request before each frame.
    pub completes_checksums: u32,
}
