//! A queue that is changed while it carries frames: what its driver is built from is another from now on.
//!
//! For a change the queue need not be built anew, and no plan says anything about it, so it is none of a transaction. But
//! the order is the same: the data plane first, then the vault. A data plane that dies over it is replaced by one that
//! begins with the change; one that refuses is told what was before. What a next control plane will find out is what the
//! data plane has, so nothing is written down.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use framewire_shared::driver::DriverOptions;
use framewire_shared::flows::{FLOWS_MAX, FlowRecord};
use framewire_shared::handover;
use rustix::fs::MemfdFlags;
use zerocopy::FromBytes;

use crate::dataplane::trouble::{Refusal, Trouble};
use crate::network::{ANSWER_MAX, Error, Network};
use crate::vault::Kept;

/// A change of what a queue is built from.
#[derive(Debug)]
pub struct Amendment {
    /// Its options from now on.
    pub options: DriverOptions,
    /// Which of its descriptors go,
    pub gone: Range<usize>,
    /// and which come in their place.
    pub new: Vec<OwnedFd>,
}

impl Amendment {
    /// All of the queue's descriptors from now on.
    fn descriptors<'a>(&'a self, kept: &'a Kept) -> Vec<BorrowedFd<'a>> {
        let (before, rest) = kept.descriptors.split_at(self.gone.start);
        let behind = &rest[self.gone.len()..];
        before.iter().chain(&self.new).chain(behind).map(AsFd::as_fd).collect()
    }
}

impl Network {
    /// Changes a queue. When this returns, the change is in effect, or nothing has changed.
    ///
    /// # Errors
    /// [`Error`].
    pub fn amend(&mut self, key: u64, amendment: Amendment) -> Result<(), Error> {
        // Without a data plane the next one begins with it.
        let outcome = match self.wait_running() {
            Ok(()) => self.tell(key, &amendment),
            Err(_unavailable) => Ok(None),
        };
        match outcome {
            Ok(None) => {
                self.vault.amend(key, amendment);
                Ok(())
            }
            Ok(Some(refusal)) => {
                self.take_back(key);
                Err(refusal.into())
            }
            Err(trouble) => {
                self.supervisor.lost(trouble);
                self.vault.amend(key, amendment);
                self.wait_running().map_err(Error::from)
            }
        }
    }

    fn tell(&self, key: u64, amendment: &Amendment) -> Result<Option<Refusal>, Trouble> {
        let (Some(attached), Some(kept)) = (self.supervisor.running(), self.vault.get(key)) else {
            return Err(Trouble::Gone);
        };
        let build = handover::Build { options: amendment.options, ..kept.build };
        attached.amend(build, &amendment.descriptors(kept), Instant::now() + ANSWER_MAX)
    }

    /// The data plane could not: it is as before.
    fn take_back(&mut self, key: u64) {
        let Some(kept) = self.vault.get(key) else { return };
        let nothing = Amendment { options: kept.build.options, gone: 0..0, new: Vec::new() };
        match self.tell(key, &nothing) {
            Ok(None) => {}
            Ok(Some(_)) => self.supervisor.lost(Trouble::Foreign),
            Err(trouble) => self.supervisor.lost(trouble),
        }
    }

    /// What goes on in a queue, the newest flow first.
    ///
    /// # Errors
    /// [`Error`].
    pub fn flows(&mut self, key: u64) -> Result<Vec<FlowRecord>, Error> {
        self.wait_running()?;
        let report = rustix::fs::memfd_create("framewire-flows", MemfdFlags::CLOEXEC)
            .map_err(|errno| Error::Trouble(Trouble::Kernel(errno)))?;
        let Some(attached) = self.supervisor.running() else { return Err(Error::Trouble(Trouble::Gone)) };
        match attached.describe(key, &report, Instant::now() + ANSWER_MAX) {
            Ok(None) => Ok(read(report)?),
            Ok(Some(refusal)) => Err(refusal.into()),
            Err(trouble) => {
                self.supervisor.lost(trouble);
                Err(Error::Trouble(trouble))
            }
        }
    }
}

/// What the data plane has written: as many whole records as there may be.
fn read(report: OwnedFd) -> std::io::Result<Vec<FlowRecord>> {
    rustix::fs::seek(&report, rustix::fs::SeekFrom::Start(0))?;
    let most = u64::try_from(FLOWS_MAX * size_of::<FlowRecord>()).expect("a few MiB");
    let mut bytes = Vec::new();
    File::from(report).take(most).read_to_end(&mut bytes)?;
    let records = bytes.chunks_exact(size_of::<FlowRecord>());
    let mut flows: Vec<FlowRecord> =
        records.filter_map(|record| FlowRecord::read_from_bytes(record).ok()).collect();
    flows.sort_by_key(|flow| std::cmp::Reverse(flow.serial));
    Ok(flows)
}
