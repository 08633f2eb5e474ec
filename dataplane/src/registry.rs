//! The foreman's register of queues: what each was built from, and where it is.
//!
//! A queue is *here* (just built, or given back) or *with* a worker. A worker's plan says where it should be.
//! The descriptors are shared with the queue, so that they can be given to a new control plane at any time.
//!
//! A queue may be exchanged for another one of the same key while a worker has it. Editions tell them apart: the
//! newest counts, and an older one that comes back is *retired*: what it was made of is nobody's any more.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use framewire_shared::driver::DriverOptions;
use framewire_shared::handover::Build;
use framewire_shared::plan::Section;

use crate::adopt::Parcel;
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
    /// How often it was exchanged.
    edition: u64,
    /// The plan that was in force when it was built; it cannot have mentioned the queue.
    born: u64,
    /// The worker whose section mentions it, if one does.
    wanted_by: Option<usize>,
}

/// What became of an exchange.
#[derive(Debug)]
pub struct Exchanged {
    /// Which of the queues under this key the new one is.
    pub edition: u64,
    /// The old one, if no worker had it.
    pub replaced: Option<Box<AnyQueue>>,
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
        let entry = Entry { build, descriptors, place, edition: 0, born, wanted_by: None };
        self.entries.insert(build.queue, entry);
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

    /// The queue of this key, if no worker has it.
    pub fn here(&mut self, key: u64) -> Option<&mut AnyQueue> {
        match &mut self.entries.get_mut(&key)?.place {
            Place::Here(queue) => Some(queue),
            Place::With(_) => None,
        }
    }

    /// From now on the queue of this key was built from these.
    pub fn amend(&mut self, options: &DriverOptions, key: u64, descriptors: Arc<[OwnedFd]>) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.build.options = *options;
            entry.descriptors = descriptors;
        }
    }

    /// Gives up a queue that no worker has. Its descriptors are closed.
    pub fn discard(&mut self, key: u64) {
        if self.entries.get(&key).is_some_and(|entry| matches!(entry.place, Place::Here(_))) {
            self.entries.remove(&key);
        }
    }

    /// Puts another queue in the place of the one of this key. If a worker has that, `deliver` sends the new one there,
    /// and the old one will come back as [`Registry::returned`].
    ///
    /// # Errors
    /// The new queue, if nothing has this key.
    pub fn exchange(
        &mut self,
        key: u64,
        queue: Box<AnyQueue>,
        deliver: impl FnOnce(usize, Parcel),
    ) -> Result<Exchanged, Box<AnyQueue>> {
        let Some(entry) = self.entries.get_mut(&key) else { return Err(queue) };
        entry.edition += 1;
        let edition = entry.edition;
        let replaced = match &mut entry.place {
            Place::Here(here) => Some(std::mem::replace(here, queue)),
            Place::With(worker) => {
                deliver(*worker, Parcel { key, edition, queue });
                None
            }
        };
        Ok(Exchanged { edition, replaced })
    }

    /// What the queue of this key was built from.
    #[must_use]
    pub fn build(&self, key: u64) -> Option<&Build> {
        self.entries.get(&key).map(|entry| &entry.build)
    }

    /// A worker has given a queue back. Returns it if it is retired.
    pub fn returned(&mut self, parcel: Parcel) -> Option<Parcel> {
        let Some(entry) = self.entries.get_mut(&parcel.key) else { return Some(parcel) };
        if parcel.edition != entry.edition {
            return Some(parcel);
        }
        entry.place = Place::Here(parcel.queue);
        None
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
    pub fn deliver(&mut self, mut deliver: impl FnMut(usize, Parcel)) {
        for (key, entry) in &mut self.entries {
            let Some(worker) = entry.wanted_by else { continue };
            let place = std::mem::replace(&mut entry.place, Place::With(worker));
            match place {
                Place::Here(queue) => deliver(worker, Parcel { key: *key, edition: entry.edition, queue }),
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
