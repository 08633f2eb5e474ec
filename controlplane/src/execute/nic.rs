//! Commands about NICs that exist: what they let through, and that they announce themselves.

use serde_json::Value;

use super::Server;
use crate::nic::{naming, rx_filter};
use crate::qmp::answer::{Outcome, QmpError, nothing};
use crate::qmp::qapi::QapiType as _;
use crate::qmp::types::net::AnnounceSelf;

impl Server {
    /// What a NIC lets through, or all of them.
    pub(super) fn query_rx_filter(&self, name: Option<&str>) -> Outcome {
        let inventory = self.network.inventory();
        let Some(name) = name else {
            let all = naming::nics(inventory).map(|(port, nic)| rx_filter::fresh(&port.id, nic.mac).print());
            return Ok(Value::Array(all.collect()));
        };
        let port = inventory.ports().iter().find(|port| port.id == name);
        let port = port.ok_or_else(|| QmpError::generic(format!("invalid net client name: {name}")))?;
        let nic = port.nic().ok_or_else(|| QmpError::generic(format!("net client({name}) isn't a NIC")))?;
        Ok(vec![rx_filter::fresh(name, nic.mac)].print())
    }

    /// Starts a timer; its first round is over when this returns.
    pub(super) fn announce_self(&mut self, parameters: AnnounceSelf) -> Outcome {
        self.announcements.start(parameters);
        self.announce_due();
        Ok(nothing())
    }

    /// Announces the NICs whose round is due.
    pub(super) fn announce_due(&mut self) {
        for whom in self.announcements.take_due() {
            let nics = naming::nics(self.network.inventory()).filter(|(port, _nic)| whom.has(&port.id));
            let addresses = nics.filter_map(|(port, nic)| Some((port.queues.first()?.key, nic.mac.0)));
            let addresses: Vec<_> = addresses.collect();
            self.network.announce(addresses.into_iter());
        }
    }

    /// What is to be done about NICs by and by.
    pub fn attend_nics(&mut self) {
        self.dismiss_nics();
        self.announce_due();
    }
}
