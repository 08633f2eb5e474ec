//! AF_XDP: sockets whose frames lie in memory that we share with the kernel.
//!
//! **Problem.** There are crates for it, but none can take up a socket that another process has made, or memory
//! that is not its own, and none knows frames in several chunks together with sockets that wake on demand.
//!
//! **Chosen.** Our own, over `libc`'s structures: four rings of the kernel's layout ([`Producer`],
//! [`Consumer`]), the memory that their entries point into ([`Chunks`]), and the calls that push the kernel on
//! ([`Socket`]). Which chunk is whose is not known here; that is the driver's (`driver/xdp`).
//!
//! ```text
//!            fill ──► kernel ──► receive          chunks to be filled, and filled
//!            send ──► kernel ──► completion       chunks to be sent, and sent
//! ```

mod chunks;
pub(crate) mod ring;
mod socket;

pub use chunks::Chunks;
pub use ring::{Consumer, Producer, Reservation};
pub use socket::{Rings, Socket};

/// System calls made here, for the data plane's filter. (Mapping is everybody's.)
pub const SYSTEM_CALLS: &[libc::c_long] =
    &[libc::SYS_getsockopt, libc::SYS_sendto, libc::SYS_recvfrom, libc::SYS_fstat, libc::SYS_fcntl];
