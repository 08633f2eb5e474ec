//! Connections that have come and gone are made known to the data plane, and to clients.

use std::os::fd::OwnedFd;

use framewire_shared::driver::DriverOptions;
use framewire_shared::handover::Build;
use framewire_shared::region::{Mapping, RegionError};
use framewire_shared::stream_memory::StreamMemory;

use super::{Server, session};
use crate::connection::{Change, Opened, Outcome, Source, Told};
use crate::inventory::{Inventory, Port};
use crate::kind::{Netdev, NetdevAdd, socket, stream};
use crate::network::Error;
use crate::qmp::types::event::{Event, NetdevStreamConnected, NetdevStreamDisconnected};
use crate::vault::Kept;

impl Server {
    /// Goes on with all connections, and carries out what came of it.
    pub fn attend_connections(&mut self) {
        self.connections.attend();
        let changes: Vec<Change> = self.connections.changes();
        let changes: Vec<Change> = changes.into_iter().filter(|change| !self.is_of_guest(change)).collect();
        if changes.is_empty() {
            return;
        }
        let ports: Vec<u64> = changes.iter().map(|change| change.port).collect();
        let outcome = self.carry_out(changes);
        if outcome == Outcome::Failed && ports.len() > 1 {
            // One of them is to blame; the others need not suffer.
            for port in ports {
                let alone = self.connections.changes().into_iter().filter(|change| change.port == port);
                let outcome = self.carry_out(alone.collect());
                self.settle(port, outcome);
            }
            return;
        }
        ports.into_iter().for_each(|port| self.settle(port, outcome));
    }

    /// Carries a change out if it is a NIC's: each is a session, and none is a change of the plan.
    fn is_of_guest(&mut self, change: &Change) -> bool {
        let Some(outcome) = self.carry_guest(change) else { return false };
        self.settle(change.port, outcome);
        true
    }

    /// Takes up connections and listeners that the data plane has kept for us.
    pub fn recall_connections(&mut self) {
        for port in self.network.inventory().ports() {
            if let Some(nic) = port.nic() {
                if let Some(opened) = session::recalled(&self.network, port) {
                    self.connections.begin(port.number, nic.socket.source(&port.id), opened);
                }
                continue;
            }
            let kept = port.queues.first().and_then(|queue| self.network.vault().get(queue.key));
            if let (Some(source), Some(opened)) = (source(port), kept.and_then(recalled)) {
                self.connections.begin(port.number, source, opened);
            }
        }
    }

    /// All of them in one transaction: when a hundred peers leave at once, that is one change of the plan.
    fn carry_out(&mut self, changes: Vec<Change>) -> Outcome {
        let mut next = self.network.inventory().clone();
        let mut new = Vec::with_capacity(changes.len());
        for change in changes {
            match replace(&mut next, change) {
                Ok(kept) => new.extend(kept),
                Err(error) => {
                    log::error!("{error}");
                    return Outcome::Failed;
                }
            }
        }
        match self.network.commit(next, new) {
            Ok(()) => Outcome::Done,
            Err(Error::Unavailable(_)) => Outcome::Postponed,
            Err(
                error @ (Error::Refused(_) | Error::Trouble(_) | Error::TooLarge(_) | Error::Inventory(_)),
            ) => {
                log::error!("connections: {error}");
                Outcome::Failed
            }
        }
    }

    fn settle(&mut self, port: u64, outcome: Outcome) {
        let Some((netdev_id, told)) = self.connections.settle(port, outcome) else { return };
        let is_there = matches!(told, Told::Connected(_));
        if told != Told::Nothing
            && let Some(event) = self.tell_of_guest(port, is_there)
        {
            return self.monitors.broadcast(&event);
        }
        match told {
            Told::Nothing => {}
            Told::Connected(addr) => {
                let event = NetdevStreamConnected { netdev_id, addr };
                self.monitors.broadcast(&Event::NetdevStreamConnected(event));
            }
            Told::Disconnected => {
                let event = NetdevStreamDisconnected { netdev_id };
                self.monitors.broadcast(&Event::NetdevStreamDisconnected(event));
            }
        }
    }
}

/// A queue for what the port has now. None if the port is gone.
fn replace(next: &mut Inventory, change: Change) -> Result<Option<Kept>, RegionError> {
    let Change { port, socket, listener } = change;
    let Some(queue) = next.replace_queue(port, socket.is_some()) else { return Ok(None) };
    let (options, mut descriptors) = match socket {
        Some(socket) => (DriverOptions::Stream, vec![socket, Mapping::<StreamMemory>::create()?]),
        None => (DriverOptions::Null, Vec::new()),
    };
    descriptors.extend(listener);
    let build = Build { queue: queue.key, counter_slot: queue.counter_slot, counters_go_on: true, options };
    Ok(Some(Kept { build, descriptors }))
}

/// Where the connection of a port comes from that the last control plane made.
fn source(port: &Port) -> Option<Source> {
    let netdev = NetdevAdd::of_port(port)?;
    if let Netdev::Stream(options) = &netdev {
        let checked = options.checked().ok()?;
        return Some(stream::prepare::source(&checked, &port.id));
    }
    let Netdev::Socket(options) = &netdev else { return None };
    Some(socket::prepare::source(&port.id, options.listens()))
}

/// What the data plane has kept of a port's connection. None if it is a port of another sort.
fn recalled(kept: &Kept) -> Option<Opened> {
    let socket = match kept.build.options {
        DriverOptions::Null => None,
        DriverOptions::Stream => kept.descriptors.first(),
        DriverOptions::Tap(_)
        | DriverOptions::Dgram(_)
        | DriverOptions::L2tpv3(_)
        | DriverOptions::Guest
        | DriverOptions::User(_)
        | DriverOptions::Xdp(_) => {
            return None;
        }
    };
    let listener = kept.descriptors.get(kept.build.options.descriptors());
    let ours = |theirs: Option<&OwnedFd>| theirs.map(OwnedFd::try_clone).transpose();
    Some(Opened::Recalled { socket: ours(socket).ok()?, listener: ours(listener).ok()? })
}
