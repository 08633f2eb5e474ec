//! The kernel's vhost-net: only whether it is there.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// `VHOST_GET_FEATURES`: `_IOR(0xaf, 0, u64)`, which every vhost device answers.
const GET_FEATURES: libc::Ioctl = libc::_IOR::<u64>(0xaf, 0);

/// Opens the device.
///
/// # Errors
/// As the kernel says.
pub fn open() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/dev/vhost-net", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// Whether a descriptor is one of a vhost device.
#[must_use]
pub fn is_vhost(descriptor: &OwnedFd) -> bool {
    let mut features = 0_u64;
    let features: *mut u64 = &raw mut features;
    // SAFETY: the request writes the one number that it is given the address of.
    let result = unsafe { libc::ioctl(descriptor.as_raw_fd(), GET_FEATURES, features) };
    result == 0
}
