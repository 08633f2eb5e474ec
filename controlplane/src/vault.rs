//! The vault: a duplicate of every descriptor that the data plane has, and what it was built from.
//!
//! A data plane that dies takes its descriptors along, and a tap would vanish with the last one. As long as
//! the vault holds another, the interface, the socket and what waits in its buffer live on, and the next data
//! plane is given the same.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use framewire_shared::handover::Build;

use crate::dataplane;

/// One queue, ready to be handed over.
#[derive(Debug)]
pub struct Kept {
    /// How to build it.
    pub build: Build,
    /// What it is built from.
    pub descriptors: Vec<OwnedFd>,
}

impl Kept {
    /// As it is handed over to a data plane. Its counters go on if an earlier data plane had it.
    #[must_use]
    pub fn on_its_way(&self, counters_go_on: bool) -> dataplane::Build<'_> {
        let build = Build { counters_go_on, ..self.build };
        (build, self.descriptors.iter().map(AsFd::as_fd).collect())
    }
}

/// All queues, by key.
#[derive(Debug, Default)]
pub struct Vault {
    kept: BTreeMap<u64, Kept>,
}

impl Vault {
    /// Keeps queues.
    pub fn keep(&mut self, queues: impl IntoIterator<Item = Kept>) {
        self.kept.extend(queues.into_iter().map(|kept| (kept.build.queue, kept)));
    }

    /// Lets go of every queue that is not wanted any more; descriptors are closed.
    pub fn keep_only(&mut self, mut is_wanted: impl FnMut(u64) -> bool) {
        self.kept.retain(|key, _kept| is_wanted(*key));
    }

    /// The queue of that key.
    #[must_use]
    pub fn get(&self, key: u64) -> Option<&Kept> {
        self.kept.get(&key)
    }

    /// All queues, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.kept.values()
    }
}
