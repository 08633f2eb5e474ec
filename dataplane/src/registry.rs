//! The foreman's register of queues: what each was built from, and where it is.
//!
//! A queue is *here* (just built, or given back) or *with* a worker. A worker's plan says where it should be.
//! The descriptors are shared with the queue, so that they can be given to a new control plane at any time.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use framewire_shared::handover::Build;
use framewire_shared::plan::Section;

use crate::driver::AnyQueue;

/// Where a queue is.
#[derive(Debug)]
enum Place {
    Here(Box<AnyQueue>),
    With(usize),
}

/// One queue.
#[derive(Debug)]
struct Entry {
    build: Build,
    descriptors: Arc<[OwnedFd]>,
    place: Place,
    /// The plan that was in force when it was built; it cannot have mentioned the queue.
    born: u64,
    /// The worker whose section mentions it, if one does.
    wanted_by: Option<usize>,
}

/// All queues of the data plane.
#[derive(Debug, Default)]
pub struct Registry {
    entries: HashMap<u64, Entry>,
}

impl Registry {
    /// A queue was built, while the plan of generation `born` was in force.
    pub fn add(&mut self, build: Build, descriptors: Arc<[OwnedFd]>, queue: Box<AnyQueue>, born: u64) {
        let place = Place::Here(queue);
        self.entries.insert(build.queue, Entry { build, descriptors, place, born, wanted_by: None });
    }

    /// Whether there is a queue of this key.
    #[must_use]
    pub fn contains(&self, key: u64) -> bool {
        self.entries.contains_key(&key)
    }

    /// The worker that has the queue of this key.
    #[must_use]
    pub fn holder(&self, key: u64) -> Option<usize> {
        match self.entries.get(&key)?.place {
            Place::With(worker) => Some(worker),
            Place::Here(_) => None,
        }
    }

    /// Gives up a queue that no worker has. Its descriptors are closed.
    pub fn discard(&mut self, key: u64) {
        if self.entries.get(&key).is_some_and(|entry| matches!(entry.place, Place::Here(_))) {
            self.entries.remove(&key);
        }
    }

    /// A worker has given a queue back.
    pub fn returned(&mut self, key: u64, queue: Box<AnyQueue>) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.place = Place::Here(queue);
        }
    }

    /// Notes which worker wants which queue.
    pub fn want<'a>(&mut self, sections: impl Iterator<Item = &'a Section>) {
        for entry in self.entries.values_mut() {
            entry.wanted_by = None;
        }
        for (worker, section) in sections.enumerate() {
            for end in &section.ends {
                if let Some(entry) = self.entries.get_mut(&end.queue) {
                    entry.wanted_by = Some(worker);
                }
            }
        }
    }

    /// Hands every queue that is here to the worker that wants it.
    pub fn deliver(&mut self, mut deliver: impl FnMut(usize, u64, Box<AnyQueue>)) {
        for (key, entry) in &mut self.entries {
            let Some(worker) = entry.wanted_by else { continue };
            let place = std::mem::replace(&mut entry.place, Place::With(worker));
            match place {
                Place::Here(queue) => deliver(worker, *key, queue),
                Place::With(holder) => entry.place = Place::With(holder),
            }
        }
    }

    /// Gives up every queue that is here and that this generation, made after the queue, does not mention.
    pub fn sweep(&mut self, generation: u64) {
        self.entries.retain(|_key, entry| {
            matches!(entry.place, Place::With(_)) || entry.wanted_by.is_some() || entry.born >= generation
        });
    }

    /// What every queue was built from, with its descriptors.
    pub fn iter(&self) -> impl Iterator<Item = (&Build, &[OwnedFd])> {
        self.entries.values().map(|entry| (&entry.build, &entry.descriptors[..]))
    }
}
