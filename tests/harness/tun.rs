//! Opens a tap descriptor as a management program would, to be given away.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::namespace::Namespace;

/// A tap without packet information.
pub const TAP: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI;
/// More than one queue may be opened.
pub const MULTI_QUEUE: libc::c_int = libc::IFF_MULTI_QUEUE;
/// Frames have a virtio-net header before them.
pub const VNET_HDR: libc::c_int = libc::IFF_VNET_HDR;

/// Opens a queue of the tap interface with this name in `namespace`, making the interface if it is not there.
#[track_caller]
#[must_use]
pub fn open(namespace: &Namespace, name: &str, flags: libc::c_int) -> OwnedFd {
    let opened = namespace.run(|| attach(name, flags));
    opened.unwrap_or_else(|e| panic!("cannot open the tap {name}: {e}"))
}

fn attach(name: &str, flags: libc::c_int) -> std::io::Result<OwnedFd> {
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (to, from) in ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let ifru_flags = libc::c_short::try_from(flags).unwrap_or_default();
    let request = libc::ifreq { ifr_name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags } };
    // SAFETY: TUNSETIFF reads an ifreq; `request` is one, and outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(file.into()) }
}

/// How many bytes of written frames may be on their way through the host before a write has to wait.
#[track_caller]
pub fn limit_send_buffer(tap: &OwnedFd, bytes: libc::c_int) {
    // SAFETY: TUNSETSNDBUF reads an int; `bytes` is one, and outlives the call.
    let result = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETSNDBUF, &raw const bytes) };
    assert_eq!(result, 0, "TUNSETSNDBUF: {}", std::io::Error::last_os_error());
}

/// Has the kernel leave all work to the reader of this tap that it can: checksums, cutting TCP and, if it is new enough,
/// UDP. (`TUN_F_CSUM`, `_TSO4`, `_TSO6`, `_TSO_ECN`; `_USO4`, `_USO6`.)
#[track_caller]
pub fn leave_work(tap: &OwnedFd) {
    const TCP: libc::c_ulong = 0x0f;
    const UDP: libc::c_ulong = 0x60;
    // SAFETY: TUNSETOFFLOAD takes its flags by value.
    let with_udp = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETOFFLOAD, TCP | UDP) };
    if with_udp < 0 {
        // SAFETY: as above.
        let result = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETOFFLOAD, TCP) };
        assert_eq!(result, 0, "TUNSETOFFLOAD: {}", std::io::Error::last_os_error());
    }
}
