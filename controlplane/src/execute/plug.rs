//! Switches that have gone and come back are made known to the data plane.

use framewire_shared::driver::DriverOptions;
use framewire_shared::handover::Build;

use super::Server;
use crate::host::{vde, words};
use crate::kind::prepare::PreparedQueue;
use crate::kind::vde::prepare::take_port;
use crate::plugs::{ANSWER, Due};
use crate::vault::Kept;

impl Server {
    /// Looks after all plugs that are due.
    pub fn attend_plugs(&mut self) {
        let inventory = self.network.inventory();
        let due = self.plugs.all_due(|number| inventory.port(number).is_some());
        for (port, due) in due {
            let is_plugged = match due {
                Due::Look => self.switch_is_there(port) || !self.pull(port),
                Due::Plug(checked) => match take_port(&checked, ANSWER) {
                    Ok(queue) => self.exchange(port, true, queue),
                    Err(errno) => {
                        log::debug!("port {port}: no VDE switch: {}", words(errno));
                        false
                    }
                },
            };
            self.plugs.settle(port, is_plugged);
        }
    }

    fn switch_is_there(&self, port: u64) -> bool {
        let queue = self.network.inventory().port(port).and_then(|port| port.queues.first());
        let kept = queue.and_then(|queue| self.network.vault().get(queue.key));
        kept.and_then(|kept| kept.descriptors.get(1)).is_some_and(vde::is_connected)
    }

    /// The switch has gone.
    fn pull(&mut self, port: u64) -> bool {
        log::warn!("port {port}: its VDE switch has gone; it is looked for");
        self.exchange(port, false, PreparedQueue { options: DriverOptions::Null, descriptors: Vec::new() })
    }

    /// Replaces the port's queue. Whether that was done.
    fn exchange(&mut self, port: u64, link_is_up: bool, queue: PreparedQueue) -> bool {
        let mut next = self.network.inventory().clone();
        let Some(place) = next.replace_queue(port, link_is_up) else { return false };
        let PreparedQueue { options, descriptors } = queue;
        let build =
            Build { queue: place.key, counter_slot: place.counter_slot, counters_go_on: true, options };
        let committed = self.network.commit(next, vec![Kept { build, descriptors }]);
        if let Err(error) = &committed {
            log::error!("port {port}: {error}");
        }
        committed.is_ok()
    }
}
