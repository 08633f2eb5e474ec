//! What exists: ports in the order of their creation, who faces whom, and whose link is up.
//!
//! **Problem.** A command changes several things at once (a port, its queues' keys, its lines of counters, a
//! hub), any step towards the data plane may fail, and then nothing of it may stay.
//!
//! **Rejected.** Undoing step by step: every new kind of change needs its own way back, and the way back is
//! what nobody tests.
//!
//! **Chosen.** The inventory is a value. A command works on a clone (what never changes about a port is shared,
//! so that a thousand ports cost microseconds), the clone is planned and published, and only then takes the
//! place of the old one; a failure drops it. One thing outlives a failure: the serial number, since the data
//! plane may have seen the keys ([`Inventory::never_reuse`]).
//!
//! No system call, no clock, no QMP in here. [`crate::inventory::file`] keeps it on disk.

mod counter_slots;
pub mod file;
mod json;

use std::sync::Arc;

use framewire_shared::limits::{QUEUES_MAX, QUEUES_PER_PORT_MAX};
use serde_json::{Map, Value};

use self::counter_slots::CounterSlots;
use crate::nic::{Nic, Origin};
use crate::qmp::answer::QmpError;

/// What part a port plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Carries frames to and from the host.
    Netdev,
    /// A port of a hub: wiring only, it has no queues. The number is the hub's.
    HubPort(i32),
    /// Carries frames to and from a guest. Its name lives in a name space of its own.
    Nic,
}

/// What is to be run when a port goes: the `downscript` of a tap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Farewell {
    /// The program.
    pub script: String,
    /// Its one argument.
    pub interface: String,
}

/// What never changes about a port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    /// As given to `netdev_add`, to show and to compare.
    pub arguments: Map<String, Value>,
    /// One line for people, as in `info network`.
    pub info: String,
    /// What is to be run when the port goes.
    pub farewell: Option<Farewell>,
    /// Overrides the daemon's own, in microseconds.
    pub poll_us: Option<u32>,
    /// What a NIC is besides.
    pub nic: Option<Nic>,
}

/// One queue of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// What the data plane calls it; never used twice.
    pub key: u64,
    /// Its line of counters.
    pub counter_slot: u32,
    /// Who carries it. The planner decides; this is what it decided last.
    pub worker: Option<u32>,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// What other ports call it; never used twice.
    pub number: u64,
    /// What clients call it.
    pub id: String,
    /// What part it plays.
    pub role: Role,
    /// What never changes about it.
    pub description: Arc<Description>,
    /// Whom it faces.
    pub peer: Option<u64>,
    /// What `set_link` said last.
    pub link_is_up: bool,
    /// How many of its queues are sent to, the first ones: a guest's driver may use fewer than its NIC has.
    pub in_service: usize,
    /// Empty for hub ports.
    pub queues: Vec<Queue>,
}

impl Port {
    /// QMP's name of its kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.description.arguments.get("type").and_then(Value::as_str).unwrap_or("nic")
    }

    /// What it is as a NIC, if it is one.
    #[must_use]
    pub fn nic(&self) -> Option<&Nic> {
        self.description.nic.as_ref().filter(|_nic| self.role == Role::Nic)
    }
}

/// A port to be added.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPort {
    /// What clients will call it.
    pub id: String,
    /// What part it is to play.
    pub role: Role,
    /// What will never change about it.
    pub description: Description,
    /// How many queues it has.
    pub queues: usize,
    /// The name of the back end that it is to face.
    pub peer: Option<String>,
}

/// Why the inventory cannot be changed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Back ends have one name space, hub ports included; NICs have another.
    #[error("Duplicate ID '{0}'")]
    Duplicate(String),
    /// `netdev=` of a hub port names nothing.
    #[error("netdev '{0}' not found")]
    PeerNotFound(String),
    /// `netdev=` of a hub port names a back end that faces another already (QEMU dies of it).
    #[error("netdev '{0}' is already in use")]
    PeerTaken(String),
    /// `netdev_del`, `set_link` of something unknown.
    #[error("Device '{0}' not found")]
    NotFound(String),
    /// More queues than one port may have.
    #[error("too many queues (at most {QUEUES_PER_PORT_MAX} for one port)")]
    TooManyQueuesInPort,
    /// More queues than there are lines of counters.
    #[error("too many queues (at most {QUEUES_MAX} for all ports together)")]
    TooManyQueues,
}

impl From<Error> for QmpError {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound(id) => QmpError::device_not_found(&id),
            Error::Duplicate(_)
            | Error::PeerNotFound(_)
            | Error::PeerTaken(_)
            | Error::TooManyQueuesInPort
            | Error::TooManyQueues => QmpError::generic(error.to_string()),
        }
    }
}

/// All ports.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inventory {
    ports: Vec<Port>,
    /// The last number or key that was given away.
    serial: u64,
    counter_slots: CounterSlots,
}

impl Inventory {
    /// In the order of their creation.
    #[must_use]
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// The back end of that name (hub ports are back ends too).
    #[must_use]
    pub fn backend(&self, id: &str) -> Option<&Port> {
        self.ports.iter().find(|port| port.role != Role::Nic && port.id == id)
    }

    /// The NIC of that name that `netdev_add` has made: its name is one of a back end as well.
    #[must_use]
    pub fn netdev_nic(&self, id: &str) -> Option<&Port> {
        let is_netdev = |port: &Port| port.nic().is_some_and(|nic| nic.origin == Origin::Netdev);
        self.ports.iter().find(|port| port.id == id && is_netdev(port))
    }

    /// The port of that number.
    #[must_use]
    pub fn port(&self, number: u64) -> Option<&Port> {
        // Numbers grow in the order of creation.
        self.ports.binary_search_by_key(&number, |port| port.number).ok().map(|at| &self.ports[at])
    }

    /// The port that has the queue of that key.
    #[must_use]
    pub fn port_of_queue(&self, key: u64) -> Option<&Port> {
        self.ports.iter().find(|port| port.queues.iter().any(|queue| queue.key == key))
    }

    /// Whether a back end of that name may be added.
    ///
    /// # Errors
    /// [`Error::Duplicate`].
    pub fn check_backend_id(&self, id: &str) -> Result<(), Error> {
        let is_taken = self.backend(id).or_else(|| self.netdev_nic(id)).is_some();
        if is_taken { Err(Error::Duplicate(id.to_owned())) } else { Ok(()) }
    }

    /// The back end of that name, if nobody faces it yet.
    ///
    /// # Errors
    /// [`Error::PeerNotFound`], [`Error::PeerTaken`].
    pub fn check_peer(&self, id: &str) -> Result<u64, Error> {
        match self.backend(id) {
            None => Err(Error::PeerNotFound(id.to_owned())),
            Some(port) if port.peer.is_some() => Err(Error::PeerTaken(id.to_owned())),
            Some(port) => Ok(port.number),
        }
    }

    /// Adds a port, its link up, and gives its queues their keys and lines of counters.
    ///
    /// # Errors
    /// If the name is taken, the peer cannot be had, or there are too many queues; nothing has changed then.
    pub fn add(&mut self, new: NewPort) -> Result<&Port, Error> {
        let is_netdev = new.description.nic.as_ref().is_some_and(|nic| nic.origin == Origin::Netdev);
        if new.role != Role::Nic || is_netdev {
            self.check_backend_id(&new.id)?;
        }
        let peer = new.peer.as_deref().map(|id| self.check_peer(id)).transpose()?;
        if new.queues > QUEUES_PER_PORT_MAX {
            return Err(Error::TooManyQueuesInPort);
        }
        if new.queues > self.counter_slots.free() {
            return Err(Error::TooManyQueues);
        }
        let number = self.next_serial();
        let queues = (0..new.queues).map(|_| self.new_queue()).collect();
        if let Some(peer) = peer.and_then(|number| self.port_mut(number)) {
            peer.peer = Some(number);
        }
        self.ports.push(Port {
            number,
            id: new.id,
            role: new.role,
            description: Arc::new(new.description),
            peer,
            link_is_up: true,
            in_service: new.queues,
            queues,
        });
        Ok(&self.ports[self.ports.len() - 1])
    }

    /// Removes a back end. Whoever faced it stays, facing nobody.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn remove_backend(&mut self, id: &str) -> Result<Port, Error> {
        let at = self.ports.iter().position(|port| port.role != Role::Nic && port.id == id);
        Ok(self.remove_at(at.ok_or_else(|| Error::NotFound(id.to_owned()))?))
    }

    /// Removes a NIC. The back end that it faced stays, facing nobody.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no NIC of that number.
    pub fn remove_nic(&mut self, number: u64) -> Result<Port, Error> {
        let at = self.ports.iter().position(|port| port.role == Role::Nic && port.number == number);
        Ok(self.remove_at(at.ok_or_else(|| Error::NotFound(number.to_string()))?))
    }

    /// `set_link`: every port of that name. A NIC that faces one of them follows; a back end does not.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn set_link(&mut self, id: &str, up: bool) -> Result<(), Error> {
        let named: Vec<u64> =
            self.ports.iter().filter(|port| port.id == id).map(|port| port.number).collect();
        if named.is_empty() {
            return Err(Error::NotFound(id.to_owned()));
        }
        for number in named {
            let peer = self.port(number).and_then(|port| port.peer);
            let nic = peer.filter(|peer| self.port(*peer).is_some_and(|port| port.role == Role::Nic));
            for number in [Some(number), nic].into_iter().flatten() {
                self.port_mut(number).expect("found above").link_is_up = up;
            }
        }
        Ok(())
    }

    /// The connection of a port has come or gone: its one queue is replaced, on the same line of counters, and its
    /// link follows. Returns the new queue.
    pub fn replace_queue(&mut self, number: u64, link_is_up: bool) -> Option<Queue> {
        let key = self.next_serial();
        let port = self.port_mut(number)?;
        port.link_is_up = link_is_up;
        let queue = port.queues.first_mut()?;
        queue.key = key;
        Some(*queue)
    }

    /// The link of one port alone, as the kind of connection that it has tells.
    pub fn set_carrier(&mut self, number: u64, up: bool) {
        if let Some(port) = self.port_mut(number) {
            port.link_is_up = up;
        }
    }

    /// So many queues of a port are sent to.
    pub fn set_in_service(&mut self, number: u64, queues: usize) {
        if let Some(port) = self.port_mut(number) {
            port.in_service = queues;
        }
    }

    /// Keeps what the planner decided, so that it decides the same the next time.
    pub fn keep_workers(&mut self, worker_of: impl Fn(u64) -> Option<u32>) {
        for queue in self.ports.iter_mut().flat_map(|port| &mut port.queues) {
            queue.worker = worker_of(queue.key);
        }
    }

    /// Gives no number up to `serial` away any more: the data plane has seen it.
    pub fn never_reuse(&mut self, serial: u64) {
        self.serial = self.serial.max(serial);
    }

    /// The last number or key that was given away.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Drops ports that cannot be had any more; returns them.
    pub fn drop_ports(&mut self, mut is_lost: impl FnMut(&Port) -> bool) -> Vec<Port> {
        let mut lost = Vec::new();
        while let Some(at) = self.ports.iter().position(&mut is_lost) {
            lost.push(self.remove_at(at));
        }
        lost
    }

    fn remove_at(&mut self, at: usize) -> Port {
        let port = self.ports.remove(at);
        for queue in &port.queues {
            self.counter_slots.free_this(queue.counter_slot);
        }
        if let Some(peer) = port.peer.and_then(|number| self.port_mut(number)) {
            peer.peer = None;
            // The guest sees that its cable is gone.
            peer.link_is_up &= peer.role != Role::Nic;
        }
        port
    }

    fn port_mut(&mut self, number: u64) -> Option<&mut Port> {
        let at = self.ports.binary_search_by_key(&number, |port| port.number).ok()?;
        Some(&mut self.ports[at])
    }

    /// A number that was never given away.
    pub fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn new_queue(&mut self) -> Queue {
        let counter_slot = self.counter_slots.take().expect("add checked that there are enough");
        Queue { key: self.next_serial(), counter_slot, worker: None }
    }
}

#[cfg(test)]
pub(crate) mod test;
