//! Wells that have ended are replaced.
//!
//! A well is nobody's child and holds nothing but what is on its way, so nothing is lost with it but the sockets to come:
//! flows go on, and what was at hand in the data plane bridges the moment. That it has ended is seen where its sockets
//! come out, by whichever control plane there is: no process id is kept, which could be another's by then.
//!
//! One that ends again and again (a machine without memory, a program that was removed) is tried less and less often.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use framewire_shared::driver::DriverOptions;
use framewire_shared::driver::user::STOCKS;
use rustix::event::epoll;
use rustix::io::Errno;

use crate::amendment::Amendment;
use crate::host::well;
use crate::inventory::Port;
use crate::network::Network;
use crate::vault::Vault;

/// How long a port waits for its next well after it was given one, at first and at most.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Ends that are heard of at once.
const ENDED_MAX: usize = 64;
/// One that has lived for so long was a good one.
const GOOD_LIFE: Duration = Duration::from_secs(10);

/// All wells, by the queue that each is for.
#[derive(Debug)]
pub struct Wells {
    epoll: OwnedFd,
    all: BTreeMap<u64, Well>,
}

#[derive(Debug)]
struct Well {
    began: Instant,
    wait: Duration,
    /// It has ended, and another is wanted then.
    due: Option<Instant>,
}

impl Wells {
    /// None yet.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new() -> Result<Self, Errno> {
        Ok(Wells { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, all: BTreeMap::new() })
    }

    /// From now on this port's well is replaced when it ends, if it has one.
    pub fn begin(&mut self, port: &Port, vault: &Vault) {
        let Some(queue) = port.queues.first() else { return };
        if pipe(vault, queue.key).is_some() {
            let well = Well { began: Instant::now(), wait: WAIT_FIRST, due: None };
            self.all.insert(queue.key, well);
            self.watch(vault, queue.key);
        }
    }

    /// When one is to be replaced.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.all.values().filter_map(|well| well.due).min()
    }

    /// Replaces those that are due.
    pub fn attend(&mut self, network: &mut Network) {
        self.all.retain(|key, _well| pipe(network.vault(), *key).is_some());
        let now = Instant::now();
        for key in self.ended() {
            let (Some(well), Some(pipe)) = (self.all.get_mut(&key), pipe(network.vault(), key)) else {
                continue;
            };
            // The kernel tells of it for as long as it is watched.
            let _ = epoll::delete(&self.epoll, pipe);
            if now.duration_since(well.began) >= GOOD_LIFE {
                well.wait = WAIT_FIRST;
            }
            well.due = Some(now + well.wait);
        }
        let due = self.all.iter().filter(|(_key, well)| well.due.is_some_and(|due| due <= now));
        let due: Vec<u64> = due.map(|(key, _well)| *key).collect();
        for key in due {
            self.replace(network, key);
        }
    }

    /// Those that have ended, some at a time.
    fn ended(&self) -> Vec<u64> {
        let mut events = Vec::with_capacity(ENDED_MAX);
        let now = rustix::event::Timespec::default();
        let waited = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&now));
        if waited.is_err() {
            return Vec::new();
        }
        events.iter().map(|event: &epoll::Event| event.data.u64()).collect()
    }

    fn replace(&mut self, network: &mut Network, key: u64) {
        let replaced = start(network, key);
        let Some(well) = self.all.get_mut(&key) else { return };
        well.wait = (well.wait * 2).min(WAIT_MAX);
        match replaced {
            Ok(()) => {
                log::warn!("a network's source of sockets had ended; it has another");
                (well.began, well.due) = (Instant::now(), None);
                self.watch(network.vault(), key);
            }
            Err(why) => {
                log::error!("a network's source of sockets has ended, and there is no other: {why}");
                well.due = Some(Instant::now() + well.wait);
            }
        }
    }

    fn watch(&self, vault: &Vault, key: u64) {
        let Some(pipe) = pipe(vault, key) else { return };
        // An end is always told.
        let flags = epoll::EventFlags::empty();
        if let Err(errno) = epoll::add(&self.epoll, pipe, epoll::EventData::new_u64(key), flags) {
            log::error!("a source of sockets is not watched: {errno}");
        }
    }
}

impl AsFd for Wells {
    /// Readable when one has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Where the sockets of a queue's well come out first: those that any host can make.
fn pipe(vault: &Vault, key: u64) -> Option<BorrowedFd<'_>> {
    let kept = vault.get(key)?;
    let DriverOptions::User(options) = &kept.build.options else { return None };
    kept.descriptors.first().filter(|_pipe| options.has_stocks()).map(AsFd::as_fd)
}

fn start(network: &mut Network, key: u64) -> Result<(), String> {
    let options = network.vault().get(key).map(|kept| kept.build.options).ok_or("it is gone")?;
    let new = well::start().map_err(|error| error.to_string())?;
    network.amend(key, Amendment { options, gone: 0..STOCKS, new }).map_err(|error| error.to_string())
}
