//! A change of the network, carried out whole or not at all.
//!
//! 1. The next inventory is planned. Until here nothing has happened.
//! 2. New queues are handed over and built. They are in no plan, so nobody notices; if one cannot be built, the
//!    others are given up again.
//! 3. The next inventory is written down. From here on a next control plane would go on with it: what was built
//!    and is not in it is retired, what is in it and was not built is dropped, so being killed between any two
//!    steps leaves no contradiction.
//! 4. The plan is published, and in effect when the foreman has quiesced.
//! 5. The vault lets go of what is not carried any more, and the inventory is mirrored.
//!
//! A data plane that dies over a change is replaced, and the next one begins with the change already made. If
//! that one dies too, the change is what kills them: it is taken back.

use std::time::Instant;

use framewire_shared::plan::{self, Section};

use crate::dataplane::trouble::{Refusal, Trouble};
use crate::inventory::Inventory;
use crate::network::{ANSWER_MAX, Error, Network};
use crate::planner;
use crate::vault::Kept;

/// Why a change was not carried.
enum Failure {
    Refused(Refusal),
    Trouble(Trouble),
    Inventory(std::io::Error),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Failure::Trouble(trouble)
    }
}

impl Network {
    /// Makes `next` the inventory; `new` are the queues that are in it for the first time.
    ///
    /// # Errors
    /// [`Error`]; the inventory is the old one then.
    pub fn commit(&mut self, next: Inventory, new: Vec<Kept>) -> Result<(), Error> {
        let serial = next.serial();
        let outcome = self.carry_out(next, new);
        // Whatever came of it, the data plane may have seen the keys.
        self.inventory.never_reuse(serial);
        self.tell_links();
        outcome
    }

    /// Guests hear of their links, where there is a way. A data plane that is not there hears of it from the vault.
    fn tell_links(&mut self) {
        let inventory = &self.inventory;
        let link_of = |first_queue| inventory.port_of_queue(first_queue).map(|port| port.link_is_up);
        for (session, is_up) in self.vault.note_links(link_of) {
            let Some(attached) = self.supervisor.running() else { return };
            if let Err(trouble) = attached.set_link(session, is_up, Instant::now() + ANSWER_MAX) {
                self.supervisor.lost(trouble);
            }
        }
    }

    fn carry_out(&mut self, mut next: Inventory, new: Vec<Kept>) -> Result<(), Error> {
        let plan = planner::plan(&next, self.settings());
        plan::check_size(&plan.sections)?;
        next.keep_workers(|key| plan.worker_of.get(&key).copied());
        if let Err(unavailable) = self.wait_running() {
            // What needs no queue needs no data plane: the next one will be given the result.
            if !new.is_empty() {
                return Err(unavailable.into());
            }
            self.file.save(&next)?;
            self.accept(next, new);
            return Ok(());
        }
        match self.carry(&next, plan.sections, &new) {
            Ok(sections) => {
                self.published = sections;
                self.accept(next, new);
                Ok(())
            }
            Err(Failure::Refused(refusal)) => Err(refusal.into()),
            Err(Failure::Inventory(error)) => Err(error.into()),
            Err(Failure::Trouble(trouble)) => self.survive(trouble, next, new),
        }
    }

    /// Steps 2 to 4. Returns what was published.
    fn carry(
        &mut self,
        next: &Inventory,
        sections: Vec<Section>,
        new: &[Kept],
    ) -> Result<Vec<Section>, Failure> {
        let deadline = Instant::now() + ANSWER_MAX;
        let Some(attached) = self.supervisor.running() else { return Err(Trouble::Gone.into()) };
        let give_up = || attached.discard(new.iter().map(|kept| kept.build.queue), deadline);
        let refused =
            attached.build(new.iter().map(|kept| kept.on_its_way(kept.build.counters_go_on)), deadline)?;
        if let Some(refusal) = refused.into_iter().next() {
            give_up()?;
            return Err(Failure::Refused(refusal));
        }
        if let Err(error) = self.file.save(next) {
            give_up()?;
            return Err(Failure::Inventory(error));
        }
        Ok(attached.publish(self.supervisor.equipment(), sections, &self.published, deadline)?)
    }

    /// Step 5.
    fn accept(&mut self, next: Inventory, new: Vec<Kept>) {
        self.inventory = next;
        self.vault.keep(new);
        self.forget_the_unknown();
        // The change is in effect, and written down once: that a second time fails is no reason to take it back.
        if let Err(error) = self.file.mirror() {
            log::error!("inventory: {error}");
        }
    }

    /// Lets go of the queues that no port has.
    pub(crate) fn forget_the_unknown(&mut self) {
        let queues = self.inventory.ports().iter().flat_map(|port| &port.queues);
        let known: std::collections::BTreeSet<u64> = queues.map(|queue| queue.key).collect();
        self.vault.keep_only(|key| known.contains(&key));
    }

    /// The data plane has died over a change: another one begins with it.
    fn survive(&mut self, trouble: Trouble, next: Inventory, new: Vec<Kept>) -> Result<(), Error> {
        self.supervisor.lost(trouble);
        let adds_queues = !new.is_empty();
        let old = self.inventory.clone();
        self.file.save(&next)?;
        self.accept(next, new);
        if self.wait_running().is_ok() && self.supervisor.running().is_some() || !adds_queues {
            return Ok(());
        }
        self.inventory = old;
        self.forget_the_unknown();
        self.file.save(&self.inventory)?;
        Err(Error::Trouble(trouble))
    }
}

#[cfg(test)]
mod test;
