//! This process's own table of descriptors, and its limits.

use rustix::process::{Resource, Rlimit};

/// Keeps what was inherited from children: scripts, and the data plane, get what they are given and nothing else.
/// (`--netdev tap,fd=5` still finds number 5 here.)
pub fn keep_from_children() {
    // SAFETY: no pointers; descriptors stay open and keep their numbers, only their close-on-exec flag is set.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done < 0 {
        log::warn!("inherited descriptors: {}", std::io::Error::last_os_error());
    }
}

/// Raises the limits that a thousand ports would meet: descriptors (the vault keeps some for each queue), and
/// locked memory, which the data plane inherits. What may not be raised stays; whoever needs more will say so.
pub fn raise_limits() {
    for resource in [Resource::Nofile, Resource::Memlock] {
        let maximum = rustix::process::getrlimit(resource).maximum;
        let _ = rustix::process::setrlimit(resource, Rlimit { current: maximum, maximum });
    }
}
