//! Kicks and calls: how a guest wakes us, and we wake a guest.
//!
//! Both are eventfds of the front end's, so both are hostile: a counter that is full blocks whoever writes, one
//! that is empty blocks whoever reads, and the front end may clear `O_NONBLOCK`, which belongs to the file and
//! not to us. Reading therefore asks not to wait by itself (`RWF_NOWAIT`). For writing there is no such flag, so
//! a call is made non-blocking when it is adopted; a front end that undoes this and fills the counter stops
//! the worker that serves it, which is known and accepted: it needs a compromised VMM, not just a guest.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::io::ReadWriteFlags;

use crate::doorbell;

/// System calls made here, for the data plane's filter.
pub const SYSTEM_CALLS: &[libc::c_long] = &[libc::SYS_preadv2, libc::SYS_write];

/// A ring's eventfds. Without one it is polled (kick), or never told (call).
#[derive(Debug, Clone, Default)]
pub struct Bells {
    /// Rung by the guest.
    pub kick: Option<Arc<OwnedFd>>,
    /// Rung by us.
    pub call: Option<Arc<OwnedFd>>,
}

impl Bells {
    /// Tells the guest.
    pub fn ring(&self) {
        if let Some(call) = &self.call {
            doorbell::ring(call.as_fd());
        }
    }

    /// Forgets earlier kicks.
    pub fn hush(&self) {
        if let Some(kick) = &self.kick {
            let mut count = [0; 8];
            // "At the current position", which an eventfd has not; it cannot be read otherwise with flags.
            let here = u64::MAX;
            let _ =
                rustix::io::preadv2(kick, &mut [IoSliceMut::new(&mut count)], here, ReadWriteFlags::NOWAIT);
        }
    }

    /// What to watch for kicks.
    #[must_use]
    pub fn kick_descriptor(&self) -> Option<RawFd> {
        self.kick.as_ref().map(AsRawFd::as_raw_fd)
    }
}

/// Whether going from `old` to `new` passes `event`, which is where the other side wants to be told (2.7.10).
#[inline]
#[must_use]
pub fn passes(event: u16, old: u16, new: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_is_passed_once() {
        assert!(passes(5, 5, 6));
        assert!(passes(5, 3, 9));
        assert!(!passes(5, 6, 9));
        assert!(!passes(5, 3, 5), "told when 5 is done, not before");
        assert!(passes(u16::MAX, u16::MAX - 1, 2), "wraps");
        assert!(!passes(7, 9, 9), "nothing new");
    }

    #[test]
    fn hushing_does_not_wait_even_if_the_eventfd_would() {
        let flags = rustix::event::EventfdFlags::empty();
        let kick = Arc::new(rustix::event::eventfd(0, flags).unwrap());
        let bells = Bells { kick: Some(Arc::clone(&kick)), call: None };
        bells.hush();
        doorbell::ring(kick.as_fd());
        bells.hush();
        let mut watched = [rustix::event::PollFd::new(&kick, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut watched, Some(&now)), Ok(0));
    }
}
