//! Guests come and go: their front ends' connections are handed to the data plane, and what it tells of them to
//! clients.

use std::os::fd::OwnedFd;

use framewire_shared::happenings::Happening;
use framewire_shared::session::{Serve, SessionEnd, feature};

use super::Server;
use crate::connection::{Change, Opened, Outcome};
use crate::inventory::Port;
use crate::network::{Error, Network};
use crate::nic::Nic;
use crate::qmp::types::event::{
    Event, FailoverNegotiated, NetdevVhostUserConnected, NetdevVhostUserDisconnected,
};

impl Server {
    /// A front end has connected to a NIC, or has gone. None if the port is no NIC.
    pub(super) fn carry_guest(&mut self, change: &Change) -> Option<Outcome> {
        let port = self.network.inventory().port(change.port)?;
        let (nic, first_queue, pairs) = (port.nic()?.clone(), port.queues.first()?.key, port.queues.len());
        let (id, link_is_up) = (port.id.clone(), port.link_is_up);
        let Some(socket) = &change.socket else {
            self.network.part(first_queue);
            return Some(Outcome::Done);
        };
        let served = match socket.try_clone() {
            Ok(connection) => self.network.serve(connection, |session| {
                let mut serve = describe(&nic, session, first_queue, pairs);
                serve.set_link(link_is_up);
                serve
            }),
            Err(error) => Err(Error::Inventory(error)),
        };
        Some(match served {
            Ok(()) => Outcome::Done,
            Err(Error::Unavailable(_)) => Outcome::Postponed,
            Err(
                error @ (Error::Refused(_) | Error::Trouble(_) | Error::TooLarge(_) | Error::Inventory(_)),
            ) => {
                log::error!("NIC '{id}': a front end is not served: {error}");
                Outcome::Failed
            }
        })
    }

    /// Tells that a guest's front end is there, or is gone. Whether the port is a NIC.
    pub(super) fn tell_of_guest(&self, port: u64, is_there: bool) -> Option<Event> {
        let port = self.network.inventory().port(port)?;
        let lender = port.nic()?.socket.lender.as_ref();
        let (netdev_id, chardev_id) = (port.id.clone(), lender.map_or(&port.id, |lender| &lender.id).clone());
        Some(if is_there {
            Event::NetdevVhostUserConnected(NetdevVhostUserConnected { netdev_id, chardev_id })
        } else {
            Event::NetdevVhostUserDisconnected(NetdevVhostUserDisconnected { netdev_id })
        })
    }

    /// The data plane has ended a session.
    pub(crate) fn session_ended(&mut self, happening: Happening) {
        let Some(port) = self.port_of_session(happening.queue) else { return };
        let (number, why) = (port.number, SessionEnd::from_detail(happening.detail).words());
        self.connections.lost(number, why);
    }

    /// A guest's driver has agreed on features.
    pub(crate) fn session_features(&mut self, happening: Happening) {
        let Some(port) = self.port_of_session(happening.queue) else { return };
        if happening.detail & feature::STANDBY != 0 && port.nic().is_some_and(Nic::has_failover) {
            let event = FailoverNegotiated { device_id: port.id.clone() };
            self.monitors.broadcast(&Event::FailoverNegotiated(event));
        }
    }

    /// A guest's driver uses more or fewer of its queue pairs: its wire is laid over those.
    pub(crate) fn session_pairs(&mut self, happening: Happening) {
        let Some(port) = self.port_of_session(happening.queue) else { return };
        let (number, id) = (port.number, port.id.clone());
        let pairs = usize::try_from(happening.detail).unwrap_or(0).clamp(1, port.queues.len());
        if pairs == port.in_service {
            return;
        }
        let mut next = self.network.inventory().clone();
        next.set_in_service(number, pairs);
        if let Err(error) = self.network.commit(next, Vec::new()) {
            log::error!("NIC '{id}': its {pairs} queue pairs are not served alone: {error}");
        }
    }

    /// A guest has broken its rings' rules.
    pub(crate) fn guest_fault(&self, happening: Happening) {
        if let Some(port) = self.network.inventory().port_of_queue(happening.queue) {
            log::warn!("NIC '{}': the guest has broken its rings, number {}", port.id, happening.detail);
        }
    }

    pub(super) fn port_of_session(&self, session: u64) -> Option<&Port> {
        let first_queue = self.network.vault().session(session)?.serve.first_queue;
        self.network.inventory().port_of_queue(first_queue)
    }
}

/// What a NIC is for the data plane.
fn describe(nic: &Nic, session: u64, first_queue: u64, pairs: usize) -> Serve {
    let pairs = u16::try_from(pairs).expect("properties bound them");
    let mut serve = Serve::new(session, first_queue, pairs, nic.features);
    (serve.mac, serve.mtu) = (nic.mac.0, nic.mtu.unwrap_or(0));
    serve
}

/// What the data plane has kept of a NIC's socket and connection, for a control plane that takes over.
pub(super) fn recalled(network: &Network, port: &Port) -> Option<Opened> {
    let first = port.queues.first()?.key;
    let ours = |theirs: Option<&OwnedFd>| theirs.map(OwnedFd::try_clone).transpose().ok();
    let socket = network.vault().session_of(first).map(|session| &session.descriptors[0]);
    let kept = network.vault().get(first)?;
    let listener = kept.descriptors.get(kept.build.options.descriptors());
    Some(Opened::Recalled { socket: ours(socket)?, listener: ours(listener)? })
}
