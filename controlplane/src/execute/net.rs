//! Commands that change or ask about the network.

use framewire_shared::handover::Build;
use serde_json::Value;

use super::{Caller, Given, Server, World, usernet};
use crate::connection::Opened;
use crate::host::lookup::Question;
use crate::inventory::{Description, NewPort, Port};
use crate::kind::prepare::{self, Name, Prepared, PreparedQueue, say};
use crate::kind::{Checked, NetdevAdd};
use crate::network::Error;
use crate::qmp::answer::{Outcome, QmpError, nothing};
use crate::qmp::qapi::QapiType as _;
use crate::vault::Kept;

impl Server {
    /// Makes a netdev: when this returns, it is in effect.
    pub(super) fn netdev_add(&mut self, netdev: &NetdevAdd, caller: Caller<'_>) -> Outcome {
        let names = |question: &Question| self.waiting.known.look_up(question);
        let (inventory, chardevs) = (self.network.inventory(), &self.chardevs);
        let checked = netdev.check(&World { inventory, chardevs, names: &names })?;
        if let Checked::Nic(nic) = checked {
            let arguments = netdev.print().as_object().cloned().unwrap_or_default();
            return self.netdev_add_nic(arguments, &netdev.id, nic);
        }
        let monitor = match caller {
            Caller::Client(request) => Some(request.monitor),
            Caller::CommandLine => None,
        };
        let mut given = Given { monitors: &mut self.monitors, monitor, id: &netdev.id };
        let name = Name { id: &netdev.id, kind: netdev.kind() };
        let prepared = prepare::prepare(checked, name, &mut given)?;
        self.add(netdev, prepared)?;
        Ok(nothing())
    }

    /// `--netdev` for a port that was there before this process: it must be the same.
    ///
    /// # Errors
    /// If it is another one of that name.
    pub fn check_adopted(&self, netdev: &NetdevAdd) -> Result<(), QmpError> {
        let inventory = self.network.inventory();
        let existing = inventory.backend(&netdev.id).or_else(|| inventory.netdev_nic(&netdev.id));
        let arguments = existing.map(|port| Value::Object(port.description.arguments.clone()));
        if arguments == Some(netdev.print()) {
            return Ok(());
        }
        Err(QmpError::generic(
            "it exists with other options and carries frames; delete it with netdev_del, or give it as it is",
        ))
    }

    fn add(&mut self, netdev: &NetdevAdd, mut prepared: Prepared) -> Result<(), QmpError> {
        let queues = std::mem::take(&mut prepared.queues);
        let mut next = self.network.inventory().clone();
        let arguments = netdev.print().as_object().cloned().unwrap_or_default();
        let description = Description {
            arguments,
            info: prepared.info.clone(),
            farewell: prepared.farewell.clone(),
            poll_us: prepared.poll_us,
            nic: None,
        };
        let new = NewPort {
            id: netdev.id.clone(),
            role: prepared.role,
            description,
            queues: queues.len(),
            peer: prepared.peer.clone(),
        };
        let added = next.add(new).map(|port| (port.clone(), kept(port, queues)));
        let connection = prepared.connection.take();
        let done = added.map_err(QmpError::from).and_then(|(port, kept)| {
            if matches!(&connection, Some((_source, opened)) if !matches!(opened, Opened::InUse(_))) {
                next.set_carrier(port.number, false);
            }
            self.network.commit(next, kept).map_err(|error| in_words(&error, &netdev.id))?;
            self.reach.begin(&port);
            self.plugs.begin(&port);
            self.folders.begin(&port, self.network.vault());
            self.wells.begin(&port, self.network.vault());
            if let Some((source, opened)) = connection {
                self.connections.begin(port.number, source, opened);
            }
            Ok(())
        });
        if done.is_err() {
            prepared.take_back();
        }
        // A remote that is there is reached before the command is answered.
        self.reach.try_due(self.network.vault());
        done
    }

    /// Ends a netdev: when this returns, nothing of it is in use.
    pub(super) fn netdev_del(&mut self, id: &str) -> Outcome {
        let mut next = self.network.inventory().clone();
        if let Some(number) = next.netdev_nic(id).map(|port| port.number) {
            return self.remove_nic(number).map(|()| nothing());
        }
        let gone = next.remove_backend(id)?;
        let paths = self.paths_of(&gone);
        self.network.commit(next, Vec::new())?;
        paths.iter().for_each(usernet::remove_path);
        self.connections.end(gone.number);
        if let Some(farewell) = &gone.description.farewell {
            say(farewell);
        }
        Ok(nothing())
    }

    /// Sets the link of all ports of that name.
    pub(super) fn set_link(&mut self, name: &str, up: bool) -> Outcome {
        let mut next = self.network.inventory().clone();
        next.set_link(name, up)?;
        self.network.commit(next, Vec::new())?;
        Ok(nothing())
    }

    /// At the end: what is to be run for each port that goes.
    pub fn say_farewell(&mut self) {
        self.connections.end_all();
        let ports = self.network.inventory().ports();
        ports.iter().flat_map(|port| self.paths_of(port)).for_each(|path| usernet::remove_path(&path));
        ports.iter().filter_map(|port| port.description.farewell.as_ref()).for_each(say);
    }
}

/// What the vault is to keep of a new port.
pub(super) fn kept(port: &Port, queues: Vec<PreparedQueue>) -> Vec<Kept> {
    let pairs = port.queues.iter().zip(queues);
    pairs
        .map(|(queue, PreparedQueue { options, descriptors })| {
            let (key, counter_slot) = (queue.key, queue.counter_slot);
            Kept { build: Build { queue: key, counter_slot, counters_go_on: false, options }, descriptors }
        })
        .collect()
}

fn in_words(error: &Error, id: &str) -> QmpError {
    QmpError::generic(format!("netdev '{id}': {error}"))
}
