//! One ring, as far as the front end has described it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::device::Refused;
use super::request::RingAddresses;
use crate::virtqueue::notify::Bells;
use crate::virtqueue::{Format, Position, RING_SIZE_MAX};

/// What the guest rings.
#[derive(Debug, Clone, Default)]
pub(super) enum Kick {
    /// It was not said: the ring has not started.
    #[default]
    Unsaid,
    /// Nothing: the ring is polled.
    Nothing,
    /// An eventfd.
    Eventfd(Arc<OwnedFd>),
}

/// See the module's text.
#[derive(Debug, Clone)]
pub(super) struct Vring {
    pub(super) size: u16,
    pub(super) addresses: Option<RingAddresses>,
    pub(super) position: Position,
    pub(super) kick: Kick,
    pub(super) call: Option<Arc<OwnedFd>>,
    pub(super) is_enabled: bool,
    /// It has done what no ring may do, and rests until it is described anew.
    pub(super) is_faulty: bool,
}

impl Default for Vring {
    fn default() -> Self {
        Vring {
            size: 0,
            addresses: None,
            position: Position::START,
            kick: Kick::Unsaid,
            call: None,
            is_enabled: false,
            is_faulty: false,
        }
    }
}

impl Vring {
    /// Whether all is said that it needs to run.
    pub(super) fn is_described(&self) -> bool {
        !matches!(self.kick, Kick::Unsaid) && self.size > 0 && self.addresses.is_some()
    }

    /// Whether it runs.
    pub(super) fn is_started(&self) -> bool {
        self.is_described() && !self.is_faulty
    }

    /// It runs no more; where it is and what it is made of stays.
    pub(super) fn stop(&mut self) {
        self.kick = Kick::Unsaid;
        self.is_faulty = false;
    }

    pub(super) fn set_size(&mut self, size: u32) -> Result<(), Refused> {
        self.size =
            u16::try_from(size).ok().filter(|size| (1..=RING_SIZE_MAX).contains(size)).ok_or(Refused)?;
        Ok(())
    }

    pub(super) fn set_base(&mut self, base: u32, format: Format) -> Result<(), Refused> {
        self.position = match format {
            Format::Split => {
                Position { index: u16::try_from(base).map_err(|_too_large| Refused)?, wrap: true }
            }
            // The lower half is where to take; the upper one, where to use to, some front ends leave out. Of what was
            // taken we have always used all.
            Format::Packed => {
                let index = u16::try_from(base & 0x7fff).expect("fifteen bits");
                Position { index, wrap: base & 0x8000 != 0 }
            }
        };
        self.is_faulty = false;
        Ok(())
    }

    /// As `set_base` takes it.
    pub(super) fn base(&self, format: Format) -> u32 {
        let Position { index, wrap } = self.position;
        match format {
            Format::Split => u32::from(index),
            Format::Packed => {
                let half = u32::from(index) | u32::from(wrap) << 15;
                half | half << 16
            }
        }
    }

    pub(super) fn bells(&self) -> Bells {
        let kick = match &self.kick {
            Kick::Eventfd(kick) => Some(Arc::clone(kick)),
            Kick::Unsaid | Kick::Nothing => None,
        };
        Bells { kick, call: self.call.clone() }
    }
}

/// Takes over what the guest rings: an eventfd and nothing else, since we read it without waiting.
pub(super) fn kick(descriptor: OwnedFd) -> Result<Arc<OwnedFd>, Refused> {
    adopt(descriptor, &[ANONYMOUS])
}

/// Takes over what we ring: an eventfd, or a pipe or a socket, which User Mode Linux has instead. A full one has rung
/// already.
pub(super) fn call(descriptor: OwnedFd) -> Result<Arc<OwnedFd>, Refused> {
    adopt(descriptor, &[ANONYMOUS, libc::S_IFIFO, libc::S_IFSOCK])
}

/// Takes over what our own requests are written to: a socket, or a pipe, for the same front end.
pub(super) fn backend(descriptor: OwnedFd) -> Result<Arc<OwnedFd>, Refused> {
    adopt(descriptor, &[libc::S_IFSOCK, libc::S_IFIFO])
}

/// Eventfds have no type; pipes, sockets and files of disks have.
const ANONYMOUS: libc::mode_t = 0;

fn adopt(descriptor: OwnedFd, types: &[libc::mode_t]) -> Result<Arc<OwnedFd>, Refused> {
    let refused = |_errno: Errno| Refused;
    let status = rustix::fs::fstat(&descriptor).map_err(refused)?;
    if !types.contains(&(status.st_mode & libc::S_IFMT)) {
        return Err(Refused);
    }
    rustix::io::ioctl_fionbio(&descriptor, true).map_err(refused)?;
    Ok(Arc::new(descriptor))
}
