//! How a session reaches the queues of its NIC, wherever they are.

use std::os::fd::BorrowedFd;

use framewire_shared::counters::QueueCounters;
use framewire_shared::handover::Build;
use framewire_shared::happenings::Happening;
use framewire_shared::ledger::QueueLedger;
use framewire_shared::region::{FOREMAN, Status};

use crate::announce::Announcement;
use crate::crew::{Crew, Premises};
use crate::doorbell;
use crate::driver::{AnyQueue, Guest};
use crate::registry::{Exchanged, Registry};

/// The foreman's register and crew, for the time of one step.
pub struct Seats<'a> {
    /// Where each queue is.
    pub registry: &'a mut Registry,
    /// Who carries them.
    pub crew: &'a mut Crew,
    /// Where counters are, and whom to tell.
    pub premises: Premises,
}

impl Seats<'_> {
    fn status(&self) -> &'static Status {
        self.premises.status
    }

    /// The counters of the queue of this key, if it is one that a guest's rings may be put into.
    #[must_use]
    pub fn counters(&self, key: u64) -> Option<&'static QueueCounters> {
        self.status().queue_counters.get(self.guest(key)?.counter_slot as usize)
    }

    /// Where its rings' positions are noted.
    #[must_use]
    pub fn ledger(&self, key: u64) -> Option<&'static QueueLedger> {
        self.status().ledgers.get(self.guest(key)?.counter_slot as usize)
    }

    fn guest(&self, key: u64) -> Option<&Build> {
        self.registry
            .build(key)
            .filter(|build| build.options == framewire_shared::driver::DriverOptions::Guest)
    }

    /// Puts another queue in the place of the one of this key. `None` if there is none.
    pub fn exchange(&mut self, key: u64, queue: Guest) -> Option<Exchanged> {
        let crew = &mut self.crew;
        let queue = Box::new(AnyQueue::Guest(queue));
        self.registry.exchange(key, queue, |worker, parcel| crew.deliver(worker, parcel)).ok()
    }

    /// Has an address announced, if some worker carries the queue.
    pub fn announce(&mut self, announcement: Announcement) {
        if let Some(worker) = self.registry.holder(announcement.queue) {
            self.crew.announce(worker, announcement);
        }
    }

    /// Has the foreman look again soon, though nothing happens.
    pub fn come_back(&self) {
        doorbell::ring(self.premises.foreman);
    }

    /// Tells the control plane.
    pub fn tell(&self, happening: Happening) {
        self.status().happenings[FOREMAN].push(&self.premises.config.read[FOREMAN], happening);
        let doorbell: BorrowedFd<'_> = self.premises.control;
        doorbell::ring(doorbell);
    }
}
