//! The kernel's vhost devices: whether they are there, and whether they are such.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// `VHOST_GET_FEATURES`: `_IOR(0xaf, 0, u64)`, which every vhost device answers.
const GET_FEATURES: libc::Ioctl = libc::_IOR::<u64>(0xaf, 0);

/// Opens a device.
///
/// # Errors
/// As the kernel says.
pub fn open(path: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// What a vhost device can do.
///
/// # Errors
/// As the kernel says: `ENOTTY` if it is no such device.
pub fn features(descriptor: &OwnedFd) -> Result<u64, Errno> {
    let mut features = 0_u64;
    let place: *mut u64 = &raw mut features;
    // SAFETY: the request writes the one number that it is given the address of.
    let result = unsafe { libc::ioctl(descriptor.as_raw_fd(), GET_FEATURES, place) };
    if result == 0 {
        return Ok(features);
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
