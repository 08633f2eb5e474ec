//! Commands about NICs that exist: what they let through, and that they announce themselves.

use framewire_shared::happenings::Happening;
use serde_json::Value;

use super::Server;
use crate::nic::{naming, rx_filter};
use crate::qmp::answer::{Outcome, QmpError, nothing};
use crate::qmp::qapi::QapiType as _;
use crate::qmp::types::event::{Event, NicRxFilterChanged};
use crate::qmp::types::net::{AnnounceSelf, RxFilterInfo};

impl Server {
    /// What a NIC lets through, or all of them.
    pub(super) fn query_rx_filter(&mut self, name: Option<&str>) -> Outcome {
        let inventory = self.network.inventory();
        let Some(name) = name else {
            let numbers: Vec<u64> = naming::nics(inventory).map(|(port, _nic)| port.number).collect();
            let all = numbers.into_iter().map(|number| self.rx_filter(number).map(|filter| filter.print()));
            return all.collect::<Result<_, _>>().map(Value::Array);
        };
        let port = inventory.ports().iter().find(|port| port.id == name);
        let port = port.ok_or_else(|| QmpError::generic(format!("invalid net client name: {name}")))?;
        port.nic().ok_or_else(|| QmpError::generic(format!("net client({name}) isn't a NIC")))?;
        Ok(vec![self.rx_filter(port.number)?].print())
    }

    /// What this NIC lets through; its next change is told again.
    fn rx_filter(&mut self, number: u64) -> Result<RxFilterInfo, QmpError> {
        let port = self.network.inventory().port(number);
        let nic = port.and_then(|port| Some((port.id.clone(), port.nic()?.mac, port.queues.first()?.key)));
        let (name, mac, first_queue) = nic.ok_or_else(|| QmpError::device_not_found(&number.to_string()))?;
        self.changed_filters.forget(number);
        let filter = self.network.filter(first_queue)?;
        Ok(filter.map_or_else(|| rx_filter::fresh(&name, mac), |told| rx_filter::told(&name, mac, &told)))
    }

    /// A guest has changed what its NIC lets through.
    pub(crate) fn filter_changed(&mut self, happening: Happening) {
        let Some(port) = self.port_of_session(happening.queue) else { return };
        let (number, Some(nic)) = (port.number, port.nic()) else { return };
        let part = if nic.model.has_backend() { "/virtio-backend" } else { "" };
        let data = NicRxFilterChanged { name: nic.device_id.clone(), path: format!("{}{part}", nic.path) };
        if self.changed_filters.note(number) {
            self.monitors.broadcast(&Event::NicRxFilterChanged(data));
        }
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
