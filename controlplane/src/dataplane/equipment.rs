//! What every data plane of a runtime directory is given: regions, doorbells, and where to wait for us.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use framewire_shared::handover::{WELCOME_DESCRIPTORS, Welcome};
use framewire_shared::happenings::{Happening, HappeningRing, ReadIndex};
use framewire_shared::limits::HAPPENINGS_WAITING_MAX;
use framewire_shared::region::{self, Config, Mapping, RegionError, Status};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use super::trouble::Trouble;
use crate::host::socket;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The regions.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// Doorbells and the listening socket.
    #[error("{step}: {errno}")]
    Kernel {
        /// What was being made.
        step: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// What came back from a running data plane is not what was given to it.
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

/// See the module's text.
#[derive(Debug)]
pub struct Equipment {
    /// How the data plane works.
    pub welcome: Welcome,
    /// We write here.
    pub config: Mapping<Config>,
    /// The data plane writes here; nothing of it is believed unchecked.
    pub status: Mapping<Status>,
    /// As a [`Welcome`] carries them.
    descriptors: Vec<OwnedFd>,
}

const DOORBELL: usize = 2;
const FOREMAN: usize = 3;

impl Equipment {
    /// Makes everything new.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn create(welcome: Welcome, listener: &Path) -> Result<Self, Error> {
        let config = Mapping::<Config>::create()?;
        let status = Mapping::<Status>::create()?;
        let listening = |errno| Error::Kernel { step: "the data plane's socket", errno };
        let mut descriptors = vec![region::read_only_description(&config)?, status];
        descriptors.extend([doorbell()?, doorbell()?]);
        descriptors.push(socket::listen_seqpacket(listener).map_err(listening)?);
        for _worker in 0..welcome.workers {
            descriptors.push(doorbell()?);
        }
        Self::map(welcome, descriptors, &config)
    }

    /// Takes up what a running data plane gives back.
    ///
    /// # Errors
    /// If it is not what a control plane of this version gave to it.
    pub fn recalled(welcome: Welcome, descriptors: Vec<OwnedFd>) -> Result<Self, Error> {
        if descriptors.len() != WELCOME_DESCRIPTORS + welcome.workers as usize {
            return Err(Trouble::Foreign.into());
        }
        let config = region::writable_description(&descriptors[0])?;
        Self::map(welcome, descriptors, &config)
    }

    fn map(welcome: Welcome, descriptors: Vec<OwnedFd>, config: &OwnedFd) -> Result<Self, Error> {
        let config = Mapping::writable(config)?;
        let status = Mapping::read_only(&descriptors[1])?;
        Ok(Equipment { welcome, config, status, descriptors })
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.welcome.workers as usize
    }

    /// As a [`Welcome`] carries them.
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.descriptors.iter().map(AsFd::as_fd).collect()
    }

    /// What the data plane rings.
    #[must_use]
    pub fn doorbell(&self) -> &OwnedFd {
        &self.descriptors[DOORBELL]
    }

    /// Takes note of the ringing. Whoever calls looks for all that may have happened.
    pub fn hush(&self) {
        // Empty if somebody else took note.
        let _ = rustix::io::read(&self.descriptors[DOORBELL], &mut [0_u8; 8]);
    }

    /// What the data plane's threads have told and nobody has read yet.
    #[must_use]
    pub fn take_happenings(&self) -> Vec<Happening> {
        let rings = self.status.happenings.iter().zip(&self.config.read);
        // A ring that fills as fast as it is read would hold us for ever: what it holds at most is enough.
        let taken = |(ring, read): (&'_ HappeningRing, &'_ ReadIndex)| -> Vec<Happening> {
            (0..HAPPENINGS_WAITING_MAX).map_while(|_| ring.pop(read)).collect()
        };
        rings.flat_map(taken).collect()
    }

    /// Wakes the foreman and all workers: a plan was published. Awake ones see it by themselves.
    pub fn ring_all(&self) {
        let workers = &self.descriptors[WELCOME_DESCRIPTORS..];
        for doorbell in std::iter::once(&self.descriptors[FOREMAN]).chain(workers) {
            // Full means rung.
            let _ = rustix::io::write(doorbell, &1_u64.to_ne_bytes());
        }
    }
}

fn doorbell() -> Result<OwnedFd, Error> {
    let refused = |errno| Error::Kernel { step: "a doorbell", errno };
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(refused)
}
